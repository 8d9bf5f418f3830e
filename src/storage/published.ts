// Stores this node's own values on disk, each with the time of its next publication. They are few, so all stay in
// memory and none is evicted.

import type { Millis } from "../dht/deadlines.ts";
import { type Published, PublishedStore } from "../dht/items/published.ts";
import type { Id } from "../krpc/id.ts";
import type { CommitQueue } from "./commit_queue.ts";
import { publishedRow } from "./rows.ts";

/** The maximum wait until the next publication of a value. */
const MAX_WAIT_MS = 1.1 * 3_600_000;

export class DurablePublishedStore extends PublishedStore {
  readonly #queue: CommitQueue;

  /** `saved`: the values of an earlier run. `seed`: a 32-bit integer that strangers can't know. */
  constructor(
    { queue, saved, seed }: {
      readonly queue: CommitQueue;
      readonly saved: Iterable<Published>;
      readonly seed: number;
    },
    now: Millis,
  ) {
    super(seed);
    this.#queue = queue;
    for (const published of saved) {
      // Limit the wait, in case a version without node time saved the value while the clock was ahead.
      super.save({ ...published, nextAt: Math.min(published.nextAt, now + MAX_WAIT_MS) });
    }
  }

  /**
   * Saves a value. `saved` is called with the outcome of the first attempt. A failed attempt is retried until the value
   * is on disk or has been replaced.
   */
  override save(published: Published, saved?: (isSaved: boolean) => void): void {
    const { target } = published.item;
    super.save(published);
    this.#queue.addUntilCommitted(
      (changes) => changes.published.push(publishedRow(published)),
      () => this.get(target) === published,
      saved,
    );
  }

  /** Stops publishing a value, and deletes it from disk. Other nodes keep the value until it expires there. */
  override remove(target: Id): void {
    if (this.get(target) === undefined) return;
    super.remove(target);
    this.#queue.addUntilCommitted(
      (changes) => changes.published.push({ target: target.toBytes() }),
      () => this.get(target) === undefined,
    );
  }

  /** Calls `done` once all changes so far have been committed, or with false if a commit has failed. */
  override sync(done: (isSaved: boolean) => void): void {
    const { failures } = this.#queue;
    this.#queue.add(() => {}, () => done(this.#queue.failures === failures));
  }
}
