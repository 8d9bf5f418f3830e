// The node's latest events, numbered and as they are sent: where those who listen read from, and resume.

/** An event as it is sent. */
export interface LoggedEvent {
  readonly id: number;
  readonly type: string;
  readonly text: string;
}

/** Events, and characters of theirs, that are kept: with some 300 of them an event, a minute of a very busy node. */
const MAX_EVENTS = 8_192, MAX_CHARACTERS = 4 << 20;

/** A ring of events. Their numbers rise by one. */
export class EventLog {
  /** The number of the first event that there ever was. */
  readonly start: number;
  readonly #events: LoggedEvent[] = [];
  readonly #capacity: number;
  readonly #maxCharacters: number;
  #characters = 0;
  #first: number;
  #next: number;

  /** @param start one that rises from run to run tells numbers of former runs from those of this one */
  constructor(start: number, capacity = MAX_EVENTS, maxCharacters = MAX_CHARACTERS) {
    this.start = this.#first = this.#next = start;
    this.#capacity = capacity;
    this.#maxCharacters = maxCharacters;
  }

  /** The number of the oldest event that is kept. */
  get first(): number {
    return this.#first;
  }

  /** The number that the next event will have. */
  get next(): number {
    return this.#next;
  }

  /** Adds the event that `write` puts down under its number. */
  add(type: string, write: (id: number) => string): void {
    if (this.#next - this.#first === this.#capacity) this.#drop();
    const id = this.#next++, text = write(id);
    this.#events[id % this.#capacity] = { id, type, text };
    this.#characters += text.length;
    while (this.#characters > this.#maxCharacters) this.#drop();
  }

  /** An event that is kept: from `first` up to and without `next`. */
  at(id: number): LoggedEvent {
    return this.#events[id % this.#capacity];
  }

  #drop(): void {
    this.#characters -= this.at(this.#first).text.length;
    this.#first++;
  }
}
