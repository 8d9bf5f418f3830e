// A watched value as server-sent events: one for each version.

import type { NodeService, Watch } from "../runtime/service.ts";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";
import type { ValueEvent } from "./schemas.ts";
import type { z } from "@hono/zod-openapi";
import { timeText } from "./views.ts";

/** A comment is sent after so much silence: proxies keep the connection, and a client that is gone is noticed. */
export const HEARTBEAT_MS = 15_000;

/** A proxy is not to gather events up. */
export const STREAM_HEADERS = { "content-type": "text/event-stream", "x-accel-buffering": "no" };

/** Whether the client asks for events. */
export function isEventStream(request: Request): boolean {
  const accepted = (request.headers.get("accept") ?? "").toLowerCase().split(",");
  return request.method === "GET" &&
    accepted.some((type) => type.split(";")[0].trim() === "text/event-stream");
}

/** The response that goes on until the client leaves, the node stops or `stopping` is aborted. */
export function watchResponse(
  service: NodeService,
  request: Request,
  hash: string,
  key: string | null,
  stopping: AbortSignal,
  heartbeatMs = HEARTBEAT_MS,
): Response {
  const watch = service.watch(hash, key, lastEventId(request));
  if (watch === undefined) {
    throw new Problem(503, "Too many values are being watched; try again.", {}, RETRY);
  }
  const end = () => {
    stopping.removeEventListener("abort", end);
    watch.close();
  };
  if (stopping.aborted) end();
  else stopping.addEventListener("abort", end);
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => controller.enqueue(encoder.encode(": watching\n\n")),
    async pull(controller) {
      const text = await nextText(watch, hash, heartbeatMs);
      if (text !== undefined) return controller.enqueue(encoder.encode(text));
      end();
      controller.close();
    },
    cancel: end,
    // Nothing is kept for a client that does not read.
  }, { highWaterMark: 0 });
  return new Response(body, { headers: STREAM_HEADERS });
}

const encoder = new TextEncoder();

async function nextText(watch: Watch, hash: string, withinMs: number): Promise<string | undefined> {
  const version = await watch.next(withinMs);
  if (version === undefined) return undefined;
  if (version === "quiet") return ":\n\n";
  const { seq, size, publicKey, at } = version;
  const data: z.output<typeof ValueEvent> = {
    hash,
    seq,
    size,
    public_key: publicKey,
    at: timeText(at),
  };
  const id = seq === null ? "" : `id: ${seq}\n`;
  return `event: value\n${id}data: ${JSON.stringify(data)}\n\n`;
}

/** The number of the last event that the client has, by `Last-Event-ID`; null where it has none. */
export function lastEventId(request: Request): number | null {
  const header = request.headers.get("last-event-id") ?? "";
  if (header === "") return null;
  if (/^\d{1,16}$/.test(header) && Number.isSafeInteger(Number(header))) return Number(header);
  throw new Problem(400, "Last-Event-ID takes the id of an event: a whole number.");
}
