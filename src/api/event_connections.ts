// Connections of those who listen to the node's events: WebSockets, and streams of server-sent events. Both are taken
// over from the HTTP server, whose own sockets write each message by itself: that is ten times the work for the system.

import type { NodeService, Watch } from "../runtime/service.ts";
import type { EventFeed, Format, Listener, Sink, Wish } from "./event_feed.ts";
import { HEARTBEAT_MS, lastEventId, STREAM_HEADERS } from "./event_stream.ts";
import type { TakenConnection, TakeOver } from "./front.ts";
import { Problem, SAFE_HEADERS } from "./problems.ts";
import { RETRY } from "./requests.ts";
import {
  ClientFrames,
  CloseCode,
  closeFrame,
  handshake,
  PING,
  protocolsOf,
  textFrames,
} from "./websocket.ts";

/** A client that takes nothing for so long is not waited for when the node stops. */
const STUCK_MS = 500;

/** Clients have nothing to say; what is longer than this is called too long. */
const MAX_MESSAGE = 1_024;

/** The subprotocol that is agreed on where a client names it; beside it may be one that carries a token. */
const PROTOCOL = "dmnode";

const FRAMES: Format = {
  name: "frames",
  encode: (events) => textFrames(events.map(({ text }) => text)),
};

/** A value to watch. */
export interface WatchedValue {
  readonly hash: string;
  readonly key: string | null;
}

/** What a client asks for. */
export interface SocketWish extends Wish {
  readonly watched: WatchedValue | null;
}

/** Bytes on their way to a client, one write at a time. */
class Outlet {
  readonly #connection: TakenConnection;
  readonly #waiting: Uint8Array[] = [];
  #writingSince: number | undefined;
  #afterwards: (() => void) | undefined;
  /** Bytes that have not been handed to the system. */
  backlog = 0;

  constructor(connection: TakenConnection) {
    this.#connection = connection;
  }

  send(bytes: Uint8Array): void {
    if (this.#afterwards !== undefined) return;
    this.#waiting.push(bytes);
    this.backlog += bytes.length;
    if (this.#writingSince === undefined) void this.#write();
  }

  /** Sends this as the last thing, in place of what waits, and does something once it is out. */
  sendLast(bytes: Uint8Array, afterwards: () => void): void {
    if (this.#afterwards !== undefined) return;
    for (const { length } of this.#waiting.splice(0)) this.backlog -= length;
    this.send(bytes);
    this.#afterwards = afterwards;
  }

  /** Whether the client has taken nothing for a while of what there is. */
  get isStuck(): boolean {
    return this.#writingSince !== undefined && performance.now() - this.#writingSince > STUCK_MS;
  }

  async #write(): Promise<void> {
    try {
      for (let bytes; (bytes = this.#waiting.shift()) !== undefined;) {
        this.#writingSince = performance.now();
        await this.#connection.write(bytes);
        this.backlog -= bytes.length;
      }
      this.#writingSince = undefined;
      this.#afterwards?.();
    } catch {
      this.#connection.close();
    }
  }
}

/**
 * Completes the handshake and greets; then come the events that are wished for, and the versions of the watched value.
 * What is returned is for nobody: the connection is no HTTP any more.
 *
 * @throws {Problem} 400 where it is no handshake, 503 where there are too many
 */
export function eventSocket(
  feed: EventFeed,
  service: NodeService,
  request: Request,
  takeOver: TakeOver,
  wish: SocketWish,
): Response {
  const agreed = protocolsOf(request.headers).includes(PROTOCOL) ? PROTOCOL : undefined;
  const head = handshake(request, agreed);
  const { watched } = wish;
  const listener = feed.open(wish);
  const watch = watched === null ? null : service.watch(watched.hash, watched.key, null);
  if (watch === undefined) {
    listener.release();
    throw new Problem(503, "Too many values are being watched; try again.", {}, RETRY);
  }
  const socket = new EventSocket(takeOver, listener, watch ?? undefined);
  socket.start(head);
  if (watched !== null && watch !== null) void follow(watched.hash, watch, listener);
  return new Response(null);
}

/** One WebSocket. */
class EventSocket implements Sink {
  readonly format = FRAMES;
  readonly #listener: Listener;
  readonly #watch: Watch | undefined;
  readonly #connection: TakenConnection;
  readonly #outlet: Outlet;
  readonly #frames = new ClientFrames(MAX_MESSAGE);
  /** Whether a ping was sent, and nothing has come since. */
  #isPinged = false;
  #isEnding = false;

  constructor(takeOver: TakeOver, listener: Listener, watch: Watch | undefined) {
    this.#listener = listener;
    this.#watch = watch;
    this.#connection = takeOver({
      received: (bytes) => this.#received(bytes),
      closed: () => {
        watch?.close();
        listener.release();
      },
    });
    this.#outlet = new Outlet(this.#connection);
  }

  start(head: Uint8Array): void {
    this.#outlet.send(head);
    this.#listener.start(this);
  }

  get backlog(): number {
    return this.#outlet.backlog;
  }

  send(bytes: Uint8Array): void {
    this.#outlet.send(bytes);
  }

  /** A client that is gone without a word answers no ping. */
  beat(): void {
    if (this.#isPinged) return this.#connection.close();
    this.#isPinged = true;
    this.#outlet.send(PING);
  }

  end(reason: "stopping" | "slow"): void {
    if (reason === "slow") {
      return this.#close(CloseCode.tryAgainLater, "Events come faster than you read.");
    }
    // A node that stops waits for nobody.
    if (this.#isEnding || this.#outlet.isStuck) return this.#connection.close();
    const last = closeFrame(CloseCode.goingAway, "The node is stopping.");
    this.#outlet.sendLast(last, () => this.#connection.close());
  }

  #received(bytes: Uint8Array): void {
    this.#isPinged = false;
    if (this.#isEnding) return;
    for (const frame of this.#frames.read(bytes)) {
      if (frame.kind === "ping") {
        // Who takes no pong need not be given more of them.
        if (!this.#listener.isFull) this.#outlet.send(frame.pong);
      } else if (frame.kind === "close") this.#close(frame.code, frame.reason);
    }
  }

  #close(code: number, reason: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#watch?.close();
    this.#listener.stop();
    this.#outlet.sendLast(closeFrame(code, reason), () => this.#connection.end());
  }
}

/** Tells each version, until the watching ends. */
async function follow(hash: string, watch: Watch, listener: Listener): Promise<void> {
  for (;;) {
    const version = await watch.next(HEARTBEAT_MS);
    if (version === undefined) return listener.end("stopping");
    if (version === "quiet") continue;
    const { seq, size, publicKey, at } = version;
    listener.tell("watch", at, { hash, seq, size, public_key: publicKey });
  }
}

const ENCODER = new TextEncoder();

/** Server-sent events, as the HTML standard has them (section 9.2.5). */
const STREAM: Format = {
  name: "stream",
  encode: (events) =>
    ENCODER.encode(
      events.map(({ id, text }) => `${id === null ? "" : `id: ${id}\n`}data: ${text}\n\n`).join(""),
    ),
};

/** A comment: proxies keep the connection. */
const STREAM_BEAT = ENCODER.encode(":\n\n");

/**
 * The node's events as server-sent events. `Last-Event-ID` is the number of the last one that the client has. What is
 * returned is for nobody, but where the request is for the head alone.
 *
 * @throws {Problem} 503 where there are too many
 */
export function eventStream(
  feed: EventFeed,
  request: Request,
  takeOver: TakeOver,
  wish: Wish,
): Response {
  const headers = { ...STREAM_HEADERS, ...SAFE_HEADERS, connection: "close" };
  if (request.method === "HEAD") return new Response(null, { headers });
  const last = lastEventId(request);
  const listener = feed.open(last === null ? wish : { ...wish, since: last });
  const connection = takeOver({ received: () => {}, closed: () => listener.release() });
  const outlet = new Outlet(connection);
  const fields = Object.entries({ date: new Date().toUTCString(), ...headers });
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  // Its end is that of the connection: HTTP/1.1 allows that, and there is nothing to wrap.
  outlet.send(ENCODER.encode(`HTTP/1.1 200 OK\r\n${lines}\r\n`));
  listener.start({
    format: STREAM,
    get backlog() {
      return outlet.backlog;
    },
    send: (bytes) => outlet.send(bytes),
    beat: (isSilent) => isSilent && outlet.send(STREAM_BEAT),
    end: () => connection.close(),
  });
  return new Response(null);
}
