// The node's latest events as they are sent, numbered: where all who listen read from, and where they resume.

import type { EventType } from "./schemas.ts";

/** An event as it is sent. */
export interface LoggedEvent {
  /** Null for a reading. */
  readonly id: number | null;
  readonly type: EventType;
  /** The message's JSON. */
  readonly text: string;
  /** When it was added, on the monotonic clock. */
  readonly addedAt: number;
  /** Rises from one to the next, of whatever kind. */
  readonly order: number;
}

/** How far a reader has come. */
export interface Cursor {
  /** Of the next event. */
  event: number;
  /** Of the next reading. */
  reading: number;
}

/** How much is kept of something. */
export interface Bounds {
  readonly entries: number;
  readonly characters: number;
}

/** With some 300 characters an event this is the last minute of a node that tells of 100 a second. */
const EVENTS: Bounds = { entries: 8_192, characters: 4 << 20 };

/** What is of the moment is of no use later: this is for connections that have a hundred packets to send just now. */
const READINGS: Bounds = { entries: 2_048, characters: 1 << 20 };

/**
 * Two rings: events are numbered and are sent to everybody who wants them, and again to those who come back. Readings,
 * which another one follows soon, are left out for those who are slow.
 */
export class EventLog {
  /** The number of the first event that there ever was. */
  readonly start: number;
  readonly #events: Ring;
  readonly #readings: Ring;
  #order = 0;

  /** @param start one that rises from run to run: it tells numbers of former runs from those of this one */
  constructor(start: number, events = EVENTS, readings = READINGS) {
    this.start = start;
    this.#events = new Ring(start, events);
    this.#readings = new Ring(0, readings);
  }

  /** The number of the newest event, or the one before the first. */
  get last(): number {
    return this.#events.next - 1;
  }

  /** The end of all that there is: where a reader that is there has nothing to read. */
  get end(): Readonly<Cursor> {
    return { event: this.#events.next, reading: this.#readings.next };
  }

  /** Adds an event, whose text carries the next number. */
  addEvent(type: EventType, now: number, text: string): void {
    const id = this.#events.next;
    this.#events.add({ id, type, text, addedAt: now, order: this.#order++ });
  }

  addReading(type: EventType, now: number, text: string): void {
    this.#readings.add({ id: null, type, text, addedAt: now, order: this.#order++ });
  }

  /**
   * Where to read on for who has all events up to `since`. `missed` counts those in between that are not kept any more;
   * null where `since` is not of this run, and all that is kept follows.
   */
  resume(since: number): { readonly cursor: Cursor; readonly missed: number | null } {
    const { first, next } = this.#events;
    const isOfThisRun = since >= this.start - 1 && since < next;
    const event = isOfThisRun ? Math.max(since + 1, first) : first;
    const missed = isOfThisRun ? event - since - 1 : null;
    return { cursor: { event, reading: this.#readings.next }, missed };
  }

  /** Whether events that the reader has not read are not kept any more. */
  isLost(cursor: Readonly<Cursor>): boolean {
    return cursor.event < this.#events.first;
  }

  /** The next one, in the order in which they were added. Moves the cursor on. */
  read(cursor: Cursor): LoggedEvent | undefined {
    cursor.reading = Math.max(cursor.reading, this.#readings.first);
    const event = this.#events.at(cursor.event), reading = this.#readings.at(cursor.reading);
    if (reading !== undefined && (event === undefined || reading.order < event.order)) {
      cursor.reading++;
      return reading;
    }
    if (event !== undefined) cursor.event++;
    return event;
  }
}

/** The latest entries, at consecutive places. */
class Ring {
  readonly #entries: LoggedEvent[] = [];
  readonly #bounds: Bounds;
  #characters = 0;
  /** The places of the oldest entry and of the next one. */
  first: number;
  next: number;

  constructor(start: number, bounds: Bounds) {
    this.first = this.next = start;
    this.#bounds = bounds;
  }

  add(entry: LoggedEvent): void {
    const { entries, characters } = this.#bounds;
    if (this.next - this.first === entries) this.#drop();
    this.#entries[this.next++ % entries] = entry;
    this.#characters += entry.text.length;
    while (this.#characters > characters) this.#drop();
  }

  at(place: number): LoggedEvent | undefined {
    if (place < this.first || place >= this.next) return undefined;
    return this.#entries[place % this.#bounds.entries];
  }

  #drop(): void {
    this.#characters -= this.at(this.first)!.text.length;
    this.first++;
  }
}
