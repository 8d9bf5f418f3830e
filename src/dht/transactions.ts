// Our outstanding queries: each is matched by transaction id and by the address it went to.

import type { Endpoint } from "../krpc/endpoint.ts";
import { type Message, type Method } from "../krpc/message.ts";
import { word } from "../krpc/id.ts";
import type { Deadline, Millis } from "./deadlines.ts";

/** One query that has not been answered. */
export interface Transaction {
  readonly tid: number;
  readonly method: Method;
  readonly to: Endpoint;
  readonly onReply: (message: Message, now: Millis) => void;
  deadline: Deadline | undefined;
}

export class Transactions {
  readonly #open = new Map<number, Transaction>();

  get size(): number {
    return this.#open.size;
  }

  /** Whether `tid` is in use. */
  has(tid: number): boolean {
    return this.#open.has(tid);
  }

  add(transaction: Transaction): void {
    this.#open.set(transaction.tid, transaction);
  }

  /**
   * Takes out the transaction that this reply answers; undefined where there is none. Whoever guesses an id must
   * also send from the address that was asked.
   */
  settle(reply: Message, from: Endpoint): Transaction | undefined {
    if (reply.tidEnd - reply.tidStart !== 4) return undefined;
    const tid = word(reply.packet, reply.tidStart);
    const transaction = this.#open.get(tid);
    if (transaction === undefined || !transaction.to.equals(from)) return undefined;
    this.#open.delete(tid);
    return transaction;
  }

  remove(transaction: Transaction): void {
    this.#open.delete(transaction.tid);
  }
}
