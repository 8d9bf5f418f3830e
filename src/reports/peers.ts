// Reports about a node's peers and lookups.

import { z } from "zod";
import {
  address,
  amount,
  count,
  distance,
  exampleOf,
  field,
  health,
  id,
  ownId,
  share,
  time,
} from "./fields.ts";

// The fields that Peer and PeerDetail share. PeerDetail can't extend Peer, because its `health` has one more value.
const peerFields = {
  node_id: id,
  address,
  distance,
  last_seen: time,
  health,
  rtt_ms: field(amount.nullable(), 12.4),
  score: field(share, 0.97),
  first_seen: field(time, "2026-04-14T09:00:00Z"),
  client: field(z.string().nullable(), "dmnode/0.1.0"),
  public_key: field(
    z.string().nullable(),
    null,
    "the identity's key that the peer has proven to hold, hex; null: not yet, or not in a network with a key",
  ),
};

export const Peer = z.object(peerFields).meta({ id: "Peer" });
export type Peer = z.output<typeof Peer>;

/** The nodes and addresses that this node ignores. */
export const DeniedNodes = z.object({
  in_file: field(count, 2, "number of entries in the file that DENY_LIST names"),
  denied: field(
    z.array(z.string()),
    ["203.0.113.7", "2001:db8:5::/48"],
    "entries that were added through the API: addresses, CIDRs, node ids and public keys",
  ),
}).meta({ id: "DeniedNodes" });
export type DeniedNodes = z.output<typeof DeniedNodes>;

/** Contacts in the routing table by range of distance, nearest first. */
export const BucketDistribution = z.object({
  "0-20": field(count, 0),
  "21-40": field(count, 0),
  "41-60": field(count, 0),
  "61-80": field(count, 0),
  "81-100": field(count, 0),
  "101-120": field(count, 0),
  "121-140": field(count, 0),
  "141-160": field(count, 156),
}).meta({ id: "BucketDistribution" });
export type BucketDistribution = z.output<typeof BucketDistribution>;

export const PeerSort = z.enum(["score", "distance", "rtt", "last_seen", "first_seen"]);

/** Selects the peers to list, and their order. */
export interface PeerSelection {
  readonly health?: z.output<typeof health>;
  /** The property by which the peers are sorted; `score` by default. */
  readonly sort?: z.output<typeof PeerSort>;
  readonly limit?: number;
}

export const Peers = z.object({
  node_id: ownId,
  peers: z.array(Peer),
  routing_table_size: field(count, 156),
  bucket_distribution: BucketDistribution,
}).meta({ id: "Peers" });
export type Peers = z.output<typeof Peers>;

/** Everything that a node knows about one peer. */
export const PeerDetail = z.object({
  ...peerFields,
  health: field(
    z.enum([...health.options, "gone"]),
    "degraded",
    "gone: the peer left the routing table; the other fields show its last state",
  ),
  score: field(share, 0.86),
  score_parts: z.object({
    answers: field(share, 0.91, "share of our latest queries that the peer answered"),
    speed: field(share, 0.95, "from the round-trip time and its variation"),
    honesty: field(share, 1, "1 without faults"),
    tenure: field(share, 0.99, "from the time since the peer was first seen"),
  }).meta({ description: "the score is their product" }),
  rtt_variation_ms: field(amount.nullable(), 2.1),
  misses: field(count, 1, "latest pings in a row that the peer did not answer"),
  faults: field(amount, 0, "wrong and useless answers; each good answer lowers it"),
  keeps_us: field(
    z.boolean().nullable(),
    true,
    "whether the peer says that this node is in its table; null: it does not say",
  ),
  last_query: time.nullable(),
  last_response: field(time.nullable(), "2026-04-14T10:29:10Z"),
  next_check: field(time.nullable(), "2026-04-14T10:30:20Z"),
  bucket: field(count.nullable(), 3, "0 holds the farthest peers"),
  history: field(
    z.array(z.object({
      at: time,
      what: z.enum(["joined", ...health.options, "left", "replaced"]),
      reason: z.string().nullable(),
    })),
    [
      { at: "2026-04-14T09:00:00Z", what: "joined", reason: null },
      { at: "2026-04-14T10:30:15Z", what: "degraded", reason: "no answer to ping" },
    ],
    "the latest 20 changes, oldest first",
  ),
}).meta({ id: "PeerDetail" });
export type PeerDetail = z.output<typeof PeerDetail>;

export const Ping = z.object({
  node_id: id,
  address,
  rtt_ms: field(amount, 12.4),
  health,
  via: field(
    z.enum(["direct", "punched", "relayed"]),
    "direct",
    "how the ping reached the node: directly, after it opened its NAT for this node, or relayed " +
      "by another node",
  ),
}).meta({ id: "Ping" });
export type Ping = z.output<typeof Ping>;

const TraceStep = z.object({
  node_id: id.nullable(),
  address,
  hop: field(count, 1, "1: known at the start; n + 1: learned at hop n"),
  started_ms: field(amount, 0, "since the start of the lookup"),
  rtt_ms: field(amount.nullable(), 12.4),
  outcome: field(z.enum(["responded", "timeout", "error", "pending"]), "responded"),
});
export type TraceStep = z.output<typeof TraceStep>;

export const Lookup = z.object({
  target: id,
  found: field(z.boolean(), true, "whether a node with exactly this id answered"),
  nodes: z.array(z.object({ node_id: id, address, distance: field(distance, 0) })),
  hops: field(count, 1),
  queries: field(count, 1),
  elapsed_ms: field(amount, 12.6),
  trace: z.array(TraceStep).optional(),
}).meta({ id: "Lookup" });
export type Lookup = z.output<typeof Lookup>;

export const TRACED_LOOKUP: Lookup = { ...exampleOf(Lookup), trace: [exampleOf(TraceStep)] };
