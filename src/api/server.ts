// The API as it is served: behind a front in a thread of its own, and stopped without cutting off the requests in hand.

import type { Config } from "../config.ts";
import type { AddressRange } from "../krpc/address_range.ts";
import type { Caller } from "./access.ts";
import type { EventOutlet } from "./event_feed.ts";
import { type ConnectionLimits, connectionLimits } from "./front.ts";
import { type FrontError, FrontThread, type RemoteConnection } from "./front_thread.ts";
import { noRefusals, type Refusals } from "./limits.ts";
import { Problem } from "./problems.ts";

/** A listening API. */
export interface ApiServer {
  /** For people and for `--api`: real port, IPv6 hosts in brackets. */
  readonly url: string;
  readonly port: number;
  /** Resolves where the front's thread ends by itself: then nobody reaches the API any more. */
  readonly failed: Promise<FrontError>;
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
  /** The front's thread, where it is started already. */
  readonly front?: FrontThread;
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
  /** Tells there what happens from now on. */
  attach?(events: EventOutlet): void;
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
export async function serveApi(app: ServedApp, options: ServeOptions): Promise<ApiServer> {
  const { hostname, port, trustedProxies = [], front = FrontThread.start() } = options;
  const { limits = connectionLimits(MAX_CONNECTIONS), refusals = noRefusals() } = options;
  front.onRefused = (reason) => refusals[reason]++;
  app.attach?.(front);
  const inner = new Inner(app, front);
  const proxies = trustedProxies.map(({ address, prefix }) => [address.host, prefix] as const);
  let realPort: number;
  try {
    realPort = await front.listen({ hostname, port, limits, proxies, serverPort: inner.port });
  } catch (error) {
    app.endStreams?.();
    front.close();
    await inner.shutdown();
    throw error;
  }
  return {
    url: `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${realPort}`,
    port: realPort,
    failed: front.failed,
    async close(graceMs = CLOSE_GRACE_MS) {
      app.endStreams?.();
      front.stop();
      const closed = inner.shutdown();
      await waitFor(Promise.race([closed, inner.drained()]), graceMs);
      inner.giveUp();
      await waitFor(front.drained, FLUSH_MS);
      front.cut();
      await waitFor(front.drained, FLUSH_MS);
      front.close();
      await waitFor(closed, FLUSH_MS);
    },
  };
}

/** Deno.serve behind the front, on a port of its own. */
class Inner {
  readonly #app: ServedApp;
  readonly #front: FrontThread;
  readonly #inHand = new Set<(answer: Response) => void>();
  #server: Deno.HttpServer<Deno.NetAddr>;
  #onDrained: (() => void) | undefined;
  #isClosing = false;

  constructor(app: ServedApp, front: FrontThread) {
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
        this.#front.serve(this.port);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #answer(request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>): Promise<Response> {
    return new Promise((resolve, reject) => {
      this.#inHand.add(resolve);
      this.#fetch(request, info).then(resolve, reject).finally(() => {
        this.#inHand.delete(resolve);
        if (this.#inHand.size === 0) this.#onDrained?.();
      });
    });
  }

  async #fetch(
    request: Request,
    { remoteAddr, completed }: Deno.ServeHandlerInfo<Deno.NetAddr>,
  ): Promise<Response> {
    const connection = await this.#front.connectionAt(remoteAddr.port);
    if (connection === undefined) {
      // Another program of this machine, which goes round the limits.
      return new Problem(403, "The API is at another port.").toResponse();
    }
    const done = connection.begin(request);
    completed.then(done, done);
    return await this.#app.fetch(request, callerOf(connection));
  }
}

function callerOf(connection: RemoteConnection): Caller {
  return {
    remoteAddr: { hostname: connection.address },
    subscribe: (to, events) => connection.subscribe(to, events),
  };
}

/** Waits for `promise`, however it ends, but no longer than `ms`. */
async function waitFor(promise: Promise<unknown>, ms: number): Promise<void> {
  const { promise: timeout, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise.catch(() => {}), timeout]);
  clearTimeout(timer);
}
