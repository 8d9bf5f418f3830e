// The API's socket: listens, and stops without cutting off the requests in hand.

import { type AddressRange, cidrIncludes, type Config, isLoopbackHost } from "../config.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import type { Caller } from "./access.ts";
import {
  type Clock,
  type Connection,
  type ConnectionLimits,
  connectionLimits,
  Front,
} from "./front.ts";
import { noRefusals, type Refusals } from "./limits.ts";
import { Problem } from "./problems.ts";

/** The API can't listen where it was told to. The message is one line for the user. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** A listening API. */
export interface ApiServer {
  /** For people and for `--api`: real port, IPv6 hosts in brackets. */
  readonly url: string;
  readonly port: number;
  /** Takes no more connections, waits for the requests in hand up to `graceMs`, then answers 503. */
  close(graceMs?: number): Promise<void>;
}

/** Where and how the API is served. */
export interface ServeOptions {
  readonly hostname: string;
  readonly port: number;
  readonly limits?: ConnectionLimits;
  /** Proxies, whose connections carry the requests of many clients. */
  readonly trustedProxies?: readonly AddressRange[];
  /** Where refusals are counted. */
  readonly refusals?: Refusals;
  readonly clock?: Clock;
}

/** What a node's configuration says of its API's socket. */
export function serveOptions(config: Config): ServeOptions {
  return {
    hostname: config.apiHost,
    port: config.apiPort,
    limits: connectionLimits(config.apiMaxConnections),
    trustedProxies: config.apiTrustedProxies,
  };
}

/** What is served; `caller` tells who asks. */
export interface ServedApp {
  fetch(request: Request, caller: Caller): Response | Promise<Response>;
  /** Ends all that would go on for as long as the client likes. */
  endStreams?(): void;
}

/** Leaves time for saving state within the 5 s that a stopping node has. */
const CLOSE_GRACE_MS = 2000;
/** For the last answers to reach their clients; some Deno versions wait for silent connections without end. */
const FLUSH_MS = 500;
/** Until Deno.serve is tried again where it could not go on. */
const RETRY_MS = 100;
/** As API_MAX_CONNECTIONS is by default. */
const MAX_CONNECTIONS = 1000;

/**
 * Serves `app` on a TCP socket, through a front that keeps slow and greedy clients from it.
 *
 * @throws {ListenError} where the port is taken, forbidden, or not this machine's
 */
export function serveApi(app: ServedApp, options: ServeOptions): ApiServer {
  const { hostname, port, clock } = options;
  const { limits = connectionLimits(MAX_CONNECTIONS), refusals = noRefusals() } = options;
  let listener: Deno.TcpListener;
  try {
    listener = Deno.listen({ hostname, port });
  } catch (error) {
    throw new ListenError(reason(error, hostname, port), { cause: error });
  }
  const { addr } = listener;
  const proxies = options.trustedProxies ?? [];
  const isShared = (address: string) => isLoopbackHost(address) || isIn(proxies, address);
  const front: Front = new Front({
    listener,
    port: () => inner.port,
    limits,
    refusals,
    isShared,
    clock,
  });
  const inner = new Inner(app, front);
  return {
    url: `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${addr.port}`,
    port: addr.port,
    async close(graceMs = CLOSE_GRACE_MS) {
      app.endStreams?.();
      front.stop();
      const closed = inner.shutdown();
      await waitFor(Promise.race([closed, inner.drained()]), graceMs);
      inner.giveUp();
      await waitFor(front.drained(), FLUSH_MS);
      front.cut();
      await waitFor(closed, FLUSH_MS);
    },
  };
}

/** Deno.serve behind the front, on a port of its own. */
class Inner {
  readonly #app: ServedApp;
  readonly #front: Front;
  readonly #inHand = new Set<(answer: Response) => void>();
  #server: Deno.HttpServer<Deno.NetAddr>;
  #onDrained: (() => void) | undefined;
  #isClosing = false;

  constructor(app: ServedApp, front: Front) {
    this.#app = app;
    this.#front = front;
    this.#server = this.#serve();
  }

  get port(): number {
    return this.#server.addr.port;
  }

  /** Ends connections as their requests are done. */
  shutdown(): Promise<void> {
    this.#isClosing = true;
    return this.#server.shutdown();
  }

  /** Once no request is in hand. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#onDrained = resolve;
      if (this.#inHand.size === 0) resolve();
    });
  }

  /** Answers all requests in hand that the node is stopping. */
  giveUp(): void {
    // An abort signal can't do this: Deno throws when it fires after a shutdown began.
    for (const resolve of this.#inHand) {
      resolve(new Problem(503, "The node is stopping.").toResponse());
    }
  }

  #serve(): Deno.HttpServer<Deno.NetAddr> {
    const server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      onListen: () => {},
      onError: () => new Problem(500, "The node failed to handle this request.").toResponse(),
    }, (request, info) => this.#answer(request, info));
    // One connection that finds the process out of file descriptors ends Deno.serve for good.
    server.finished.catch(() => this.#again());
    return server;
  }

  async #again(): Promise<void> {
    if (!this.#isClosing) this.#front.noteExhausted();
    while (!this.#isClosing) {
      try {
        this.#server = this.#serve();
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #answer(request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>): Promise<Response> {
    const connection = this.#front.from(info.remoteAddr.port);
    if (connection === undefined) {
      // Another program of this machine, which goes round the limits.
      return Promise.resolve(new Problem(403, "The API is at another port.").toResponse());
    }
    const done = connection.begin(request);
    info.completed.then(done, done);
    return new Promise((resolve, reject) => {
      this.#inHand.add(resolve);
      this.#fetch(request, connection).then(resolve, reject).finally(() => {
        this.#inHand.delete(resolve);
        if (this.#inHand.size === 0) this.#onDrained?.();
      });
    });
  }

  async #fetch(request: Request, connection: Connection): Promise<Response> {
    return await this.#app.fetch(request, {
      remoteAddr: { hostname: connection.address },
      takeOver: (successor) => connection.takeOver(successor),
    });
  }
}

function isIn(ranges: readonly AddressRange[], address: string): boolean {
  const endpoint = Endpoint.parse(address, 0);
  return endpoint !== undefined && ranges.some((range) => cidrIncludes(range, endpoint));
}

/** Waits for `promise`, however it ends, but no longer than `ms`. */
async function waitFor(promise: Promise<unknown>, ms: number): Promise<void> {
  const { promise: timeout, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise.catch(() => {}), timeout]);
  clearTimeout(timer);
}

function reason(error: unknown, hostname: string, port: number): string {
  const where = `API_HOST ${hostname}, API_PORT ${port}`;
  if (error instanceof Deno.errors.AddrInUse) {
    return `${where}: the port is in use; stop the other program or choose another with --api-port`;
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return `${where}: this machine has no such address; choose another with --api-host`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `${where}: not permitted; ports below 1024 need privileges, choose another with --api-port`;
  }
  const message = error instanceof Error ? error.message : String(error);
  return `${where}: can't listen: ${message.split("\n")[0]}`;
}
