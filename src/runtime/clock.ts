// The two times of a node: node time, which the node uses for everything it does, and wall time,
// which it only shows to people.

import type { Millis } from "../dht/deadlines.ts";
import type { Clock } from "../large_values/item_network.ts";

/** The clocks of the system. */
export interface SystemClocks {
  /**
   * Milliseconds since an arbitrary moment. Setting the system's clock does not change this time. On most systems, this
   * clock stops during sleep.
   */
  monotonic(): number;
  /** Milliseconds since 1970, as the system's clock shows them. */
  wall(): number;
}

const SYSTEM_CLOCKS: SystemClocks = { monotonic: () => performance.now(), wall: () => Date.now() };

/**
 * A change of the system's clock by more than this, compared with node time, is a jump. Adjustments by NTP are
 * smaller.
 */
const MIN_JUMP_MS = 10_000;

/**
 * Wall times are corrected only if node time and the system's clock differ by more than this. Otherwise, reported
 * times would change constantly.
 */
const MIN_CORRECTION_MS = 1_000;

/**
 * The clocks are read one after another. If this takes longer than the limit, the process was
 * interrupted, and they are read again.
 */
const MAX_READING_MS = 1_000;

/**
 * If node time has not been read for longer than this, the process was stopped, or the machine slept while its
 * monotonic clock kept running, as it does on Windows. On a busy node, readings may be late by seconds.
 */
const MAX_PAUSE_MS = 60_000;

/** Maximum jump ahead that counts as sleep. Before a longer jump, the system's clock must have been wrong. */
const MAX_SLEEP_MS = 30 * 24 * 3_600_000;

/** Time that the node needs after a jump to republish its values and to check its contacts. */
const CATCH_UP_MS = 120_000;

/** If the node was stopped for up to this time, other nodes still have the values that it published. */
const MAX_SHORT_STOP_MS = 10 * 60_000;

/**
 * Maximum number of saved stretches (see `Stretch`). Times before the oldest stretch are converted
 * as if there had been no jump before it.
 */
const MAX_STRETCHES = 200;

/** A stretch of node time without a jump. It lasts until the next one begins. */
interface Stretch {
  /** The node time at which the stretch began. */
  readonly node: Millis;
  /** The wall time at which the stretch began, according to the system's clock, or corrected if that was wrong. */
  readonly wall: number;
}

/** The saved form of a clock, as JSON. */
interface SavedClock {
  readonly node: Millis;
  /**
   * The wall time when the clock was saved; null if the node was still catching up after a jump of the system's
   * clock.
   */
  readonly wall: number | null;
  readonly stretches: readonly (readonly [node: Millis, wall: number])[];
}

/** The data from which a node's clock continues. */
export interface ClockStart {
  /** The result of `NodeClock.saved` in the previous run; undefined if nothing was saved. */
  readonly saved?: Uint8Array;
  /**
   * The latest time in data that was saved by a version without node time, as wall time; -Infinity if there is no such
   * data. Used only if no clock was saved.
   */
  readonly latest?: number;
  readonly system?: SystemClocks;
}

/**
 * The clock of node time. Node time advances only while the process runs, and continues from the saved time after a
 * restart. It never runs backwards: changes of the system's clock and sleeps of the machine don't affect it. Its zero
 * point has no meaning.
 */
export class NodeClock implements Clock {
  /**
   * Whether the previous run ended less than 10 minutes ago by the system's clock, and was not catching up at its end.
   */
  readonly isShortStop: boolean;
  readonly sleep = sleep;
  readonly #system: SystemClocks;
  readonly #stretches: Stretch[];
  /** The index of the first stretch of node time in this run. */
  #firstOfRun: number;
  /** Node time minus monotonic time, in milliseconds. */
  #offset: number;
  /** The monotonic time at which node time was last read. */
  #readAt: number;
  /** Whether node time has skipped a pause since the latest call of `check`. */
  #hasPaused = false;
  #jumpedAt: Millis = -Infinity;

  constructor({ saved, latest = -Infinity, system = SYSTEM_CLOCKS }: ClockStart = {}) {
    this.#system = system;
    const wall = system.wall(), before = parse(saved) ?? firstClock(latest, wall);
    this.#readAt = system.monotonic();
    this.#offset = before.node - this.#readAt;
    this.#stretches = before.stretches.map(([node, wall]) => ({ node, wall }));
    this.#firstOfRun = this.#stretches.length;
    this.#begin({ node: before.node, wall });
    const stopMs = before.wall === null ? Infinity : wall - before.wall;
    this.isShortStop = stopMs >= 0 && stopMs <= MAX_SHORT_STOP_MS;
  }

  /** Returns the current node time in milliseconds. */
  now(): Millis {
    const monotonic = this.#system.monotonic(), passed = monotonic - this.#readAt;
    this.#readAt = monotonic;
    if (passed > MAX_PAUSE_MS || passed < 0) {
      this.#offset -= passed;
      this.#hasPaused = true;
    }
    return monotonic + this.#offset;
  }

  /** Converts a node time to wall time in milliseconds since 1970. */
  wall(at: Millis): number {
    const { node, wall } = this.#stretches.findLast((stretch) => stretch.node <= at) ??
      this.#stretches[0];
    return wall + at - node;
  }

  /**
   * Compares the system's clock with node time. If the clock has jumped since the last call, returns the jump in
   * milliseconds, which is negative for a jump back. A jump ahead may mean that the machine slept. Call this every
   * second.
   */
  check(): number | undefined {
    const now = this.#readBoth(), drift = now.wall - this.wall(now.node);
    const isJump = Math.abs(drift) > MIN_JUMP_MS || this.#hasPaused;
    this.#hasPaused = false;
    if (isJump) this.#jumpedAt = now.node;
    if (isJump && drift > 0 && drift <= MAX_SLEEP_MS) this.#begin(now);
    else if (isJump) this.#correct(this.#firstOfRun, drift);
    else if (Math.abs(drift) > MIN_CORRECTION_MS) this.#correct(this.#stretches.length - 1, drift);
    return isJump ? drift : undefined;
  }

  /** Returns the data from which the clock of the next run can continue. */
  saved(): Uint8Array {
    const node = this.now(), isCatchingUp = node - this.#jumpedAt < CATCH_UP_MS;
    const clock: SavedClock = {
      node,
      wall: isCatchingUp ? null : this.wall(node),
      stretches: this.#stretches.map(({ node, wall }) => [node, wall]),
    };
    return new TextEncoder().encode(JSON.stringify(clock));
  }

  #readBoth(): Stretch {
    for (;;) {
      const node = this.now(), wall = this.#system.wall();
      if (this.#system.monotonic() - this.#readAt < MAX_READING_MS) return { node, wall };
    }
  }

  #begin(stretch: Stretch): void {
    this.#stretches.push(stretch);
    if (this.#stretches.length <= MAX_STRETCHES) return;
    this.#stretches.shift();
    this.#firstOfRun = Math.max(0, this.#firstOfRun - 1);
  }

  /** Moves the wall times of the stretches with index `from` and higher by `ms`. */
  #correct(from: number, ms: number): void {
    for (let i = from; i < this.#stretches.length; i++) {
      const { node, wall } = this.#stretches[i];
      this.#stretches[i] = { node, wall: wall + ms };
    }
  }
}

/**
 * The clock of a node that has not saved one yet. Data from a version without node time has wall
 * times, the latest of which is `latest`.
 */
function firstClock(latest: number, wall: number): SavedClock {
  if (latest === -Infinity) return { node: wall, wall, stretches: [] };
  return { node: latest, wall: null, stretches: [[0, 0]] };
}

/** Reads a saved clock. Undefined if there is none, or if it is damaged. */
function parse(saved: Uint8Array | undefined): SavedClock | undefined {
  if (saved === undefined) return undefined;
  const isTime = (value: unknown) => Number.isFinite(value);
  try {
    const { node, wall, stretches } = JSON.parse(new TextDecoder().decode(saved));
    const isSound = isTime(node) && (wall === null || isTime(wall)) &&
      stretches.every((stretch: unknown[]) => stretch.length === 2 && stretch.every(isTime));
    return isSound ? { node, wall, stretches } : undefined;
  } catch {
    return undefined;
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}

/** A clock for durations. Its zero point has no meaning, and it may stop while the machine sleeps. */
export const clock: Clock = { now: () => performance.now(), sleep };

/** Returns the result of `promise`, or undefined if it takes longer than `ms`. */
export async function within<T>(
  clock: Clock,
  ms: number,
  promise: Promise<T>,
): Promise<T | undefined> {
  const timeUp = new AbortController();
  try {
    return await Promise.race([promise, clock.sleep(ms, timeUp.signal).then(() => undefined)]);
  } finally {
    timeUp.abort();
  }
}
