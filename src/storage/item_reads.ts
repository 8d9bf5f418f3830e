// Reads the values of items from disk. Reads that are requested in quick succession form one request to the storage
// thread. Only one request is pending at a time, so that the gets of strangers can delay commits by at most one
// request.

import type { Item } from "../dht/items/item.ts";
import { type Id, IdMap } from "../krpc/id.ts";
import { itemOf, type ItemRow } from "./rows.ts";

/**
 * Cap on the items of one read request. Commits wait during a request: about 1 ms if the file is in the system's cache,
 * and half a second on a disk that needs 8 ms for each item.
 */
const MAX_TARGETS = 64;

/** Cap on the pending reads, so that waiting queries can't fill the memory if the disk is slow. */
const MAX_WAITING = 4_096;

/** The database file of the items, accessed in another thread. */
export interface ItemFile {
  /** Reads the items with these targets, and returns a result for each target, in the same order. */
  readItems(targets: readonly Uint8Array[]): Promise<readonly RowResult[]>;
}

/** The result of reading a row. "missing": the row is absent or damaged. "failed": the disk could not read the row. */
export type RowResult = ItemRow | "missing" | "failed";

/** The result of reading an item, as in {@link RowResult}. */
export type ReadResult = Item | Exclude<RowResult, ItemRow>;

type Done = (result: ReadResult) => void;

export class ItemReads {
  /** Called after each request, once the callbacks of all its reads have been called. */
  onSettled: (() => void) | undefined;
  readonly #file: ItemFile;
  /** The requests that are not sent yet. New reads join the last of them. */
  readonly #requests: IdMap<Done[]>[] = [];
  #isBusy = false;
  #waiting = 0;
  readonly #seed: number;

  /** `seed`: a 32-bit integer that strangers can't know. */
  constructor(file: ItemFile, seed: number) {
    this.#file = file;
    this.#seed = seed;
  }

  /** Reads an item. Calls `done` once, later. If too many reads are pending, calls `done` with "failed" at once. */
  read(target: Id, done: Done): void {
    if (this.#waiting >= MAX_WAITING) return done("failed");
    this.#waiting++;
    let last = this.#requests.at(-1);
    const sharing = last?.get(target);
    if (sharing !== undefined) return void sharing.push(done);
    if (last === undefined || last.size === MAX_TARGETS) {
      last = new IdMap<Done[]>(this.#seed);
      this.#requests.push(last);
    }
    last.set(target, [done]);
    if (this.#isBusy) return;
    this.#isBusy = true;
    queueMicrotask(() => void this.#sendAll());
  }

  async #sendAll(): Promise<void> {
    for (let next = this.#requests.shift(); next !== undefined; next = this.#requests.shift()) {
      await this.#send(next);
    }
    this.#isBusy = false;
  }

  async #send(request: IdMap<Done[]>): Promise<void> {
    const entries = [...request.entries()];
    const targets = entries.map(([target]) => target.toBytes());
    // The storage thread has ended if this fails.
    const rows = await this.#file.readItems(targets).catch(() => []);
    for (const [i, [, sharing]] of entries.entries()) {
      const row = rows[i] ?? "failed";
      const result = typeof row === "string" ? row : itemOf(row);
      this.#waiting -= sharing.length;
      for (const done of sharing) {
        try {
          done(result);
        } catch (error) {
          // An error in one callback must not stop the others. The program logs the unhandled rejection.
          void Promise.reject(error);
        }
      }
    }
    this.onSettled?.();
  }
}
