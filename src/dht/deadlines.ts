// Timeouts and other scheduled work, kept in heaps so that the host needs only one timer.

/** Milliseconds on the host's clock. It never runs backwards, and setting the system's clock does not affect it. */
export type Millis = number;

/** An agenda's number for an item. After the item has left the agenda, another item may get the same number. */
export type Slot = number;

/** The slot of an item that has not been in an agenda yet. */
export const NO_SLOT: Slot = -1;

/**
 * A priority queue. The earliest item comes first. Of items due at the same time, the one that was
 * added first comes first.
 *
 * It is a heap with four children per node. Postponing an item is cheap, because only its entry in `#due` changes. The
 * item moves when its old time reaches the top. Timers are postponed far more often than they fire.
 *
 * Everything that the heap compares and moves is in arrays of numbers. Reading fields of the items would be slow:
 * agendas hold items of many shapes, and V8 looks up the fields of objects by name if it has seen more than four
 * shapes.
 */
export class Agenda<T> {
  /** The slots of all items in the order of the heap, followed by the free slots. */
  readonly #heap: Slot[] = [];
  /** For each place in the heap, the time by which its item is sorted: the item's due time or an earlier time. */
  readonly #times: Millis[] = [];
  /** For each slot, the item, or undefined if the slot is free. */
  readonly #items: (T | undefined)[] = [];
  /**
   * For each slot, the time when its item is due. The heap may sort an item by an earlier time, but never its first
   * item.
   */
  readonly #due: Millis[] = [];
  /** For each slot, its place in the heap. */
  readonly #places: number[] = [];
  /** For each slot, a sequence number that breaks ties. */
  readonly #orders: number[] = [];
  #size = 0;
  #added = 0;

  /** The due time of the earliest item; Infinity if there are no items. */
  get next(): Millis {
    return this.#size === 0 ? Infinity : this.#times[0];
  }

  get first(): T | undefined {
    return this.#size === 0 ? undefined : this.#items[this.#heap[0]];
  }

  get size(): number {
    return this.#size;
  }

  /**
   * Whether an item is in the agenda. `slot` is the slot that the latest {@link set} of the item returned, or NO_SLOT.
   */
  has(item: T, slot: Slot): boolean {
    return slot >= 0 && this.#items[slot] === item;
  }

  /**
   * Sets the time at which an item is due, and returns the item's slot. Adds the item if it is not
   * in the agenda.
   */
  set(item: T, slot: Slot, at: Millis): Slot {
    if (!this.has(item, slot)) return this.#add(item, at);
    this.#due[slot] = at;
    const place = this.#places[slot];
    if (at < this.#times[place]) this.#rise(slot, place);
    else if (place === 0) this.#settle();
    return slot;
  }

  /** Removes an item, if it is in the agenda. */
  remove(item: T, slot: Slot): void {
    if (!this.has(item, slot)) return;
    this.#items[slot] = undefined;
    const place = this.#places[slot], end = --this.#size, last = this.#heap[end];
    this.#heap[end] = slot;
    if (last !== slot) {
      this.#sink(last, place);
      this.#rise(last, this.#places[last]);
    }
    if (place === 0) this.#settle();
  }

  /** Removes and returns the earliest item if it is due; undefined otherwise. */
  take(now: Millis): T | undefined {
    if (this.next > now) return undefined;
    const slot = this.#heap[0], item = this.#items[slot]!;
    this.remove(item, slot);
    return item;
  }

  #add(item: T, at: Millis): Slot {
    const place = this.#size++;
    if (place === this.#heap.length) {
      this.#heap.push(place);
      this.#times.push(at);
      this.#items.push(item);
      this.#due.push(at);
      this.#places.push(place);
      this.#orders.push(this.#added++);
      this.#rise(place, place);
      return place;
    }
    const slot = this.#heap[place];
    this.#items[slot] = item;
    this.#due[slot] = at;
    this.#orders[slot] = this.#added++;
    this.#rise(slot, place);
    return slot;
  }

  /** Moves postponed items down the heap until its first item is sorted by the time when that item is due. */
  #settle(): void {
    const times = this.#times, heap = this.#heap, due = this.#due;
    while (this.#size > 0 && due[heap[0]] > times[0]) this.#sink(heap[0], 0);
  }

  /** Inserts `slot` at `place` or, if its time is early, nearer to the top of the heap. */
  #rise(slot: Slot, place: number): void {
    const times = this.#times, heap = this.#heap, places = this.#places, orders = this.#orders;
    const at = this.#due[slot], order = orders[slot];
    while (place > 0) {
      const parent = (place - 1) >> 2;
      const time = times[parent], other = heap[parent];
      if (time < at || (time === at && orders[other] < order)) break;
      times[place] = time;
      heap[place] = other;
      places[other] = place;
      place = parent;
    }
    times[place] = at;
    heap[place] = slot;
    places[slot] = place;
  }

  /** Inserts `slot` at `place` or, if its time is late, farther from the top of the heap. */
  #sink(slot: Slot, place: number): void {
    const times = this.#times, heap = this.#heap, places = this.#places, orders = this.#orders;
    const at = this.#due[slot], order = orders[slot];
    const size = this.#size;
    for (;;) {
      let least = 4 * place + 1;
      if (least >= size) break;
      const end = Math.min(least + 4, size);
      for (let child = least + 1; child < end; child++) {
        const isEqual = times[child] === times[least];
        if (isEqual ? orders[heap[child]] < orders[heap[least]] : times[child] < times[least]) {
          least = child;
        }
      }
      const time = times[least], other = heap[least];
      if (time > at || (time === at && orders[other] > order)) break;
      times[place] = time;
      heap[place] = other;
      places[other] = place;
      place = least;
    }
    times[place] = at;
    heap[place] = slot;
    places[slot] = place;
  }
}

/** A scheduled action. Pass this object to `cancel` to cancel the action. */
export interface Deadline {
  readonly dueAt: Millis;
  readonly run: (now: Millis) => void;
  slot: Slot;
  /** `taken`: the current call of `run` has taken the deadline out of the agenda and is about to run it. */
  state: "waiting" | "taken" | "done";
}

/** Scheduled actions, each of which runs once. */
export class Deadlines {
  readonly #agenda = new Agenda<Deadline>();

  /** The time of the earliest deadline; Infinity if there is none. */
  get next(): Millis {
    return this.#agenda.next;
  }

  get size(): number {
    return this.#agenda.size;
  }

  schedule(at: Millis, run: (now: Millis) => void): Deadline {
    const deadline: Deadline = { dueAt: at, run, slot: NO_SLOT, state: "waiting" };
    deadline.slot = this.#agenda.set(deadline, NO_SLOT, at);
    return deadline;
  }

  cancel(deadline: Deadline | undefined): void {
    if (deadline === undefined) return;
    this.#agenda.remove(deadline, deadline.slot);
    deadline.state = "done";
  }

  /**
   * Runs at most `limit` due deadlines. New deadlines that their actions schedule wait for the next call, so this call
   * always ends.
   */
  run(now: Millis, limit = Infinity): void {
    let first = this.#agenda.take(now);
    if (first === undefined) return;
    const due: Deadline[] = [];
    for (; first !== undefined; first = this.#agenda.take(now)) {
      first.state = "taken";
      due.push(first);
      if (due.length >= limit) break;
    }
    for (const deadline of due) {
      // The action of a previous deadline may have cancelled this one.
      if (deadline.state === "done") continue;
      deadline.state = "done";
      deadline.run(now);
    }
  }
}
