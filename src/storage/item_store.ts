// Items that survive a restart: served from memory, and committed to disk before they are acknowledged.

import type { Millis } from "../dht/deadlines.ts";
import {
  type GivenItem,
  ITEM_LIFE_MS,
  lifeTimeOf,
  type StoredItem,
  storedItem,
} from "../dht/items/item.ts";
import { addedBy, ItemStore, type PutOutcome } from "../dht/items/item_store.ts";
import { type Id, IdMap } from "../krpc/id.ts";
import type { CommitQueue } from "./commit_queue.ts";
import { itemRow } from "./rows.ts";

/** Cap on the puts that wait to be committed. Further puts are refused, so that a slow disk can't fill the memory. */
const MAX_WAITING = 10_000;

export class DurableItemStore extends ItemStore {
  readonly #queue: CommitQueue;
  /** The newest item of each target, while it is not on disk yet. */
  readonly #pending: IdMap<StoredItem>;
  /** Targets that were dropped from memory while a newer item for them was being committed. */
  readonly #dropped: IdMap<true>;
  #waiting = 0;

  /**
   * `saved`: the items of an earlier run. `isOlder`: whether the items were saved by a version of
   * the program that had no node time. See {@link ItemStore} for the other options.
   */
  constructor(
    { own, limitBytes, seed, queue, saved, isOlder = false }: {
      own: Id;
      limitBytes: number;
      seed: number;
      queue: CommitQueue;
      saved: Iterable<StoredItem>;
      isOlder?: boolean;
    },
    now: Millis,
  ) {
    super(own, limitBytes, seed);
    this.#queue = queue;
    this.#pending = new IdMap(seed);
    this.#dropped = new IdMap(seed);
    this.onDrop = ({ target }) => {
      // Deleting the target now could also delete the newer item. So wait until that item is committed.
      if (this.#pending.has(target)) this.#dropped.set(target, true);
      else this.#delete(target);
    };
    for (const item of saved) {
      // A wrong clock may have set the times of this item, so keep it for another day.
      if (isOlder && item.expiresAt <= now) this.#renew(item, now);
      else if (item.expiresAt <= now) this.#delete(item.target);
      else if (item.storedAt <= now) this.restore(item);
      // The clock is saved only once a minute, and this item was stored after the clock was last
      // saved. So restart the item's life now.
      else this.restore({ ...item, storedAt: now, expiresAt: now + lifeTimeOf(item) });
    }
  }

  /** The newest item, even if it is not on disk yet, so that an item with a lower seq can't overwrite it meanwhile. */
  override get(target: Id, now: Millis): StoredItem | undefined {
    return this.#pending.get(target) ?? super.get(target, now);
  }

  override put(given: GivenItem, now: Millis, done: (outcome: PutOutcome) => void): void {
    const { target } = given.item, held = this.get(target, now);
    const item = storedItem(given, held, now);
    if (this.#waiting >= MAX_WAITING) return done("failed");
    const refused = this.refusalOf(item, { held, by: given.by }, now);
    if (refused !== undefined) return done(refused);
    // Reserve the space, so that puts that are written at the same time don't exceed the limit together.
    const { bytes, charge } = addedBy(item, held);
    const reserved = { bytes: Math.max(0, bytes), charge: Math.max(0, charge) };
    this.account(reserved, item.by);
    this.#waiting++;
    this.#pending.set(target, item);
    this.#queue.add((changes) => changes.items.push(itemRow(item)), (isCommitted) => {
      this.#waiting--;
      this.account({ bytes: -reserved.bytes, charge: -reserved.charge }, item.by);
      if (this.#pending.get(target) === item) this.#pending.delete(target);
      if (isCommitted) {
        this.#dropped.delete(target);
        this.restore(item);
      } else if (!this.#pending.has(target) && this.#dropped.delete(target)) {
        this.#delete(target);
      }
      done(isCommitted ? "kept" : "failed");
    });
  }

  #renew(item: StoredItem, now: Millis): void {
    const renewed = { ...item, storedAt: now, expiresAt: now + ITEM_LIFE_MS };
    this.restore(renewed);
    this.#queue.addUntilCommitted(
      (changes) => changes.items.push(itemRow(renewed)),
      () => super.get(item.target, now) === renewed,
    );
  }

  #delete(target: Id): void {
    this.#queue.addUntilCommitted(
      (changes) => changes.deletedItems.push(target.toBytes()),
      () => !this.#pending.has(target) && super.get(target, -Infinity) === undefined,
    );
  }
}
