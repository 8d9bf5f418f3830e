// Limits the queries from each address, so that no address can use up the service for all others.

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Millis } from "../deadlines.ts";

/** The steady rate of queries that each address (IPv6: each /64) may send: far more than any honest node sends. */
export const QUERIES_PER_SECOND = 100;

/** The largest burst of queries that is answered. A joining node sends many, and many nodes may share one NAT. */
export const QUERY_BURST = 500;

/**
 * How long two addresses may share a slot of the hash table. After that time, all addresses are
 * redistributed over the slots.
 */
export const RESEED_INTERVAL_MS = 60_000;

/**
 * The number of slots during a flood, as an exponent of two. One address in 4,096 shares the slot
 * of a given flooder.
 */
const MAX_SLOT_BITS = 12;

/** The number of slots before a flood, as an exponent of two. A process with many nodes needs small tables. */
const MIN_SLOT_BITS = 4;

/**
 * The rate and the burst of an address in a private network are larger by this factor. In a small
 * network, each node gets the queries for all torrents of a host, which may be 600 at once for 300
 * torrents.
 */
export const PRIVATE_FACTOR = 8;

const INTERVAL_MS = 1000 / QUERIES_PER_SECOND, PRIVATE_INTERVAL_MS = INTERVAL_MS / PRIVATE_FACTOR;

/**
 * If a slot is this far ahead of the steady rate, we assume a flood. At that point, the slot has
 * half of its burst left.
 */
const SUSPECT_MS = QUERY_BURST / 2 * INTERVAL_MS;

/**
 * The generic cell rate algorithm (ATM Forum, 1996), for each slot of a table. Addresses are hashed into the slots with
 * a secret seed. The value of a slot is the time when all its queries would have arrived at the steady rate.
 */
export class RateLimiter {
  #slotBits = MIN_SLOT_BITS;
  #dueAt: Millis[] = emptySlots();
  #seed: number;
  #seededAt: Millis | undefined;
  readonly #randomWord: () => number;

  /** `randomWord` returns random 32-bit integers that strangers can't know. */
  constructor(randomWord: () => number) {
    this.#randomWord = randomWord;
    this.#seed = randomWord();
  }

  /** The present seed of the hashes: a 32-bit integer that strangers can't know. */
  get seed(): number {
    return this.#seed;
  }

  /** Counts a query from this address; false if the address is over its limit. Loopback has no limit. */
  allow(from: Endpoint, now: Millis): boolean {
    if (from.family === 4 ? from.a >>> 24 === 127 : from.scope === "loopback") return true;
    if (now - (this.#seededAt ??= now) >= RESEED_INTERVAL_MS) this.#reseed(now);
    const slot = hashAddress(from, this.#seed) >>> (32 - this.#slotBits);
    const interval = from.scope === "private" ? PRIVATE_INTERVAL_MS : INTERVAL_MS;
    const dueAt = Math.max(now, this.#dueAt[slot]) + interval;
    // Refused queries don't count, so a sender over the limit is still served at the steady rate.
    if (dueAt - now > QUERY_BURST * INTERVAL_MS) return false;
    this.#dueAt[slot] = dueAt;
    if (dueAt - now > SUSPECT_MS && this.#slotBits < MAX_SLOT_BITS) this.#split();
    return true;
  }

  /**
   * Redistributes the addresses over the slots. Each address gets a new burst, which adds 8 queries
   * a second to a flooder's rate.
   */
  #reseed(now: Millis): void {
    this.#seed = this.#randomWord();
    this.#seededAt = now;
    this.#slotBits = MIN_SLOT_BITS;
    this.#dueAt = emptySlots();
  }

  /**
   * Increases the number of slots to the maximum. Each new slot starts with the value of the old
   * slot that it was part of.
   */
  #split(): void {
    const before = this.#dueAt, shift = MAX_SLOT_BITS - this.#slotBits;
    this.#slotBits = MAX_SLOT_BITS;
    this.#dueAt = Array.from({ length: 1 << MAX_SLOT_BITS }, (_, slot) => before[slot >> shift]);
  }
}

/** A 32-bit hash of an IPv4 address or an IPv6 /64. */
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
