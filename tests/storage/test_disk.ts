// A fake disk that a test can make full or slow. It records what the database would contain.

import type { StoredItem } from "../../src/dht/items/item.ts";
import { type ItemRecord, recordOf } from "../../src/dht/items/item_table.ts";
import type { Changes } from "../../src/storage/commit_queue.ts";
import { StorageError } from "../../src/storage/sqlite.ts";
import type { ReadResult } from "../../src/storage/item_reads.ts";
import {
  itemOf,
  itemRow,
  publishedOf,
  type PublishedRow,
  type SavedContact,
  savedContact,
  storedItem,
} from "../../src/storage/rows.ts";
import type { Id } from "../../src/krpc/id.ts";
import type { Published } from "../../src/dht/items/published.ts";

export class TestDisk {
  isFull = false;
  isUnreadable = false;
  reads = 0;
  /** The reads that wait, if reads are held. A read returns the state when it began. */
  heldReads: (() => void)[] | undefined;
  commits = 0;
  contacts: SavedContact[] = [];
  readonly #items = new Map<string, ReturnType<typeof itemRow>>();
  readonly #published = new Map<string, PublishedRow>();
  #held: PromiseWithResolvers<void> | undefined;
  #asked = Promise.withResolvers<void>();

  constructor(items: readonly StoredItem[] = []) {
    for (const item of items) this.#items.set(`${item.target.toBytes()}`, itemRow(item));
  }

  items(): StoredItem[] {
    return Array.from(this.#items.values(), storedItem);
  }

  /** The records of all items. */
  records(): ItemRecord[] {
    return this.items().map(recordOf);
  }

  /** Reads an item immediately, unless reads are held. */
  read(target: Id, done: (result: ReadResult) => void): void {
    this.reads++;
    const row = this.#items.get(`${target.toBytes()}`);
    const end = () =>
      done(this.isUnreadable ? "failed" : row === undefined ? "missing" : itemOf(row));
    if (this.heldReads === undefined) end();
    else this.heldReads.push(end);
  }

  published(): Published[] {
    return Array.from(this.#published.values(), publishedOf);
  }

  /** Lets commits wait from now on. */
  hold(): void {
    this.#held = Promise.withResolvers();
    this.#asked = Promise.withResolvers();
  }

  /** Resolves when a commit is waiting. */
  get asked(): Promise<void> {
    return this.#asked.promise;
  }

  release(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  async commit(changes: Changes): Promise<void> {
    this.#asked.resolve();
    await this.#held?.promise;
    if (this.isFull) throw new StorageError("the disk is full: free some room");
    this.commits++;
    for (const target of changes.deletedItems) this.#items.delete(`${target}`);
    for (const row of changes.items) this.#items.set(`${row.target}`, row);
    for (const row of changes.published) {
      if ("value" in row) this.#published.set(`${row.target}`, row);
      else this.#published.delete(`${row.target}`);
    }
    if (changes.contacts !== undefined) this.contacts = changes.contacts.map(savedContact);
  }
}
