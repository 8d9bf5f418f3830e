// All that a node keeps on disk, behind the stores that the core uses.

import type { Millis } from "../dht/deadlines.ts";
import type { StoredItem } from "../dht/item.ts";
import { MemoryItemStore } from "../dht/item_store.ts";
import { Id, word } from "../krpc/id.ts";
import { type CommitObserver, CommitQueue } from "./commit_queue.ts";
import { DurableItemStore } from "./item_store.ts";
import { DurablePublishedStore } from "./published.ts";
import { contactRow, publishedOf, savedContact, unpackItems } from "./rows.ts";
import type { SavedContact } from "./rows.ts";
import { DatabaseThread, type Saved } from "./thread.ts";

export interface DiskOptions {
  /** A thread that runs `serveDatabase`; ended with the storage. */
  readonly worker: Worker;
  readonly path: string;
  /** False: the file, where it is there, can't be empty. */
  readonly mayBeEmpty: boolean;
  /** Bytes of others' items, at most. */
  readonly limitBytes: number;
  readonly now: Millis;
  /** Unpredictable bytes, in a new array. */
  readonly randomBytes: (length: number) => Uint8Array;
  readonly observer: CommitObserver;
}

export class DiskStorage {
  readonly nodeId: Id;
  readonly items: DurableItemStore;
  readonly published: DurablePublishedStore;
  /** As they were saved by an earlier run. */
  readonly contacts: readonly SavedContact[];
  /** Rows that are not as they were written, and were left out. */
  readonly damagedRows: number;
  readonly #thread: DatabaseThread;
  readonly #queue: CommitQueue;

  /**
   * Opens the file, or makes it, and reads what it holds.
   *
   * @throws {StorageError} where it can't be used
   */
  static async open(options: DiskOptions): Promise<DiskStorage> {
    const { worker, path, mayBeEmpty, randomBytes } = options;
    const items: StoredItem[] = [];
    const { thread, saved } = await DatabaseThread.open(
      worker,
      { path, mayBeEmpty, newNodeId: randomBytes(20) },
      (part) => items.push(...unpackItems(part)),
    );
    return new DiskStorage(thread, saved, items, options);
  }

  private constructor(
    thread: DatabaseThread,
    saved: Saved,
    items: readonly StoredItem[],
    { limitBytes, now, randomBytes, observer }: DiskOptions,
  ) {
    const seed = () => word(randomBytes(4), 0);
    this.#thread = thread;
    this.#queue = new CommitQueue((changes) => thread.commit(changes), observer);
    this.nodeId = Id.read(saved.nodeId);
    this.contacts = saved.contacts.map(savedContact);
    this.damagedRows = saved.damagedRows;
    const memory = new MemoryItemStore(this.nodeId, limitBytes, seed());
    this.items = new DurableItemStore(memory, this.#queue, items, now, seed());
    this.published = new DurablePublishedStore(
      this.#queue,
      saved.published.map(publishedOf),
      seed(),
      now,
    );
  }

  /** How commits fare: their durations, how many failed, and the changes that wait for one. */
  get commits(): Pick<CommitQueue, "durations" | "failures" | "waiting"> {
    return this.#queue;
  }

  /** Remembers these contacts in place of the former, soon. */
  saveContacts(contacts: Iterable<SavedContact>): void {
    const rows = Array.from(contacts, contactRow);
    this.#queue.add((changes) => changes.contacts = rows);
  }

  /** Remembers another node id, from the next run on. */
  saveNodeId(id: Id): void {
    const bytes = id.toBytes();
    this.#queue.add((changes) => changes.nodeId = bytes);
  }

  /** Commits what waits, and lets go of the file. Never rejects. */
  async close(): Promise<void> {
    await this.#queue.close();
    await this.#thread.close();
  }
}
