// Values that clients watch: one poller a value, however many watch it, and whatever tells of a newer version sooner.

/** A version of a value, as it was seen. */
export interface Version {
  /** Null where the value is immutable: then there is no other version. */
  readonly seq: number | null;
  /** Bytes. */
  readonly size: number;
  /** Hex. */
  readonly publicKey: string | null;
}

/** A version, and when this node saw it first: milliseconds since 1970. */
export interface SeenVersion extends Version {
  readonly at: number;
}

/** One client's view of a watched value. */
export interface Watch {
  /**
   * The next newer version, at once where there is one; "quiet" where none came within `withinMs`; undefined once the
   * watch is closed. A client that is slow gets the newest alone.
   */
  next(withinMs: number): Promise<SeenVersion | "quiet" | undefined>;
  close(): void;
}

/** What watching needs of the node. */
export interface WatchOptions {
  /** The newest version on the network where it is over `seen`; undefined where there is none. May reject. */
  readonly read: (
    hash: string,
    key: string | null,
    seen: number | null,
  ) => Promise<Version | undefined>;
  readonly now: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Runs something once, later; yields what cancels it. */
  readonly later: (ms: number, run: () => void) => () => void;
}

/** Values, and clients of all of them. A value costs a poll a minute, a client an open connection. */
export const MAX_TARGETS = 1_000, MAX_WATCHERS = 10_000;

/**
 * A value is asked for again after the first of these, later after each time that it had not changed, up to the second:
 * what changes often is seen soon, what rests costs little.
 */
export const FIRST_POLL_MS = 5_000, LAST_POLL_MS = 60_000;

const POLL_GROWTH = 1.5;

/** Polls are moved by this share either way, so that those of many values or nodes don't coincide. */
const JITTER = 0.2;

/** Notices of newer versions lead to no more than one poll in so long: anybody may send them. */
export const POLL_GAP_MS = 1_000;

/** All watched values of a node. */
export class Watches {
  readonly #options: WatchOptions;
  readonly #targets = new Map<string, Target>();
  #watchers = 0;
  #closed = false;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** How many values are watched. */
  get size(): number {
    return this.#targets.size;
  }

  /** Starts to watch for versions over `after`; undefined where too many are being watched. */
  open(hash: string, key: string | null, after: number | null): Watch | undefined {
    let target = this.#targets.get(hash);
    if (this.#watchers >= MAX_WATCHERS || this.#closed) return undefined;
    if (target === undefined) {
      if (this.#targets.size >= MAX_TARGETS) return undefined;
      target = new Target(hash, this.#options);
      this.#targets.set(hash, target);
    }
    const polled = target;
    const watcher = new Watcher(after, () => {
      this.#watchers--;
      if (polled.remove(watcher)) this.#targets.delete(hash);
    });
    this.#watchers++;
    target.add(watcher, key);
    return watcher;
  }

  /** Whether anybody watches it. */
  has(hash: string): boolean {
    return this.#targets.has(hash);
  }

  /** Somebody says that there is a newer version: it is looked for now, not at the next poll. */
  noteNewer(hash: string): void {
    this.#targets.get(hash)?.hurry();
  }

  /** A version was verified here. */
  noteVersion(hash: string, version: Version): void {
    this.#targets.get(hash)?.note(version);
  }

  /** Ends all watches. */
  close(): void {
    this.#closed = true;
    for (const target of [...this.#targets.values()]) target.close();
  }
}

/** One watched value. */
class Target {
  readonly #hash: string;
  readonly #options: WatchOptions;
  readonly #watchers = new Set<Watcher>();
  /** What the clients say its key is; strangers to each other, they may be wrong. */
  readonly #keys: (string | null)[] = [];
  /** That of them which led to a version. */
  #rightKey: string | null | undefined;
  #version: SeenVersion | undefined;
  #wait = FIRST_POLL_MS;
  #polls = 0;
  #polledAt = -Infinity;
  #isPolling = false;
  #isHurried = false;
  #cancel = () => {};

  constructor(hash: string, options: WatchOptions) {
    this.#hash = hash;
    this.#options = options;
  }

  add(watcher: Watcher, key: string | null): void {
    this.#watchers.add(watcher);
    if (!this.#keys.includes(key)) this.#keys.push(key);
    if (this.#version !== undefined) watcher.offer(this.#version);
    else this.hurry();
  }

  /** True where nobody is left. */
  remove(watcher: Watcher): boolean {
    this.#watchers.delete(watcher);
    if (this.#watchers.size > 0) return false;
    this.#cancel();
    return true;
  }

  hurry(): void {
    if (this.#isFinal) return;
    this.#isHurried = true;
    if (!this.#isPolling) this.#schedule();
  }

  note(version: Version): boolean {
    const known = this.#version;
    if (known !== undefined && (version.seq ?? -1) <= (known.seq ?? -1)) return false;
    const seen = this.#version = { ...version, at: this.#options.now() };
    this.#wait = FIRST_POLL_MS;
    for (const watcher of this.#watchers) watcher.offer(seen);
    return true;
  }

  close(): void {
    for (const watcher of [...this.#watchers]) watcher.close();
  }

  /** Of an immutable value nothing more can be learned. */
  get #isFinal(): boolean {
    return this.#version !== undefined && this.#version.seq === null;
  }

  #schedule(): void {
    this.#cancel();
    const { now, random, later } = this.#options;
    const wait = this.#isHurried
      ? Math.max(0, this.#polledAt + POLL_GAP_MS - now())
      : this.#wait * (1 - JITTER + 2 * JITTER * random());
    this.#cancel = later(wait, () => void this.#poll());
  }

  async #poll(): Promise<void> {
    this.#isPolling = true;
    this.#isHurried = false;
    this.#polledAt = this.#options.now();
    const key = this.#rightKey === undefined
      ? this.#keys[this.#polls++ % this.#keys.length]
      : this.#rightKey;
    const seen = this.#version?.seq ?? null;
    const version = await this.#options.read(this.#hash, key, seen).catch(() => undefined);
    this.#isPolling = false;
    if (version !== undefined) this.#rightKey ??= key;
    const isNew = version !== undefined && this.note(version);
    if (!isNew) this.#wait = Math.min(LAST_POLL_MS, this.#wait * POLL_GROWTH);
    if (this.#watchers.size > 0 && !this.#isFinal) this.#schedule();
  }
}

class Watcher implements Watch {
  #after: number;
  #onClose: (() => void) | undefined;
  #pending: SeenVersion | undefined;
  #wake = () => {};

  constructor(after: number | null, onClose: () => void) {
    this.#after = after ?? -Infinity;
    this.#onClose = onClose;
  }

  /** Takes a version where it is newer than the last. */
  offer(version: SeenVersion): void {
    const seq = version.seq ?? Infinity;
    if (seq <= this.#after) return;
    this.#after = seq;
    this.#pending = version;
    this.#wake();
  }

  async next(withinMs: number): Promise<SeenVersion | "quiet" | undefined> {
    if (this.#pending === undefined && this.#onClose !== undefined) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, withinMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
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
    this.#wake();
  }
}
