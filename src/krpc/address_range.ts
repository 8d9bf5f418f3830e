// Ranges of addresses, as they are written with a prefix.

import { Endpoint } from "./endpoint.ts";

/** The addresses whose first `prefix` bits are those of `address`. */
export interface AddressRange {
  readonly kind: "cidr";
  readonly address: Endpoint;
  readonly prefix: number;
}

/** Whether `endpoint`'s address lies in the range; ports don't matter. */
export function cidrIncludes(cidr: AddressRange, endpoint: Endpoint): boolean {
  const { address, prefix } = cidr;
  return address.family === endpoint.family &&
    sameBits(address.a, endpoint.a, prefix) &&
    sameBits(address.b, endpoint.b, prefix - 32) &&
    sameBits(address.c, endpoint.c, prefix - 64) &&
    sameBits(address.d, endpoint.d, prefix - 96);
}

/** Whether only this machine can reach a server bound to `host`, an address or a name. */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || Endpoint.parse(host, 1)?.scope === "loopback";
}

/** Whether the leading `bits` of two 32-bit words agree. */
function sameBits(x: number, y: number, bits: number): boolean {
  return bits <= 0 || ((x ^ y) >>> Math.max(0, 32 - bits)) === 0;
}
