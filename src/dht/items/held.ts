// Finds the versions of an item that a node has: the copy that it holds for the network, and the
// version that it publishes itself.

import type { Id } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import { compareVersions, type Held } from "./item.ts";
import type { ItemStore } from "./item_store.ts";
import { type PublishedStore, putAtOf } from "./published.ts";

export interface Stores {
  /** The items that we hold for the network. */
  readonly items: ItemStore;
  /** The items that we publish. */
  readonly published: PublishedStore;
}

/** Returns the newer of the versions in the two stores. Ignores items that `published` must read from disk. */
export function newestHeld(
  { items, published }: Stores,
  target: Id,
  now: Millis,
): Held | undefined {
  const item = items.get(target, now), own = published.get(target);
  const isOwn = own !== undefined &&
    (item === undefined || compareVersions(own.item, item) >= 0);
  if (isOwn) return { item: own.item, putAt: putAtOf(own) };
  return item && { item, putAt: item.storedAt };
}

/** Like {@link newestHeld}, but includes items that must be read from disk. Calls `done` once, now or later. */
export function readHeld(
  stores: Stores,
  target: Id,
  now: Millis,
  done: (held: Held | undefined) => void,
): void {
  const held = newestHeld(stores, target, now);
  if (held !== undefined) done(held);
  else stores.published.read(target, done);
}
