// Figures over the latest lookups, and the size of the network that they suggest.

import { distanceShare, type Id, ID_BITS } from "../krpc/id.ts";
import type { Millis } from "./deadlines.ts";
import { DurationHistogram } from "./histogram.ts";
import type { LookupResult } from "./lookup.ts";

/** Lookups over which percentiles are taken. */
const RECENT = 512;

/** Lookups over which the size of the network is estimated: its error falls with their square root. */
const ESTIMATED_OVER = 64;

/** What a lookup tells of the size counts half after this, and for so much longer: a network may have doubled since. */
const ESTIMATE_HALF_LIFE_MS = 60 * 60_000, ESTIMATE_FOR_MS = 4 * 60 * 60_000;

/** Below this many answers a lookup tells nothing of the density of ids. */
const ESTIMATE_FROM = 8;

export class LookupStatistics {
  /** Lookups that ended, and those of them in which anybody answered. */
  count = 0;
  success = 0;
  active = 0;
  /** Of all lookups that ended, by what they asked; a method that was never used has none. */
  readonly durations: Partial<Record<LookupResult["method"], DurationHistogram>> = {};
  #hops = 0;
  readonly #latencies: number[] = [];
  /** Of the latest lookups in turn; flat, for objects would take four times as much in each of many nodes. */
  readonly #weighted: number[] = [];
  readonly #squares: number[] = [];
  readonly #endedAt: Millis[] = [];

  /** Notes a lookup that ended. `own`: our id; lookups for that tell no more than our neighbours do, and sooner or later less. */
  record(result: LookupResult, k: number, own: Id): void {
    this.count++;
    (this.durations[result.method] ??= new DurationHistogram()).add(result.elapsed);
    if (result.closest.length === 0) return;
    this.success++;
    this.#hops += result.hops;
    this.#latencies[(this.success - 1) % RECENT] = result.elapsed;
    // A lookup that ended early, with a value, has not found all of the closest.
    const isWhole = result.method === "find_node" || result.closest.length >= k;
    if (!isWhole || result.closest.length < ESTIMATE_FROM || result.target.equals(own)) return;
    const ids = result.closest.slice(0, k).map((c) => c.id);
    const { weighted, squares } = density(result.target, ids);
    this.#weighted.push(weighted);
    this.#squares.push(squares);
    this.#endedAt.push(result.startedAt + result.elapsed);
    if (this.#endedAt.length <= ESTIMATED_OVER) return;
    for (const list of [this.#weighted, this.#squares, this.#endedAt]) list.shift();
  }

  /** Mean hops of the lookups that succeeded; null before the first. */
  get hopsMean(): number | null {
    return this.success === 0 ? null : this.#hops / this.success;
  }

  /** Milliseconds, over the latest lookups that succeeded. */
  latency(): { mean: number | null; p50: number | null; p95: number | null } {
    const sorted = this.#latencies.slice().sort((x, y) => x - y);
    if (sorted.length === 0) return { mean: null, p50: null, p95: null };
    const at = (share: number) =>
      sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    const mean = sorted.reduce((sum, ms) => sum + ms, 0) / sorted.length;
    return { mean, p50: at(0.5), p95: at(0.95) };
  }

  /**
   * How many nodes the network has, by how near those found are to their targets, and our neighbours to `own`; null
   * where there are too few of either.
   */
  networkSize(own: Id, neighbours: readonly { readonly id: Id }[], now: Millis): number | null {
    let weighted = 0, squares = 0;
    this.#endedAt.forEach((at, i) => {
      const age = now - at;
      if (age > ESTIMATE_FOR_MS) return;
      const weight = 2 ** (-age / ESTIMATE_HALF_LIFE_MS);
      weighted += weight * this.#weighted[i];
      squares += weight * this.#squares[i];
    });
    if (neighbours.length >= ESTIMATE_FROM) {
      const ours = density(own, neighbours.map(({ id }) => id));
      weighted += ours.weighted;
      squares += ours.squares;
    }
    return weighted === 0 ? null : Math.round(squares / weighted - 1);
  }
}

/** Sums of a least-squares fit. */
interface Density {
  readonly weighted: number;
  readonly squares: number;
}

/**
 * With n nodes spread evenly, the i-th closest is at a distance of i / (n + 1) of the id space on average: these are
 * the sums of a least-squares fit of that line.
 */
function density(target: Id, closest: readonly Id[]): Density {
  let weighted = 0, squares = 0;
  closest.forEach((id, index) => {
    const rank = index + 1;
    weighted += rank * distanceShare(id, target);
    squares += rank * rank;
  });
  return { weighted, squares };
}

/** Contacts by the bit length of their distance to `own`: 161 counts. */
export function distanceHistogram(distances: Iterable<number>): number[] {
  const histogram = new Array<number>(ID_BITS + 1).fill(0);
  for (const bits of distances) histogram[bits]++;
  return histogram;
}
