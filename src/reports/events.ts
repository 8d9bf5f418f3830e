// The events of a node, in a table with one row for each type.

import { z } from "zod";
import {
  address,
  amount,
  count,
  distance,
  exampleOf,
  field,
  hash,
  health,
  id,
  kind,
  ownId,
  size,
  version,
} from "./fields.ts";
import { Peer } from "./peers.ts";
import { CloneReport, Nat, NodeStats, Readiness } from "./stats.ts";
import { AnnouncedSwarm, SwarmPeers } from "./swarms.ts";
import { PublishedValue, Stored, Transfer, ValueEvent, ValueState } from "./values.ts";

/**
 * Defines a type of event. If `isNumbered` is true, each event of this type has a sequence number from which clients
 * can resume.
 */
function event<S extends z.ZodType>(description: string, data: S, isNumbered = true) {
  return { description, data, isNumbered };
}

const eventNumber = z.int().min(1);
const reason = field(z.string(), "no answer to ping");
const lookup = field(count, 121, "number of the lookup on this node");

/** Every type of event that `/ws` and `/events` send. */
export const EVENTS = {
  "hello": event(
    "The first event of each connection.",
    z.object({
      node_id: ownId,
      version: field(z.string(), "0.1.0"),
      peers: field(count, 156),
      last: field(eventNumber, 1_795_355_891_257, "number of the newest event"),
      resumed: field(z.boolean(), false, "whether all events after `since` follow"),
      missed: field(
        count.nullable(),
        0,
        "events after `since` that are lost; null: the node was restarted",
      ),
    }),
    false,
  ),
  "peer.join": event("A peer entered the routing table.", Peer),
  "peer.leave": event(
    "A peer left the routing table.",
    z.object({ node_id: id, address, reason }),
  ),
  "peer.health": event(
    "The health of a peer changed.",
    z.object({ node_id: id, address, from: health, to: field(health, "degraded"), reason }),
  ),
  "data.store": event(
    "This node stored an item for another node.",
    z.object({
      hash,
      kind: field(kind.exclude(["chunked"]), "immutable"),
      seq: version,
      size,
      from: address,
    }),
  ),
  "data.publish": event(
    "This node stored a value on the network.",
    Stored.omit({ nodes: true, elapsed_ms: true }).extend({ replicas: field(count, 20) }),
  ),
  "data.fetch": event(
    "A fetch of a value ended; for a chunked value, the fetch of its root.",
    z.object({
      hash,
      kind: kind.nullable(),
      size: size.nullable(),
      found: field(z.boolean(), true),
      elapsed_ms: field(amount, 41.5),
    }),
  ),
  "data.replicate": event(
    "This node copied an item that it holds to nodes that lacked it.",
    z.object({ hash, to: z.array(id) }),
  ),
  "data.adopt": event(
    "Another node stored a newer version of a value that this node publishes, or a value with the same seq that won " +
      "(then `former_seq` equals `seq`). This node publishes that version from now on.",
    z.object({
      hash,
      seq: field(version, 7),
      former_seq: field(version, 7),
      size,
    }),
  ),
  "data.expire": event(
    "This node dropped an item that it held: it had expired (`expired`), the node needed its space and enough closer " +
      "nodes held it (`evicted`), or its value was missing or damaged on disk (`lost`).",
    z.object({ hash, reason: field(z.enum(["expired", "evicted", "lost"]), "expired") }),
  ),
  "data.health": event(
    "The state of a value that this node keeps published changed: it became more or less safe.",
    PublishedValue.pick({ hash: true, replicas: true, failures: true, lives_until: true })
      .extend({ from: field(ValueState, "safe"), to: field(ValueState, "failing") }),
  ),
  "data.progress": event(
    "Progress of a chunked value: at most four times a second, and when its transfer ends.",
    Transfer,
  ),
  "swarm.announce": event(
    "An attempt to announce this host in a swarm ended; if no node accepted it, `nodes` is 0.",
    AnnouncedSwarm,
  ),
  "swarm.withdraw": event(
    "This node no longer announces this host in a swarm.",
    AnnouncedSwarm.pick({ info_hash: true, service: true }),
  ),
  "swarm.find": event(
    "A search for the peers of a swarm ended.",
    SwarmPeers.pick({ info_hash: true, ipv4: true, ipv6: true, nodes: true, elapsed_ms: true })
      .extend({ peers: field(count, 1) }),
  ),
  "lookup": event(
    "A lookup ended.",
    z.object({
      lookup,
      target: hash,
      method: field(z.enum(["find_node", "get_peers", "get"]), "get"),
      hops: field(count, 3),
      queries: field(count, 25),
      elapsed_ms: field(amount, 80.2),
      success: field(z.boolean(), true, "whether any node answered"),
    }),
  ),
  "lookup.crowded": event(
    "A lookup found many more nodes near its target than a network of this size has there: somebody may be trying to " +
      "hide the value that is stored there. The node then stores and reads the value at all nodes around the target. " +
      "Reported once an hour for the surroundings of a target.",
    z.object({
      target: hash,
      nodes: field(count, 43, "nodes found near the target, at least"),
      expected: field(amount, 6.1, "how many are expected there"),
    }),
  ),
  "lookup.step": event(
    "A query of a running lookup changed its state. Sent only to clients that name this type.",
    z.object({
      lookup,
      target: hash,
      node_id: id.nullable().meta({ description: "null: a bootstrap node before it answers" }),
      address,
      distance: distance.nullable(),
      hop: field(count, 1),
      state: field(z.enum(["asked", "responded", "late", "failed"]), "responded"),
      rtt_ms: field(amount.nullable(), 12.4),
    }),
    false,
  ),
  "id": event(
    "The node took a new id that fits its address (BEP 42).",
    z.object({ node_id: id, former: ownId, address: field(address, "198.51.100.7:8000") }),
  ),
  "clone": event(
    "Two nodes use one id, as after a copy of a DATA_DIR. Reported at most every 15 minutes for an endpoint.",
    CloneReport.omit({ at: true }),
  ),
  "bootstrap": event(
    "An attempt to join the network ended.",
    z.object({ state: field(z.enum(["joined", "failed"]), "joined"), contacts: field(count, 20) }),
  ),
  "nat": event("The node's view of its NAT or firewall changed.", Nat),
  "clock": event(
    "The system's clock jumped, or the machine slept. The node publishes its values again and checks its contacts.",
    z.object({
      jump_s: field(z.int(), 28_800, "how far the clock jumped ahead, in seconds; negative: back"),
    }),
  ),
  "budget": event(
    "The node has used up its monthly budget for traffic and is now read-only, or it may send again.",
    z.object({
      read_only: field(z.boolean(), true),
      used: field(count, 100_000_031_200, "bytes in this month"),
      bytes: field(count.nullable(), 100_000_000_000, "P2P_MONTHLY_BUDGET"),
    }),
  ),
  "ready": event("The readiness of the node changed: whether it can store and fetch.", Readiness),
  "stats": event("The statistics without the configuration, every second.", NodeStats, false),
  "watch": event(
    "A version of the watched value: the current one, then each newer one.",
    ValueEvent.omit({ at: true }),
    false,
  ),
} as const;

export type EventType = keyof typeof EVENTS;

export const EVENT_TYPES = Object.keys(EVENTS) as EventType[];

/** The data of an event of type `T`. */
export type EventData<T extends EventType> = z.output<(typeof EVENTS)[T]["data"]>;

/** An event whose type is one of `T`. */
export type EventOf<T extends EventType> = {
  [K in T]: { readonly type: K; readonly data: EventData<K> };
}[T];

/** An event that a node emits. The API itself emits the other types. */
export type ServiceEvent = EventOf<Exclude<EventType, "hello" | "stats" | "watch">>;

/** One message of `/ws`, or the data of one event of `/events`. */
export const Event = z.union(
  EVENT_TYPES.map((type) =>
    z.object({
      id: eventNumber.nullable().meta({
        description: "rises by one from event to event; null: the event can't be resumed from",
      }),
      type: z.literal(type),
      at: z.iso.datetime().meta({ description: "RFC 3339, UTC" }),
      data: EVENTS[type].data,
    }).meta({ description: EVENTS[type].description, examples: [eventExample(type)] })
  ),
).meta({ id: "Event" });

/** Returns an example of an event of this type. */
export function eventExample(type: EventType) {
  const { data, isNumbered } = EVENTS[type];
  const id = isNumbered ? 1_795_355_891_258 : null;
  return { id, type, at: "2026-04-14T10:29:55.323Z", data: exampleOf(data) };
}

/** The answer to a search for events. */
export const FoundEvents = z.object({
  events: field(
    z.array(Event),
    [eventExample("peer.leave") as z.output<typeof Event>],
    "newest first",
  ),
}).meta({ id: "FoundEvents" });
