// What happens in the node, put into words once for all who listen: their connections are elsewhere (event_broadcast.ts).

import type { NodeService, ServiceEvent } from "../runtime/service.ts";
import { eventText } from "./event_text.ts";
import { eventView } from "./event_view.ts";
import type { EventMessage, Subscription } from "./front_messages.ts";
import type { Subscribe, Subscribed } from "./front_thread.ts";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";
import { EVENT_DATA, type EventData, type EventType } from "./schemas.ts";
import { bareStatsView } from "./views.ts";

/** All types that there are. */
export const EVENT_TYPES = Object.keys(EVENT_DATA) as EventType[];

/** An event for each packet of each lookup: for those alone who name it. */
const ON_REQUEST: ReadonlySet<EventType> = new Set(["lookup.step"]);

const STATS_MS = 1_000;

/** What a listener wants to hear. */
export type Wish = Pick<Subscription, "types" | "since">;

/** Where events go. */
export interface EventOutlet {
  /** Events follow, of which the first will have this number. */
  numberEventsFrom(start: number): void;
  tell(event: EventMessage): void;
  /** Ends all who listen, for the node stops. */
  endListeners(): void;
}

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

/** The events of one node. */
export class EventFeed {
  readonly #service: NodeService;
  readonly #maxConnections: number;
  readonly #listeners = new Set<Place>();
  #connections = 0;
  #outlet: EventOutlet | undefined;
  /** The number of the next event; rises from run to run: it tells numbers of former runs from those of this one. */
  #next = Date.now();
  #stats: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  /** @param maxConnections at a time; each costs some 50 kB, and what may wait for it */
  constructor(service: NodeService, maxConnections: number) {
    this.#service = service;
    this.#maxConnections = maxConnections;
  }

  /** Tells all that happens from now on. */
  attach(outlet: EventOutlet): void {
    this.#outlet = outlet;
    outlet.numberEventsFrom(this.#next);
    this.#service.onEvent((event, at) => this.#note(event, at));
  }

  /** Connections that events are sent to. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /**
   * Makes room for a connection, which is to be started then. `left`: it is given no more.
   *
   * @throws {Problem} 503 where there are too many, or the node stops
   */
  open(wish: Wish, left: () => void = () => {}): Place {
    if (this.#closed) throw new Problem(503, "The node is stopping.");
    if (this.#connections >= this.#maxConnections) {
      throw new Problem(503, "Too many clients listen to events; try again.", {}, RETRY);
    }
    this.#connections++;
    const place: Place = new Place(wish, {
      started: () => {
        this.#listeners.add(place);
        this.#noteWishes();
        return this.#hello();
      },
      left: () => {
        if (this.#listeners.delete(place)) this.#noteWishes();
        left();
      },
      released: () => this.#connections--,
    });
    return place;
  }

  /** Ends all connections. */
  close(): void {
    this.#closed = true;
    this.#outlet?.endListeners();
    this.#noteWishes();
  }

  #hello(): Subscription["hello"] {
    return {
      node_id: this.#service.nodeId,
      version: this.#service.stats().version,
      peers: this.#service.peers().length,
    };
  }

  /** What costs something is done only while somebody wants it. */
  #noteWishes(): void {
    const wants = (type: EventType) =>
      !this.#closed && this.#listeners.values().some(({ types }) => types.has(type));
    this.#service.tellLookupSteps(wants("lookup.step"));
    if (wants("stats")) this.#stats ??= setInterval(() => this.#noteStats(), STATS_MS);
    else {
      clearInterval(this.#stats);
      this.#stats = undefined;
    }
  }

  #noteStats(): void {
    const data = bareStatsView(this.#service.stats(), this.#service.distanceHistogram());
    this.#tell(null, "stats", Date.now(), data);
  }

  #note(event: ServiceEvent, at: number): void {
    const { type } = event;
    this.#tell(type === "lookup.step" ? null : this.#next++, type, at, eventView(event));
  }

  #tell(id: number | null, type: EventType, at: number, data: EventData<EventType>): void {
    this.#outlet?.tell({ id, type, text: eventText(id, type, at, data) });
  }
}

/** What a place needs of the feed. */
interface PlaceEvents {
  /** It stands: yields what it is greeted with. */
  started(): Subscription["hello"];
  /** It is given no more. */
  left(): void;
  /** Its connection is gone. */
  released(): void;
}

/** One listener's place, from before its connection stands until that is gone. */
export class Place {
  readonly types: ReadonlySet<EventType>;
  readonly #since: number | null;
  readonly #events: PlaceEvents;
  #state: "opening" | "open" | "left" | "released" = "opening";
  #subscribed: Subscribed | undefined;

  constructor({ types, since }: Wish, events: PlaceEvents) {
    this.types = types;
    this.#since = since;
    this.#events = events;
  }

  /** Has the connection answer with this head, and then tell the events; resolves once it is out of the server's hands. */
  async start(
    subscribe: Subscribe,
    format: Subscription["format"],
    head: Uint8Array,
  ): Promise<void> {
    this.#state = "open";
    const hello = this.#events.started();
    this.#subscribed = subscribe({ format, head, types: this.types, since: this.#since, hello }, {
      left: () => this.#leave(),
      closed: () => this.release(),
    });
    await this.#subscribed.taken;
  }

  /** Tells something to this listener alone. */
  tell<T extends EventType>(type: T, at: number, data: EventData<T>): void {
    this.#subscribed?.tell(eventText(null, type, at, data));
  }

  /** Ends it, for the node stops. */
  end(): void {
    if (this.#state === "open") this.#subscribed?.end();
  }

  /** There is no connection, or it is gone. */
  release(): void {
    if (this.#state === "released") return;
    this.#leave();
    this.#state = "released";
    this.#events.released();
  }

  #leave(): void {
    if (this.#state !== "open" && this.#state !== "opening") return;
    this.#state = "left";
    this.#events.left();
  }
}
