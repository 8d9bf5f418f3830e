// Examples of the OpenAPI document: what is sent in them can be sent as it is, and what is answered has the shape of a
// real answer. Tests do both.

import type { z } from "@hono/zod-openapi";
import type * as schemas from "./schemas.ts";
import type { EventData, EventType } from "./schemas.ts";

/** A node, as an example. */
export const NODE_ID = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";
const OTHER_ID = "a5d43220bc8f112a3d426c84764f8c2a1150e616";

/** The hash of `Hello World!`. */
export const HELLO = "e5f96f6f38320f0f33959cb4d3d656452117aadb";

/** Where the item that BEP 44 gives as a test vector belongs. */
export const SIGNED_HASH = "4a533d47ec9c7d95b1ad75f576cffc641853b750";

/** Its owner. */
export const SIGNED_KEY = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";

const ADDRESS = "192.0.2.10:8000";
const TIME = "2026-04-14T10:29:55Z";

/** Answers to what is asked, by the name of their schema. */
export const PEER: z.output<typeof schemas.Peer> = {
  node_id: NODE_ID,
  address: ADDRESS,
  distance: 157,
  last_seen: TIME,
  health: "healthy",
  rtt_ms: 12.4,
  score: 0.97,
  first_seen: "2026-04-14T09:00:00Z",
  client: "dmnode/0.1.0",
};

const DISTRIBUTION = {
  "0-20": 0,
  "21-40": 0,
  "41-60": 0,
  "61-80": 0,
  "81-100": 0,
  "101-120": 0,
  "121-140": 0,
  "141-160": 156,
};

export const PEERS: z.output<typeof schemas.PeersResponse> = {
  node_id: OTHER_ID,
  peers: [PEER],
  routing_table_size: 156,
  bucket_distribution: DISTRIBUTION,
};

export const PEER_DETAIL: z.output<typeof schemas.PeerResponse> = {
  ...PEER,
  health: "degraded",
  score: 0.86,
  score_parts: { answers: 0.91, speed: 0.95, honesty: 1, tenure: 0.99 },
  rtt_variation_ms: 2.1,
  misses: 1,
  faults: 0,
  keeps_us: true,
  last_query: TIME,
  last_response: "2026-04-14T10:29:10Z",
  next_check: "2026-04-14T10:30:20Z",
  bucket: 3,
  history: [
    { at: "2026-04-14T09:00:00Z", what: "joined", reason: null },
    { at: "2026-04-14T10:30:15Z", what: "degraded", reason: "no answer to ping" },
  ],
};

export const PONG: z.output<typeof schemas.PingResponse> = {
  node_id: NODE_ID,
  address: ADDRESS,
  rtt_ms: 12.4,
  health: "healthy",
  via: "direct",
};

const FOUND_NODES = { node_id: NODE_ID, address: ADDRESS, distance: 0 };

export const LOOKUP: z.output<typeof schemas.FindResponse> = {
  target: NODE_ID,
  found: true,
  nodes: [FOUND_NODES],
  hops: 1,
  queries: 1,
  elapsed_ms: 12.6,
};

export const TRACED_LOOKUP: z.output<typeof schemas.FindResponse> = {
  ...LOOKUP,
  trace: [{
    node_id: NODE_ID,
    address: ADDRESS,
    hop: 1,
    started_ms: 0,
    rtt_ms: 12.4,
    outcome: "responded",
  }],
};

const FLOW = {
  messages: 5210,
  bytes: 601_233,
  messages_per_second: 1.2,
  bytes_per_second: 109.4,
  by_type: { "find_node.query": { messages: 130, bytes: 13_910 } },
};

export const STATS: z.output<typeof schemas.StatsResponse> = {
  node_id: OTHER_ID,
  public_key: SIGNED_KEY,
  version: "0.1.0",
  started_at: "2026-04-14T08:00:00Z",
  uptime_s: 8995.2,
  addresses: ["[::]:8000"],
  readiness: {
    ready: true,
    reason: "156 peers answer",
    queries: 410,
    answers: 402,
    over_s: 300,
  },
  peers: { healthy: 154, degraded: 2, unhealthy: 0 },
  routing_table_size: 156,
  buckets: 12,
  bucket_distribution: DISTRIBUTION,
  network_size_estimate: 9870,
  traffic: { in: FLOW, out: FLOW, dropped: { unmatched: 3 } },
  lookups: {
    count: 120,
    success: 120,
    active: 0,
    hops_mean: 3.1,
    latency_ms: { mean: 80.2, p50: 71.9, p95: 160.3 },
  },
  storage: {
    items: 4031,
    bytes: 2_913_004,
    limit_bytes: 1_073_741_824,
    expiring_within_hour: 12,
    replicated: 4029,
    announced_peers: 0,
    published: 2,
    published_items: 103,
    republications: 206,
    copies_made: 17,
  },
  nat: {
    mode: "auto",
    external_address: "198.51.100.7:8000",
    votes: 31,
    type: "endpoint_independent",
    reachable: true,
    read_only: false,
    introducers: 0,
    families: [{
      family: 4,
      external_address: "198.51.100.7:8000",
      type: "endpoint_independent",
      filtering: "none",
      reachable: true,
      read_only: false,
      evidence: {
        votes: 31,
        voters: 32,
        port_voters: 31,
        same_port: 31,
        voted_by: [ADDRESS],
        voted_at: "2026-04-14T10:29:55Z",
        reason: "1 of 3 probes arrived",
        checked_at: "2026-04-14T10:29:00Z",
        probes: 3,
        missed: 2,
        arrived_from: ["203.0.113.9:8000"],
      },
    }],
    mapping: {
      status: "mapped",
      protocol: "upnp",
      gateway: "192.168.1.1",
      internal_address: "192.168.1.20:8000",
      external_address: "203.0.113.9:8000",
      lease_s: 3600,
      since: "2026-04-14T10:00:00Z",
      renewed_at: "2026-04-14T10:30:00Z",
      made: 1,
      renewals: 1,
      problem: null,
    },
    pinhole: null,
  },
  config: {
    p2p_port: 8000,
    p2p_host: "0.0.0.0",
    bootstrap_nodes: ["dht.example.org:8000"],
    k_bucket_size: 20,
    min_replicas: 1,
    max_per_subnet: 2,
    alpha: 3,
    health_check_interval: 60,
    api_host: "127.0.0.1",
    api_port: 8080,
    api_token: false,
    api_open_reads: false,
    api_allowed_hosts: [],
    api_trusted_proxies: [],
    api_rate_limit: 200,
    api_send_rate_limit: 50,
    api_max_connections: 1_000,
    data_dir: "./data",
    log_level: "info",
    log_format: null,
    max_value_size: 16_777_216,
    storage_limit: 1_073_741_824,
    nat: "auto",
    relay: 2048,
    allow_net: true,
  },
};

const RATE = { messages_per_second: 1.2, bytes_per_second: 109.4 };

export const HISTORY: z.output<typeof schemas.HistoryResponse> = {
  interval_s: 10,
  samples: [{
    at: TIME,
    peers: 156,
    rtt_ms: 41.5,
    in: RATE,
    out: RATE,
    lookups: { count: 2, success: 2, p50_ms: 71.9, p95_ms: 80.2 },
    storage: { items: 4031, bytes: 2_913_004 },
  }],
};

export const STORED: z.output<typeof schemas.StoreResponse> = {
  hash: HELLO,
  kind: "immutable",
  key: null,
  seq: null,
  size: 12,
  replicas: 2,
  nodes: [NODE_ID, OTHER_ID],
  elapsed_ms: 80.2,
};

export const STORED_UNDER_KEY: z.output<typeof schemas.StoreResponse> = {
  ...STORED,
  hash: "411eba73b6f087ca51a3795d9c8c938d365e32c1",
  kind: "mutable",
  key: "sensor/1",
  seq: 7,
  size: 20,
};

export const STORED_SIGNED: z.output<typeof schemas.StoreResponse> = {
  ...STORED,
  hash: SIGNED_HASH,
  kind: "mutable",
  seq: 1,
};

export const PUBLISHED: z.output<typeof schemas.PublishedResponse> = {
  total: 1,
  offset: 0,
  published: [{
    hash: HELLO,
    kind: "immutable",
    key: null,
    seq: null,
    size: 12,
    items: 1,
    first_at: "2026-04-14T08:00:00Z",
    last_at: "2026-04-14T10:00:12Z",
    next_at: "2026-04-14T10:57:40Z",
    replicas: 20,
    failures: 0,
  }],
};

export const REPLICAS: z.output<typeof schemas.ReplicasResponse> = {
  hash: HELLO,
  kind: "immutable",
  seq: null,
  holders: [
    { node_id: NODE_ID, address: ADDRESS, seq: null, age_s: 75.3 },
    { node_id: OTHER_ID, address: null, seq: null, age_s: 75.3 },
  ],
  count: 2,
  wanted: 20,
  parts: null,
};

export const TRANSFERS: z.output<typeof schemas.TransfersResponse> = {
  transfers: [{
    transfer: 12,
    label: "backup-7",
    direction: "store",
    hash: null,
    done_bytes: 65_736,
    total_bytes: 100_000,
  }],
};

const { config: _, ...STATS_EVENT } = STATS;
const TRANSFER = TRANSFERS.transfers[0];

/** What an event of each type carries. */
export const EVENTS: { readonly [T in EventType]: EventData<T> } = {
  "hello": {
    node_id: OTHER_ID,
    version: "0.1.0",
    peers: 156,
    last: 1_795_355_891_257,
    resumed: false,
    missed: 0,
  },
  "peer.join": PEER,
  "peer.leave": { node_id: NODE_ID, address: ADDRESS, reason: "no answer to ping" },
  "peer.health": {
    node_id: NODE_ID,
    address: ADDRESS,
    from: "healthy",
    to: "degraded",
    reason: "no answer to ping",
  },
  "data.store": { hash: HELLO, kind: "immutable", seq: null, size: 12, from: ADDRESS },
  "data.publish": {
    hash: HELLO,
    kind: "immutable",
    key: null,
    seq: null,
    size: 12,
    replicas: 20,
  },
  "data.fetch": { hash: HELLO, kind: "immutable", size: 12, found: true, elapsed_ms: 41.5 },
  "data.replicate": { hash: HELLO, to: [NODE_ID] },
  "data.expire": { hash: HELLO },
  "data.progress": { ...TRANSFER, state: "moving" },
  "lookup": {
    lookup: 121,
    target: HELLO,
    method: "get",
    hops: 3,
    queries: 25,
    elapsed_ms: 80.2,
    success: true,
  },
  "lookup.step": {
    lookup: 121,
    target: HELLO,
    node_id: NODE_ID,
    address: ADDRESS,
    distance: 157,
    hop: 1,
    state: "responded",
    rtt_ms: 12.4,
  },
  "id": { node_id: NODE_ID, former: OTHER_ID, address: "198.51.100.7:8000" },
  "bootstrap": { state: "joined", contacts: 20 },
  "nat": STATS.nat,
  "ready": { ready: true, reason: "156 peers answer" },
  "stats": STATS_EVENT,
  "watch": { hash: SIGNED_HASH, seq: 7, size: 12, public_key: SIGNED_KEY },
};

/** Events that can't be resumed have no number. */
const UNNUMBERED: ReadonlySet<EventType> = new Set(["hello", "stats", "lookup.step", "watch"]);

/** A message of `/ws` of this type. */
export function eventExample(type: EventType): unknown {
  const id = UNNUMBERED.has(type) ? null : 1_795_355_891_258;
  return { id, type, at: "2026-04-14T10:29:55.323Z", data: EVENTS[type] };
}

export const EVENT_STREAM = `id: 1795355891258\ndata: ${
  JSON.stringify(eventExample("peer.join"))
}\n\n`;

const VERSION_SEEN: z.output<typeof schemas.ValueEvent> = {
  hash: SIGNED_HASH,
  seq: 7,
  size: 12,
  public_key: SIGNED_KEY,
  at: TIME,
};

export const WATCH_STREAM = `event: value\nid: 7\ndata: ${JSON.stringify(VERSION_SEEN)}\n\n`;

/** The item of BEP 44's first test vector for mutable ones. */
export const SIGNED_ITEM = {
  k: "d/+EkFqRk2NnwBNggDEE+SQy/NkEpDURh231zfPn5Ug=",
  sig: "MFrIrrbJwVH6Eg8SDqLPuSNWThFVLQal2FYJHl6FPP8SYNPznkmZaEqpLrc//RNub08+y/2gzlOhYI7NeuIfAQ==",
  seq: 1,
  v: "SGVsbG8gV29ybGQh",
};

export const METRICS =
  `# HELP dmnode_ready Whether the node can store and fetch through others, as /readyz tells.
# TYPE dmnode_ready gauge
dmnode_ready 1
`;

export const OPEN_METRICS = `${METRICS}# EOF\n`;
