// Items that survive the process: held in memory to be served, and committed to disk before they are acknowledged.

import type { Millis } from "../dht/deadlines.ts";
import { type Item, ITEM_LIFE_MS, type StoredItem, storedItem } from "../dht/item.ts";
import type { ItemStore, MemoryItemStore } from "../dht/item_store.ts";
import { type Id, IdMap } from "../krpc/id.ts";
import type { CommitQueue } from "./commit_queue.ts";
import { itemRow } from "./rows.ts";

/** Puts that wait at most; more are refused, so that a slow disk does not fill the memory. */
const MAX_WAITING = 10_000;

export class DurableItemStore implements ItemStore {
  /** What is on disk. */
  readonly #memory: MemoryItemStore;
  readonly #queue: CommitQueue;
  /** The newest of each target that is not on disk yet. */
  readonly #pending: IdMap<StoredItem>;
  /** Targets that left the memory while a newer item of theirs was on its way to the disk. */
  readonly #dropped: IdMap<true>;
  #waiting = 0;

  /** `saved` is what an earlier run left; `seed` any 32-bit integer that strangers don't know. */
  constructor(
    memory: MemoryItemStore,
    queue: CommitQueue,
    saved: Iterable<StoredItem>,
    now: Millis,
    seed: number,
  ) {
    this.#memory = memory;
    this.#queue = queue;
    this.#pending = new IdMap(seed);
    this.#dropped = new IdMap(seed);
    memory.onDrop = ({ target }) => {
      // Deleted after the newer one was written, it would take that one with it.
      if (this.#pending.has(target)) this.#dropped.set(target, true);
      else this.#delete(target);
    };
    for (const item of saved) {
      if (item.expiresAt <= now) this.#delete(item.target);
      else if (item.storedAt <= now) memory.restore(item);
      // The clock of the earlier run was ahead.
      else memory.restore({ ...item, storedAt: now, expiresAt: now + ITEM_LIFE_MS });
    }
  }

  get count(): number {
    return this.#memory.count;
  }

  get bytes(): number {
    return this.#memory.bytes;
  }

  /** The newest item, even one that is not committed yet: a lower seq must not pass it on its way. */
  get(target: Id, now: Millis): StoredItem | undefined {
    return this.#pending.get(target) ?? this.#memory.get(target, now);
  }

  put(
    given: Item,
    now: Millis,
    committed: (kept: boolean) => void,
    ageMs = 0,
    by?: string,
  ): void {
    const { target } = given;
    const item = storedItem(given, this.get(target, now), now, ageMs, by);
    if (this.#waiting >= MAX_WAITING || item.expiresAt <= now) return committed(false);
    this.#waiting++;
    this.#pending.set(target, item);
    this.#queue.add((changes) => changes.items.push(itemRow(item)), (isCommitted) => {
      this.#waiting--;
      if (this.#pending.get(target) === item) this.#pending.delete(target);
      if (isCommitted) {
        this.#dropped.delete(target);
        this.#memory.restore(item);
      } else if (!this.#pending.has(target) && this.#dropped.delete(target)) {
        this.#delete(target);
      }
      committed(isCommitted && this.#memory.get(target, -Infinity) === item);
    });
  }

  expire(now: Millis): StoredItem[] {
    return this.#memory.expire(now);
  }

  noteId(own: Id): void {
    this.#memory.noteId(own);
  }

  /** What is on disk. */
  entries(): Iterable<StoredItem> {
    return this.#memory.entries();
  }

  #delete(target: Id): void {
    this.#queue.addUntilCommitted(
      (changes) => changes.deletedItems.push(target.toBytes()),
      () => !this.#pending.has(target) && this.#memory.get(target, -Infinity) === undefined,
    );
  }
}
