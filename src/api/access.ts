// Access control of the API: checks the bearer token, the Host header, the origin, and the request rate of each client.

import type { Context, MiddlewareHandler } from "hono";
import type { Config } from "../config.ts";
import { isLoopbackHost } from "../krpc/address_range.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { askerOf, clientOf, noRefusals, RateLimiter, type Refusals } from "./limits.ts";
import type { TakeOver } from "./front/connection.ts";
import { Problem } from "./problems.ts";

/** Information about a request's connection. Compatible with Deno's ServeHandlerInfo. */
export interface Caller {
  readonly remoteAddr: { readonly hostname: string };
  /** Takes over the request's TCP connection, to stream events over it. Undefined if there is none, as in tests. */
  readonly takeOver?: TakeOver;
}

/** The result of checking a request's token. */
export type TokenState = "none" | "wrong" | "right";

/**
 * Maximum wrong tokens that a client may send at once. It is high, so that an old browser tab doesn't lock out its
 * user.
 */
const WRONG_TOKENS = 60;
const WRONG_TOKENS_PER_SECOND = 1;

/** What each rate limit counts, for error messages. */
const LIMITED = {
  request_rate: "requests",
  send_rate: "requests that send packets",
  token_rate: "wrong tokens",
};

/** Maximum length of a request's URL: more than any request to this API needs, and a common limit of web servers. */
const MAX_TARGET = 8192;

const HOST = /^(?:\[[\da-f:.]+\]|[\w.-]+)(?::\d{1,5})?$/i;

/** What the checks derive from the settings. */
interface Rules {
  readonly config: Config;
  readonly token: string | null;
  readonly hosts: ReadonlySet<string>;
  readonly requests: RateLimiter;
  readonly sends: RateLimiter;
}

function rulesOf(config: Config): Rules {
  return {
    config,
    token: config.apiToken,
    hosts: new Set([config.apiHost, ...config.apiAllowedHosts].map(canonical)),
    requests: new RateLimiter(config.apiRateLimit),
    sends: new RateLimiter(config.apiSendRateLimit),
  };
}

/** The access checks of the API, as Hono middleware. */
export class Access {
  #rules: Rules;
  readonly #refusals: Refusals;
  readonly #now: () => number;
  readonly #open: ReadonlySet<string>;
  readonly #isExposed: boolean;
  readonly #wrongTokens = new RateLimiter(WRONG_TOKENS_PER_SECOND, WRONG_TOKENS);

  /** `open` lists the paths that never need a token. `now` returns the time of a monotonic clock in milliseconds. */
  constructor(
    config: Config,
    open: Iterable<string>,
    refusals: Refusals = noRefusals(),
    now: () => number = () => performance.now(),
  ) {
    this.#refusals = refusals;
    this.#now = now;
    this.#open = new Set(open);
    this.#isExposed = !isLoopbackHost(config.apiHost);
    this.#rules = rulesOf(config);
  }

  /** Checks later requests by other settings. All clients start with full bursts again. */
  reconfigure(config: Config): void {
    this.#rules = rulesOf(config);
  }

  /** The settings in force. */
  get config(): Config {
    return this.#rules.config;
  }

  /**
   * Middleware for all routes: checks the client's request rate, the Host header and the origin. If other machines can
   * reach the API, or a proxy forwarded the request, the token is required too, except for the paths in `open` or if
   * API_OPEN_READS is set. New routes are therefore protected by default.
   */
  readonly check: MiddlewareHandler = async (c, next) => {
    const client = this.#clientOf(c);
    this.#limit("request_rate", this.#rules.requests, client);
    if (c.req.url.length > MAX_TARGET) throw new Problem(414, "The request's target is too long.");
    const token = this.#guess(c.req.raw, client);
    const host = this.#checkHost(c, token);
    if (sentByForeignPage(c, host)) this.#refuseForeignPage();
    const isLocal = !this.#isExposed && client === null && isLoopbackHost(nameOf(host));
    const isOpen = isLocal || this.config.apiOpenReads || this.#open.has(c.req.path);
    if (!isOpen) this.#checkToken(c.req.raw);
    await next();
  };

  /** Middleware for routes that change something or read private data: requires the token, if one is configured. */
  readonly guard: MiddlewareHandler = async (c, next) => {
    this.#checkToken(c.req.raw);
    await next();
  };

  /**
   * Like `guard`, for routes that send packets. Also limits their rate, and refuses links on other sites except to
   * /data/.
   */
  readonly guardSending: MiddlewareHandler = async (c, next) => {
    this.#checkToken(c.req.raw);
    if (navigatesFromElsewhere(c) && !c.req.path.startsWith("/data/")) this.#refuseForeignPage();
    this.#limit("send_rate", this.#rules.sends, this.#clientOf(c));
    await next();
  };

  /**
   * Checks the token in `Authorization`. Web pages can't set that header for a WebSocket, so they may send the token as
   * a subprotocol instead: `bearer.` followed by the token in base64url. If no token is configured, returns "right".
   */
  tokenOf(request: Request): TokenState {
    if (this.#rules.token === null) return "right";
    const given = givenToken(request);
    if (given === undefined) return "none";
    return isEqual(given, this.#rules.token) ? "right" : "wrong";
  }

  /** Like tokenOf, but first refuses clients that have sent too many wrong tokens. */
  #guess(request: Request, client: string | null): TokenState {
    if (client !== null && this.#rules.token !== null && givenToken(request) !== undefined) {
      const wait = this.#wrongTokens.waitOf(client, this.#now());
      if (wait > 0) this.#refuseRate("token_rate", wait);
    }
    const token = this.tokenOf(request);
    if (client !== null && token === "wrong") this.#wrongTokens.take(client, this.#now());
    return token;
  }

  #checkToken(request: Request): void {
    const token = this.tokenOf(request);
    if (token === "right") return;
    this.#refusals[token === "none" ? "missing_token" : "wrong_token"]++;
    const detail = token === "none"
      ? "This request needs a token: send Authorization: Bearer with API_TOKEN."
      : "The Authorization header does not contain this node's API_TOKEN.";
    const error = token === "none" ? "" : ', error="invalid_token"';
    throw new Problem(401, detail, {
      headers: { "www-authenticate": `Bearer realm="dmnode"${error}` },
    });
  }

  /**
   * Returns the requested host, or throws a Problem if the host may be another machine. This prevents DNS rebinding: a
   * web page can make its own domain resolve to this machine and so share the API's origin, but its requests still have
   * that domain in the Host header. A request with the right token may use any host.
   */
  #checkHost(c: Context, token: TokenState): string {
    const host = requestHost(c);
    if (host === undefined) {
      this.#refusals.bad_host++;
      throw new Problem(400, "The Host header is malformed, or names another host than the URL.");
    }
    const name = nameOf(host);
    const isOwn = isLoopbackHost(name) || this.#rules.hosts.has(name) ||
      this.#isExposed && Endpoint.parse(name, 0) !== undefined;
    if (isOwn || this.#rules.token !== null && token === "right") return host;
    this.#refusals.foreign_host++;
    const advice = "use this one's address, or name the host in API_ALLOWED_HOSTS";
    throw new Problem(403, `The Host header names another machine; ${advice}.`);
  }

  /** The client whose rate limits apply to a request; null for programs on this machine, which are not limited. */
  #clientOf(c: Context): string | null {
    const connection = (c.env as Partial<Caller> | undefined)?.remoteAddr?.hostname;
    if (connection === undefined) return null;
    const { apiTrustedProxies } = this.config;
    const asker = askerOf(connection, c.req.header("x-forwarded-for"), apiTrustedProxies);
    return isLoopbackHost(asker) ? null : clientOf(asker);
  }

  #limit(reason: keyof typeof LIMITED, limiter: RateLimiter, client: string | null): void {
    const wait = client === null ? 0 : limiter.take(client, this.#now());
    if (wait > 0) this.#refuseRate(reason, wait);
  }

  #refuseRate(reason: keyof typeof LIMITED, waitMs: number): never {
    this.#refusals[reason]++;
    const seconds = String(Math.ceil(waitMs / 1000));
    const detail = `Too many ${LIMITED[reason]} from your address; try again in ${seconds} s.`;
    throw new Problem(429, detail, { headers: { "retry-after": seconds } });
  }

  #refuseForeignPage(): never {
    this.#refusals.foreign_origin++;
    throw new Problem(403, "Web pages of other origins may not use this API.");
  }
}

/** Compares two tokens. Always compares all characters, so that the time does not reveal where the tokens differ. */
function isEqual(given: string, token: string): boolean {
  let difference = given.length ^ token.length;
  // Beyond the end of `given`, charCodeAt returns NaN, which counts as 0 here.
  for (let i = 0; i < token.length; i++) difference |= given.charCodeAt(i) ^ token.charCodeAt(i);
  return difference === 0;
}

function givenToken(request: Request): string | undefined {
  const header = request.headers.get("authorization");
  // A header that is not a bearer token counts as a wrong token.
  if (header !== null) return /^bearer +(\S+) *$/i.exec(header)?.[1] ?? "";
  const protocols = request.headers.get("sec-websocket-protocol")?.split(",") ?? [];
  const bearer = protocols.map((name) => name.trim()).find((name) => name.startsWith("bearer."));
  return bearer && decodeBase64Url(bearer.slice("bearer.".length));
}

/** Decodes base64url (RFC 4648, section 5). Malformed input becomes an empty string, which is never a valid token. */
function decodeBase64Url(text: string): string {
  try {
    return atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return "";
  }
}

/**
 * Whether a web page of another origin sent this request. Relies only on headers that pages can neither change nor
 * omit.
 */
function sentByForeignPage(c: Context, host: string): boolean {
  const origin = c.req.header("origin");
  if (origin !== undefined) return !isOriginOf(origin, host);
  // Requests for images or scripts have no Origin header, so check Sec-Fetch-Site. Links from other sites are allowed.
  return isFromElsewhere(c) && !navigatesFromElsewhere(c);
}

function isFromElsewhere(c: Context): boolean {
  const site = c.req.header("sec-fetch-site") ?? "none";
  return site !== "none" && site !== "same-origin";
}

/** Whether a user followed a link on a page of another origin. False if the browser only prefetches the link. */
function navigatesFromElsewhere(c: Context): boolean {
  return isFromElsewhere(c) && (c.req.method === "GET" || c.req.method === "HEAD") &&
    c.req.header("sec-fetch-mode") === "navigate" &&
    c.req.header("sec-fetch-dest") === "document" && c.req.header("sec-purpose") === undefined;
}

/** Whether `origin` and `host` have the same host name and port. The scheme is ignored, since a proxy may change it. */
function isOriginOf(origin: string, host: string): boolean {
  // Sandboxed pages and local files send the origin "null", which is not a URL.
  if (!/^https?:\/\//i.test(origin) || !URL.canParse(origin)) return false;
  const { protocol, host: originHost } = new URL(origin);
  return new URL(`${protocol}//${host}`).host === originHost;
}

/** The requested host and port; undefined if malformed, or if the URL and the Host header name different hosts. */
function requestHost(c: Context): string | undefined {
  const url = URL.canParse(c.req.url) ? new URL(c.req.url) : undefined;
  // A request line may contain an absolute URL with any scheme.
  if (url === undefined || !/^https?:$/.test(url.protocol)) return undefined;
  const header = c.req.header("host");
  // If there is no Host header (browsers always send one), the URL contains the server's own address.
  if (header === undefined) return url.host;
  const asUrl = `${url.protocol}//${header}`;
  if (!HOST.test(header) || !URL.canParse(asUrl)) return undefined;
  return new URL(asUrl).host === url.host ? header.toLowerCase() : undefined;
}

/** The name or address in a Host header, without the port. */
function nameOf(host: string): string {
  return canonical(host.replace(/:\d+$/, ""));
}

function canonical(host: string): string {
  const name = host.toLowerCase().replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  return Endpoint.parse(name, 0)?.host ?? name;
}
