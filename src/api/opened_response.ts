// Answers requests for sealed values with the opened content, if the client sends the key.

import type { FetchOutcome, LargeValue, NodeService } from "../node_service.ts";
import { hex } from "../krpc/hex.ts";
import { mediaType } from "../web/media_type.js";
import {
  HEADER_BYTES,
  openedSize,
  type Opener,
  openerOf,
  openRange,
  RECORD_BYTES,
  SealError,
} from "../web/seal.js";
import { joined } from "./joined.ts";
import { Problem } from "./problems.ts";
import { type ByteRange, problemOf, SAFE_HEADERS, select, setOwner } from "./value_response.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A request for a sealed value, with the value's key. */
interface OpenRequest {
  readonly service: NodeService;
  readonly request: Request;
  readonly key: string;
}

/** The bytes of a sealed value, which may not have been fetched yet. */
interface Sealed {
  readonly size: number;
  read(start: number, end: number): AsyncIterable<Uint8Array>;
  /** Stops all reads that are still in progress. */
  close(): void;
}

/**
 * Answers a GET or HEAD request with the content of a sealed value. First fetches and opens the first record, so that
 * the status can report a wrong key. The salt of the sealed value becomes the ETag, because every sealed value has a
 * different salt.
 *
 * @throws {Problem} if the value is not sealed, or the key does not open its first record
 */
export async function openedResponse(
  { service, request, key }: OpenRequest,
  found: Extract<FetchOutcome, { outcome: "found" | "large" }>,
): Promise<Response> {
  const sealed = found.outcome === "large"
    ? largeValue(service, found.value)
    : bytesInMemory(found.value.isBencode ? new Uint8Array(0) : found.value.bytes);
  const { opener, head, content } = await openFirst(sealed, key).catch((error) => {
    throw error instanceof SealError ? refusal(error) : error;
  });
  const headers = new Headers(SAFE_HEADERS);
  headers.set("cache-control", "no-store");
  setOwner(headers, found.value);
  const size = openedSize(sealed.size);
  const selection = select(request, headers, { etag: `"${hex(head.subarray(0, 16))}"`, size });
  if (selection instanceof Response) return selection;
  const { status, range } = selection;
  headers.set("content-type", mediaType(content, content.length === size));
  headers.set("content-length", String(range.end - range.start));
  const body = request.method === "HEAD" ? null : contentStream({ sealed, opener, content }, range);
  return new Response(body, { status, headers });
}

/**
 * Fetches and opens the first record. In the result, `head` contains the fetched bytes: the header
 * and the first record.
 */
async function openFirst({ size, read }: Sealed, key: string) {
  const end = Math.min(size, HEADER_BYTES + RECORD_BYTES);
  const head = await joined(read(0, end));
  const opener = await openerOf(head, key);
  const content = await opener.open(0, head.subarray(HEADER_BYTES), end === size);
  return { opener, head, content };
}

/**
 * Streams a range of the decrypted content as the client reads it. `content` is the opened content of the first
 * record; the other records are opened one by one.
 */
function contentStream(
  { sealed, opener, content }: {
    readonly sealed: Sealed;
    readonly opener: Opener;
    readonly content: Bytes;
  },
  { start, end }: ByteRange,
): ReadableStream<Bytes> {
  const first = content.subarray(start, end);
  const rest = openRange(opener, sealed, { start: Math.max(start, content.length), end });
  return new ReadableStream({
    start(controller) {
      if (first.length > 0) controller.enqueue(first);
    },
    async pull(controller) {
      const { done, value } = await rest.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: () => sealed.close(),
  }, { highWaterMark: 0 });
}

function bytesInMemory(bytes: Uint8Array): Sealed {
  return {
    size: bytes.length,
    async *read(start, end) {
      await Promise.resolve();
      yield bytes.subarray(start, end);
    },
    close: () => {},
  };
}

function largeValue(service: NodeService, value: LargeValue): Sealed {
  const downloads = new Set<number>();
  return {
    size: value.size,
    async *read(start, end) {
      const download = await service.openDownload(value, start, end);
      downloads.add(download);
      try {
        for (;;) {
          const piece = await service.readDownload(download);
          if (piece.outcome === "failed") throw problemOf(piece);
          if (piece.outcome === "end") return;
          yield piece.bytes;
        }
      } finally {
        downloads.delete(download);
        await service.closeDownload(download);
      }
    },
    close() {
      for (const download of downloads) void service.closeDownload(download);
    },
  };
}

function refusal({ code, message }: SealError): Problem {
  switch (code) {
    case "not_sealed":
      return new Problem(400, `${message} Fetch it without X-Seal-Key.`);
    case "wrong_key":
      return new Problem(403, message);
    default:
      return new Problem(502, message);
  }
}
