// While the node can't keep up, drops queries of the busiest strangers before they are parsed, so that contacts and
// strangers with few queries are still served.

import { literal } from "../../krpc/bencode.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import { hashAddress } from "./rate_limit.ts";

/**
 * How often the gate checks whether the node keeps up. The interval is short, because the system's receive buffer fills
 * in milliseconds.
 */
const JUDGE_INTERVAL_MS = 50;

/** If the host reports fewer receives than this in an interval, the node counts as not busy. */
const MIN_RECEIVES = 8;

/**
 * The load is measured by the share of time that the host spends waiting for packets. Below `BUSY_SHARE`, the node
 * can't keep up, and halves the rate allowed to each stranger. Above `RELAXED_SHARE`, it raises this rate by a tenth.
 * With faster rises, the load would oscillate.
 */
const BUSY_SHARE = 0.15, RELAXED_SHARE = 0.25;

/**
 * Limits in queries per second and stranger: the rate when the gate closes, the minimum rate, and the rate above which
 * the gate opens again.
 */
const FIRST_RATE = 16, MIN_RATE = 0.1, LAST_RATE = 100;

/** If the gate admitted at most this share of the queries, the rate stays: a lower rate would save nothing. */
const MIN_ADMITTED_SHARE = 0.05;

/** The factor by which a stranger with a proven address may send more queries than other strangers. */
const PROVEN_FACTOR = 4;

/**
 * How often all addresses are redistributed over the slots of the hash table. Two addresses share a slot for at most
 * this time.
 */
const RESEED_INTERVAL_MS = 60_000;

/**
 * The number of slots is 2 to this power. In a flood from 10,000 addresses, one in seven of all other addresses shares
 * a slot with a flooder.
 */
const SLOT_BITS = 16;

/** Distinguishes contacts and proven addresses from strangers. */
export interface Standings {
  isContact(from: Endpoint): boolean;
  isProven(from: Endpoint, now: Millis): boolean;
}

interface Pressure {
  /** The number of queries per second that each stranger may send. */
  rate: number;
  /**
   * For each slot, the time of the latest admitted query. Unlike the state of a `RateLimiter`, these times don't depend
   * on the rate, which changes often.
   */
  readonly admittedAt: Float64Array;
  seed: number;
  seededAt: Millis;
  /** The number of queries that arrived in the current interval. */
  packets: number;
  /** The number of queries that passed the rate limit in the current interval. */
  admitted: number;
}

export class Gate {
  /** The limits that apply while the node can't keep up; undefined while the gate is open. */
  #pressure: Pressure | undefined;
  #receives = 0;
  #waitedMs = 0;
  #judgedAt: Millis = -Infinity;
  readonly #standings: Standings;
  readonly #random: Random;

  constructor(standings: Standings, random: Random) {
    this.#standings = standings;
    this.#random = random;
  }

  /** Whether the node keeps up, so that all packets are handled. */
  get isOpen(): boolean {
    return this.#pressure === undefined;
  }

  /**
   * Records how long the host waited for packets, for a sample of its receives: 0 for a receive that did not wait,
   * otherwise the estimated waiting time since the previous report.
   */
  note(waitedMs: Millis, now: Millis): void {
    this.#receives++;
    this.#waitedMs += waitedMs;
    const elapsed = now - this.#judgedAt;
    if (elapsed < JUDGE_INTERVAL_MS) return;
    const share = this.#receives < MIN_RECEIVES ? 1 : this.#waitedMs / elapsed;
    this.#receives = this.#waitedMs = 0;
    this.#judgedAt = now;
    if (share < BUSY_SHARE) this.#tighten(now);
    else if (share > RELAXED_SHARE) this.#relax();
    if (this.#pressure !== undefined) this.#pressure.packets = this.#pressure.admitted = 0;
  }

  /** Whether to handle a packet. Call this only while the gate is closed. */
  admits(datagram: Uint8Array, from: Endpoint, now: Millis): boolean {
    const pressure = this.#pressure;
    if (pressure === undefined || from.scope === "loopback" || isReply(datagram)) return true;
    pressure.packets++;
    if (now - pressure.seededAt >= RESEED_INTERVAL_MS) this.#reseed(pressure, now);
    const slot = hashAddress(from, pressure.seed) >>> (32 - SLOT_BITS);
    const interval = 1000 / pressure.rate, since = now - pressure.admittedAt[slot];
    if (since < interval) {
      if (this.#standings.isContact(from)) return true;
      if (since < interval / PROVEN_FACTOR || !this.#standings.isProven(from, now)) return false;
    }
    // Randomize when a flooder's next query is admitted. Otherwise, the queries of all flooders would be admitted in
    // waves.
    pressure.admittedAt[slot] = now + (this.#random.fraction() - 0.5) * interval;
    pressure.admitted++;
    return true;
  }

  #tighten(now: Millis): void {
    const pressure = this.#pressure;
    if (pressure === undefined) {
      this.#pressure = {
        rate: FIRST_RATE,
        admittedAt: new Float64Array(1 << SLOT_BITS).fill(-Infinity),
        seed: this.#random.word(),
        seededAt: now,
        packets: 0,
        admitted: 0,
      };
    } else if (pressure.admitted > MIN_ADMITTED_SHARE * pressure.packets) {
      pressure.rate = Math.max(MIN_RATE, pressure.rate / 2);
    }
  }

  #relax(): void {
    const pressure = this.#pressure;
    if (pressure === undefined) return;
    pressure.rate *= 1.1;
    if (pressure.rate > LAST_RATE) this.#pressure = undefined;
  }

  #reseed(pressure: Pressure, now: Millis): void {
    pressure.seed = this.#random.word();
    pressure.seededAt = now;
    pressure.admittedAt.fill(-Infinity);
  }
}

/**
 * The last bytes of a response. An error message differs from a response only in the byte at `LETTER`: E instead of R.
 */
const REPLY_END = literal("1:y1:re"), LETTER = 5, R = 0x72, E = 0x65;

/**
 * Whether a datagram looks like a response or an error. The gate admits all of these, because matching them with our
 * queries is cheap.
 */
export function isReply(datagram: Uint8Array): boolean {
  const start = datagram.length - REPLY_END.length;
  if (start < 0) return false;
  for (let i = 0; i < REPLY_END.length; i++) {
    if (i !== LETTER && datagram[start + i] !== REPLY_END[i]) return false;
  }
  return datagram[start + LETTER] === R || datagram[start + LETTER] === E;
}
