// Reports about the node itself: readiness, statistics, NAT and the last hour.

import { z } from "zod";
import {
  ADDRESS,
  address,
  amount,
  count,
  exampleOf,
  field,
  hash,
  id,
  ownId,
  SIGNED_KEY,
  time,
} from "./fields.ts";
import { BucketDistribution } from "./peers.ts";
import { MonthlyBudget } from "./traffic.ts";

const EXTERNAL = field(z.string().nullable(), "198.51.100.7:8000");
const MAPPED = "203.0.113.9:8000";

/** Whether the node can store and fetch values through other nodes, and if not, why not. */
export const Readiness = z.object({
  ready: field(z.boolean(), true),
  reason: field(z.string(), "156 peers answer"),
});
export type Readiness = z.output<typeof Readiness>;

/**
 * Queries sent and answers received in the last five minutes, or since the start if that is less. A query that was sent
 * twice counts twice.
 */
const AnswerCounts = z.object({
  queries: field(count, 410, "queries sent in the last minutes"),
  answers: field(count, 402, "answers received in the same time"),
  over_s: field(count, 300, "seconds in which they were counted"),
});
export type AnswerCounts = z.output<typeof AnswerCounts>;

/** The router's mapping of the P2P port. Null if port mapping is not used. */
const Mapping = z.object({
  status: field(
    z.enum(["searching", "mapped", "behind_another_nat", "not_needed", "none", "off"]),
    "mapped",
  ),
  protocol: field(z.enum(["pcp", "nat-pmp", "upnp"]).nullable(), "upnp"),
  gateway: field(z.string().nullable(), "192.168.1.1", "the router's address"),
  internal_address: field(z.string().nullable(), "192.168.1.20:8000"),
  external_address: field(z.string().nullable(), MAPPED),
  lease_s: field(count.nullable(), 3600, "seconds; 0: until it is deleted"),
  since: field(time.nullable(), "2026-04-14T10:00:00Z"),
  renewed_at: field(time.nullable(), "2026-04-14T10:30:00Z"),
  made: field(count, 1, "mappings since the start"),
  renewals: field(count, 1),
  problem: field(z.string().nullable(), null),
}).nullable().meta({
  id: "Mapping",
  description: "the local router's mapping of the P2P port; for IPv6, the opening in its firewall",
});
export type Mapping = z.output<typeof Mapping>;

export const natType = field(
  z.enum(["none", "endpoint_independent", "symmetric", "unknown"]),
  "endpoint_independent",
  "none: peers see an address of this machine; endpoint_independent: all peers see one port of a " +
    "router; symmetric: each peer sees a different port",
);

/** What this node knows about the NAT of one address family, with the evidence. */
const NatFamily = z.object({
  family: field(z.union([z.literal(4), z.literal(6)]), 4),
  external_address: EXTERNAL,
  type: natType,
  filtering: field(
    z.enum(["none", "address", "address_and_port", "unknown"]),
    "none",
    "who can reach a port that sent packets: anybody, only the addresses it sent packets to, " +
      "or only those addresses and ports",
  ),
  reachable: field(z.boolean().nullable(), true),
  read_only: field(z.boolean(), false),
  evidence: z.object({
    votes: field(count, 31, "peers that see this address"),
    voters: field(count, 32, "peers that reported an address"),
    port_voters: field(count, 31, "latest peers that see this address"),
    same_port: field(count, 31, "the largest number of those that see the same port"),
    voted_by: field(z.array(z.string()), [ADDRESS]),
    voted_at: time.nullable(),
    reason: field(
      z.string(),
      "1 of 3 probes arrived",
      "why the node is believed to be reachable, or not",
    ),
    checked_at: field(time.nullable(), "2026-04-14T10:29:00Z"),
    probes: field(count, 3, "probes that other nodes promised in the latest check"),
    missed: field(count, 2, "probes that did not arrive"),
    arrived_from: field(z.array(z.string()), [MAPPED]),
  }),
}).meta({ id: "NatFamily" });
export type NatFamily = z.output<typeof NatFamily>;

const NatFields = z.object({
  mode: field(z.enum(["auto", "off"]), "auto"),
  external_address: EXTERNAL,
  votes: field(count, 31),
  type: natType,
  reachable: field(
    z.boolean().nullable(),
    true,
    "whether unsolicited packets arrive; null: not known yet",
  ),
  read_only: field(z.boolean(), false, "whether it ignores queries from strangers (BEP 43)"),
  introducers: field(count, 0, "nodes that introduce others to this one"),
  families: z.array(NatFamily),
  mapping: Mapping,
  pinhole: Mapping,
});

/** How other nodes can reach this node. */
export const Nat = field(NatFields, { ...exampleOf(NatFields), pinhole: null });
export type Nat = z.output<typeof Nat>;

const TrafficCount = z.object({ messages: count, bytes: count });
export type TrafficCount = z.output<typeof TrafficCount>;

const Rate = z.object({
  messages_per_second: field(amount, 1.2),
  bytes_per_second: field(amount, 109.4),
});

/** Packets in one direction since the start. */
const Traffic = z.object({
  messages: field(count, 5210),
  bytes: field(count, 601_233),
  ...Rate.shape,
  by_type: field(z.record(z.string(), TrafficCount), {
    "find_node.query": { messages: 130, bytes: 13_910 },
  }),
}).meta({ id: "Traffic" });

/** The settings in force, named after their environment variables. */
export const ConfigReport = z.object({
  p2p_port: field(count, 8000),
  p2p_host: field(z.string(), "0.0.0.0"),
  p2p_interface: field(z.string().nullable(), null, "the only interface of P2P traffic"),
  p2p_external: field(z.array(z.string()), [], "addresses and ports that its user has set"),
  p2p_up_limit: field(count.nullable(), null, "bytes per second; null: no limit"),
  p2p_down_limit: field(count.nullable(), null),
  p2p_monthly_budget: field(count.nullable(), null, "bytes; null: no limit"),
  bootstrap_nodes: field(z.array(z.string()), ["dht.example.org:8000"]),
  k_bucket_size: field(count, 20),
  min_replicas: field(count, 1),
  max_per_subnet: field(count, 2),
  deny_list: field(
    z.string().nullable(),
    null,
    "file of the addresses and nodes that this node ignores",
  ),
  denied: field(count, 0, "entries in the deny list"),
  alpha: field(count, 3),
  health_check_interval: field(count, 60, "seconds"),
  api_host: field(z.string(), "127.0.0.1"),
  api_port: field(count, 8080),
  api_socket: field(z.string().nullable(), null, "path of a Unix socket"),
  api_socket_mode: field(z.string(), "0600"),
  api_socket_group: field(z.string().nullable(), null),
  api_token: field(z.boolean(), false, "whether API_TOKEN is set"),
  api_tokens: field(count.nullable(), null, "tokens with scopes; null without a file of them"),
  api_open_reads: field(z.boolean(), false),
  api_allowed_hosts: field(z.array(z.string()), []),
  api_trusted_proxies: field(z.array(z.string()), []),
  api_rate_limit: field(count, 200),
  api_send_rate_limit: field(count, 50),
  api_max_connections: field(count, 1_000),
  data_dir: field(z.string(), "./data"),
  log_level: field(z.string(), "info"),
  log_format: field(z.string().nullable(), null),
  max_value_size: field(count, 16_777_216),
  storage_limit: field(count, 1_073_741_824),
  nat: field(z.string(), "auto"),
  read_only: field(z.boolean(), false),
  relay: field(count, 2048, "bytes per second relayed for others"),
  beacons: field(z.string(), "auto"),
  allow_net: field(z.union([z.boolean(), z.array(z.string())]), true),
});

/** Two nodes with one id. */
export const CloneReport = z.object({
  node_id: id,
  addresses: field(z.array(z.string()), ["192.168.1.10:8000", "192.168.1.11:8000"]),
  is_own: field(
    z.boolean(),
    false,
    "whether this node is one of them; `addresses` then has the other",
  ),
  at: time,
}).meta({ id: "Clone" });

/** The statistics of a node, with the configuration in force. */
export const Stats = z.object({
  node_id: ownId,
  public_key: field(z.string(), SIGNED_KEY, "Ed25519, hex"),
  version: field(z.string(), "0.1.0"),
  started_at: field(time, "2026-04-14T08:00:00Z"),
  uptime_s: field(amount, 8995.2),
  addresses: z.array(field(address, "[::]:8000")),
  readiness: Readiness.extend(AnswerCounts.shape),
  peers: z.object({
    healthy: field(count, 154),
    degraded: field(count, 2),
    unhealthy: field(count, 0),
  }),
  routing_table_size: field(count, 156),
  buckets: field(count, 12),
  bucket_distribution: BucketDistribution,
  network_size_estimate: field(amount.nullable(), 9870),
  left_out: field(
    z.object({
      nodes: field(count, 3),
      subnets: field(count, 1),
      largest: field(z.string().nullable(), "198.51.100.0/24", "the subnet with most such nodes"),
    }),
    { nodes: 3, subnets: 1, largest: "198.51.100.0/24" },
    "nodes of the last hour that got no place, because their subnet has MAX_PER_SUBNET already",
  ),
  clones: z.array(CloneReport).meta({ description: "nodes of the last hour that share an id" }),
  changing_ids: field(
    z.object({
      addresses: field(count, 0, "addresses at which a node keeps changing its id"),
      worst: field(z.string().nullable(), null, "the one with most changes"),
      changes: field(count, 0, "the changes there"),
    }),
    { addresses: 0, worst: null, changes: 0 },
    "nodes of the last hour that answered under at least three new ids",
  ),
  traffic: z.object({
    in: Traffic,
    out: Traffic,
    dropped: field(z.record(z.string(), count), { unmatched: 3 }, "refused packets by reason"),
    unsent: field(
      z.string().nullable(),
      null,
      "an address to which the system refused to send in the last ten minutes, and why",
    ),
    budget: MonthlyBudget,
  }),
  lookups: z.object({
    count: field(count, 120),
    success: field(count, 120),
    active: field(count, 0),
    hops_mean: field(amount.nullable(), 3.1),
    latency_ms: z.object({
      mean: field(amount.nullable(), 80.2),
      p50: field(amount.nullable(), 71.9),
      p95: field(amount.nullable(), 160.3),
    }),
    crowded: field(
      count,
      0,
      "targets with far too many nodes around them; see the event `lookup.crowded`",
    ),
    latest_crowded: z.object({ target: hash, at: time }).nullable()
      .meta({ description: "the latest of them" }),
  }),
  storage: z.object({
    items: field(count, 4031),
    bytes: field(count, 4_946_037, "disk space of the items held, which limit_bytes bounds"),
    value_bytes: field(count, 2_913_004, "the values of these items"),
    limit_bytes: field(count, 1_073_741_824, "STORAGE_LIMIT"),
    expiring_within_hour: field(count, 12),
    replicated: field(count, 4029),
    announced_peers: field(count, 0),
    published: field(count, 2, "values that this node keeps published"),
    published_items: field(count, 103),
    published_short: field(count, 0, "published values that are short of copies"),
    published_failing: field(
      count,
      0,
      "published values that no other node has acknowledged recently",
    ),
    published_ending: field(count, 0, "published values whose copies will soon expire"),
    pins: field(count, 0, "published values that are pinned"),
    republications: field(count, 206, "items published again since the start"),
    copies_made: field(
      count,
      17,
      "copies of held items that this node made to replace missing ones",
    ),
  }),
  swarms: z.object({
    announced: field(count, 1, "swarms in which this node announces its host"),
    failing: field(count, 0, "of those, how many no node accepted in the latest attempt"),
  }),
  log: field(
    z.object({
      dropped: field(count, 0, "lines that could not be written since the start"),
      stalled_s: field(amount, 0, "seconds for which the reader of the log has taken nothing"),
    }),
    { dropped: 0, stalled_s: 0 },
    "whether the log can be written",
  ),
  nat: Nat,
  network_key: z.object({
    in_use: field(z.boolean(), false, "whether the node talks only to nodes with its NETWORK_KEY"),
    mismatch: field(
      z.string().nullable(),
      null,
      "a node that has no or another key, seen in the last ten minutes",
    ),
  }),
  config: ConfigReport,
}).meta({ id: "Stats" });
export type Stats = z.output<typeof Stats>;

export const NodeStats = Stats.omit({ config: true });
export type NodeStats = z.output<typeof NodeStats>;

/** The state of the node at one time, and its activity since the previous sample. */
const Sample = z.object({
  at: time,
  peers: field(count, 156),
  rtt_ms: field(amount.nullable(), 41.5, "median of the peers' round-trip times"),
  in: Rate,
  out: Rate,
  lookups: z.object({
    count: field(count, 2, "lookups that ended since the previous sample"),
    success: field(count, 2, "lookups in which any node answered"),
    p50_ms: field(amount.nullable(), 71.9),
    p95_ms: field(amount.nullable(), 80.2),
  }),
  storage: z.object({ items: field(count, 4031), bytes: field(count, 4_946_037) }),
  published: z.object({
    values: field(count, 2, "values that this node keeps published"),
    at_risk: field(
      count,
      0,
      "those short of copies, failing or ending; of a longer time, the most",
    ),
  }),
});
export type Sample = z.output<typeof Sample>;

/** An important event, which the dashboard marks on its charts. */
export const Mark = z.object({
  at: time,
  type: field(z.enum(["start", "ready", "nat", "id", "clock", "data.health"]), "ready"),
  text: field(z.string(), "not ready: no peer answers"),
});
export type Mark = z.output<typeof Mark>;

/** How far a history reaches back: an hour, a day or thirty days. */
export const HistoryRange = z.enum(["hour", "day", "month"]);
export type HistoryRange = z.output<typeof HistoryRange>;

/** The samples of a range of time. */
export const History = z.object({
  interval_s: field(amount, 10, "seconds between samples: 10, 300 or 3600"),
  samples: z.array(Sample).meta({
    description: "oldest first; the hour begins at the latest start of the node",
  }),
  marks: z.array(Mark).meta({ description: "the important events of the same time, oldest first" }),
}).meta({ id: "History" });
export type History = z.output<typeof History>;
