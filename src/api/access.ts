// Who may use the API: the bearer token, the hosts it is asked for, browsers that other sites have sent, and how much
// one client may ask.

import { createHash, timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import type { Config } from "../config.ts";
import { isLoopbackHost } from "../krpc/address_range.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { askerOf, clientOf, noRefusals, RateLimiter, type Refusals } from "./limits.ts";
import type { Subscribe } from "./front_thread.ts";
import { Problem } from "./problems.ts";

/** What the checks need of the configuration. */
export type AccessRules = Pick<
  Config,
  | "apiHost"
  | "apiToken"
  | "apiOpenReads"
  | "apiAllowedHosts"
  | "apiRateLimit"
  | "apiSendRateLimit"
  | "apiTrustedProxies"
>;

/** What a server hands on with each request, in the form of Deno's ServeHandlerInfo. */
export interface Caller {
  readonly remoteAddr: { readonly hostname: string };
  /** For those who listen to events. */
  readonly subscribe?: Subscribe;
}

/** What a request says about the token. */
export type TokenState = "none" | "wrong" | "right";

/** Wrong tokens that one client may send at once, and then a second: a forgotten tab does not lock its owner out. */
const WRONG_TOKENS = 60, WRONG_TOKENS_PER_SECOND = 1;

/** Longer ones carry nothing that this API takes; servers behind proxies often take 8 kB as well. */
const MAX_TARGET = 8192;

const HOST = /^(?:\[[\da-f:.]+\]|[\w.-]+)(?::\d{1,5})?$/i;

/** The checks of one API, as middleware. */
export class Access {
  readonly #rules: AccessRules;
  readonly #refusals: Refusals;
  readonly #now: () => number;
  readonly #open: ReadonlySet<string>;
  readonly #token: Uint8Array | null;
  readonly #hosts: ReadonlySet<string>;
  readonly #isExposed: boolean;
  readonly #requests: RateLimiter;
  readonly #sends: RateLimiter;
  readonly #wrongTokens = new RateLimiter(WRONG_TOKENS_PER_SECOND, WRONG_TOKENS);

  /**
   * @param open paths that need no token wherever the API listens
   * @param refusals where refusals are counted
   * @param now milliseconds of a clock that never goes back
   */
  constructor(
    rules: AccessRules,
    open: Iterable<string>,
    refusals: Refusals = noRefusals(),
    now: () => number = () => performance.now(),
  ) {
    this.#rules = rules;
    this.#refusals = refusals;
    this.#now = now;
    this.#open = new Set(open);
    this.#token = rules.apiToken === null ? null : digest(rules.apiToken);
    this.#hosts = new Set([rules.apiHost, ...rules.apiAllowedHosts].map(canonical));
    this.#isExposed = !isLoopbackHost(rules.apiHost);
    this.#requests = new RateLimiter(rules.apiRateLimit);
    this.#sends = new RateLimiter(rules.apiSendRateLimit);
  }

  /**
   * For all routes: the client's rate, the host, the origin, and, where others than this machine reach the API or a
   * proxy brings them, the token. A route that is added without a thought is therefore closed to them.
   */
  readonly check: MiddlewareHandler = async (c, next) => {
    const client = this.#clientOf(c);
    this.#limit("request_rate", this.#requests, client);
    if (c.req.url.length > MAX_TARGET) throw new Problem(414, "The request's target is too long.");
    const token = this.#guess(c.req.raw, client);
    const host = this.#checkHost(c, token);
    if (sentByForeignPage(c, host)) this.#refuseForeignPage();
    const isLocal = !this.#isExposed && client === null && isLoopbackHost(nameOf(host));
    const isOpen = isLocal || this.#rules.apiOpenReads || this.#open.has(c.req.path);
    if (!isOpen) this.#checkToken(c.req.raw);
    await next();
  };

  /** For routes that change something, or tell what only the node's owner should know: the token where one is set. */
  readonly guard: MiddlewareHandler = async (c, next) => {
    this.#checkToken(c.req.raw);
    await next();
  };

  /** For routes that send packets: the token, and the tighter rate. Of pages elsewhere, only links to values lead here. */
  readonly guardSending: MiddlewareHandler = async (c, next) => {
    this.#checkToken(c.req.raw);
    if (navigatesFromElsewhere(c) && !c.req.path.startsWith("/data/")) this.#refuseForeignPage();
    this.#limit("send_rate", this.#sends, this.#clientOf(c));
    await next();
  };

  /**
   * What a request says about the token: in `Authorization`, or, since pages can't set that header for a WebSocket, in
   * the subprotocol `bearer.` with the token in base64url after it. "right" too where the node asks for none.
   */
  tokenOf(request: Request): TokenState {
    if (this.#token === null) return "right";
    const given = givenToken(request);
    if (given === undefined) return "none";
    // Digests have one length, so the comparison takes one time whatever was sent.
    return timingSafeEqual(digest(given), this.#token) ? "right" : "wrong";
  }

  /** As tokenOf, but a client that has sent too many wrong ones is not told whether this one is right. */
  #guess(request: Request, client: string | null): TokenState {
    if (client !== null && this.#token !== null && givenToken(request) !== undefined) {
      const wait = this.#wrongTokens.waitOf(client, this.#now());
      if (wait > 0) this.#refuseRate("token_rate", wait);
    }
    const token = this.tokenOf(request);
    if (client !== null && token === "wrong") this.#wrongTokens.take(client, this.#now());
    return token;
  }

  #checkToken(request: Request): void {
    const challenge = 'Bearer realm="dmnode"';
    switch (this.tokenOf(request)) {
      case "right":
        return;
      case "none":
        this.#refusals.missing_token++;
        throw new Problem(
          401,
          "This request needs a token: send Authorization: Bearer with API_TOKEN.",
          {},
          { "www-authenticate": challenge },
        );
      case "wrong":
        this.#refusals.wrong_token++;
        throw new Problem(
          401,
          "The Authorization header does not carry this node's API_TOKEN.",
          {},
          {
            "www-authenticate": `${challenge}, error="invalid_token"`,
          },
        );
    }
  }

  /**
   * The host that is asked for. Through DNS rebinding a web page can have its own name lead to this machine, and is then
   * of one origin with the API; but browsers send that name. An address in its place can't be rebound. Who knows the
   * token is no such page, whatever the name.
   */
  #checkHost(c: Context, token: TokenState): string {
    const host = requestHost(c);
    if (host === undefined) {
      this.#refusals.bad_host++;
      throw new Problem(400, "The Host header is malformed, or not that of the request's target.");
    }
    const name = nameOf(host);
    const isOwn = isLoopbackHost(name) || this.#hosts.has(name) ||
      this.#isExposed && Endpoint.parse(name, 0) !== undefined;
    if (isOwn || this.#token !== null && token === "right") return host;
    this.#refusals.foreign_host++;
    throw new Problem(
      403,
      "The Host header names another machine; use this one's address, or name the host in " +
        "API_ALLOWED_HOSTS.",
    );
  }

  /** The client for whom is counted; null for this machine itself, which can do without the API what it likes. */
  #clientOf(c: Context): string | null {
    const connection = (c.env as Partial<Caller> | undefined)?.remoteAddr?.hostname;
    if (connection === undefined) return null;
    const { apiTrustedProxies } = this.#rules;
    const asker = askerOf(connection, c.req.header("x-forwarded-for"), apiTrustedProxies);
    return isLoopbackHost(asker) ? null : clientOf(asker);
  }

  #limit(reason: "request_rate" | "send_rate", limiter: RateLimiter, client: string | null): void {
    const wait = client === null ? 0 : limiter.take(client, this.#now());
    if (wait > 0) this.#refuseRate(reason, wait);
  }

  #refuseRate(reason: "request_rate" | "send_rate" | "token_rate", waitMs: number): never {
    this.#refusals[reason]++;
    const what = {
      request_rate: "requests",
      send_rate: "requests that send packets",
      token_rate: "wrong tokens",
    }[reason];
    const seconds = Math.ceil(waitMs / 1000);
    throw new Problem(429, `Too many ${what} from your address; try again in ${seconds} s.`, {}, {
      "retry-after": String(seconds),
    });
  }

  #refuseForeignPage(): never {
    this.#refusals.foreign_origin++;
    throw new Problem(403, "Web pages of other origins may not use this API.");
  }
}

function digest(token: string): Uint8Array {
  return createHash("sha256").update(token).digest();
}

function givenToken(request: Request): string | undefined {
  const header = request.headers.get("authorization");
  // Whatever else stands there is a token too, and a wrong one.
  if (header !== null) return /^bearer +(\S+) *$/i.exec(header)?.[1] ?? "";
  const protocols = request.headers.get("sec-websocket-protocol")?.split(",") ?? [];
  const bearer = protocols.map((name) => name.trim()).find((name) => name.startsWith("bearer."));
  return bearer && decodeBase64Url(bearer.slice("bearer.".length));
}

/** The text of base64url (RFC 4648, section 5); empty, which is no token, where it is none. */
function decodeBase64Url(text: string): string {
  try {
    return atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return "";
  }
}

/** Whether a browser sent this for a page of another origin; only what it lets pages neither set nor leave out counts. */
function sentByForeignPage(c: Context, host: string): boolean {
  const origin = c.req.header("origin");
  if (origin !== undefined) return !isOriginOf(origin, host);
  // Images, frames and scripts send no Origin. Navigation is let through: a link should open.
  return isFromElsewhere(c) && !navigatesFromElsewhere(c);
}

function isFromElsewhere(c: Context): boolean {
  const site = c.req.header("sec-fetch-site") ?? "none";
  return site !== "none" && site !== "same-origin";
}

/** Somebody followed a link on a page of another origin. What a browser loads ahead, nobody has followed. */
function navigatesFromElsewhere(c: Context): boolean {
  return isFromElsewhere(c) && (c.req.method === "GET" || c.req.method === "HEAD") &&
    c.req.header("sec-fetch-mode") === "navigate" &&
    c.req.header("sec-fetch-dest") === "document" && c.req.header("sec-purpose") === undefined;
}

/** Whether pages of `origin` came from `host`; which of http and https it was, a proxy decides. */
function isOriginOf(origin: string, host: string): boolean {
  // "null", from sandboxed pages and files, is no URL.
  if (!/^https?:\/\//i.test(origin) || !URL.canParse(origin)) return false;
  const { protocol, host: originHost } = new URL(origin);
  return new URL(`${protocol}//${host}`).host === originHost;
}

/** The host and port that a request is for; undefined where that is malformed, or told in two ways. */
function requestHost(c: Context): string | undefined {
  const url = URL.canParse(c.req.url) ? new URL(c.req.url) : undefined;
  // A target in absolute form may be of any scheme.
  if (url === undefined || !/^https?:$/.test(url.protocol)) return undefined;
  const header = c.req.header("host");
  // Browsers always send one; the server then puts its own address into the URL.
  if (header === undefined) return url.host;
  const asUrl = `${url.protocol}//${header}`;
  if (!HOST.test(header) || !URL.canParse(asUrl)) return undefined;
  return new URL(asUrl).host === url.host ? header.toLowerCase() : undefined;
}

/** The name or address in a Host header. */
function nameOf(host: string): string {
  return canonical(host.replace(/:\d+$/, ""));
}

/** A host name or address in the one form that is compared. */
function canonical(host: string): string {
  const name = host.toLowerCase().replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  return Endpoint.parse(name, 0)?.host ?? name;
}
