// The values that this node keeps published, each with its items.

import type { Millis } from "../../dht/deadlines.ts";
import { type Item, ITEM_LIFE_MS } from "../../dht/items/item.ts";
import type { LargeContent, Pin, Published, PublishedStore } from "../../dht/items/published.ts";
import { pieceLifeOf, type StoredBlobs } from "../../large_values/large_values.ts";
import { decodeReference, decodeRoot } from "../../large_values/manifest.ts";
import type { OwnPieces, OwnValue } from "../../large_values/own_pieces.ts";
import { roundTimeMs } from "../../large_values/republisher.ts";
import { byteStringContent } from "../../krpc/bencode.ts";
import { compareIds, type Id, IdMap } from "../../krpc/id.ts";
import type { EventData } from "../../reports/events.ts";
import { optionalTime, timeText } from "../../reports/time.ts";
import type { PublishedFilter } from "../../node_service.ts";
import type { PublicationState } from "./publication_log.ts";
import type { PublishedValue, ValueState } from "../../reports/values.ts";

/** An item, and the number of nodes that acknowledged it. */
export interface StoredPart {
  readonly item: Item;
  readonly replicas: number;
  /** The number of other nodes that acknowledged the item. By default, all acknowledgements are from other nodes. */
  readonly others?: number;
  /** The time for which nodes should keep the item after it was last published; a day by default. */
  readonly lifeMs?: Millis;
  readonly pin?: Pin;
  /** The location of the value's bytes on this node's disk. Set only on the root item of a large value. */
  readonly large?: LargeContent;
}

export interface PublicationsOptions {
  readonly store: PublishedStore;
  /** The pieces of published large values. */
  readonly pieces: OwnPieces;
  /** Keeps an item published. Resolves with true once the item is on disk, or with false if saving failed. */
  readonly save: (part: StoredPart) => Promise<boolean>;
  /** Removes the bytes of a large value. */
  readonly discard: (blobs: StoredBlobs) => void;
  /** A 32-bit integer that strangers can't know. */
  readonly seed: number;
  readonly clock: PublicationClock;
  /** The minimum number of copies of a value. Values with fewer copies are reported. */
  readonly enough: () => number;
}

/** The node's clock. */
export interface PublicationClock {
  /** Returns the current node time. */
  now(): Millis;
  /** Converts a node time to milliseconds since 1970. */
  wall(at: Millis): number;
}

/** The number of published values in each state, and the number of pinned ones. */
export type ValueCounts = Readonly<Record<ValueState | "pinned", number>>;

type Risk = Exclude<ValueState, "safe">;

/** Reports that the state of a value has changed. */
export type ValueChange = EventData<"data.health">;

/** A value with less than this share of its life left is `ending`: other nodes will soon drop the value. */
const ENDING_SHARE = 0.25;

/** The maximum age of the counts of values. Older counts are computed again. */
const COUNTS_MS = 5_000;

export class Publications {
  /** Targets of whole values. All other items are published only because a value refers to them. */
  readonly #values: IdMap<true>;
  /** For each value that is not safe, the state that `changes` returned last. */
  readonly #reported: IdMap<ValueState>;
  #counts: { readonly at: Millis; readonly counts: ValueCounts } | undefined;

  /** Treats a stored item as a value, unless another item refers to it, or it is part of a pinned value. */
  constructor(private readonly options: PublicationsOptions) {
    const { store, pieces, seed } = options;
    this.#values = new IdMap(seed);
    this.#reported = new IdMap(seed);
    const parts = new IdMap<true>(seed);
    for (const { item, large } of store.entries()) {
      const root = linkOf(item);
      if (root !== undefined) parts.set(root, true);
      if (large !== undefined) pieces.add(item, large);
    }
    for (const { item: { target, signed }, pin } of store.entries()) {
      const isPart = signed === undefined && parts.has(target);
      const isOwn = pin === undefined && !isPart;
      if (isOwn || pin === "only" || pin === "too") this.#values.set(target, true);
    }
  }

  get #store(): PublishedStore {
    return this.options.store;
  }

  get count(): number {
    return this.#values.size;
  }

  /** The number of published items, including the pieces of large values. */
  get items(): number {
    return this.#store.count + this.options.pieces.count;
  }

  /**
   * Keeps a value published, with the `parts` that its top item refers to. A pinned value stays pinned. Resolves with
   * true if all items are on disk. If not, the node tries to save them again later.
   */
  async keep(value: StoredPart, parts: readonly StoredPart[] = []): Promise<boolean> {
    const pin = this.isPinned(value.item.target) ? "too" : undefined;
    const own = parts.map((part) => ({ ...part, pin: this.#ownPartPin(part) }));
    return await this.#keep({ ...value, pin }, own);
  }

  /**
   * Like `keep`, for a value that the user pins. If the value was also stored through this node, it stays published
   * after the pin has ended.
   */
  async pin(value: StoredPart, parts: readonly StoredPart[] = []): Promise<boolean> {
    const { target } = value.item;
    const isOwn = this.#values.has(target) && this.#store.get(target)?.pin !== "only";
    const pinned = parts.map((part) => ({ ...part, pin: this.#pinnedPartPin(part) }));
    return await this.#keep({ ...value, pin: isOwn ? "too" : "only" }, pinned);
  }

  #ownPartPin({ item: { target } }: StoredPart): Pin | undefined {
    const pin = this.#store.get(target)?.pin;
    return pin === "part" ? undefined : pin;
  }

  #pinnedPartPin({ item: { target } }: StoredPart): Pin | undefined {
    const before = this.#store.get(target);
    return before === undefined ? "part" : before.pin;
  }

  async #keep(value: StoredPart, parts: readonly StoredPart[]): Promise<boolean> {
    const { target } = value.item;
    const kept = [...parts, value].map((part) => this.#save(part));
    this.#values.set(target, true);
    this.#counts = undefined;
    // Remove the items to which only the previous version of the value referred.
    this.#sweep();
    return (await Promise.all(kept)).every((isSaved) => isSaved);
  }

  #save(part: StoredPart): Promise<boolean> {
    const { item, large } = part;
    const kept = this.#store.get(item.target)?.large;
    if (large === undefined) return this.options.save(part);
    if (kept === undefined) {
      this.options.pieces.add(item, large);
      return this.options.save(part);
    }
    // The same bytes were stored before: keep the earlier copy, and drop the new one.
    if (large.value !== kept.value) this.options.discard(large);
    return this.options.save({ ...part, large: { ...kept, next: large.next } });
  }

  /** Whether an item is published, as a value or as a part of one. */
  has(target: Id): boolean {
    return this.#store.get(target) !== undefined;
  }

  /** Whether a value is pinned. */
  isPinned(target: Id): boolean {
    const pin = this.#store.get(target)?.pin;
    return pin === "only" || pin === "too";
  }

  /**
   * Stops publishing a value that was stored through this node, and its items that no other value
   * needs. A pinned value stays published because of the pin. Returns false if the value was not
   * stored through this node.
   */
  forget(target: Id): boolean {
    const pin = this.#store.get(target)?.pin;
    return pin === "only" ? false : this.#end(target, pin === "too" ? "only" : undefined);
  }

  /** Ends the pin of a value. False if the value was not pinned. */
  unpin(target: Id): boolean {
    if (!this.isPinned(target)) return false;
    const { pin, ...published } = this.#store.get(target)!;
    // Save the item without the pin, because it may also be a part of another value.
    this.#store.save(published);
    return pin === "too" || this.#end(target, undefined);
  }

  /**
   * If `pin` is given, the value is published only because of its pin from now on. Otherwise, it is no longer
   * published as a value. Returns false if it was not published as a value.
   */
  #end(target: Id, pin: Pin | undefined): boolean {
    const published = this.#store.get(target);
    if (published === undefined || !this.#values.has(target)) return false;
    this.#counts = undefined;
    if (pin !== undefined) {
      this.#store.save({ ...published, pin });
      return true;
    }
    this.#values.delete(target);
    this.#reported.delete(target);
    this.#sweep();
    return true;
  }

  /** Removes the parts of old versions of pinned values, once all new versions have been fetched. */
  tidy(): void {
    const parts = [...this.#store.entries()].filter(({ pin }) => pin === "part");
    if (parts.length > 0) this.#sweep();
  }

  /** The pinned values that refer to large values whose bytes this node does not have. */
  incompletePins(): Id[] {
    return Array.from(this.#values.entries(), ([target]) => target).filter((target) => {
      const root = this.isPinned(target) ? linkOf(this.#store.get(target)!.item) : undefined;
      return root !== undefined && this.#store.get(root)?.large === undefined;
    });
  }

  /** A published item in its newest version. */
  itemOf(target: Id): Item | undefined {
    return this.#store.get(target)?.item;
  }

  /** The time for which other nodes are asked to keep a published value; undefined means a day. */
  lifeOf(target: Id): Millis | undefined {
    return this.#store.get(target)?.lifeMs;
  }

  /** The place on this node's disk of the bytes of a published large value, by its root item. */
  contentOf(root: Id): LargeContent | undefined {
    return this.#store.get(root)?.large;
  }

  /** Returns a page of the values, ordered by when they will next be published. */
  list(offset: number, limit: number): PublishedValue[] {
    return this.#page(this.#all(), offset, limit);
  }

  /** Returns a page of the values that fit a filter, and their number. */
  search(
    { text = "", isAtRisk = false }: PublishedFilter,
    offset: number,
    limit: number,
  ): { readonly total: number; readonly published: PublishedValue[] } {
    const wanted = text.toLowerCase(), now = this.options.clock.now();
    const values = this.#all().filter(({ item: { target, signed } }) => {
      const key = signed === undefined ? null : textOf(signed.salt);
      const fits = `${target}`.startsWith(wanted) || (key?.toLowerCase().includes(wanted) ?? false);
      if (!fits || !isAtRisk) return fits;
      const health = this.#healthOf(target);
      return health.endsAt <= now || this.#stateOf(health, now) !== "safe";
    });
    return { total: values.length, published: this.#page(values, offset, limit) };
  }

  /** Returns a page of the pinned values, in the order of `list`. */
  listPins(offset: number, limit: number): PublishedValue[] {
    return this.#page(this.#all().filter(({ item }) => this.isPinned(item.target)), offset, limit);
  }

  /** The state of each value's publications, for the log of publications. */
  states(): PublicationState[] {
    const { clock } = this.options;
    return this.#all().map(({ item: { target, signed }, lastAt, failures, replicas }) => ({
      hash: `${target}`,
      lastAt: lastAt === -Infinity ? null : clock.wall(lastAt),
      failures,
      replicas,
      seq: signed?.seq ?? null,
    }));
  }

  /** The targets of a value's items, without the pieces of a large value. Empty if the value is not published. */
  targetsOf(target: Id): Id[] {
    return this.#values.has(target) ? this.#itemsOf(target).map(({ item }) => item.target) : [];
  }

  /** Describes a value; undefined if it is not published. */
  get(target: Id): PublishedValue | undefined {
    const published = this.#values.has(target) ? this.#store.get(target) : undefined;
    return published && this.#describe(published);
  }

  #all(): Published[] {
    return Array.from(this.#values.entries(), ([target]) => this.#store.get(target) ?? []).flat();
  }

  #page(values: Published[], offset: number, limit: number): PublishedValue[] {
    return values
      .sort((x, y) => x.nextAt - y.nextAt || compareIds(x.item.target, y.item.target))
      .slice(offset, offset + limit)
      .map((published) => this.#describe(published));
  }

  /** Counts the values by their state. */
  get counts(): ValueCounts {
    const now = this.options.clock.now();
    if (this.#counts !== undefined && now - this.#counts.at < COUNTS_MS) return this.#counts.counts;
    const counts = { safe: 0, short: 0, failing: 0, ending: 0, pinned: 0 };
    for (const { item: { target } } of this.#all()) {
      counts[this.#stateOf(this.#healthOf(target), now)]++;
      if (this.isPinned(target)) counts.pinned++;
    }
    this.#counts = { at: now, counts };
    return counts;
  }

  /** Returns the values whose state has changed since the previous call, with their old and new states. */
  changes(): ValueChange[] {
    const { clock } = this.options, now = clock.now();
    return this.#all().flatMap(({ item: { target } }) => {
      const health = this.#healthOf(target);
      const to = this.#stateOf(health, now), from = this.#reported.get(target) ?? "safe";
      if (to === from) return [];
      if (to === "safe") this.#reported.delete(target);
      else this.#reported.set(target, to);
      const hash = `${target}`, { replicas, failures, endsAt } = health;
      return [{ hash, from, to, replicas, failures, lives_until: this.#endText(endsAt, now) }];
    });
  }

  /** Counts the published items at risk, by risk. An item may count for several risks. */
  itemsAtRisk(): Readonly<Record<Risk, number>> {
    const now = this.options.clock.now(), counts = { ending: 0, failing: 0, short: 0 };
    for (const published of this.#store.entries()) {
      for (const risk of this.#risksOf(healthOf(published), now)) counts[risk]++;
    }
    return counts;
  }

  #stateOf(health: Health, now: Millis): ValueState {
    return this.#risksOf(health, now)[0] ?? "safe";
  }

  /** The risks of a value or item, the worst one first. */
  #risksOf({ replicas, failures, lastAt, endsAt, lifeMs }: Health, now: Millis): Risk[] {
    const isShort = replicas < this.options.enough();
    const isFailing = failures > 0 || lastAt === -Infinity;
    const isEnding = lastAt > -Infinity && endsAt - now < ENDING_SHARE * lifeMs;
    return [
      ...(isEnding ? ["ending"] as const : []),
      ...(isFailing ? ["failing"] as const : []),
      ...(isShort ? ["short"] as const : []),
    ];
  }

  /** The health of a value: for each figure, the worst one of the value's items. */
  #healthOf(target: Id): Health {
    const parts = this.#itemsOf(target).map((published) => {
      const health = healthOf(published), own = this.options.pieces.get(published.item.target);
      return own === undefined
        ? health
        : { ...health, endsAt: Math.min(health.endsAt, piecesEndAt(published, own)) };
    });
    return parts.reduce((x, y) => ({
      replicas: Math.min(x.replicas, y.replicas),
      failures: Math.max(x.failures, y.failures),
      lastAt: Math.min(x.lastAt, y.lastAt),
      endsAt: Math.min(x.endsAt, y.endsAt),
      lifeMs: Math.min(x.lifeMs, y.lifeMs),
    }));
  }

  #endText(endsAt: Millis, now: Millis): string | null {
    return endsAt > now ? timeText(this.options.clock.wall(endsAt)) : null;
  }

  #describe({ item, firstAt, lastAt, nextAt, lifeMs = ITEM_LIFE_MS }: Published): PublishedValue {
    const { clock } = this.options, now = clock.now();
    let pieces = 0;
    const items = this.#itemsOf(item.target);
    for (const { item: { target } } of items) {
      pieces += this.options.pieces.get(target)?.layout.pieces ?? 0;
    }
    const health = this.#healthOf(item.target), { replicas, failures } = health;
    // If no other node has ever acknowledged the value, use the time at which this node stored it.
    const acknowledgedAt = lastAt === -Infinity && replicas > 0 ? firstAt : lastAt;
    const livesUntil = this.#endText(health.endsAt, now);
    const { target, value, signed } = item;
    const rootTarget = linkOf(item);
    const top = rootTarget === undefined ? value : this.#store.get(rootTarget)?.item.value;
    const root = top && decodeRoot(top);
    const isChunked = root !== undefined || rootTarget !== undefined;
    return {
      hash: `${target}`,
      kind: isChunked ? "chunked" : signed === undefined ? "immutable" : "mutable",
      key: signed === undefined ? null : textOf(signed.salt),
      seq: signed?.seq ?? null,
      size: isChunked ? root?.size ?? null : (byteStringContent(value) ?? value).length,
      items: items.length + pieces,
      first_at: timeText(clock.wall(firstAt)),
      last_at: optionalTime(acknowledgedAt === -Infinity ? null : clock.wall(acknowledgedAt)),
      next_at: timeText(clock.wall(nextAt)),
      replicas,
      failures,
      ttl: Math.round(lifeMs / 1000),
      lives_until: livesUntil,
      this_node_only: livesUntil === null,
      state: this.#stateOf(health, now),
      pinned: this.isPinned(item.target),
    };
  }

  /**
   * The items of a published value: its top item and, if that refers to a large value, the large
   * value's root.
   */
  #itemsOf(target: Id): Published[] {
    const own = this.#store.get(target);
    if (own === undefined) return [];
    const link = linkOf(own.item), root = link && this.#store.get(link);
    // Only an immutable item can be the root item of a large value, so ignore a mutable one.
    return root === undefined || root.item.signed !== undefined ? [own] : [own, root];
  }

  #remove(target: Id): void {
    const large = this.#store.get(target)?.large;
    this.#store.remove(target);
    if (large === undefined) return;
    this.options.pieces.remove(target);
    this.options.discard(large);
  }

  /** Stops publishing all items that no value needs. */
  #sweep(): void {
    const needed = new IdMap<true>(this.options.seed);
    for (const [value] of this.#values.entries()) {
      for (const { item } of this.#itemsOf(value)) needed.set(item.target, true);
    }
    const isWaiting = this.incompletePins().length > 0;
    for (const { item: { target }, pin } of [...this.#store.entries()]) {
      // Keep the parts of a pinned value's old version until its new version has been fetched.
      if (!needed.has(target) && !(isWaiting && pin === "part")) this.#remove(target);
    }
  }
}

/** The state of the copies of an item on other nodes, as far as this node knows. */
interface Health extends Pick<Published, "replicas" | "failures" | "lastAt"> {
  /** The time until which other nodes keep the item. */
  readonly endsAt: Millis;
  readonly lifeMs: Millis;
}

/** The time until which other nodes keep the pieces of a large value. Pieces are published less often than the root. */
function piecesEndAt({ firstAt, lastAt, lifeMs }: Published, own: OwnValue): Millis {
  return Math.max(firstAt, lastAt - roundTimeMs(own)) + (pieceLifeOf(lifeMs) ?? ITEM_LIFE_MS);
}

function healthOf(
  { replicas, failures, lastAt, lifeMs = ITEM_LIFE_MS }: Published,
): Health {
  return { replicas, failures, lastAt, endsAt: lastAt + lifeMs, lifeMs };
}

/** The target of the root of the large value that an item refers to; undefined if it refers to none. */
function linkOf({ value, signed }: Item): Id | undefined {
  return signed && decodeReference(value);
}

/** Decodes a salt as text. Null if the salt is empty or not UTF-8. */
function textOf(salt: Uint8Array): string | null {
  if (salt.length === 0) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(salt);
  } catch {
    return null;
  }
}
