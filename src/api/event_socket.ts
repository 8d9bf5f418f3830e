// The node's events over WebSockets, and the versions of a watched value among them.

import type { NodeService, Watch } from "../runtime/service.ts";
import type { EventFeed, Wish } from "./event_feed.ts";
import { HEARTBEAT_MS } from "./event_stream.ts";
import { eventText } from "./event_view.ts";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";

/** WebSocket close codes (RFC 6455, section 7.4.1, and IANA's registry). */
const GOING_AWAY = 1001, UNSUPPORTED_DATA = 1003, TOO_BIG = 1009, TRY_AGAIN_LATER = 1013;

/** Clients have nothing to say; what they say is read up to here. */
const MAX_MESSAGE = 1_024;

/** The subprotocol that is agreed on, and what begins the one that carries a token. */
const PROTOCOL = "dmnode", BEARER = "bearer.";

/** A value to watch. */
export interface WatchedValue {
  readonly hash: string;
  readonly key: string | null;
}

/** The names of `Sec-WebSocket-Protocol`. */
function protocolsOf(request: Request): string[] {
  const header = request.headers.get("sec-websocket-protocol") ?? "";
  return header.split(",").map((name) => name.trim()).filter((name) => name !== "");
}

/**
 * The request with the token of its subprotocol as `Authorization`: pages can't set that header for a WebSocket. The
 * request itself where there is no such token.
 */
export function withTokenOfProtocol(request: Request): Request {
  const bearer = protocolsOf(request).find((name) => name.startsWith(BEARER));
  if (bearer === undefined || request.headers.has("authorization")) return request;
  const token = decodeBase64Url(bearer.slice(BEARER.length));
  const headers = new Headers(request.headers);
  // What is no token is as wrong as any other.
  headers.set("authorization", `Bearer ${token ?? "?"}`);
  return new Request(request.url, { headers });
}

/** The text of base64url (RFC 4648, section 5); undefined where it is none, or no visible ASCII. */
function decodeBase64Url(text: string): string | undefined {
  try {
    const decoded = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return /^[\x21-\x7e]+$/.test(decoded) ? decoded : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Upgrades the request: `hello`, then the events that are wished for, and the versions of `watched`.
 *
 * @throws {Problem} 400 where it is no upgrade, 503 where there are too many
 */
export function eventSocket(
  feed: EventFeed,
  service: NodeService,
  request: Request,
  wish: Wish,
  watched: WatchedValue | null,
): Response {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw new Problem(400, "This path speaks WebSocket alone; send Upgrade: websocket.");
  }
  const listener = feed.open(wish);
  const watch = watched && service.watch(watched.hash, watched.key, null);
  if (watch === undefined) {
    listener.close();
    throw new Problem(503, "Too many values are being watched; try again.", {}, RETRY);
  }
  const protocol = protocolsOf(request).includes(PROTOCOL) ? PROTOCOL : undefined;
  // A client that is gone without a word does not answer the pings.
  const { socket, response } = Deno.upgradeWebSocket(request, {
    protocol,
    idleTimeout: 2 * HEARTBEAT_MS / 1000,
  });
  const end = () => {
    listener.close();
    watch?.close();
  };
  socket.onopen = () => {
    listener.start({
      send: (text) => socket.readyState === WebSocket.OPEN && socket.send(text),
      get backlog() {
        return socket.bufferedAmount;
      },
      end: (reason) => {
        watch?.close();
        if (socket.readyState !== WebSocket.OPEN) return;
        socket.close(reason === "slow" ? TRY_AGAIN_LATER : GOING_AWAY);
      },
    });
    if (watched !== null && watch !== null) void follow(watched.hash, watch, listener);
  };
  socket.onmessage = ({ data }) => {
    const length = typeof data === "string" ? data.length : data.byteLength;
    socket.close(
      length > MAX_MESSAGE ? TOO_BIG : UNSUPPORTED_DATA,
      "The node takes no messages here.",
    );
    end();
  };
  socket.onerror = end;
  socket.onclose = end;
  return response;
}

/** Tells each version, until the watching ends. */
async function follow(
  hash: string,
  watch: Watch,
  listener: ReturnType<EventFeed["open"]>,
): Promise<void> {
  for (;;) {
    const version = await watch.next(HEARTBEAT_MS);
    if (version === undefined) return listener.end("stopping");
    if (version === "quiet") continue;
    const { seq, size, publicKey, at } = version;
    listener.tell(
      "watch",
      eventText(null, "watch", at, { hash, seq, size, public_key: publicKey }),
    );
  }
}
