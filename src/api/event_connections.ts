// Requests of those who listen to the node's events: what is checked and answered before their connections leave the HTTP
// server.

import type { NodeService, Watch } from "../runtime/service.ts";
import type { EventFeed, Place, Wish } from "./event_feed.ts";
import { HEARTBEAT_MS, lastEventId, STREAM_HEADERS } from "./event_stream.ts";
import type { Subscribe } from "./front_thread.ts";
import { Problem, SAFE_HEADERS } from "./problems.ts";
import { RETRY } from "./requests.ts";
import { handshake, protocolsOf } from "./websocket_handshake.ts";

/** The subprotocol that is agreed on where a client names it; beside it may be one that carries a token. */
const PROTOCOL = "dmnode";

/** A value to watch. */
export interface WatchedValue {
  readonly hash: string;
  readonly key: string | null;
}

/** What a client asks for. */
export interface SocketWish extends Wish {
  readonly watched: WatchedValue | null;
}

/**
 * Completes the handshake and greets; then come the events that are wished for, and the versions of the watched value.
 * What is returned is for nobody: the connection is no HTTP any more.
 *
 * @throws {Problem} 400 where it is no handshake, 503 where there are too many
 */
export async function eventSocket(
  feed: EventFeed,
  service: NodeService,
  request: Request,
  subscribe: Subscribe,
  wish: SocketWish,
): Promise<Response> {
  const agreed = protocolsOf(request.headers).includes(PROTOCOL) ? PROTOCOL : undefined;
  const head = handshake(request, agreed);
  const { watched } = wish;
  let watch: Watch | undefined;
  const place = feed.open(wish, () => watch?.close());
  if (watched !== null) {
    watch = service.watch(watched.hash, watched.key, null);
    if (watch === undefined) {
      place.release();
      throw new Problem(503, "Too many values are being watched; try again.", {}, RETRY);
    }
  }
  const started = place.start(subscribe, "frames", head);
  if (watched !== null && watch !== undefined) void follow(watched.hash, watch, place);
  await started;
  return new Response(null);
}

/** Tells each version, until the watching ends. */
async function follow(hash: string, watch: Watch, place: Place): Promise<void> {
  for (;;) {
    const version = await watch.next(HEARTBEAT_MS);
    if (version === undefined) return place.end();
    if (version === "quiet") continue;
    const { seq, size, publicKey, at } = version;
    place.tell("watch", at, { hash, seq, size, public_key: publicKey });
  }
}

const ENCODER = new TextEncoder();

/**
 * The node's events as server-sent events. `Last-Event-ID` is the number of the last one that the client has. What is
 * returned is for nobody, but where the request is for the head alone.
 *
 * @throws {Problem} 503 where there are too many
 */
export async function eventStream(
  feed: EventFeed,
  request: Request,
  subscribe: Subscribe,
  wish: Wish,
): Promise<Response> {
  const headers = { ...STREAM_HEADERS, ...SAFE_HEADERS, connection: "close" };
  if (request.method === "HEAD") return new Response(null, { headers });
  const last = lastEventId(request);
  const place = feed.open(last === null ? wish : { ...wish, since: last });
  const fields = Object.entries({ date: new Date().toUTCString(), ...headers });
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  // Its end is that of the connection: HTTP/1.1 allows that, and there is nothing to wrap.
  await place.start(subscribe, "stream", ENCODER.encode(`HTTP/1.1 200 OK\r\n${lines}\r\n`));
  return new Response(null);
}
