// A stored value as an HTTP response: type, validators, ranges, and nothing a browser would run.

import { type FetchedValue, type LargeValue, TransferError } from "../runtime/service.ts";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";

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

/** What of a value is to be sent. */
interface Selection {
  readonly status: 200 | 206;
  readonly range: ByteRange;
}

const JSON_TYPE = "application/json";
const TEXT_TYPE = "text/plain; charset=utf-8";
const BINARY_TYPE = "application/octet-stream";
const TYPE_OF_HINT = { json: JSON_TYPE, text: TEXT_TYPE, binary: BINARY_TYPE } as const;

const KEEP = "max-age=31536000, immutable, no-transform";
const ASK_AGAIN = "no-cache, no-transform";

/** Answers a GET or HEAD for a value that was found. */
export function valueResponse(request: Request, value: FetchedValue): Response {
  const size = value.bytes.length;
  const headers = new Headers(SAFE_HEADERS);
  let selection: Selection | Response = { status: 200, range: { start: 0, end: size } };
  if (value.kind === "mutable") {
    headers.set("cache-control", ASK_AGAIN);
    setOwner(headers, value);
  } else {
    headers.set("cache-control", KEEP);
    selection = select(request, headers, `"${value.hash}"`, size);
    if (selection instanceof Response) return selection;
  }
  const { status, range: { start, end } } = selection;
  headers.set("content-type", contentType(value.bytes));
  headers.set("content-length", String(end - start));
  const body = value.bytes.subarray(start, end) as Uint8Array<ArrayBuffer>;
  return new Response(body, { status, headers });
}

/**
 * Answers a GET or HEAD for a value of many items, whose body is fetched as the client takes it. Under a key too it has
 * a strong ETag and ranges: the root names the bytes.
 *
 * @throws {Problem} where its first part can't be had
 */
export async function largeValueResponse(request: Request, value: LargeValue): Promise<Response> {
  const headers = new Headers(SAFE_HEADERS);
  headers.set("cache-control", value.seq === null ? KEEP : ASK_AGAIN);
  setOwner(headers, value);
  const selection = select(request, headers, `"${value.root}"`, value.size);
  if (selection instanceof Response) return selection;
  const { status, range } = selection;
  headers.set("content-type", TYPE_OF_HINT[value.hint]);
  headers.set("content-length", String(range.end - range.start));
  const body = request.method === "HEAD" ? null : await openStream(value, range);
  return new Response(body, { status, headers });
}

/** Bytes that are fetched as they are read; the first ones are there, so that the status can tell of a failure. */
async function openStream(
  value: LargeValue,
  { start, end }: ByteRange,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const left = new AbortController();
  const pieces = value.read(start, end, left.signal);
  let first: IteratorResult<Uint8Array> | undefined;
  try {
    first = await pieces.next();
  } catch (error) {
    throw error instanceof TransferError ? problemOf(error) : error;
  }
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = first ?? await pieces.next();
      first = undefined;
      if (done) controller.close();
      else controller.enqueue(value as Uint8Array<ArrayBuffer>);
    },
    async cancel() {
      left.abort();
      await pieces.return(undefined);
    },
    // Nothing is fetched for a client that does not read.
  }, { highWaterMark: 0 });
}

function problemOf({ failure, message }: TransferError): Problem {
  switch (failure) {
    case "missing":
      return new Problem(404, message);
    case "invalid":
    case "mismatch":
      return new Problem(502, message);
    default:
      return new Problem(503, message, {}, RETRY);
  }
}

function setOwner(
  headers: Headers,
  { seq, publicKey }: Pick<FetchedValue, "seq" | "publicKey">,
): void {
  if (seq !== null) headers.set("x-seq", String(seq));
  if (publicKey !== null) headers.set("x-public-key", hex(publicKey));
}

/**
 * What the request asks for of the bytes that `etag` names, with the headers that say so; a response where it asks for
 * none of them.
 *
 * @throws {Problem} 416
 */
function select(
  request: Request,
  headers: Headers,
  etag: string,
  size: number,
): Selection | Response {
  headers.set("etag", etag);
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
  if (range === undefined) return { status: 200, range: { start: 0, end: size } };
  headers.set("content-range", `bytes ${range.start}-${range.end - 1}/${size}`);
  return { status: 206, range };
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
    return BINARY_TYPE;
  }
  return isJsonText(text) ? JSON_TYPE : TEXT_TYPE;
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
