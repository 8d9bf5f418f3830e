// The API's front as the node's thread sees it: what it orders, and what it is told (front_messages.ts).

import type { EventOutlet } from "./event_feed.ts";
import {
  type ConnectionId,
  type EventMessage,
  type FrontOrder,
  type FrontPort,
  type FrontReport,
  type Listening,
  Outbox,
  type Subscription,
} from "./front_messages.ts";
import type { Refusals } from "./limits.ts";

/** The API can't listen where it was told to. The message is one line for the user. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** The thread of the front has ended by itself. The message is one line for the user. */
export class FrontError extends Error {
  override readonly name = "FrontError";
}

/** A request may be here before what tells of its connection: so long it waits for that. */
const DIALED_MS = 1_000;

/** Who hears of a connection that is subscribed to events. */
export interface SubscriptionEvents {
  /** It is given no more. */
  left(): void;
  /** It is no more. */
  closed(): void;
}

/** A connection that is subscribed to events. */
export interface Subscribed {
  /** Settles once what Deno.serve answers is for nobody. */
  readonly taken: Promise<void>;
  /** Tells something to this listener alone. */
  tell(text: string): void;
  /** Ends it, for the node stops. */
  end(): void;
}

/** Takes a request's connection from Deno.serve, and has it told events. */
export type Subscribe = (to: Subscription, events: SubscriptionEvents) => Subscribed;

/** A thread with a front: a worker, or what stands for one. */
export interface FrontWorker extends FrontPort<FrontOrder, FrontReport> {
  onerror: ((event: ErrorEvent) => void) | null;
  terminate(): void;
}

/** The front, in a thread that serves it (front_service.ts). */
export class FrontThread implements EventOutlet {
  readonly #worker: FrontWorker;
  readonly #outbox: Outbox<FrontOrder>;
  readonly #ready = Promise.withResolvers<void>();
  readonly #listening = Promise.withResolvers<number>();
  readonly #drained = Promise.withResolvers<void>();
  readonly #failed = Promise.withResolvers<FrontError>();
  readonly #byPort = new Map<number, RemoteConnection>();
  readonly #byId = new Map<ConnectionId, RemoteConnection>();
  /** Requests whose connections were not told of yet, by port. */
  readonly #expected = new Map<number, PromiseWithResolvers<void>>();
  /** Counts something that was refused. */
  onRefused: (reason: keyof Refusals) => void = () => {};

  constructor(worker: FrontWorker) {
    this.#worker = worker;
    this.#outbox = new Outbox(worker);
    // Whoever waits hears of it.
    for (const { promise } of [this.#ready, this.#listening]) promise.catch(() => {});
    worker.onmessage = ({ data }) => data.forEach((report) => this.#receive(report));
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new FrontError(`the API's thread has failed: ${event.message}`));
    };
  }

  /** Starts the thread, which loads its code: that takes the permission to read it. */
  static start(): FrontThread {
    return new FrontThread(
      new Worker(new URL("./front_worker.ts", import.meta.url), { type: "module" }),
    );
  }

  /** Resolves once its code is loaded; rejects where that fails. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Resolves where the thread ends by itself, with the reason. */
  get failed(): Promise<FrontError> {
    return this.#failed.promise;
  }

  /**
   * Takes connections from now on; yields the real port.
   *
   * @throws {ListenError} where the port is taken, forbidden, or not this machine's
   */
  listen(at: Listening): Promise<number> {
    this.#outbox.post({ do: "listen", at });
    return this.#listening.promise;
  }

  /** Deno.serve listens at this port of 127.0.0.1 now. */
  serve(port: number): void {
    this.#outbox.post({ do: "serve", port });
  }

  /** The connection that Deno.serve knows by this port; undefined for one that somebody else made. */
  async connectionAt(port: number): Promise<RemoteConnection | undefined> {
    const known = this.#byPort.get(port);
    if (known !== undefined) return known;
    const expected = this.#expected.get(port) ?? Promise.withResolvers<void>();
    this.#expected.set(port, expected);
    const timer = setTimeout(expected.resolve, DIALED_MS);
    await expected.promise;
    clearTimeout(timer);
    this.#expected.delete(port);
    return this.#byPort.get(port);
  }

  /** Deno.serve has found the process out of file descriptors. */
  noteExhausted(): void {
    this.#outbox.post({ do: "note exhausted" });
  }

  numberEventsFrom(start: number): void {
    this.#outbox.post({ do: "number", from: start });
  }

  tell(event: EventMessage): void {
    this.#outbox.post({ do: "tell", event });
  }

  endListeners(): void {
    this.#outbox.post({ do: "unsubscribe all" });
  }

  /** Takes no more connections, and closes those that wait for a request. */
  stop(): void {
    this.#outbox.post({ do: "stop" });
  }

  /** Once it was stopped and no connection is left. */
  get drained(): Promise<void> {
    return this.#drained.promise;
  }

  /** Closes every connection. */
  cut(): void {
    this.#outbox.post({ do: "cut" });
  }

  /** Ends the thread. */
  close(): void {
    this.#worker.terminate();
    this.#forgetAll();
  }

  #receive(report: FrontReport): void {
    switch (report.type) {
      case "ready":
        return this.#ready.resolve();
      case "listening":
        return this.#listening.resolve(report.port);
      case "can't listen":
        return this.#listening.reject(new ListenError(report.reason));
      case "dialed": {
        const connection = new RemoteConnection(report, this.#outbox);
        this.#byId.set(report.id, connection);
        this.#byPort.set(report.port, connection);
        return this.#expected.get(report.port)?.resolve();
      }
      case "closed":
        return this.#forget(report.id);
      case "subscribed":
        return this.#byId.get(report.id)?.noteTaken();
      case "left":
        return this.#byId.get(report.id)?.noteLeft();
      case "refused":
        return this.onRefused(report.reason);
      case "drained":
        return this.#drained.resolve();
      case "failed":
        // As if it had failed here: told of, and no reason to end.
        return void Promise.reject(new FrontError(report.message));
    }
  }

  #forget(id: ConnectionId): void {
    const connection = this.#byId.get(id);
    if (connection === undefined) return;
    this.#byId.delete(id);
    this.#byPort.delete(connection.port);
    connection.noteClosed();
  }

  #forgetAll(): void {
    for (const id of [...this.#byId.keys()]) this.#forget(id);
  }

  #fail(error: FrontError): void {
    this.#ready.reject(error);
    this.#listening.reject(error);
    this.#drained.resolve();
    this.#failed.resolve(error);
    this.#forgetAll();
  }
}

/** A client's connection, of which Deno.serve has the other end. */
export class RemoteConnection {
  readonly #id: ConnectionId;
  readonly #outbox: Outbox<FrontOrder>;
  readonly #taken = Promise.withResolvers<void>();
  #events: SubscriptionEvents | undefined;
  #isClosed = false;
  /** By which Deno.serve knows it. */
  readonly port: number;
  /** The client's. */
  readonly address: string;

  constructor(
    { id, port, address }: Extract<FrontReport, { type: "dialed" }>,
    outbox: Outbox<FrontOrder>,
  ) {
    this.#id = id;
    this.#outbox = outbox;
    this.port = port;
    this.address = address;
  }

  /** Deno.serve has a request in hand until what this returns is called. */
  begin({ headers }: Request): () => void {
    const id = this.#id;
    const hasBody = headers.has("transfer-encoding") ||
      (headers.get("content-length") ?? "0") !== "0";
    this.#outbox.post({ do: "begin", id, hasBody });
    return () => this.#outbox.post({ do: "done", id, hasBody });
  }

  /** As {@link Subscribe}. */
  subscribe(to: Subscription, events: SubscriptionEvents): Subscribed {
    const id = this.#id;
    this.#events = events;
    if (this.#isClosed) events.closed();
    else this.#outbox.post({ do: "subscribe", id, to });
    return {
      taken: this.#taken.promise,
      tell: (text) => this.#outbox.post({ do: "tell one", id, text }),
      end: () => this.#outbox.post({ do: "unsubscribe", id }),
    };
  }

  /** It is no longer Deno.serve's. */
  noteTaken(): void {
    this.#taken.resolve();
  }

  /** It is given no more events. */
  noteLeft(): void {
    this.#events?.left();
  }

  noteClosed(): void {
    this.#isClosed = true;
    this.#taken.resolve();
    this.#events?.closed();
  }
}
