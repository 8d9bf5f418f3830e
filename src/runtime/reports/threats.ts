// Reports signs of an attack on the node: refused packets, the density of ids, and the concentration of addresses.

import { Endpoint } from "../../krpc/endpoint.ts";
import type { Millis } from "../../dht/deadlines.ts";
import type { PublishedStore } from "../../dht/items/published.ts";
import type { DhtNode } from "../../dht/node.ts";
import type { NodeThreats } from "../../reports/threats.ts";
import { timeText } from "../../reports/time.ts";
import type { NodeClock } from "../clock.ts";

/** The interval at which the refused packets are read. */
export const REFUSALS_INTERVAL_MS = 60_000;

/** Maximum number of earlier readings that are kept: the readings of one hour. */
const MAX_READINGS = 60;

/** The maximum lengths of the lists in a report. */
const MAX_SOURCES = 20, MAX_DENSEST = 20, MAX_NETWORKS = 10, MAX_WIDE = 5;

/** The prefixes of networks that usually have one owner, and of the wider networks of a provider, by family. */
const PREFIXES = { 4: [24, 16], 6: [48, 32] } as const;

/** Refused packets by reason, counted since the start. */
interface Reading {
  readonly at: Millis;
  readonly counts: Readonly<Record<string, number>>;
}

/** The parts of the node that the report reads. */
interface Observed {
  readonly core: DhtNode;
  readonly published: Pick<PublishedStore, "has">;
  readonly clock: Pick<NodeClock, "now" | "wall">;
}

export class ThreatReports {
  readonly #node: Observed;
  /** Oldest first. */
  readonly #readings: Reading[] = [];

  constructor(node: Observed) {
    this.#node = node;
    this.sample();
  }

  /** Reads the numbers of refused packets. Call this every `REFUSALS_INTERVAL_MS`. */
  sample(): void {
    const counts = { ...this.#node.core.traffic.dropped } as Record<string, number>;
    this.#readings.push({ at: this.#node.clock.now(), counts });
    if (this.#readings.length > MAX_READINGS) this.#readings.shift();
  }

  report(): NodeThreats {
    const { core, clock } = this.#node, now = clock.now();
    return {
      refused: this.#refused(now),
      own_ids: core.tables.families.map((each) => {
        const { family, nodes, expected, limit, similar, expectedSimilar, maxSimilar } = core
          .searches.ownDensity(each, now);
        return {
          family,
          nodes,
          expected,
          limit,
          similar,
          expected_similar: expectedSimilar,
          max_similar: maxSimilar,
        };
      }),
      values: this.#values(),
      contacts: this.#contacts(),
    };
  }

  #refused(now: Millis): NodeThreats["refused"] {
    const { core, clock } = this.#node, { dropped } = core.traffic;
    const oldest = this.#readings[0];
    // The latest reading may be milliseconds old, so the rate covers the time since the one before it.
    const before = this.#readings.at(-2) ?? oldest;
    const seconds = Math.max(1, (now - before.at) / 1000);
    const reasons = Object.entries(dropped).map(([reason, total]) => ({
      reason,
      total,
      recent: total - (oldest.counts[reason] ?? 0),
      per_second: (total - (before.counts[reason] ?? 0)) / seconds,
    }));
    const { since, sources } = core.refusedSources.largest(MAX_SOURCES, now);
    return {
      over_s: Math.max(0, now - oldest.at) / 1000,
      reasons: reasons.sort((x, y) => y.recent - x.recent || y.total - x.total),
      sources_since: timeText(clock.wall(since)),
      sources: sources.map(({ network, reason, packets }) => ({
        network: networkOf(network, 0),
        reason,
        packets,
      })),
    };
  }

  #values(): NodeThreats["values"] {
    const { core, published, clock } = this.#node;
    const own = [...core.searches.densities].filter(({ target }) => published.has(target));
    const excess = ({ nodes, expected }: { nodes: number; expected: number }) => nodes - expected;
    return {
      counted: own.length,
      crowded: own.filter(({ isCrowded }) => isCrowded).length,
      densest: own.sort((x, y) => excess(y) - excess(x)).slice(0, MAX_DENSEST).map((each) => ({
        hash: `${each.target}`,
        family: each.family,
        nodes: each.nodes,
        expected: each.expected,
        crowded: each.isCrowded,
        at: timeText(clock.wall(each.at)),
      })),
    };
  }

  #contacts(): NodeThreats["contacts"] {
    const endpoints = Array.from(this.#node.core.tables.contacts(), ({ endpoint }) => endpoint);
    const networks = countNetworks(endpoints, 0);
    return {
      all: endpoints.length,
      networks: networks.length,
      largest: networks.slice(0, MAX_NETWORKS),
      widest: countNetworks(endpoints, 1).slice(0, MAX_WIDE),
    };
  }
}

/** Counts the contacts of each network, most contacts first. `width`: 0 for /24 and /48, 1 for /16 and /32. */
function countNetworks(
  endpoints: readonly Endpoint[],
  width: 0 | 1,
): NodeThreats["contacts"]["largest"] {
  const groups = Map.groupBy(endpoints, (endpoint) => networkOf(endpoint, width));
  return [...groups].map(([network, members]) => ({
    network,
    contacts: members.length,
    global: members[0].scope === "global",
  })).sort((x, y) => y.contacts - x.contacts || (x.network < y.network ? -1 : 1));
}

/** The network of an address in CIDR notation. `width`: 0 for /24 and /48, 1 for /16 and /32. */
function networkOf({ family, a, b }: Endpoint, width: 0 | 1): string {
  const prefix = PREFIXES[family][width];
  const first = family === 4
    ? Endpoint.ofIpv4(a & -(2 ** (32 - prefix)), 0)
    : Endpoint.ofIpv6(a, width === 0 ? b & ~0xffff : 0, 0, 0, 0);
  return `${first.host}/${prefix}`;
}
