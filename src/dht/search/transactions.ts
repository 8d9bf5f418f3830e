// Our queries in flight. A reply is matched to its query by its transaction id and the endpoint that it comes from.

import type { Endpoint } from "../../krpc/endpoint.ts";
import { type Message, type Method } from "../../krpc/message.ts";
import { word } from "../../krpc/id.ts";

/** One query in flight. */
export interface Transaction {
  readonly tid: number;
  readonly method: Method;
  readonly to: Endpoint;
}

/** The number of slots in an empty table; a power of two. */
const MIN_SLOTS = 8;

export class Transactions<T extends Transaction = Transaction> {
  /**
   * A hash table with linear probing, at most half full. A transaction id's low bits serve as its hash, because we
   * choose all ids at random. A `Map` would allocate a new table every few queries.
   */
  #slots = new Array<T | undefined>(MIN_SLOTS).fill(undefined);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(tid: number): boolean {
    return this.#slots[this.#place(tid)] !== undefined;
  }

  /** The transaction with this id, if there is one. */
  find(tid: number): T | undefined {
    return this.#slots[this.#place(tid)];
  }

  /** Adds a transaction whose id is not in use. */
  add(transaction: T): void {
    if (2 * ++this.#size > this.#slots.length) this.#resize(2 * this.#slots.length);
    this.#slots[this.#place(transaction.tid)] = transaction;
  }

  /**
   * Removes and returns the transaction that a reply answers; undefined if there is none. The reply must come from the
   * endpoint that was asked, so guessing an id is not enough to forge a reply.
   */
  settle(reply: Message, from: Endpoint): T | undefined {
    if (reply.tidEnd - reply.tidStart !== 4) return undefined;
    const place = this.#place(word(reply.packet, reply.tidStart));
    const transaction = this.#slots[place];
    if (transaction === undefined || !transaction.to.equals(from)) return undefined;
    this.#free(place);
    return transaction;
  }

  remove({ tid }: Transaction): void {
    const place = this.#place(tid);
    if (this.#slots[place] !== undefined) this.#free(place);
  }

  /** The slot of the transaction with this id or, if there is none, the free slot where it belongs. */
  #place(tid: number): number {
    const slots = this.#slots, mask = slots.length - 1;
    let place = tid & mask;
    for (;;) {
      const transaction = slots[place];
      if (transaction === undefined || transaction.tid === tid) return place;
      place = (place + 1) & mask;
    }
  }

  #free(place: number): void {
    const slots = this.#slots, mask = slots.length - 1;
    slots[place] = undefined;
    this.#size--;
    // Move up the transactions that follow, so that searches don't stop at the gap before they reach them.
    for (let next = (place + 1) & mask;; next = (next + 1) & mask) {
      const transaction = slots[next];
      if (transaction === undefined) break;
      const isPastHome = ((next - transaction.tid) & mask) >= ((next - place) & mask);
      if (!isPastHome) continue;
      slots[place] = transaction;
      slots[next] = undefined;
      place = next;
    }
    // Shrink after a burst, but only if the table is nearly empty, so that it is not copied again and again.
    if (slots.length > MIN_SLOTS && 8 * this.#size < slots.length) this.#resize(slots.length / 2);
  }

  #resize(length: number): void {
    const before = this.#slots;
    this.#slots = new Array<T | undefined>(length).fill(undefined);
    for (const transaction of before) {
      if (transaction !== undefined) this.#slots[this.#place(transaction.tid)] = transaction;
    }
  }
}
