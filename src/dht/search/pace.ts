// How many packets a node of another project bears. Many clients block an address that sends them more.

import type { Endpoint } from "../../krpc/endpoint.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Millis } from "../deadlines.ts";

/**
 * The mean time between packets to one node: at first, and the bounds of what the node's answers and its silence make of
 * it. libtorrent blocks an address for five minutes after 50 packets within 10 s. With the burst, we send up to 33. The
 * others are for pings and for our answers, which are counted, but never wait.
 */
const START_INTERVAL_MS = 500, MIN_INTERVAL_MS = 400, MAX_INTERVAL_MS = 10_000;

/** The number of packets that one node may get at once. */
const BURST = 8;

/**
 * A query that stays unanswered doubles the interval. An answer halves it, down to the one at first: a node that answers
 * was not gone, or is back, and has not blocked us. Below that, an answer shortens it by this share.
 */
const ANSWER_GAIN = 0.02;

/** Cap on the nodes that are remembered. Beyond it, the one that has gone without a packet the longest is forgotten. */
const MAX_NODES = 512;

interface Entry {
  intervalMs: number;
  /** When all packets so far would have been sent at the steady rate (generic cell rate algorithm). */
  dueAt: Millis;
}

/** The paces of nodes that have not shown that they run this project's software, which bears far more. */
export class Pace {
  readonly #entries = new BoundedMap<number | string, Entry>(MAX_NODES);

  get size(): number {
    return this.#entries.size;
  }

  /** Milliseconds until a node bears another packet; 0 if it does now. */
  waitFor(to: Endpoint, now: Millis): Millis {
    const entry = this.#entries.get(keyOf(to));
    return entry === undefined
      ? 0
      : Math.max(0, entry.dueAt - now - (BURST - 1) * entry.intervalMs);
  }

  /** Counts a packet that is sent now, or after the wait. */
  spend(to: Endpoint, now: Millis): void {
    const key = keyOf(to);
    const entry = this.#entries.get(key) ?? { intervalMs: START_INTERVAL_MS, dueAt: now };
    entry.dueAt = Math.max(now, entry.dueAt) + entry.intervalMs;
    this.#entries.set(key, entry);
  }

  /** Counts an answer that we send, if the node is one that we have asked lately. */
  spendReply(to: Endpoint, now: Millis): void {
    if (this.#entries.size > 0 && this.#entries.has(keyOf(to))) this.spend(to, now);
  }

  noteAnswer(from: Endpoint, isOurSoftware: boolean, now: Millis): void {
    if (this.#entries.size === 0) return;
    const key = keyOf(from);
    // The answer came from this endpoint, so a false `v` only makes us send its owner more packets.
    if (isOurSoftware) return void this.#entries.delete(key);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    const { intervalMs } = entry;
    const shorter = intervalMs > START_INTERVAL_MS
      ? Math.max(START_INTERVAL_MS, intervalMs / 2)
      : Math.max(MIN_INTERVAL_MS, intervalMs * (1 - ANSWER_GAIN));
    changeInterval(entry, shorter, now);
  }

  noteSilence(to: Endpoint, now: Millis): void {
    const entry = this.#entries.get(keyOf(to));
    if (entry === undefined) return;
    changeInterval(entry, Math.min(MAX_INTERVAL_MS, 2 * entry.intervalMs), now);
  }
}

/** Changes the interval. The same number of packets as before can be sent at once. */
function changeInterval(entry: Entry, intervalMs: number, now: Millis): void {
  entry.dueAt = now + Math.max(0, entry.dueAt - now) * intervalMs / entry.intervalMs;
  entry.intervalMs = intervalMs;
}

/** The key of an endpoint. A number is compared faster than text. */
function keyOf(endpoint: Endpoint): number | string {
  const { family, a, port } = endpoint;
  return family === 4 ? (a >>> 0) * 2 ** 16 + port : `${endpoint}`;
}
