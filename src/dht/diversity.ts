// No network of a few may crowd out the others: how many nodes of one address or subnet may stand side by side.

import type { Endpoint } from "../krpc/endpoint.ts";

/** Of nodes of one /24, or /64 of IPv6, so many may be in a bucket. */
export const PER_SUBNET = 2;

/** Of a shortlist so many times as many: lookups see more nodes than a bucket. */
export const SHORTLIST_FACTOR = 2;

/** Whether two addresses are of one /24, or of one /64 of IPv6: of one owner, as a rule. */
export function isSameSubnet(x: Endpoint, y: Endpoint): boolean {
  if (x.family !== y.family) return false;
  return x.family === 4 ? (x.a ^ y.a) >>> 8 === 0 : x.a === y.a && x.b === y.b;
}

/**
 * Who an address belongs to, as a name: one IPv4 address, one /64 of IPv6. On this machine nodes differ by their ports.
 */
export function ownerOf(endpoint: Endpoint): string {
  const { family, scope, host, a, b } = endpoint;
  if (scope === "loopback") return `${endpoint}`;
  return family === 6 && scope === "global" ? `${a}:${b}` : host;
}

/** Whether two addresses have the same such name. */
export function isSameOwner(x: Endpoint, y: Endpoint): boolean {
  if (x.scope === "loopback") return x.equals(y);
  if (x.family === 6 && y.family === 6 && isCounted(x)) return x.a === y.a && x.b === y.b;
  return x.sameAddress(y);
}

/**
 * Whether the rules are for this address: on this machine and in private networks everybody is a neighbour.
 */
export function isCounted(endpoint: Endpoint): boolean {
  return endpoint.scope === "global";
}
