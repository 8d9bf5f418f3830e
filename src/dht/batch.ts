// What lookups that belong together share: the nodes that answered, how fast, and their write tokens.

import { compareDistance, distanceShare, type Id, IdMap } from "../krpc/id.ts";
import type { KnownNode, LookupResult } from "./lookup.ts";
import type { Millis } from "./deadlines.ts";
import { TOKEN_ROTATION_MS } from "./tokens.ts";

/** Nodes remembered: a value of 16 MiB, in a large network, finds ten times as many, and the first are the next best. */
const MAX_NODES = 4_096;

/** The closest known to a target are taken for the closest there are if they lie at least so dense as all nodes do. */
const DENSE_ENOUGH = 0.85;

/** A node that answered in a batch. */
export interface BatchNode extends KnownNode {
  /** A write token that holds for any target; undefined where the node's tokens may be bound to one. */
  readonly token: Uint8Array | undefined;
  readonly answeredAt: Millis;
}

export class Batch {
  readonly #nodes: IdMap<BatchNode>;
  /** Nodes that some lookup told of; true once one has asked them, whether they answered or not. */
  readonly #heard: IdMap<boolean>;

  /** `seed`: any 32-bit integer that strangers don't know. */
  constructor(seed: number) {
    this.#nodes = new IdMap(seed);
    this.#heard = new IdMap(seed);
  }

  get size(): number {
    return this.#nodes.size;
  }

  /** Notes a node that answered. */
  note(node: BatchNode): void {
    if (this.#nodes.size < MAX_NODES || this.#nodes.get(node.id) !== undefined) {
      this.#nodes.set(node.id, node);
    }
  }

  /** Notes whom a lookup of the batch asked, and of whom it heard beside them. */
  noteLookup({ asked, heard }: Pick<LookupResult, "asked" | "heard">): void {
    for (const { id } of asked) if (id !== undefined) this.#hear(id, true);
    for (const { id } of heard) if (!this.#heard.has(id)) this.#hear(id, false);
  }

  #hear(id: Id, isAsked: boolean): void {
    if (this.#heard.size < MAX_NODES || this.#heard.has(id)) this.#heard.set(id, isAsked);
  }

  /** Forgets a node that does not answer any more. */
  forget(id: Id): void {
    this.#nodes.delete(id);
  }

  /** The `count` nodes closest to `target`, nearest first, that answered and gave a token of late. */
  closest(target: Id, count: number, now: Millis): BatchNode[] {
    const found: BatchNode[] = [];
    for (const [id, node] of this.#nodes.entries()) {
      if (found.length === count && compareDistance(id, found[count - 1].id, target) >= 0) continue;
      if (now - node.answeredAt > TOKEN_ROTATION_MS) continue;
      let at = found.length === count ? count - 1 : found.length;
      for (; at > 0 && compareDistance(id, found[at - 1].id, target) < 0; at--) {
        found[at] = found[at - 1];
      }
      found[at] = node;
    }
    return found;
  }

  /**
   * The k nodes closest to `target` of a network of so many, with their tokens: undefined where they may not all be
   * known, one of whom was heard has not been asked, or their tokens are not fit.
   */
  holders(target: Id, k: number, networkSize: number, now: Millis): BatchNode[] | undefined {
    const wanted = Math.min(k, Math.floor(networkSize * DENSE_ENOUGH));
    const found = this.closest(target, k, now);
    if (found.length === 0 || found.length < wanted) return undefined;
    if (found.some(({ token }) => token === undefined)) return undefined;
    const farthest = found[found.length - 1].id;
    if (found.length < networkSize * distanceShare(target, farthest) * DENSE_ENOUGH) {
      return undefined;
    }
    for (const [id, isAsked] of this.#heard.entries()) {
      if (!isAsked && compareDistance(id, farthest, target) < 0) return undefined;
    }
    return found;
  }
}
