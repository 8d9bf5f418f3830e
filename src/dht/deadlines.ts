// What a node has to do later: one heap, so that the host needs one timer whatever the number of queries in flight.

/** Milliseconds on the host's monotonic clock. */
export type Millis = number;

/** One thing to do at one time; the handle with which it is cancelled. */
export interface Deadline {
  readonly at: Millis;
  readonly run: (now: Millis) => void;
  /** Its place in the heap, or one of the values below. */
  index: number;
}

/** Of a deadline's `index`: it ran or was cancelled; it left the heap to run in the present call. */
const GONE = -1, DUE = -2;

/** A binary heap of deadlines, earliest first; equal times run in the order of their making. */
export class Deadlines {
  readonly #heap: (Deadline & { order: number })[] = [];
  #made = 0;

  /** The earliest deadline; Infinity where there is none. */
  get next(): Millis {
    return this.#heap.length === 0 ? Infinity : this.#heap[0].at;
  }

  get size(): number {
    return this.#heap.length;
  }

  schedule(at: Millis, run: (now: Millis) => void): Deadline {
    const deadline = { at, run, index: this.#heap.length, order: this.#made++ };
    this.#heap.push(deadline);
    this.#rise(deadline.index);
    return deadline;
  }

  cancel(deadline: Deadline | undefined): void {
    if (deadline === undefined) return;
    const { index } = deadline;
    deadline.index = GONE;
    if (index < 0) return;
    const last = this.#heap.pop()!;
    if (last === deadline) return;
    this.#place(last, index);
    this.#sink(index);
    this.#rise(last.index);
  }

  /** Runs what is due. What that schedules for now or earlier waits for the next call: no endless loop here. */
  run(now: Millis): void {
    const due: Deadline[] = [];
    while (this.next <= now) {
      const first = this.#heap[0];
      this.cancel(first);
      first.index = DUE;
      due.push(first);
    }
    for (const deadline of due) {
      // One that ran before it may have cancelled it.
      if (deadline.index !== DUE) continue;
      deadline.index = GONE;
      deadline.run(now);
    }
  }

  #before(x: number, y: number): boolean {
    const p = this.#heap[x], q = this.#heap[y];
    return p.at < q.at || (p.at === q.at && p.order < q.order);
  }

  #place(deadline: Deadline & { order: number }, index: number): void {
    this.#heap[index] = deadline;
    deadline.index = index;
  }

  #swap(x: number, y: number): void {
    const p = this.#heap[x];
    this.#place(this.#heap[y], x);
    this.#place(p, y);
  }

  #rise(index: number): void {
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#before(index, parent)) return;
      this.#swap(index, parent);
      index = parent;
    }
  }

  #sink(index: number): void {
    for (;;) {
      let least = index;
      for (let child = 2 * index + 1; child <= 2 * index + 2; child++) {
        if (child < this.#heap.length && this.#before(child, least)) least = child;
      }
      if (least === index) return;
      this.#swap(index, least);
      index = least;
    }
  }
}
