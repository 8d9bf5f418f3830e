// The surroundings of a target in the id space: how far away the closest nodes should be, and how
// many ids may be similar.

import { distanceShare, type Id } from "../../krpc/id.ts";
import { SIMILAR_BITS } from "../routing/diversity.ts";

/**
 * A part of the id space with n nodes, where m are expected, is crowded if √n - √m exceeds this.
 * The square root of a Poisson variable has a standard deviation of 1/2 for any mean. An estimate
 * of the network's size from k nodes doubles the variance. So this limit is 2.8 standard
 * deviations.
 */
const CROWDED_MARGIN = 2;

export class Region {
  /** The share of the id space around the target in which k nodes are expected. */
  readonly edge: number;
  /**
   * A smaller share of the id space around the target. If k nodes are in it, the target is crowded:
   * most of them are probably Sybils.
   */
  readonly core: number;
  /** The number of nodes that are expected in the core. */
  readonly expectedInCore: number;
  /** The approximate number of leading bits that the ids in the region share. */
  readonly bits: number;
  /** Two ids are similar if they share at least this many leading bits. */
  readonly similarBits: number;

  /** `size`: the estimated number of nodes in the network; null if unknown, and then no target is crowded. */
  constructor(readonly target: Id, { k, size }: { k: number; size: number | null }) {
    this.expectedInCore = Math.max(0, Math.sqrt(k) - CROWDED_MARGIN) ** 2;
    this.edge = size === null ? 0 : k / size;
    this.core = size === null ? 0 : this.expectedInCore / size;
    this.bits = size === null ? Infinity : Math.max(0, Math.round(Math.log2(size / k)));
    this.similarBits = this.bits + SIMILAR_BITS;
  }

  isInCore(id: Id): boolean {
    return distanceShare(id, this.target) < this.core;
  }

  has(id: Id): boolean {
    return distanceShare(id, this.target) <= this.edge;
  }
}
