// Ranges of IP addresses, written as an address and a prefix length (CIDR).

import { Endpoint } from "./endpoint.ts";

/** The addresses whose first `prefix` bits equal those of `address`. */
export interface AddressRange {
  readonly kind: "cidr";
  readonly address: Endpoint;
  readonly prefix: number;
}

/** Whether an endpoint's address is in the range `cidr`. */
export function cidrIncludes(cidr: AddressRange, endpoint: Endpoint): boolean {
  const { address, prefix } = cidr;
  return address.family === endpoint.family &&
    sameBits(address.a, endpoint.a, prefix) &&
    sameBits(address.b, endpoint.b, prefix - 32) &&
    sameBits(address.c, endpoint.c, prefix - 64) &&
    sameBits(address.d, endpoint.d, prefix - 96);
}

/**
 * Whether `host` (an address or a name) is a loopback address, so that only this machine can reach a server that
 * listens there.
 */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || Endpoint.parse(host, 1)?.scope === "loopback";
}

function sameBits(x: number, y: number, bits: number): boolean {
  return bits <= 0 || ((x ^ y) >>> Math.max(0, 32 - bits)) === 0;
}

/** Returns the first `prefix` bits of an address, as a number for IPv4 and as text for IPv6. */
export function network({ family, a, b, c, d }: Endpoint, prefix: number): number | string {
  const first = mask(a, prefix);
  if (family === 4) return first;
  return `${first} ${mask(b, prefix - 32)} ${mask(c, prefix - 64)} ${mask(d, prefix - 96)}`;
}

function mask(word: number, bits: number): number {
  return bits <= 0 ? 0 : word & (-1 << Math.max(0, 32 - bits));
}
