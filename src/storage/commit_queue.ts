// Groups changes into commits, and reports for each change whether it was committed. The commits run in another thread.
// Changes that arrive during a commit are collected for the next one.

import { DurationHistogram } from "../dht/histogram.ts";
import type { AnnouncementRow, ContactRow, ItemRow, PublishedRow } from "./rows.ts";

/** The changes of one commit to the database. */
export interface RowChanges {
  /** Targets of items to delete. The deletions precede the writes of `renewedItems` and `items`. */
  readonly deletedItems: Uint8Array[];
  readonly items: ItemRow[];
  /** New times of items that are already on disk. They are written before `items`. */
  renewedItems?: Pick<ItemRow, "target" | "stored_at" | "expires_at">[];
  /** Published values to write, in this order. An entry with only a target deletes the value with that target. */
  readonly published: (PublishedRow | Pick<PublishedRow, "target">)[];
  /** The complete list of contacts, which replaces the saved list; undefined to keep the saved list. */
  contacts: ContactRow[] | undefined;
  /**
   * Announcements to write, in this order. An entry with only an info-hash deletes the announcement of that info-hash.
   */
  announcements?: (AnnouncementRow | Pick<AnnouncementRow, "info_hash">)[];
  /** The node's new id; undefined if the id has not changed. */
  nodeId?: Uint8Array;
  /** The state of the node's clock, from which the next run continues. */
  clock?: Uint8Array;
  /** Records to write, in this order. An entry without bytes deletes the record. */
  records?: RecordChange[];
}

/**
 * A change of a record: a few bytes that the node saves under a name, such as a sample of its statistics. Null bytes
 * delete the record.
 */
export interface RecordChange {
  readonly name: string;
  readonly bytes: Uint8Array | null;
}

/** All changes of one commit, including those of the blob file. */
export interface Changes extends RowChanges {
  /** The ids of blobs to remove after the other changes are on disk. */
  readonly removedBlobs: number[];
}

/** Called when a commit fails, at intervals while commits keep failing, and when a commit succeeds again. */
export interface CommitObserver {
  failed(error: unknown): void;
  recovered(): void;
}

/**
 * Cap on the changes of one commit. One change writes at most four pages, so a commit adds at most 8 MiB to the
 * write-ahead log.
 */
const MAX_CHANGES = 256;

/** The minimum time between the starts of two commits, in ms. Changes that arrive in between join the next commit. */
const GROUP_MS = 4;

/** The pause after a failed commit, in ms. It is long because a full disk stays full for a while. */
const RETRY_MS = 250;

/** While commits keep failing, the minimum time between two calls of the observer, in ms. */
const REPORT_INTERVAL_MS = 60_000;

interface Group {
  readonly changes: Changes;
  readonly settled: ((isCommitted: boolean) => void)[];
}

export class CommitQueue {
  /** The durations of all commits, including failed ones. */
  readonly durations = new DurationHistogram();
  failures = 0;
  /** Called after each commit, once the outcome of all its changes has been reported. */
  onSettled: (() => void) | undefined;
  readonly #commit: (changes: Changes) => Promise<void>;
  readonly #observer: CommitObserver;
  /** The commits that are not started yet. New changes join the last of them. */
  readonly #groups: Group[] = [];
  #running: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The earliest time at which the next commit may start, on the monotonic clock in ms. */
  #notBefore = 0;
  #isClosed = false;
  #hasFailed = false;
  #committing = 0;
  #reportedAt = -Infinity;

  /** `commit` runs one commit at a time. It must reject only if nothing was changed. */
  constructor(commit: (changes: Changes) => Promise<void>, observer: CommitObserver) {
    this.#commit = commit;
    this.#observer = observer;
  }

  /** The number of changes that are not yet committed. */
  get waiting(): number {
    return this.#groups.reduce((sum, { settled }) => sum + settled.length, this.#committing);
  }

  /**
   * Adds a change of one row, or of all contacts, to the next commit with room. `settled` is called once, when this
   * commit has succeeded or failed.
   */
  add(
    change: (changes: Changes) => void,
    settled: (isCommitted: boolean) => void = () => {},
  ): void {
    if (this.#isClosed) return settled(false);
    let group = this.#groups.at(-1);
    if (group === undefined || group.settled.length === MAX_CHANGES) {
      group = {
        changes: {
          deletedItems: [],
          items: [],
          published: [],
          removedBlobs: [],
          contacts: undefined,
        },
        settled: [],
      };
      this.#groups.push(group);
    }
    change(group.changes);
    group.settled.push(settled);
    this.#schedule();
  }

  /**
   * Adds a change, and retries until it is committed or no longer wanted. `first` is called with the outcome of the
   * first attempt.
   */
  addUntilCommitted(
    change: (changes: Changes) => void,
    isWanted: () => boolean,
    first?: (isCommitted: boolean) => void,
  ): void {
    this.add(change, (isCommitted) => {
      if (!isCommitted && !this.#isClosed && isWanted()) this.addUntilCommitted(change, isWanted);
      first?.(isCommitted);
    });
  }

  /** Commits all changes added so far. Resolves when all these commits have succeeded or failed, and never rejects. */
  async flush(): Promise<void> {
    if (this.#running !== undefined) await this.#running;
    // Run only the commits that are waiting now: failed changes may be added again and again, so the queue may never
    // become empty.
    for (let count = this.#groups.length; count > 0; count--) await this.#run();
  }

  /** Commits all changes added so far, and refuses later changes. Never rejects. */
  async close(): Promise<void> {
    await this.flush();
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const refused = this.#groups.splice(0).flatMap(({ settled }) => settled);
    for (const settle of refused) settle(false);
  }

  #schedule(): void {
    if (this.#running !== undefined || this.#timer !== undefined) return;
    const wait = Math.max(0, this.#notBefore - performance.now());
    this.#timer = setTimeout(() => void this.#run(), wait);
  }

  async #run(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { changes, settled } = this.#groups.shift()!;
    this.#notBefore = performance.now() + GROUP_MS;
    this.#running = this.#settle(changes, settled);
    await this.#running;
  }

  async #settle(changes: Changes, settled: Group["settled"]): Promise<void> {
    let isCommitted = true;
    const startedAt = performance.now();
    this.#committing = settled.length;
    try {
      await this.#commit(changes);
    } catch (error) {
      isCommitted = false;
      this.failures++;
      this.#notBefore = performance.now() + RETRY_MS;
      this.#hasFailed = true;
      this.#report(error);
    }
    this.durations.add(performance.now() - startedAt);
    this.#committing = 0;
    if (isCommitted && this.#hasFailed) {
      this.#hasFailed = false;
      this.#reportedAt = -Infinity;
      this.#observer.recovered();
    }
    this.#running = undefined;
    for (const settle of settled) settle(isCommitted);
    this.onSettled?.();
    if (this.#groups.length > 0) this.#schedule();
  }

  #report(error: unknown): void {
    if (performance.now() - this.#reportedAt < REPORT_INTERVAL_MS) return;
    this.#reportedAt = performance.now();
    this.#observer.failed(error);
  }
}
