// Limits the API's connections, because Deno.serve can't. Deno.serve only sees clients that sent a complete request
// head.

import { clientOf, type Refusals } from "../limits.ts";
import type { ProblemStatus } from "../problems.ts";
import { type ClientSocket, Connection, type ConnectionLimits } from "./connection.ts";

/** Returns the limits for at most `connections` open connections. One client may have a quarter of this number. */
export function connectionLimits(
  connections: number,
  bodyBytes: ConnectionLimits["bodyBytes"] = () => Infinity,
): ConnectionLimits {
  return {
    connections,
    clientConnections: Math.ceil(connections / 4),
    // The default of Apache (RequestReadTimeout).
    headMs: 20_000,
    // Close to the default of nginx (keepalive_timeout, 75 s).
    idleMs: 60_000,
    // The default of nginx (send_timeout).
    unreadMs: 60_000,
    // The default of nginx (large_client_header_buffers). Browsers send a few kilobytes.
    headBytes: 32_768,
    bodyBytes,
  };
}

/** A clock with timers, which tests can replace. */
export interface Clock {
  /** The time of a monotonic clock in milliseconds. */
  now(): number;
  /** Runs `task` every `ms` milliseconds until the returned function is called. */
  every(ms: number, task: () => void): () => void;
}

const REAL_CLOCK: Clock = {
  now: () => performance.now(),
  every(ms, task) {
    const timer = setInterval(task, ms);
    return () => clearInterval(timer);
  },
};

/** The interval at which the deadlines of connections are checked. */
const SWEEP_MS = 1000;
/** Minimum number of connections to allow, even if the process is short of file descriptors. */
const MIN_CONNECTIONS = 8;
/** The pause before connections are accepted again after file descriptors have run out. */
const RETRY_MS = 100;
/** Maximum number of refused connections that are being sent an error. Further ones are closed without a response. */
const MAX_REFUSED = 64;
/** Maximum attempts to find a local port that no earlier request and no other program uses. */
const MAX_DIALS = 8;

/**
 * How long to avoid a local port that another program has used. By then, all requests of that program have been read.
 */
const IMPOSTOR_MS = 60_000;

const LOOPBACK = "127.0.0.1";

/** The address of a client. A client at a Unix socket has the address of this machine. */
function addressOf({ remoteAddr }: ClientSocket): string {
  return remoteAddr.transport === "tcp" ? remoteAddr.hostname : LOOPBACK;
}

export interface FrontOptions {
  readonly listeners: readonly (Deno.TcpListener | Deno.UnixListener)[];
  /** Returns the loopback address and the port on which Deno.serve currently listens. */
  readonly server: () => { readonly hostname: string; readonly port: number };
  readonly limits: ConnectionLimits;
  readonly refused: (reason: keyof Refusals) => void;
  /** Whether many clients may share the address, such as that of this machine or of a proxy. */
  readonly isShared: (address: string) => boolean;
  readonly clock?: Clock;
}

/** Accepts and tracks the connections of the API. */
export class Front {
  readonly #options: FrontOptions;
  readonly #clock: Clock;
  /** The client of each open connection; null if many clients may share the connection's address. */
  readonly #all = new Map<Connection, string | null>();
  /** Connections that are waiting for a request, starting with the one that has waited longest. */
  readonly #waiting = new Set<Connection>();
  readonly #refused = new Set<Connection>();
  /** Connections by their local port towards Deno.serve. A connection stays here until its requests end. */
  readonly #byPort = new Map<number, Connection>();
  /**
   * The local ports from which other programs sent requests to Deno.serve, each with the time of the latest request.
   * More such requests may still arrive.
   */
  readonly #impostors = new Map<number, number>();
  readonly #byClient = new Map<string, number>();
  #stopSweeping: (() => void) | undefined;
  /** The current maximum of open connections: the configured limit, or less while file descriptors are scarce. */
  #capacity: number;
  #isStopped = false;
  #onDrained: (() => void) | undefined;

  constructor(options: FrontOptions) {
    this.#options = options;
    this.#clock = options.clock ?? REAL_CLOCK;
    this.#capacity = options.limits.connections;
    for (const listener of options.listeners) void this.#accept(listener);
  }

  /** The number of open connections, not counting refused ones. */
  get size(): number {
    return this.#all.size;
  }

  /** The connection of a request; undefined if another program on this machine sent the request to Deno.serve. */
  connectionOf(request: Request, { hostname, port }: Deno.NetAddr): Connection | undefined {
    if (hostname !== this.#options.server().hostname) return undefined;
    const connection = this.#byPort.get(port);
    if (connection?.owns(request)) return connection.isServed ? connection : undefined;
    this.#impostors.set(port, this.#clock.now());
    connection?.close();
    return undefined;
  }

  /** Stops accepting connections, and closes the idle ones. */
  stop(): void {
    this.#isStopped = true;
    for (const listener of this.#options.listeners) listener.close();
    for (const connection of [...this.#waiting]) if (connection.isIdle) connection.close();
  }

  /** Resolves when no connection is left. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#onDrained = resolve;
      this.#checkDrained();
    });
  }

  /** Closes every connection. */
  cut(): void {
    for (const connection of [...this.#refused, ...this.#all.keys()]) connection.close();
  }

  /**
   * Halves the maximum number of connections. Call this if the process or the system has run out of
   * file descriptors, of which each connection needs up to three. Afterwards, each check of the
   * deadlines raises the maximum by one.
   */
  noteExhausted(): void {
    this.#options.refused("no_descriptors");
    const half = Math.ceil(Math.min(this.#capacity, this.#all.size) / 2);
    this.#capacity = Math.max(MIN_CONNECTIONS, half);
    while (this.#all.size > this.#capacity && this.#makeRoom());
  }

  async #accept(listener: Deno.TcpListener | Deno.UnixListener): Promise<void> {
    for (;;) {
      let socket: ClientSocket;
      try {
        socket = await listener.accept();
      } catch (error) {
        if (this.#isStopped) return;
        if (error instanceof Deno.errors.ConnectionAborted) continue;
        this.noteExhausted();
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        continue;
      }
      this.#admit(socket);
    }
  }

  #admit(socket: ClientSocket): void {
    const { limits, refused, isShared } = this.#options;
    const hostname = addressOf(socket);
    const client = isShared(hostname) ? null : clientOf(hostname);
    const ofClient = client === null ? 0 : this.#byClient.get(client) ?? 0;
    if (ofClient >= limits.clientConnections) {
      refused("client_connections");
      return this.#refuse(socket, 429, "Too many connections from your address.");
    }
    if (this.#all.size >= this.#capacity && !this.#makeRoom()) {
      refused("connections");
      return this.#refuse(socket, 503, "Too many connections; try again.");
    }
    if (client !== null) this.#byClient.set(client, ofClient + 1);
    const connection = this.#connection(socket);
    this.#all.set(connection, client);
    this.#waiting.add(connection);
    connection.run();
  }

  #connection(socket: ClientSocket): Connection {
    const { limits, refused } = this.#options;
    this.#stopSweeping ??= this.#clock.every(SWEEP_MS, () => this.#sweep());
    return new Connection(socket, addressOf(socket), {
      limits,
      refused,
      now: () => this.#clock.now(),
      dial: () => this.#dial(),
      changed: (connection) => this.#update(connection),
    });
  }

  /** Closes the connection that has waited longest for a request. Returns false if none is waiting. */
  #makeRoom(): boolean {
    for (const connection of this.#waiting) {
      if (!connection.isIdle) continue;
      this.#options.refused("idle");
      connection.close();
      return true;
    }
    return false;
  }

  #refuse(socket: ClientSocket, status: ProblemStatus, detail: string): void {
    if (this.#refused.size >= MAX_REFUSED) return socket.close();
    const connection = this.#connection(socket);
    this.#refused.add(connection);
    connection.run();
    connection.refuse(status, detail);
  }

  /** Connects to Deno.serve from a local port that can't be mistaken for that of an earlier connection. */
  async #dial(): Promise<Deno.TcpConn> {
    // Keep these sockets open until a usable port is found, so that the system assigns a different port each time.
    const unusable: Deno.TcpConn[] = [];
    try {
      for (;;) {
        const socket = await Deno.connect(this.#options.server());
        const { port } = socket.localAddr;
        const impostorAt = this.#impostors.get(port) ?? -Infinity;
        const isUsable = this.#clock.now() - impostorAt >= IMPOSTOR_MS && !this.#byPort.has(port);
        if (isUsable) return socket;
        unusable.push(socket);
        if (unusable.length === MAX_DIALS) throw new Error("no port is free");
      }
    } catch (error) {
      this.noteExhausted();
      throw error;
    } finally {
      for (const socket of unusable) socket.close();
    }
  }

  #update(connection: Connection): void {
    if (connection.isClosed) return this.#forget(connection);
    if (connection.isServed) this.#byPort.set(connection.serverPort, connection);
    if (connection.isInHand) this.#waiting.delete(connection);
    else this.#waiting.add(connection);
  }

  #forget(connection: Connection): void {
    const client = this.#all.get(connection);
    this.#all.delete(connection);
    this.#waiting.delete(connection);
    this.#refused.delete(connection);
    if (!connection.isInHand) this.#byPort.delete(connection.serverPort);
    if (typeof client === "string") {
      const remaining = this.#byClient.get(client)! - 1;
      if (remaining > 0) this.#byClient.set(client, remaining);
      else this.#byClient.delete(client);
    }
    this.#checkDrained();
  }

  #checkDrained(): void {
    if (this.#all.size + this.#refused.size > 0) return;
    this.#stopSweeping?.();
    this.#stopSweeping = undefined;
    this.#onDrained?.();
  }

  #sweep(): void {
    const now = this.#clock.now();
    this.#capacity = Math.min(this.#options.limits.connections, this.#capacity + 1);
    for (const connection of [...this.#refused, ...this.#all.keys()]) connection.sweep(now);
  }
}
