// The values that this node publishes itself.

import { type Id, IdMap } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import { compareVersions, type Held, type Item } from "./item.ts";

/** The blobs of a large value, and the progress of the present round of republishing it. */
export interface LargeContent {
  /** The blob with the value's bytes. */
  readonly value: number;
  /** The blob with the ids of the value's pieces, 20 bytes each. */
  readonly ids: number;
  /** 1 + the number of stripes that this round has published; 0 if no round has begun. */
  readonly next: number;
}

/**
 * Why an item is published after a user pinned a value. "only": the value is published only because
 * of the pin. "too": the value was also stored through this node. "part": the item is a part of a
 * pinned value.
 */
export type Pin = "only" | "too" | "part";

/** A value that this node publishes, and the outcome of its publications so far. */
export interface Published {
  readonly item: Item;
  readonly firstAt: Millis;
  nextAt: Millis;
  /** When another node last acknowledged a publication of the value; -Infinity if none has yet. */
  readonly lastAt: Millis;
  /** How many nodes acknowledged the publication at `lastAt`. */
  replicas: number;
  /** The number of publications since `lastAt` that no node acknowledged. */
  readonly failures: number;
  /** The content of a large value, if the item is its root; otherwise undefined. */
  readonly large?: LargeContent;
  /** How long other nodes should keep the item after its last publication; undefined means `ITEM_LIFE_MS`. */
  readonly lifeMs?: Millis;
  readonly pin?: Pin;
}

/** Items that a node publishes and keeps elsewhere: the pieces of its large values. */
export interface PieceSource {
  /** Whether `read` may find the item. This must be fast. */
  mayHave(target: Id): boolean;
  /** Reads an item. Calls `done` once, now or later; with undefined if it is not there. */
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

  /** Whether `read` may find an item: one that `get` returns, or a piece. */
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

  /** Calls `done` with true once all changes so far are as durable as this store promises, or with false if not. */
  sync(done: (isSaved: boolean) => void): void {
    done(true);
  }
}

/** When a node last acknowledged the value. If none has yet, when we began to publish it. */
export function putAtOf({ firstAt, lastAt }: Published): Millis {
  return Math.max(firstAt, lastAt);
}
