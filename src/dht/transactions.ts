// Our outstanding queries: each is matched by transaction id and by the address it went to.

import type { Endpoint } from "../krpc/endpoint.ts";
import { type Message, type Method } from "../krpc/message.ts";
import { word } from "../krpc/id.ts";

/** One query that has not been answered. */
export interface Transaction {
  readonly tid: number;
  readonly method: Method;
  readonly to: Endpoint;
}

/** Slots of an empty table; a power of two. */
const LEAST_SLOTS = 8;

export class Transactions<T extends Transaction = Transaction> {
  /**
   * A hash table with linear probing, at most half full. The low bits of an id are its hash: ids are random, and
   * nobody but us chooses them. A `Map` would allocate a new table every few queries.
   */
  #slots = new Array<T | undefined>(LEAST_SLOTS).fill(undefined);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Whether `tid` is in use. */
  has(tid: number): boolean {
    return this.#slots[this.#place(tid)] !== undefined;
  }

  /** Takes in a transaction whose id is not in use. */
  add(transaction: T): void {
    if (2 * ++this.#size > this.#slots.length) this.#resize(2 * this.#slots.length);
    this.#slots[this.#place(transaction.tid)] = transaction;
  }

  /**
   * Takes out the transaction that this reply answers; undefined where there is none. Whoever guesses an id must
   * also send from the address that was asked.
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

  /** Where the transaction with this id is, or would be. */
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
    // Those behind it move up, so that no gap hides them.
    for (let next = (place + 1) & mask;; next = (next + 1) & mask) {
      const transaction = slots[next];
      if (transaction === undefined) break;
      const isPastHome = ((next - transaction.tid) & mask) >= ((next - place) & mask);
      if (!isPastHome) continue;
      slots[place] = transaction;
      slots[next] = undefined;
      place = next;
    }
    // After a burst; not before it is well past, or the table would be made anew again and again.
    if (slots.length > LEAST_SLOTS && 8 * this.#size < slots.length) this.#resize(slots.length / 2);
  }

  #resize(length: number): void {
    const before = this.#slots;
    this.#slots = new Array<T | undefined>(length).fill(undefined);
    for (const transaction of before) {
      if (transaction !== undefined) this.#slots[this.#place(transaction.tid)] = transaction;
    }
  }
}
