// The simulation's queue: what happens when, in one heap.

import type { Millis } from "../dht/deadlines.ts";

/** Room for this many at first; it doubles as needed. */
const FIRST_CAPACITY = 1024;

/**
 * Earliest first; what was added first among equal times. A heap of four children a node, half as deep as a binary
 * one, over three arrays of numbers: what waits keeps its place, and only its number moves, which counts where
 * millions of packets pass through it.
 */
export class EventQueue<T> {
  #at = new Float64Array(FIRST_CAPACITY);
  #order = new Float64Array(FIRST_CAPACITY);
  #places = new Int32Array(FIRST_CAPACITY);
  readonly #whats: (T | undefined)[] = [];
  readonly #free: number[] = [];
  #size = 0;
  #added = 0;

  get size(): number {
    return this.#size;
  }

  /** When the earliest is due; Infinity where there is none. */
  get next(): Millis {
    return this.#size === 0 ? Infinity : this.#at[0];
  }

  add(at: Millis, what: T): void {
    let index = this.#size++;
    if (index === this.#at.length) this.#grow();
    const ats = this.#at, orders = this.#order, places = this.#places;
    const place = this.#free.pop() ?? this.#whats.length;
    this.#whats[place] = what;
    // What is added last goes behind all of its time: only an earlier one goes up.
    while (index > 0) {
      const parent = (index - 1) >> 2;
      if (ats[parent] <= at) break;
      ats[index] = ats[parent];
      orders[index] = orders[parent];
      places[index] = places[parent];
      index = parent;
    }
    ats[index] = at;
    orders[index] = this.#added++;
    places[index] = place;
  }

  /** Takes the earliest out; the caller has checked that there is one. */
  take(): T {
    const ats = this.#at, orders = this.#order, places = this.#places;
    const first = places[0];
    const what = this.#whats[first]!;
    this.#whats[first] = undefined;
    this.#free.push(first);
    const size = --this.#size;
    if (size === 0) return what;
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
      places[index] = places[least];
      index = least;
    }
    ats[index] = at;
    orders[index] = order;
    places[index] = places[size];
    return what;
  }

  #grow(): void {
    const capacity = 2 * this.#at.length;
    const ats = this.#at, orders = this.#order, places = this.#places;
    (this.#at = new Float64Array(capacity)).set(ats);
    (this.#order = new Float64Array(capacity)).set(orders);
    (this.#places = new Int32Array(capacity)).set(places);
  }
}
