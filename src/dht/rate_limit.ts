// How many queries one address may have answered: no stranger is served at the cost of all others.

import type { Endpoint } from "../krpc/endpoint.ts";
import type { Millis } from "./deadlines.ts";

/** Queries a second that one address (IPv6: one /64) may send for good: far over any honest node's. */
export const QUERIES_PER_SECOND = 100;

/** Queries at once that are still answered: a node that joins, or many behind one NAT. */
export const QUERY_BURST = 500;

/** Addresses told apart while somebody floods; more share a slot: who shares a flooder's is one in 512. */
const MOST_SLOT_BITS = 9;

/** Until then these do, which matters where one process has many nodes. */
const LEAST_SLOT_BITS = 4;

const INTERVAL_MS = 1000 / QUERIES_PER_SECOND;

/** As far ahead of the steady rate as this, somebody may be flooding; who shares the slot still has half a burst left. */
const SUSPECT_MS = QUERY_BURST / 2 * INTERVAL_MS;

/**
 * The generic cell rate algorithm (ATM Forum, 1996) for each slot of a table that addresses are hashed into under a
 * secret seed: one number a slot, the time at which all that was let in would have come at the steady rate.
 */
export class RateLimiter {
  #slotBits = LEAST_SLOT_BITS;
  #dueAt = new Array<Millis>(1 << LEAST_SLOT_BITS).fill(-Infinity);
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  /** Counts a query from this address; false where it is over the limit. Loopback is not limited. */
  allow(from: Endpoint, now: Millis): boolean {
    if (from.family === 4 ? from.a >>> 24 === 127 : from.scope === "loopback") return true;
    const slot = this.#hash(from) >>> (32 - this.#slotBits);
    const dueAt = Math.max(now, this.#dueAt[slot]) + INTERVAL_MS;
    // What is refused does not count: a sender over the limit still gets its share.
    if (dueAt - now > QUERY_BURST * INTERVAL_MS) return false;
    this.#dueAt[slot] = dueAt;
    if (dueAt - now > SUSPECT_MS && this.#slotBits < MOST_SLOT_BITS) this.#split();
    return true;
  }

  /** Makes all slots there can be. Each begins with what was counted for those that shared its former one. */
  #split(): void {
    const before = this.#dueAt, shift = MOST_SLOT_BITS - this.#slotBits;
    this.#slotBits = MOST_SLOT_BITS;
    this.#dueAt = Array.from({ length: 1 << MOST_SLOT_BITS }, (_, slot) => before[slot >> shift]);
  }

  #hash({ a, b, family }: Endpoint): number {
    let h = Math.imul(a ^ this.#seed, 0x9e3779b1);
    if (family === 6) h = Math.imul(h ^ (h >>> 15) ^ b, 0x85ebca77);
    h ^= h >>> 16;
    return Math.imul(h, 0xc2b2ae3d);
  }
}
