// A log of the node's latest events, encoded as JSON. Each listener has a separate reading position.

import type { EventData, EventType } from "../../reports/events.ts";
import { jsonText } from "../../web/json.js";

/** The members of a message. */
export interface EventFields<T extends EventType = EventType> {
  /**
   * The event's number. Null for a reading, such as statistics. A client that has missed a reading does not get it
   * later.
   */
  readonly id: number | null;
  readonly type: T;
  /** The time of the event, in milliseconds since 1970. */
  readonly at: number;
  readonly data: EventData<T>;
}

/** An event, with the JSON text that is sent to clients. */
export type EventMessage = Pick<EventFields, "id" | "type"> & { readonly text: string };

/** The JSON of a message. */
export function eventText({ id, type, at, data }: EventFields): string {
  return jsonText({ id, type, at: new Date(at).toISOString(), data });
}

/** An event or reading in the log. `addedAt` is from a monotonic clock, and `order` rises with each entry. */
export type LoggedEvent = EventMessage & { readonly addedAt: number; readonly order: number };

/**
 * A listener's position in the log: the numbers of the next event and of the next reading. A reading is a momentary
 * value, such as statistics.
 */
export interface Cursor {
  event: number;
  reading: number;
}

/** The limits of a ring buffer: the number of entries, and the characters of all entries together. */
export interface Bounds {
  readonly entries: number;
  readonly characters: number;
}

/** Limits for events: room for one minute of 100 events per second, of some 300 characters each. */
const EVENTS: Bounds = { entries: 8_192, characters: 4 << 20 };

/** Limits for readings: enough for a short delay in sending. Older readings are useless. */
const READINGS: Bounds = { entries: 2_048, characters: 1 << 20 };

/** The latest events and readings. A listener that is slow or reconnects may miss readings, but no event in the log. */
export class EventLog {
  /** The number of the first event since the node started. */
  readonly start: number;
  readonly #events: Ring;
  readonly #readings: Ring;
  #order = 0;

  /**
   * @param start number of the first event: higher than all numbers of earlier runs, so that runs
   * can be distinguished
   */
  constructor(start: number, events = EVENTS, readings = READINGS) {
    this.start = start;
    this.#events = new Ring(start, events);
    this.#readings = new Ring(0, readings);
  }

  /** The number of the newest event, or `start - 1` if there is none. */
  get last(): number {
    return this.#events.next - 1;
  }

  /** The position after the newest event and the newest reading. */
  get end(): Readonly<Cursor> {
    return { event: this.#events.next, reading: this.#readings.next };
  }

  /** Adds a reading, or an event whose `id` is the next number. */
  add(message: EventMessage, now: number): void {
    const ring = message.id === null ? this.#readings : this.#events;
    ring.add({ ...message, addedAt: now, order: this.#order++ });
  }

  /**
   * Returns the position after event `since`. `missed` is the number of later events that are no longer in the log. If
   * `since` is from another run of the node, `missed` is null and the position is that of the oldest event.
   */
  resume(since: number): { readonly cursor: Cursor; readonly missed: number | null } {
    const { first, next } = this.#events;
    const isOfThisRun = since >= this.start - 1 && since < next;
    const event = isOfThisRun ? Math.max(since + 1, first) : first;
    const missed = isOfThisRun ? event - since - 1 : null;
    return { cursor: { event, reading: this.#readings.next }, missed };
  }

  /**
   * Returns the latest events of these types whose JSON contains `text`, newest first. Ignores
   * case.
   */
  search(
    { types, text, limit }: {
      readonly types: ReadonlySet<EventType>;
      readonly text: string;
      readonly limit: number;
    },
  ): LoggedEvent[] {
    const wanted = text.toLowerCase(), found: LoggedEvent[] = [];
    for (let number = this.last; number >= this.#events.first && found.length < limit; number--) {
      const event = this.#events.at(number)!;
      if (types.has(event.type) && event.text.toLowerCase().includes(wanted)) found.push(event);
    }
    return found;
  }

  /** Whether the reader's next event is no longer in the log. */
  isLost(cursor: Readonly<Cursor>): boolean {
    return cursor.event < this.#events.first;
  }

  /** Returns the next event or reading, in the order in which they were added, and advances the cursor. */
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

/** A ring buffer of the latest entries, which are numbered consecutively. */
class Ring {
  readonly #entries: (LoggedEvent | undefined)[] = [];
  readonly #bounds: Bounds;
  #characters = 0;
  /** The number of the oldest entry. `next` is the number of the next entry to be added. */
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

  at(number: number): LoggedEvent | undefined {
    if (number < this.first || number >= this.next) return undefined;
    return this.#entries[number % this.#bounds.entries];
  }

  #drop(): void {
    this.#characters -= this.at(this.first)!.text.length;
    // Release the dropped entry now, because the ring buffer may overwrite its slot only much later.
    this.#entries[this.first++ % this.#bounds.entries] = undefined;
  }
}
