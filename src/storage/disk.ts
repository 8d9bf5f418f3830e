// Everything that a node keeps on disk. The core uses it through the stores in this folder.

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
  /** A worker that runs `serveDatabase`. It is terminated when the storage is closed. */
  readonly worker: Worker;
  readonly path: string;
  /** The file for blobs. */
  readonly blobsPath: string;
  /** Whether to accept an empty file; see `DatabaseOptions`. */
  readonly mayBeEmpty: boolean;
  /** The maximum total size of other nodes' items, in bytes. */
  readonly limitBytes: number;
  /**
   * Starts the node's clock and returns its time. `saved` is the clock state that an earlier run saved. If there is
   * none, `latest` is the latest time in the file, or -Infinity if the file contains no times.
   */
  readonly startClock: (saved: Uint8Array | undefined, latest: number) => Millis;
  /** Returns the time of the node's clock, once the clock has started. */
  readonly clock: () => Millis;
  /** Returns cryptographically random bytes in a new array. */
  readonly randomBytes: (length: number) => Uint8Array;
  readonly observer: CommitObserver;
  /** Called when the first value of another node is found to be damaged or missing. Called at most once per run. */
  readonly onLost?: (() => void) | undefined;
}

export class DiskStorage {
  readonly nodeId: Id;
  readonly items: DurableItemStore;
  readonly published: DurablePublishedStore;
  readonly blobs: BlobStore;
  /** The contacts that earlier runs saved. */
  readonly contacts: readonly SavedContact[];
  /** The announcements of earlier runs that were not ended. */
  readonly announcements: readonly SavedAnnouncement[];
  /** The records that earlier runs saved, by name. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  readonly #damagedAtStart: number;
  readonly #thread: DatabaseThread;
  readonly #queue: CommitQueue;
  readonly #reads: ItemReads;

  /** Opens the file, or creates it, and reads its content. @throws {StorageError} if the file can't be used */
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

  /** The number of damaged rows that were found at startup or later, including missing rows of items. */
  get damagedRows(): number {
    return this.#damagedAtStart + this.items.lost;
  }

  /** Statistics of commits: durations, failures, and the number of uncommitted changes. */
  get commits(): Pick<CommitQueue, "durations" | "failures" | "waiting"> {
    return this.#queue;
  }

  /**
   * Sets a function that is called after each commit and after each batch of item reads, once their results have been
   * reported.
   */
  set onSettled(settled: () => void) {
    this.#queue.onSettled = settled;
    this.#reads.onSettled = settled;
  }

  /** Replaces the saved contacts with the next commit. */
  saveContacts(contacts: Iterable<SavedContact>): void {
    const rows = Array.from(contacts, contactRow);
    this.#queue.add((changes) => changes.contacts = rows);
  }

  /** Saves an announcement for later runs. Resolves to whether the announcement is on disk. */
  saveAnnouncement(announcement: SavedAnnouncement): Promise<boolean> {
    return this.#changeAnnouncement(announcementRow(announcement));
  }

  /** Deletes a saved announcement. Resolves to whether the deletion is on disk. */
  removeAnnouncement(infoHash: Id): Promise<boolean> {
    return this.#changeAnnouncement({ info_hash: infoHash.toBytes() });
  }

  #changeAnnouncement(row: NonNullable<Changes["announcements"]>[number]): Promise<boolean> {
    return new Promise((resolve) =>
      this.#queue.add((changes) => (changes.announcements ??= []).push(row), resolve)
    );
  }

  /** Saves a record for later runs; null deletes the record. Resolves to whether the change is on disk. */
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
