// What the API and the command line may ask of a running node: plain values in, promises out.
// The REST layer is written against this interface alone, so it can be tested without a network.

import type { Health } from "../dht/contact.ts";

export type { Health };

/** One contact of the routing table, as people see it. Times are milliseconds since 1970. */
export interface PeerReport {
  nodeId: string;
  /** `host:port`, IPv6 hosts in brackets. */
  address: string;
  /** Bit length (0 to 160) of the XOR of its id and ours. */
  distance: number;
  firstSeen: number;
  lastSeen: number;
  health: Health;
  /** Smoothed round-trip time; null before the first measurement. */
  rttMs: number | null;
  /** 0 (useless) to 1 (reliable and near). */
  score: number;
  /** Name and version from the wire's `v`; null where it sent none. */
  client: string | null;
}

/** One query of a traced lookup. */
export interface TraceStep {
  nodeId: string | null;
  address: string;
  /** 1 for nodes known at the start, n + 1 for nodes learned from hop n. */
  hop: number;
  /** Milliseconds from the start of the lookup. */
  startedMs: number;
  rttMs: number | null;
  outcome: "responded" | "timeout" | "error" | "pending";
}

export interface FoundNode {
  nodeId: string;
  address: string;
  distance: number;
}

export interface LookupReport {
  target: string;
  /** Whether a node with exactly this id answered (or is this node). */
  found: boolean;
  /** The k closest that answered, nearest first. */
  nodes: FoundNode[];
  hops: number;
  queries: number;
  elapsedMs: number;
  trace: TraceStep[];
}

export type PingReport =
  | { outcome: "pong"; nodeId: string; address: string; rttMs: number; health: Health }
  | { outcome: "unknown" }
  | { outcome: "timeout"; address: string };

export interface StoreReport {
  hash: string;
  kind: "immutable" | "mutable";
  key: string | null;
  seq: number | null;
  /** Bytes of the value as it was given. */
  size: number;
  /** Nodes that acknowledged the item as stored, this one included where it holds it. */
  replicas: number;
  nodes: string[];
  elapsedMs: number;
}

export type StoreOutcome =
  | { outcome: "stored"; report: StoreReport }
  /** The bencoded value is over what one item holds. */
  | { outcome: "too_large"; size: number; limit: number }
  /** The key (BEP 44 salt) is over 64 bytes. */
  | { outcome: "key_too_long"; size: number; limit: number }
  /** A newer version is on the network; `seq` is its number. */
  | { outcome: "seq_too_old"; seq: number }
  | { outcome: "cas_mismatch"; seq: number }
  /** The signature does not fit key, salt, seq and value. */
  | { outcome: "bad_signature" }
  /** `hash` in the request is not the hash of key and salt. */
  | { outcome: "wrong_target"; hash: string }
  /** No node acknowledged it, this one included. */
  | { outcome: "unreachable"; detail: string };

/** An item as its owner signed it (BEP 44); `value` is the raw value's bytes, not yet bencoded. */
export interface SignedItem {
  publicKey: Uint8Array;
  signature: Uint8Array;
  seq: number;
  salt: Uint8Array | null;
  value: Uint8Array;
  cas: number | null;
}

export interface FetchedValue {
  hash: string;
  kind: "immutable" | "mutable";
  bytes: Uint8Array;
  seq: number | null;
  publicKey: Uint8Array | null;
}

export type FetchOutcome =
  | { outcome: "found"; value: FetchedValue }
  /** No verified value was found on the network. */
  | { outcome: "not_found" }
  /** A mutable value was found that can't be verified without its key: no node that holds it told the key. */
  | { outcome: "key_needed" };

/** Counts and bytes of one message type, since the start. */
export interface TrafficCount {
  messages: number;
  bytes: number;
}

export interface StatsReport {
  nodeId: string;
  version: string;
  startedAt: number;
  uptimeS: number;
  publicKey: string;
  addresses: string[];
  peers: Record<Health, number>;
  routingTableSize: number;
  buckets: number;
  networkSizeEstimate: number | null;
  traffic: {
    in: TrafficCount & {
      perSecond: number;
      bytesPerSecond: number;
      byType: Record<string, TrafficCount>;
    };
    out: TrafficCount & {
      perSecond: number;
      bytesPerSecond: number;
      byType: Record<string, TrafficCount>;
    };
    /** Packets that were refused, by reason. */
    dropped: Record<string, number>;
  };
  lookups: {
    count: number;
    success: number;
    active: number;
    hopsMean: number | null;
    latencyMs: { mean: number | null; p50: number | null; p95: number | null };
  };
  storage: {
    items: number;
    bytes: number;
    limitBytes: number;
    expiringWithinHour: number;
    replicated: number;
    announcedPeers: number;
  };
  nat: {
    mode: "auto" | "off";
    externalAddress: string | null;
    /** Peers that reported this address. */
    votes: number;
    type: "unknown";
    reachable: boolean | null;
    mapping: null;
  };
}

export interface Readiness {
  ready: boolean;
  /** One sentence: why, or why not. */
  reason: string;
}

/** A running node. Every promise settles; expected failures are outcomes, not rejections. */
export interface NodeService {
  readonly nodeId: string;
  peers(): PeerReport[];
  /** Contacts of the table by bit length of their distance: index 0 to 160. */
  distanceHistogram(): number[];
  stats(): StatsReport;
  readiness(): Readiness;
  /** `id` is 40 lower-case hex digits. */
  ping(id: string): Promise<PingReport>;
  find(id: string): Promise<LookupReport>;
  /** Null `key`: immutable. Otherwise mutable, signed by this node, with a raised `seq`. */
  store(value: Uint8Array, key: string | null): Promise<StoreOutcome>;
  /** Puts an item that its owner signed; `hash` is where the caller believes it belongs. */
  storeSigned(hash: string, item: SignedItem): Promise<StoreOutcome>;
  /** `key` is that of a mutable value, where the caller knows it. */
  fetch(hash: string, key: string | null): Promise<FetchOutcome>;
}
