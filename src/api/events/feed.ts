// Encodes each event of the node as JSON, once for all listeners, and passes it to the broadcast.

import type { NodeService } from "../../node_service.ts";
import { EVENT_TYPES, EVENTS, type EventType } from "../../reports/events.ts";
import { Problem } from "../problems.ts";
import { RETRY } from "../requests.ts";
import { Broadcast, type Greeting, type Listener, type ListenerOptions } from "./broadcast.ts";
import { type EventFields, EventLog, eventText, type LoggedEvent } from "./log.ts";

/**
 * Event types that are sent only to clients that name them, because they are frequent: each query of a lookup causes
 * several of these events.
 */
const ON_REQUEST: ReadonlySet<EventType> = new Set(["lookup.step"]);

const STATS_INTERVAL_MS = 1_000;

/**
 * Returns the event types that `names` select. A name is a type, a pattern such as `data.*`, or `*` for all types but
 * those in ON_REQUEST. An empty list means `*`. Throws a Problem (400) for an unknown type.
 */
export function typesOf(names: readonly string[]): Set<EventType> {
  const usual = EVENT_TYPES.filter((type) => !ON_REQUEST.has(type));
  if (names.length === 0) return new Set(usual);
  return new Set(names.flatMap((name) => {
    const found = name === "*" ? usual : EVENT_TYPES.filter((type) => isNamed(type, name));
    if (found.length > 0) return found;
    const detail = `query parameter types: there is no event ${JSON.stringify(name.slice(0, 40))}` +
      `; there are ${EVENT_TYPES.join(", ")}, and patterns such as data.*`;
    throw new Problem(400, detail, { extension: { types: EVENT_TYPES } });
  }));
}

function isNamed(type: EventType, name: string): boolean {
  return name.endsWith(".*") ? `${type}.`.startsWith(name.slice(0, -1)) : type === name;
}

/** The events of a node, and the clients that listen to them. */
export class EventFeed {
  readonly #service: NodeService;
  readonly #maxConnections: number;
  /** Event numbers start at the current time, so that they keep rising across restarts. */
  readonly #log = new EventLog(Date.now());
  readonly #broadcast = new Broadcast(this.#log, () => this.#noteWishes());
  #stats: ReturnType<typeof setInterval> | undefined;
  #hasSteps = false;
  #isClosed = false;

  /** @param maxConnections maximum number of listeners; each needs some 50 kB of memory, plus its unsent bytes */
  constructor(service: NodeService, maxConnections: number) {
    this.#service = service;
    this.#maxConnections = maxConnections;
    service.onEvent(({ type, data }, at) => {
      this.#tell({ id: EVENTS[type].isNumbered ? this.#log.last + 1 : null, type, at, data });
    });
  }

  /** The number of connections that receive events. */
  get listeners(): number {
    return this.#broadcast.listeners.size;
  }

  /** Opens a listener. Throws a Problem (503) if there are too many listeners, or the node is stopping. */
  open(options: ListenerOptions): Listener {
    this.#requireRoom();
    return this.#broadcast.open(options);
  }

  /** Searches the events that the node keeps. */
  search(wish: Parameters<EventLog["search"]>[0]): LoggedEvent[] {
    return this.#log.search(wish);
  }

  close(): void {
    this.#isClosed = true;
    this.#broadcast.close();
    this.#noteWishes();
  }

  /** Returns the part of the `hello` message that describes the node. Throws the same Problem as `open`. */
  async greeting(): Promise<Greeting> {
    this.#requireRoom();
    const { node_id, version, routing_table_size } = await this.#service.stats();
    return { node_id, version, peers: routing_table_size };
  }

  #requireRoom(): void {
    if (this.#isClosed) throw new Problem(503, "The node is stopping.");
    if (this.#broadcast.connections >= this.#maxConnections) {
      throw new Problem(503, "Too many clients listen to events; try again.", RETRY);
    }
  }

  /**
   * Turns the events about lookup steps on if any listener wants them, and off otherwise. Does the same for statistics.
   * Both kinds of events are costly.
   */
  #noteWishes(): void {
    const wants = (type: EventType) =>
      !this.#isClosed && this.#broadcast.listeners.values().some(({ types }) => types.has(type));
    const wantsSteps = wants("lookup.step");
    if (wantsSteps !== this.#hasSteps) void this.#service.tellLookupSteps(wantsSteps);
    this.#hasSteps = wantsSteps;
    if (wants("stats")) {
      this.#stats ??= setInterval(() => void this.#addStats(), STATS_INTERVAL_MS);
    } else {
      clearInterval(this.#stats);
      this.#stats = undefined;
    }
  }

  async #addStats(): Promise<void> {
    const data = await this.#service.stats();
    this.#tell({ id: null, type: "stats", at: Date.now(), data });
  }

  #tell(event: EventFields): void {
    this.#broadcast.tell({ id: event.id, type: event.type, text: eventText(event) });
  }
}
