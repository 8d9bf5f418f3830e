// The node's events in the API's spelling.

import type { ServiceEvent } from "../runtime/service.ts";
import type { EventData } from "./schemas.ts";
import { natView, peerView, transferView } from "./views.ts";

/** What an event carries. */
export function eventView(event: ServiceEvent): EventData<ServiceEvent["type"]> {
  switch (event.type) {
    case "peer.join":
      return peerView(event.peer);
    case "peer.leave":
      return { node_id: event.nodeId, address: event.address, reason: event.reason };
    case "peer.health": {
      const { nodeId, address, from, to, reason } = event;
      return { node_id: nodeId, address, from, to, reason };
    }
    case "data.store": {
      const { hash, kind, seq, size, from } = event;
      return { hash, kind, seq, size, from };
    }
    case "data.publish": {
      const { hash, kind, key, seq, size, replicas } = event.report;
      return { hash, kind, key, seq, size, replicas };
    }
    case "data.fetch": {
      const { hash, kind, size, found, elapsedMs } = event;
      return { hash, kind, size, found, elapsed_ms: elapsedMs };
    }
    case "data.replicate":
      return { hash: event.hash, to: [...event.to] };
    case "data.expire":
      return { hash: event.hash };
    case "data.progress":
      return { ...transferView(event.progress), state: event.progress.state };
    case "lookup": {
      const { lookup, target, method, hops, queries, elapsedMs, success } = event;
      return { lookup, target, method, hops, queries, elapsed_ms: elapsedMs, success };
    }
    case "lookup.step": {
      const { lookup, target, nodeId, address, distance, hop, state, rttMs } = event;
      return { lookup, target, node_id: nodeId, address, distance, hop, state, rtt_ms: rttMs };
    }
    case "id":
      return { node_id: event.nodeId, former: event.former, address: event.address };
    case "bootstrap":
      return { state: event.state, contacts: event.contacts };
    case "nat":
      return natView(event.nat);
    case "ready":
      return { ready: event.readiness.ready, reason: event.readiness.reason };
  }
}
