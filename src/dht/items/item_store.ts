// An in-memory store of items held for the network. An item stays until it expires. A full store refuses new items.

import { compareDistance, type Id, IdMap } from "../../krpc/id.ts";
import { ErrorCode } from "../../krpc/message.ts";
import type { Millis } from "../deadlines.ts";
import {
  type GivenItem,
  type Item,
  ITEM_LIFE_MS,
  type ItemError,
  lifeTimeOf,
  type StoredItem,
  storedItem,
} from "./item.ts";
import { itemCost } from "./item_cost.ts";

/**
 * The items from a source may fill this many times the space that is still free. One source can
 * thus fill a fifth of the store, and 62 sources are needed to fill all but a millionth.
 */
const SOURCE_SHARE = 1 / 4;

/**
 * The items from a source's wider network may fill this many times the space that is still free.
 * One wider network can thus fill half of the store.
 */
const WIDE_SHARE = 1;

/**
 * One eviction of spare items frees this share of the store's limit. Evictions should be rare,
 * because each one sorts the items.
 */
const EVICTED_SHARE = 0.05;

/**
 * For this long after a repair, we rely on what the repair found out about other holders. Repairs
 * are about an hour apart.
 */
const SPARE_MS = 2 * 3_600_000;

/** The cost of an item. */
export interface ItemCost {
  /** Bytes that count against the limit of the store. */
  readonly bytes: number;
  /**
   * Bytes that count against the share of the item's source: more than `bytes` if the item lives
   * for more than a day.
   */
  readonly charge: number;
}

function costOf(item: StoredItem): ItemCost {
  const bytes = itemCost(item);
  return { bytes, charge: bytes * weightOf(lifeTimeOf(item)) };
}

/**
 * How many times an item counts against its source's share. Items with a long life count more.
 * Otherwise, filling the share for a week would be no more work than filling it for a day.
 */
function weightOf(lifeMs: Millis): number {
  return Math.max(1, lifeMs / ITEM_LIFE_MS);
}

/** The cost that an item adds to the totals of the store and of its source. `held` is the item that it replaces. */
export function addedBy(stored: StoredItem, held: StoredItem | undefined): ItemCost {
  const { bytes, charge } = costOf(stored);
  if (held === undefined) return { bytes, charge };
  const before = costOf(held), isSameSource = held.by === stored.by;
  return { bytes: bytes - before.bytes, charge: charge - (isSameSource ? before.charge : 0) };
}

/**
 * The outcome of a put. Either the item is kept, or it is not: for lack of space, because it has
 * expired, or because of a disk error.
 */
export type PutOutcome = "kept" | "full" | "source_full" | "expired" | "failed";

/** The KRPC error for an item that was not kept. */
export function notKept(outcome: Exclude<PutOutcome, "kept">): ItemError {
  return { code: ErrorCode.server, text: NOT_KEPT[outcome] };
}

const NOT_KEPT = {
  full: "storage is full",
  source_full: "your network's share of the storage is full",
  expired: "the item has expired",
  failed: "could not store",
};

/** Keeps items in memory only. `DurableItemStore` also keeps them on disk. */
export class ItemStore {
  readonly #items: IdMap<StoredItem>;
  #bytes = 0;
  #usedBytes = 0;
  /** The bytes charged to each source, and to each wider network. */
  readonly #usedBy = new Map<string, number>();
  /**
   * Items that may be evicted because enough closer nodes held them at our last check, with the
   * time of that check.
   */
  readonly #spare: IdMap<Millis>;
  /** Called with each item that expired or was evicted. */
  onDrop: ((item: StoredItem) => void) | undefined;
  /** Called with each item that was evicted. */
  onEvict: ((item: StoredItem) => void) | undefined;
  #own: Id;

  /** `own` is the node's id. Among spare items, those far from it are evicted first. */
  constructor(own: Id, readonly limitBytes: number, seed: number) {
    this.#own = own;
    this.#items = new IdMap(seed);
    this.#spare = new IdMap(seed);
  }

  get count(): number {
    return this.#items.size;
  }

  /** The total size of the values in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * The bytes that count against the limit ({@link itemCost}), including items that are still being
   * written to disk.
   */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** The item, unless it has expired. */
  get(target: Id, now: Millis): StoredItem | undefined {
    const item = this.#items.get(target);
    return item !== undefined && item.expiresAt > now ? item : undefined;
  }

  /**
   * Stores an item, replacing any item with the same target. Calls `done` once, now or later: with "kept" when the item
   * is stored as durably as this store promises.
   */
  put(given: GivenItem, now: Millis, done: (outcome: PutOutcome) => void): void {
    const held = this.get(given.item.target, now);
    const stored = storedItem(given, held, now);
    const refused = this.refusalOf(stored, { held, by: given.by }, now);
    if (refused === undefined) this.restore(stored);
    done(refused ?? "kept");
  }

  /**
   * Returns the reason for not storing an item; undefined if there is room for it. `held` is the
   * item that it replaces, and `by` is the source that puts it now. If necessary, spare items are
   * evicted.
   */
  protected refusalOf(
    stored: StoredItem,
    { held, by }: { held: StoredItem | undefined; by: string | undefined },
    now: Millis,
  ): "full" | "source_full" | "expired" | undefined {
    if (stored.expiresAt <= now) return "expired";
    const { bytes, charge } = addedBy(stored, held);
    const added = stored.by === undefined ? bytes : Math.max(bytes, charge);
    // A repeated put adds nothing, so it is never refused.
    if (added <= 0) return undefined;
    if (this.room(by) < added) this.#evictSpare(now);
    if (this.room(by) >= added) return undefined;
    return this.#free < bytes ? "full" : "source_full";
  }

  get #free(): number {
    return Math.max(0, this.limitBytes - this.#usedBytes);
  }

  /** How many bytes of items one put from a source may add; see {@link GivenItem.by}. */
  room(by: string | undefined): number {
    const free = this.#free;
    if (by === undefined) return free;
    const left = SOURCE_SHARE * free - (this.#usedBy.get(by) ?? 0);
    const leftWide = WIDE_SHARE * free - (this.#usedBy.get(widerThan(by)) ?? 0);
    return Math.max(0, Math.min(left, leftWide));
  }

  /** How many bytes of items a source could add in many puts: each put leaves less free space for the next. */
  roomInAll(by: string | undefined, lifeMs = ITEM_LIFE_MS): number {
    const free = this.#free, weight = weightOf(lifeMs);
    if (by === undefined) return free;
    const left = (SOURCE_SHARE * free - (this.#usedBy.get(by) ?? 0)) / (weight + SOURCE_SHARE);
    const leftWide = (WIDE_SHARE * free - (this.#usedBy.get(widerThan(by)) ?? 0)) /
      (weight + WIDE_SHARE);
    return Math.max(0, Math.floor(Math.min(left, leftWide)));
  }

  /** Adds a cost to the totals of the store and of a source. `by` is the source that the item is credited to. */
  protected account({ bytes, charge }: ItemCost, by: string | undefined): void {
    this.#usedBytes += bytes;
    if (by === undefined) return;
    for (const name of [by, widerThan(by)]) {
      const used = (this.#usedBy.get(name) ?? 0) + charge;
      if (used > 0) this.#usedBy.set(name, used);
      else this.#usedBy.delete(name);
    }
  }

  /**
   * Adds an item with its original times, for example one that an earlier run saved, even if the
   * store is full.
   */
  restore(item: StoredItem): void {
    const held = this.#items.get(item.target);
    if (held !== undefined) this.#remove(held);
    this.#bytes += item.value.length;
    this.account(costOf(item), item.by);
    this.#items.set(item.target, item);
  }

  expire(now: Millis): StoredItem[] {
    const expired = [...this.entries()].filter((item) => item.expiresAt <= now);
    for (const item of expired) this.#drop(item);
    return expired;
  }

  /** Drops an item immediately, if it is here. */
  remove(target: Id): void {
    const item = this.#items.get(target);
    if (item !== undefined) this.#drop(item);
  }

  /**
   * Records whether enough closer nodes hold an item. If so, it may be evicted when space is
   * needed.
   */
  noteSpare({ target }: Item, isSpare: boolean, now: Millis): void {
    if (!isSpare) this.#spare.delete(target);
    else if (this.#items.get(target) !== undefined) this.#spare.set(target, now);
  }

  /** Sets the node's new id. Items far from it are evicted first from now on. */
  noteId(own: Id): void {
    this.#own = own;
  }

  entries(): Iterable<StoredItem> {
    return this.#items.values();
  }

  /** Evicts spare items, farthest first, until a share of the limit is free. */
  #evictSpare(now: Millis): void {
    const goal = EVICTED_SHARE * this.limitBytes;
    if (this.#spare.size === 0 || this.#free >= goal) return;
    const spare: StoredItem[] = [];
    for (const [target, since] of [...this.#spare.entries()]) {
      if (now - since < SPARE_MS) spare.push(this.#items.get(target)!);
      else this.#spare.delete(target);
    }
    spare.sort((x, y) => compareDistance(y.target, x.target, this.#own));
    for (const item of spare) {
      if (this.#free >= goal) return;
      this.#drop(item);
      this.onEvict?.(item);
    }
  }

  #drop(item: StoredItem): void {
    if (!this.#items.delete(item.target)) return;
    this.#remove(item);
    this.onDrop?.(item);
  }

  /** Subtracts an item from the totals. */
  #remove(item: StoredItem): void {
    const { bytes, charge } = costOf(item);
    this.#bytes -= item.value.length;
    this.account({ bytes: -bytes, charge: -charge }, item.by);
    this.#spare.delete(item.target);
  }
}

/** The wider network that a source belongs to; see `sourceOf`. */
function widerThan(source: string): string {
  return source.slice(0, source.indexOf("/"));
}
