// Turns events of the core into reports, and passes events to listeners.

import type { NodeEvent } from "../../dht/host.ts";
import type { Item } from "../../dht/items/item.ts";
import type { Contact } from "../../dht/routing/contact.ts";
import type { LookupStep } from "../../dht/search/searches.ts";
import { byteStringContent } from "../../krpc/bencode.ts";
import { distanceBits } from "../../krpc/id.ts";
import type { EventListener } from "../../node_service.ts";
import type { EventData, ServiceEvent } from "../../reports/events.ts";
import type { Peer } from "../../reports/peers.ts";

export class EventListeners {
  readonly #listeners = new Set<EventListener>();

  get isEmpty(): boolean {
    return this.#listeners.size === 0;
  }

  /** Adds a listener. The returned function removes it. */
  add(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(event: ServiceEvent, at: number): void {
    for (const listener of this.#listeners) listener(event, at);
  }
}

/** The events of the core that other parts of the runtime report. `nat` events each cover only one address family. */
type OtherEvent = Extract<NodeEvent, { type: (typeof OTHER_EVENTS)[number] }>;

const OTHER_EVENTS = ["nat", "announce", "watch.version", "watch.read"] as const;

export const isReported = (event: NodeEvent): event is Exclude<NodeEvent, OtherEvent> =>
  !(OTHER_EVENTS as readonly string[]).includes(event.type);

/** Turns an event of the core into a report. */
export function serviceEvent(
  event: Exclude<NodeEvent, OtherEvent>,
  peerReport: (contact: Contact) => Peer,
): ServiceEvent {
  switch (event.type) {
    case "peer.join":
      return { type: event.type, data: peerReport(event.contact) };
    case "peer.leave": {
      const { type, contact, reason } = event;
      return { type, data: { ...nameOf(contact), reason: reason.text } };
    }
    case "peer.health": {
      const { type, contact, from, to, reason } = event;
      return { type, data: { ...nameOf(contact), from, to, reason: reason.text } };
    }
    case "data.store":
      return { type: event.type, data: { ...itemReport(event.item), from: `${event.from}` } };
    case "data.replicate":
      return { type: event.type, data: { hash: `${event.item.target}`, to: event.to.map(String) } };
    case "data.adopt": {
      const { hash, seq, size } = itemReport(event.item);
      const former_seq = event.former.signed?.seq ?? null;
      return { type: event.type, data: { hash, seq, former_seq, size } };
    }
    case "data.expire":
      return { type: event.type, data: { hash: `${event.target}`, reason: event.reason } };
    case "lookup": {
      const { lookup, target, method, hops, queries, elapsed, success } = event.lookup;
      const ended = { method, hops, queries, elapsed_ms: elapsed, success };
      return { type: event.type, data: { lookup, target: `${target}`, ...ended } };
    }
    case "lookup.crowded": {
      const { type, target, nodes, expected } = event;
      return { type, data: { target: `${target}`, nodes, expected } };
    }
    case "lookup.step":
      return { type: event.type, data: stepReport(event.step) };
    case "id": {
      const { type, id, former, address } = event;
      return { type, data: { node_id: `${id}`, former: `${former}`, address: `${address}` } };
    }
    case "clone": {
      const { type, clone: { id, endpoints, isOwn } } = event;
      return { type, data: { node_id: `${id}`, addresses: endpoints.map(String), is_own: isOwn } };
    }
    case "bootstrap": {
      const { type, state, contacts } = event;
      return { type, data: { state, contacts } };
    }
  }
}

function nameOf({ id, endpoint }: Contact) {
  return { node_id: `${id}`, address: `${endpoint}` };
}

function itemReport({ target, value, signed }: Item) {
  return {
    hash: `${target}`,
    kind: signed === undefined ? "immutable" as const : "mutable" as const,
    seq: signed?.seq ?? null,
    size: (byteStringContent(value) ?? value).length,
  };
}

function stepReport({ lookup, target, state, candidate }: LookupStep): EventData<"lookup.step"> {
  const { id, endpoint, hop, rtt } = candidate;
  return {
    lookup,
    target: `${target}`,
    node_id: id === undefined ? null : `${id}`,
    address: `${endpoint}`,
    distance: id === undefined ? null : distanceBits(id, target),
    hop,
    state,
    rtt_ms: Number.isNaN(rtt) ? null : rtt,
  };
}
