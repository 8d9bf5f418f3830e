// The values that this node publishes itself.

import { type Id, IdMap } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import { compareVersions, type Held, type Item } from "./item.ts";

/** The blobs of a large value, and the progress of the current round of republishing it. */
export interface LargeContent {
  /** The blob with the value's bytes. */
  readonly value: number;
  /** The blob with the ids of the value's pieces, 20 bytes each. */
  readonly ids: number;
  /** 1 + the number of stripes published in the current round; 0 if no round has begun. */
  readonly next: number;
}

/**
 * How an item is affected by a user's pin. "only": the item is a value that is published only because of the pin.
 * "too": the value was also stored through this node. "part": the item is a part of a pinned value.
 */
export type Pin = "only" | "too" | "part";

/** A value that this node publishes, and the outcome of its publications so far. */
export interface Published {
  readonly item: Item;
  readonly firstAt: Millis;
  nextAt: Millis;
  /** The time when another node last acknowledged a publication of the value; -Infinity if none has yet. */
  readonly lastAt: Millis;
  /** How many nodes acknowledged the publication at `lastAt`. */
  replicas: number;
  /** The number of publications since `lastAt` that no node acknowledged. */
  readonly failures: number;
  /** The blobs of a large value, if this item is its root item; otherwise undefined. */
  readonly large?: LargeContent;
  /** How long other nodes should keep the item after its last publication; undefined means `ITEM_LIFE_MS`. */
  readonly lifeMs?: Millis;
  readonly pin?: Pin;
}

/** Access to the pieces of a node's large values, which the node publishes but stores elsewhere. */
export interface PieceSource {
  /** Whether `read` may find the item. This call must be fast. */
  mayHave(target: Id): boolean;
  /** Reads an item. Calls `done` once, now or later; with undefined if the item was not found. */
  read(target: Id, done: (own: Held | undefined) => void): void;
}

/** The values that a node publishes, kept in memory. */
export class PublishedStore {
  pieces: PieceSource | undefined;
  readonly #published: IdMap<Published>;
  /**
   * Called when we begin to publish another node's newer version instead of the version `former`.
   */
  onAdopt: ((item: Item, former: Item) => void) | undefined;

  /** `seed`: a 32-bit integer that strangers can't know. */
  constructor(seed: number) {
    this.#published = new IdMap(seed);
  }

  get count(): number {
    return this.#published.size;
  }

  get(target: Id): Published | undefined {
    return this.#published.get(target);
  }

  /** Whether `read` may find the item, as a value that `get` returns or as a piece of a large value. */
  has(target: Id): boolean {
    return this.#published.get(target) !== undefined || (this.pieces?.mayHave(target) ?? false);
  }

  /** Reads an item that we publish. Calls `done` once, now or later; with undefined if we don't publish it. */
  read(target: Id, done: (own: Held | undefined) => void): void {
    const published = this.#published.get(target);
    if (published !== undefined) done({ item: published.item, putAt: putAtOf(published) });
    else if (this.pieces?.mayHave(target)) this.pieces.read(target, done);
    else done(undefined);
  }

  entries(): Iterable<Published> {
    return this.#published.values();
  }

  /**
   * Stores a value, replacing any earlier value with the same target. Calls `saved` with true once the value is stored
   * as durably as this store promises, or with false if that failed.
   */
  save(published: Published, saved?: (isSaved: boolean) => void): void {
    this.#published.set(published.item.target, published);
    saved?.(true);
  }

  /** Publishes `item` from now on if it is a newer version of a value that we publish. */
  adopt(item: Item): void {
    const own = this.#published.get(item.target);
    if (own === undefined || compareVersions(item, own.item) <= 0) return;
    const { target, value, signed } = item;
    this.save({ ...own, item: { target, value, signed } });
    this.onAdopt?.(item, own.item);
  }

  remove(target: Id): void {
    this.#published.delete(target);
  }

  /**
   * Calls `done` with true once all changes so far are as durable as this store promises, or with false if saving them
   * failed.
   */
  sync(done: (isSaved: boolean) => void): void {
    done(true);
  }
}

/**
 * The time when a node last acknowledged the value; before the first acknowledgement, the time when we began to publish
 * it.
 */
export function putAtOf({ firstAt, lastAt }: Published): Millis {
  return Math.max(firstAt, lastAt);
}
