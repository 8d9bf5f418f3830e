// Describes responses for the OpenAPI document: headers, examples, and errors that any request can get.

import type { OpenAPIHono, RouteConfig } from "@hono/zod-openapi";
import type { z } from "zod";
import { exampleOf, HELLO, SIGNED_KEY } from "../../reports/fields.ts";
import { Problem, type ProblemStatus } from "../problems.ts";
import { ProblemDocument } from "../../reports/problem.ts";

interface Header {
  readonly description: string;
  readonly schema: Readonly<Record<string, unknown>>;
  readonly required: boolean;
  readonly example: unknown;
}

/** Describes a response header, either with a fixed value or with a schema and an example. */
function header(description: string, value: string | Header["schema"], example: unknown = value) {
  const schema = typeof value === "string" ? { type: "string", const: value } : value;
  return { description, schema, required: true, example };
}

/** Describes a response header that may be missing. */
function optional(...given: Parameters<typeof header>): Header {
  return { ...header(...given), required: false };
}

const TEXT = { type: "string" };
const NUMBER = { type: "integer", minimum: 0 };

/** The response headers that the OpenAPI document describes. */
export const HEADERS = {
  "X-Content-Type-Options": header("Browsers must not guess types.", "nosniff"),
  "Cross-Origin-Resource-Policy": header(
    "Pages of other origins can't load the answer.",
    "same-origin",
  ),
  "Cache-Control": header(
    "Only immutable values and the files of pages may be cached.",
    TEXT,
    "no-store",
  ),
  "Content-Security-Policy": optional(
    "On values and pages: what a browser may do with them. A value may load and run nothing.",
    TEXT,
    "default-src 'none'; frame-ancestors 'none'; sandbox",
  ),
  "Sec-WebSocket-Version": optional(
    "The WebSocket version of this server. Sent if the handshake is wrong.",
    "13",
  ),
  "Referrer-Policy": header("Pages don't reveal their address to other sites.", "no-referrer"),
  "Location": header(
    "The path of the stored value.",
    { ...TEXT, pattern: "^/data/[0-9a-f]{40}$" },
    `/data/${HELLO}`,
  ),
  "ETag": optional(
    "Identifies the bytes. For immutable and chunked values it is their hash. The ETag of a " +
      "compressed page is weak.",
    { ...TEXT, pattern: '^(W/)?"[^"]+"$' },
    `"${HELLO}"`,
  ),
  "Accept-Ranges": optional("Sent with an ETag: `Range` can ask for a part.", "bytes"),
  "Content-Range": header(
    "The range of bytes in the answer, and their total number (RFC 9110, section 14.4).",
    { ...TEXT, pattern: "^bytes (\\d+-\\d+|\\*)/\\d+$" },
    "bytes 0-4/12",
  ),
  "X-Seq": optional("The version of a mutable value.", { ...NUMBER, format: "int64" }, 7),
  "X-Public-Key": optional(
    "The Ed25519 key that signed a mutable value, hex.",
    { ...TEXT, pattern: "^[0-9a-f]{64}$" },
    SIGNED_KEY,
  ),
  "X-Accel-Buffering": optional("On streams: proxies must not buffer events.", "no"),
  "Retry-After": optional("Seconds to wait before the next attempt.", NUMBER, 1),
  "WWW-Authenticate": header(
    "Which token is required, and what is wrong with the one that was sent (RFC 6750).",
    { ...TEXT, pattern: '^Bearer realm="dmnode"' },
    'Bearer realm="dmnode"',
  ),
} as const;

type HeaderName = keyof typeof HEADERS;

const ON_ALL = [
  "X-Content-Type-Options",
  "Cross-Origin-Resource-Policy",
  "Cache-Control",
] as const;

/** References to the headers `names`, and to the headers that all responses have. */
export function headers(...names: readonly HeaderName[]) {
  return Object.fromEntries(
    [...ON_ALL, ...names].map((name) => [name, { $ref: `#/components/headers/${name}` }]),
  );
}

type Examples = Readonly<Record<string, { readonly summary: string; readonly value: unknown }>>;

/** An `examples` object with a single entry. */
export function example(summary: string, value: unknown): Examples {
  return { example: { summary, value } };
}

/**
 * Describes a JSON response. `given` contains examples, or only a summary of the schema's own example. `sent` names
 * the headers that this response has in addition to those of all responses.
 */
export function json<T extends z.ZodType>(
  description: string,
  schema: T,
  given: Examples | string,
  { sent = [] }: { readonly sent?: readonly HeaderName[] } = {},
) {
  const examples = typeof given === "string" ? example(given, exampleOf(schema)) : given;
  const content = { "application/json": { schema, examples } };
  return { description, headers: headers(...sent), content };
}

/** Describes a text response with one example. */
export function text(name: string, summary: string, value: string) {
  return { schema: { type: "string" as const }, examples: { [name]: { summary, value } } };
}

const MEANINGS = {
  400: "Malformed: path, query, body or signature",
  401: "The token is missing or wrong",
  403:
    "Sent by a web page of another origin, for another host, or with the wrong key of a sealed value",
  404: "Not found",
  406: "The Accept header refuses the type of the answer",
  408: "The body stalled",
  409: "The network has a newer seq",
  412: "cas is not the stored seq",
  413: "Over the limit",
  415: "Wrong content type or encoding",
  416: "The range is outside the value",
  429: "Too many requests from this address",
  500: "A bug in the node; its log has the details",
  502: "The network holds no valid value, or the other node does not support the request",
  503:
    "Not possible now: too few nodes acknowledged, too many requests at a time, not ready, or stopping",
  504: "No answer",
  507: "No room on the network, or on the disk of this node",
} as const;

/** Describes an error response. `detail` and `members` become its example. */
export function problem<S extends ProblemStatus & keyof typeof MEANINGS>(
  status: S,
  detail: string,
  members: Readonly<Record<string, unknown>> = {},
  { sent = [] }: { readonly sent?: readonly HeaderName[] } = {},
) {
  const example = new Problem(status, detail, { extension: members }).document;
  const content = { "application/problem+json": { schema: ProblemDocument, example } };
  const answer = { description: MEANINGS[status], headers: headers(...sent), content };
  return { [status]: answer } as Record<S, typeof answer>;
}

/** Errors that several operations share. */
export const BAD_ID = problem(400, "path parameter node_id: expected 40 hex digits.");
export const BAD_HASH = problem(400, "path parameter hash: expected 40 hex digits.");

/** Errors that every operation can return, by the names of their OpenAPI components. */
const COMMON = {
  BadRequest: problem(400, "query parameter limit: unknown; there are none here."),
  Unauthorized: problem(
    401,
    "This request needs a token: send Authorization: Bearer with API_TOKEN.",
    {},
    { sent: ["WWW-Authenticate"] },
  ),
  Forbidden: problem(403, "Web pages of other origins may not use this API."),
  NotAcceptable: problem(
    406,
    "This answer is application/json, which the Accept header refuses (q=0): send Accept: application/json.",
  ),
  TooManyRequests: problem(
    429,
    "Too many requests from your address; try again in 2 s.",
    {},
    { sent: ["Retry-After"] },
  ),
  InternalServerError: problem(
    500,
    "The node failed to handle this request; its log has the details.",
  ),
  Stopping: problem(503, "The node is stopping."),
};

const REFERENCES = Object.fromEntries(
  Object.entries(COMMON).map(([name, problem]) => {
    return [Object.keys(problem)[0], { $ref: `#/components/responses/${name}` }];
  }),
);

/** Returns `responses` together with the errors that every operation can return. */
export function withCommon(responses: RouteConfig["responses"], needsToken: boolean) {
  const { 401: unauthorized, ...open } = REFERENCES;
  return { ...open, ...(needsToken ? { 401: unauthorized } : {}), ...responses };
}

/** Registers the components that responses refer to: headers, errors and the security scheme. */
export function registerAnswers({ openAPIRegistry: registry }: OpenAPIHono): void {
  registry.registerComponent("securitySchemes", "bearer", {
    type: "http",
    scheme: "bearer",
    description:
      "If the node has tokens: API_TOKEN, or a token with the scope that the operation names. The scope admin includes " +
      "all others.",
  });
  registry.register("Problem", ProblemDocument);
  for (const [name, header] of Object.entries(HEADERS)) {
    registry.registerComponent("headers", name, header as { schema: object });
  }
  const schema = { $ref: "#/components/schemas/Problem" };
  for (const [name, problem] of Object.entries(COMMON)) {
    const [{ content, ...answer }] = Object.values(problem);
    const { example } = content["application/problem+json"];
    registry.registerComponent("responses", name, {
      ...answer,
      content: { "application/problem+json": { schema, example } },
    });
  }
}
