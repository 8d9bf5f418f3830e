// The knowledge that the lookups of a batch share: which nodes answered, how fast they were, and
// their write tokens.

import { compareDistance, distanceShare, type Id, IdMap, sharedPrefix } from "../../krpc/id.ts";
import type { Message } from "../../krpc/message.ts";
import type { Millis } from "../deadlines.ts";
import type { Self } from "../self.ts";
import { TOKEN_ROTATION_MS } from "../tokens.ts";
import type { Purpose } from "../purpose.ts";
import type { Candidate, KnownNode, LookupResult } from "./lookup.ts";
import { Region } from "./region.ts";

/** Cap on the remembered nodes. Storing 16 MiB discovers ten times as many, but lookups don't need them all. */
const MAX_NODES = 4_096;

/**
 * If the nodes that we know near a target reach this share of the network's density, we assume that
 * we know them all.
 */
const MIN_DENSITY = 0.85;

/** A node that answered a query of the batch. */
export interface BatchNode extends KnownNode {
  /** A write token that is valid for any target; undefined if the node's tokens may be valid for one target only. */
  readonly token: Uint8Array | undefined;
  /** Whether the node returned a write token. A node that returns none stores no items. */
  readonly stores: boolean;
  readonly answeredAt: Millis;
}

/** Cap on the length of the prefixes that count as explored. */
const MAX_EXPLORED_BITS = 32;

/** The index files nodes in buckets by this many of the first bits of their ids. */
const BUCKET_BITS = 8;

/**
 * At most MAX_NODES nodes, filed by their ids. A search for the nodes near a target reads only a
 * few buckets.
 */
class NodeIndex<T extends { readonly id: Id }> {
  readonly #buckets: T[][] = Array.from({ length: 2 ** BUCKET_BITS }, () => []);
  #size = 0;

  /** Adds a node, or replaces the one with the same id. A full index ignores new nodes. */
  set(node: T): void {
    const bucket = this.#buckets[bucketOf(node.id)];
    const at = bucket.findIndex(({ id }) => id.equals(node.id));
    if (at >= 0) bucket[at] = node;
    else if (this.#size < MAX_NODES) this.#size++, bucket.push(node);
  }

  delete(id: Id): void {
    const bucket = this.#buckets[bucketOf(id)];
    const at = bucket.findIndex((node) => node.id.equals(id));
    if (at >= 0) this.#size--, bucket.splice(at, 1);
  }

  /**
   * The buckets in the order of their distance from `target`: all nodes of a bucket are closer than
   * those of the next.
   */
  *bucketsNear(target: Id): Generator<readonly T[]> {
    const own = bucketOf(target);
    for (let i = 0; i < this.#buckets.length; i++) yield this.#buckets[own ^ i];
  }

  /** Whether any node is closer to `target` than `other` is. */
  hasCloser(target: Id, other: Id): boolean {
    const own = bucketOf(target), last = own ^ bucketOf(other);
    for (let i = 0; i <= last; i++) {
      if (this.#buckets[own ^ i].some(({ id }) => compareDistance(id, other, target) < 0)) {
        return true;
      }
    }
    return false;
  }
}

export class Batch {
  readonly #nodes = new NodeIndex<BatchNode>();
  /**
   * The explored prefixes by their length in bits. A prefix is explored if lookups have found all
   * nodes whose ids begin with it.
   */
  readonly #explored: Set<number>[] = [];
  /** Nodes that a lookup has asked. */
  readonly #asked: IdMap<true>;
  /** Nodes that answers named, but that no lookup has asked. */
  readonly #unasked = new NodeIndex<{ readonly id: Id }>();

  /** `seed`: a 32-bit integer that strangers can't know. `purpose`: the purpose of all messages of the batch. */
  constructor(seed: number, readonly purpose: Purpose = "transfers") {
    this.#asked = new IdMap(seed);
  }

  /** Remembers a node that answered. */
  note(node: BatchNode): void {
    this.#nodes.set(node);
  }

  /** Remembers a candidate that answered. Nodes of this project give the same token for all targets (see `Tokens`). */
  noteAnswer(
    { id, client }: Message,
    { endpoint, rtt, token }: Candidate,
    { now, self }: { now: Millis; self: Self },
  ): void {
    if (id === undefined) return;
    this.note({
      id,
      endpoint,
      expectedMs: rtt,
      // `expectedMs` is a measured round trip, so the coordinate is not needed for an estimate.
      coordinateXy: 0,
      coordinateZHeight: 0,
      token: self.isSameSoftware(client) ? token : undefined,
      stores: token !== undefined,
      answeredAt: now,
    });
  }

  /**
   * Records which nodes a lookup of the batch asked, which nodes it knows only from answers, and
   * the prefix for which it found all nodes.
   */
  noteLookup(
    { target, closest, isWhole, asked, heard }: Pick<
      LookupResult,
      "target" | "closest" | "isWhole" | "asked" | "heard"
    >,
    k: number,
  ): void {
    if (isWhole) {
      // A node that shares more bits with the target than the k-th closest node is among the k
      // closest. So the lookup has found all such nodes.
      const bits = closest.length < k ? 0 : 1 + sharedPrefix(target, closest[k - 1].id);
      if (bits <= MAX_EXPLORED_BITS) {
        const explored = this.#explored[bits] ??= new Set();
        explored.add(prefixOf(target, bits));
      }
    }
    for (const { id } of asked) {
      if (id === undefined || this.#asked.size >= MAX_NODES) continue;
      this.#asked.set(id, true);
      this.#unasked.delete(id);
    }
    for (const { id } of heard) if (!this.#asked.has(id)) this.#unasked.set({ id });
  }

  forget(id: Id): void {
    this.#nodes.delete(id);
  }

  /** Returns the `count` nodes closest to `target` among those whose tokens are still valid, nearest first. */
  closest(target: Id, count: number, now: Millis): BatchNode[] {
    const found: BatchNode[] = [];
    for (const bucket of this.#nodes.bucketsNear(target)) {
      for (const node of bucket) {
        if (now - node.answeredAt <= TOKEN_ROTATION_MS) found.push(node);
      }
      if (found.length >= count) break;
    }
    return found.sort((x, y) => compareDistance(x.id, y.id, target)).slice(0, count);
  }

  /**
   * The nodes that store items among the k closest to `target`. Undefined if the target is crowded,
   * if one of the `count` closest nodes of the network may be unknown to us, or if we did not ask
   * one of them.
   *
   * Nodes of other projects give tokens for one target only, block senders of many packets, and
   * forget items after two hours. Such nodes are left out if enough of the k closest nodes are of
   * this project. Otherwise, the result is undefined.
   */
  holders(
    target: Id,
    { k, networkSize, count = k }: { k: number; networkSize: number; count?: number },
    now: Millis,
  ): BatchNode[] | undefined {
    const found = this.closest(target, k, now);
    const isCrowded = found.length === k &&
      new Region(target, { k, size: networkSize }).isInCore(found[k - 1].id);
    if (isCrowded) return undefined;
    const needed = Math.min(count, Math.floor(networkSize * MIN_DENSITY));
    if (found.length === 0 || found.length < needed) return undefined;
    const last = found[Math.min(count, found.length) - 1].id;
    if (!this.#isExplored(target, last)) {
      const farthest = found[found.length - 1].id;
      if (found.length < Math.min(k, Math.floor(networkSize * MIN_DENSITY))) return undefined;
      if (found.length < networkSize * distanceShare(target, farthest) * MIN_DENSITY) {
        return undefined;
      }
    }
    if (this.#unasked.hasCloser(target, last)) return undefined;
    const storing = found.filter(({ stores }) => stores);
    const usable = storing.filter(({ token }) => token !== undefined);
    const isEnough = usable.length >= Math.min(count, storing.length);
    return isEnough && usable.length > 0 ? usable : undefined;
  }

  /** Whether a lookup has found all nodes that are at least as close to `target` as `node`. */
  #isExplored(target: Id, node: Id): boolean {
    const shared = Math.min(MAX_EXPLORED_BITS, sharedPrefix(target, node));
    for (let bits = 0; bits <= shared; bits++) {
      if (this.#explored[bits]?.has(prefixOf(target, bits))) return true;
    }
    return false;
  }
}

function bucketOf({ a }: Id): number {
  return a >>> (32 - BUCKET_BITS);
}

/** The first bits of an id, at most 32. */
function prefixOf({ a }: Id, bits: number): number {
  return bits === 0 ? 0 : a >>> (32 - bits);
}
