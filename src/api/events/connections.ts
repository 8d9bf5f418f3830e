// Connections of event listeners. They bypass Deno.serve, which writes each message separately, at ten times the cost.

import type { NodeService } from "../../node_service.ts";
import type { TakenConnection, TakeOver } from "../front/connection.ts";
import {
  ClientFrames,
  CloseCode,
  closeFrame,
  handshake,
  PING,
  protocolsOf,
  textFrames,
} from "../front/websocket.ts";
import { SAFE_HEADERS } from "../problems.ts";
import type { Format, Listener, Sink, Wish } from "./broadcast.ts";
import type { EventFeed } from "./feed.ts";
import { HEARTBEAT_MS, lastEventId, openWatch, STREAM_HEADERS } from "./stream.ts";

/** The subprotocol that the server selects if it is offered. Clients may offer a second one, which contains a token. */
const PROTOCOL = "dmnode";

/** A client that wants to receive events over the connection of its request. */
export interface EventClient<W extends Wish = Wish> {
  readonly request: Request;
  readonly takeOver: TakeOver;
  readonly wish: W;
}

/** The events and the watched value that a client of `/ws` wants to receive. */
export interface SocketWish extends Wish {
  readonly watched: { readonly hash: string; readonly key: string | null } | null;
}

/**
 * Completes the WebSocket handshake, then sends the greeting, the events and any versions of a watched value. The
 * returned response is never sent. Throws a Problem: 400 for a bad handshake, 503 for too many listeners or watches.
 */
export async function eventSocket(
  feed: EventFeed,
  service: NodeService,
  { request, takeOver, wish }: EventClient<SocketWish>,
): Promise<Response> {
  const agreed = protocolsOf(request.headers).includes(PROTOCOL) ? PROTOCOL : undefined;
  const head = await handshake(request, agreed);
  const { watched } = wish;
  const greeting = await feed.greeting();
  const watch = watched && await openWatch(service, watched.hash, watched.key, null);
  const onLeft = () => watch !== null && void service.closeWatch(watch);
  const connect = (listener: Listener) => new EventSocket(takeOver, listener, head);
  let listener: Listener;
  try {
    listener = feed.open({ ...wish, greeting, connect, onLeft });
  } catch (problem) {
    onLeft();
    throw problem;
  }
  if (watched === null || watch === null) return new Response(null);
  const { hash } = watched;
  void (async () => {
    for (let version; (version = await service.nextVersion(watch, HEARTBEAT_MS)) !== undefined;) {
      if (version === "quiet") continue;
      const { at, ...data } = version;
      listener.tell({ type: "watch", at, data: { hash, ...data } });
    }
    listener.end("stopping");
  })();
  return new Response(null);
}

/**
 * Streams the node's events after `Last-Event-ID` as server-sent events. The returned response is sent only for HEAD.
 * Throws a Problem (503) if there are too many listeners.
 */
export async function eventStream(
  feed: EventFeed,
  { request, takeOver, wish }: EventClient,
): Promise<Response> {
  const headers = { ...STREAM_HEADERS, ...SAFE_HEADERS, connection: "close" };
  if (request.method === "HEAD") return new Response(null, { headers });
  const last = lastEventId(request);
  const greeting = await feed.greeting();
  const fields = Object.entries({ date: new Date().toUTCString(), ...headers });
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  // This head gives no length and announces no chunks, so the body ends when the connection is closed (HTTP/1.1).
  const head = ENCODER.encode(`HTTP/1.1 200 OK\r\n${lines}\r\n`);
  const connect = (listener: Listener) => new EventStream(takeOver, listener, head);
  feed.open({ ...wish, since: last === null ? wish.since : Number(last), greeting, connect });
  return new Response(null);
}

/** When the node stops, it does not wait for clients that have read nothing for this long. */
const STUCK_MS = 500;

/** Maximum bytes of a client message that is refused as unsupported. A longer message is refused as too big. */
const MAX_MESSAGE = 1_024;

const FRAMES: Format = {
  name: "frames",
  encode: (events) => textFrames(events.map(({ text }) => text)),
};

const ENCODER = new TextEncoder();

/** Encodes events as server-sent events (HTML standard, section 9.2.5). */
const STREAM: Format = {
  name: "stream",
  encode: (events) =>
    ENCODER.encode(
      events.map(({ id, text }) => `${id === null ? "" : `id: ${id}\n`}data: ${text}\n\n`).join(""),
    ),
};

/** A comment in the stream, which keeps proxies from closing an idle connection. */
const STREAM_BEAT = ENCODER.encode(":\n\n");

/** A connection that was taken over from Deno.serve. Performs one write at a time, and queues further bytes. */
abstract class TakenOver {
  protected readonly connection: TakenConnection;
  readonly #queue: Uint8Array[] = [];
  #writingSince: number | undefined;
  /** Called after the last write. Once this callback is set, no more bytes are queued. */
  #onLast: (() => void) | undefined;
  backlog = 0;

  constructor(takeOver: TakeOver, protected readonly listener: Listener, head: Uint8Array) {
    this.connection = takeOver({
      received: (bytes) => this.received(bytes),
      closed: () => listener.release(),
    });
    this.send(head);
  }

  send(bytes: Uint8Array): void {
    if (this.#onLast !== undefined) return;
    this.#queue.push(bytes);
    this.backlog += bytes.length;
    if (this.#writingSince === undefined) void this.#write();
  }

  /** Drops all queued bytes, sends `bytes` as the last bytes of the connection, and then calls `onSent`. */
  protected sendLast(bytes: Uint8Array, onSent: () => void): void {
    if (this.#onLast !== undefined) return;
    for (const { length } of this.#queue.splice(0)) this.backlog -= length;
    this.send(bytes);
    this.#onLast = onSent;
  }

  protected get isStuck(): boolean {
    return this.#writingSince !== undefined && performance.now() - this.#writingSince > STUCK_MS;
  }

  protected received(_bytes: Uint8Array): void {}

  async #write(): Promise<void> {
    try {
      for (let bytes; (bytes = this.#queue.shift()) !== undefined;) {
        this.#writingSince = performance.now();
        await this.connection.write(bytes);
        this.backlog -= bytes.length;
      }
      this.#writingSince = undefined;
      this.#onLast?.();
    } catch {
      this.connection.close();
    }
  }
}

class EventSocket extends TakenOver implements Sink {
  readonly format = FRAMES;
  readonly #frames = new ClientFrames(MAX_MESSAGE);
  /** Whether the client has sent nothing since the latest ping. */
  #isPinged = false;
  #isEnding = false;

  /** Sends a ping, or closes the connection if the client has sent nothing since the previous ping. */
  beat(): void {
    if (this.#isPinged) return this.connection.close();
    this.#isPinged = true;
    this.send(PING);
  }

  end(reason: "stopping" | "slow"): void {
    if (reason === "slow") {
      return this.#close(CloseCode.tryAgainLater, "Events arrive faster than you read them.");
    }
    if (this.#isEnding || this.isStuck) return this.connection.close();
    const last = closeFrame(CloseCode.goingAway, "The node is stopping.");
    this.sendLast(last, () => this.connection.close());
  }

  protected override received(bytes: Uint8Array): void {
    this.#isPinged = false;
    if (this.#isEnding) return;
    for (const frame of this.#frames.read(bytes)) {
      if (frame.kind === "ping") {
        // Send no pongs to a client that does not read, since they would pile up.
        if (!this.listener.isFull) this.send(frame.pong);
      } else if (frame.kind === "close") this.#close(frame.code, frame.reason);
    }
  }

  #close(code: number, reason: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.listener.stop();
    this.sendLast(closeFrame(code, reason), () => this.connection.end());
  }
}

class EventStream extends TakenOver implements Sink {
  readonly format = STREAM;

  beat(isSilent: boolean): void {
    if (isSilent) this.send(STREAM_BEAT);
  }

  end(): void {
    this.connection.close();
  }
}
