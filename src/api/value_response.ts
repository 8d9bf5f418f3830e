// A stored value as an HTTP response: type, validators, ranges, and nothing a browser would run.

import type { FetchedValue } from "../runtime/service.ts";
import { Problem } from "./problems.ts";

/** A stranger wrote the value: whatever a browser makes of it may load and do nothing. */
const SAFE_HEADERS = {
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
};

/** Half-open: from `start` up to and without `end`. */
interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Answers a GET or HEAD for a value that was found. */
export function valueResponse(request: Request, value: FetchedValue): Response {
  const size = value.bytes.length;
  const headers = new Headers(SAFE_HEADERS);
  if (value.kind === "mutable") {
    headers.set("cache-control", "no-cache, no-transform");
    if (value.seq !== null) headers.set("x-seq", String(value.seq));
    if (value.publicKey !== null) headers.set("x-public-key", hex(value.publicKey));
  } else {
    const etag = `"${value.hash}"`;
    headers.set("etag", etag);
    headers.set("cache-control", "max-age=31536000, immutable, no-transform");
    headers.set("accept-ranges", "bytes");
    if (matchesEtag(request.headers.get("if-none-match"), etag)) {
      return new Response(null, { status: 304, headers });
    }
    const range = requestedRange(request, etag, size);
    if (range === "unsatisfiable") {
      throw new Problem(416, `The value has ${size} bytes.`, { size }, {
        "content-range": `bytes */${size}`,
      });
    }
    if (range !== undefined) {
      headers.set("content-range", `bytes ${range.start}-${range.end - 1}/${size}`);
      return respond(206, value.bytes, range, headers);
    }
  }
  return respond(200, value.bytes, { start: 0, end: size }, headers);
}

function respond(status: number, bytes: Uint8Array, range: ByteRange, headers: Headers): Response {
  headers.set("content-type", contentType(bytes));
  headers.set("content-length", String(range.end - range.start));
  const body = bytes.subarray(range.start, range.end) as Uint8Array<ArrayBuffer>;
  return new Response(body, { status, headers });
}

/**
 * `application/json` where the whole is one JSON text (RFC 8259: `123` and `"x"` are), `text/plain` for other UTF-8,
 * else `application/octet-stream`.
 */
export function contentType(bytes: Uint8Array): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return "application/octet-stream";
  }
  return isJsonText(text) ? "application/json" : "text/plain; charset=utf-8";
}

function isJsonText(text: string): boolean {
  // Spares most texts the parser and the cost of its exception.
  if (!/^[ \t\r\n]*[[{"\d\-tfn]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function matchesEtag(header: string | null, etag: string): boolean {
  if (header === null) return false;
  return header.split(",").map((tag) => tag.trim().replace(/^W\//, ""))
    .some((tag) => tag === "*" || tag === etag);
}

/** The one range asked for (RFC 9110, section 14.2); undefined where the whole is to be sent. */
function requestedRange(
  request: Request,
  etag: string,
  size: number,
): ByteRange | "unsatisfiable" | undefined {
  const header = request.headers.get("range");
  if (header === null || request.method !== "GET") return undefined;
  const condition = request.headers.get("if-range");
  if (condition !== null && condition.trim() !== etag) return undefined;
  // Several ranges would need multipart; the whole is a valid answer to them.
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header.trim());
  if (match === null) return undefined;
  const [, first, last] = match;
  if (first === "") {
    if (last === "") return undefined;
    const length = Math.min(Number(last), size);
    return length === 0 ? "unsatisfiable" : { start: size - length, end: size };
  }
  const start = Number(first);
  if (last !== "" && Number(last) < start) return undefined;
  if (start >= size) return "unsatisfiable";
  return { start, end: last === "" ? size : Math.min(Number(last) + 1, size) };
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
