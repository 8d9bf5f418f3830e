// What a node has to do later: one heap, so that the host needs one timer whatever the number of queries in flight.

/** Milliseconds on the host's monotonic clock. */
export type Millis = number;

/** One thing to do at one time; the handle with which it is cancelled. */
export interface Deadline {
  readonly at: Millis;
  readonly run: (now: Millis, subject: unknown) => void;
  /** What `run` is about: one function then serves many deadlines. */
  readonly subject: unknown;
  /** Its place in the heap, or one of the values below. */
  index: number;
}

/** Of a deadline's `index`: it ran or was cancelled; it left the heap to run in the present call. */
const GONE = -1, DUE = -2;

/**
 * A heap of deadlines, earliest first; equal times run in the order of their making. Four children a node, and the
 * times side by side in an array of their own: of most deadlines nothing else is ever looked at.
 */
export class Deadlines {
  readonly #at: number[] = [];
  readonly #heap: (Deadline & { order: number })[] = [];
  #made = 0;

  /** The earliest deadline; Infinity where there is none. */
  get next(): Millis {
    return this.#at.length === 0 ? Infinity : this.#at[0];
  }

  get size(): number {
    return this.#heap.length;
  }

  schedule(at: Millis, run: (now: Millis) => void): Deadline;
  schedule<T>(at: Millis, run: (now: Millis, subject: T) => void, subject: T): Deadline;
  schedule(at: Millis, run: (now: Millis, subject: never) => void, subject?: unknown): Deadline {
    const deadline = {
      at,
      run: run as (now: Millis, subject: unknown) => void,
      subject,
      index: this.#heap.length,
      order: this.#made++,
    };
    this.#at.push(at);
    this.#heap.push(deadline);
    this.#rise(deadline, deadline.index);
    return deadline;
  }

  cancel(deadline: Deadline | undefined): void {
    if (deadline === undefined) return;
    const { index } = deadline;
    deadline.index = GONE;
    if (index < 0) return;
    this.#at.pop();
    const last = this.#heap.pop()!;
    if (last === deadline) return;
    this.#sink(last, index);
    this.#rise(last, last.index);
  }

  /** Runs what is due. What that schedules for now or earlier waits for the next call: no endless loop here. */
  run(now: Millis): void {
    if (this.next > now) return;
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
      deadline.run(now, deadline.subject);
    }
  }

  #place(deadline: Deadline & { order: number }, index: number): void {
    this.#at[index] = deadline.at;
    this.#heap[index] = deadline;
    deadline.index = index;
  }

  /** Finds the place of `deadline` at `index` or above it. */
  #rise(deadline: Deadline & { order: number }, index: number): void {
    const ats = this.#at, heap = this.#heap;
    const { at, order } = deadline;
    while (index > 0) {
      const parent = (index - 1) >> 2;
      if (ats[parent] < at || (ats[parent] === at && heap[parent].order < order)) break;
      this.#place(heap[parent], index);
      index = parent;
    }
    this.#place(deadline, index);
  }

  /** Finds the place of `deadline` at `index` or below it. */
  #sink(deadline: Deadline & { order: number }, index: number): void {
    const ats = this.#at, heap = this.#heap;
    const { at, order } = deadline;
    const size = heap.length;
    for (;;) {
      let least = 4 * index + 1;
      if (least >= size) break;
      const end = Math.min(least + 4, size);
      for (let child = least + 1; child < end; child++) {
        const isEqual = ats[child] === ats[least];
        if (isEqual ? heap[child].order < heap[least].order : ats[child] < ats[least]) {
          least = child;
        }
      }
      if (ats[least] > at || (ats[least] === at && heap[least].order > order)) break;
      this.#place(heap[least], index);
      index = least;
    }
    this.#place(deadline, index);
  }
}
