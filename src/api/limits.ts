// How much of the API one client may use, and what was refused.

import { type AddressRange, cidrIncludes } from "../krpc/address_range.ts";
import { Endpoint } from "../krpc/endpoint.ts";

/** Clients that are remembered: some 100 bytes each. A flooder of more addresses has that many bursts anyway. */
const MAX_CLIENTS = 4096;

/** Requests at once, in seconds of the steady rate: a script begins with many, a page loads all of its parts. */
export const BURST_S = 10;

/** What was refused since the start, by reason. One object for a node, which its metrics read. */
export interface Refusals {
  /** The Host header was malformed, or not that of the request's target. */
  bad_host: number;
  /** The Host header named another machine (DNS rebinding). */
  foreign_host: number;
  /** A web page of another origin sent it. */
  foreign_origin: number;
  missing_token: number;
  wrong_token: number;
  /** Over API_RATE_LIMIT, over API_SEND_RATE_LIMIT, and too many wrong tokens. */
  request_rate: number;
  send_rate: number;
  token_rate: number;
  /** Connections over API_MAX_CONNECTIONS, over one client's share, and that found no room in the process. */
  connections: number;
  client_connections: number;
  no_descriptors: number;
  /** Connections that were closed: no request for long, one that was not whole in time, or an answer not read. */
  idle: number;
  slow_request: number;
  unread_answer: number;
  /** A request's head, or what a WebSocket's client says, was too long. */
  too_long: number;
  /** HTTP/2, which is not served. */
  http2: number;
}

/** Nothing refused yet. */
export function noRefusals(): Refusals {
  return {
    bad_host: 0,
    foreign_host: 0,
    foreign_origin: 0,
    missing_token: 0,
    wrong_token: 0,
    request_rate: 0,
    send_rate: 0,
    token_rate: 0,
    connections: 0,
    client_connections: 0,
    no_descriptors: 0,
    idle: 0,
    slow_request: 0,
    unread_answer: 0,
    too_long: 0,
    http2: 0,
  };
}

/**
 * A token bucket for each client, as the generic cell rate algorithm (ATM Forum, 1996): one number a client, the time
 * at which its bucket is full again. Of too many clients the one that was idle the longest is forgotten.
 */
export class RateLimiter {
  readonly #fullAt = new Map<string, number>();
  readonly #intervalMs: number;
  readonly #burstMs: number;

  /**
   * @param perSecond requests a second of one client; 0: any number
   * @param burst requests at once
   */
  constructor(readonly perSecond: number, burst = perSecond * BURST_S) {
    this.#intervalMs = 1000 / perSecond;
    this.#burstMs = Math.max(1, burst) * this.#intervalMs;
  }

  /** Milliseconds until `client` may send its next; 0: now. Nothing is counted. */
  waitOf(client: string, now: number): number {
    if (this.perSecond === 0) return 0;
    const fullAt = Math.max(now, this.#fullAt.get(client) ?? now);
    return Math.max(0, fullAt + this.#intervalMs - now - this.#burstMs);
  }

  /** Counts one of `client`, and yields 0; over the limit counts nothing, and yields the milliseconds to wait. */
  take(client: string, now: number): number {
    const wait = this.waitOf(client, now);
    if (wait > 0 || this.perSecond === 0) return wait;
    const fullAt = Math.max(now, this.#fullAt.get(client) ?? now) + this.#intervalMs;
    // Taken out first: a map keeps the order in which entries were added.
    this.#fullAt.delete(client);
    this.#fullAt.set(client, fullAt);
    if (this.#fullAt.size > MAX_CLIENTS) {
      const [idlest] = this.#fullAt.keys();
      this.#fullAt.delete(idlest);
    }
    return 0;
  }

  /** Clients that are remembered. */
  get size(): number {
    return this.#fullAt.size;
  }
}

/** What clients of this address share: all of an IPv6 /64, which one machine has for itself. */
export function clientOf(address: string): string {
  const { family, a, b, host } = Endpoint.parse(address, 0) ?? { host: address };
  return family === 6 ? `${(a! >>> 0).toString(16)}:${(b! >>> 0).toString(16)}/64` : host;
}

/**
 * The address of who asks. That is the connection's, unless that is a trusted proxy's: then the last one in
 * X-Forwarded-For that is not, since each proxy adds whom it was asked by and what stands before may be made up.
 */
export function askerOf(
  connection: string,
  forwardedFor: string | undefined,
  proxies: readonly AddressRange[],
): string {
  const isProxy = (address: string) => {
    const endpoint = Endpoint.parse(address, 0);
    return endpoint !== undefined && proxies.some((proxy) => cidrIncludes(proxy, endpoint));
  };
  let asker = connection;
  const hops = forwardedFor?.split(",") ?? [];
  while (hops.length > 0 && isProxy(asker)) {
    const hop = hops.pop()!.trim().replace(/^\[(.*)\](:\d+)?$/, "$1").replace(
      /^([\d.]+):\d+$/,
      "$1",
    );
    if (Endpoint.parse(hop, 0) === undefined) return asker;
    asker = hop;
  }
  return asker;
}
