// Gathers changes into groups, each one commit, and tells of every change whether it was committed. The commits
// themselves happen elsewhere: while one runs, the next group gathers.

import { DurationHistogram } from "../dht/histogram.ts";
import type { ContactRow, ItemRow, PublishedRow } from "./rows.ts";

/** What one commit changes. */
export interface Changes {
  /** Targets of items that go before others are written. */
  readonly deletedItems: Uint8Array[];
  readonly items: ItemRow[];
  /** In this order; a target alone is removed. */
  readonly published: (PublishedRow | Pick<PublishedRow, "target">)[];
  /** All contacts, in place of the former; undefined leaves those. */
  contacts: ContactRow[] | undefined;
  /** The node's new id, where it has one. */
  nodeId?: Uint8Array;
}

/** Hears how commits fare: of the first failure, now and then of more, and of the end of them. */
export interface CommitObserver {
  failed(error: unknown): void;
  recovered(): void;
}

/** Least time between the starts of two commits, in ms: how long changes wait for others to go with them. */
const GROUP_MS = 4;

/** Pause after a failed commit, in ms: a full disk stays full for a while. */
const RETRY_MS = 250;

/** While commits go on failing, one is told of in this time, in ms. */
const TELL_EVERY_MS = 60_000;

interface Group {
  readonly changes: Changes;
  readonly settled: ((isCommitted: boolean) => void)[];
}

export class CommitQueue {
  /** Of commits that ended, well or not. */
  readonly durations = new DurationHistogram();
  /** Commits that failed. */
  failures = 0;
  readonly #commit: (changes: Changes) => Promise<void>;
  readonly #observer: CommitObserver;
  #group: Group | undefined;
  #running: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the next commit may start, by the monotonic clock. */
  #notBefore = 0;
  #isClosed = false;
  #hasFailed = false;
  #committing = 0;
  #toldAt = -Infinity;

  /** `commit` is called again only after its promise has settled; a rejection means that nothing was changed. */
  constructor(commit: (changes: Changes) => Promise<void>, observer: CommitObserver) {
    this.#commit = commit;
    this.#observer = observer;
  }

  /** Changes that are in no commit yet, or in the one that runs. */
  get waiting(): number {
    return this.#committing + (this.#group?.settled.length ?? 0);
  }

  /** Puts a change into the next commit; `settled` is called once, when that has succeeded or failed. */
  add(
    change: (changes: Changes) => void,
    settled: (isCommitted: boolean) => void = () => {},
  ): void {
    if (this.#isClosed) return settled(false);
    this.#group ??= {
      changes: {
        deletedItems: [],
        items: [],
        published: [],
        contacts: undefined,
      },
      settled: [],
    };
    change(this.#group.changes);
    this.#group.settled.push(settled);
    this.#schedule();
  }

  /** Puts a change into commit after commit for as long as they fail and it `isWanted`; `first` hears of the first. */
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

  /** Commits what has been added so far; resolves when that has succeeded or failed. Never rejects. */
  async flush(): Promise<void> {
    if (this.#running !== undefined) await this.#running;
    if (this.#group !== undefined) await this.#run();
  }

  /** Commits what has been added so far, and refuses what comes later. Never rejects. */
  async close(): Promise<void> {
    await this.flush();
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const { settled } = this.#group ?? { settled: [] };
    this.#group = undefined;
    for (const tell of settled) tell(false);
  }

  #schedule(): void {
    if (this.#running !== undefined || this.#timer !== undefined) return;
    const wait = Math.max(0, this.#notBefore - performance.now());
    this.#timer = setTimeout(() => void this.#run(), wait);
  }

  async #run(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { changes, settled } = this.#group!;
    this.#group = undefined;
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
      this.#onFailure(error);
    }
    this.durations.add(performance.now() - startedAt);
    this.#committing = 0;
    if (isCommitted && this.#hasFailed) {
      this.#hasFailed = false;
      this.#toldAt = -Infinity;
      this.#observer.recovered();
    }
    this.#running = undefined;
    for (const tell of settled) tell(isCommitted);
    if (this.#group !== undefined) this.#schedule();
  }

  #onFailure(error: unknown): void {
    this.#hasFailed = true;
    if (performance.now() - this.#toldAt < TELL_EVERY_MS) return;
    this.#toldAt = performance.now();
    this.#observer.failed(error);
  }
}
