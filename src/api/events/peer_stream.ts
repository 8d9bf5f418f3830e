// Streams the peers of a swarm as server-sent events, as a search finds them.

import type { FoundPart, NodeService } from "../../node_service.ts";
import { HEARTBEAT_MS, streamResponse } from "./stream.ts";

interface PeerStreamOptions {
  /** When this signal is aborted, the stream ends. */
  readonly stopping: AbortSignal;
  readonly heartbeatMs?: number;
}

/** Streams the peers that a search finds, and then its result. Ends early if the client leaves or the node stops. */
export function peersResponse(
  service: Pick<NodeService, "nextPeers" | "closePeerSearch">,
  search: number,
  { stopping, heartbeatMs = HEARTBEAT_MS }: PeerStreamOptions,
): Response {
  let isOver = false;
  return streamResponse({
    stopping,
    next: async () => {
      if (isOver) return undefined;
      const part = await service.nextPeers(search, heartbeatMs);
      isOver = part?.kind === "result";
      return part && textOf(part);
    },
    close: () => void service.closePeerSearch(search),
  });
}

function textOf(part: FoundPart): string {
  switch (part.kind) {
    case "quiet":
      return ":\n\n";
    case "peers":
      return `event: peers\ndata: ${JSON.stringify({ peers: part.peers })}\n\n`;
    case "result":
      return `event: result\ndata: ${JSON.stringify(part.report)}\n\n`;
  }
}
