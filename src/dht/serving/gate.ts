// While the node can't keep up, drops queries of the busiest strangers before parsing them, so that
// contacts and strangers with few queries are served.

import { literal } from "../../krpc/bencode.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import { hashAddress } from "./rate_limit.ts";

/**
 * How often the gate checks whether the node keeps up. The interval is short, because the system's
 * buffer fills in milliseconds.
 */
const JUDGE_INTERVAL_MS = 50;

/**
 * If the node receives from the socket fewer times than this in an interval, it counts as not busy.
 */
const MIN_RECEIVES = 8;

/**
 * The share of time that the host spends waiting for packets shows the load. Below `BUSY_SHARE`,
 * the node can't keep up, and halves the rate that each stranger may send. Above `RELAXED_SHARE`,
 * the node raises this rate by a tenth. With a faster rise, the load would oscillate.
 */
const BUSY_SHARE = 0.15, RELAXED_SHARE = 0.25;

/**
 * The queries per second that each stranger may send: the rate when the gate closes, the minimum,
 * and the rate at which the gate opens again.
 */
const FIRST_RATE = 16, MIN_RATE = 0.1, LAST_RATE = 100;

/** If the gate admitted at most this share of the packets, a lower rate would save nothing, so the rate stays. */
const MIN_ADMITTED_SHARE = 0.05;

/** A stranger that has proven its address may send this many times as many queries as other strangers. */
const PROVEN_FACTOR = 4;

/**
 * How long two addresses may share a slot of the hash table. After that time, all addresses are
 * redistributed over the slots.
 */
const RESEED_INTERVAL_MS = 60_000;

/**
 * The number of slots, as an exponent of two. In a flood from 10,000 addresses, one in seven other
 * addresses shares a slot with a flooder.
 */
const SLOT_BITS = 16;

/** Distinguishes contacts and proven addresses from strangers. */
export interface Standings {
  isContact(from: Endpoint): boolean;
  isProven(from: Endpoint, now: Millis): boolean;
}

interface Pressure {
  /** How many queries per second each stranger may send. */
  rate: number;
  /**
   * For each slot, the time of its latest query that was admitted. Unlike the state of a
   * `RateLimiter`, these times don't depend on the rate, which changes often.
   */
  readonly admittedAt: Float64Array;
  seed: number;
  seededAt: Millis;
  /** The number of packets that arrived since the rate was last adjusted. */
  packets: number;
  /** The number of packets that were admitted since the rate was last adjusted. */
  admitted: number;
}

export class Gate {
  /** The limits that apply while the node can't keep up; undefined while it keeps up. */
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

  /** Whether the node keeps up with all packets. */
  get isOpen(): boolean {
    return this.#pressure === undefined;
  }

  /**
   * Records for how long the host's socket has waited for a packet. The host also reports receives
   * that did not wait, as 0.
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

  /** Whether to handle a packet. Call this only while the gate is not open. */
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
    // Spread over time when the next query of each flooder is admitted. Otherwise, all flooders
    // would be admitted in one wave again and again.
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
 * The last bytes of a response. In an error, only the byte at `LETTER` differs: it is E instead of
 * R.
 */
const REPLY_END = literal("1:y1:re"), LETTER = 5, R = 0x72, E = 0x65;

/**
 * Whether a datagram looks like an answer to a query of ours. Such datagrams are always admitted,
 * because matching them with our queries is cheap.
 */
export function isReply(datagram: Uint8Array): boolean {
  const start = datagram.length - REPLY_END.length;
  if (start < 0) return false;
  for (let i = 0; i < REPLY_END.length; i++) {
    if (i !== LETTER && datagram[start + i] !== REPLY_END[i]) return false;
  }
  return datagram[start + LETTER] === R || datagram[start + LETTER] === E;
}
