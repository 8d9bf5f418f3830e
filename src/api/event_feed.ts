// What happens in the node, to all who listen: each event is written once and kept for a while, and all connections read
// from there, at a pace that leaves the node's own work its time.

import type { NodeService, ServiceEvent } from "../runtime/service.ts";
import { type Cursor, EventLog, type LoggedEvent } from "./event_log.ts";
import { eventText, eventView } from "./event_view.ts";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";
import { EVENT_DATA, type EventData, type EventType } from "./schemas.ts";
import { bareStatsView } from "./views.ts";

/** All types that there are. */
export const EVENT_TYPES = Object.keys(EVENT_DATA) as EventType[];

/** An event for each packet of each lookup: for those alone who name it. */
const ON_REQUEST: ReadonlySet<EventType> = new Set(["lookup.step"]);

/** What a listener wants to hear. */
export interface Wish {
  readonly types: ReadonlySet<EventType>;
  /** The number of the last event that it has; null where it has none. */
  readonly since: number | null;
}

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
 * Writes a second, to all together; each carries all that there is. One takes 16 µs, ten of them the kernel's
 * (bench/events.ts): less than a tenth of a core, and 1,000 connections have their turn five times a second. When events
 * wait for long it is up to half a core.
 */
const SENDS_PER_S = 5_000, MOST_SENDS_PER_S = 30_000;

/** Events wait for long when they do for this. */
const LATE_MS = 400;

/** Writes in one go: a millisecond, in which no packet is answered. */
const SENDS_AT_ONCE = 64;

/** What it costs to see that a connection wants nothing of what there is, in writes. */
const LOOK_COST = 0.02;

/** Timers come late while there is much to do: so much is made up for. */
const MADE_UP_MS = 20;

const STATS_MS = 1_000;

/** How often a connection is tried, how often those are looked for whose turn it is, and how many have it at once. */
const BEAT_MS = 15_000, BEATS_MS = 1_000, BEATS_AT_ONCE = 200;

/**
 * The types that `names` asks for: a type, `data.*` for all that begin so, `*` for all but those that have to be named.
 * All of these where nothing is asked for.
 *
 * @throws {Problem} 400 where there is no such type
 */
export function typesOf(names: readonly string[]): Set<EventType> {
  const usual = EVENT_TYPES.filter((type) => !ON_REQUEST.has(type));
  if (names.length === 0) return new Set(usual);
  return new Set(names.flatMap((name) => {
    const found = name === "*" ? usual : EVENT_TYPES.filter((type) => isNamed(type, name));
    if (found.length > 0) return found;
    const detail = `query parameter types: there is no event ${JSON.stringify(name.slice(0, 40))}` +
      `; there are ${EVENT_TYPES.join(", ")}, and patterns such as data.*`;
    throw new Problem(400, detail, { types: EVENT_TYPES });
  }));
}

function isNamed(type: EventType, name: string): boolean {
  return name.endsWith(".*") ? `${type}.`.startsWith(name.slice(0, -1)) : type === name;
}

/** Some events as they are sent, and where to read on after them. */
interface Batch {
  /** Undefined where nothing of it is wanted. */
  readonly bytes: Uint8Array | undefined;
  readonly after: Readonly<Cursor>;
  /** When the oldest of them was added. */
  readonly oldest: number;
}

/** The events of one node. */
export class EventFeed {
  readonly #service: NodeService;
  readonly #log: EventLog;
  readonly #maxConnections: number;
  readonly #listeners = new Set<Listener>();
  /** Those that are given no more, and are not gone yet. */
  readonly #leaving = new Set<Listener>();
  #connections = 0;
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
  #stats: ReturnType<typeof setInterval> | undefined;
  #beats: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  /** @param maxConnections at a time; each costs some 20 kB, and what may wait for it */
  constructor(service: NodeService, maxConnections: number, log = new EventLog(Date.now())) {
    this.#service = service;
    this.#maxConnections = maxConnections;
    this.#log = log;
    this.#roundEnd = log.end;
    service.onEvent((event, at) => this.#note(event, at));
  }

  /** Connections that events are sent to. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /**
   * Makes room for a connection, which is to be started when it stands.
   *
   * @throws {Problem} 503 where there are too many, or the node stops
   */
  open(wish: Wish): Listener {
    if (this.#closed) throw new Problem(503, "The node is stopping.");
    if (this.#connections >= this.#maxConnections) {
      throw new Problem(503, "Too many clients listen to events; try again.", {}, RETRY);
    }
    this.#connections++;
    const listener: Listener = new Listener(wish, {
      started: () => {
        this.#listeners.add(listener);
        this.#noteWishes();
        this.#wake();
        return this.#hello(listener, wish);
      },
      hasOwn: () => this.#wake(),
      ended: () => {
        this.#leaving.add(listener);
        if (this.#listeners.delete(listener)) this.#noteWishes();
      },
      released: () => {
        this.#leaving.delete(listener);
        this.#connections--;
      },
    });
    return listener;
  }

  /** Ends all connections. */
  close(): void {
    this.#closed = true;
    for (const listener of [...this.#leaving, ...this.#listeners]) listener.end("stopping");
    clearTimeout(this.#timer);
  }

  #hello(listener: Listener, { since }: Wish): EventData<"hello"> {
    const { cursor, missed } = since === null
      ? { cursor: { ...this.#log.end }, missed: 0 }
      : this.#log.resume(since);
    listener.cursor = cursor;
    return {
      node_id: this.#service.nodeId,
      version: this.#service.stats().version,
      peers: this.#service.peers().length,
      last: this.#log.last,
      resumed: since !== null && missed === 0,
      missed,
    };
  }

  /** What costs something is done only while somebody wants it. */
  #noteWishes(): void {
    const wants = (type: EventType) =>
      this.#listeners.values().some(({ types }) => types.has(type));
    this.#service.tellLookupSteps(wants("lookup.step"));
    this.#stats = kept(this.#stats, wants("stats"), STATS_MS, () => this.#noteStats());
    this.#beats = kept(this.#beats, this.#listeners.size > 0, BEATS_MS, () => this.#beat());
  }

  #beat(): void {
    const now = performance.now();
    const due = this.#listeners.values().filter((one) => now - one.beatAt >= BEAT_MS);
    for (const listener of [...due.take(BEATS_AT_ONCE)]) listener.beat(now);
  }

  #noteStats(): void {
    const data = bareStatsView(this.#service.stats(), this.#service.distanceHistogram());
    this.#addReading("stats", eventText(null, "stats", Date.now(), data));
  }

  #note(event: ServiceEvent, at: number): void {
    const { type } = event;
    if (type === "lookup.step") {
      return this.#addReading(type, eventText(null, type, at, eventView(event)));
    }
    const data = eventView(event);
    this.#log.addEvent(type, performance.now(), (id) => eventText(id, type, at, data));
    this.#wake();
  }

  #addReading(type: EventType, text: string): void {
    this.#log.addReading(type, performance.now(), text);
    this.#wake();
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

/** An interval that runs while it is wanted. */
function kept(
  interval: ReturnType<typeof setInterval> | undefined,
  isWanted: boolean,
  ms: number,
  run: () => void,
): ReturnType<typeof setInterval> | undefined {
  if (isWanted) return interval ?? setInterval(run, ms);
  clearInterval(interval);
  return undefined;
}

/** What a listener needs of the feed. */
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

  constructor({ types }: Wish, place: Place) {
    this.types = types;
    this.typesKey = EVENT_TYPES.map((type) => types.has(type) ? 1 : 0).join("");
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

  /** Sends something to this connection alone. Of what it could not be sent yet the newest is kept. */
  tell<T extends EventType>(type: T, at: number, data: EventData<T>): void {
    this.#own = eventText(null, type, at, data);
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
