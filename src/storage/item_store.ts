// Items that survive a restart. They are committed to disk before they are acknowledged, and their values are read from
// disk when needed.

import type { Millis } from "../dht/deadlines.ts";
import {
  type GivenItem,
  type Item,
  ITEM_LIFE_MS,
  lifeTimeOf,
  type StoredItem,
  storedItem,
} from "../dht/items/item.ts";
import { itemCost } from "../dht/items/item_cost.ts";
import { addedBy, ItemStore, type PutOutcome } from "../dht/items/item_store.ts";
import type { ItemRecord, Slot } from "../dht/items/item_table.ts";
import { type Id, IdMap } from "../krpc/id.ts";
import type { CommitQueue } from "./commit_queue.ts";
import type { ReadResult } from "./item_reads.ts";
import { itemRow } from "./rows.ts";

/**
 * Cap on the puts that wait for their commit. Further puts are refused, so that they can't fill the memory if the disk
 * is slow.
 */
const MAX_WAITING = 10_000;

/** Cap on the total cost (see `itemCost`) of the items that are cached in memory: about 3,400 items. */
const MAX_CACHED_BYTES = 4 << 20;

export class DurableItemStore extends ItemStore {
  readonly #queue: CommitQueue;
  readonly #readItem: (target: Id, done: (result: ReadResult) => void) => void;
  readonly #clock: () => Millis;
  /** For each target, the newest item that is not on disk yet. */
  readonly #pending: IdMap<StoredItem>;
  /** Targets whose item was dropped while a newer item was being committed. */
  readonly #dropped: IdMap<true>;
  /**
   * The items whose values are cached in memory, oldest first. The set may also contain items that have since been
   * replaced or dropped.
   */
  readonly #cached = new Set<StoredItem>();
  #cachedBytes = 0;
  #waiting = 0;
  #lost = 0;
  /** Called when the first value is found to be missing or damaged. */
  readonly #onLost: () => void;

  /**
   * `saved`: the records of an earlier run. `isOlder`: whether a version of the program without node time saved the
   * items. `readItem` reads an item from disk. `clock` returns the node's time. `onLost` is called when the first value
   * is found to be missing or damaged; see `lost`. See {@link ItemStore} for the other options.
   */
  constructor(
    { own, limitBytes, seed, queue, saved, readItem, clock, onLost = () => {}, isOlder = false }: {
      own: Id;
      limitBytes: number;
      seed: number;
      queue: CommitQueue;
      saved: Iterable<ItemRecord>;
      readItem: (target: Id, done: (result: ReadResult) => void) => void;
      clock: () => Millis;
      onLost?: (() => void) | undefined;
      isOlder?: boolean;
    },
    now: Millis,
  ) {
    super(own, limitBytes, seed);
    this.#queue = queue;
    this.#readItem = readItem;
    this.#clock = clock;
    this.#onLost = onLost;
    this.#pending = new IdMap(seed);
    this.#dropped = new IdMap(seed);
    this.onDrop = (target) => {
      // A deletion now could also delete the newer item, so wait until the newer item is committed.
      if (this.#pending.has(target)) this.#dropped.set(target, true);
      else this.#delete(target);
    };
    for (const item of saved) {
      // The times of this item may come from a wrong clock, so keep the item for another day.
      if (isOlder && item.expiresAt <= now) this.#renew(item, now);
      else if (item.expiresAt <= now) this.#delete(item.target);
      else if (item.storedAt <= now) this.restoreRecord(item);
      // This item was stored after the clock was last saved, which happens once a minute. Start the lifetime of the
      // item anew.
      else this.restoreRecord({ ...item, storedAt: now, expiresAt: now + lifeTimeOf(item) });
    }
  }

  /** The number of items that were dropped because their rows turned out to be missing or damaged. */
  get lost(): number {
    return this.#lost;
  }

  override has(target: Id, now: Millis): boolean {
    return this.#pending.has(target) || super.has(target, now);
  }

  /**
   * Returns the newest item, even before it is on disk. Otherwise, an item with a lower seq could overwrite it in the
   * meantime.
   */
  override get(target: Id, now: Millis): StoredItem | undefined {
    return this.#pending.get(target) ?? super.get(target, now);
  }

  override read(
    target: Id,
    now: Millis,
    done: (item: StoredItem | undefined, now: Millis) => void,
  ): void {
    if (!this.isOnDisk(target, now)) return super.read(target, now, done);
    const askedAt = this.#clock();
    this.#readItem(target, (result) => {
      const at = now + this.#clock() - askedAt;
      const slot = this.records.find(target);
      // The item may have been replaced, dropped or cached in the meantime.
      if (slot < 0 || !this.isOnDisk(target, at)) return super.read(target, at, done);
      // A later read may succeed.
      if (result === "failed") return done(undefined, at);
      if (result === "missing") {
        // The value is lost. Drop the item, so that another holder sends us a new copy.
        this.remove(target);
        this.onEarlyDrop?.(target, "lost");
        if (this.#lost++ === 0) this.#onLost();
        return done(undefined, at);
      }
      const item = this.#withRecord(result, slot);
      this.#cache(slot, item);
      done(item, at);
    });
  }

  override put(given: GivenItem, now: Millis, done: (outcome: PutOutcome) => void): void {
    const { item } = given, { target } = item;
    if (!this.isOnDisk(target, now)) return this.#put(given, this.get(target, now), now, done);
    if (item.signed === undefined) {
      // An immutable item has only one version, so no read from disk is needed.
      return this.#put(given, this.#withRecord(item, this.records.find(target)), now, done);
    }
    this.read(target, now, (held, at) => {
      // The read has failed. Without the held version, we can't tell whether the new item is newer.
      if (held === undefined && this.has(target, at)) done("failed");
      else this.#put(given, held, at, done);
    });
  }

  #put(
    given: GivenItem,
    held: StoredItem | undefined,
    now: Millis,
    done: (outcome: PutOutcome) => void,
  ): void {
    const { target } = given.item;
    const item = storedItem(given, held, now);
    if (this.#waiting >= MAX_WAITING) return done("failed");
    const refused = this.refusalOf(item, { held, by: given.by }, now);
    if (refused !== undefined) return done(refused);
    // Reserve the space, so that puts that are committed at the same time can't exceed the limit together.
    const { bytes, charge } = addedBy(item, held);
    const reserved = { bytes: Math.max(0, bytes), charge: Math.max(0, charge) };
    this.account(reserved, item.by);
    this.#waiting++;
    this.#pending.set(target, item);
    this.#queue.add((changes) => changes.items.push(itemRow(item)), (isCommitted) => {
      this.#waiting--;
      this.account({ bytes: -reserved.bytes, charge: -reserved.charge }, item.by);
      if (this.#pending.get(target) === item) this.#pending.delete(target);
      if (isCommitted) {
        this.#dropped.delete(target);
        this.restore(item);
      } else if (!this.#pending.has(target) && this.#dropped.delete(target)) {
        this.#delete(target);
      }
      done(isCommitted ? "kept" : "failed");
    });
  }

  override restore(item: StoredItem): void {
    super.restore(item);
    this.#cache(this.records.find(item.target), item);
  }

  /** Caches a value in memory, and evicts the values that were cached longest ago. */
  #cache(slot: Slot, item: StoredItem): void {
    this.inMemory[slot] = item;
    this.#cached.add(item);
    this.#cachedBytes += itemCost(item);
    for (const oldest of this.#cached) {
      if (this.#cachedBytes <= MAX_CACHED_BYTES) return;
      this.#cached.delete(oldest);
      this.#cachedBytes -= itemCost(oldest);
      const at = this.records.find(oldest.target);
      if (at >= 0 && this.inMemory[at] === oldest) this.inMemory[at] = undefined;
    }
  }

  /** Combines an item with the times and the source in its record. */
  #withRecord({ target, value, signed }: Item, slot: Slot): StoredItem {
    const { storedAt, expiresAt, by, copies } = this.records.get(slot);
    return { target, value, signed, storedAt, expiresAt, by, copies };
  }

  #renew(item: ItemRecord, now: Millis): void {
    const { target } = item, storedAt = now, expiresAt = now + ITEM_LIFE_MS;
    const slot = this.restoreRecord({ ...item, storedAt, expiresAt });
    const row = { target: target.toBytes(), stored_at: storedAt, expires_at: expiresAt };
    this.#queue.addUntilCommitted(
      (changes) => (changes.renewedItems ??= []).push(row),
      () => this.records.find(target) === slot && this.records.storedAt(slot) === storedAt,
    );
  }

  #delete(target: Id): void {
    this.#queue.addUntilCommitted(
      (changes) => changes.deletedItems.push(target.toBytes()),
      () => !this.#pending.has(target) && !super.has(target, -Infinity),
    );
  }
}
