// What the node's thread and the thread of the API's front tell each other.

import type { ConnectionLimits } from "./front.ts";
import type { Refusals } from "./limits.ts";
import type { EventData, EventType } from "./schemas.ts";

/** The name of a connection that Deno.serve knows; never used again. */
export type ConnectionId = number;

/** Where and how the front listens. */
export interface Listening {
  readonly hostname: string;
  readonly port: number;
  readonly limits: ConnectionLimits;
  /** Addresses and prefixes of proxies, whose connections carry the requests of many clients. */
  readonly proxies: readonly (readonly [address: string, prefix: number])[];
  /** The port of 127.0.0.1 where Deno.serve listens. */
  readonly serverPort: number;
}

/** An event as it is sent, or something of the moment. */
export interface EventMessage {
  /** Null where it is of the moment, and takes no number. */
  readonly id: number | null;
  readonly type: EventType;
  /** The message's JSON. */
  readonly text: string;
}

/** What a listener is sent, and how. */
export interface Subscription {
  /** WebSocket frames, or server-sent events. */
  readonly format: "frames" | "stream";
  /** The head of the answer to its request. */
  readonly head: Uint8Array;
  readonly types: ReadonlySet<EventType>;
  /** The number of the last event that it has; null where it has none. */
  readonly since: number | null;
  /** What it is greeted with, but for what the log of events tells. */
  readonly hello: Omit<EventData<"hello">, "last" | "resumed" | "missed">;
}

/** To the front. */
export type FrontOrder =
  | { readonly do: "listen"; readonly at: Listening }
  /** Deno.serve listens there now. */
  | { readonly do: "serve"; readonly port: number }
  /** Deno.serve has a request in hand, or is done with it. */
  | { readonly do: "begin" | "done"; readonly id: ConnectionId; readonly hasBody: boolean }
  /** Events follow, of which the first will have this number. */
  | { readonly do: "number"; readonly from: number }
  | { readonly do: "tell"; readonly event: EventMessage }
  /** Takes the connection from Deno.serve, and tells it the events from now on. */
  | { readonly do: "subscribe"; readonly id: ConnectionId; readonly to: Subscription }
  /** Tells one listener something that is for it alone. */
  | { readonly do: "tell one"; readonly id: ConnectionId; readonly text: string }
  /** Ends one listener, or all, for the node stops. */
  | { readonly do: "unsubscribe"; readonly id: ConnectionId }
  | { readonly do: "unsubscribe all" }
  /** Deno.serve has found the process out of file descriptors. */
  | { readonly do: "note exhausted" }
  /** Takes no more connections, and closes those that wait for a request. */
  | { readonly do: "stop" }
  /** Closes every connection. */
  | { readonly do: "cut" };

/** From the front. */
export type FrontReport =
  /** Its code is loaded. */
  | { readonly type: "ready" }
  | { readonly type: "listening"; readonly port: number }
  | { readonly type: "can't listen"; readonly reason: string }
  /** Deno.serve knows the connection by this port; comes before its first request. */
  | {
    readonly type: "dialed";
    readonly id: ConnectionId;
    readonly port: number;
    readonly address: string;
  }
  | { readonly type: "closed"; readonly id: ConnectionId }
  /** It is no longer Deno.serve's: what that answers now is for nobody. */
  | { readonly type: "subscribed"; readonly id: ConnectionId }
  /** A listener is given no more. */
  | { readonly type: "left"; readonly id: ConnectionId }
  | { readonly type: "refused"; readonly reason: keyof Refusals }
  /** No connection is left, after `stop`. */
  | { readonly type: "drained" }
  /** Something failed that nobody waited for. */
  | { readonly type: "failed"; readonly message: string };

/** One end of the way between the two: a worker, or what stands for one. */
export interface FrontPort<Sent, Received> {
  onmessage: ((event: MessageEvent<readonly Received[]>) => void) | null;
  postMessage(messages: readonly Sent[]): void;
}

/** Sends what is told in one turn as one message: each costs both threads some microseconds. */
export class Outbox<T> {
  readonly #port: { postMessage(messages: readonly T[]): void };
  #waiting: T[] = [];

  constructor(port: { postMessage(messages: readonly T[]): void }) {
    this.#port = port;
  }

  post(message: T): void {
    if (this.#waiting.push(message) === 1) queueMicrotask(() => this.flush());
  }

  /** Sends at once what waits. */
  flush(): void {
    if (this.#waiting.length === 0) return;
    const messages = this.#waiting;
    this.#waiting = [];
    this.#port.postMessage(messages);
  }
}
