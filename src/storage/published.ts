// This node's own values, with when each is to be published again. They are few, never evicted, and held in memory.

import type { Millis } from "../dht/deadlines.ts";
import type { Published, PublishedStore } from "../dht/published.ts";
import { type Id, IdMap } from "../krpc/id.ts";
import type { CommitQueue } from "./commit_queue.ts";
import { publishedRow } from "./rows.ts";

/** No publication is farther off: an hour and a tenth. */
const LATEST_MS = 1.1 * 3_600_000;

export class DurablePublishedStore implements PublishedStore {
  readonly #published: IdMap<Published>;
  readonly #queue: CommitQueue;

  /** `saved` is what an earlier run left; `seed` any 32-bit integer that strangers don't know. */
  constructor(
    queue: CommitQueue,
    saved: Iterable<Published>,
    seed: number,
    now: Millis,
  ) {
    this.#queue = queue;
    this.#published = new IdMap(seed);
    for (const published of saved) {
      // The clock of an earlier run may have been ahead.
      const nextAt = Math.min(published.nextAt, now + LATEST_MS);
      this.#published.set(published.item.target, { ...published, nextAt });
    }
  }

  get count(): number {
    return this.#published.size;
  }

  get(target: Id): Published | undefined {
    return this.#published.get(target);
  }

  *entries(): Generator<Published> {
    for (const [, published] of this.#published.entries()) yield published;
  }

  /**
   * Keeps a value, or what became of it, in place of what was kept for its target. `saved` hears whether it is on
   * disk; where it is not, that is tried again until it is, or until something else is saved for the target.
   */
  save(published: Published, saved?: (isSaved: boolean) => void): void {
    const { target } = published.item;
    this.#published.set(target, published);
    this.#queue.addUntilCommitted(
      (changes) => changes.published.push(publishedRow(published)),
      () => this.#published.get(target) === published,
      saved,
    );
  }

  /** Forgets a value. It stays with the nodes that hold it until it expires there. */
  remove(target: Id): void {
    if (!this.#published.delete(target)) return;
    this.#queue.addUntilCommitted(
      (changes) => changes.published.push({ target: target.toBytes() }),
      () => !this.#published.has(target),
    );
  }
}
