// Serves the API on TCP and Unix sockets: a front limits the connections, and Deno.serve handles the requests.

import type { Config } from "../config.ts";
import { type AddressRange, isLoopbackHost } from "../krpc/address_range.ts";
import { bindFailure } from "../runtime/net/bind_failure.ts";
import { isAbsent, LOOPBACKS, presentLoopback } from "../runtime/net/loopback.ts";
import type { Caller } from "./access.ts";
import { ListenError } from "./errors.ts";
import type { ConnectionLimits } from "./front/connection.ts";
import { type Clock, connectionLimits, Front } from "./front/front.ts";
import { bodyLimit, isWithin, noRefusals, type Refusals } from "./limits.ts";
import { Problem } from "./problems.ts";

/** A server's addresses, limits, counters and clock. */
export interface ServeOptions {
  /** The addresses and names to listen at. `localhost` means both loopback addresses. */
  readonly hostnames: readonly string[];
  readonly port: number;
  /** A Unix socket that is open already, and its path. */
  readonly socket?: { readonly listener: Deno.UnixListener; readonly path: string };
  readonly limits?: ConnectionLimits;
  /** Addresses of trusted proxies, whose connections may carry the requests of many clients. */
  readonly trustedProxies?: readonly AddressRange[];
  readonly refusals?: Refusals;
  readonly clock?: Clock;
}

/** Derives the server's options from a node's configuration. */
export function serveOptions(config: Config): ServeOptions {
  return {
    hostnames: config.apiHost,
    port: config.apiPort,
    limits: connectionLimits(
      config.apiMaxConnections,
      (type) => bodyLimit(type, config.maxValueSize),
    ),
    trustedProxies: config.apiTrustedProxies,
  };
}

/** The app that answers the server's requests. */
export interface ServedApp {
  fetch(request: Request, caller: Caller): Response | Promise<Response>;
  /** Ends the responses that would otherwise continue until their clients leave. */
  endStreams?(): void;
}

/** Default time for requests to finish when the API closes. The whole node should stop within a second. */
const CLOSE_GRACE_MS = 700;
/** Maximum time to send the last responses. Some Deno versions would wait forever for silent connections. */
const FLUSH_MS = 500;
/** Pause between attempts to start Deno.serve again. */
const RETRY_MS = 100;
/** Default limit on connections, the same as the default of API_MAX_CONNECTIONS. */
const MAX_CONNECTIONS = 1000;

/** Serves `app`. Throws a ListenError if the port is taken or forbidden, or the address is not this machine's. */
export function serveApi(app: ServedApp, options: ServeOptions): ApiServer {
  return new ApiServer(app, options);
}

/** An open socket, and its URL. */
interface OpenSocket {
  readonly listener: Deno.TcpListener | Deno.UnixListener;
  readonly url: string;
}

/** Listens at all hosts, at the same port. @throws {ListenError} */
function listen(hosts: readonly string[], given: number): { sockets: OpenSocket[]; port: number } {
  const sockets: OpenSocket[] = [];
  let port = given, host = "";
  try {
    for (host of hosts) {
      for (const { hostname, listener } of listenAt(host, port)) {
        port = listener.addr.port;
        const address = hostname.includes(":") ? `[${hostname}]` : hostname;
        sockets.push({ listener, url: `http://${address}:${port}` });
      }
    }
    return { sockets, port: sockets.length === 0 ? 0 : port };
  } catch (error) {
    for (const { listener } of sockets) listener.close();
    throw new ListenError(bindFailure(error, { prefix: "API", host, port: given }));
  }
}

/** Checks whether a node could listen at all hosts. @throws {ListenError} */
export function checkHosts(hosts: readonly string[], port: number): void {
  for (const { listener } of listen(hosts, port).sockets) listener.close();
}

/**
 * Listens at a host. `localhost` means both loopback addresses, or only one of them if this machine lacks the other
 * one.
 */
function listenAt(host: string, port: number) {
  const isBoth = host === "localhost", isLoopback = LOOPBACKS.some((one) => one === host);
  const others = isLoopback ? LOOPBACKS.filter((other) => other !== host) : [];
  const opened: { readonly hostname: string; readonly listener: Deno.TcpListener }[] = [];
  let absent: unknown;
  for (const hostname of isBoth ? LOOPBACKS : [host, ...others]) {
    try {
      const listener = Deno.listen({ hostname, port: opened[0]?.listener.addr.port ?? port });
      opened.push({ hostname, listener });
      if (!isBoth) break;
    } catch (error) {
      absent ??= error;
      if (isAbsent(error)) continue;
      for (const { listener } of opened) listener.close();
      throw error;
    }
  }
  if (opened.length === 0) throw absent;
  return opened;
}

/**
 * A running server of the API. Runs Deno.serve on a local port, and answers only the requests that the front forwards.
 */
export class ApiServer {
  /** URLs to show to users and to pass to `--api`. They have the actual port, and brackets around IPv6 addresses. */
  readonly urls: readonly string[];
  /** The TCP port; 0 if there is only a Unix socket. */
  readonly port: number;
  readonly #app: ServedApp;
  readonly #front: Front;
  /** For each request in progress, the function that ends the request with a response. */
  readonly #inHand = new Set<(answer: Response) => void>();
  #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #loopback = presentLoopback();
  #onDrained = () => {};
  #isClosing = false;

  constructor(app: ServedApp, options: ServeOptions) {
    const { hostnames, socket, trustedProxies = [], refusals = noRefusals(), clock } = options;
    const { sockets, port } = listen(hostnames, options.port);
    if (socket !== undefined) {
      sockets.push({ listener: socket.listener, url: `unix:${socket.path}` });
    }
    this.port = port;
    this.urls = sockets.map(({ url }) => url);
    this.#app = app;
    this.#server = this.#serve();
    this.#front = new Front({
      listeners: sockets.map(({ listener }) => listener),
      server: () => this.#server.addr,
      limits: options.limits ?? connectionLimits(MAX_CONNECTIONS),
      refused: (reason) => refusals[reason]++,
      isShared: (address) => isLoopbackHost(address) || isWithin(trustedProxies, address),
      clock,
    });
  }

  /** The first URL at which the API listens. */
  get url(): string {
    return this.urls[0];
  }

  /** Stops accepting connections, and gives requests `graceMs` to finish. Unfinished requests are answered with 503. */
  async close(graceMs = CLOSE_GRACE_MS): Promise<void> {
    this.#isClosing = true;
    this.#app.endStreams?.();
    this.#front.stop();
    // During the shutdown, Deno.serve closes each connection once its request is done.
    const closed = this.#server.shutdown();
    const answered = new Promise<void>((resolve) => this.#onDrained = resolve);
    if (this.#inHand.size > 0) await waitFor(Promise.race([closed, answered]), graceMs);
    // An abort signal can't be used here: Deno throws if the signal fires after a shutdown has begun.
    for (const answer of this.#inHand) {
      answer(new Problem(503, "The node is stopping.").toResponse());
    }
    const drained = this.#front.drained();
    await waitFor(drained, FLUSH_MS);
    this.#front.cut();
    await waitFor(Promise.all([drained, closed]), FLUSH_MS);
  }

  #serve(): Deno.HttpServer<Deno.NetAddr> {
    const server = Deno.serve({
      hostname: this.#loopback,
      port: 0,
      onListen: () => {},
      onError: () => new Problem(500, "The node failed to handle this request.").toResponse(),
    }, (request, info) => this.#answer(request, info));
    // Deno.serve stops permanently when file descriptors run out, so start it again.
    server.finished.catch(() => this.#restart());
    return server;
  }

  async #restart(): Promise<void> {
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

  #answer(
    request: Request,
    { remoteAddr, completed }: Deno.ServeHandlerInfo<Deno.NetAddr>,
  ): Response | Promise<Response> {
    const connection = this.#front.connectionOf(request, remoteAddr);
    if (connection === undefined) {
      const headers = { connection: "close" };
      return new Problem(403, "The API is at another port.", { headers }).toResponse();
    }
    const done = connection.begin(request);
    completed.then(done, done);
    const caller: Caller = {
      remoteAddr: { hostname: connection.address },
      takeOver: (successor) => connection.takeOver(successor),
    };
    return new Promise((resolve, reject) => {
      this.#inHand.add(resolve);
      (async () => await this.#app.fetch(request, caller))().then(resolve, reject).finally(() => {
        this.#inHand.delete(resolve);
        if (this.#inHand.size === 0) this.#onDrained();
      });
    });
  }
}

/** Waits until `promise` settles, but at most `ms` milliseconds. */
async function waitFor(promise: Promise<unknown>, ms: number): Promise<void> {
  const { promise: timeout, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise.catch(() => {}), timeout]);
  clearTimeout(timer);
}
