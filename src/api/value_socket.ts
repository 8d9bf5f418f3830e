// A watched value over a WebSocket: one message for each version.

import type { NodeService } from "../runtime/service.ts";
import { HEARTBEAT_MS } from "./event_stream.ts";
import { Problem } from "./problems.ts";
import { RETRY } from "./requests.ts";
import { timeText } from "./views.ts";

/** A client that has so many bytes to take still is not reading. */
const MAX_BUFFERED = 1 << 20;

/** WebSocket close codes (RFC 6455, and IANA's registry): the node stops; the client reads too slowly. */
const GOING_AWAY = 1001, TRY_AGAIN_LATER = 1013;

/**
 * Upgrades the request: `hello`, then `watch` with the value's version, where there is one, and with each newer one.
 *
 * @throws {Problem} 400 where it is no upgrade, 503 where too many values are being watched
 */
export function watchSocket(
  service: NodeService,
  request: Request,
  hash: string,
  key: string | null,
): Response {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw new Problem(400, "This path speaks WebSocket alone; send Upgrade: websocket.");
  }
  const watch = service.watch(hash, key, null);
  if (watch === undefined) {
    throw new Problem(503, "Too many values are being watched; try again.", {}, RETRY);
  }
  const { socket, response } = Deno.upgradeWebSocket(request);
  const send = (type: string, at: number, data: unknown) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount > MAX_BUFFERED) socket.close(TRY_AGAIN_LATER);
    else socket.send(JSON.stringify({ type, at: timeText(at), data }));
  };
  const follow = async () => {
    for (;;) {
      const version = await watch.next(HEARTBEAT_MS);
      if (version === undefined) return;
      if (version === "quiet") continue;
      const { seq, size, publicKey, at } = version;
      send("watch", at, { hash, seq, size, public_key: publicKey });
    }
  };
  socket.onopen = () => {
    const { version } = service.stats();
    send("hello", Date.now(), {
      node_id: service.nodeId,
      version,
      peers: service.peers().length,
    });
    follow().finally(() => {
      if (socket.readyState === WebSocket.OPEN) socket.close(GOING_AWAY);
    });
  };
  // What goes wrong with a connection ends it, and with it the watching.
  socket.onerror = () => watch.close();
  socket.onclose = () => watch.close();
  return response;
}
