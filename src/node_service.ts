// The interface between the API and a running node. Reports have the same shape as in the API's responses
// (src/reports).

import type { HostPort } from "./config/addresses.ts";
import type { Magnet } from "./krpc/magnet.ts";
import type { Seq } from "./krpc/seq.ts";
import type { DurationHistogram } from "./dht/histogram.ts";
import type { Bytes } from "./dht/purpose.ts";
import type { LookupResult } from "./dht/search/lookup.ts";
import type { StoreOptions as TransferOptions } from "./large_values/large_values.ts";
import type { ContentHint } from "./large_values/manifest.ts";
import type { TransferFailure } from "./large_values/transfers.ts";
import type { ServiceEvent } from "./reports/events.ts";
import type {
  DeniedNodes,
  Lookup,
  PeerDetail,
  Peers,
  PeerSelection,
  Ping,
} from "./reports/peers.ts";
import type { AnnouncedSwarm, AnnouncedSwarms, SwarmPeers } from "./reports/swarms.ts";
import type { PublishedMagnet, ResolvedMagnet } from "./reports/magnets.ts";
import type { NetworkSample, NodeSample } from "./reports/samples.ts";
import type { History, HistoryRange, NodeStats, Readiness } from "./reports/stats.ts";
import type { NodeThreats } from "./reports/threats.ts";
import type { TrafficReport } from "./reports/traffic.ts";
import type {
  HeldItems,
  Holders,
  Pins,
  Published,
  PublishedDetail,
  PublishedValue,
  Refusal,
  Replicas,
  Stored,
  Transfer,
} from "./reports/values.ts";

/** A version of a watched value. */
export interface SeenVersion {
  /** The version number; null if the value is immutable and therefore has only one version. */
  readonly seq: Seq | null;
  /** The size of the version in bytes. */
  readonly size: number;
  /** The public key of the owner, in hex. */
  readonly public_key: string | null;
  /** The time at which this node first saw the version, in milliseconds since 1970. */
  readonly at: number;
}

/** Called with an event and its time, in milliseconds since 1970. */
export type EventListener = (event: ServiceEvent, at: number) => void;

export interface StoreOptions extends TransferOptions {
  /** The `seq` that the newest version under the key must have. 0 means that no version may exist. */
  readonly cas?: Seq;
  /** The number of seconds for which other nodes should keep the value after its last publication; a day by default. */
  readonly ttl?: number;
}

/** Which published values to list. */
export interface PublishedFilter {
  /** Only values whose hash begins with this text, or whose key contains it. */
  readonly text?: string;
  /**
   * If true, lists only values that have too few copies, fail to be published, will soon expire, or are only on this
   * node.
   */
  readonly isAtRisk?: boolean;
}

/** A value to pin: by its hash, or by its key and the public key of its owner. */
export interface PinRequest {
  readonly hash?: string;
  readonly key: string | null;
  /** The owner's public key in hex; by default, this node's public key. */
  readonly publicKey?: string;
  /** The number of seconds for which other nodes should keep the value; see `StoreOptions.ttl`. */
  readonly ttl?: number;
}

export type PinOutcome =
  | { outcome: "pinned"; report: PublishedValue; isNew: boolean }
  | { outcome: "not_found"; detail?: string }
  | { outcome: "key_needed" }
  /** The value claims to be large, but is not valid, or its bytes don't have the hash that it states. */
  | { outcome: "invalid"; detail: string }
  | { outcome: "too_large"; size: number; limit: number }
  /** The value could not be written to the disk. */
  | { outcome: "no_disk" }
  /** Too many large values are already being transferred. */
  | { outcome: "busy"; detail: string }
  /** The node is stopping, or the transfer stalled while others were waiting. */
  | { outcome: "unreachable"; detail: string };

/** A swarm, named by its info-hash (40 lower-case hex digits) or by the service that it serves. */
export type SwarmName = { readonly infoHash: string } | { readonly service: string };

export interface PeerSearchOptions {
  /** Whether to ask only for peers that are not seeds (BEP 33). */
  readonly noSeeds?: boolean;
  /** Whether to estimate the size of the swarm (BEP 33). */
  readonly scrapes?: boolean;
}

/** The next part of a search for peers. "quiet": no peer was found in time. */
export type FoundPart =
  | { readonly kind: "peers"; readonly peers: string[] }
  | { readonly kind: "result"; readonly report: SwarmPeers }
  | { readonly kind: "quiet" };

export interface AnnounceOptions {
  /** The port to announce. Null: the UDP port of this node, as other nodes see it. */
  readonly port: number | null;
  /** Whether this host seeds (BEP 33). */
  readonly isSeed: boolean;
}

export type AnnounceOutcome =
  | { outcome: "announced"; report: AnnouncedSwarm; isNew: boolean }
  /** This node announces itself in too many swarms. */
  | { outcome: "full"; limit: number }
  /** The announcement could not be written to the disk, so it would not survive a restart. */
  | { outcome: "no_disk" };

export type SampleOutcome =
  | { outcome: "sampled"; report: NodeSample }
  | { outcome: "unknown" }
  /** The node does not support BEP 51. */
  | { outcome: "unsupported"; address: string }
  | { outcome: "timeout"; address: string };

export type WalkOutcome =
  | { outcome: "walked"; report: NetworkSample }
  /** Too many walks are running. */
  | { outcome: "busy" };

export type PingOutcome =
  | { outcome: "pong"; report: Ping }
  | { outcome: "unknown" }
  | { outcome: "timeout"; address: string };

/** The outcome of a ping to an address. */
export type AddressPingOutcome =
  | Exclude<PingOutcome, { outcome: "unknown" }>
  /** The host name resolves to no address that this node can use. */
  | { outcome: "no_address" }
  /** `--allow-net` does not permit the address. */
  | { outcome: "not_allowed"; address: string };

export type DenyOutcome =
  | { outcome: "denied"; isNew: boolean }
  /** Too many entries were added while the node ran. */
  | { outcome: "full"; limit: number }
  /** The entry names this node. */
  | { outcome: "self" }
  /** The entry has taken effect, but could not be written to the disk. */
  | { outcome: "unsaved" };

/** "unknown": there is no such entry. "unsaved": the disk still has it, so the next start of the node reads it. */
export type AllowOutcome = "allowed" | "unknown" | "unsaved";

export type StoreOutcome =
  | { outcome: "stored"; report: Stored }
  /** The bencoded value of a signed item exceeds the size limit of items. */
  | { outcome: "too_large"; size: number; limit: number }
  /** The key (the salt of BEP 44) is longer than 64 bytes. */
  | { outcome: "key_too_long"; size: number; limit: number }
  /** The network holds a newer version, with this `seq`. */
  | { outcome: "seq_too_old"; seq: Seq }
  | { outcome: "cas_mismatch"; seq: Seq }
  /** Another version was stored at the same time and won. `seq` is the number of that version. */
  | { outcome: "overtaken"; seq: Seq }
  /** The newest version has the largest possible `seq`, so no version can follow it. */
  | { outcome: "seq_exhausted"; seq: Seq }
  /** The signature does not match the key, salt, seq and value. */
  | { outcome: "bad_signature" }
  /** The item belongs at `hash`, not at the hash that the caller gave. */
  | { outcome: "wrong_target"; hash: string }
  /** Too few nodes acknowledged the value or one of its items. `acknowledged` may include this node. */
  | {
    outcome: "too_few";
    acknowledged: number;
    wanted: number;
    /** The number of nodes that this node knows, itself included, if they are fewer than `wanted`. */
    known?: number;
    refusals: Refusal[];
    /** Whether all refusals are due to a lack of space. */
    isFull: boolean;
    /** Whether an earlier version or copy of this value is still being published. Undefined if unknown. */
    isPublished: boolean | undefined;
  }
  /**
   * Too few nodes have room for the value, so no part of the value was stored. `room` is null if a node refused an
   * item.
   */
  | {
    outcome: "no_room";
    /**
     * The space that the value needs on each node, the number of nodes that were asked, and how many of them have the
     * space.
     */
    room: { neededBytes: number; asked: number; withRoom: number } | null;
  }
  /** The node is stopping, or the transfer stalled while others were waiting. */
  | { outcome: "unreachable"; detail: string }
  /** Too many large values are already being transferred. */
  | { outcome: "busy"; detail: string };

/** A torrent to publish under a key of this node (BEP 46). */
export interface MagnetRequest extends Pick<StoreOptions, "cas" | "minReplicas" | "ttl"> {
  /** The info-hash of the torrent: 40 lower-case hex digits. */
  readonly infoHash: string;
  readonly key: string;
}

export type MagnetOutcome =
  | { outcome: "published"; report: PublishedMagnet }
  | Exclude<StoreOutcome, { outcome: "stored" }>;

export type ResolveOutcome =
  | { outcome: "found"; report: ResolvedMagnet }
  | { outcome: "not_found" }
  /** The value under the key is not a dictionary with an info-hash. */
  | { outcome: "invalid"; hash: string };

export type ReplicasOutcome =
  | { outcome: "found"; report: Replicas }
  | { outcome: "not_found" }
  | { outcome: "key_needed" }
  /** The copies of too many large values are already being counted. */
  | { outcome: "busy" };

/** An item as its owner signed it (BEP 44). `value` is a byte string's content, or another value in bencoded form. */
export interface SignedItem {
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
  readonly seq: Seq;
  readonly salt: Uint8Array | null;
  readonly value: Uint8Array;
  readonly cas: Seq | null;
}

export interface FetchedValue {
  readonly hash: string;
  readonly kind: "immutable" | "mutable";
  readonly bytes: Uint8Array;
  readonly seq: Seq | null;
  readonly publicKey: Uint8Array | null;
  /**
   * Whether the item's value is not a byte string. If so, `bytes` contains the value in bencoded
   * form.
   */
  readonly isBencode: boolean;
}

/** A value that consists of many items. Only its root item has been fetched so far. */
export interface LargeValue {
  /** The requested hash: the hash of the root item, or the target of the mutable item that refers to the root item. */
  readonly hash: string;
  /** The hash of the root item, which identifies the bytes of the value. */
  readonly root: string;
  readonly size: number;
  /** The kind of content, as guessed by the node that stored the value. */
  readonly hint: ContentHint;
  /** The version number. Null, like `publicKey`, if the value was requested by the hash of its root item. */
  readonly seq: Seq | null;
  readonly publicKey: Uint8Array | null;
  /** The value of the root item. A download needs this value to find the pieces. */
  readonly manifest: Uint8Array;
}

/** The result of reading the next piece of a download. */
export type DownloadPiece =
  | { outcome: "bytes"; bytes: Uint8Array }
  | { outcome: "end" }
  | { outcome: "failed"; failure: TransferFailure; detail: string };

export type FetchOutcome =
  | { outcome: "found"; value: FetchedValue }
  | { outcome: "large"; value: LargeValue }
  /** The item is marked as part of a large value, but is not a valid root item. */
  | { outcome: "invalid"; detail: string }
  /** No verified value was found. `detail` is set if some items of a large value are missing. */
  | { outcome: "not_found"; detail?: string }
  /** A mutable value was found, but no holder sent its key, which is needed to verify the value. */
  | { outcome: "key_needed" };

export type Durations = Readonly<Pick<DurationHistogram, "counts" | "sum">>;

/** Figures of the process since its start. Sizes are in bytes, times in seconds. */
export interface ProcessReport {
  /** The start of the process, in seconds since 1970. */
  readonly startedAtS: number;
  readonly cpuUserS: number;
  readonly cpuSystemS: number;
  readonly residentBytes: number;
  readonly heapBytes: number;
  readonly heapUsedBytes: number;
  /** Name and version of the JavaScript runtime. */
  readonly runtime: string;
  /** Operating system and processor, such as "linux x86_64". */
  readonly system: string;
}

/** Figures for monitoring, in addition to the statistics. */
export interface Measurements {
  /** Round-trip times of queries that were answered on the first try. */
  readonly roundTrips: Durations;
  readonly lookups: Readonly<Partial<Record<LookupResult["method"], Durations>>>;
  /** Event loop lag: how late a timer with an interval of one second fires. */
  readonly eventLoopLag: Durations;
  /** Figures of the database; null if the node has no disk. */
  readonly database: {
    readonly commits: Durations;
    readonly failedCommits: number;
    /** The number of changes that are not committed to the database yet. */
    readonly waitingChanges: number;
    /** The number of damaged rows that were found at the start, or when a value was read later. */
    readonly damagedRows: number;
  } | null;
  /** Counts of the items of the values that this node keeps published. */
  readonly published: {
    /** The number of items that no node acknowledged at the latest attempt to publish them. */
    readonly failing: number;
    /**
     * The number of items with copies on fewer than four fifths of K_BUCKET_SIZE nodes. Smaller networks count with all
     * their nodes.
     */
    readonly short: number;
    /**
     * The number of items whose copies on other nodes will soon expire, because publishing them has failed for a long
     * time.
     */
    readonly ending: number;
  };
  /** Bytes since the start, with the headers of UDP and IP, by purpose. */
  readonly usage: { readonly sent: Readonly<Bytes>; readonly received: Readonly<Bytes> };
  readonly replication: {
    /** The number of times that this node has counted the copies of an item and restored missing ones. */
    readonly turns: number;
    /** The number of items that wait to be republished, or to have their copies counted. */
    readonly waiting: number;
  };
  readonly watching: {
    /** The number of subscriptions that other nodes have at this node. */
    readonly held: number;
    /** The number of subscriptions that this node has at the holders of watched values. */
    readonly made: number;
    /** The number of subscriptions of other nodes that this node refused for lack of room. */
    readonly refused: number;
    readonly notices: {
      readonly sent: number;
      readonly acknowledged: number;
      readonly received: number;
      /** The number of notices that match no subscription of this node. */
      readonly unknown: number;
    };
  };
  /** The numbers of pending operations of the core. If these numbers keep growing, the program has a leak. */
  readonly pending: {
    /** The number of queries in flight. */
    readonly queries: number;
    /** The number of deadlines that the core has scheduled. */
    readonly deadlines: number;
  };
  readonly process: ProcessReport;
}

/**
 * A running node. Arguments and results are plain data, because callers may be in other threads.
 * Expected failures are outcomes. A rejected promise means a bug.
 */
export interface NodeService {
  readonly nodeId: string;
  peers(selection?: PeerSelection): Promise<Peers>;
  /** Describes the peer with this id (40 lower-case hex digits). Undefined if this node does not know the peer. */
  peer(id: string): Promise<PeerDetail | undefined>;
  stats(): Promise<NodeStats>;
  measurements(): Promise<Measurements>;
  /**
   * Returns the samples of the last hour, or of another range, that were taken after `after`, in
   * milliseconds since 1970.
   */
  history(after: number, range?: HistoryRange): Promise<History>;
  /** The bytes sent and received by hour, day and month. */
  traffic(): Promise<TrafficReport>;

  /** Signs of an attack: refused packets, the density of ids, and the concentration of addresses. */
  threats(): Promise<NodeThreats>;
  readiness(): Promise<Readiness>;
  /** Pings the peer with this id (40 lower-case hex digits). */
  ping(id: string): Promise<PingOutcome>;
  /** Pings the first address of a host that `--allow-net` permits. */
  pingAddress(node: HostPort): Promise<AddressPingOutcome>;
  /** Pings a host like `pingAddress`, and joins the network of the node that answers. */
  connect(node: HostPort): Promise<AddressPingOutcome>;
  /** Lists the nodes and addresses that the user has denied while the node ran. */
  denied(): Promise<DeniedNodes>;
  /** Ignores a node or address from now on. Resolves when `entry`, in the form of a line in the deny list, is on disk. */
  denyEntry(entry: string): Promise<DenyOutcome>;
  /** Removes an entry that `denyEntry` added. Resolves when the change is on disk. */
  allowEntry(entry: string): Promise<AllowOutcome>;
  /** Finds the nodes closest to an id. The report includes the steps of the lookup. */
  find(id: string): Promise<Lookup>;
  /** Stores an immutable value or, if a `key` is given, the next version of a mutable value, signed by this node. */
  store(value: Uint8Array, key: string | null, options?: StoreOptions): Promise<StoreOutcome>;
  /** Opens an upload and returns its number. End it with `finishUpload` or, to abandon it, with `closeUpload`. */
  openUpload(key: string | null, options?: StoreOptions): Promise<number>;
  /**
   * Resolves with true once more bytes can be written. False means that the upload has already ended: call
   * `finishUpload` for the outcome.
   */
  write(upload: number, bytes: Uint8Array): Promise<boolean>;
  finishUpload(upload: number): Promise<StoreOutcome>;
  closeUpload(upload: number): Promise<void>;
  /** Puts an item that its owner signed. `hash` is the target that the caller expects. */
  storeSigned(
    hash: string,
    item: SignedItem,
    options?: Pick<StoreOptions, "minReplicas" | "ttl">,
  ): Promise<StoreOutcome>;
  /** Publishes the info-hash of a torrent under a key of this node (BEP 46), and keeps it published. */
  publishMagnet(request: MagnetRequest): Promise<MagnetOutcome>;
  /** Finds the torrent that a magnet link under a key refers to. */
  resolveMagnet(magnet: Magnet): Promise<ResolveOutcome>;
  /**
   * Returns a page of the values that this node keeps published, ordered by when they will next be published. With a
   * filter, only matching values are listed.
   */
  published(offset: number, limit: number, filter?: PublishedFilter): Promise<Published>;
  /** Describes a value that this node keeps published, and its past. Undefined if the node does not publish it. */
  publishedValue(hash: string): Promise<PublishedDetail | undefined>;
  /** Lists the nodes that acknowledged each published value. */
  holders(): Promise<Holders>;
  /** Lists up to `limit` items that this node holds for the network, nearest to the node's id first. */
  held(limit: number): Promise<HeldItems>;
  /** Republishes a value now, ahead of schedule. Undefined if this node does not publish the value. */
  publishNow(hash: string): Promise<PublishedValue | undefined>;
  /** Stops publishing a value. False if this node did not publish it. */
  forget(hash: string): Promise<boolean>;
  /**
   * Fetches a value, keeps it on this node's disk and keeps it published, like a value that was
   * stored through this node. For a value with a key, this is always the newest version.
   */
  pin(request: PinRequest): Promise<PinOutcome>;
  /** Ends a pin. False if the value was not pinned. */
  unpin(hash: string): Promise<boolean>;
  /** Returns a page of the pinned values, in the order of `published`. */
  pins(offset: number, limit: number): Promise<Pins>;
  /** Fetches a value. `key` is the key of a mutable value, if the caller knows it. */
  fetch(hash: string, key: string | null): Promise<FetchOutcome>;
  /**
   * Starts a download of `value` from byte `start` up to but excluding byte `end`, and returns the download's number.
   * Bytes are fetched as they are read. For a whole value, the SHA-256 is verified before the last piece is returned.
   */
  openDownload(value: LargeValue, start: number, end: number): Promise<number>;
  /** Returns the next bytes of the download. The caller may keep or change them. */
  readDownload(download: number): Promise<DownloadPiece>;
  /** Ends a download early, even during a read. */
  closeDownload(download: number): Promise<void>;
  replicas(hash: string, key: string | null): Promise<ReplicasOutcome>;
  /** Starts watching a value for versions newer than `after`. Undefined if there are too many watches. */
  openWatch(hash: string, key: string | null, after: Seq | null): Promise<number | undefined>;
  /**
   * Resolves with the latest unseen version, with "quiet" if there is none within `withinMs`, or
   * with undefined once closed.
   */
  nextVersion(watch: number, withinMs: number): Promise<SeenVersion | "quiet" | undefined>;
  closeWatch(watch: number): Promise<void>;
  /** Finds the peers of a swarm. */
  findPeers(swarm: SwarmName, options?: PeerSearchOptions): Promise<SwarmPeers>;
  /** Starts a search for peers, and returns its number. */
  openPeerSearch(swarm: SwarmName, options?: PeerSearchOptions): Promise<number>;
  /**
   * Resolves with the next part of a search, with "quiet" if there is none within `withinMs`, or
   * with undefined after the result.
   */
  nextPeers(search: number, withinMs: number): Promise<FoundPart | undefined>;
  closePeerSearch(search: number): Promise<void>;
  /** Announces this host as a peer of a swarm, and keeps it announced. Resolves after the first attempt. */
  announce(swarm: SwarmName, options: AnnounceOptions): Promise<AnnounceOutcome>;
  /** Ends an announcement. False if there is none. */
  withdraw(swarm: SwarmName): Promise<boolean>;
  /** Lists the announcements of this node. */
  swarms(): Promise<AnnouncedSwarms>;
  /** Asks the node with this id for a sample of the info-hashes that it stores (BEP 51). */
  sampleNode(id: string): Promise<SampleOutcome>;
  /** Asks up to `queries` nodes of the network for samples. */
  sampleNetwork(queries: number): Promise<WalkOutcome>;
  /** Lists the large values that are being stored or fetched. */
  transfers(): Promise<Transfer[]>;
  /** Calls `listener` for each event until the returned function is called. */
  onEvent(listener: EventListener): () => void;
  /** If `isOn` is true, lookups that start from now on emit an event for each of their packets. */
  tellLookupSteps(isOn: boolean): Promise<void>;
}
