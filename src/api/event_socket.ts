// The node's events over WebSockets, and the versions of a watched value among them.

import type { NodeService, Watch } from "../runtime/service.ts";
import type { EventFeed, Listener, Wish } from "./event_feed.ts";
import { HEARTBEAT_MS } from "./event_stream.ts";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";

/** WebSocket close codes (RFC 6455, section 7.4.1, and IANA's registry). */
const GOING_AWAY = 1001, UNSUPPORTED_DATA = 1003, TOO_BIG = 1009, TRY_AGAIN_LATER = 1013;

/** Clients have nothing to say; what is longer than this is called too long. */
const MAX_MESSAGE = 1_024;

/** A client has so long for the end of the handshake. */
const HANDSHAKE_MS = 10_000;

/** The subprotocol that is agreed on; another one may carry a token. */
const PROTOCOL = "dmnode";

/** A value to watch. */
export interface WatchedValue {
  readonly hash: string;
  readonly key: string | null;
}

/** What a client asks for. */
export interface SocketWish extends Wish {
  /** Messages carry arrays of events. */
  readonly isBatched: boolean;
  readonly watched: WatchedValue | null;
}

/** The names of `Sec-WebSocket-Protocol`. */
function protocolsOf(request: Request): string[] {
  const header = request.headers.get("sec-websocket-protocol") ?? "";
  return header.split(",").map((name) => name.trim()).filter((name) => name !== "");
}

/**
 * Upgrades the request: `hello`, then the events that are wished for, and the versions of the watched value.
 *
 * @throws {Problem} 400 where it is no upgrade, 503 where there are too many
 */
export function eventSocket(
  feed: EventFeed,
  service: NodeService,
  request: Request,
  wish: SocketWish,
): Response {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw new Problem(400, "This path speaks WebSocket alone; send Upgrade: websocket.");
  }
  const { watched } = wish;
  const listener = feed.open(wish);
  let watch: Watch | undefined;
  try {
    const { socket, response } = upgrade(request);
    watch = watched === null ? undefined : service.watch(watched.hash, watched.key, null);
    if (watched !== null && watch === undefined) {
      throw new Problem(503, "Too many values are being watched; try again.", {}, RETRY);
    }
    connect(socket, listener, wish, watch);
    return response;
  } catch (error) {
    listener.release();
    throw error;
  }
}

function upgrade(request: Request): Deno.WebSocketUpgrade {
  const protocol = protocolsOf(request).includes(PROTOCOL) ? PROTOCOL : undefined;
  try {
    // A ping after half of this silence: a client that is gone without a word does not answer it.
    return Deno.upgradeWebSocket(request, { protocol, idleTimeout: 2 * HEARTBEAT_MS / 1000 });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Problem(400, `The WebSocket handshake (RFC 6455) is not valid: ${error.message}.`);
  }
}

function connect(
  socket: WebSocket,
  listener: Listener,
  { isBatched, watched }: SocketWish,
  watch: Watch | undefined,
): void {
  const gone = () => {
    clearTimeout(handshake);
    watch?.close();
    listener.release();
  };
  const handshake = setTimeout(gone, HANDSHAKE_MS);
  socket.onopen = () => {
    clearTimeout(handshake);
    listener.start({
      format: isBatched ? "array" : "each",
      get backlog() {
        return socket.bufferedAmount;
      },
      send: (message) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(message as string);
      },
      end: (reason) => {
        watch?.close();
        if (socket.readyState !== WebSocket.OPEN) return;
        if (reason === "slow") socket.close(TRY_AGAIN_LATER, "Events come faster than you read.");
        else socket.close(GOING_AWAY, "The node is stopping.");
      },
    });
    if (watched !== null && watch !== undefined) void follow(watched.hash, watch, listener);
  };
  socket.onmessage = ({ data }) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const length = typeof data === "string" ? data.length : data.byteLength;
    const code = length > MAX_MESSAGE ? TOO_BIG : UNSUPPORTED_DATA;
    socket.close(code, "Clients have nothing to say here.");
    listener.end("stopping");
  };
  socket.onerror = gone;
  socket.onclose = gone;
}

/** Tells each version, until the watching ends. */
async function follow(hash: string, watch: Watch, listener: Listener): Promise<void> {
  for (;;) {
    const version = await watch.next(HEARTBEAT_MS);
    if (version === undefined) return listener.end("stopping");
    if (version === "quiet") continue;
    const { seq, size, publicKey, at } = version;
    listener.tell("watch", at, { hash, seq, size, public_key: publicKey });
  }
}
