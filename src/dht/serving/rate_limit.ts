// Limits the queries from each address, so that no address can use up the capacity for all others.

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Millis } from "../deadlines.ts";

/**
 * The steady rate of queries that each address (IPv6: each /64) may send. It is far more than any honest node sends.
 */
export const QUERIES_PER_SECOND = 100;

/** The largest burst of queries that we answer. A joining node sends many queries, and many nodes may share one NAT. */
export const QUERY_BURST = 500;

/**
 * How often all addresses are redistributed over the slots of the hash table. Two addresses share a slot for at most
 * this time.
 */
export const RESEED_INTERVAL_MS = 60_000;

/**
 * During a flood, the number of slots is 2 to this power. One address in 4,096 then shares the slot of a given flooder.
 */
const MAX_SLOT_BITS = 12;

/**
 * Without a flood, the number of slots is 2 to this power. The tables are small, because a process may run many nodes.
 */
const MIN_SLOT_BITS = 4;

/**
 * The factor by which the rate and the burst of a private address are larger. In a small network, each node gets the
 * queries for all torrents of a host: for 300 torrents, these may be 600 at once.
 */
export const PRIVATE_FACTOR = 8;

const INTERVAL_MS = 1000 / QUERIES_PER_SECOND, PRIVATE_INTERVAL_MS = INTERVAL_MS / PRIVATE_FACTOR;

/**
 * If a slot is this far ahead of the steady rate, we assume a flood. At this point, the slot has used half of its
 * burst.
 */
const SUSPECT_MS = QUERY_BURST / 2 * INTERVAL_MS;

/**
 * The generic cell rate algorithm (ATM Forum, 1996), for each slot of a table. A hash with a secret seed assigns
 * addresses to slots. The value of a slot is the time at which all its queries would have arrived at the steady rate.
 */
export class RateLimiter {
  #slotBits = MIN_SLOT_BITS;
  #dueAt: Millis[] = emptySlots();
  #seed: number;
  #seededAt: Millis | undefined;
  readonly #randomWord: () => number;

  /** `randomWord` returns random 32-bit integers that strangers can't predict. */
  constructor(randomWord: () => number) {
    this.#randomWord = randomWord;
    this.#seed = randomWord();
  }

  /** The current seed of the hash: a 32-bit integer that strangers can't know. */
  get seed(): number {
    return this.#seed;
  }

  /** Counts a query from this address. Returns false if the address is over its limit. Loopback has no limit. */
  allow(from: Endpoint, now: Millis): boolean {
    if (from.family === 4 ? from.a >>> 24 === 127 : from.scope === "loopback") return true;
    if (now - (this.#seededAt ??= now) >= RESEED_INTERVAL_MS) this.#reseed(now);
    const slot = hashAddress(from, this.#seed) >>> (32 - this.#slotBits);
    const interval = from.scope === "private" ? PRIVATE_INTERVAL_MS : INTERVAL_MS;
    const dueAt = Math.max(now, this.#dueAt[slot]) + interval;
    // Don't count refused queries, so that a sender over the limit is still served at the steady rate.
    if (dueAt - now > QUERY_BURST * INTERVAL_MS) return false;
    this.#dueAt[slot] = dueAt;
    if (dueAt - now > SUSPECT_MS && this.#slotBits < MAX_SLOT_BITS) this.#split();
    return true;
  }

  /**
   * Redistributes the addresses over the slots. Each address gets a new burst, which gives a flooder another 8 queries
   * per second on average.
   */
  #reseed(now: Millis): void {
    this.#seed = this.#randomWord();
    this.#seededAt = now;
    this.#slotBits = MIN_SLOT_BITS;
    this.#dueAt = emptySlots();
  }

  /**
   * Increases the number of slots to the maximum. Each new slot starts with the value of the slot from which it was
   * split.
   */
  #split(): void {
    const before = this.#dueAt, shift = MAX_SLOT_BITS - this.#slotBits;
    this.#slotBits = MAX_SLOT_BITS;
    this.#dueAt = Array.from({ length: 1 << MAX_SLOT_BITS }, (_, slot) => before[slot >> shift]);
  }
}

/** Returns a 32-bit hash of an IPv4 address or an IPv6 /64. */
export function hashAddress(
  { a, b, family }: Pick<Endpoint, "a" | "b" | "family">,
  seed: number,
): number {
  let h = Math.imul(a ^ seed, 0x9e3779b1);
  if (family === 6) h = Math.imul(h ^ (h >>> 15) ^ b, 0x85ebca77);
  h ^= h >>> 16;
  return Math.imul(h, 0xc2b2ae3d);
}

function emptySlots(): Millis[] {
  return new Array<Millis>(1 << MIN_SLOT_BITS).fill(-Infinity);
}
