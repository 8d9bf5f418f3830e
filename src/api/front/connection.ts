// A client's connection: its phases and their deadlines, and the copying of bytes between the client and Deno.serve.

import { accepts } from "../accept.ts";
import type { Refusals } from "../limits.ts";
import { Problem, type ProblemStatus } from "../problems.ts";
import { joined, RequestHead } from "./request_head.ts";

/** Limits on the connections as a whole, and on each single connection. */
export interface ConnectionLimits {
  /** Maximum open connections. At the limit, the connection that has waited longest for a request is closed. */
  readonly connections: number;
  /** Maximum open connections of one client. An IPv6 /64 counts as one client. */
  readonly clientConnections: number;
  /** Maximum time between the first and the last byte of a request head. */
  readonly headMs: number;
  /**
   * Maximum time from the end of a request to the start of the next one, and from opening a connection to the start
   * of its first request.
   */
  readonly idleMs: number;
  /** The longest time for which a client may read nothing of a response. */
  readonly unreadMs: number;
  /** Maximum bytes of a request's head. A WebSocket client may also send at most this many bytes within `idleMs`. */
  readonly headBytes: number;
  /** Maximum bytes of a body of this content type. */
  readonly bodyBytes: (contentType: string) => number;
}

/** The limits, the clock and the callbacks that the front provides to a connection. */
export interface ConnectionHost {
  readonly limits: ConnectionLimits;
  /** The time of a monotonic clock in milliseconds. */
  now(): number;
  refused(reason: keyof Refusals): void;
  /** Connects to Deno.serve. Rejects if the process is out of file descriptors. */
  dial(): Promise<Deno.TcpConn>;
  /** Called when a connection reaches Deno.serve, begins a request, has no more requests in progress, or is closed. */
  changed(connection: Connection): void;
}

/** Handles a connection in place of Deno.serve, after taking it over. */
export interface Successor {
  /** Receives bytes from the client. The buffer is reused after the call. */
  received(bytes: Uint8Array): void;
  closed(): void;
}

/** A connection that was taken over from Deno.serve. The limits on unread and on received bytes still apply. */
export type TakenConnection = Pick<Connection, "write" | "end" | "close">;

/** Takes a request's connection over from Deno.serve. */
export type TakeOver = (successor: Successor) => TakenConnection;

/** The phases of a connection, in order. A connection can be closed in any phase. */
type Phase =
  /** The head of the first request is still incomplete, so its bytes are held back from Deno.serve. */
  | { readonly kind: "head"; held: Uint8Array }
  /** Bytes are copied between the client and Deno.serve. */
  | { readonly kind: "served"; readonly server: Deno.TcpConn; hasClientEnded: boolean }
  /**
   * Another handler, the successor, has taken over the connection from Deno.serve. `received` is the number of bytes
   * from the client since the time `since`.
   */
  | { readonly kind: "taken"; readonly successor: Successor; since: number; received: number }
  /**
   * The last bytes have been written. The client has a moment to read them and to close the
   * connection.
   */
  | { readonly kind: "lingering"; readonly since: number; readonly successor?: Successor }
  | { readonly kind: "closed" };

/**
 * The maximum time for which a connection lingers. If it were closed while the client is still sending, the response
 * would be lost before the client reads it.
 */
const LINGER_MS = 2000;
/** Initial and maximum buffer size in bytes. Most connections are idle and need little; buffers of busy ones grow. */
const FIRST_BUFFER = 4096, LAST_BUFFER = 65_536;

/** A client's socket. */
export type ClientSocket = Deno.TcpConn | Deno.UnixConn;

/** A client's connection. Once its first request head is complete, it is paired with a connection to Deno.serve. */
export class Connection {
  readonly address: string;
  /** The local port of the connection to Deno.serve; 0 before there is one. */
  serverPort = 0;
  /** A secret that is sent to Deno.serve with the first request, to prove that the front opened the connection. */
  readonly #proof = crypto.randomUUID();
  readonly #client: ClientSocket;
  readonly #host: ConnectionHost;
  readonly #head = new RequestHead();
  #phase: Phase = { kind: "head", held: new Uint8Array() };
  #isProven = false;
  /** The number of requests that Deno.serve is handling. `#bodies` is the number of these requests that have a body. */
  #requests = 0;
  #bodies = 0;
  /**
   * The length of the latest request's body in bytes; Infinity for a chunked body. `#bodyArrived` is the number of
   * these bytes that have arrived.
   */
  #bodyLength = 0;
  #bodyArrived = 0;
  /** Whether the latest request asked for an event stream, which ends when the client closes its side. */
  #isListener = false;
  /** The later of two times: when the latest request ended, and when a part of a response was last sent. */
  #quietSince: number;
  /** The time since which the client has read nothing of a response; null if no bytes are waiting to be read. */
  #unreadSince: number | null = null;

  /**
   * `address` is the client's address. Programs at a Unix socket count as having a loopback
   * address.
   */
  constructor(client: ClientSocket, address: string, host: ConnectionHost) {
    this.address = address;
    this.#client = client;
    this.#host = host;
    this.#quietSince = host.now();
  }

  /** Whether the connection can be closed without interrupting a request or its response. */
  get isIdle(): boolean {
    return !this.#head.isComplete && !this.#isAnswered;
  }

  /** Whether Deno.serve is still handling a request of this connection. */
  get isInHand(): boolean {
    return this.#requests > 0;
  }

  get #isAnswered(): boolean {
    return this.isInHand || this.#unreadSince !== null || this.#phase.kind === "taken";
  }

  get isClosed(): boolean {
    return this.#phase.kind === "closed";
  }

  /** Copies the client's bytes until the connection ends. */
  run(): void {
    this.#copyFromClient().catch(() => this.close());
  }

  get isServed(): boolean {
    return this.#phase.kind === "served";
  }

  /** Whether a request from `serverPort` came over this connection. The first request must carry the proof. */
  owns({ headers }: Request): boolean {
    return this.#isProven ||= headers.get(PROOF_HEADER)?.split(",", 1)[0] === this.#proof;
  }

  /**
   * Records that Deno.serve has begun to handle a request. Returns the function to call when it has
   * finished.
   */
  begin({ headers }: Request): () => void {
    this.#bodyLength = headers.has("transfer-encoding")
      ? Infinity
      : Number(headers.get("content-length"));
    this.#bodyArrived = this.#head.bytesAfter;
    this.#isListener = accepts(headers.get("accept"), "text/event-stream");
    const hasBody = this.#bodyLength > 0;
    this.#requests++;
    if (hasBody) this.#bodies++;
    this.#head.expect();
    this.#forwardEnd();
    this.#host.changed(this);
    return () => {
      this.#requests--;
      if (hasBody) this.#bodies--;
      this.#quietSince = this.#host.now();
      if (hasBody) this.#head.lose();
      // The client could not send the next head while this request was being handled, so restart the head's time limit.
      this.#head.restart(this.#quietSince);
      this.#forwardEnd();
      if (this.#requests === 0) this.#host.changed(this);
    };
  }

  /** Takes the connection over from Deno.serve, whose response is discarded. The idle limit then no longer applies. */
  takeOver(successor: Successor): TakenConnection {
    const isOpen = this.#phase.kind === "served";
    this.#leaveServer();
    if (isOpen) this.#phase = { kind: "taken", successor, since: this.#host.now(), received: 0 };
    // Call `closed` later, since the successor is still being constructed.
    else queueMicrotask(() => successor.closed());
    return this;
  }

  /** Answers with an error, bypassing Deno.serve, and ends the connection. */
  refuse(status: ProblemStatus, detail: string): void {
    // Don't write this response into the middle of another one.
    const hasEnded = this.#phase.kind === "lingering" || this.#phase.kind === "closed";
    if (this.#isAnswered || hasEnded) return this.close();
    this.#linger();
    this.write(answerText(status, detail)).then(() => this.#client.closeWrite()).catch(() =>
      this.close()
    );
  }

  close(): void {
    const phase = this.#phase;
    if (phase.kind === "closed") return;
    this.#leaveServer();
    this.#phase = { kind: "closed" };
    closeQuietly(this.#client);
    this.#host.changed(this);
    if (phase.kind === "taken" || phase.kind === "lingering") phase.successor?.closed();
  }

  /**
   * Ends the connection if a deadline has passed. After a takeover, restarts the count of received bytes every
   * `idleMs`.
   */
  sweep(now: number): void {
    const { limits: { headMs, idleMs, unreadMs }, refused } = this.#host;
    const phase = this.#phase;
    if (this.#unreadSince !== null) {
      if (now - this.#unreadSince < unreadMs) return;
      refused("unread_answer");
      this.close();
    } else if (phase.kind === "lingering") {
      if (now - phase.since >= LINGER_MS) this.close();
    } else if (phase.kind === "taken") {
      if (now - phase.since < idleMs) return;
      phase.since = now;
      phase.received = 0;
    } else if (this.isInHand) {
      return;
    } else if (this.#head.since !== null) {
      if (now - this.#head.since < headMs) return;
      refused("slow_request");
      this.refuse(408, "The request's head did not arrive in time.");
    } else if (now - this.#quietSince >= idleMs) {
      refused("idle");
      this.close();
    }
  }

  async #copyFromClient(): Promise<void> {
    // Disable Nagle's algorithm: a small response must not wait until the client acknowledges the previous one.
    if ("setNoDelay" in this.#client) this.#client.setNoDelay();
    let buffer = new Uint8Array(FIRST_BUFFER);
    for (let length; (length = await this.#client.read(buffer)) !== null;) {
      const bytes = buffer.subarray(0, length);
      if (!this.#isWithinLimits(bytes)) continue;
      const phase = this.#phase;
      switch (phase.kind) {
        case "head":
          phase.held = joined(phase.held, bytes);
          if (this.#head.isComplete) await this.#serve(phase.held);
          break;
        case "served":
          await writeAll(phase.server, bytes).catch(() => {});
          buffer = roomFor(buffer, length);
          break;
        case "taken":
          phase.successor.received(bytes);
          break;
          // Read a lingering connection too: closing it with unread bytes would reset it, and the client could lose
          // the response.
      }
    }
    if (this.#phase.kind !== "served") return this.close();
    this.#phase.hasClientEnded = true;
    this.#forwardEnd();
  }

  /**
   * If the client has closed its side, closes our side of the connection to Deno.serve. Deno.serve
   * then drops the request in progress. So if that request has arrived in full, our side stays open
   * until the response is complete.
   */
  #forwardEnd(): void {
    const phase = this.#phase;
    if (phase.kind !== "served" || !phase.hasClientEnded) return;
    const isComplete = this.#bodyArrived >= this.#bodyLength && !this.#isListener;
    const isPending = this.isInHand ? isComplete : this.#head.isComplete;
    if (!isPending) phase.server.closeWrite().catch(() => this.close());
  }

  /**
   * Refuses a client that sends too much data, or data that is not HTTP. Returns whether the bytes may be forwarded.
   */
  #isWithinLimits(bytes: Uint8Array): boolean {
    const { limits: { headBytes }, refused, now } = this.#host;
    const phase = this.#phase, head = this.#head;
    let length: number;
    if (phase.kind === "taken") length = phase.received += bytes.length;
    else if (phase.kind !== "head" && phase.kind !== "served") return false;
    else if (this.#bodies > 0) {
      this.#bodyArrived += bytes.length;
      return true;
    } else if (phase.kind === "head" && head.bytes === 0 && !isText(bytes[0])) {
      this.refuse(400, "This is not HTTP. The API has no TLS: its URL begins with http.");
      return false;
    } else length = head.read(bytes, now);
    if (length <= headBytes) return true;
    refused("too_long");
    this.refuse(431, `The request's head has over ${headBytes} bytes.`);
    return false;
  }

  /** Connects to Deno.serve, and forwards the bytes that were held back. */
  async #serve(held: Uint8Array): Promise<void> {
    // This is the beginning of an HTTP/2 connection that was not negotiated (RFC 9113, section 3.4).
    if (String.fromCharCode(...held.subarray(0, 4)) === "PRI ") {
      this.#host.refused("http2");
      return this.refuse(505, "HTTP/2 is not supported; use HTTP/1.1.");
    }
    const problem = problemOf(held, this.#host.limits);
    if (problem !== undefined) return this.refuse(problem.status, problem.detail);
    let server: Deno.TcpConn;
    try {
      server = await this.#host.dial();
    } catch {
      return this.refuse(503, "The node is short of file descriptors; try again.");
    }
    if (this.#phase.kind !== "head") return closeQuietly(server);
    this.#phase = { kind: "served", server, hasClientEnded: false };
    this.serverPort = server.localAddr.port;
    this.#host.changed(this);
    this.#copyToClient(server).catch(() => this.close());
    await writeAll(server, withProof(held, this.#proof)).catch(() => {});
  }

  async #copyToClient(server: Deno.TcpConn): Promise<void> {
    server.setNoDelay();
    let buffer = new Uint8Array(FIRST_BUFFER);
    for (;;) {
      // Treat an error as the end of the response: Deno.serve resets a connection if it has not read the whole request.
      const length = await server.read(buffer).catch(() => null);
      if (this.#phase.kind !== "served") return;
      if (length === null) break;
      await this.write(buffer.subarray(0, length));
      this.#quietSince = this.#host.now();
      buffer = roomFor(buffer, length);
    }
    if (this.#phase.hasClientEnded) this.close();
    else this.end();
  }

  /** Writes to the client. Resolves when the system has accepted the bytes, or rejects. Calls must not overlap. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#unreadSince = this.#host.now();
    let written = await this.#client.write(bytes);
    while (written < bytes.length) {
      this.#unreadSince = this.#host.now();
      written += await this.#client.write(bytes.subarray(written));
    }
    this.#unreadSince = null;
  }

  /** Closes the connection once the client has read everything and closed its side, or after LINGER_MS. */
  end(): void {
    if (this.#phase.kind === "lingering" || this.#phase.kind === "closed") return;
    this.#linger();
    this.#client.closeWrite().catch(() => this.close());
  }

  #linger(): void {
    const successor = this.#phase.kind === "taken" ? this.#phase.successor : undefined;
    this.#leaveServer();
    this.#phase = { kind: "lingering", since: this.#host.now(), successor };
  }

  #leaveServer(): void {
    if (this.#phase.kind === "served") closeQuietly(this.#phase.server);
  }
}

async function writeAll(socket: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
}

/**
 * Returns the buffer for the next read. If the previous read filled `buffer` with its `length` bytes, the returned
 * buffer is twice as large.
 */
function roomFor(buffer: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  const isFull = length === buffer.length && length < LAST_BUFFER;
  return isFull ? new Uint8Array(2 * length) : buffer;
}

function closeQuietly(socket: ClientSocket): void {
  try {
    socket.close();
  } catch {
    // Ignore the error: the socket was already closed.
  }
}

/**
 * Returns a problem of a connection's first request that Deno.serve would not notice. Deno.serve accepts HTTP/1.1
 * without Host (RFC 9112, section 3.2). If a client sends `Expect: 100-continue`, Deno.serve requests the body even if
 * the body is too large.
 */
function problemOf(held: Uint8Array, { bodyBytes }: ConnectionLimits): Problem | undefined {
  const [head] = new TextDecoder("latin1").decode(held).trimStart().split(/\r?\n\r?\n/, 1);
  const header = (name: string) => new RegExp(`^${name}:(.*)$`, "im").exec(head)?.[1].trim();
  if (/^\S+ \S+ HTTP\/1\.1(\s|$)/.test(head) && header("host") === undefined) {
    return new Problem(400, "The Host header is missing.");
  }
  const limit = bodyBytes(header("content-type") ?? "");
  const isTooLarge = header("expect") !== undefined && Number(header("content-length")) > limit;
  return isTooLarge ? new Problem(413, `The body is over ${limit} bytes.`) : undefined;
}

const CR = 0x0d, LF = 0x0a;

/** Whether a request can begin with this byte. */
function isText(byte: number): boolean {
  return byte === CR || byte === LF || byte > 0x20 && byte < 0x7f;
}

/** Header with the secret that proves that a request came through the front. */
const PROOF_HEADER = "x-dmnode-connection";

/** Inserts the proof into the request head as the first header, before any header of that name from the client. */
function withProof(held: Uint8Array, proof: string): Uint8Array {
  const header = new TextEncoder().encode(`${PROOF_HEADER}: ${proof}\r\n`);
  // Blank lines may come before the request line (RFC 9112, section 2.2).
  const start = held.findIndex((byte) => byte !== CR && byte !== LF);
  const lineEnd = held.indexOf(LF, start) + 1;
  return joined(joined(held.subarray(0, lineEnd), header), held.subarray(lineEnd));
}

/** An error response: a problem document (RFC 9457) with its HTTP head. */
function answerText(status: ProblemStatus, detail: string): Uint8Array<ArrayBuffer> {
  const problem = new Problem(status, detail);
  const body = JSON.stringify(problem.document);
  const retry = status === 429 || status === 503 ? "retry-after: 1\r\n" : "";
  return new TextEncoder().encode(
    `HTTP/1.1 ${status} ${problem.document.title}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${body.length}\r\n${retry}connection: close\r\n\r\n${body}`,
  );
}
