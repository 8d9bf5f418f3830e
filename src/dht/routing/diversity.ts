// Limits on how many nodes from one address or subnet we accept, so that one owner can't crowd out all others.

import type { Endpoint } from "../../krpc/endpoint.ts";

/** The maximum number of contacts in a bucket from one IPv4 /24 or IPv6 /64. */
export const PER_SUBNET = 2;

/**
 * Two ids are similar if their common prefix is at least this many bits longer than the prefix shared by the k nodes
 * closest to us.
 */
export const SIMILAR_BITS = 4;

/**
 * Cap on similar ids in a bucket and in a lookup's shortlist, so that Sybils around one key can't fill either. Of 20
 * random neighbours, 1.25 on average are similar to a given id. The probability that more than 6 are similar is 0.03 %.
 */
export function maxSimilar(k: number): number {
  return 4 + (k >> 3);
}

/**
 * The factor by which a lookup's shortlist accepts more nodes per subnet than a bucket does, because a lookup finds
 * more nodes.
 */
export const SHORTLIST_FACTOR = 2;

/** Whether two addresses are in the same IPv4 /24 or IPv6 /64, and so usually have the same owner. */
export function isSameSubnet(x: Endpoint, y: Endpoint): boolean {
  if (x.family !== y.family) return false;
  return x.family === 4 ? (x.a ^ y.a) >>> 8 === 0 : x.a === y.a && x.b === y.b;
}

/**
 * Returns a string that identifies the owner of an address: the IPv4 address, the IPv6 /64, or on loopback the address
 * and port.
 */
export function ownerOf(endpoint: Endpoint): string {
  const { family, scope, host, a, b } = endpoint;
  if (scope === "loopback") return `${endpoint}`;
  return family === 6 && scope === "global" ? `${a}:${b}` : host;
}

/**
 * Returns a string that identifies the network from which an item comes: the IPv4 /24 or IPv6 /48, which is usually all
 * that one customer of a provider gets. The text before the slash is the wider network: the /16 or /32. Returns
 * undefined for loopback and private addresses.
 */
export function sourceOf(endpoint: Endpoint): string | undefined {
  if (!isCounted(endpoint)) return undefined;
  const { family, a, b } = endpoint;
  if (family === 4) return `${a >>> 24}.${(a >>> 16) & 255}/${(a >>> 8) & 255}`;
  return `${(a >>> 0).toString(16)}:/${(b >>> 16).toString(16)}`;
}

/**
 * Whether two addresses are in the same network, which usually has one owner: an IPv4 /24 or IPv6 /48. In private
 * networks, each address counts as a network of its own, and on loopback each endpoint does.
 */
export function isSameNetwork(x: Endpoint, y: Endpoint): boolean {
  if (!isCounted(x)) return x.scope === "loopback" ? x.equals(y) : x.sameAddress(y);
  if (x.family !== y.family) return false;
  return x.family === 4 ? (x.a ^ y.a) >>> 8 === 0 : x.a === y.a && (x.b ^ y.b) >>> 16 === 0;
}

/** A hash of an address's network. Two addresses in the same network (see `isSameNetwork`) have the same hash. */
export function networkMark({ scope, family, a, b, d, port }: Endpoint): number {
  if (scope === "loopback") return a ^ d ^ port;
  if (scope !== "global") return a ^ d;
  return family === 4 ? a >>> 8 : a ^ (b >>> 16);
}

/** Whether two addresses have the same owner. */
export function isSameOwner(x: Endpoint, y: Endpoint): boolean {
  if (x.scope === "loopback") return x.equals(y);
  if (x.family === 6 && y.family === 6 && isCounted(x)) return x.a === y.a && x.b === y.b;
  return x.sameAddress(y);
}

/** Whether the limits apply to this address: not if it is on loopback or in a private network. */
export function isCounted(endpoint: Endpoint): boolean {
  return endpoint.scope === "global";
}
