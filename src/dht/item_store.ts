// Items held for the network, in memory: bounded, expiring, the farthest given up first.

import { compareDistance, type Id, IdMap } from "../krpc/id.ts";
import type { Millis } from "./deadlines.ts";
import { type Item, type StoredItem, storedItem } from "./item.ts";

/** What a node needs of the place where it keeps items. */
export interface ItemStore {
  readonly count: number;
  /** Bytes of the values held. */
  readonly bytes: number;
  /** The item, unless it has expired. */
  get(target: Id, now: Millis): StoredItem | undefined;
  /**
   * Keeps an item, in place of one of the same target. Calls `committed` once, now or later: with true when the
   * item will survive the end of the process as far as this store promises that, with false when it was not kept.
   * `ageMs`: how long ago its owner put it, where another holder hands it on. `by`: whose address it comes from.
   */
  put(
    item: Item,
    now: Millis,
    committed: (kept: boolean) => void,
    ageMs?: Millis,
    by?: string,
  ): void;
  /** Drops what has expired and returns it. */
  expire(now: Millis): StoredItem[];
  entries(): Iterable<StoredItem>;
  /** The node has another id: items far from that go first from now on. */
  noteId(own: Id): void;
}

/** Share of the limit that is freed at once when it is reached, so that sorting is rare. */
const EVICTED_SHARE = 0.05;

/** Share of the limit that one address may fill before its items are the first to go. */
const OWNER_SHARE = 1 / 8;

/**
 * Bytes that an item takes beyond its value, in memory and on disk: measured with 100,000 and 200,000 items at 1.3 to
 * 1.5 kB (`tests/executable/measure.ts`). Without them a limit of 1 GiB would admit millions of one-byte values.
 */
export const ITEM_OVERHEAD_BYTES = 1_500;

export class MemoryItemStore implements ItemStore {
  readonly #items: IdMap<StoredItem>;
  #bytes = 0;
  /** Hears of each item that expired or was given up for lack of room. */
  onDrop: ((item: StoredItem) => void) | undefined;
  #own: Id;

  /** `own` is the node's id: items far from it go first. */
  constructor(own: Id, readonly limitBytes: number, seed: number) {
    this.#own = own;
    this.#items = new IdMap(seed);
  }

  get count(): number {
    return this.#items.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What counts against the limit. */
  get #size(): number {
    return this.#bytes + this.count * ITEM_OVERHEAD_BYTES;
  }

  get(target: Id, now: Millis): StoredItem | undefined {
    const item = this.#items.get(target);
    return item !== undefined && item.expiresAt > now ? item : undefined;
  }

  put(
    item: Item,
    now: Millis,
    committed: (kept: boolean) => void,
    ageMs = 0,
    by?: string,
  ): void {
    const stored = storedItem(item, this.get(item.target, now), now, ageMs, by);
    if (stored.expiresAt > now) this.restore(stored);
    committed(this.#items.get(item.target) === stored);
  }

  /** Takes in an item with the times that it has, as one from an earlier run. */
  restore(item: StoredItem): void {
    const held = this.#items.get(item.target);
    if (held !== undefined) this.#bytes -= held.value.length;
    this.#bytes += item.value.length;
    this.#items.set(item.target, item);
    if (this.#size > this.limitBytes) this.#evict();
  }

  expire(now: Millis): StoredItem[] {
    const expired = [...this.entries()].filter((item) => item.expiresAt <= now);
    for (const item of expired) this.#drop(item);
    return expired;
  }

  noteId(own: Id): void {
    this.#own = own;
  }

  *entries(): Generator<StoredItem> {
    for (const [, item] of this.#items.entries()) yield item;
  }

  #evict(): void {
    const farthestFirst = [...this.entries()]
      .sort((x, y) => compareDistance(y.target, x.target, this.#own));
    const goal = this.limitBytes * (1 - EVICTED_SHARE);
    // Ids near to ours can be had by trying: what has come from one address gives way to what came from others.
    const sizes = new Map<string | undefined, number>();
    for (const item of farthestFirst) sizes.set(item.by, (sizes.get(item.by) ?? 0) + sizeOf(item));
    sizes.delete(undefined);
    for (const item of farthestFirst) {
      if (this.#size <= goal) return;
      const size = sizes.get(item.by) ?? 0;
      if (size <= OWNER_SHARE * this.limitBytes) continue;
      sizes.set(item.by, size - sizeOf(item));
      this.#drop(item);
    }
    for (const item of farthestFirst) {
      if (this.#size <= goal) return;
      this.#drop(item);
    }
  }

  #drop(item: StoredItem): void {
    if (!this.#items.delete(item.target)) return;
    this.#bytes -= item.value.length;
    this.onDrop?.(item);
  }
}

function sizeOf({ value }: StoredItem): number {
  return value.length + ITEM_OVERHEAD_BYTES;
}
