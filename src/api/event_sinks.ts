// Connections of those who listen to the node's events, after their request: WebSockets, and streams of server-sent
// events. Both are taken over from the HTTP server, whose own sockets write each message by itself: that is ten times the
// work for the system.

import type { Format, Listener, Sink } from "./event_broadcast.ts";
import type { Connection, TakenConnection } from "./front.ts";
import type { Subscription } from "./front_messages.ts";
import { ClientFrames, CloseCode, closeFrame, PING, textFrames } from "./websocket.ts";

/** A client that takes nothing for so long is not waited for when the node stops. */
const STUCK_MS = 500;

/** Clients have nothing to say; what is longer than this is called too long. */
const MAX_MESSAGE = 1_024;

const FRAMES: Format = {
  name: "frames",
  encode: (events) => textFrames(events.map(({ text }) => text)),
};

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

/** Takes the connection over, answers its request with this head, and then tells the events. */
export function subscribe(
  connection: Connection,
  listener: Listener,
  { format, head }: Pick<Subscription, "format" | "head">,
): void {
  const sink = format === "frames"
    ? new EventSocket(connection, listener)
    : new EventStream(connection, listener);
  sink.send(head);
  listener.start(sink);
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

/** A connection that was taken over, and what is on its way to it. */
abstract class TakenOver {
  protected readonly connection: TakenConnection;
  protected readonly outlet: Outlet;

  protected constructor(connection: Connection, listener: Listener) {
    this.connection = connection.takeOver({
      received: (bytes) => this.received(bytes),
      closed: () => listener.release(),
    });
    this.outlet = new Outlet(this.connection);
  }

  get backlog(): number {
    return this.outlet.backlog;
  }

  send(bytes: Uint8Array): void {
    this.outlet.send(bytes);
  }

  /** What a client says after its request. */
  protected received(_bytes: Uint8Array): void {}
}

/** One WebSocket. */
class EventSocket extends TakenOver implements Sink {
  readonly format = FRAMES;
  readonly #listener: Listener;
  readonly #frames = new ClientFrames(MAX_MESSAGE);
  /** Whether a ping was sent, and nothing has come since. */
  #isPinged = false;
  #isEnding = false;

  constructor(connection: Connection, listener: Listener) {
    super(connection, listener);
    this.#listener = listener;
  }

  /** A client that is gone without a word answers no ping. */
  beat(): void {
    if (this.#isPinged) return this.connection.close();
    this.#isPinged = true;
    this.send(PING);
  }

  end(reason: "stopping" | "slow"): void {
    if (reason === "slow") {
      return this.#close(CloseCode.tryAgainLater, "Events come faster than you read.");
    }
    // A node that stops waits for nobody.
    if (this.#isEnding || this.outlet.isStuck) return this.connection.close();
    const last = closeFrame(CloseCode.goingAway, "The node is stopping.");
    this.outlet.sendLast(last, () => this.connection.close());
  }

  protected override received(bytes: Uint8Array): void {
    this.#isPinged = false;
    if (this.#isEnding) return;
    for (const frame of this.#frames.read(bytes)) {
      if (frame.kind === "ping") {
        // Who takes no pong need not be given more of them.
        if (!this.#listener.isFull) this.send(frame.pong);
      } else if (frame.kind === "close") this.#close(frame.code, frame.reason);
    }
  }

  #close(code: number, reason: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#listener.stop();
    this.outlet.sendLast(closeFrame(code, reason), () => this.connection.end());
  }
}

/** One stream of server-sent events. */
class EventStream extends TakenOver implements Sink {
  readonly format = STREAM;

  constructor(connection: Connection, listener: Listener) {
    super(connection, listener);
  }

  beat(isSilent: boolean): void {
    if (isSilent) this.send(STREAM_BEAT);
  }

  end(): void {
    this.connection.close();
  }
}
