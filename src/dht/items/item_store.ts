// The items held for the network. An item stays until it expires, or until its space is needed and
// enough closer nodes hold it. A full store refuses new items.

import { compareDistance, type Id } from "../../krpc/id.ts";
import { ErrorCode } from "../../krpc/message.ts";
import type { Millis } from "../deadlines.ts";
import {
  compareVersions,
  type GivenItem,
  type Item,
  ITEM_LIFE_MS,
  type ItemError,
  lifeTimeOf,
  type StoredItem,
  storedItem,
} from "./item.ts";
import { itemCost } from "./item_cost.ts";
import { type ItemRecord, ItemTable, recordOf, type Slot } from "./item_table.ts";

/**
 * The maximum space of one source's items, as a multiple of the space that is still free. One source can thus fill a
 * fifth of the store, and 62 sources are needed to fill all but a millionth.
 */
const SOURCE_SHARE = 1 / 4;

/**
 * The maximum space of the items from a source's wider network, as a multiple of the space that is still free. One
 * wider network can thus fill half of the store.
 */
const WIDE_SHARE = 1;

/**
 * One eviction of spare items frees this share of the store's limit. Evictions should be rare,
 * because each one sorts the items.
 */
const EVICTED_SHARE = 0.05;

/** The time for which we rely on what a repair found out about other holders. Repairs are about an hour apart. */
const SPARE_MS = 2 * 3_600_000;

/** The cost of an item. */
export interface ItemCost {
  /** The number of bytes that the item adds to the used space of the store. */
  readonly bytes: number;
  /**
   * The number of bytes that the item uses of its source's share: more than `bytes` if the item lives for more than a
   * day.
   */
  readonly charge: number;
}

function costOf(item: StoredItem): ItemCost {
  const bytes = itemCost(item);
  return { bytes, charge: bytes * weightOf(lifeTimeOf(item)) };
}

/**
 * The factor by which an item counts against its source's share. It is higher for items with a long life. Otherwise,
 * filling the share for a week would be no more work than filling it for a day.
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
 * expired, because the store has a newer version, or because of a disk error.
 */
export type PutOutcome = "kept" | "full" | "source_full" | "expired" | "outdated" | "failed";

/**
 * Why an item was dropped before it expired: the node needed its space and enough closer nodes held
 * it, or the disk has lost its value.
 */
export type EarlyDrop = "evicted" | "lost";

/** The KRPC error for an item that was not kept. */
export function notKept(outcome: Exclude<PutOutcome, "kept">): ItemError {
  const code = outcome === "outdated" ? ErrorCode.seqTooLow : ErrorCode.server;
  return { code, text: NOT_KEPT[outcome] };
}

const NOT_KEPT = {
  full: "storage is full",
  source_full: "your network's share of the storage is full",
  expired: "the item has expired",
  outdated: "a newer version is stored",
  failed: "could not store",
};

/** Keeps items in memory. `DurableItemStore` keeps their records in memory, and their values on disk. */
export class ItemStore {
  readonly records: ItemTable;
  /** For each slot of `records`, the item if its value is in memory. */
  protected readonly inMemory: (StoredItem | undefined)[] = [];
  #bytes = 0;
  #usedBytes = 0;
  /** For each source and each wider network, the number of bytes charged to it. */
  readonly #usedBy = new Map<string, number>();
  /** Called with the target of each item that expired or was evicted. */
  onDrop: ((target: Id) => void) | undefined;
  /** Called with the target of each item that was dropped before it expired, and the reason. */
  onEarlyDrop: ((target: Id, reason: EarlyDrop) => void) | undefined;
  #own: Id;

  /** `own` is the node's id. Spare items far from it are evicted first. */
  constructor(own: Id, readonly limitBytes: number, seed: number) {
    this.#own = own;
    this.records = new ItemTable(seed);
  }

  get count(): number {
    return this.records.size;
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

  /** Whether the store has the item and the item has not expired. */
  has(target: Id, now: Millis): boolean {
    const slot = this.records.find(target);
    return slot >= 0 && this.records.expiresAt(slot) > now;
  }

  /**
   * Returns the item. Undefined if the store does not have it, if it has expired, or if its value must be read from
   * disk.
   */
  get(target: Id, now: Millis): StoredItem | undefined {
    const slot = this.records.find(target);
    const item = slot < 0 ? undefined : this.inMemory[slot];
    return item !== undefined && item.expiresAt > now ? item : undefined;
  }

  /** Whether the store has the item, but must read its value from disk. */
  isOnDisk(target: Id, now: Millis): boolean {
    return this.get(target, now) === undefined && this.has(target, now);
  }

  /**
   * Reads an item. Calls `done` once, now or later, with the time. The item is undefined if the store does not have it
   * or can't read it. If the item can't be read, `has` still returns true.
   */
  read(
    target: Id,
    now: Millis,
    done: (item: StoredItem | undefined, now: Millis) => void,
  ): void {
    done(this.get(target, now), now);
  }

  /**
   * Stores an item, unless the store has a newer version. Calls `done` once, now or later: with "kept" when the item is
   * stored as durably as this store promises.
   */
  put(given: GivenItem, now: Millis, done: (outcome: PutOutcome) => void): void {
    const held = this.get(given.item.target, now);
    const stored = storedItem(given, held, now);
    const refused = this.refusalOf(stored, { held, by: given.by }, now);
    if (refused === undefined) this.restore(stored);
    done(refused ?? "kept");
  }

  /**
   * Returns the reason for not storing an item; undefined if there is room for it. `held` is the item that it replaces,
   * and `by` is the source that puts it now. Evicts spare items if more space is needed.
   */
  protected refusalOf(
    stored: StoredItem,
    { held, by }: { held: StoredItem | undefined; by: string | undefined },
    now: Millis,
  ): Exclude<PutOutcome, "kept" | "failed"> | undefined {
    if (stored.expiresAt <= now) return "expired";
    // Compare again: the stored version may have changed during a lookup or a disk read.
    if (held !== undefined && compareVersions(stored, held) < 0) return "outdated";
    const { bytes, charge } = addedBy(stored, held);
    const added = stored.by === undefined ? bytes : Math.max(bytes, charge);
    // A repeated put adds no bytes, so it is never refused for lack of space.
    if (added <= 0) return undefined;
    if (this.room(by) < added) this.#evictSpare(now);
    if (this.room(by) >= added) return undefined;
    return this.#free < bytes ? "full" : "source_full";
  }

  get #free(): number {
    return Math.max(0, this.limitBytes - this.#usedBytes);
  }

  /** The maximum number of bytes that one put from a source may add; see {@link GivenItem.by}. */
  room(by: string | undefined): number {
    const free = this.#free;
    if (by === undefined) return free;
    const left = SOURCE_SHARE * free - (this.#usedBy.get(by) ?? 0);
    const leftWide = WIDE_SHARE * free - (this.#usedBy.get(widerThan(by)) ?? 0);
    return Math.max(0, Math.min(left, leftWide));
  }

  /** The maximum number of bytes that a source could add in many puts. Each put leaves less free space for the next. */
  roomInAll(by: string | undefined, lifeMs = ITEM_LIFE_MS): number {
    const free = this.#free, weight = weightOf(lifeMs);
    if (by === undefined) return free;
    const left = (SOURCE_SHARE * free - (this.#usedBy.get(by) ?? 0)) / (weight + SOURCE_SHARE);
    const leftWide = (WIDE_SHARE * free - (this.#usedBy.get(widerThan(by)) ?? 0)) /
      (weight + WIDE_SHARE);
    return Math.max(0, Math.floor(Math.min(left, leftWide)));
  }

  /** Adds a cost to the totals of the store and of a source. `by` is the source that is charged for the item. */
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
    this.inMemory[this.restoreRecord(recordOf(item))] = item;
  }

  /** Adds the record of an item, even if the store is full. Returns its slot. */
  protected restoreRecord(record: ItemRecord): Slot {
    const held = this.records.find(record.target);
    if (held >= 0) this.#account(held, -1);
    const slot = this.records.set(record);
    this.inMemory[slot] = undefined;
    this.#account(slot, 1);
    return slot;
  }

  /** Drops the items that have expired, and returns their targets. */
  expire(now: Millis): Id[] {
    const { records } = this, expired: Id[] = [];
    for (let slot = 0; slot < records.end; slot++) {
      if (records.expiresAt(slot) <= now) expired.push(this.#drop(slot));
    }
    return expired;
  }

  /** Drops an item immediately, if the store has it. */
  remove(target: Id): void {
    const slot = this.records.find(target);
    if (slot >= 0) this.#drop(slot);
  }

  /**
   * Records whether enough closer nodes hold an item. If so, it may be evicted when space is
   * needed.
   */
  noteSpare({ target }: Pick<Item, "target">, isSpare: boolean, now: Millis): void {
    const slot = this.records.find(target);
    if (slot >= 0) this.records.setSpareSince(slot, isSpare ? now : NaN);
  }

  /** Sets the node's new id. Items far from it are evicted first from now on. */
  noteId(own: Id): void {
    this.#own = own;
  }

  /** The items whose values are in memory. */
  *entries(): Generator<StoredItem> {
    for (const slot of this.records.slots()) {
      const item = this.inMemory[slot];
      if (item !== undefined) yield item;
    }
  }

  /** Evicts spare items, farthest first, until a share of the limit is free. */
  #evictSpare(now: Millis): void {
    const goal = EVICTED_SHARE * this.limitBytes, { records } = this;
    if (records.spares === 0 || this.#free >= goal) return;
    const spare: { readonly slot: Slot; readonly target: Id }[] = [];
    for (let slot = 0; slot < records.end; slot++) {
      const since = records.spareSince(slot);
      if (now - since < SPARE_MS) spare.push({ slot, target: records.target(slot) });
      else if (since <= now) records.setSpareSince(slot, NaN);
    }
    spare.sort((x, y) => compareDistance(y.target, x.target, this.#own));
    for (const { slot, target } of spare) {
      if (this.#free >= goal) return;
      this.#drop(slot);
      this.onEarlyDrop?.(target, "evicted");
    }
  }

  /** Drops an item, and returns its target. */
  #drop(slot: Slot): Id {
    const target = this.records.target(slot);
    this.#account(slot, -1);
    this.records.remove(slot);
    this.inMemory[slot] = undefined;
    this.onDrop?.(target);
    return target;
  }

  /** Adds a held item to the totals, or subtracts it from them. */
  #account(slot: Slot, sign: 1 | -1): void {
    const { records } = this, bytes = sign * records.cost(slot);
    const life = { storedAt: records.storedAt(slot), expiresAt: records.expiresAt(slot) };
    this.#bytes += sign * records.valueBytes(slot);
    this.account({ bytes, charge: bytes * weightOf(lifeTimeOf(life)) }, records.source(slot));
  }
}

/** The wider network that a source belongs to; see `sourceOf`. */
function widerThan(source: string): string {
  return source.slice(0, source.indexOf("/"));
}
