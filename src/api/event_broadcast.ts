// Events to all who listen: each is kept for a while as it was written, and all connections read from there, at a pace
// that leaves the processor to others.

import { type Cursor, EventLog, type LoggedEvent } from "./event_log.ts";
import { eventText } from "./event_text.ts";
import type { EventMessage, Subscription } from "./front_messages.ts";
import type { EventData, EventType } from "./schemas.ts";

/** What a listener wants to hear, and is greeted with. */
export type Wish = Pick<Subscription, "types" | "since" | "hello">;

/** How events are put into bytes; connections of one format share them. */
export interface Format {
  readonly name: string;
  encode(events: readonly Pick<LoggedEvent, "id" | "text">[]): Uint8Array;
}

/** A connection to a listener. */
export interface Sink {
  readonly format: Format;
  /** Bytes that were given to it and that the system has not taken yet. */
  readonly backlog: number;
  send(bytes: Uint8Array): void;
  /** Called now and then: finds out whether the client lives. `isSilent`: nothing was sent since the last time. */
  beat(isSilent: boolean): void;
  /** Begins to end the connection; slow: it reads less than there is. */
  end(reason: "stopping" | "slow"): void;
}

/** Bytes that a connection may have to send still before it is given more. */
export const MAX_BACKLOG = 32 * 1024;

/** A connection that has more than that, and has sent nothing for so long, is given up. */
export const STALLED_MS = 10_000;

/** How often those connections are looked at. */
const FULL_RETRY_MS = 50;

/** Characters of the events that a connection is given at a time. */
const BATCH_CHARACTERS = 16 * 1024;

/**
 * Writes a second, to all together; each carries all that there is. One takes 16 to 34 µs, most of them the kernel's
 * (bench/events.ts): a tenth of a core or two, and 1,000 connections have their turn five times a second. When events wait
 * for long it is up to a whole one.
 */
const SENDS_PER_S = 5_000, MOST_SENDS_PER_S = 30_000;

/** Events wait for long when they do for this. */
const LATE_MS = 400;

/** Writes in one go: a millisecond or two, in which no request is passed on. */
const SENDS_AT_ONCE = 64;

/** What it costs to see that a connection wants nothing of what there is, in writes. */
const LOOK_COST = 0.02;

/** Timers come late while there is much to do: so much is made up for. */
const MADE_UP_MS = 20;

/** How often a connection is tried, how often those are looked for whose turn it is, and how many have it at once. */
const BEAT_MS = 15_000, BEATS_MS = 1_000, BEATS_AT_ONCE = 200;

/** Some events as they are sent, and where to read on after them. */
interface Batch {
  /** Undefined where nothing of it is wanted. */
  readonly bytes: Uint8Array | undefined;
  readonly after: Readonly<Cursor>;
  /** When the oldest of them was added. */
  readonly oldest: number;
}

/** The events of one node, given to those who listen. */
export class Broadcast {
  readonly #log: EventLog;
  readonly #listeners = new Set<Listener>();
  /** Those that are given no more, and are not gone yet. */
  readonly #leaving = new Set<Listener>();
  /** Those that have not had their turn in this round. */
  #round: Listener[] = [];
  /** The end of the log when the round began. */
  #roundEnd: Readonly<Cursor>;
  /** Batches that the next connection may want as well. */
  readonly #batches = new Map<string, Batch>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the next messages may be sent. */
  #notBefore = 0;
  /** How long an event has waited at most, in the round before this one and in this one. */
  #waited = 0;
  #waiting = 0;
  #beats: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  constructor(log: EventLog) {
    this.#log = log;
    this.#roundEnd = log.end;
  }

  /** Gives an event to those who want it. */
  tell({ id, type, text }: EventMessage): void {
    const now = performance.now();
    if (id === null) this.#log.addReading(type, now, text);
    else this.#log.addEvent(type, now, text);
    this.#wake();
  }

  /** A listener, which is to be started when its connection stands; `left`: it is given no more. */
  open(wish: Wish, left: () => void): Listener {
    const listener: Listener = new Listener(wish, {
      started: () => {
        this.#listeners.add(listener);
        this.#beats ??= setInterval(() => this.#beat(), BEATS_MS);
        this.#wake();
        return this.#hello(listener, wish);
      },
      hasOwn: () => this.#wake(),
      ended: () => {
        this.#leaving.add(listener);
        this.#listeners.delete(listener);
        if (this.#listeners.size === 0) this.#stopBeats();
        left();
      },
      released: () => this.#leaving.delete(listener),
    });
    return listener;
  }

  /** Ends all connections. */
  close(): void {
    this.#closed = true;
    for (const listener of [...this.#leaving, ...this.#listeners]) listener.end("stopping");
    clearTimeout(this.#timer);
  }

  #hello(listener: Listener, { since, hello }: Wish): EventData<"hello"> {
    const { cursor, missed } = since === null
      ? { cursor: { ...this.#log.end }, missed: 0 }
      : this.#log.resume(since);
    listener.cursor = cursor;
    const resumed = since !== null && missed === 0;
    return { ...hello, last: this.#log.last, resumed, missed };
  }

  #beat(): void {
    const now = performance.now();
    const due = this.#listeners.values().filter((one) => now - one.beatAt >= BEAT_MS);
    for (const listener of [...due.take(BEATS_AT_ONCE)]) listener.beat(now);
  }

  #stopBeats(): void {
    clearInterval(this.#beats);
    this.#beats = undefined;
  }

  // ---- giving it to those who listen

  /** There is something to send. */
  #wake(): void {
    this.#batches.clear();
    if (this.#listeners.size > 0 && !this.#closed) this.#sendIn(0);
  }

  #sendIn(ms: number): void {
    const wait = Math.max(ms, this.#notBefore - performance.now());
    this.#timer ??= setTimeout(() => this.#send(), Math.max(0, wait));
  }

  /** Goes on with the round, or begins one, until enough was sent for now. */
  #send(): void {
    this.#timer = undefined;
    if (this.#round.length === 0) this.#beginRound();
    const now = performance.now();
    let cost = 0, isFull = false;
    while (cost < SENDS_AT_ONCE && this.#round.length > 0) {
      const listener = this.#round.pop()!;
      const sent = this.#serve(listener, now);
      if (sent === "full") isFull = true;
      cost += LOOK_COST + (sent === "full" ? 0 : sent);
    }
    this.#batches.clear();
    const isLate = Math.max(this.#waited, this.#waiting) > LATE_MS;
    const pause = 1000 * cost / (isLate ? MOST_SENDS_PER_S : SENDS_PER_S);
    this.#notBefore = Math.max(this.#notBefore, now - MADE_UP_MS) + pause;
    if (this.#round.length > 0 || this.#isBehind()) this.#sendIn(0);
    else if (isFull) this.#sendIn(FULL_RETRY_MS);
  }

  #beginRound(): void {
    this.#round = [...this.#listeners];
    this.#roundEnd = this.#log.end;
    this.#waited = this.#waiting;
    this.#waiting = 0;
  }

  /** Whether anybody can be given more once the round is over. */
  #isBehind(): boolean {
    const { event, reading } = this.#log.end;
    if (event !== this.#roundEnd.event || reading !== this.#roundEnd.reading) return true;
    return this.#listeners.values().some((listener) => listener.hasMore);
  }

  /** How many writes it came to; full: the connection has to get rid of others first. */
  #serve(listener: Listener, now: number): number | "full" {
    const { format } = listener;
    if (!this.#listeners.has(listener) || format === undefined) return 0;
    if (this.#log.isLost(listener.cursor) || listener.isStalled(now)) {
      listener.end("slow");
      return 0;
    }
    if (listener.isFull) {
      listener.hasMore = false;
      return "full";
    }
    const { bytes, after, oldest } = this.#batchFor(listener, format);
    if (bytes !== undefined) this.#waiting = Math.max(this.#waiting, now - oldest);
    Object.assign(listener.cursor, after);
    const { event, reading } = this.#log.end;
    listener.hasMore = after.event < event || after.reading < reading;
    return listener.send(bytes);
  }

  #batchFor({ types, typesKey, cursor }: Listener, format: Format): Batch {
    const key = `${format.name} ${typesKey} ${cursor.event} ${cursor.reading}`;
    const known = this.#batches.get(key);
    if (known !== undefined) return known;
    const after = { ...cursor };
    const events: LoggedEvent[] = [];
    for (let characters = 0; characters < BATCH_CHARACTERS;) {
      const event = this.#log.read(after);
      if (event === undefined) break;
      if (!types.has(event.type)) continue;
      events.push(event);
      characters += event.text.length;
    }
    const bytes = events.length === 0 ? undefined : format.encode(events);
    const batch = { bytes, after, oldest: events[0]?.addedAt ?? 0 };
    this.#batches.set(key, batch);
    return batch;
  }
}

/** What a listener needs of the broadcast. */
interface Place {
  /** It stands: yields what it is greeted with. */
  started(): EventData<"hello">;
  /** It has something to send that is for itself alone. */
  hasOwn(): void;
  /** It is given no more. */
  ended(): void;
  /** Its connection is gone. */
  released(): void;
}

/** One connection, and how far it has come. */
export class Listener {
  readonly types: ReadonlySet<EventType>;
  /** The same for the same types. */
  readonly typesKey: string;
  cursor: Cursor = { event: 0, reading: 0 };
  /** Whether it can be given more at once. */
  hasMore = false;
  /** When it was tried last, or opened. */
  beatAt = performance.now();
  readonly #place: Place;
  #state: "opening" | "open" | "ended" | "released" = "opening";
  #sink: Sink | undefined;
  #own: string | undefined;
  /** The backlog that was seen last, when that became less, and whether anything was sent since the last beat. */
  #backlog = 0;
  #movedAt = -Infinity;
  #isSilent = true;

  constructor({ types }: Pick<Wish, "types">, place: Place) {
    this.types = types;
    this.typesKey = [...types].sort().join();
    this.#place = place;
  }

  /** Undefined before it is started. */
  get format(): Format | undefined {
    return this.#sink?.format;
  }

  /** The connection stands: it is greeted, and the rest follows. */
  start(sink: Sink): void {
    if (this.#state !== "opening") return;
    this.#state = "open";
    this.#sink = sink;
    const text = eventText(null, "hello", Date.now(), this.#place.started());
    this.send(sink.format.encode([{ id: null, text }]));
  }

  /** Sends a message to this connection alone. Of what it could not be sent yet the newest is kept. */
  tell(text: string): void {
    this.#own = text;
    this.#place.hasOwn();
  }

  get isFull(): boolean {
    return this.#sink !== undefined && this.#sink.backlog > MAX_BACKLOG;
  }

  /** Whether it has been full for long, and has sent nothing meanwhile. */
  isStalled(now: number): boolean {
    const backlog = this.#sink?.backlog ?? 0;
    if (backlog <= MAX_BACKLOG || backlog < this.#backlog) this.#movedAt = now;
    this.#backlog = backlog;
    return now - this.#movedAt > STALLED_MS;
  }

  /** @returns how many writes it was, with what is for itself alone */
  send(bytes: Uint8Array | undefined): number {
    const sink = this.#sink;
    if (this.#state !== "open" || sink === undefined) return 0;
    let count = 0;
    if (bytes !== undefined) sink.send(bytes), count++;
    if (this.#own !== undefined) {
      sink.send(sink.format.encode([{ id: null, text: this.#own }]));
      this.#own = undefined;
      count++;
    }
    if (count > 0) this.#isSilent = false;
    return count;
  }

  /** Finds out whether the client lives. */
  beat(now: number): void {
    this.beatAt = now;
    if (!this.isFull) this.#sink?.beat(this.#isSilent);
    this.#isSilent = true;
  }

  /** Ends the connection; its place is taken until it is gone. A node that stops does not wait for that. */
  end(reason: "stopping" | "slow"): void {
    if (this.stop() || reason === "stopping") this.#sink?.end(reason);
  }

  /** It is given no more; false where that is so already. */
  stop(): boolean {
    if (this.#state !== "open" && this.#state !== "opening") return false;
    this.#state = "ended";
    this.#place.ended();
    return true;
  }

  /** The connection is gone. */
  release(): void {
    if (this.#state === "released") return;
    this.stop();
    this.#state = "released";
    this.#sink = undefined;
    this.#place.released();
  }
}
