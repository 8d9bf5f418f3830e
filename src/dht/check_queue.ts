// Which contact is to be checked next. Most checks are put off before they are due, which costs nothing until then.

import type { Millis } from "./deadlines.ts";

/** A `queuedAt`: in no queue. */
export const UNQUEUED = -1;

/** Entries of what has left, beyond as many as there are items: more of them are cleared away. */
const SLACK = 64;

/** What waits in a queue: its fields are the queue's while it is there. */
export interface Checked {
  dueAt: Millis;
  /** The time of its entry in the queue, at or before `dueAt`; negative where it has none. */
  queuedAt: Millis;
}

/**
 * A heap whose entries may name times that have passed away: what was put off is moved when it comes to the top, and
 * what has left is dropped there. Four children a node, over numbers alone: what is not at the top is not looked at,
 * which counts where one process has the contacts of ten thousand nodes.
 */
export class CheckQueue<T extends Checked> {
  readonly #at: number[] = [];
  /** Where in `#items` the entry's item is. */
  readonly #places: number[] = [];
  readonly #items: (T | undefined)[] = [];
  readonly #free: number[] = [];
  #size = 0;

  /** The earliest time; Infinity where there is none. */
  get next(): Millis {
    return this.#at.length === 0 ? Infinity : this.#at[0];
  }

  get size(): number {
    return this.#size;
  }

  /** Entries, those of what has left included: what memory it takes. */
  get entries(): number {
    return this.#at.length;
  }

  /** Lets an item be due at a time, whatever was set before. */
  set(item: T, at: Millis): void {
    const { queuedAt } = item;
    item.dueAt = at;
    if (queuedAt !== UNQUEUED && queuedAt <= at) {
      if (this.#items[this.#places[0]] === item) this.#settle();
      return;
    }
    if (queuedAt === UNQUEUED) this.#size++;
    item.queuedAt = at;
    const place = this.#free.pop() ?? this.#items.length;
    this.#items[place] = item;
    this.#at.push(at);
    this.#places.push(place);
    this.#rise(at, place, this.#at.length - 1);
    this.#settle();
  }

  /** Takes an item out, if it is in. */
  remove(item: T): void {
    if (item.queuedAt === UNQUEUED) return;
    item.queuedAt = UNQUEUED;
    this.#size--;
    this.#settle();
    if (this.#at.length > 2 * this.#size + SLACK) this.#clear();
  }

  /** Takes out the earliest item, if it is due; undefined otherwise. */
  take(now: Millis): T | undefined {
    if (this.next > now) return undefined;
    const item = this.#items[this.#places[0]]!;
    this.remove(item);
    return item;
  }

  /** Sees to it that the top is true. */
  #settle(): void {
    while (this.#at.length > 0) {
      const at = this.#at[0], place = this.#places[0];
      const item = this.#items[place]!;
      if (item.queuedAt !== at) {
        // It has left, or was set to an earlier time: that has an entry of its own.
        this.#items[place] = undefined;
        this.#free.push(place);
        const last = this.#at.pop()!, lastPlace = this.#places.pop()!;
        if (this.#at.length > 0) this.#sink(last, lastPlace);
      } else if (item.dueAt > at) {
        item.queuedAt = item.dueAt;
        this.#sink(item.dueAt, place);
      } else return;
    }
  }

  /** Drops what has left before it comes to the top: contacts may come and go faster than that. */
  #clear(): void {
    const ats = this.#at.splice(0), places = this.#places.splice(0);
    const items = this.#items.splice(0);
    this.#free.length = 0;
    this.#size = 0;
    for (let i = 0; i < ats.length; i++) {
      const item = items[places[i]]!;
      if (item.queuedAt !== ats[i]) continue;
      item.queuedAt = UNQUEUED;
      this.set(item, item.dueAt);
    }
  }

  /** Puts an entry at `index` or above it. */
  #rise(at: number, place: number, index: number): void {
    const ats = this.#at, places = this.#places;
    while (index > 0) {
      const parent = (index - 1) >> 2;
      if (ats[parent] <= at) break;
      ats[index] = ats[parent];
      places[index] = places[parent];
      index = parent;
    }
    ats[index] = at;
    places[index] = place;
  }

  /** Puts an entry at the top or below it. */
  #sink(at: number, place: number): void {
    const ats = this.#at, places = this.#places;
    const size = ats.length;
    let index = 0;
    for (;;) {
      let least = 4 * index + 1;
      if (least >= size) break;
      const end = Math.min(least + 4, size);
      for (let child = least + 1; child < end; child++) if (ats[child] < ats[least]) least = child;
      if (ats[least] >= at) break;
      ats[index] = ats[least];
      places[index] = places[least];
      index = least;
    }
    ats[index] = at;
    places[index] = place;
  }
}
