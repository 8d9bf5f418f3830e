// Server-sent events: the versions of a watched value, and what happens in the node.

import type { NodeService, Watch } from "../runtime/service.ts";
import type { EventFeed, Wish } from "./event_feed.ts";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";
import type { ValueEvent } from "./schemas.ts";
import type { z } from "@hono/zod-openapi";
import { timeText } from "./views.ts";

/** A comment is sent after so much silence: proxies keep the connection, and a client that is gone is noticed. */
export const HEARTBEAT_MS = 15_000;

/** A proxy is not to gather events up. */
const STREAM_HEADERS = { "content-type": "text/event-stream", "x-accel-buffering": "no" };

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
  const watch = service.watch(hash, key, lastSeq(request));
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

/** The seq that the client has seen; null where it has seen none. */
function lastSeq(request: Request): number | null {
  const header = request.headers.get("last-event-id") ?? "";
  if (header === "") return null;
  if (/^\d{1,16}$/.test(header) && Number.isSafeInteger(Number(header))) return Number(header);
  throw new Problem(400, "Last-Event-ID takes the seq of an event: a whole number.");
}

/**
 * The node's events as server-sent events. `Last-Event-ID` is the number of the last one that the client has.
 *
 * @throws {Problem} 503 where there are too many
 */
export function eventsResponse(feed: EventFeed, request: Request, wish: Wish): Response {
  const last = lastSeq(request);
  const listener = feed.open(last === null ? wish : { ...wish, since: last });
  const body = new ReadableStream<Uint8Array>({
    start: (controller) =>
      listener.start({
        format: "stream",
        get backlog() {
          return -(controller.desiredSize ?? 0);
        },
        send: (message) => controller.enqueue(message as Uint8Array),
        end: (reason) => {
          if (reason === "slow") controller.error(new Error("The client reads too slowly."));
          else controller.close();
          listener.release();
        },
      }),
    cancel: () => listener.release(),
  }, new ByteLengthQueuingStrategy({ highWaterMark: 0 }));
  return new Response(body, { headers: STREAM_HEADERS });
}
