// Whom we have sent queries to of late: packets from others were not asked for.

import type { Endpoint } from "../krpc/endpoint.ts";

/** Slots of an empty set; powers of two. */
const LEAST_SLOTS = 64;

/** With more than this the set says of everybody that it was contacted: nothing follows from that. */
const MOST_SLOTS = 16_384;

/** Addresses and endpoints, as hashes: two that share one are taken for the same, which hides evidence and adds none. */
export class Contacted {
  #slots = new Int32Array(LEAST_SLOTS);
  #size = 0;

  add(to: Endpoint): void {
    this.#insert(hash(to, 0));
    this.#insert(hash(to, to.port));
  }

  hasAddress(of: Endpoint): boolean {
    return this.#has(hash(of, 0));
  }

  hasEndpoint(endpoint: Endpoint): boolean {
    return this.#has(hash(endpoint, endpoint.port));
  }

  #has(value: number): boolean {
    return this.#isFull || this.#slots[this.#place(value)] === value;
  }

  get #isFull(): boolean {
    return 2 * this.#size > MOST_SLOTS;
  }

  #insert(value: number): void {
    if (this.#isFull) return;
    const place = this.#place(value);
    if (this.#slots[place] === value) return;
    this.#slots[place] = value;
    if (2 * ++this.#size <= this.#slots.length || this.#slots.length === MOST_SLOTS) return;
    const before = this.#slots;
    this.#slots = new Int32Array(2 * before.length);
    for (const held of before) if (held !== 0) this.#slots[this.#place(held)] = held;
  }

  /** Where a value is, or would be. */
  #place(value: number): number {
    const mask = this.#slots.length - 1;
    let place = value & mask;
    while (this.#slots[place] !== 0 && this.#slots[place] !== value) place = (place + 1) & mask;
    return place;
  }
}

/** Never 0, which marks a free slot. */
function hash({ a, b, c, d }: Endpoint, port: number): number {
  let h = Math.imul(a ^ port, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15) ^ b, 0x85ebca77);
  h = Math.imul(h ^ (h >>> 13) ^ c, 0xc2b2ae3d);
  h = Math.imul(h ^ (h >>> 16) ^ d, 0x27d4eb2f);
  return h ^ (h >>> 15) || 1;
}
