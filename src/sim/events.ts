// The simulation's queue: what happens when, in one binary heap.

import type { Millis } from "../dht/deadlines.ts";

interface Entry<T> {
  at: Millis;
  order: number;
  what: T;
}

/** Earliest first; what was added first among equal times. */
export class EventQueue<T> {
  readonly #heap: Entry<T>[] = [];
  #added = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** When the earliest is due; Infinity where there is none. */
  get next(): Millis {
    return this.#heap.length === 0 ? Infinity : this.#heap[0].at;
  }

  add(at: Millis, what: T): void {
    const heap = this.#heap;
    const entry = { at, order: this.#added++, what };
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 2;
      if (!before(entry, heap[parent])) break;
      heap[index] = heap[parent];
      index = parent;
    }
    heap[index] = entry;
  }

  /** Takes the earliest out; the caller has checked that there is one. */
  take(): T {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop()!;
    if (heap.length === 0) return first.what;
    let index = 0;
    for (;;) {
      // Four children a node: the heap is half as deep, and its lines are read together.
      let least = 4 * index + 1;
      if (least >= heap.length) break;
      const end = Math.min(least + 4, heap.length);
      for (let child = least + 1; child < end; child++) {
        if (before(heap[child], heap[least])) least = child;
      }
      if (!before(heap[least], last)) break;
      heap[index] = heap[least];
      index = least;
    }
    heap[index] = last;
    return first.what;
  }
}

function before<T>(x: Entry<T>, y: Entry<T>): boolean {
  return x.at < y.at || (x.at === y.at && x.order < y.order);
}
