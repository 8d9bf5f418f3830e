// Limits how many packets we send to each node of another project. Many clients block an address
// that sends them more.

import type { Endpoint } from "../../krpc/endpoint.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Millis } from "../deadlines.ts";

/**
 * The mean time between packets to one node: the initial value, the minimum and the maximum.
 * libtorrent blocks an address for five minutes after 50 packets within 10 s. With the burst, we
 * send up to 33. The other 17 are left for pings and our answers, which are counted but never wait.
 */
const START_INTERVAL_MS = 500, MIN_INTERVAL_MS = 400, MAX_INTERVAL_MS = 10_000;

/** The number of packets that we may send to one node at once. */
const BURST = 8;

/**
 * An unanswered query doubles the interval. While the interval is longer than its initial value, each answer halves it,
 * because a node that answers is online and has not blocked us. After that, each answer shortens the interval by this
 * share.
 */
const ANSWER_GAIN = 0.02;

/**
 * Cap on the remembered nodes. Beyond it, we forget the node to which we have sent nothing for the
 * longest time.
 */
const MAX_NODES = 512;

interface Entry {
  intervalMs: number;
  /** The time when all packets so far would have been sent at the steady rate (generic cell rate algorithm). */
  dueAt: Millis;
}

/**
 * Limits the packets to nodes of other projects, and to nodes whose software we don't know. Nodes
 * of this project accept far more.
 */
export class Pace {
  readonly #entries = new BoundedMap<number | string, Entry>(MAX_NODES);

  get size(): number {
    return this.#entries.size;
  }

  /** Milliseconds until we may send a node another packet; 0 if we may send it now. */
  waitFor(to: Endpoint, now: Millis): Millis {
    const entry = this.#entries.get(keyOf(to));
    return entry === undefined
      ? 0
      : Math.max(0, entry.dueAt - now - (BURST - 1) * entry.intervalMs);
  }

  /** Counts a packet that we send now, or after the time that `waitFor` returns. */
  spend(to: Endpoint, now: Millis): void {
    const key = keyOf(to);
    const entry = this.#entries.get(key) ?? { intervalMs: START_INTERVAL_MS, dueAt: now };
    entry.dueAt = Math.max(now, entry.dueAt) + entry.intervalMs;
    this.#entries.set(key, entry);
  }

  /** Counts an answer that we send to a node, if we have queried that node recently. */
  spendReply(to: Endpoint, now: Millis): void {
    if (this.#entries.size > 0 && this.#entries.has(keyOf(to))) this.spend(to, now);
  }

  noteAnswer(from: Endpoint, isOurSoftware: boolean, now: Millis): void {
    if (this.#entries.size === 0) return;
    const key = keyOf(from);
    // Stop limiting our packets to this endpoint. The answer came from it, so a node that lies
    // about its software only makes us send more packets to itself.
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

/** Changes the interval, but not the number of packets that can be sent at once. */
function changeInterval(entry: Entry, intervalMs: number, now: Millis): void {
  entry.dueAt = now + Math.max(0, entry.dueAt - now) * intervalMs / entry.intervalMs;
  entry.intervalMs = intervalMs;
}

/** The map key of an endpoint: a number for IPv4, because numbers are compared faster than text. */
function keyOf(endpoint: Endpoint): number | string {
  const { family, a, port } = endpoint;
  return family === 4 ? (a >>> 0) * 2 ** 16 + port : `${endpoint}`;
}
