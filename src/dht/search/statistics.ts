// Statistics of the latest lookups, and the network's size as estimated from them.

import type { Family } from "../../krpc/endpoint.ts";
import { distanceShare, type Id } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import { DurationHistogram } from "../histogram.ts";
import type { LookupResult } from "./lookup.ts";

/** The number of latest lookups that the percentiles cover. */
const RECENT = 512;

/**
 * The number of lookups from which the network's size is estimated. The error shrinks with the
 * square root of this number.
 */
const ESTIMATED_OVER = 64;

/** After this time, a lookup no longer counts in the estimate, because the network's size may change. */
const ESTIMATE_FOR_MS = 60 * 60_000;

/** Lookups with fewer answers than this don't count in the estimate: they say too little about the density of ids. */
const ESTIMATE_FROM = 8;

export class LookupStatistics {
  /** The number of lookups that ended. */
  count = 0;
  /** The number of ended lookups in which at least one node answered. */
  success = 0;
  active = 0;
  /** The number of crowded targets that were reported. */
  crowded = 0;
  /** The crowded target that was reported last. */
  latestCrowded: { readonly target: Id; readonly at: Millis } | undefined;
  /** The durations of all lookups that ended, by method. Methods that were never used are missing. */
  readonly durations: Partial<Record<LookupResult["method"], DurationHistogram>> = {};
  #hops = 0;
  readonly #latencies: number[] = [];
  readonly #sizes = { 4: new Sizes(), 6: new Sizes() };

  /** Counts a lookup that ended. `own` is our id. */
  record(result: LookupResult, { k, own }: { k: number; own: Id }): void {
    this.count++;
    (this.durations[result.method] ??= new DurationHistogram()).add(result.elapsed);
    if (result.closest.length === 0) return;
    this.success++;
    this.#hops += result.hops;
    this.#latencies[(this.success - 1) % RECENT] = result.elapsed;
    // Skip lookups that don't show the density of ids. A lookup that ended early with a value has
    // not found all of the closest nodes. A lookup of our own id only repeats what our neighbours
    // already contribute. Around a crowded target, the closest nodes may be Sybils. If the closest
    // nodes that answered are sparse, colluders have probably hidden closer ones.
    const isWhole = result.method === "find_node" || result.closest.length >= k;
    if (!isWhole || result.closest.length < ESTIMATE_FROM || result.target.equals(own)) return;
    if (result.isCrowded || result.isSparse) return;
    const size = sizeFrom(result.target, result.closest.slice(0, k));
    if (size !== null) this.#sizes[result.family].add(size, result.startedAt + result.elapsed);
  }

  /** Counts a crowded target. */
  noteCrowded(target: Id, now: Millis): void {
    this.crowded++;
    this.latestCrowded = { target, at: now };
  }

  /** The mean number of hops of successful lookups; null before the first one. */
  get hopsMean(): number | null {
    return this.success === 0 ? null : this.#hops / this.success;
  }

  /** The latency of the latest lookups that succeeded, in ms. */
  latency(): { mean: number | null; p50: number | null; p95: number | null } {
    const sorted = this.#latencies.slice().sort((x, y) => x - y);
    if (sorted.length === 0) return { mean: null, p50: null, p95: null };
    const at = (share: number) =>
      sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    const mean = sorted.reduce((sum, ms) => sum + ms, 0) / sorted.length;
    return { mean, p50: at(0.5), p95: at(0.95) };
  }

  /**
   * The estimated number of nodes of a family: the median of the estimates from the latest lookups and from our
   * neighbours; null with too few of them. To move the median, Sybils would have to surround half of all targets.
   */
  networkSize(
    { own, family, neighbours }: {
      readonly own: Id;
      readonly family: Family;
      readonly neighbours: readonly { readonly id: Id }[];
    },
    now: Millis,
  ): number | null {
    const sizes = this.#sizes[family].since(now - ESTIMATE_FOR_MS);
    const around = sizeAround(own, neighbours);
    if (around !== null) sizes.push(around);
    if (sizes.length === 0) return null;
    sizes.sort((x, y) => x - y);
    const middle = sizes.length >> 1;
    const median = sizes.length % 2 === 1 ? sizes[middle] : (sizes[middle - 1] + sizes[middle]) / 2;
    return Math.round(median);
  }
}

/** The sizes of the network that the latest lookups suggest. Flat arrays need less memory than objects. */
class Sizes {
  readonly #sizes: number[] = [];
  readonly #notedAt: Millis[] = [];

  add(size: number, now: Millis): void {
    this.#sizes.push(size);
    this.#notedAt.push(now);
    if (this.#sizes.length > ESTIMATED_OVER) this.#sizes.shift(), this.#notedAt.shift();
  }

  since(time: Millis): number[] {
    return this.#sizes.filter((_, i) => this.#notedAt[i] >= time);
  }
}

/**
 * The network's size that the distances of our neighbours suggest; null if there are too few. Our
 * table has a place for every node near our id, so colluders can't crowd out these nodes, as they
 * could crowd out other contacts.
 */
export function sizeAround(own: Id, neighbours: readonly { readonly id: Id }[]): number | null {
  return neighbours.length < ESTIMATE_FROM ? null : sizeFrom(own, neighbours);
}

/**
 * A least-squares fit of the network's size: if n nodes are spread evenly, the i-th closest is on
 * average i / (n + 1) of the id space away. Null if all nodes share the first 64 bits with the
 * target: such nodes say nothing about the density of ids.
 */
function sizeFrom(target: Id, closest: readonly { readonly id: Id }[]): number | null {
  let weighted = 0, squares = 0;
  closest.forEach(({ id }, index) => {
    const rank = index + 1;
    weighted += rank * distanceShare(id, target);
    squares += rank * rank;
  });
  return weighted === 0 ? null : squares / weighted - 1;
}
