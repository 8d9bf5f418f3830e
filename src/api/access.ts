// Who may use the API: the bearer token, and browsers that other sites have sent.

import { createHash, timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { isLoopbackHost } from "../config.ts";
import { Problem } from "./problems.ts";

/** What the checks need of the configuration. */
export interface AccessRules {
  readonly apiToken: string | null;
}

/**
 * Refuses requests for a host that is not this machine, which is how DNS rebinding lets a web page read the API.
 *
 * With a token the check is left out: a reverse proxy may pass its own name on, and a page doesn't know the token.
 */
export function checkHost({ apiToken }: AccessRules): MiddlewareHandler {
  return async (c, next) => {
    const host = requestHost(c);
    const name = host.replace(/:\d*$/, "").replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
    if (apiToken === null && !isLoopbackHost(name)) {
      throw new Problem(
        403,
        "The Host header names another machine; use 127.0.0.1 or localhost, or set API_TOKEN.",
      );
    }
    await next();
  };
}

/** Guards a route that changes or sends something: no foreign web page, and the token where one is set. */
export function checkCaller({ apiToken }: AccessRules): MiddlewareHandler {
  const wanted = apiToken === null ? null : digest(apiToken);
  return async (c, next) => {
    if (sentByForeignPage(c)) {
      throw new Problem(403, "Web pages of other origins may not use this API.");
    }
    if (wanted !== null) checkToken(c, wanted);
    await next();
  };
}

function checkToken(c: Context, wanted: Uint8Array): void {
  const header = c.req.header("authorization");
  const given = /^bearer +(\S+) *$/i.exec(header ?? "")?.[1];
  // Digests have one length, so the comparison takes one time whatever was sent.
  if (given !== undefined && timingSafeEqual(digest(given), wanted)) return;
  const challenge = 'Bearer realm="dmnode"';
  throw header === undefined
    ? new Problem(
      401,
      "This request needs a token: send Authorization: Bearer with API_TOKEN.",
      {},
      {
        "www-authenticate": challenge,
      },
    )
    : new Problem(401, "The Authorization header does not carry this node's API_TOKEN.", {}, {
      "www-authenticate": `${challenge}, error="invalid_token"`,
    });
}

function digest(token: string): Uint8Array {
  return createHash("sha256").update(token).digest();
}

function sentByForeignPage(c: Context): boolean {
  const origin = c.req.header("origin");
  if (origin !== undefined) return originHost(origin) !== requestHost(c);
  // Images, frames and scripts send no Origin. Navigation is let through: a link to a value should open.
  const site = c.req.header("sec-fetch-site");
  const navigates = c.req.header("sec-fetch-mode") === "navigate" &&
    c.req.header("sec-fetch-dest") === "document";
  return (site === "cross-site" || site === "same-site") && !navigates;
}

function originHost(origin: string): string | undefined {
  // "null", from sandboxed pages and files, is no URL.
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}

function requestHost(c: Context): string {
  return (c.req.header("host") ?? new URL(c.req.url).host).toLowerCase();
}
