// The shapes of the API's requests and responses: what validates them also documents them.

import { z } from "@hono/zod-openapi";
import { Buffer } from "node:buffer";
import { type HostPort, parseHostPort } from "../config.ts";

/** BEP 44: the salt of a mutable item holds at most 64 bytes. */
export const MAX_KEY_BYTES = 64;
/** More peers than a routing table of the largest buckets lists in one answer anyway. */
export const MAX_PEERS_LIMIT = 10_000;
/** Published values in one answer: each is walked through with all of its items. */
export const MAX_PUBLISHED_LIMIT = 1_000;
/** As many as a bucket holds at most, and a value has copies. */
const MAX_REPLICAS = 128;

/** The keys of `bucket_distribution`, nearest first. */
export const BUCKET_RANGES = [
  "0-20",
  "21-40",
  "41-60",
  "61-80",
  "81-100",
  "101-120",
  "121-140",
  "141-160",
] as const;

const id = z.string().regex(/^[0-9a-f]{40}$/).openapi({
  description: "40 lower-case hex digits",
  example: "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401",
});
const time = z.iso.datetime().openapi({ description: "RFC 3339, UTC" });
const count = z.int().min(0);
const amount = z.number().min(0);
const distance = z.int().min(0).max(160).openapi({
  description: "bit length of the XOR of both ids",
});
const address = z.string().openapi({
  description: "host:port, IPv6 hosts in brackets",
  example: "192.168.1.10:8000",
});
const health = z.enum(["healthy", "degraded", "unhealthy"]);
const kind = z.enum(["immutable", "mutable", "chunked"]);

/** An id or hash in a path, of either case. */
function idParameter(name: string) {
  return z.string()
    .regex(/^[0-9a-fA-F]{40}$/, "expected 40 hex digits")
    .transform((hex) => hex.toLowerCase())
    .openapi({
      param: { name, in: "path" },
      type: "string",
      pattern: "^[0-9a-fA-F]{40}$",
      example: "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401",
    });
}

/** `{node_id}` of a path. */
export const NodeIdParams = z.object({ node_id: idParameter("node_id") });
/** `GET /network/ping?address=` */
export const PingQuery = z.object({
  address: z.string().transform((text, context): HostPort => {
    const node = parseHostPort(text.trim());
    if (typeof node !== "string") return node;
    context.addIssue({ code: "custom", message: `it ${node}` });
    return z.NEVER;
  }).openapi({ type: "string", example: "dht.example.org:8000" }),
});
/** `{hash}` of a path. */
export const HashParams = z.object({ hash: idParameter("hash") });

/** `GET /network/peers?…` */
export const PeersQuery = z.object({
  health: health.optional(),
  sort: z.enum(["score", "distance", "rtt", "last_seen", "first_seen"]).default("score").openapi({
    description: "score and last_seen: highest first; the others: lowest first, unknown last",
  }),
  limit: z.string()
    .regex(/^\d{1,5}$/, `expected a whole number from 1 to ${MAX_PEERS_LIMIT}`)
    .transform(Number)
    .refine((n) => n >= 1 && n <= MAX_PEERS_LIMIT, {
      error: `expected a whole number from 1 to ${MAX_PEERS_LIMIT}`,
    })
    .optional()
    .openapi({ type: "integer", minimum: 1, maximum: MAX_PEERS_LIMIT }),
});

const flag = z.enum(["1", "true", "0", "false"]).default("0")
  .transform((text) => text === "1" || text === "true")
  .openapi({ type: "string", enum: ["1", "true", "0", "false"] });

/** `GET /network/find/{node_id}?trace=1` */
export const FindQuery = z.object({ trace: flag });

/** A whole number in a query. */
function wholeNumber(minimum: number, maximum: number) {
  const error = `expected a whole number from ${minimum} to ${maximum}`;
  return z.string().regex(/^\d{1,16}$/, error).transform(Number)
    .refine((n) => n >= minimum && n <= maximum, { error })
    .openapi({ type: "integer", minimum, maximum });
}

/** `GET /network/published?…` */
export const PublishedQuery = z.object({
  limit: wholeNumber(1, MAX_PUBLISHED_LIMIT).default(100),
  offset: wholeNumber(0, Number.MAX_SAFE_INTEGER).default(0),
});

const MIN_REPLICAS = "Nodes that have to acknowledge the value: 1 to K_BUCKET_SIZE; " +
  "MIN_REPLICAS of the configuration unless told.";
const CAS =
  "Under a key: the seq that has to be the newest there is; 0 where there has to be none.";

/** `?min_replicas=` of a store of a signed item. */
export const SignedQuery = z.object({
  min_replicas: wholeNumber(1, MAX_REPLICAS).optional().openapi({ description: MIN_REPLICAS }),
});

/** What a store may say in its query. */
export const StoreQuery = SignedQuery.extend({
  key: z.string().optional().openapi({
    description: `Makes the value mutable; 1 to ${MAX_KEY_BYTES} UTF-8 bytes.`,
  }),
  cas: wholeNumber(0, Number.MAX_SAFE_INTEGER - 1).optional().openapi({ description: CAS }),
});

/** Headers of a store of raw bytes. */
export const StoreHeaders = z.object({
  "x-transfer-label": z.string().optional().openapi({
    description: "Names the transfer in /network/transfers; 1 to 64 visible ASCII characters.",
  }),
});

/** What a fetch may say in its query. */
export const FetchQuery = z.object({
  key: z.string().optional().openapi({
    description: "The key of a mutable value, where the nodes that hold it may not tell it.",
  }),
  replicas: flag.openapi({ description: "Asks who holds the value, instead of for the value." }),
});

/** Headers of a fetch. */
export const FetchHeaders = z.object({
  "range": z.string().optional().openapi({
    description: "Of an immutable or chunked value one range of bytes (RFC 9110, section 14.2).",
    example: "bytes=0-4",
  }),
  "if-range": z.string().optional().openapi({
    description: "An ETag: where the value has another, Range is passed over.",
  }),
  "if-none-match": z.string().optional().openapi({
    description: "ETags that the client has: where one is the value's, the answer is 304.",
  }),
  "last-event-id": z.string().optional().openapi({
    description: "With Accept: text/event-stream the seq over which versions are sent.",
  }),
});

/** The JSON body of `POST /network/store`. */
export const StoreRequest = z.strictObject({
  value: z.unknown().refine((value) => value !== undefined, { error: "is missing" }).openapi({
    description: "A string is stored as its bytes, anything else as its JSON text.",
  }),
  key: z.string().optional(),
  encoding: z.enum(["utf8", "base64"]).optional().openapi({
    description: "How a string `value` is to be read; utf8 unless told.",
  }),
  min_replicas: z.int().min(1).max(MAX_REPLICAS).optional().openapi({ description: MIN_REPLICAS }),
  cas: z.int().min(0).max(Number.MAX_SAFE_INTEGER - 1).optional().openapi({ description: CAS }),
}).openapi("StoreRequest");

/** Standard base64 (RFC 4648, section 4) of `min` to `max` bytes; the padding may be left out. */
function base64(min: number, max: number) {
  return z.string().transform((text, context): Uint8Array => {
    const bytes = decodeBase64(text);
    const length = bytes?.length ?? -1;
    if (bytes !== undefined && length >= min && length <= max) return bytes;
    const size = min === max ? `${min} bytes` : `${min} to ${max} bytes`;
    context.addIssue({
      code: "custom",
      message: max === Infinity ? "expected base64" : `expected the base64 of ${size}`,
    });
    return z.NEVER;
  }).openapi({ type: "string", format: "byte" });
}

/** The bytes of standard base64, or undefined where `text` has anything else in it. */
export function decodeBase64(text: string): Uint8Array | undefined {
  // Looked at first: of bad input Buffer skips what it can't read, or throws, as the Deno version will have it.
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  const digits = text.replace(/=+$/, "");
  if (digits.length % 4 === 1 || (digits !== text && text.length % 4 !== 0)) return undefined;
  const bytes = Buffer.from(text, "base64");
  // The last digit may have bits that belong to no byte; two texts for one value are one too many.
  const tail = bytes.toString("base64", bytes.length - bytes.length % 3).replace(/=+$/, "");
  if (!digits.endsWith(tail)) return undefined;
  return new Uint8Array(bytes); // out of the pool that Buffer keeps for small ones
}

const seq = z.int().min(0);

/** The JSON body of `PUT /data/{hash}`: an item as BEP 44 signs it. */
export const SignedRequest = z.strictObject({
  k: base64(32, 32).openapi({ description: "Ed25519 public key" }),
  sig: base64(64, 64).openapi({ description: "signature over salt, seq and v, as in BEP 44" }),
  seq,
  salt: base64(0, MAX_KEY_BYTES).optional(),
  v: base64(0, Infinity).openapi({ description: "the value's bytes, not bencoded" }),
  cas: seq.optional().openapi({ description: "the seq that must be the stored one" }),
  min_replicas: z.int().min(1).max(MAX_REPLICAS).optional().openapi({ description: MIN_REPLICAS }),
}).openapi("SignedRequest");

// Not extended below: the document would say that what is of the one is of the other as well, and "gone" is not.
const peerMembers = {
  node_id: id,
  address,
  distance,
  last_seen: time,
  health,
  rtt_ms: amount.nullable(),
  score: z.number().min(0).max(1),
  first_seen: time,
  client: z.string().nullable(),
};

/** One peer of the routing table. */
export const Peer = z.object(peerMembers).openapi("Peer");

const share = z.number().min(0).max(1);

/** Answer of `GET /network/peers/{node_id}`. */
export const PeerResponse = z.object({
  ...peerMembers,
  health: z.enum([...health.options, "gone"]).openapi({
    description: "gone: it left the routing table; the rest is as it was then",
  }),
  score_parts: z.object({
    answers: share.openapi({ description: "the share of our latest queries that it answered" }),
    speed: share.openapi({ description: "by round-trip time and its variation" }),
    honesty: share.openapi({ description: "1 without faults" }),
    tenure: share.openapi({ description: "by how long it has been known" }),
  }).openapi({ description: "their product is the score" }),
  rtt_variation_ms: amount.nullable(),
  misses: count.openapi({ description: "our latest queries in a row that it left unanswered" }),
  faults: amount.openapi({ description: "wrong and useless answers; fading with each good one" }),
  keeps_us: z.boolean().nullable().openapi({
    description: "whether it says that it keeps this node in its own table",
  }),
  last_query: time.nullable(),
  last_response: time.nullable(),
  next_check: time.nullable(),
  bucket: count.nullable().openapi({ description: "0 holds the farthest" }),
  history: z.array(z.object({
    at: time,
    what: z.enum(["joined", ...health.options, "left", "replaced"]),
    reason: z.string().nullable(),
  })).openapi({ description: "the latest 20 changes, oldest first" }),
}).openapi("PeerDetail");

const BucketDistribution = z.object({
  "0-20": count,
  "21-40": count,
  "41-60": count,
  "61-80": count,
  "81-100": count,
  "101-120": count,
  "121-140": count,
  "141-160": count,
}).openapi("BucketDistribution");

/** Answer of `GET /network/peers`. */
export const PeersResponse = z.object({
  node_id: id,
  peers: z.array(Peer),
  routing_table_size: count,
  bucket_distribution: BucketDistribution,
}).openapi("Peers");

/** Answer of `GET /network/ping/{node_id}`. */
export const PingResponse = z.object({
  node_id: id,
  address,
  rtt_ms: amount,
  health,
  via: z.enum(["direct", "punched", "relayed"]).openapi({
    description: "how it was reached: at its address; there, once it had opened its NAT for this " +
      "node; or by way of another node",
  }),
}).openapi("Ping");

/** Answer of a store. */
export const StoreResponse = z.object({
  hash: id,
  kind,
  key: z.string().nullable(),
  seq: seq.nullable(),
  size: count.openapi({ description: "bytes of the value" }),
  replicas: count.openapi({ description: "nodes that acknowledged durable storage" }),
  nodes: z.array(id),
  elapsed_ms: amount,
}).openapi("Stored");

/** Answer of `GET /network/published`. */
export const PublishedResponse = z.object({
  total: count.openapi({ description: "values that this node keeps published" }),
  offset: count,
  published: z.array(z.object({
    hash: id,
    kind,
    key: z.string().nullable().openapi({ description: "the salt, where it is text" }),
    seq: seq.nullable(),
    size: count.nullable().openapi({ description: "null where another node has the parts" }),
    items: count.openapi({ description: "items that it consists of" }),
    first_at: time,
    last_at: time.nullable(),
    next_at: time,
    replicas: count.openapi({ description: "nodes that acknowledged it last; the least of items" }),
    failures: count.openapi({ description: "attempts since then that nobody acknowledged" }),
  })),
}).openapi("Published");

/** Answer of `GET /data/{hash}?replicas=1`. */
export const ReplicasResponse = z.object({
  hash: id,
  kind,
  seq: seq.nullable(),
  holders: z.array(z.object({
    node_id: id,
    address: address.nullable().openapi({ description: "null: this node" }),
    seq: seq.nullable(),
    age_s: amount.nullable().openapi({ description: "null where the holder does not tell" }),
  })),
  count,
  wanted: count.openapi({ description: "K_BUCKET_SIZE" }),
  parts: z.object({
    manifests: count,
    manifests_counted: count,
    chunks: count,
    chunks_counted: count.openapi({ description: "a sample" }),
    least: count,
    mean: amount,
  }).nullable().openapi({ description: "copies of a chunked value's items" }),
}).openapi("Replicas");

/** The data of an event of `GET /data/{hash}` with `Accept: text/event-stream`. */
export const ValueEvent = z.object({
  hash: id,
  seq: seq.nullable(),
  size: count,
  public_key: z.string().nullable().openapi({ description: "Ed25519, hex" }),
  at: time,
}).openapi("ValueEvent");

const transferMembers = {
  transfer: count.openapi({ description: "tells the transfers of this node apart" }),
  label: z.string().nullable(),
  direction: z.enum(["store", "fetch"]),
  hash: id.nullable().openapi({ description: "null while it is being stored" }),
  done_bytes: count,
  total_bytes: count.nullable().openapi({ description: "null where a body did not say" }),
};

/** Answer of `GET /network/transfers`. */
export const TransfersResponse = z.object({ transfers: z.array(z.object(transferMembers)) })
  .openapi("Transfers");

/** Answer of `GET /network/find/{node_id}`. */
export const FindResponse = z.object({
  target: id,
  found: z.boolean(),
  nodes: z.array(z.object({ node_id: id, address, distance })),
  hops: count,
  queries: count,
  elapsed_ms: amount,
  trace: z.array(z.object({
    node_id: id.nullable(),
    address,
    hop: count,
    started_ms: amount,
    rtt_ms: amount.nullable(),
    outcome: z.enum(["responded", "timeout", "error", "pending"]),
  })).optional(),
}).openapi("Lookup");

const Mapping = z.object({
  status: z.enum(["searching", "mapped", "behind_another_nat", "not_needed", "none", "off"]),
  protocol: z.enum(["pcp", "nat-pmp", "upnp"]).nullable(),
  gateway: z.string().nullable().openapi({ description: "the router's address" }),
  internal_address: z.string().nullable(),
  external_address: z.string().nullable(),
  lease_s: count.nullable().openapi({ description: "seconds; 0: until it is deleted" }),
  since: time.nullable(),
  renewed_at: time.nullable(),
  made: count.openapi({ description: "mappings since the start" }),
  renewals: count,
  problem: z.string().nullable(),
}).openapi("Mapping");

const natType = z.enum(["none", "endpoint_independent", "symmetric", "unknown"]).openapi({
  description: "none: peers see an address of this machine; endpoint_independent: all see one " +
    "port of a router; symmetric: each sees another port",
});

/** Where a node is in one address family. */
const NatFamily = z.object({
  family: z.union([z.literal(4), z.literal(6)]),
  external_address: z.string().nullable(),
  type: natType,
  filtering: z.enum(["none", "address", "address_and_port", "unknown"]).openapi({
    description:
      "whom it lets in at a port from which packets went out: everybody, the addresses " +
      "that were written to, or only their very ports",
  }),
  reachable: z.boolean().nullable(),
  read_only: z.boolean(),
  evidence: z.object({
    votes: count.openapi({ description: "peers that see this address" }),
    voters: count.openapi({ description: "all that told one" }),
    port_voters: count.openapi({ description: "the latest of those that see it" }),
    same_port: count.openapi({ description: "and how many of them at most see one port" }),
    voted_by: z.array(z.string()),
    voted_at: time.nullable(),
    reason: z.string().openapi({ description: "why it is held to be reachable, or not" }),
    checked_at: time.nullable(),
    probes: count.openapi({ description: "sent by others in the latest check" }),
    missed: count,
    arrived_from: z.array(z.string()),
  }),
}).openapi("NatFamily");

const TrafficCount = z.object({ messages: count, bytes: count });
const Traffic = z.object({
  messages: count,
  bytes: count,
  messages_per_second: amount,
  bytes_per_second: amount,
  by_type: z.record(z.string(), TrafficCount),
}).openapi("Traffic");

/** Answer of `GET /network/stats`. */
export const StatsResponse = z.object({
  node_id: id,
  public_key: z.string().openapi({ description: "Ed25519, hex" }),
  version: z.string(),
  started_at: time,
  uptime_s: amount,
  addresses: z.array(address),
  readiness: z.object({
    ready: z.boolean(),
    reason: z.string(),
    queries: count.openapi({ description: "queries sent over the last minutes" }),
    answers: count.openapi({ description: "and how many were answered" }),
    over_s: count.openapi({ description: "how long these minutes were" }),
  }),
  peers: z.object({ healthy: count, degraded: count, unhealthy: count }),
  routing_table_size: count,
  buckets: count,
  bucket_distribution: BucketDistribution,
  network_size_estimate: amount.nullable(),
  traffic: z.object({
    in: Traffic,
    out: Traffic,
    dropped: z.record(z.string(), count).openapi({ description: "refused packets by reason" }),
  }),
  lookups: z.object({
    count,
    success: count,
    active: count,
    hops_mean: amount.nullable(),
    latency_ms: z.object({
      mean: amount.nullable(),
      p50: amount.nullable(),
      p95: amount.nullable(),
    }),
  }),
  storage: z.object({
    items: count,
    bytes: count,
    limit_bytes: count,
    expiring_within_hour: count,
    replicated: count,
    announced_peers: count,
    published: count.openapi({ description: "values that this node keeps published" }),
    published_items: count,
    republications: count.openapi({ description: "items published again since the start" }),
    copies_made: count.openapi({ description: "of held items where some were missing" }),
  }),
  nat: z.object({
    mode: z.enum(["auto", "off"]),
    external_address: z.string().nullable(),
    votes: count,
    type: natType,
    reachable: z.boolean().nullable().openapi({
      description: "whether packets arrive that were not asked for; null: not known yet",
    }),
    read_only: z.boolean().openapi({ description: "whether it answers no strangers (BEP 43)" }),
    introducers: count.openapi({ description: "nodes that introduce others to it" }),
    families: z.array(NatFamily),
    mapping: Mapping.nullable().openapi({ description: "of the P2P port, by the local router" }),
    pinhole: Mapping.nullable().openapi({
      description: "the same for IPv6: what its firewall lets in",
    }),
  }),
  config: z.object({
    p2p_port: count,
    p2p_host: z.string(),
    bootstrap_nodes: z.array(z.string()),
    k_bucket_size: count,
    min_replicas: count,
    max_per_subnet: count,
    alpha: count,
    health_check_interval: count.openapi({ description: "seconds" }),
    api_host: z.string(),
    api_port: count,
    api_token: z.boolean().openapi({ description: "whether one is asked for" }),
    api_open_reads: z.boolean(),
    api_allowed_hosts: z.array(z.string()),
    api_trusted_proxies: z.array(z.string()),
    api_rate_limit: count,
    api_send_rate_limit: count,
    api_max_connections: count,
    data_dir: z.string(),
    log_level: z.string(),
    log_format: z.string().nullable(),
    max_value_size: count,
    storage_limit: count,
    nat: z.string(),
    relay: count.openapi({ description: "bytes a second that it passes on for others" }),
    allow_net: z.union([z.boolean(), z.array(z.string())]),
  }),
}).openapi("Stats");

/** `GET /network/history?…` */
export const HistoryQuery = z.object({
  after: z.iso.datetime({ error: "expected a time such as 2026-04-14T10:29:55Z" }).optional()
    .openapi({ description: "Only samples after this" }),
});

const HistoryRate = z.object({ messages_per_second: amount, bytes_per_second: amount });

/** Answer of `GET /network/history`. */
export const HistoryResponse = z.object({
  interval_s: amount.openapi({ description: "between samples" }),
  samples: z.array(z.object({
    at: time,
    peers: count,
    rtt_ms: amount.nullable().openapi({ description: "median of the peers'" }),
    in: HistoryRate,
    out: HistoryRate,
    lookups: z.object({
      count: count.openapi({ description: "ended since the sample before" }),
      success: count,
      p50_ms: amount.nullable(),
      p95_ms: amount.nullable(),
    }),
    storage: z.object({ items: count, bytes: count }),
  })).openapi({ description: "oldest first; of the last hour, or since the start" }),
}).openapi("History");

const peerName = { node_id: id, address };
const stateOfPeer = { ...peerName, reason: z.string() };
const eventNumber = z.int().min(1);

/** What the events of `/ws` and `/events` carry, by type: all that there are. */
export const EVENT_DATA = {
  "hello": z.object({
    node_id: id,
    version: z.string(),
    peers: count,
    last: eventNumber.openapi({ description: "the number of the newest event" }),
    resumed: z.boolean().openapi({ description: "all that came after `since` follows" }),
    missed: count.nullable().openapi({
      description: "events after `since` that are not kept any more; null: the node was restarted",
    }),
  }),
  "peer.join": Peer,
  "peer.leave": z.object(stateOfPeer),
  "peer.health": z.object({ ...peerName, from: health, to: health, reason: z.string() }),
  "data.store": z.object({
    hash: id,
    kind: z.enum(["immutable", "mutable"]),
    seq: seq.nullable(),
    size: count,
    from: address,
  }).openapi({ description: "an item was stored here for the network" }),
  "data.publish": z.object({
    hash: id,
    kind,
    key: z.string().nullable(),
    seq: seq.nullable(),
    size: count,
    replicas: count,
  }).openapi({ description: "a value was stored on the network from here" }),
  "data.fetch": z.object({
    hash: id,
    kind: kind.nullable(),
    size: count.nullable(),
    found: z.boolean(),
    elapsed_ms: amount,
  }),
  "data.replicate": z.object({ hash: id, to: z.array(id) }),
  "data.expire": z.object({ hash: id }),
  "data.progress": z.object({ ...transferMembers, state: z.enum(["moving", "done", "failed"]) }),
  "lookup": z.object({
    lookup: count.openapi({ description: "tells the lookups of this node apart" }),
    target: id,
    method: z.enum(["find_node", "get_peers", "get"]),
    hops: count,
    queries: count,
    elapsed_ms: amount,
    success: z.boolean().openapi({ description: "whether any node answered" }),
  }),
  "lookup.step": z.object({
    lookup: count,
    target: id,
    node_id: id.nullable().openapi({ description: "null: a bootstrap node that has not told it" }),
    address,
    distance: distance.nullable(),
    hop: count,
    state: z.enum(["asked", "responded", "late", "failed"]),
    rtt_ms: amount.nullable(),
  }),
  "id": z.object({ node_id: id, former: id, address }),
  "bootstrap": z.object({ state: z.enum(["joined", "failed"]), contacts: count }),
  "nat": StatsResponse.shape.nat,
  "ready": z.object({ ready: z.boolean(), reason: z.string() }),
  "stats": StatsResponse.omit({ config: true }),
  "watch": ValueEvent.omit({ at: true }),
} as const;

/** The type of an event. */
export type EventType = keyof typeof EVENT_DATA;

/** What an event of a type carries. */
export type EventData<T extends EventType> = z.output<(typeof EVENT_DATA)[T]>;

const EVENT_TYPES = Object.keys(EVENT_DATA).join(", ");

/** `GET /events?…` */
export const EventsQuery = z.object({
  types: z.string().optional().openapi({
    description: `Types by commas: ${EVENT_TYPES}; data.* for all that begin so, * for all but ` +
      "lookup.step, which has to be named.",
    example: "peer.*,data.*",
  }),
  since: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional().openapi({
    description: "The id of the last event that the client has: those after it come first.",
  }),
});

/** Headers of it. */
export const EventsHeaders = z.object({
  "last-event-id": z.string().optional().openapi({
    description: "As since, which it goes before.",
  }),
});

/** `/ws?…` */
export const SocketQuery = EventsQuery.extend({
  watch: z.string().regex(/^[0-9a-fA-F]{40}$/, "expected 40 hex digits")
    .transform((hex) => hex.toLowerCase()).optional(),
});

/** One message of `/ws`. */
export const Event = z.union(
  Object.entries(EVENT_DATA).map(([type, data]) =>
    z.object({
      id: eventNumber.nullable().openapi({
        description: "rises by one from event to event; null where it is none that can be resumed",
      }),
      type: z.literal(type),
      at: time,
      data,
    })
  ),
).openapi("Event");

/** Answer of `GET /healthz`. */
export const HealthResponse = z.object({ status: z.literal("ok") }).openapi("Health");

/** Answer of `GET /readyz` once the node can store and fetch. */
export const ReadyResponse = z.object({ ready: z.literal(true), reason: z.string() })
  .openapi("Ready");

/** Every error (RFC 9457). Those that concern it have further members, such as the limit of a 413. */
export const ProblemDocument = z.looseObject({
  type: z.string().openapi({ description: "always about:blank: the status says it" }),
  title: z.string().openapi({ description: "what the status is called" }),
  status: z.int(),
  detail: z.string().openapi({ description: "what was wrong with this request" }),
  size: count.optional().openapi({ description: "bytes that there are" }),
  limit: count.optional().openapi({ description: "how many there may be" }),
  seq: seq.optional().openapi({ description: "the version on the network" }),
  hash: id.optional().openapi({ description: "where a signed item belongs" }),
  key_needed: z.literal(true).optional().openapi({
    description: "the value is there, and can be verified with its key alone",
  }),
  acknowledged: count.optional().openapi({ description: "nodes that acknowledged the value" }),
  min_replicas: count.optional().openapi({ description: "nodes that were to" }),
  refusals: z.array(z.object({
    code: z.int().openapi({ description: "of KRPC (BEP 5, BEP 44)" }),
    text: z.string(),
    nodes: count.openapi({ description: "how many said so" }),
  })).optional().openapi({ description: "what those said that refused it" }),
  kept_published: z.boolean().optional().openapi({
    description: "whether an earlier store of it is still kept published, where that is known",
  }),
  ready: z.literal(false).optional(),
  reason: z.string().optional().openapi({ description: "why the node is not ready" }),
  types: z.array(z.string()).optional().openapi({ description: "the events that there are" }),
}).openapi("Problem");
