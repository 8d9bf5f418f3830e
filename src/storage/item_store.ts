// Items that survive the process: held in memory to be served, written to the database in groups.

import type { Millis } from "../dht/deadlines.ts";
import type { Item, StoredItem } from "../dht/item.ts";
import { type ItemStore, MemoryItemStore } from "../dht/item_store.ts";
import type { Id } from "../krpc/id.ts";
import type { Database } from "./database.ts";

/** How long a put may wait for others to be committed together with it. */
const GROUP_MS = 4;

/** Puts that wait at most; more are refused, so that a slow disk does not fill the memory. */
const MAX_WAITING = 10_000;

interface Waiting {
  readonly target: Id;
  readonly now: Millis;
  readonly committed: (kept: boolean) => void;
}

export class DurableItemStore implements ItemStore {
  readonly #memory: MemoryItemStore;
  readonly #database: Database;
  readonly #onFailure: (error: unknown) => void;
  #waiting: Waiting[] = [];
  #deleted: Id[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `onFailure` hears of commits that failed; the puts in them are answered with a failure. */
  constructor(
    memory: MemoryItemStore,
    database: Database,
    now: Millis,
    onFailure: (error: unknown) => void,
  ) {
    this.#memory = memory;
    this.#database = database;
    this.#onFailure = onFailure;
    memory.onDrop = (item) => {
      this.#deleted.push(item.target);
      this.#schedule();
    };
    for (const item of database.items()) {
      if (item.expiresAt > now) memory.restore(item);
      else this.#deleted.push(item.target);
    }
  }

  get count(): number {
    return this.#memory.count;
  }

  get bytes(): number {
    return this.#memory.bytes;
  }

  get(target: Id, now: Millis): StoredItem | undefined {
    return this.#memory.get(target, now);
  }

  put(item: Item, now: Millis, committed: (kept: boolean) => void): void {
    if (this.#waiting.length >= MAX_WAITING) return committed(false);
    this.#memory.put(item, now, (kept) => {
      if (!kept) return committed(false);
      this.#waiting.push({ target: item.target, now, committed });
      this.#schedule();
    });
  }

  expire(now: Millis): StoredItem[] {
    return this.#memory.expire(now);
  }

  entries(): Iterable<StoredItem> {
    return this.#memory.entries();
  }

  /** Commits what waits. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting, deleted = this.#deleted;
    if (waiting.length === 0 && deleted.length === 0) return;
    this.#waiting = [];
    this.#deleted = [];
    const items = new Map<string, StoredItem>();
    for (const { target, now } of waiting) {
      const item = this.#memory.get(target, now);
      if (item !== undefined) items.set(target.toString(), item);
    }
    let isCommitted = true;
    try {
      this.#database.saveItems(items.values(), deleted);
    } catch (error) {
      isCommitted = false;
      this.#deleted.push(...deleted);
      this.#onFailure(error);
    }
    for (const { target, committed } of waiting) {
      committed(isCommitted && items.has(target.toString()));
    }
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => this.flush(), GROUP_MS);
  }
}
