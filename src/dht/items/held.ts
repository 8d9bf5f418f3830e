// Finds the versions of an item that a node has: the copy that it holds for the network, and the
// version that it publishes itself.

import type { Id } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import { compareVersions, type Held, type StoredItem } from "./item.ts";
import type { ItemStore } from "./item_store.ts";
import { type Published, type PublishedStore, putAtOf } from "./published.ts";

export interface Stores {
  /** The items that we hold for the network. */
  readonly items: ItemStore;
  /** The items that we publish. */
  readonly published: PublishedStore;
}

/**
 * Returns the newer of the versions in the two stores. Ignores values that must be read from disk:
 * see {@link mustRead}.
 */
export function newestHeld(
  { items, published }: Stores,
  target: Id,
  now: Millis,
): Held | undefined {
  return newerOf(items.get(target, now), published.get(target));
}

/** Whether one of the stores has the item, in memory or on disk. Ignores pieces of our own large values. */
export function isHeld({ items, published }: Stores, target: Id, now: Millis): boolean {
  return items.has(target, now) || published.get(target) !== undefined;
}

/** Whether an item must be read from disk, so that {@link readHeld} may find an item that {@link newestHeld} misses. */
export function mustRead(stores: Stores, target: Id, now: Millis): boolean {
  const { items, published } = stores;
  if (items.isOnDisk(target, now)) return true;
  return newestHeld(stores, target, now) === undefined && published.has(target);
}

/**
 * Like {@link newestHeld}, but includes items that must be read from disk. Does not include pieces
 * of our own large values. Calls `done` once, now or later.
 */
export function readNewest(
  { items, published }: Stores,
  target: Id,
  now: Millis,
  done: (held: Held | undefined, now: Millis) => void,
): void {
  items.read(target, now, (item, at) => done(newerOf(item, published.get(target)), at));
}

/** Like {@link readNewest}, but includes pieces of our own large values. */
export function readHeld(
  stores: Stores,
  target: Id,
  now: Millis,
  done: (held: Held | undefined, now: Millis) => void,
): void {
  readNewest(stores, target, now, (held, at) => {
    if (held !== undefined) done(held, at);
    else stores.published.read(target, (own) => done(own, at));
  });
}

function newerOf(item: StoredItem | undefined, own: Published | undefined): Held | undefined {
  const isOwn = own !== undefined &&
    (item === undefined || compareVersions(own.item, item) >= 0);
  if (isOwn) return { item: own.item, putAt: putAtOf(own) };
  return item && { item, putAt: item.storedAt };
}
