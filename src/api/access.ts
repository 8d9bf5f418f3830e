// Access control of the API: checks the bearer token, the Host header, the origin, and the request rate of each client.

import type { Context, MiddlewareHandler } from "hono";
import { type Config, isExposed } from "../config.ts";
import { type ApiToken, permits, type Scope, SCOPES } from "../config/api_tokens.ts";
import { Allowance } from "../dht/allowance.ts";
import { digestHex } from "../digest.ts";
import { isLoopbackHost } from "../krpc/address_range.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import {
  BURST_S,
  clientAddressOf,
  clientOf,
  noRefusals,
  RateLimiter,
  type Refusals,
} from "./limits.ts";
import type { TakeOver } from "./front/connection.ts";
import { Problem } from "./problems.ts";

/** Information about a request's connection. Compatible with Deno's ServeHandlerInfo. */
export interface Caller {
  readonly remoteAddr: { readonly hostname: string };
  /**
   * Takes over the request's TCP connection, to stream events over it. Undefined if the request has no TCP connection,
   * as in tests.
   */
  readonly takeOver?: TakeOver;
}

/** The result of checking a request's token. */
export type TokenState = "none" | "wrong" | "expired" | "right";

/** The sender of a request. `token` is the request's token if the node knows this token. It may have expired. */
interface Asker {
  readonly state: TokenState;
  readonly token?: ApiToken;
}

/**
 * The sender with all rights: the owner of API_TOKEN or, if no tokens are configured, everybody.
 */
const ADMIN: ApiToken = { name: "API_TOKEN", scopes: SCOPES, rate: 0, expiresAt: null, hash: "" };

/** The requirements of a route: their description in the OpenAPI document, and the middleware that checks them. */
export interface Requirement {
  readonly security: Record<string, string[]>[];
  readonly middleware: MiddlewareHandler;
}

/**
 * Maximum number of wrong tokens that a client may send in a burst. It is high, so that an old
 * browser tab doesn't lock out its user.
 */
const WRONG_TOKENS = 60;
const WRONG_TOKENS_PER_SECOND = 1;

/** What each rate limit counts, in words for error messages. */
const LIMITED = {
  request_rate: "requests",
  send_rate: "requests that send packets",
  token_rate: "wrong tokens",
  scoped_rate: "requests",
};

/**
 * Maximum length of a request's URL. It is a common limit of web servers, and no request to this
 * API needs more.
 */
const MAX_TARGET = 8192;

const HOST = /^(?:\[[\da-f:.]+\]|[\w.-]+)(?::\d{1,5})?$/i;

/** The access rules, derived from the settings. */
interface Rules {
  readonly config: Config;
  /** The value of API_TOKEN; null if there is none. */
  readonly token: string | null;
  /** Tokens with scopes, by their hashes. Null if the node has no file of tokens. */
  readonly scoped: ReadonlyMap<string, ApiToken> | null;
  /** The allowance of requests for each token with a rate, by the name of the token. */
  readonly allowances: ReadonlyMap<string, Allowance>;
  readonly hosts: ReadonlySet<string>;
  readonly requests: RateLimiter;
  readonly sends: RateLimiter;
}

function rulesOf(config: Config): Rules {
  return {
    config,
    token: config.apiToken,
    scoped: config.apiTokens && new Map(config.apiTokens.map((token) => [token.hash, token])),
    allowances: new Map(
      config.apiTokens?.filter(({ rate }) => rate > 0)
        .map(({ name, rate }) => [name, new Allowance(rate, BURST_S * rate)]),
    ),
    hosts: new Set([...config.apiHost, ...config.apiAllowedHosts].map(canonical)),
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
  /** The sender of each request, as determined by `check`. */
  readonly #askers = new WeakMap<Request, Asker>();
  /** The requests that may read without a token. */
  readonly #readers = new WeakSet<Request>();

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
    this.#isExposed = isExposed(config.apiHost);
    this.#rules = rulesOf(config);
  }

  /** Applies new settings to all later requests. Every client may send a full burst again. */
  reconfigure(config: Config): void {
    this.#rules = rulesOf(config);
  }

  /** The configuration that currently applies to requests. */
  get config(): Config {
    return this.#rules.config;
  }

  /**
   * Middleware for all routes: checks the rates of requests, the length of the URL, the Host header and the origin. If
   * other machines can reach the API, or a proxy forwarded the request, the token is required too, except for the paths
   * in `open` or if API_OPEN_READS is set. New routes are therefore protected by default. A `Requirement` adds further
   * checks for a route.
   */
  readonly check: MiddlewareHandler = async (c, next) => {
    const client = this.#clientOf(c);
    this.#limit("request_rate", this.#rules.requests, client);
    if (c.req.url.length > MAX_TARGET) throw new Problem(414, "The request's target is too long.");
    const asker = await this.#guess(c.req.raw, client);
    this.#askers.set(c.req.raw, asker);
    const host = this.#checkHost(c, asker.state);
    if (sentByForeignPage(c, host)) this.#refuseForeignPage();
    const isLocal = !this.#isExposed && client === null && isLoopbackHost(nameOf(host));
    const isOpen = isLocal || this.config.apiOpenReads || this.#open.has(c.req.path);
    if (isOpen) this.#readers.add(c.req.raw);
    else this.#checkToken(asker);
    this.#limitToken(asker);
    await next();
  };

  /**
   * The requirement of routes with public reports. They need a token only if `check` requires one.
   */
  open(scope: Scope): Requirement {
    return this.#require(scope, async (c, next) => {
      if (!this.#readers.has(c.req.raw)) this.checkScope(c, scope);
      await next();
    });
  }

  /**
   * The requirement of routes that change something or read private data. They need a token if one
   * is configured.
   */
  private(scope: Scope): Requirement {
    return this.#require(scope, async (c, next) => {
      this.checkScope(c, scope);
      await next();
    });
  }

  /**
   * The requirement of routes that make the node send packets. They need a token like `private` routes, and the request
   * rate of each client is limited. Links on other sites may only lead to such routes under /data/.
   */
  sending(scope: Scope): Requirement {
    return this.#require(scope, async (c, next) => {
      this.checkScope(c, scope);
      if (navigatesFromElsewhere(c) && !c.req.path.startsWith("/data/")) this.#refuseForeignPage();
      this.#limit("send_rate", this.#rules.sends, this.#clientOf(c));
      await next();
    });
  }

  #require(scope: Scope, middleware: MiddlewareHandler): Requirement {
    return { security: [{ bearer: [scope] }, {}], middleware };
  }

  /** The name of the token that a request was sent with, for the log; undefined if there is none. */
  nameOf(request: Request): string | undefined {
    return this.#askers.get(request)?.token?.name;
  }

  /**
   * Checks the token in `Authorization`. Web pages can't set that header for a WebSocket, so they
   * may send the token as a subprotocol instead: `bearer.` followed by the token in base64url. If
   * no token is configured, every sender has all rights.
   */
  async askerOf(request: Request): Promise<Asker> {
    const { token, scoped } = this.#rules;
    if (token === null && scoped === null) return { state: "right" };
    const given = givenToken(request);
    if (given === undefined) return { state: "none" };
    if (token !== null && isEqual(given, token)) return { state: "right", token: ADMIN };
    const found = scoped?.get(await digestHex("SHA-256", given));
    if (found === undefined) return { state: "wrong" };
    const isExpired = found.expiresAt !== null && found.expiresAt <= Date.now();
    return { state: isExpired ? "expired" : "right", token: found };
  }

  /** Like askerOf, but first refuses clients that have sent too many wrong tokens. */
  async #guess(request: Request, client: string | null): Promise<Asker> {
    if (client !== null && this.#hasTokens && givenToken(request) !== undefined) {
      const wait = this.#wrongTokens.waitOf(client, this.#now());
      if (wait > 0) this.#refuseRate("token_rate", wait);
    }
    const asker = await this.askerOf(request);
    if (client !== null && asker.state === "wrong") this.#wrongTokens.take(client, this.#now());
    return asker;
  }

  get #hasTokens(): boolean {
    return this.#rules.token !== null || this.#rules.scoped !== null;
  }

  #checkToken({ state, token }: Asker): void {
    if (state === "right") return;
    this.#refusals[state === "none" ? "missing_token" : "wrong_token"]++;
    const details = {
      none: "This request needs a token: send Authorization: Bearer with API_TOKEN.",
      wrong: "The Authorization header does not contain this node's API_TOKEN.",
      expired: `The token ${token?.name} has expired.`,
    };
    const error = state === "none" ? "" : ', error="invalid_token"';
    throw new Problem(401, details[state], {
      headers: { "www-authenticate": `Bearer realm="dmnode"${error}` },
    });
  }

  /** Refuses a request that has no valid token, or whose token lacks the scope. `check` must have run. */
  checkScope(c: Context, scope: Scope): void {
    const asker = this.#askers.get(c.req.raw);
    if (asker === undefined) throw new Error("check has not run");
    this.#checkToken(asker);
    const { token = ADMIN } = asker;
    if (permits(token, scope)) return;
    this.#refusals.missing_scope++;
    const error = `error="insufficient_scope", scope="${scope}"`;
    throw new Problem(403, `The token ${token.name} lacks the scope ${scope}.`, {
      headers: { "www-authenticate": `Bearer realm="dmnode", ${error}` },
    });
  }

  /** Limits the request rate of each token, which all senders with this token share. */
  #limitToken({ state, token }: Asker): void {
    const allowance = state === "right" && token && this.#rules.allowances.get(token.name);
    if (!allowance || allowance.take(this.#now())) return;
    this.#refuseRate("scoped_rate", allowance.waitFor(this.#now()));
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
    if (isOwn || this.#hasTokens && token === "right") return host;
    this.#refusals.foreign_host++;
    const advice = "use this one's address, or name the host in API_ALLOWED_HOSTS";
    throw new Problem(403, `The Host header names another machine; ${advice}.`);
  }

  /** The client whose rate limits apply to a request; null for programs on this machine, which are not limited. */
  #clientOf(c: Context): string | null {
    const connection = (c.env as Partial<Caller> | undefined)?.remoteAddr?.hostname;
    if (connection === undefined) return null;
    const { apiTrustedProxies } = this.config;
    const forwardedFor = c.req.header("x-forwarded-for");
    const address = clientAddressOf(connection, forwardedFor, apiTrustedProxies);
    return isLoopbackHost(address) ? null : clientOf(address);
  }

  #limit(reason: keyof typeof LIMITED, limiter: RateLimiter, client: string | null): void {
    const wait = client === null ? 0 : limiter.take(client, this.#now());
    if (wait > 0) this.#refuseRate(reason, wait);
  }

  #refuseRate(reason: keyof typeof LIMITED, waitMs: number): never {
    this.#refusals[reason]++;
    const seconds = String(Math.ceil(waitMs / 1000));
    const source = reason === "scoped_rate" ? "with this token" : "from your address";
    const detail = `Too many ${LIMITED[reason]} ${source}; try again in ${seconds} s.`;
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
  // An Authorization header that contains no bearer token counts as a wrong token.
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
  // A request line may contain an absolute URL with any scheme, so accept only http and https.
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
