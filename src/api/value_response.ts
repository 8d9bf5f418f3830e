// Turns stored values into HTTP responses with types, ETags and ranges, and with headers that keep browsers from
// running the values.

import { hex } from "../krpc/hex.ts";
import type { DownloadPiece, FetchedValue, LargeValue, NodeService } from "../node_service.ts";
import { BINARY_TYPE, JSON_TYPE, mediaType, TEXT_TYPE } from "../web/media_type.js";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";

/**
 * Headers that keep browsers from running a value, or loading anything that it refers to: anyone can store values. The
 * header X-Seal-Key decides whether a sealed value is opened, so a cache must not mix up the two answers.
 */
export const SAFE_HEADERS = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
  "vary": "accept, x-seal-key",
};

/** Bytes from `start` (inclusive) to `end` (exclusive). */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** The type of items whose value is not a byte string: a number, a list or a dictionary, in bencoded form. */
const BENCODE_TYPE = "application/x-bencode";
const TYPE_OF_HINT = { json: JSON_TYPE, text: TEXT_TYPE, binary: BINARY_TYPE } as const;

const KEEP = "max-age=31536000, immutable, no-transform";
const ASK_AGAIN = "no-cache, no-transform";

/** Answers a GET or HEAD request for a value that is a single item. */
export function valueResponse(request: Request, value: FetchedValue): Response {
  const size = value.bytes.length;
  const headers = new Headers(SAFE_HEADERS);
  let selection: ReturnType<typeof select> = { status: 200, range: { start: 0, end: size } };
  if (value.kind === "mutable") {
    headers.set("cache-control", ASK_AGAIN);
    setOwner(headers, value);
  } else {
    headers.set("cache-control", KEEP);
    selection = select(request, headers, { etag: `"${value.hash}"`, size });
    if (selection instanceof Response) return selection;
  }
  const { status, range: { start, end } } = selection;
  headers.set("content-type", value.isBencode ? BENCODE_TYPE : mediaType(value.bytes));
  headers.set("content-length", String(end - start));
  const body = value.bytes.subarray(start, end) as Uint8Array<ArrayBuffer>;
  return new Response(body, { status, headers });
}

/**
 * Answers a GET or HEAD request for a chunked value, whose body is fetched as the client reads it. Even a mutable value
 * has a strong ETag and supports ranges, since the root hash identifies the bytes.
 *
 * @throws {Problem} if the first part can't be fetched
 */
export async function largeValueResponse(
  service: NodeService,
  request: Request,
  value: LargeValue,
): Promise<Response> {
  const headers = new Headers(SAFE_HEADERS);
  headers.set("cache-control", value.seq === null ? KEEP : ASK_AGAIN);
  setOwner(headers, value);
  const selection = select(request, headers, { etag: `"${value.root}"`, size: value.size });
  if (selection instanceof Response) return selection;
  const { status, range } = selection;
  headers.set("content-type", TYPE_OF_HINT[value.hint]);
  headers.set("content-length", String(range.end - range.start));
  const body = request.method === "HEAD" ? null : await openStream(service, value, range);
  return new Response(body, { status, headers });
}

/** Streams part of a value as the client reads it. Waits for the first bytes, so that the status can report failure. */
async function openStream(
  service: NodeService,
  value: LargeValue,
  { start, end }: ByteRange,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const download = await service.openDownload(value, start, end);
  let first: DownloadPiece | undefined = await service.readDownload(download);
  if (first.outcome === "failed") throw problemOf(first);
  return new ReadableStream({
    async pull(controller) {
      const piece = first ?? await service.readDownload(download);
      first = undefined;
      if (piece.outcome === "failed") controller.error(new Error(piece.detail));
      else if (piece.outcome === "end") controller.close();
      else controller.enqueue(piece.bytes as Uint8Array<ArrayBuffer>);
    },
    cancel: () => service.closeDownload(download),
    // Fetch nothing before the client is ready to read it.
  }, { highWaterMark: 0 });
}

/** The error for a download that failed before its first byte. */
export function problemOf(
  { failure, detail }: Extract<DownloadPiece, { outcome: "failed" }>,
): Problem {
  switch (failure) {
    case "missing":
      return new Problem(404, detail);
    case "invalid":
    case "mismatch":
      return new Problem(502, detail);
    default:
      return new Problem(503, detail, RETRY);
  }
}

/** Sets the headers for the version and the owner of a mutable value. */
export function setOwner(
  headers: Headers,
  { seq, publicKey }: Pick<FetchedValue, "seq" | "publicKey">,
): void {
  if (seq !== null) headers.set("x-seq", `${seq}`);
  if (publicKey !== null) headers.set("x-public-key", hex(publicKey));
}

/**
 * Selects the requested range and sets headers, or returns a 304 response. Throws a Problem (416) if there is no such
 * range.
 */
export function select(
  request: Request,
  headers: Headers,
  { etag, size }: { readonly etag: string; readonly size: number },
): { readonly status: 200 | 206; readonly range: ByteRange } | Response {
  headers.set("etag", etag);
  headers.set("accept-ranges", "bytes");
  if (matchesEtag(request.headers.get("if-none-match"), etag)) {
    return new Response(null, { status: 304, headers });
  }
  const range = requestedRange(request, etag, size);
  if (range === "unsatisfiable") {
    throw new Problem(416, `The value has ${size} bytes.`, {
      extension: { size },
      headers: {
        "content-range": `bytes */${size}`,
      },
    });
  }
  if (range === undefined) return { status: 200, range: { start: 0, end: size } };
  headers.set("content-range", `bytes ${range.start}-${range.end - 1}/${size}`);
  return { status: 206, range };
}

function matchesEtag(header: string | null, etag: string): boolean {
  if (header === null) return false;
  return header.split(",").map((tag) => tag.trim().replace(/^W\//, ""))
    .some((tag) => tag === "*" || tag === etag);
}

/** The requested range (RFC 9110, section 14.2); undefined to send the whole value. */
function requestedRange(
  request: Request,
  etag: string,
  size: number,
): ByteRange | "unsatisfiable" | undefined {
  const header = request.headers.get("range");
  if (header === null || request.method !== "GET") return undefined;
  const condition = request.headers.get("if-range");
  if (condition !== null && condition.trim() !== etag) return undefined;
  // Answer a request for several ranges with the whole value: that is allowed, and avoids a multipart response.
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
