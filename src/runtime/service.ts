// What the API and the command line may ask of a running node: plain values in, promises out.
// The REST layer is written against this interface alone, so it can be tested without a network.

import type { Progress, StoreOptions as TreeOptions } from "../data/large_values.ts";
import type { ContentHint } from "../data/manifest.ts";
import type { Health, ScoreParts } from "../dht/contact.ts";
import type { DurationHistogram } from "../dht/histogram.ts";
import type { LookupResult } from "../dht/lookup.ts";
import type { NatFiltering, NatType } from "../dht/nat.ts";
import type { Way } from "../dht/punching.ts";
import type { MappingStatus } from "./port_mapping/port_mapping.ts";
import type { Protocol } from "./port_mapping/router.ts";
import type { EventListener, ServiceEvent } from "./events.ts";
import type { HostPort } from "../config.ts";
import type { HourSample } from "./past_hour.ts";
import type { ProcessReport } from "./process.ts";
import type { Watch } from "./watch.ts";

export { TransferError } from "../data/transfers.ts";
export type {
  ContentHint,
  EventListener,
  Health,
  HourSample,
  NatType,
  Progress,
  ServiceEvent,
  Watch,
  Way,
};

/** What a caller may ask of a store. */
export interface StoreOptions extends TreeOptions {
  /** Of a value under a key the seq that has to be the newest there is; 0: there must be none yet. */
  readonly cas?: number;
}

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

/** One change of a peer. */
export interface PeerChange {
  readonly at: number;
  readonly what: "joined" | Health | "left" | "replaced";
  readonly reason: string | null;
}

/** All that is known of one peer; of one that has left, what was known then. */
export interface PeerDetail extends Omit<PeerReport, "health"> {
  health: Health | "gone";
  /** Their product is the score. */
  scoreParts: ScoreParts;
  rttVariationMs: number | null;
  /** Our latest queries that it left unanswered, in a row. */
  misses: number;
  /** Wrong and useless answers; fading with each good one. */
  faults: number;
  /** Whether it says that it keeps us in its table too; null where it does not say. */
  keepsUs: boolean | null;
  /** Null where it never asked or answered. */
  lastQuery: number | null;
  lastResponse: number | null;
  /** Null, like the bucket, once it is gone. */
  nextCheck: number | null;
  /** The bucket of the routing table that it is in: 0 holds the farthest. */
  bucket: number | null;
  /** The latest changes, oldest first. */
  history: readonly PeerChange[];
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
  | { outcome: "pong"; nodeId: string; address: string; rttMs: number; health: Health; via: Way }
  | { outcome: "unknown" }
  | { outcome: "timeout"; address: string };

/** Of a ping to an address. */
export type AddressPingReport =
  | Extract<PingReport, { outcome: "pong" | "timeout" }>
  /** The name has no address that this node can use. */
  | { outcome: "no_address" }
  /** `--allow-net` does not permit it. */
  | { outcome: "not_allowed"; address: string };

export interface StoreReport {
  hash: string;
  /** Chunked: over one item, with or without a key. */
  kind: "immutable" | "mutable" | "chunked";
  key: string | null;
  seq: number | null;
  /** Bytes of the value as it was given. */
  size: number;
  /**
   * Nodes that acknowledged the item as stored, this one included where it holds it; of a chunked value the least
   * number for any of its items.
   */
  replicas: number;
  /** Those that hold the item of `hash`; of a chunked value under a key, those that hold its root. */
  nodes: string[];
  elapsedMs: number;
}

export type StoreOutcome =
  | { outcome: "stored"; report: StoreReport }
  /** The bencoded value of a signed item is over what one item holds. */
  | { outcome: "too_large"; size: number; limit: number }
  /** The key (BEP 44 salt) is over 64 bytes. */
  | { outcome: "key_too_long"; size: number; limit: number }
  /** A newer version is on the network; `seq` is its number. */
  | { outcome: "seq_too_old"; seq: number }
  | { outcome: "cas_mismatch"; seq: number }
  /** Under `cas`: at the same time another version was stored, and won; `seq` is its number. */
  | { outcome: "overtaken"; seq: number }
  /** The signature does not fit key, salt, seq and value. */
  | { outcome: "bad_signature" }
  /** `hash` in the request is not the hash of key and salt. */
  | { outcome: "wrong_target"; hash: string }
  /** Fewer nodes than were asked for acknowledged it, or one of its items; this one counts. */
  | {
    outcome: "too_few";
    acknowledged: number;
    wanted: number;
    /** What those said that refused it. */
    refusals: Refusal[];
    /** Whether an earlier store of it, or of a version of it, is still kept published; undefined: not known. */
    isPublished: boolean | undefined;
  }
  /** The node stops, or gave its place to another transfer. */
  | { outcome: "unreachable"; detail: string }
  /** Too many large values are being moved. */
  | { outcome: "busy"; detail: string };

/** What nodes answered that did not store a value. The text is a stranger's, cut and cleaned. */
export interface Refusal {
  code: number;
  text: string;
  /** Nodes that said so. */
  nodes: number;
}

/** A value that this node keeps published. Times are milliseconds since 1970. */
export interface PublishedValue {
  hash: string;
  kind: StoreReport["kind"];
  /** The salt of a mutable value, where it is text. */
  key: string | null;
  seq: number | null;
  /** Bytes; null where the key refers to a large value that another node publishes. */
  size: number | null;
  /** Items that it consists of, as far as this node publishes them. */
  items: number;
  firstAt: number;
  lastAt: number | null;
  nextAt: number;
  /** Nodes that acknowledged it the last time; of several items the least number. */
  replicas: number;
  /** Attempts since then that nobody acknowledged; of several items the most. */
  failures: number;
}

/** One copy of a value, as its holder tells. */
export interface Holder {
  nodeId: string;
  /** Null where it is this node. */
  address: string | null;
  seq: number | null;
  /** Seconds since its owner put it; null where the holder does not tell. */
  ageS: number | null;
}

export interface ReplicasReport {
  hash: string;
  kind: StoreReport["kind"];
  seq: number | null;
  /** Nearest first; of a chunked value those that hold the item of `hash`. */
  holders: Holder[];
  /** How many there should be. */
  wanted: number;
  /** Of a chunked value: the copies of its other items. */
  parts: PartsReport | null;
}

/** Copies of a large value's items, of which all the manifests up to a limit and a few chunks are counted. */
export interface PartsReport {
  manifests: number;
  manifestsCounted: number;
  chunks: number;
  chunksCounted: number;
  /** Nodes that hold the item that fewest hold. */
  least: number;
  mean: number;
}

export type ReplicasOutcome =
  | { outcome: "found"; report: ReplicasReport }
  | { outcome: "not_found" }
  | { outcome: "key_needed" }
  /** Too many are being counted. */
  | { outcome: "busy" };

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

/** A value of many items, of which only the root has been fetched. */
export interface LargeValue {
  /** As it was asked for: the root's, or that of the key under which it is. */
  hash: string;
  /** Names these very bytes. */
  root: string;
  size: number;
  /** What whoever stored it says that it is. */
  hint: ContentHint;
  /** Null, like `publicKey`, where it was asked for by its root. */
  seq: number | null;
  publicKey: Uint8Array | null;
  /**
   * The bytes from `start` up to and without `end`, fetched as they are read, in order. Ending the iteration stops
   * fetching; aborting `signal` stops it even while a piece is waited for. Where it is the whole, the last piece
   * comes once its SHA-256 was right.
   *
   * @throws {TransferError} while it is read
   */
  read(start: number, end: number, signal?: AbortSignal): AsyncGenerator<Uint8Array>;
}

export type FetchOutcome =
  | { outcome: "found"; value: FetchedValue }
  | { outcome: "large"; value: LargeValue }
  /** What was found says that it is part of a large value, and is not the root of a valid one. */
  | { outcome: "invalid"; detail: string }
  /** No verified value was found on the network, or not all that it consists of, as `detail` says. */
  | { outcome: "not_found"; detail?: string }
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
  readiness: Readiness & AnswerCounts;
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
    /** Values that this node keeps published, and their items. */
    published: number;
    publishedItems: number;
    /** Items that it has published again since the start, and copies that it made of others' where some were missing. */
    republications: number;
    copiesMade: number;
  };
  nat: {
    mode: "auto" | "off";
    externalAddress: string | null;
    /** Peers that reported this address. */
    votes: number;
    type: NatType;
    reachable: boolean | null;
    /** Whether it answers no strangers, because they can't reach it (BEP 43). */
    readOnly: boolean;
    /** Nodes at which it has registered, so that others are introduced to it. */
    introducers: number;
    /** What is held to be so of each address family, and why; the above is of the first that peers have told of. */
    families: NatReport[];
    /** Null where no router is asked. */
    mapping: MappingReport | null;
    /** The same for IPv6, where there is nothing to translate but a firewall to pass. */
    pinhole: MappingReport | null;
  };
}

/** How the local router's mapping of the P2P port stands. Times are milliseconds since 1970. */
export interface MappingReport {
  status: MappingStatus;
  /** Null, like all the others but `problem`, where there is no mapping. */
  protocol: Protocol | null;
  /** The router's address. */
  gateway: string | null;
  internalAddress: string | null;
  externalAddress: string | null;
  /** Seconds that it was granted for; 0: until it is deleted. */
  leaseS: number | null;
  since: number | null;
  renewedAt: number | null;
  /** Since the start: mappings made, and renewals of them. */
  made: number;
  renewals: number;
  /** One sentence, partly a stranger's words, cut and cleaned; null where nothing is wrong. */
  problem: string | null;
}

/** A histogram as it stands: a copy is not made, for it is read at once. */
export type Durations = Readonly<Pick<DurationHistogram, "counts" | "sum">>;

/** What monitoring reads beside the statistics. */
export interface Measurements {
  /** Of queries that were answered at the first try. */
  readonly roundTrips: Durations;
  readonly lookups: Readonly<Partial<Record<LookupResult["method"], Durations>>>;
  /** How late a timer ran that was due each second. */
  readonly eventLoopLag: Durations;
  /** Null where nothing is kept on disk. */
  readonly database: {
    readonly commits: Durations;
    readonly failedCommits: number;
    /** Changes that are not committed yet. */
    readonly waitingChanges: number;
    /** Rows that were left out when it was opened, for they are not as they were written. */
    readonly damagedRows: number;
  } | null;
  /** Items of the values that this node keeps published. */
  readonly published: {
    /** Those that nobody acknowledged the last time. */
    readonly failing: number;
    /** Those that fewer than half of the nodes acknowledged that could: of K_BUCKET_SIZE, or of all there are. */
    readonly short: number;
  };
  readonly replication: {
    /** Turns in which this node saw to an item's copies. */
    readonly turns: number;
    /** Items that wait to be published again or seen to. */
    readonly waiting: number;
  };
  readonly process: ProcessReport;
}

/** Where a node is in one address family, and whether strangers can reach it. Times are milliseconds since 1970. */
export interface NatReport {
  family: 4 | 6;
  externalAddress: string | null;
  type: NatType;
  /** Whom it lets in at a port from which packets went out. */
  filtering: NatFiltering;
  reachable: boolean | null;
  readOnly: boolean;
  evidence: {
    /** Peers that see this address, and all that told one. */
    votes: number;
    voters: number;
    /** The latest of those that see it, how many of them at most see one port, and they themselves. */
    portVoters: number;
    samePort: number;
    votedBy: string[];
    votedAt: number | null;
    /** Why it is held to be reachable, or not. */
    reason: string;
    checkedAt: number | null;
    /** Probes that were asked for in the latest check, those that did not arrive, and where others came from. */
    probes: number;
    missed: number;
    arrivedFrom: string[];
  };
}

/** Packets of the last minutes, at most five. */
export interface AnswerCounts {
  /** Queries sent; one that was sent twice counts twice. */
  readonly queries: number;
  /** Those that were answered. */
  readonly answers: number;
  /** Over so many seconds. */
  readonly overS: number;
}

export interface Readiness {
  ready: boolean;
  /** One sentence: why, or why not. */
  reason: string;
}

/**
 * A running node. Every promise settles; expected failures are outcomes, not rejections, but for streams that fail
 * on the way.
 */
export interface NodeService {
  readonly nodeId: string;
  peers(): PeerReport[];
  /** Undefined where nothing is known of this id; 40 lower-case hex digits. */
  peer(id: string): PeerDetail | undefined;
  /** Contacts of the table by bit length of their distance: index 0 to 160. */
  distanceHistogram(): number[];
  stats(): StatsReport;
  measurements(): Measurements;
  /** The node's figures over the last hour, those after `after` (milliseconds since 1970), oldest first. */
  pastHour(after: number): readonly HourSample[];
  readiness(): Readiness;
  /** `id` is 40 lower-case hex digits. */
  ping(id: string): Promise<PingReport>;
  /** Of several addresses of a name, the first that is permitted. */
  pingAddress(node: HostPort): Promise<AddressPingReport>;
  find(id: string): Promise<LookupReport>;
  /**
   * Null `key`: immutable. Otherwise mutable, signed by this node, with a raised `seq`. A stream is read as fast as the
   * network takes it, and held in small part; what it fails with is passed on.
   */
  store(
    value: Uint8Array | AsyncIterable<Uint8Array>,
    key: string | null,
    options?: StoreOptions,
  ): Promise<StoreOutcome>;
  /** Puts an item that its owner signed; `hash` is where the caller believes it belongs. */
  storeSigned(
    hash: string,
    item: SignedItem,
    options?: Pick<StoreOptions, "minReplicas">,
  ): Promise<StoreOutcome>;
  /** The values that this node keeps published, the next to be published first, and how many there are in all. */
  published(offset: number, limit: number): { total: number; values: PublishedValue[] };
  /** Publishes a value no more; false where it did not. */
  forget(hash: string): boolean;
  /** `key` is that of a mutable value, where the caller knows it. */
  fetch(hash: string, key: string | null): Promise<FetchOutcome>;
  /** Who holds a value. */
  replicas(hash: string, key: string | null): Promise<ReplicasOutcome>;
  /**
   * Watches a value: yields its version, where that is over `after`, and each newer one. Undefined where too many are
   * being watched.
   */
  watch(hash: string, key: string | null, after: number | null): Watch | undefined;
  /** The large values that are being stored and fetched. */
  transfers(): Progress[];
  /** Tells how far large values have come, until the function that it returns is called. */
  onProgress(listener: (progress: Progress) => void): () => void;
  /** Tells what happens from now on, until the function that it returns is called. */
  onEvent(listener: EventListener): () => void;
  /** Whether lookups that begin from now on are told step by step: an event for each of their packets. */
  tellLookupSteps(isOn: boolean): void;
}
