// Errors of the API as RFC 9457 problem documents.

import { jsonText } from "../web/json.js";

/** Default headers of responses: browsers must not guess the type, cache the response or embed it in other sites. */
export const SAFE_HEADERS = {
  "x-content-type-options": "nosniff",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
} as const;

/** Standard titles of the HTTP statuses (RFC 9110, section 15, RFC 6585 and RFC 4918). */
const TITLES = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  408: "Request Timeout",
  409: "Conflict",
  412: "Precondition Failed",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  416: "Range Not Satisfiable",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
  507: "Insufficient Storage",
} as const;

export type ProblemStatus = keyof typeof TITLES;

/** Additional members of a problem document, and headers of its response. */
export interface ProblemOptions {
  readonly extension?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An error that the API reports to the client as an RFC 9457 problem document. */
export class Problem extends Error {
  override readonly name = "Problem";

  readonly extension: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string>>;

  /** `detail` is one sentence that explains what is wrong. */
  constructor(
    readonly status: ProblemStatus,
    readonly detail: string,
    { extension = {}, headers = {} }: ProblemOptions = {},
  ) {
    super(detail);
    this.extension = extension;
    this.headers = headers;
  }

  /** The problem document. Its type is `about:blank`, since the status already identifies the kind of problem. */
  get document(): Record<string, unknown> {
    const { status, detail } = this;
    return { type: "about:blank", title: TITLES[status], status, detail, ...this.extension };
  }

  /** The HTTP response. It includes the default headers, because some problems bypass the app's middleware. */
  toResponse(): Response {
    return new Response(jsonText(this.document), {
      status: this.status,
      headers: { "content-type": "application/problem+json", ...SAFE_HEADERS, ...this.headers },
    });
  }
}
