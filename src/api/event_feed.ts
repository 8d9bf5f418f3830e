// What happens in the node, to all who listen: each event is written once, kept for a while, and read by each at its
// own pace.

import type { NodeService, ServiceEvent } from "../runtime/service.ts";
import { EventLog } from "./event_log.ts";
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

/** A connection to a listener. */
export interface Sink {
  send(text: string, id: number | null, type: EventType): void;
  /** Bytes that were given to it and that have not been sent yet. */
  readonly backlog: number;
  /** Slow: it reads less than there is. */
  end(reason: "stopping" | "slow"): void;
}

/** Connections at a time: each costs some kilobytes, and each event a packet to each of them. */
export const MAX_LISTENERS = 2_000;

/** What a connection may have to send still before it is given more. */
export const MAX_BACKLOG = 64 * 1024;

/** How often those are looked at that had too much to send. */
const RETRY_MS = 50;

/** How long a connection may take nothing of what it has to send. */
const STALLED_MS = 15_000;

const STATS_MS = 1_000;

/**
 * The types that `names` asks for: a type, `data.*` for all whose names begin so, `*` for all but those that have to be
 * named. All of these where nothing is asked for.
 *
 * @throws {Problem} 400 where there is no such type
 */
export function typesOf(names: readonly string[]): Set<EventType> {
  const usual = EVENT_TYPES.filter((type) => !ON_REQUEST.has(type));
  if (names.length === 0) return new Set(usual);
  return new Set(names.flatMap((name) => {
    const found = name === "*"
      ? usual
      : EVENT_TYPES.filter((type) =>
        name.endsWith(".*")
          ? type === name.slice(0, -2) || type.startsWith(name.slice(0, -1))
          : type === name
      );
    if (found.length > 0) return found;
    const detail = `query parameter types: there is no event ${JSON.stringify(name.slice(0, 40))}` +
      `; there are ${EVENT_TYPES.join(", ")}, and patterns such as data.*`;
    throw new Problem(400, detail, { types: EVENT_TYPES });
  }));
}

/** The events of one node. */
export class EventFeed {
  readonly #service: NodeService;
  readonly #log: EventLog;
  readonly #listeners = new Set<Listener>();
  #flushing: ReturnType<typeof setTimeout> | undefined;
  #stats: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  constructor(service: NodeService, log = new EventLog(Date.now())) {
    this.#service = service;
    this.#log = log;
    service.onEvent((event, at) => this.#note(event, at));
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /**
   * Makes room for a connection.
   *
   * @throws {Problem} 503 where there are too many, or the node stops
   */
  open(wish: Wish): Listener {
    if (this.#closed) throw new Problem(503, "The node is stopping.");
    if (this.#listeners.size >= MAX_LISTENERS) {
      throw new Problem(503, "Too many clients listen to events; try again.", {}, RETRY);
    }
    const listener = new Listener(
      this.#log,
      wish.types,
      () => {
        this.#listeners.delete(listener);
        this.#noteWishes();
      },
      (now) => this.#hello(wish, now),
      () => this.#flushSoon(0),
    );
    this.#listeners.add(listener);
    this.#noteWishes();
    return listener;
  }

  /** Ends all connections. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#flushing);
    for (const listener of [...this.#listeners]) listener.end("stopping");
  }

  #wants(type: EventType): boolean {
    for (const listener of this.#listeners) if (listener.types.has(type)) return true;
    return false;
  }

  /** What costs something is done only while somebody wants it. */
  #noteWishes(): void {
    this.#service.tellLookupSteps(this.#wants("lookup.step"));
    if (!this.#wants("stats")) {
      clearInterval(this.#stats);
      this.#stats = undefined;
    } else this.#stats ??= setInterval(() => this.#tellStats(), STATS_MS);
  }

  #tellStats(): void {
    const { stats, distanceHistogram } = {
      stats: this.#service.stats(),
      distanceHistogram: this.#service.distanceHistogram(),
    };
    const text = eventText(null, "stats", Date.now(), bareStatsView(stats, distanceHistogram));
    this.#tellNow("stats", text);
  }

  #note(event: ServiceEvent, at: number): void {
    const { type } = event;
    if (type === "lookup.step") {
      return this.#tellNow(type, eventText(null, type, at, eventView(event)));
    }
    this.#log.add(type, (id) => eventText(id, type, at, eventView(event)));
    if (this.#listeners.size > 0) this.#flushSoon(0);
  }

  /** Those who are behind do without: it is of the moment. */
  #tellNow(type: EventType, text: string): void {
    for (const listener of this.#listeners) listener.tell(type, text);
  }

  #flushSoon(ms: number): void {
    this.#flushing ??= setTimeout(() => {
      this.#flushing = undefined;
      let isBehind = false;
      for (const listener of this.#listeners) isBehind = !listener.catchUp() || isBehind;
      if (isBehind) this.#flushSoon(RETRY_MS);
    }, ms);
  }

  #hello({ since }: Wish, listenerAt: (id: number) => void): EventData<"hello"> {
    const { start, first, next } = this.#log;
    const isOfThisRun = since !== null && since >= start - 1 && since < next;
    const from = since === null ? next : isOfThisRun ? Math.max(since + 1, first) : first;
    listenerAt(from);
    const missed = since === null ? 0 : isOfThisRun ? from - since - 1 : null;
    return {
      node_id: this.#service.nodeId,
      version: this.#service.stats().version,
      peers: this.#service.peers().length,
      last: next - 1,
      resumed: since !== null && missed === 0,
      missed,
    };
  }
}

/** One connection, and how far it has come. */
export class Listener {
  readonly types: ReadonlySet<EventType>;
  readonly #log: EventLog;
  readonly #onClose: () => void;
  readonly #greet: (startAt: (id: number) => void) => EventData<"hello">;
  readonly #onStart: () => void;
  #sink: Sink | undefined;
  #next = 0;
  #backlog = 0;
  #movedAt = 0;

  constructor(
    log: EventLog,
    types: ReadonlySet<EventType>,
    onClose: () => void,
    greet: (startAt: (id: number) => void) => EventData<"hello">,
    onStart: () => void,
  ) {
    this.#log = log;
    this.types = types;
    this.#onClose = onClose;
    this.#greet = greet;
    this.#onStart = onStart;
  }

  /** The connection stands: greets, and goes on from there. */
  start(sink: Sink): void {
    const hello = this.#greet((id) => this.#next = id);
    sink.send(eventText(null, "hello", Date.now(), hello), null, "hello");
    this.#sink = sink;
    this.#onStart();
  }

  /** Sends what there is; false where the connection has to get rid of other things first. */
  catchUp(): boolean {
    const sink = this.#sink;
    if (sink === undefined) return true;
    const { first, next } = this.#log;
    if (this.#next < first) {
      this.end("slow");
      return true;
    }
    while (this.#next < next) {
      if (this.#isFull(sink)) return this.#sink === undefined;
      const { id, type, text } = this.#log.at(this.#next++);
      if (this.types.has(type as EventType)) sink.send(text, id, type as EventType);
    }
    return true;
  }

  /** Sends what is of the moment, unless the connection is behind. */
  tell(type: EventType, text: string): void {
    if (!this.types.has(type) || this.#sink === undefined || !this.catchUp()) return;
    if (this.#sink !== undefined && !this.#isFull(this.#sink)) this.#sink.send(text, null, type);
  }

  #isFull(sink: Sink): boolean {
    const { backlog } = sink;
    const now = performance.now();
    if (backlog < this.#backlog || backlog <= MAX_BACKLOG) this.#movedAt = now;
    this.#backlog = backlog;
    if (backlog <= MAX_BACKLOG) return false;
    if (now - this.#movedAt > STALLED_MS) this.end("slow");
    return true;
  }

  /** Ends the connection. */
  end(reason: "stopping" | "slow"): void {
    this.#sink?.end(reason);
    this.close();
  }

  /** The connection has ended. */
  close(): void {
    this.#sink = undefined;
    this.#onClose();
  }
}
