// Limits on bodies, rate limits for each client, and counters of refused requests and connections.

import { AllowancePerKey } from "../dht/allowance.ts";
import { type AddressRange, cidrIncludes } from "../krpc/address_range.ts";
import { Endpoint } from "../krpc/endpoint.ts";

/** Maximum number of clients to remember, at some 100 bytes each. Forgotten clients get their full burst again. */
const MAX_CLIENTS = 4096;

/**
 * Default burst: the requests that the rate allows in this many seconds. Scripts and pages send
 * many requests when they start.
 */
export const BURST_S = 10;

/** Maximum bytes of a JSON body. Escapes can double the size of a value, and the other members need some space. */
export function jsonBodyLimit(maxValueSize: number): number {
  return 2 * maxValueSize + 4096;
}

/** Maximum bytes of a body of this content type. */
export function bodyLimit(contentType: string, maxValueSize: number): number {
  return /^application\/json\b/i.test(contentType) ? jsonBodyLimit(maxValueSize) : maxValueSize;
}

/** Reasons for refusing a request or a connection. */
const REASONS = [
  // The Host header is malformed, or differs from the host in the request's URL.
  "bad_host",
  // The Host header names another machine (DNS rebinding).
  "foreign_host",
  "foreign_origin",
  "missing_token",
  "wrong_token",
  // The next three reasons: a client exceeded API_RATE_LIMIT or API_SEND_RATE_LIMIT, or sent too many wrong tokens.
  "request_rate",
  "send_rate",
  "token_rate",
  // The token lacks the scope that the request needs, or was used for more requests than its rate allows.
  "missing_scope",
  "scoped_rate",
  // Connections refused because of API_MAX_CONNECTIONS, the limit for each client, or a lack of file descriptors.
  "connections",
  "client_connections",
  "no_descriptors",
  // Connections closed because no request arrived, the request arrived too slowly, or the client did not read the
  // response.
  "idle",
  "slow_request",
  "unread_answer",
  // The head of a request, or the data from a WebSocket client, is too long.
  "too_long",
  "http2",
] as const;

/**
 * The numbers of requests and connections that were refused since the start, by reason. The whole API shares one
 * object.
 */
export type Refusals = Record<typeof REASONS[number], number>;

export function noRefusals(): Refusals {
  return Object.fromEntries(REASONS.map((reason) => [reason, 0])) as Refusals;
}

/** Limits the rate of each client's requests. */
export class RateLimiter {
  readonly #clients: AllowancePerKey;

  /** `perSecond` is the maximum rate of each client; 0 means no limit. */
  constructor(readonly perSecond: number, burst = perSecond * BURST_S) {
    this.#clients = new AllowancePerKey(perSecond, Math.max(1, burst), MAX_CLIENTS);
  }

  /** Milliseconds until `client` may send its next request; 0 if it may send one now. Counts no request. */
  waitOf(client: string, now: number): number {
    return this.perSecond === 0 ? 0 : this.#clients.waitFor(client, now);
  }

  /**
   * Counts a request and returns 0. If the client is over its limit, counts nothing and returns the
   * milliseconds to wait.
   */
  take(client: string, now: number): number {
    if (this.perSecond === 0 || this.#clients.take(client, now)) return 0;
    return this.#clients.waitFor(client, now);
  }

  get size(): number {
    return this.#clients.size;
  }
}

/**
 * The name of the client at an address. A whole IPv6 /64 is one client, as a single machine can use all of its
 * addresses.
 */
export function clientOf(address: string): string {
  const { family, a, b, host } = Endpoint.parse(address, 0) ?? { host: address };
  return family === 6 ? `${(a! >>> 0).toString(16)}:${(b! >>> 0).toString(16)}/64` : host;
}

/** Whether `address` is in one of the ranges. */
export function isWithin(ranges: readonly AddressRange[], address: string): boolean {
  const endpoint = Endpoint.parse(address, 0);
  return endpoint !== undefined && ranges.some((range) => cidrIncludes(range, endpoint));
}

/**
 * The client's address. If the connection comes from a trusted proxy, this is the last address in X-Forwarded-For that
 * does not belong to a trusted proxy. Each proxy appends the address of its own client. Clients can forge the earlier
 * addresses.
 */
export function clientAddressOf(
  connection: string,
  forwardedFor: string | undefined,
  proxies: readonly AddressRange[],
): string {
  let address = connection;
  const hops = forwardedFor?.split(",") ?? [];
  while (hops.length > 0 && isWithin(proxies, address)) {
    const hop = hops.pop()!.trim().replace(/^\[(.*)\](:\d+)?$/, "$1").replace(
      /^([\d.]+):\d+$/,
      "$1",
    );
    if (Endpoint.parse(hop, 0) === undefined) return address;
    address = hop;
  }
  return address;
}
