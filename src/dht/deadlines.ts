// What a node has to do later: heaps, so that the host needs one timer whatever the number of queries in flight.

/** Milliseconds on the host's monotonic clock. */
export type Millis = number;

/** What waits in an agenda: its fields are the agenda's while it is there. */
export interface Due {
  dueAt: Millis;
  /** Its place in the heap; negative where it is in none. */
  place: number;
  /** Counts up from one that was added to the next. */
  order: number;
}

/** A `place`: in no agenda. */
export const NOWHERE = -1;

/**
 * A heap of what is due, earliest first; of equal times what was added first. Four children a node, and the times
 * side by side in an array of their own: of most entries nothing else is ever looked at.
 */
export class Agenda<T extends Due> {
  readonly #at: number[] = [];
  readonly #heap: T[] = [];
  #added = 0;

  /** The earliest time; Infinity where there is none. */
  get next(): Millis {
    return this.#at.length === 0 ? Infinity : this.#at[0];
  }

  get size(): number {
    return this.#heap.length;
  }

  /** Takes in an entry that is in no agenda, to be due at its `dueAt`. */
  add(entry: T): void {
    entry.order = this.#added++;
    this.#at.push(entry.dueAt);
    this.#heap.push(entry);
    this.#rise(entry, this.#heap.length - 1);
  }

  /** Takes an entry out, if it is in. */
  remove(entry: T): void {
    const { place } = entry;
    if (place < 0) return;
    entry.place = NOWHERE;
    this.#at.pop();
    const last = this.#heap.pop()!;
    if (last === entry) return;
    this.#sink(last, place);
    this.#rise(last, last.place);
  }

  /** Takes out the earliest entry, if it is due; undefined otherwise. */
  take(now: Millis): T | undefined {
    if (this.next > now) return undefined;
    const first = this.#heap[0];
    this.remove(first);
    return first;
  }

  #put(entry: T, place: number): void {
    this.#at[place] = entry.dueAt;
    this.#heap[place] = entry;
    entry.place = place;
  }

  /** Finds the place of `entry` at `place` or above it. */
  #rise(entry: T, place: number): void {
    const ats = this.#at, heap = this.#heap;
    const { dueAt, order } = entry;
    while (place > 0) {
      const parent = (place - 1) >> 2;
      if (ats[parent] < dueAt || (ats[parent] === dueAt && heap[parent].order < order)) break;
      this.#put(heap[parent], place);
      place = parent;
    }
    this.#put(entry, place);
  }

  /** Finds the place of `entry` at `place` or below it. */
  #sink(entry: T, place: number): void {
    const ats = this.#at, heap = this.#heap;
    const { dueAt, order } = entry;
    const size = heap.length;
    for (;;) {
      let least = 4 * place + 1;
      if (least >= size) break;
      const end = Math.min(least + 4, size);
      for (let child = least + 1; child < end; child++) {
        const isEqual = ats[child] === ats[least];
        if (isEqual ? heap[child].order < heap[least].order : ats[child] < ats[least]) {
          least = child;
        }
      }
      if (ats[least] > dueAt || (ats[least] === dueAt && heap[least].order > order)) break;
      this.#put(heap[least], place);
      place = least;
    }
    this.#put(entry, place);
  }
}

/** One thing to do at one time; the handle with which it is cancelled. */
export interface Deadline extends Due {
  readonly run: (now: Millis) => void;
}

/** A `place`: it left the agenda to run in the present call. */
const TAKEN = -2;

/** Things to do, each once. */
export class Deadlines {
  readonly #agenda = new Agenda<Deadline>();

  /** The earliest deadline; Infinity where there is none. */
  get next(): Millis {
    return this.#agenda.next;
  }

  get size(): number {
    return this.#agenda.size;
  }

  schedule(at: Millis, run: (now: Millis) => void): Deadline {
    const deadline: Deadline = { dueAt: at, place: NOWHERE, order: 0, run };
    this.#agenda.add(deadline);
    return deadline;
  }

  cancel(deadline: Deadline | undefined): void {
    if (deadline === undefined) return;
    this.#agenda.remove(deadline);
    deadline.place = NOWHERE;
  }

  /**
   * Runs what is due, the `most` earliest of it. What that schedules for now or earlier waits for the next call: no
   * endless loop here.
   */
  run(now: Millis, most = Infinity): void {
    let first = this.#agenda.take(now);
    if (first === undefined) return;
    const due: Deadline[] = [];
    for (; first !== undefined; first = this.#agenda.take(now)) {
      first.place = TAKEN;
      due.push(first);
      if (due.length >= most) break;
    }
    for (const deadline of due) {
      // One that ran before it may have cancelled it.
      if (deadline.place !== TAKEN) continue;
      deadline.place = NOWHERE;
      deadline.run(now);
    }
  }
}
