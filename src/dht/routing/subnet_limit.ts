// Limits the nodes from one subnet: decides to which addresses the limit applies, and remembers which nodes got no
// place because of it.

import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Millis } from "../deadlines.ts";
import { isCounted, isSameSubnet, PER_SUBNET } from "./diversity.ts";

/** Cap on the remembered nodes that got no place in a bucket. */
const MAX_LEFT_OUT = 256;

/** How long a node that got no place is included in reports. */
const REPORTED_MS = 60 * 60_000;

/**
 * A bucket accepts only a few nodes of each /24 or /64. Our own subnet and the subnets of the bootstrap nodes are home
 * subnets: their nodes may take all places that no other node needs.
 */
export interface LeftOut {
  /** The subnet, an IPv4 /24 or IPv6 /64, in CIDR notation. */
  readonly subnet: string;
  readonly nodes: number;
}

/**
 * A bucket accepts only a few nodes of each /24 or /64. Our own subnet and those of the bootstrap
 * nodes are home subnets: their nodes may take all places that no other node needs.
 */
export class SubnetLimit {
  #bootstrap: readonly Endpoint[] = [];
  readonly #own: { [F in Family]?: Endpoint } = {};
  /** The nodes that got no place in a bucket, each with the time, by endpoint as text. */
  #leftOut: BoundedMap<string, { readonly endpoint: Endpoint; readonly at: Millis }> | undefined;

  /** `perSubnet`: the maximum number of contacts from one /24 or /64 in a bucket; 0 for no limit. */
  constructor(readonly perSubnet: number = PER_SUBNET) {}

  setBootstrap(endpoints: readonly Endpoint[]): void {
    this.#bootstrap = endpoints.filter(isCounted);
  }

  /** Records our own address, which defines a home subnet in its address family. */
  setOwn(address: Endpoint): void {
    this.#own[address.family] = isCounted(address) ? address : undefined;
  }

  /**
   * Whether the limit on similar ids applies to this address. The limit on nodes from one subnet also applies, except
   * in home subnets.
   */
  appliesTo(endpoint: Endpoint): boolean {
    return this.perSubnet > 0 && isCounted(endpoint);
  }

  /** Whether a public address is in our own subnet or in that of a bootstrap node. */
  isHome(endpoint: Endpoint): boolean {
    const own = this.#own[endpoint.family];
    if (own !== undefined && isSameSubnet(own, endpoint)) return true;
    // Use a loop instead of `some`: this runs for each packet, and a loop needs no closure.
    for (const known of this.#bootstrap) if (isSameSubnet(known, endpoint)) return true;
    return false;
  }

  /** Records that a node got no place in a bucket because of its subnet or address. */
  noteLeftOut(endpoint: Endpoint, now: Millis): void {
    this.#leftOut ??= new BoundedMap(MAX_LEFT_OUT);
    this.#leftOut.set(`${endpoint}`, { endpoint, at: now });
  }

  /**
   * The nodes that got no place within the last hour, grouped by subnet. The subnet with the most nodes comes first.
   */
  leftOut(now: Millis): LeftOut[] {
    const recent = [...this.#leftOut?.values() ?? []]
      .filter(({ endpoint, at }) => now - at < REPORTED_MS && !this.isHome(endpoint));
    const subnets = Map.groupBy(recent, ({ endpoint }) => subnetText(endpoint));
    return [...subnets].map(([subnet, nodes]) => ({ subnet, nodes: nodes.length }))
      .sort((x, y) => y.nodes - x.nodes);
  }
}

function subnetText({ family, a, b, port }: Endpoint): string {
  const first = family === 4 ? Endpoint.ofIpv4(a & ~0xff, port) : Endpoint.ofIpv6(a, b, 0, 0, port);
  return `${first.host}/${family === 4 ? 24 : 64}`;
}
