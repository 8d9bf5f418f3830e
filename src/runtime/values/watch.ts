// Watches values for clients, with one poller for each value. Hints that a new version exists cause an early poll.
// While the holders of a value report its new versions, the value is not polled.

import { compareBytes } from "../../krpc/bencode.ts";
import type { Seq } from "../../krpc/seq.ts";
import type { Clock } from "../../large_values/item_network.ts";
import type { SeenVersion } from "../../node_service.ts";
import { clock, type NodeClock, within } from "../clock.ts";

/**
 * A version of a value, and the bytes of its item, which distinguish two values with the same seq.
 */
export interface Version extends Omit<SeenVersion, "at"> {
  readonly value: Uint8Array;
}

/** Whether a version is newer than another, by the rule of `compareVersions` in `dht/items/item.ts`. */
export function isNewer(version: Version, known: Version | undefined): boolean {
  if (known === undefined) return true;
  const seq = version.seq ?? 0, knownSeq = known.seq ?? 0;
  if (seq !== knownSeq) return seq > knownSeq;
  return compareBytes(version.value, known.value) > 0;
}

/** One client's watch of a value. */
export interface Watch {
  /**
   * Resolves with the latest unseen version, with "quiet" if there is none within `withinMs`, or
   * with undefined once closed.
   */
  next(withinMs: number): Promise<SeenVersion | "quiet" | undefined>;
  close(): void;
}

/** Subscribes at the holders of values. Values are given by their hashes. */
export interface HolderWatch {
  /** Called when the first client watches a value. Each poll from then on renews the list of holders. */
  start(hash: string): void;
  /** Called when the last client stops watching a value. */
  stop(hash: string): void;
  /** Whether enough holders will report a new version, so that the value needs no polls. */
  isPushed(hash: string): boolean;
}

/** The parts of the node that watching uses. */
export interface WatchOptions {
  /** Returns the newest version on the network, or undefined if it is not newer than `known`. May reject. */
  readonly read: (
    hash: string,
    key: string | null,
    known: Version | undefined,
  ) => Promise<Version | undefined>;
  /** The subscriptions at the holders of the watched values. */
  readonly holders: HolderWatch;
  readonly clock: Clock & Pick<NodeClock, "wall">;
  /** Returns a random number from 0 to 1. */
  readonly random: () => number;
}

/** Maximum number of values that are watched at a time. Each watched value costs up to 24 queries per minute. */
export const MAX_TARGETS = 1_000;

/** Maximum number of watches at a time. Each watch keeps a client's connection open. */
export const MAX_WATCHERS = 10_000;

/** The interval between polls of a value that has just changed. */
export const MIN_POLL_MS = 5_000;

/** The longest interval between polls. */
export const MAX_POLL_MS = 60_000;

/** The interval grows by this factor after each poll that finds no change. */
const POLL_GROWTH = 1.5;

/** The interval varies randomly by up to this share, so that polls of different values or nodes don't coincide. */
const JITTER = 0.2;

/** The minimum time between the last poll and an early one. Any peer can send hints that cause early polls. */
export const POLL_GAP_MS = 1_000;

/** The watched values of a node. */
export class Watches {
  readonly #targets = new Map<string, Target>();
  #watchers = 0;
  #closed = false;

  constructor(private readonly options: WatchOptions) {}

  get size(): number {
    return this.#targets.size;
  }

  /**
   * Starts watching for versions newer than `after`. Undefined if too many values are being watched, too many clients
   * are watching, or the watches are closed.
   */
  open(hash: string, key: string | null, after: Seq | null): Watch | undefined {
    let target = this.#targets.get(hash);
    if (this.#watchers >= MAX_WATCHERS || this.#closed) return undefined;
    if (target === undefined) {
      if (this.#targets.size >= MAX_TARGETS) return undefined;
      target = new Target(hash, this.options);
      this.#targets.set(hash, target);
      this.options.holders.start(hash);
    }
    const polled = target;
    const watcher = new Watcher(after, () => {
      this.#watchers--;
      if (!polled.remove(watcher)) return;
      this.#targets.delete(hash);
      this.options.holders.stop(hash);
    });
    this.#watchers++;
    target.add(watcher, key);
    return watcher;
  }

  /** Whether any client watches the value. */
  has(hash: string): boolean {
    return this.#targets.has(hash);
  }

  /** Polls a value early, because a newer version may exist. */
  noteNewer(hash: string): void {
    this.#targets.get(hash)?.hurry();
  }

  /** Tells the clients about a version that this node has verified. */
  noteVersion(hash: string, version: Version): void {
    this.#targets.get(hash)?.note(version);
  }

  close(): void {
    this.#closed = true;
    for (const target of [...this.#targets.values()]) target.close();
  }
}

/** One watched value and its poller. */
class Target {
  readonly #watchers = new Set<Watcher>();
  /** For each client, the key under which the value is stored according to the client. Clients may be wrong. */
  readonly #keys: (string | null)[] = [];
  /** The first key under which a version was found. */
  #rightKey: string | null | undefined;
  #version: Version | undefined;
  /** `#version`, with the node time at which this node first saw it. */
  #seen: SeenVersion | undefined;
  #interval = MIN_POLL_MS;
  #polls = 0;
  #polledAt = -Infinity;
  #isPolling = false;
  #isHurried = false;
  #waiting = new AbortController();

  constructor(private readonly hash: string, private readonly options: WatchOptions) {}

  add(watcher: Watcher, key: string | null): void {
    this.#watchers.add(watcher);
    if (!this.#keys.includes(key)) this.#keys.push(key);
    if (this.#seen !== undefined) this.#offer(this.#seen, watcher);
    else this.hurry();
  }

  /** Removes a client. Returns true if no client is left; polling then stops. */
  remove(watcher: Watcher): boolean {
    this.#watchers.delete(watcher);
    if (this.#watchers.size > 0) return false;
    this.#waiting.abort();
    return true;
  }

  hurry(): void {
    if (this.#isFinal) return;
    this.#isHurried = true;
    if (!this.#isPolling) this.#schedule();
  }

  note(version: Version): boolean {
    if (!isNewer(version, this.#version)) return false;
    this.#version = version;
    const { seq, size, public_key } = version;
    const latest = this.#seen = { seq, size, public_key, at: this.options.clock.now() };
    this.#interval = MIN_POLL_MS;
    for (const watcher of this.#watchers) this.#offer(latest, watcher);
    return true;
  }

  #offer(version: SeenVersion, watcher: Watcher): void {
    watcher.offer({ ...version, at: this.options.clock.wall(version.at) });
  }

  close(): void {
    for (const watcher of [...this.#watchers]) watcher.close();
  }

  /** Whether the value is immutable, so that no other version can exist. */
  get #isFinal(): boolean {
    return this.#version !== undefined && this.#version.seq === null;
  }

  /**
   * Sets the time of the next poll. If subscriptions have made that poll unnecessary by then, sets the time of another
   * one.
   */
  #schedule(): void {
    this.#waiting.abort();
    const isPushed = () => this.options.holders.isPushed(this.hash);
    const { clock, random } = this.options, { signal } = this.#waiting = new AbortController();
    const wait = this.#isHurried
      ? Math.max(0, this.#polledAt + POLL_GAP_MS - clock.now())
      : (isPushed() ? MAX_POLL_MS : this.#interval) * (1 - JITTER + 2 * JITTER * random());
    void clock.sleep(wait, signal).then(() => {
      if (signal.aborted) return;
      if (this.#isHurried || !isPushed()) return this.#poll();
      this.#schedule();
    });
  }

  async #poll(): Promise<void> {
    this.#isPolling = true;
    this.#isHurried = false;
    this.#polledAt = this.options.clock.now();
    const key = this.#rightKey === undefined
      ? this.#keys[this.#polls++ % this.#keys.length]
      : this.#rightKey;
    const version = await this.options.read(this.hash, key, this.#version).catch(() => undefined);
    this.#isPolling = false;
    if (version !== undefined) this.#rightKey ??= key;
    const isNew = version !== undefined && this.note(version);
    if (!isNew) this.#interval = Math.min(MAX_POLL_MS, this.#interval * POLL_GROWTH);
    if (this.#watchers.size > 0 && !this.#isFinal) this.#schedule();
  }
}

class Watcher implements Watch {
  #after: Seq;
  /**
   * Whether a version with the seq `#after` or higher has been offered. If so, a further version with the seq `#after`
   * counts as newer.
   */
  #hasMet = false;
  #onClose: (() => void) | undefined;
  #pending: SeenVersion | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(after: Seq | null, onClose: () => void) {
    this.#after = after ?? -Infinity;
    this.#onClose = onClose;
  }

  /**
   * Offers a version to the client, unless the client has it. Versions are offered from old to new. If the client named
   * a seq, the first version with this seq is assumed to be the version that the client has.
   */
  offer(version: SeenVersion): void {
    const seq = version.seq ?? Infinity;
    const isKnown = seq < this.#after || (seq === this.#after && !this.#hasMet);
    if (seq >= this.#after) this.#hasMet = true;
    if (isKnown) return;
    this.#after = seq;
    this.#pending = version;
    this.#changed.resolve();
  }

  async next(withinMs: number): Promise<SeenVersion | "quiet" | undefined> {
    if (this.#pending === undefined && this.#onClose !== undefined) {
      this.#changed = Promise.withResolvers();
      await within(clock, withinMs, this.#changed.promise);
    }
    if (this.#onClose === undefined) return undefined;
    const version = this.#pending;
    this.#pending = undefined;
    return version ?? "quiet";
  }

  close(): void {
    const onClose = this.#onClose;
    this.#onClose = undefined;
    onClose?.();
    this.#changed.resolve();
  }
}
