// Sends the events of a log to all listeners, at a limited rate that leaves time for other work.

import type { EventData, EventType } from "../../reports/events.ts";
import {
  type Cursor,
  type EventFields,
  type EventLog,
  type EventMessage,
  eventText,
  type LoggedEvent,
} from "./log.ts";

/** The events that a client wants. */
export interface Wish {
  readonly types: ReadonlySet<EventType>;
  /** The number of the last event that the client has received; null if it has received none. */
  readonly since: number | null;
}

/** The fields of the first message (`hello`) that do not depend on the event log. */
export type Greeting = Omit<EventData<"hello">, "last" | "resumed" | "missed">;

/** Encodes events as bytes. Connections with the same format share the encoded bytes. */
export interface Format {
  readonly name: string;
  encode(events: readonly Pick<LoggedEvent, "id" | "text">[]): Uint8Array;
}

/** The sending side of a listener's connection. */
export interface Sink {
  readonly format: Format;
  /** Number of bytes queued here, which the operating system has not accepted yet. */
  readonly backlog: number;
  send(bytes: Uint8Array): void;
  /**
   * Called regularly to check whether the client is alive. `isSilent` means that nothing was sent to the client since
   * the previous call.
   */
  beat(isSilent: boolean): void;
  /** Starts closing the connection. "slow" means that the client reads too slowly. */
  end(reason: "stopping" | "slow"): void;
}

/**
 * Maximum backlog in bytes. A connection with a larger backlog counts as full, and gets no events
 * until the backlog has shrunk.
 */
export const MAX_BACKLOG = 32 * 1024;

/** A connection that is full for this long without any progress is ended. */
export const STALLED_MS = 10_000;

/** Pause before retrying to send events to full connections. */
const FULL_RETRY_MS = 50;

/** Minimum characters of a write: events are added until the write has this size, or no event is left. */
const BATCH_CHARACTERS = 16 * 1024;

/**
 * Maximum writes per second to all connections. At 16 to 34 µs each, they use up to a fifth of a core
 * (bench/events.ts).
 */
const SENDS_PER_S = 5_000;

/** Maximum writes per second when events are running late. Catching up may use a whole core. */
const MAX_SENDS_PER_S = 30_000;

/** An event is late if it has waited longer than this to be sent. */
const LATE_MS = 400;

/** Maximum writes in a row. This many writes block the thread, and so all requests, for one or two milliseconds. */
const SENDS_AT_ONCE = 64;

/** Cost of checking whether there is anything to send to a listener, as a fraction of the cost of a write. */
const LOOK_COST = 0.02;

/** Maximum time by which a pause is shortened if the writes before it began late, as timers fire late under load. */
const MADE_UP_MS = 20;

/** The interval at which a listener's client is checked, to detect clients that are gone. */
const BEAT_INTERVAL_MS = 15_000;

/** Events encoded for one write. */
interface Batch {
  /** The encoded events; undefined if the listener wants none of the new events. */
  readonly bytes: Uint8Array | undefined;
  readonly after: Readonly<Cursor>;
  /** The time at which the oldest event in this batch was added to the log. */
  readonly oldest: number;
}

export interface ListenerOptions extends Wish {
  readonly greeting: Greeting;
  readonly connect: (listener: Listener) => Sink;
  readonly onLeft?: () => void;
}

/** Sends the events of a log to its listeners, in rounds: each round sends every listener one batch of events. */
export class Broadcast {
  readonly #log: EventLog;
  readonly #onChange: () => void;
  readonly #listeners = new Set<Listener>();
  /** Listeners that receive no more events, but whose connections are not closed yet. */
  readonly #leaving = new Set<Listener>();
  /** Listeners to which the current round has not sent anything yet. */
  #round: Listener[] = [];
  readonly #batches = new Map<string, Batch>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #notBefore = 0;
  /**
   * The longest time for which an event of the previous round waited in the log. `#wait` is the longest time so far in
   * the current round.
   */
  #previousWait = 0;
  #wait = 0;
  #isClosed = false;

  /** @param onChange called when a listener is added or leaves */
  constructor(log: EventLog, onChange: () => void = () => {}) {
    this.#log = log;
    this.#onChange = onChange;
  }

  /** The number of connections. It includes connections that receive no more events and are about to be closed. */
  get connections(): number {
    return this.#listeners.size + this.#leaving.size;
  }

  /** The listeners that still receive events. */
  get listeners(): ReadonlySet<Listener> {
    return this.#listeners;
  }

  /** Adds an event to the log, and sends it to the listeners that want it. */
  tell(message: EventMessage): void {
    this.#log.add(message, performance.now());
    this.#wake();
  }

  /** Creates a listener and sends it the greeting. Events are sent later. */
  open(options: ListenerOptions): Listener {
    const { since, greeting } = options;
    const { cursor, missed } = since === null
      ? { cursor: { ...this.#log.end }, missed: 0 }
      : this.#log.resume(since);
    const listener: Listener = new Listener(options, cursor, () => this.#note(listener));
    const resumed = since !== null && missed === 0;
    const data = { ...greeting, last: this.#log.last, resumed, missed };
    listener.tell({ type: "hello", at: Date.now(), data });
    listener.send(undefined);
    this.#listeners.add(listener);
    this.#onChange();
    this.#wake();
    return listener;
  }

  /**
   * Called when a message for only this listener is waiting, when the listener receives no more events, or when its
   * connection is closed.
   */
  #note(listener: Listener): void {
    if (listener.state === "open") return this.#wake();
    if (this.#listeners.delete(listener)) {
      this.#leaving.add(listener);
      this.#onChange();
    }
    if (listener.state === "released") this.#leaving.delete(listener);
  }

  close(): void {
    this.#isClosed = true;
    for (const listener of [...this.#leaving, ...this.#listeners]) listener.end("stopping");
    clearTimeout(this.#timer);
  }

  /** Called when there may be something to send: schedules the next write. */
  #wake(): void {
    this.#batches.clear();
    if (this.#listeners.size > 0 && !this.#isClosed) this.#sendIn(0);
  }

  #sendIn(ms: number): void {
    const wait = Math.max(ms, this.#notBefore - performance.now());
    this.#timer ??= setTimeout(() => this.#send(), Math.max(0, wait));
  }

  /** Continues the current round, or begins a new one. Stops after a limited number of writes. */
  #send(): void {
    this.#timer = undefined;
    if (this.#round.length === 0) {
      this.#round = [...this.#listeners];
      this.#previousWait = this.#wait;
      this.#wait = 0;
    }
    const now = performance.now();
    let cost = 0, isFull = false;
    while (cost < SENDS_AT_ONCE && this.#round.length > 0) {
      const sent = this.#serve(this.#round.pop()!, now);
      if (sent === "full") isFull = true;
      cost += LOOK_COST + (sent === "full" ? 0 : sent);
    }
    this.#batches.clear();
    const isLate = Math.max(this.#previousWait, this.#wait) > LATE_MS;
    const pause = 1000 * cost / (isLate ? MAX_SENDS_PER_S : SENDS_PER_S);
    this.#notBefore = Math.max(this.#notBefore, now - MADE_UP_MS) + pause;
    if (this.#round.length > 0 || this.#isBehind()) this.#sendIn(0);
    else if (isFull) this.#sendIn(FULL_RETRY_MS);
  }

  /** Whether the log contains unsent events for any listener that can receive them now. */
  #isBehind(): boolean {
    const { event, reading } = this.#log.end;
    return this.#listeners.values().some(({ cursor, isFull }) =>
      !isFull && (cursor.event < event || cursor.reading < reading)
    );
  }

  /** Sends a listener its next batch. Returns the number of writes, or "full" if its backlog is too large. */
  #serve(listener: Listener, now: number): number | "full" {
    if (!this.#listeners.has(listener)) return 0;
    if (this.#log.isLost(listener.cursor) || listener.isStalled(now)) {
      listener.end("slow");
      return 0;
    }
    if (listener.isFull) return "full";
    const { bytes, after, oldest } = this.#batchFor(listener);
    if (bytes !== undefined) this.#wait = Math.max(this.#wait, now - oldest);
    Object.assign(listener.cursor, after);
    return listener.send(bytes);
  }

  #batchFor({ types, typesKey, cursor, format }: Listener): Batch {
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

/** A client's connection, and the client's position in the event log. */
export class Listener {
  readonly types: ReadonlySet<EventType>;
  /** The event types as sorted text. Listeners that want the same types have equal texts. */
  readonly typesKey: string;
  readonly cursor: Cursor;
  state: "open" | "left" | "released" = "open";
  readonly #sink: Sink;
  readonly #onChange: () => void;
  readonly #onLeft: (() => void) | undefined;
  readonly #beats: ReturnType<typeof setInterval>;
  /** A message for this listener only that is still waiting to be sent. */
  #own: string | undefined;
  #previousBacklog = 0;
  /** The latest time at which the backlog was smaller than before, or within its limit. */
  #progressAt = -Infinity;
  /** Whether nothing has been sent since the last call of `beat`. */
  #isSilent = true;

  /** @param onChange called when there is a message for this listener only, and when `state` changes */
  constructor({ types, connect, onLeft }: ListenerOptions, cursor: Cursor, onChange: () => void) {
    this.types = types;
    this.typesKey = [...types].sort().join();
    this.cursor = cursor;
    this.#onChange = onChange;
    this.#onLeft = onLeft;
    this.#sink = connect(this);
    this.#beats = setInterval(() => this.beat(), BEAT_INTERVAL_MS);
  }

  get format(): Format {
    return this.#sink.format;
  }

  /** Sends a message to this listener only, replacing any earlier such message that has not been sent yet. */
  tell(event: Omit<EventFields, "id">): void {
    this.#own = eventText({ id: null, ...event });
    this.#onChange();
  }

  get isFull(): boolean {
    return this.#sink.backlog > MAX_BACKLOG;
  }

  isStalled(now: number): boolean {
    const { backlog } = this.#sink;
    if (backlog <= MAX_BACKLOG || backlog < this.#previousBacklog) this.#progressAt = now;
    this.#previousBacklog = backlog;
    return now - this.#progressAt > STALLED_MS;
  }

  /** Sends `bytes`, then the message for this listener only, if one is waiting. Returns the number of writes. */
  send(bytes: Uint8Array | undefined): number {
    let count = 0;
    if (bytes !== undefined) this.#sink.send(bytes), count++;
    if (this.#own !== undefined) {
      this.#sink.send(this.format.encode([{ id: null, text: this.#own }]));
      this.#own = undefined;
      count++;
    }
    if (count > 0) this.#isSilent = false;
    return count;
  }

  /** Checks whether the client is alive. */
  beat(): void {
    if (!this.isFull) this.#sink.beat(this.#isSilent);
    this.#isSilent = true;
  }

  /**
   * Stops sending events and starts closing the connection. Until it is closed, it still counts as one of the
   * `connections`.
   */
  end(reason: "stopping" | "slow"): void {
    if (this.state === "released") return;
    if (this.stop() || reason === "stopping") this.#sink.end(reason);
  }

  /** Stops sending events. Returns false if the listener had already been stopped. */
  stop(): boolean {
    if (this.state !== "open") return false;
    this.state = "left";
    clearInterval(this.#beats);
    this.#onChange();
    this.#onLeft?.();
    return true;
  }

  /** Removes the listener. Called once its connection has been closed. */
  release(): void {
    this.stop();
    this.state = "released";
    this.#onChange();
  }
}
