// The simulation's queue: what happens when, in one heap.

import type { Millis } from "../dht/deadlines.ts";

/** Room for this many at first; it doubles as needed. */
const FIRST_CAPACITY = 1024;

/**
 * Earliest first; what was added first among equal times. A heap of four children a node, half as deep as a binary
 * one, over three arrays: comparing two entries then reads numbers side by side and follows no pointers, which counts
 * where millions of packets pass through it.
 */
export class EventQueue<T> {
  #at = new Float64Array(FIRST_CAPACITY);
  #order = new Float64Array(FIRST_CAPACITY);
  readonly #what: T[] = [];
  #added = 0;

  get size(): number {
    return this.#what.length;
  }

  /** When the earliest is due; Infinity where there is none. */
  get next(): Millis {
    return this.#what.length === 0 ? Infinity : this.#at[0];
  }

  add(at: Millis, what: T): void {
    const whats = this.#what;
    let index = whats.length;
    if (index === this.#at.length) this.#grow();
    const ats = this.#at, orders = this.#order;
    whats.push(what);
    // What is added last goes behind all of its time: only an earlier one goes up.
    while (index > 0) {
      const parent = (index - 1) >> 2;
      if (ats[parent] <= at) break;
      ats[index] = ats[parent];
      orders[index] = orders[parent];
      whats[index] = whats[parent];
      index = parent;
    }
    ats[index] = at;
    orders[index] = this.#added++;
    whats[index] = what;
  }

  /** Takes the earliest out; the caller has checked that there is one. */
  take(): T {
    const ats = this.#at, orders = this.#order, whats = this.#what;
    const first = whats[0];
    const last = whats.pop()!;
    const size = whats.length;
    if (size === 0) return first;
    const at = ats[size], order = orders[size];
    let index = 0;
    for (;;) {
      let least = 4 * index + 1;
      if (least >= size) break;
      const end = Math.min(least + 4, size);
      for (let child = least + 1; child < end; child++) {
        const earlier = ats[child] < ats[least];
        if (earlier || (ats[child] === ats[least] && orders[child] < orders[least])) least = child;
      }
      if (ats[least] > at || (ats[least] === at && orders[least] > order)) break;
      ats[index] = ats[least];
      orders[index] = orders[least];
      whats[index] = whats[least];
      index = least;
    }
    ats[index] = at;
    orders[index] = order;
    whats[index] = last;
    return first;
  }

  #grow(): void {
    const [at, order] = [this.#at, this.#order].map((old) => {
      const larger = new Float64Array(2 * old.length);
      larger.set(old);
      return larger;
    });
    this.#at = at;
    this.#order = order;
  }
}
