// Everything that a node keeps on disk. The core accesses it through the stores in this folder.

import type { Millis } from "../dht/deadlines.ts";
import { Id, word } from "../krpc/id.ts";
import { type BlobStore, DiskBlobs } from "./blobs.ts";
import { type Changes, type CommitObserver, CommitQueue } from "./commit_queue.ts";
import { ItemReads } from "./item_reads.ts";
import { DurableItemStore } from "./item_store.ts";
import { DurablePublishedStore } from "./published.ts";
import {
  announcementRow,
  contactRow,
  type PackedItems,
  publishedOf,
  type SavedAnnouncement,
  savedAnnouncement,
  type SavedContact,
  savedContact,
  unpackItems,
} from "./rows.ts";
import { DatabaseThread, type Saved } from "./thread.ts";

export interface DiskOptions {
  /** A thread that runs `serveDatabase`. It ends when the storage is closed. */
  readonly worker: Worker;
  readonly path: string;
  /** The file for blobs. */
  readonly blobsPath: string;
  /** Whether to accept an empty file; see `DatabaseOptions`. */
  readonly mayBeEmpty: boolean;
  /** The size limit for items of other nodes, in bytes. */
  readonly limitBytes: number;
  /**
   * Starts the node's clock and returns the time. `saved` is the latest argument of `saveClock`. If nothing was saved,
   * `latest` is the latest time in the file, or -Infinity if the file has no times.
   */
  readonly startClock: (saved: Uint8Array | undefined, latest: number) => Millis;
  /** The time of the node's clock once it has started. */
  readonly clock: () => Millis;
  /** Returns unpredictable bytes in a new array. */
  readonly randomBytes: (length: number) => Uint8Array;
  readonly observer: CommitObserver;
  /** Called when a value of another node turns out to be damaged or missing, for the first time since the start. */
  readonly onLost?: (() => void) | undefined;
}

export class DiskStorage {
  readonly nodeId: Id;
  readonly items: DurableItemStore;
  readonly published: DurablePublishedStore;
  readonly blobs: BlobStore;
  /** The contacts that an earlier run saved. */
  readonly contacts: readonly SavedContact[];
  /** The announcements that an earlier run started and did not end. */
  readonly announcements: readonly SavedAnnouncement[];
  /** The records that earlier runs saved, by their names. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  readonly #damagedAtStart: number;
  readonly #thread: DatabaseThread;
  readonly #queue: CommitQueue;
  readonly #reads: ItemReads;

  /** Opens the file, or creates it, and reads its content. @throws {StorageError} if it can't be used */
  static async open(options: DiskOptions): Promise<DiskStorage> {
    const { worker, path, blobsPath, mayBeEmpty, randomBytes } = options;
    const items: PackedItems[] = [];
    const thread = new DatabaseThread(worker, path, (some) => items.push(some));
    const saved = await thread.open({ path, blobsPath, mayBeEmpty, newNodeId: randomBytes(20) });
    return new DiskStorage(thread, saved, items, options);
  }

  private constructor(
    thread: DatabaseThread,
    saved: Saved,
    packed: readonly PackedItems[],
    { limitBytes, startClock, clock, randomBytes, observer, onLost }: DiskOptions,
  ) {
    const seed = () => word(randomBytes(4), 0);
    this.#thread = thread;
    this.#queue = new CommitQueue((changes) => thread.commit(changes), observer);
    this.nodeId = Id.read(saved.nodeId);
    this.contacts = saved.contacts.map(savedContact);
    this.announcements = saved.announcements.map(savedAnnouncement);
    this.records = saved.records;
    this.#damagedAtStart = saved.damagedRows;
    this.blobs = new DiskBlobs(thread, this.#queue, saved.lastBlob);
    const published = saved.published.map(publishedOf);
    const items = () => Iterator.from(packed).flatMap(unpackItems);
    let latest = -Infinity;
    for (const { storedAt } of items()) latest = Math.max(latest, storedAt);
    for (const { firstAt, lastAt } of published) latest = Math.max(latest, firstAt, lastAt);
    for (const { lastSeen } of this.contacts) latest = Math.max(latest, lastSeen ?? -Infinity);
    const now = startClock(saved.clock, latest);
    const isOlder = saved.clock === undefined;
    const reads = this.#reads = new ItemReads(thread, seed());
    this.items = new DurableItemStore({
      own: this.nodeId,
      limitBytes,
      seed: seed(),
      queue: this.#queue,
      saved: items(),
      isOlder,
      readItem: (target, done) => reads.read(target, done),
      clock,
      onLost,
    }, now);
    this.published = new DurablePublishedStore(
      { queue: this.#queue, saved: published, seed: seed() },
      now,
    );
  }

  /** The number of rows that were damaged, at the start or when they were read later. Includes missing rows of items. */
  get damagedRows(): number {
    return this.#damagedAtStart + this.items.lost;
  }

  /** Statistics of commits: durations, failures, and the number of waiting changes. */
  get commits(): Pick<CommitQueue, "durations" | "failures" | "waiting"> {
    return this.#queue;
  }

  /**
   * Sets a function that is called after each commit and after each read of items, once all
   * callbacks have been called.
   */
  set onSettled(settled: () => void) {
    this.#queue.onSettled = settled;
    this.#reads.onSettled = settled;
  }

  /** Replaces the saved contacts. The next commit writes them to disk. */
  saveContacts(contacts: Iterable<SavedContact>): void {
    const rows = Array.from(contacts, contactRow);
    this.#queue.add((changes) => changes.contacts = rows);
  }

  /** Saves an announcement for later runs. Resolves with whether it is on disk. */
  saveAnnouncement(announcement: SavedAnnouncement): Promise<boolean> {
    return this.#changeAnnouncement(announcementRow(announcement));
  }

  /** Removes a saved announcement. Resolves with whether that is on disk. */
  removeAnnouncement(infoHash: Id): Promise<boolean> {
    return this.#changeAnnouncement({ info_hash: infoHash.toBytes() });
  }

  #changeAnnouncement(row: NonNullable<Changes["announcements"]>[number]): Promise<boolean> {
    return new Promise((resolve) =>
      this.#queue.add((changes) => (changes.announcements ??= []).push(row), resolve)
    );
  }

  /** Saves a record for later runs; null deletes it. Resolves with whether that is on disk. */
  saveRecord(name: string, bytes: Uint8Array | null): Promise<boolean> {
    return new Promise((resolve) =>
      this.#queue.add((changes) => (changes.records ??= []).push({ name, bytes }), resolve)
    );
  }

  saveClock(state: Uint8Array): void {
    this.#queue.add((changes) => changes.clock = state);
  }

  saveNodeId(id: Id): void {
    const bytes = id.toBytes();
    this.#queue.add((changes) => changes.nodeId = bytes);
  }

  /** Commits all changes and closes the file. Never rejects. */
  async close(): Promise<void> {
    await this.#queue.close();
    await this.#thread.close();
  }
}
