// The API's connections: taken within limits of number and time, and passed on to Deno.serve, which knows no limits. They
// live in a thread of their own (front_worker.ts).

import type { ConnectionId } from "./front_messages.ts";
import { clientOf, type Refusals } from "./limits.ts";
import { Problem, type ProblemStatus } from "./problems.ts";

/** What connections may take. */
export interface ConnectionLimits {
  /** Connections at a time. For one more, the one that has waited longest for a request is closed. */
  readonly connections: number;
  /** Of one client, an IPv6 /64 being one. */
  readonly clientConnections: number;
  /** From the first byte of a request's head to the last. */
  readonly headMs: number;
  /** From one request to the next, and to the first. */
  readonly idleMs: number;
  /** How long a client may take nothing of an answer that there is. */
  readonly unreadMs: number;
  /** Of a request's head; and what a WebSocket's client may say within idleMs. */
  readonly headBytes: number;
}

/** Limits for any number of connections; one client may have a quarter of them. */
export function connectionLimits(connections: number): ConnectionLimits {
  return {
    connections,
    clientConnections: Math.ceil(connections / 4),
    // As Apache has it (RequestReadTimeout).
    headMs: 20_000,
    // As nginx has the latter (send_timeout), and near what it has the former (keepalive_timeout, 75 s).
    idleMs: 60_000,
    unreadMs: 60_000,
    // As nginx has it (large_client_header_buffers): browsers send a few kilobytes.
    headBytes: 32_768,
  };
}

/** Time and timers, which tests replace. */
export interface Clock {
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  /** Runs `task` every `ms` until what it returns is called. */
  every(ms: number, task: () => void): () => void;
}

const REAL_CLOCK: Clock = {
  now: () => performance.now(),
  every(ms, task) {
    const timer = setInterval(task, ms);
    return () => clearInterval(timer);
  },
};

/** How exactly the times above are kept. */
const SWEEP_MS = 1000;
/** Connections that are taken however short of file descriptors the process is. */
const FEWEST = 8;
/** Until the next try where the process is out of file descriptors. */
const RETRY_MS = 100;
/** After the last byte of an answer, for the client to take it and close: what it still sends would reset it. */
const LINGER_MS = 2000;
/** So many that are refused get an answer at a time; more are just closed. */
const MAX_REFUSED = 64;
/** Idle connections need little, and those that carry much soon have the most. */
const FIRST_BUFFER = 4096, LAST_BUFFER = 65_536;

const CR = 0x0d, LF = 0x0a;

/** How a front is made. */
export interface FrontOptions {
  readonly listener: Deno.TcpListener;
  /** The port of 127.0.0.1 where Deno.serve listens now. */
  readonly port: () => number;
  readonly limits: ConnectionLimits;
  /** Counts something that was refused. */
  readonly refused: (reason: keyof Refusals) => void;
  /** Deno.serve knows a connection by this port; called before it can see a request. */
  readonly dialed: (id: ConnectionId, port: number, address: string) => void;
  /** Such a connection is no more. */
  readonly closed: (id: ConnectionId) => void;
  /** Whether connections from this address count for no single client: this machine's, and proxies'. */
  readonly isShared: (address: string) => boolean;
  readonly clock?: Clock;
}

/** Takes connections, and passes their bytes on. */
export class Front {
  readonly #options: FrontOptions;
  readonly #clock: Clock;
  readonly #all = new Set<Connection>();
  /** Those without a request in hand, the one that has waited longest first. */
  readonly #waiting = new Set<Connection>();
  readonly #refused = new Set<Connection>();
  readonly #dialed = new Map<ConnectionId, Connection>();
  readonly #byClient = new Map<string, number>();
  #stopSweeping: (() => void) | undefined;
  /** Connections at a time, by the limit and by what the process has been found to bear. */
  #most: number;
  #lastId = 0;
  #isStopped = false;
  #onDrained: (() => void) | undefined;

  constructor(options: FrontOptions) {
    this.#options = options;
    this.#clock = options.clock ?? REAL_CLOCK;
    this.#most = options.limits.connections;
    void this.#accept();
  }

  /** A connection that Deno.serve knows; undefined where it is no more. */
  connection(id: ConnectionId): Connection | undefined {
    return this.#dialed.get(id);
  }

  /** Connections at this time, without those that are refused. */
  get size(): number {
    return this.#all.size;
  }

  /** Takes no more connections, and closes those that wait for a request. */
  stop(): void {
    this.#isStopped = true;
    this.#options.listener.close();
    for (const connection of [...this.#waiting]) if (connection.isIdle) connection.close();
  }

  /** Once no connection is left. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#onDrained = resolve;
      this.#noteDrained();
    });
  }

  /** Closes every connection. */
  cut(): void {
    for (const connection of [...this.#refused, ...this.#all]) connection.close();
  }

  /**
   * The process or the system is out of file descriptors. Half as many connections are taken now, since each may need
   * two more, and those that wait make room; with each sweep it is one more again.
   */
  noteExhausted(): void {
    this.#options.refused("no_descriptors");
    this.#most = Math.max(FEWEST, Math.ceil(Math.min(this.#most, this.#all.size) / 2));
    while (this.#all.size > this.#most && this.#makeRoom());
  }

  async #accept(): Promise<void> {
    for (;;) {
      let socket: Deno.TcpConn;
      try {
        socket = await this.#options.listener.accept();
      } catch (error) {
        if (this.#isStopped) return;
        if (error instanceof Deno.errors.ConnectionAborted) continue;
        this.noteExhausted();
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        continue;
      }
      this.#take(socket);
    }
  }

  #take(socket: Deno.TcpConn): void {
    const { limits, refused, isShared } = this.#options;
    const { hostname } = socket.remoteAddr;
    const client = isShared(hostname) ? null : clientOf(hostname);
    const ofClient = client === null ? 0 : this.#byClient.get(client) ?? 0;
    if (ofClient >= limits.clientConnections) {
      refused("client_connections");
      return this.#refuse(socket, 429, "Too many connections from your address.");
    }
    if (this.#all.size >= this.#most && !this.#makeRoom()) {
      refused("connections");
      return this.#refuse(socket, 503, "Too many connections; try again.");
    }
    if (client !== null) this.#byClient.set(client, ofClient + 1);
    let id: ConnectionId | undefined;
    const connection: Connection = new Connection(socket, this.#options, this.#clock, {
      dialed: (port) => {
        id = ++this.#lastId;
        this.#dialed.set(id, connection);
        this.#options.dialed(id, port, connection.address);
      },
      exhausted: () => this.noteExhausted(),
      busy: () => this.#waiting.delete(connection),
      waiting: () => this.#waiting.add(connection),
      closed: () => this.#forget(connection, client, id),
    });
    this.#all.add(connection);
    this.#waiting.add(connection);
    this.#startSweeping();
    connection.run();
  }

  /** Closes the connection that has waited longest for a request; false where none waits. */
  #makeRoom(): boolean {
    for (const connection of this.#waiting) {
      if (!connection.isIdle) continue;
      this.#options.refused("idle");
      connection.close();
      return true;
    }
    return false;
  }

  #refuse(socket: Deno.TcpConn, status: ProblemStatus, detail: string): void {
    if (this.#refused.size >= MAX_REFUSED) return socket.close();
    const connection: Connection = new Connection(socket, this.#options, this.#clock, {
      dialed: () => {},
      exhausted: () => {},
      busy: () => {},
      waiting: () => {},
      closed: () => {
        this.#refused.delete(connection);
        this.#noteDrained();
      },
    });
    this.#refused.add(connection);
    this.#startSweeping();
    connection.run();
    connection.refuse(status, detail);
  }

  #forget(connection: Connection, client: string | null, id: ConnectionId | undefined): void {
    this.#all.delete(connection);
    this.#waiting.delete(connection);
    if (id !== undefined) {
      this.#dialed.delete(id);
      this.#options.closed(id);
    }
    if (client !== null) {
      const left = this.#byClient.get(client)! - 1;
      if (left > 0) this.#byClient.set(client, left);
      else this.#byClient.delete(client);
    }
    this.#noteDrained();
  }

  #noteDrained(): void {
    if (this.#all.size + this.#refused.size > 0) return;
    this.#stopSweeping?.();
    this.#stopSweeping = undefined;
    this.#onDrained?.();
  }

  #startSweeping(): void {
    this.#stopSweeping ??= this.#clock.every(SWEEP_MS, () => {
      const now = this.#clock.now();
      this.#most = Math.min(this.#options.limits.connections, this.#most + 1);
      for (const connection of [...this.#refused, ...this.#all]) connection.sweep(now);
    });
  }
}

/** Who speaks to a client in place of Deno.serve. */
export interface Successor {
  /** Takes what the client sends; the bytes are valid during the call only. */
  received(bytes: Uint8Array): void;
  /** The connection is no more. */
  closed(): void;
}

/** A connection that was taken over. The limits on what its client may leave unread, and may say, hold on. */
export interface TakenConnection {
  /** Resolves when the system has taken the bytes; not to be called before. Rejects where the connection has ended. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends it once the client has taken all and closed its side. */
  end(): void;
  /** Ends it at once. */
  close(): void;
}

/** What a connection tells of itself. */
interface ConnectionEvents {
  /** Deno.serve knows it by this port. */
  dialed(port: number): void;
  /** There was no file descriptor for a connection to Deno.serve. */
  exhausted(): void;
  busy(): void;
  /** It waits for a request. */
  waiting(): void;
  closed(): void;
}

/** A client's connection, and, from its first whole head on, one to Deno.serve. */
export class Connection {
  /** The client's address. */
  readonly address: string;
  readonly #client: Deno.TcpConn;
  readonly #options: FrontOptions;
  readonly #clock: Clock;
  readonly #events: ConnectionEvents;
  #server: Deno.TcpConn | undefined;
  /** What came before the first head was whole. */
  #held: Uint8Array<ArrayBuffer>[] = [];
  /** Requests that Deno.serve has in hand, and those among them that have a body. */
  #requests = 0;
  #bodies = 0;
  #successor: Successor | undefined;
  #isClosed = false;
  /** Whether the client has said all that it will. */
  #hasClientEnded = false;
  /** Where in a head the next byte is; "unknown": perhaps in the rest of a body whose request is answered. */
  #head: "before" | "inside" | "line end" | "done" | "unknown" = "before";
  /** Bytes of the head that is coming; of a WebSocket, bytes of its client since `#quietSince`. */
  #headBytes = 0;
  /** Since when a head is coming; null where none is. */
  #headSince: number | null = null;
  #quietSince: number;
  /** Since when the client takes nothing of what there is for it; null where there is nothing. */
  #unreadSince: number | null = null;
  /** Since when all is said that will be; null before. */
  #endedSince: number | null = null;

  constructor(
    client: Deno.TcpConn,
    options: FrontOptions,
    clock: Clock,
    events: ConnectionEvents,
  ) {
    this.address = client.remoteAddr.hostname;
    this.#client = client;
    this.#options = options;
    this.#clock = clock;
    this.#events = events;
    this.#quietSince = clock.now();
  }

  /** Whether it carries nothing at this time; of a whole head Deno.serve may not have told yet. */
  get isIdle(): boolean {
    return this.#head !== "done" && !this.#isAnswered;
  }

  get #isAnswered(): boolean {
    return this.#requests > 0 || this.#unreadSince !== null || this.#successor !== undefined;
  }

  /** Passes bytes on until the connection ends. */
  run(): void {
    this.#copyFromClient().catch(() => this.close());
  }

  /** Deno.serve has a request in hand. */
  begin(hasBody: boolean): void {
    this.#requests++;
    if (hasBody) this.#bodies++;
    this.#expectHead();
    this.#events.busy();
  }

  /** Deno.serve is done with a request. */
  done(hasBody: boolean): void {
    this.#requests--;
    if (hasBody) this.#bodies--;
    this.#quietSince = this.#clock.now();
    if (hasBody) this.#head = "unknown";
    // What came of the next one while this was in hand could not go on.
    if (this.#headSince !== null) this.#headSince = this.#quietSince;
    if (this.#requests === 0 && this.#successor === undefined) this.#events.waiting();
  }

  /**
   * Takes the connection over from Deno.serve, whose answer is for nobody from then on. Its client may be silent for as
   * long as it likes.
   */
  takeOver(successor: Successor): TakenConnection {
    this.#successor = successor;
    closeQuietly(this.#server);
    return {
      write: (bytes) => this.#write(bytes),
      end: () => {
        this.#endedSince ??= this.#clock.now();
        this.#client.closeWrite().catch(() => this.close());
      },
      close: () => this.close(),
    };
  }

  /** Answers by itself, and ends the connection. */
  refuse(status: ProblemStatus, detail: string): void {
    // In the midst of another answer there is nothing to say.
    if (this.#isAnswered || this.#endedSince !== null) return this.close();
    this.#endedSince = this.#clock.now();
    closeQuietly(this.#server);
    this.#write(answer(status, detail)).then(() => this.#client.closeWrite()).catch(() =>
      this.close()
    );
  }

  /** Ends the connection, whatever it carries. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeQuietly(this.#client);
    closeQuietly(this.#server);
    this.#held = [];
    this.#events.closed();
    this.#successor?.closed();
  }

  /** Ends it where it has kept somebody waiting for too long. */
  sweep(now: number): void {
    const { limits: { headMs, idleMs, unreadMs }, refused } = this.#options;
    if (this.#unreadSince !== null) {
      if (now - this.#unreadSince < unreadMs) return;
      refused("unread_answer");
      this.close();
    } else if (this.#endedSince !== null) {
      if (now - this.#endedSince >= LINGER_MS) this.close();
    } else if (this.#successor !== undefined) {
      if (now - this.#quietSince < idleMs) return;
      this.#quietSince = now;
      this.#headBytes = 0;
    } else if (this.#requests > 0) {
      return;
    } else if (this.#headSince !== null) {
      if (now - this.#headSince < headMs) return;
      refused("slow_request");
      this.refuse(408, "The request's head did not come in time.");
    } else if (now - this.#quietSince >= idleMs) {
      refused("idle");
      this.close();
    }
  }

  #expectHead(): void {
    this.#head = "before";
    this.#headBytes = 0;
    this.#headSince = null;
  }

  async #copyFromClient(): Promise<void> {
    // A small answer must not wait until the client has acknowledged the one before.
    this.#client.setNoDelay();
    let buffer = new Uint8Array(FIRST_BUFFER);
    for (;;) {
      const length = await this.#client.read(buffer);
      if (length === null) break;
      // What comes after the end is read all the same: left where it is, it would reset the connection.
      if (this.#endedSince !== null) continue;
      const bytes = buffer.subarray(0, length);
      this.#follow(bytes);
      if (this.#endedSince !== null || this.#isClosed) continue;
      if (this.#successor !== undefined) {
        this.#successor.received(bytes);
      } else if (this.#server === undefined) {
        this.#held.push(bytes.slice());
        if (this.#head === "done") await this.#dial();
      } else {
        await writeAll(this.#server, bytes).catch(() => {});
        buffer = roomFor(buffer, length);
      }
    }
    this.#hasClientEnded = true;
    const isServed = this.#server !== undefined && this.#successor === undefined;
    if (!isServed || this.#endedSince !== null) this.close();
    else await this.#server!.closeWrite();
  }

  /** Follows heads from their first byte to their last, and refuses one that is too long. */
  #follow(bytes: Uint8Array): void {
    const { limits: { headBytes }, refused } = this.#options;
    if (this.#successor !== undefined) this.#headBytes += bytes.length;
    else if (this.#bodies > 0 || this.#head === "done" || this.#head === "unknown") return;
    else if (this.#isFirstByte && !isText(bytes[0])) {
      return this.refuse(400, "This is not HTTP. The API has no TLS: its URL begins with http.");
    } else {
      for (const byte of bytes) {
        this.#headBytes++;
        if (byte === LF) {
          if (this.#head === "line end") this.#head = "done";
          else if (this.#head === "inside") this.#head = "line end";
        } else if (byte !== CR) {
          this.#head = "inside";
          this.#headSince ??= this.#clock.now();
        }
        if (this.#head === "done") return;
      }
    }
    if (this.#headBytes <= headBytes) return;
    refused("too_long");
    this.refuse(431, `The request's head has over ${headBytes} bytes.`);
  }

  get #isFirstByte(): boolean {
    return this.#server === undefined && this.#headBytes === 0;
  }

  /** Hands the first head on, and all that comes after it. */
  async #dial(): Promise<void> {
    const { port, refused } = this.#options;
    const held = this.#held;
    this.#held = [];
    if (startsWithPri(held)) {
      refused("http2");
      return this.refuse(505, "HTTP/2 is not served here; use HTTP/1.1.");
    }
    let server: Deno.TcpConn;
    try {
      server = await Deno.connect({ hostname: "127.0.0.1", port: port() });
    } catch {
      this.#events.exhausted();
      return this.refuse(503, "The node is short of file descriptors; try again.");
    }
    if (this.#isClosed) return closeQuietly(server);
    server.setNoDelay();
    this.#server = server;
    this.#events.dialed(server.localAddr.port);
    this.#copyToClient(server).catch(() => this.close());
    for (const bytes of held) await writeAll(server, bytes).catch(() => {});
  }

  async #copyToClient(server: Deno.TcpConn): Promise<void> {
    let buffer = new Uint8Array(FIRST_BUFFER);
    for (;;) {
      // Deno.serve resets a connection whose request it does not read to the end.
      const length = await server.read(buffer).catch(() => null);
      if (this.#successor !== undefined) return;
      if (length === null) break;
      await this.#write(buffer.subarray(0, length));
      if (this.#successor === undefined) this.#quietSince = this.#clock.now();
      buffer = roomFor(buffer, length);
    }
    if (this.#endedSince !== null) return;
    this.#endedSince = this.#clock.now();
    if (this.#hasClientEnded) this.close();
    else await this.#client.closeWrite();
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      this.#unreadSince = this.#clock.now();
      at += await this.#client.write(bytes.subarray(at));
    }
    this.#unreadSince = null;
  }
}

async function writeAll(socket: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
}

/** A buffer for the next read, after one of `length` bytes. */
function roomFor(buffer: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  const isFull = length === buffer.length && length < LAST_BUFFER;
  return isFull ? new Uint8Array(2 * length) : buffer;
}

function closeQuietly(socket: Deno.TcpConn | undefined): void {
  try {
    socket?.close();
  } catch {
    // It was closed before.
  }
}

/** Whether a request can begin with this byte. */
function isText(byte: number): boolean {
  return byte === CR || byte === LF || byte > 0x20 && byte < 0x7f;
}

/** How a client begins that speaks HTTP/2 without being asked to (RFC 9113, section 3.4). */
function startsWithPri(chunks: readonly Uint8Array[]): boolean {
  const start = chunks.flatMap((chunk) => [...chunk.subarray(0, 4)]).slice(0, 4);
  return String.fromCharCode(...start) === "PRI ";
}

/** A problem document as it goes over the wire. */
function answer(status: ProblemStatus, detail: string): Uint8Array<ArrayBuffer> {
  const problem = new Problem(status, detail);
  const body = JSON.stringify(problem.document);
  const retry = status === 429 || status === 503 ? "retry-after: 1\r\n" : "";
  return new TextEncoder().encode(
    `HTTP/1.1 ${status} ${problem.title}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${body.length}\r\n${retry}connection: close\r\n\r\n${body}`,
  );
}
