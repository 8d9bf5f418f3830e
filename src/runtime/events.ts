// What a node tells of itself as it happens: plain values for those who watch it from outside of the core.

import { distanceBits } from "../krpc/id.ts";
import { byteStringContent } from "../krpc/bencode.ts";
import type { LookupStep, NodeEvent } from "../dht/host.ts";
import type { Item } from "../dht/item.ts";
import type {
  Health,
  PeerReport,
  Progress,
  Readiness,
  StatsReport,
  StoreReport,
} from "./service.ts";

/** Something that happened. Ids and hashes are hex, sizes bytes, addresses `host:port`. */
export type ServiceEvent =
  | { readonly type: "peer.join"; readonly peer: PeerReport }
  | {
    readonly type: "peer.leave";
    readonly nodeId: string;
    readonly address: string;
    readonly reason: string;
  }
  | {
    readonly type: "peer.health";
    readonly nodeId: string;
    readonly address: string;
    readonly from: Health;
    readonly to: Health;
    readonly reason: string;
  }
  /** An item was stored here for somebody else. */
  | {
    readonly type: "data.store";
    readonly hash: string;
    readonly kind: "immutable" | "mutable";
    readonly seq: number | null;
    readonly size: number;
    readonly from: string;
  }
  /** A value was stored on the network from here. */
  | { readonly type: "data.publish"; readonly report: StoreReport }
  /** A value was asked for here; of a chunked one its root. */
  | {
    readonly type: "data.fetch";
    readonly hash: string;
    readonly kind: StoreReport["kind"] | null;
    readonly size: number | null;
    readonly found: boolean;
    readonly elapsedMs: number;
  }
  /** An item that is held here was given to nodes that lacked it. */
  | { readonly type: "data.replicate"; readonly hash: string; readonly to: readonly string[] }
  | { readonly type: "data.expire"; readonly hash: string }
  | { readonly type: "data.progress"; readonly progress: Progress }
  /** A lookup ended. */
  | {
    readonly type: "lookup";
    readonly lookup: number;
    readonly target: string;
    readonly method: "find_node" | "get_peers" | "get";
    readonly hops: number;
    readonly queries: number;
    readonly elapsedMs: number;
    readonly success: boolean;
  }
  /** A query of a lookup that runs; told only while somebody asks for it. */
  | {
    readonly type: "lookup.step";
    readonly lookup: number;
    readonly target: string;
    readonly nodeId: string | null;
    readonly address: string;
    readonly distance: number | null;
    readonly hop: number;
    readonly state: LookupStep["state"];
    readonly rttMs: number | null;
  }
  | {
    readonly type: "id";
    readonly nodeId: string;
    readonly former: string;
    readonly address: string;
  }
  | { readonly type: "bootstrap"; readonly state: "joined" | "failed"; readonly contacts: number }
  | { readonly type: "nat"; readonly nat: StatsReport["nat"] }
  | { readonly type: "ready"; readonly readiness: Readiness };

/** Hears of an event; `at` is in milliseconds since 1970. */
export type EventListener = (event: ServiceEvent, at: number) => void;

/** Those who hear what happens. */
export class EventListeners {
  readonly #listeners = new Set<EventListener>();

  get isEmpty(): boolean {
    return this.#listeners.size === 0;
  }

  /** @returns what ends it */
  add(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(event: ServiceEvent, at: number): void {
    for (const listener of this.#listeners) listener(event, at);
  }
}

/** What the core tells, as others see it; a contact as `peerReport` has it. Its `nat` is only a part of what is told. */
export function serviceEvent(
  event: Exclude<NodeEvent, { type: "nat" }>,
  peerReport: (contact: Extract<NodeEvent, { type: "peer.join" }>["contact"]) => PeerReport,
): ServiceEvent {
  switch (event.type) {
    case "peer.join":
      return { type: event.type, peer: peerReport(event.contact) };
    case "peer.leave":
    case "peer.health": {
      const { contact, ...rest } = event;
      return { ...rest, nodeId: `${contact.id}`, address: `${contact.endpoint}` };
    }
    case "data.store":
      return { type: event.type, ...itemOf(event.item), from: `${event.from}` };
    case "data.replicate":
      return { type: event.type, hash: `${event.item.target}`, to: event.to.map(String) };
    case "data.expire":
      return { type: event.type, hash: `${event.target}` };
    case "lookup": {
      const { target, elapsed, ...rest } = event.lookup;
      return { type: event.type, ...rest, target: `${target}`, elapsedMs: elapsed };
    }
    case "lookup.step":
      return { type: event.type, ...stepOf(event.step) };
    case "id": {
      const { id, former, address } = event;
      return { type: event.type, nodeId: `${id}`, former: `${former}`, address: `${address}` };
    }
    case "bootstrap":
      return event;
  }
}

function itemOf({ target, value, signed }: Item) {
  return {
    hash: `${target}`,
    kind: signed === undefined ? "immutable" as const : "mutable" as const,
    seq: signed?.seq ?? null,
    size: (byteStringContent(value) ?? value).length,
  };
}

function stepOf({ lookup, target, state, candidate }: LookupStep) {
  const { id, endpoint, hop, rtt } = candidate;
  return {
    lookup,
    target: `${target}`,
    nodeId: id === undefined ? null : `${id}`,
    address: `${endpoint}`,
    distance: id === undefined ? null : distanceBits(id, target),
    hop,
    state,
    rttMs: Number.isNaN(rtt) ? null : rtt,
  };
}
