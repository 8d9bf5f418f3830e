// Streams a watched value as server-sent events, one for each version.

import { parseSeq, type Seq } from "../../krpc/seq.ts";
import type { NodeService, SeenVersion } from "../../node_service.ts";
import { accepts } from "../accept.ts";
import { Problem } from "../problems.ts";
import { RETRY } from "../requests.ts";
import { timeText } from "../../reports/time.ts";
import type { ValueEvent } from "../../reports/values.ts";
import { jsonText } from "../../web/json.js";

/** The interval between comments on an idle stream. They make proxies keep it open, and reveal lost clients. */
export const HEARTBEAT_MS = 15_000;

/** Response headers of an event stream. X-Accel-Buffering keeps proxies from buffering the events. */
export const STREAM_HEADERS = { "content-type": "text/event-stream", "x-accel-buffering": "no" };

/** Whether the client asks for server-sent events. */
export function isEventStream(request: Request): boolean {
  return request.method === "GET" && accepts(request.headers.get("accept"), "text/event-stream");
}

/**
 * Starts watching a value for versions newer than `after`, and returns the watch's id. Throws a Problem (503) if
 * there are too many watches.
 */
export async function openWatch(
  service: NodeService,
  ...[hash, key, after]: Parameters<NodeService["openWatch"]>
): Promise<number> {
  const watch = await service.openWatch(hash, key, after);
  if (watch !== undefined) return watch;
  throw new Problem(503, "Too many values are being watched; try again.", RETRY);
}

interface WatchOptions {
  readonly hash: string;
  readonly key: string | null;
  /** When this signal is aborted, the stream ends. */
  readonly stopping: AbortSignal;
  readonly heartbeatMs?: number;
}

/**
 * Streams a value's versions until the client leaves or the node stops. Throws a Problem (503) if there are too many
 * watches.
 */
export async function watchResponse(
  service: NodeService,
  request: Request,
  { hash, key, stopping, heartbeatMs = HEARTBEAT_MS }: WatchOptions,
): Promise<Response> {
  const watch = await openWatch(service, hash, key, lastEventId(request));
  return streamResponse({
    stopping,
    first: ": watching\n\n",
    next: async () => {
      const version = await service.nextVersion(watch, heartbeatMs);
      return version && textOf(hash, version);
    },
    close: () => void service.closeWatch(watch),
  });
}

interface StreamOptions {
  /** When this signal is aborted, the stream ends. */
  readonly stopping: AbortSignal;
  /** The text that the client receives immediately. */
  readonly first?: string;
  /** Waits for the next text; undefined at the end of the stream. */
  readonly next: () => Promise<string | undefined>;
  /** Called when the stream has ended, or when the client leaves or the node stops. */
  readonly close: () => void;
}

/** Streams server-sent events, given as text, until their end, or until the client leaves or the node stops. */
export function streamResponse({ stopping, first, next, close }: StreamOptions): Response {
  const end = () => {
    stopping.removeEventListener("abort", end);
    close();
  };
  if (stopping.aborted) end();
  else stopping.addEventListener("abort", end);
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      if (first !== undefined) controller.enqueue(encoder.encode(first));
    },
    async pull(controller) {
      const text = await next();
      if (text !== undefined) return controller.enqueue(encoder.encode(text));
      end();
      controller.close();
    },
    cancel: end,
    // Ask for the next text only when the client is ready to read it, so that texts don't pile up.
  }, { highWaterMark: 0 });
  return new Response(body, { headers: STREAM_HEADERS });
}

const encoder = new TextEncoder();

function textOf(hash: string, version: SeenVersion | "quiet"): string {
  if (version === "quiet") return ":\n\n";
  const data: ValueEvent = { hash, ...version, at: timeText(version.at) };
  const id = version.seq === null ? "" : `id: ${version.seq}\n`;
  return `event: value\n${id}data: ${jsonText(data)}\n\n`;
}

/** The number in the `Last-Event-ID` header; null if the header is missing. */
export function lastEventId(request: Request): Seq | null {
  const header = request.headers.get("last-event-id") ?? "";
  if (header === "") return null;
  const id = parseSeq(header);
  if (id !== undefined) return id;
  throw new Problem(400, "Last-Event-ID must be the id of an event: a whole number.");
}
