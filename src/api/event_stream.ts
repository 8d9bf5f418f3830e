// A watched value as server-sent events: one for each version.

import type { NodeService, Watch } from "../runtime/service.ts";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";
import type { ValueEvent } from "./schemas.ts";
import type { z } from "@hono/zod-openapi";
import { timeText } from "./views.ts";

/** A comment is sent after so much silence: proxies keep the connection, and a client that is gone is noticed. */
export const HEARTBEAT_MS = 15_000;

/** Whether the client asks for events. */
export function isEventStream(request: Request): boolean {
  const accepted = (request.headers.get("accept") ?? "").toLowerCase().split(",");
  return request.method === "GET" &&
    accepted.some((type) => type.split(";")[0].trim() === "text/event-stream");
}

/** The response that goes on until the client leaves or the node stops. */
export function watchResponse(
  service: NodeService,
  request: Request,
  hash: string,
  key: string | null,
  heartbeatMs = HEARTBEAT_MS,
): Response {
  const watch = service.watch(hash, key, lastSeq(request));
  if (watch === undefined) {
    throw new Problem(503, "Too many values are being watched; try again.", {}, RETRY);
  }
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => controller.enqueue(encoder.encode(": watching\n\n")),
    async pull(controller) {
      const text = await nextText(watch, hash, heartbeatMs);
      if (text === undefined) controller.close();
      else controller.enqueue(encoder.encode(text));
    },
    cancel: () => watch.close(),
    // Nothing is kept for a client that does not read.
  }, { highWaterMark: 0 });
  return new Response(body, {
    headers: { "content-type": "text/event-stream", "x-accel-buffering": "no" },
  });
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

/** The seq that the client has seen; null where it has seen none. */
function lastSeq(request: Request): number | null {
  const header = request.headers.get("last-event-id") ?? "";
  if (header === "") return null;
  if (/^\d{1,16}$/.test(header) && Number.isSafeInteger(Number(header))) return Number(header);
  throw new Problem(400, "Last-Event-ID takes the seq of an event: a whole number.");
}
