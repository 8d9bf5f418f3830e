// The values that this node publishes: they are its own, whoever else holds them.

import { type Id, IdMap } from "../krpc/id.ts";
import type { Millis } from "./deadlines.ts";
import type { Item } from "./item.ts";

/** A value that this node publishes, and how that went. */
export interface Published {
  readonly item: Item;
  readonly firstAt: Millis;
  /** When to publish it again. */
  readonly nextAt: Millis;
  /** When nodes last acknowledged it; -Infinity before the first time. */
  readonly lastAt: Millis;
  /** Nodes that acknowledged it then. */
  readonly replicas: number;
  /** Attempts since then that nobody acknowledged. */
  readonly failures: number;
}

/** Where they are kept. */
export interface PublishedStore {
  readonly count: number;
  get(target: Id): Published | undefined;
  entries(): Iterable<Published>;
  /**
   * Keeps a value, or what became of it, in place of what was kept for its target. `saved` hears whether it will
   * survive the end of the process, as far as this store promises that.
   */
  save(published: Published, saved?: (isSaved: boolean) => void): void;
  remove(target: Id): void;
}

/** Published values of a node that keeps nothing on disk. */
export class MemoryPublishedStore implements PublishedStore {
  readonly #published: IdMap<Published>;

  /** `seed`: any 32-bit integer that strangers don't know. */
  constructor(seed: number) {
    this.#published = new IdMap(seed);
  }

  get count(): number {
    return this.#published.size;
  }

  get(target: Id): Published | undefined {
    return this.#published.get(target);
  }

  *entries(): Generator<Published> {
    for (const [, published] of this.#published.entries()) yield published;
  }

  save(published: Published, saved?: (isSaved: boolean) => void): void {
    this.#published.set(published.item.target, published);
    saved?.(true);
  }

  remove(target: Id): void {
    this.#published.delete(target);
  }
}
