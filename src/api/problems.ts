// Errors of the API as RFC 9457 problem documents.

/** What every answer has: nobody may guess another type, embed it in a page elsewhere, or keep it. */
export const SAFE_HEADERS = {
  "x-content-type-options": "nosniff",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
} as const;

/** Titles of the statuses the API answers with (RFC 9110, section 15). */
const TITLES = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
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
} as const;

/** A status that a problem may have. */
export type ProblemStatus = keyof typeof TITLES;

/** A refusal to be thrown by a handler; it becomes the response. */
export class Problem extends Error {
  override readonly name = "Problem";

  /**
   * @param detail what was wrong with this request, as one sentence
   * @param extension further members of the document
   */
  constructor(
    readonly status: ProblemStatus,
    readonly detail: string,
    readonly extension: Readonly<Record<string, unknown>> = {},
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(detail);
  }

  /** What the status is called. */
  get title(): string {
    return TITLES[this.status];
  }

  /** The document; `about:blank` because the status says all there is to the type. */
  get document(): Record<string, unknown> {
    const { title, status, detail } = this;
    return { type: "about:blank", title, status, detail, ...this.extension };
  }

  /** The response, with the headers that all have, for some come from beside the app. */
  toResponse(): Response {
    return new Response(JSON.stringify(this.document), {
      status: this.status,
      headers: {
        "content-type": "application/problem+json",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
        ...this.headers,
      },
    });
  }
}
