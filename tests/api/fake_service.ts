// A NodeService without a network: it has values in a map, peers in a list, and outcomes that a test can set.

import { createHash } from "node:crypto";
import type { HostPort } from "../../src/config/addresses.ts";
import { DurationHistogram } from "../../src/dht/histogram.ts";
import type {
  AddressPingOutcome,
  AllowOutcome,
  AnnounceOptions,
  AnnounceOutcome,
  DenyOutcome,
  DownloadPiece,
  EventListener,
  FetchedValue,
  FetchOutcome,
  FoundPart,
  LargeValue,
  MagnetOutcome,
  MagnetRequest,
  Measurements,
  NodeService,
  PeerSearchOptions,
  PingOutcome,
  PinOutcome,
  PinRequest,
  PublishedFilter,
  ReplicasOutcome,
  ResolveOutcome,
  SampleOutcome,
  SeenVersion,
  SignedItem,
  StoreOptions,
  StoreOutcome,
  SwarmName,
  WalkOutcome,
} from "../../src/node_service.ts";
import type { Magnet } from "../../src/krpc/magnet.ts";
import { nextSeq, type Seq } from "../../src/krpc/seq.ts";
import type {
  DeniedNodes,
  Lookup,
  Peer,
  PeerDetail,
  Peers,
  PeerSelection,
} from "../../src/reports/peers.ts";
import { noBytes } from "../../src/dht/purpose.ts";
import { exampleOf } from "../../src/reports/fields.ts";
import { NetworkSample, NodeSample } from "../../src/reports/samples.ts";
import {
  type History,
  type HistoryRange,
  NodeStats,
  type Readiness,
} from "../../src/reports/stats.ts";
import { NodeThreats } from "../../src/reports/threats.ts";
import { TrafficReport } from "../../src/reports/traffic.ts";
import { PUBLISHED_MAGNET, ResolvedMagnet } from "../../src/reports/magnets.ts";
import { AnnouncedSwarm, type AnnouncedSwarms, SwarmPeers } from "../../src/reports/swarms.ts";
import { timeText } from "../../src/reports/time.ts";
import {
  type HeldItems,
  type Holders,
  PINNED,
  type Pins,
  type Published,
  type PublishedDetail,
  type PublishedValue,
  type Transfer,
} from "../../src/reports/values.ts";
import { serviceHash } from "../../src/runtime/service_hash.ts";
import { EventListeners } from "../../src/runtime/reports/events.ts";
import { Streams } from "../../src/runtime/values/streams.ts";
import { type Version, Watches } from "../../src/runtime/values/watch.ts";
import { collected } from "../large_values/memory_network.ts";

const NODE_STATS = exampleOf(NodeStats);

export const NODE_ID = "a1".repeat(20);
export const PEER_A = "b2".repeat(20);
export const PEER_B = "c3".repeat(20);
export const PEER_C = "d4".repeat(20);
/** The id of a peer that no node knows. */
export const STRANGER = "ee".repeat(20);

const peer = (node_id: string, distance: number, rest: Partial<Peer> = {}): Peer => ({
  node_id,
  address: "192.168.1.10:8000",
  distance,
  last_seen: "2026-04-14T10:29:55Z",
  health: "healthy",
  rtt_ms: 12.4,
  score: 0.97,
  first_seen: "2026-04-14T09:00:00Z",
  client: "dmnode/0.1.0",
  public_key: null,
  ...rest,
});

const hashOf = (swarm: SwarmName) =>
  "service" in swarm ? `${serviceHash(swarm.service)}` : swarm.infoHash;

export class FakeService implements NodeService {
  readonly nodeId = NODE_ID;
  /** The calls of methods with their arguments, in order. */
  readonly calls: unknown[][] = [];
  /** The hashes whose values can only be fetched with their key. */
  readonly keyNeeded = new Set<string>();
  readonly values = new Map<string, FetchedValue>();
  /** The listeners of the events that a test emits. */
  readonly events = new EventListeners();
  tellsSteps = false;
  peerList: Peer[] = [
    peer(PEER_A, 155),
    peer(PEER_B, 160, {
      address: "[2001:db8::1]:8000",
      score: 0.5,
      rtt_ms: null,
      client: null,
      public_key: null,
      health: "degraded",
      first_seen: "2026-04-13T00:00:00Z",
      last_seen: "2026-04-14T11:00:00Z",
    }),
    peer(PEER_C, 12, { score: 0.1, rtt_ms: 3, health: "unhealthy" }),
  ];
  distribution: Peers["bucket_distribution"] = {
    ...NODE_STATS.bucket_distribution,
    "0-20": 2,
    "21-40": 1,
    "121-140": 2,
    "141-160": 7,
  };
  ready: Readiness = { ready: true, reason: "3 peers answer." };
  underWay: Transfer[] = [];
  hour: History["samples"] = [];
  marks: History["marks"] = [];
  trafficReport = exampleOf(TrafficReport);
  threatReport = exampleOf(NodeThreats);
  /** The options of each store. */
  readonly options: (StoreOptions | undefined)[] = [];
  publishedValues: PublishedValue[] = [];
  /** The first digits of the ids of the holders of published values. */
  readonly holderDigits = new Map<string, string[]>();
  readonly publications = new Map<string, PublishedDetail["history"]>();
  readonly pinned: PublishedValue[] = [];
  heldItems: HeldItems["items"] = [];
  readonly deniedEntries = new Set<string>();
  /** If not null, the outcome of each entry that is denied. */
  denyOutcome: DenyOutcome | null = null;
  readonly announcements: AnnouncedSwarm[] = [];
  /** The parts of the next searches for peers. */
  foundParts: FoundPart[] = [];
  /** If not null, the outcome of all published links. */
  magnetOutcome: MagnetOutcome | null = null;
  resolved: ResolveOutcome = { outcome: "found", report: exampleOf(ResolvedMagnet) };
  sampled: SampleOutcome = { outcome: "sampled", report: exampleOf(NodeSample) };
  walked: WalkOutcome = { outcome: "walked", report: exampleOf(NetworkSample) };
  /** If not null, the outcome of all announcements. */
  announceOutcome: AnnounceOutcome | null = null;
  /** If not null, the outcome of all pins. */
  pinOutcome: PinOutcome | null = null;
  /** If not null, the outcome of all counts of copies. */
  replicasOutcome: ReplicasOutcome | null = null;
  /** The versions of watched values, by hash. */
  readonly versions = new Map<string, Version>();
  readonly streams = new Streams();
  readonly watches = new Watches({
    holders: { start: () => {}, stop: () => {}, isPushed: () => false },
    read: (hash) => Promise.resolve(this.versions.get(hash)),
    random: () => 0.5,
    clock: {
      now: () => Date.UTC(2026, 3, 14, 12),
      wall: (at) => at,
      // A watch polls once when it begins, and never again.
      sleep: (ms) => ms === 0 ? Promise.resolve() : new Promise(() => {}),
    },
  });
  /** If not null, the outcome of all stores. */
  storeOutcome: StoreOutcome | null = null;
  /** If not null, every method throws this. */
  failure: Error | null = null;

  #asked(...call: unknown[]): void {
    this.calls.push(call);
    if (this.failure) throw this.failure;
  }

  peers(selection: PeerSelection = {}): Promise<Peers> {
    this.#asked("peers", selection);
    return Promise.resolve({
      node_id: NODE_ID,
      peers: this.peerList,
      routing_table_size: Object.values(this.distribution).reduce((sum, n) => sum + n, 0),
      bucket_distribution: this.distribution,
    });
  }

  peer(id: string): Promise<PeerDetail | undefined> {
    this.#asked("peer", id);
    const known = this.peerList.find(({ node_id }) => node_id === id);
    return Promise.resolve(
      known && {
        ...known,
        health: id === PEER_C ? "gone" : known.health,
        score_parts: { answers: 1, speed: 0.98, honesty: 1, tenure: 0.99 },
        rtt_variation_ms: known.rtt_ms === null ? null : 2.5,
        misses: 1,
        faults: 0.5,
        keeps_us: null,
        last_query: null,
        last_response: known.last_seen,
        next_check: id === PEER_C ? null : timeText(Date.parse(known.last_seen) + 60_000),
        bucket: id === PEER_C ? null : 3,
        history: [
          { at: known.first_seen, what: "joined", reason: null },
          { at: known.last_seen, what: "degraded", reason: "no answer to ping" },
        ],
      },
    );
  }

  traffic(): Promise<TrafficReport> {
    this.#asked("traffic");
    return Promise.resolve(this.trafficReport);
  }

  threats(): Promise<NodeThreats> {
    this.#asked("threats");
    return Promise.resolve(this.threatReport);
  }

  readiness(): Promise<Readiness> {
    return Promise.resolve(this.ready);
  }

  ping(id: string): Promise<PingOutcome> {
    this.#asked("ping", id);
    const { address, health } = this.peerList[0];
    if (id === PEER_A) {
      const report = { node_id: id, address, rtt_ms: 12.4, health, via: "punched" as const };
      return Promise.resolve({ outcome: "pong", report });
    }
    return Promise.resolve(
      id === PEER_B ? { outcome: "timeout", address } : { outcome: "unknown" },
    );
  }

  pingAddress({ host, port }: HostPort): Promise<AddressPingOutcome> {
    const address = `${host}:${port}`;
    this.#asked("pingAddress", address);
    if (host === "nowhere.example" || host === "2001:db8::2") {
      return Promise.resolve({ outcome: "no_address" });
    }
    if (host === "192.0.2.1") return Promise.resolve({ outcome: "not_allowed", address });
    if (host === "192.0.2.2") return Promise.resolve({ outcome: "timeout", address });
    const { health } = this.peerList[0];
    const report = { node_id: PEER_A, address, rtt_ms: 12.4, health, via: "direct" as const };
    return Promise.resolve({ outcome: "pong", report });
  }

  connect(to: HostPort): Promise<AddressPingOutcome> {
    this.#asked("connect", `${to.host}:${to.port}`);
    return this.pingAddress(to);
  }

  denied(): Promise<DeniedNodes> {
    return Promise.resolve({ in_file: 2, denied: [...this.deniedEntries] });
  }

  denyEntry(entry: string): Promise<DenyOutcome> {
    this.#asked("denyEntry", entry);
    const isNew = !this.deniedEntries.has(entry);
    if (this.denyOutcome === null) this.deniedEntries.add(entry);
    return Promise.resolve(this.denyOutcome ?? { outcome: "denied", isNew });
  }

  allowEntry(entry: string): Promise<AllowOutcome> {
    this.#asked("allowEntry", entry);
    return Promise.resolve(this.deniedEntries.delete(entry) ? "allowed" : "unknown");
  }

  held(limit: number): Promise<HeldItems> {
    this.#asked("held", limit);
    return Promise.resolve({ total: this.heldItems.length, items: this.heldItems.slice(0, limit) });
  }

  publishNow(hash: string): Promise<PublishedValue | undefined> {
    this.#asked("publishNow", hash);
    return Promise.resolve(this.publishedValues.find((value) => value.hash === hash));
  }

  find(target: string): Promise<Lookup> {
    this.#asked("find", target);
    return Promise.resolve({
      target,
      found: target === PEER_A,
      nodes: this.peerList.map(({ node_id, address, distance }) => ({
        node_id,
        address,
        distance,
      })),
      hops: 2,
      queries: 5,
      elapsed_ms: 41.5,
      trace: [
        {
          node_id: PEER_A,
          address: "192.168.1.10:8000",
          hop: 1,
          started_ms: 0,
          rtt_ms: 12.4,
          outcome: "responded",
        },
        {
          node_id: null,
          address: "boot.example.org:8000",
          hop: 2,
          started_ms: 13,
          rtt_ms: null,
          outcome: "timeout",
        },
      ],
    });
  }

  async store(
    given: Uint8Array | AsyncIterable<Uint8Array>,
    key: string | null,
    options?: StoreOptions,
  ): Promise<StoreOutcome> {
    this.options.push(options);
    const value = given instanceof Uint8Array ? given : await collected(given);
    this.#asked("store", value, key);
    if (this.storeOutcome) return this.storeOutcome;
    const kind = key === null ? "immutable" : "mutable";
    const hash = sha1(key === null ? `${value.length}:` : key, key === null ? value : null);
    const seq = key === null ? null : nextSeq(this.values.get(hash)?.seq ?? 0)!;
    this.values.set(hash, {
      hash,
      kind,
      bytes: value,
      isBencode: false,
      seq,
      publicKey: key === null ? null : new Uint8Array(32).fill(0xab),
    });
    return await this.#stored(hash, kind, key, seq, value.length);
  }

  storeSigned(
    hash: string,
    item: SignedItem,
    options?: Pick<StoreOptions, "minReplicas">,
  ): Promise<StoreOutcome> {
    this.options.push(options);
    this.#asked("storeSigned", hash, item);
    if (this.storeOutcome) return Promise.resolve(this.storeOutcome);
    const { value, seq, publicKey } = item;
    this.values.set(hash, {
      hash,
      kind: "mutable",
      bytes: value,
      isBencode: false,
      seq,
      publicKey,
    });
    return this.#stored(hash, "mutable", null, seq, value.length);
  }

  #stored(
    hash: string,
    kind: "immutable" | "mutable",
    key: string | null,
    seq: Seq | null,
    size: number,
  ): Promise<StoreOutcome> {
    const nodes = [NODE_ID, PEER_A];
    const life = { lives_until: "2026-04-15T10:29:55Z", this_node_only: false };
    return Promise.resolve({
      outcome: "stored",
      report: { hash, kind, key, seq, size, replicas: 2, nodes, ...life, elapsed_ms: 80.25 },
    });
  }

  fetch(hash: string, key: string | null): Promise<FetchOutcome> {
    this.#asked("fetch", hash, key);
    const value = this.values.get(hash);
    if (value === undefined) return Promise.resolve({ outcome: "not_found" });
    const hidden = this.keyNeeded.has(hash) && key === null;
    return Promise.resolve(hidden ? { outcome: "key_needed" } : { outcome: "found", value });
  }

  published(
    offset: number,
    limit: number,
    { text = "", isAtRisk = false }: PublishedFilter = {},
  ): Promise<Published> {
    this.#asked("published", offset, limit);
    const all = this.publishedValues.filter(({ hash, key, state }) =>
      (hash.startsWith(text) || key?.toLowerCase().includes(text.toLowerCase())) &&
      (!isAtRisk || state !== "safe")
    );
    const published = all.slice(offset, offset + limit);
    return Promise.resolve({ total: all.length, offset, published });
  }

  publishedValue(hash: string): Promise<PublishedDetail | undefined> {
    this.#asked("publishedValue", hash);
    const value = this.publishedValues.find((each) => each.hash === hash);
    const holders = this.holderDigits.get(hash) ?? [], history = this.publications.get(hash) ?? [];
    return Promise.resolve(value && { ...value, wanted: 20, holders, history });
  }

  holders(): Promise<Holders> {
    const values = this.publishedValues.map(({ hash, key, kind }) => {
      return { hash, key, kind, holders: this.holderDigits.get(hash) ?? [] };
    });
    return Promise.resolve({ wanted: 20, values });
  }

  forget(hash: string): Promise<boolean> {
    this.#asked("forget", hash);
    return Promise.resolve(this.values.delete(hash));
  }

  publishMagnet(request: MagnetRequest): Promise<MagnetOutcome> {
    this.#asked("publishMagnet", request);
    return Promise.resolve(
      this.magnetOutcome ?? { outcome: "published", report: PUBLISHED_MAGNET },
    );
  }

  resolveMagnet(magnet: Magnet): Promise<ResolveOutcome> {
    this.#asked("resolveMagnet", magnet);
    return Promise.resolve(this.resolved);
  }

  sampleNode(id: string): Promise<SampleOutcome> {
    this.#asked("sampleNode", id);
    return Promise.resolve(this.sampled);
  }

  sampleNetwork(queries: number): Promise<WalkOutcome> {
    this.#asked("sampleNetwork", queries);
    return Promise.resolve(this.walked);
  }

  findPeers(swarm: SwarmName, options?: PeerSearchOptions): Promise<SwarmPeers> {
    this.#asked("findPeers", swarm, options);
    return Promise.resolve({ ...exampleOf(SwarmPeers), info_hash: hashOf(swarm) });
  }

  openPeerSearch(swarm: SwarmName, options?: PeerSearchOptions): Promise<number> {
    this.#asked("openPeerSearch", swarm, options);
    return Promise.resolve(1);
  }

  nextPeers(): Promise<FoundPart | undefined> {
    return Promise.resolve(this.foundParts.shift());
  }

  closePeerSearch(search: number): Promise<void> {
    this.#asked("closePeerSearch", search);
    return Promise.resolve();
  }

  announce(swarm: SwarmName, options: AnnounceOptions): Promise<AnnounceOutcome> {
    this.#asked("announce", swarm, options);
    if (this.announceOutcome) return Promise.resolve(this.announceOutcome);
    const info_hash = hashOf(swarm);
    const isNew = !this.announcements.some((other) => other.info_hash === info_hash);
    const { port, isSeed: seed } = options;
    const report = { ...exampleOf(AnnouncedSwarm), info_hash, port, seed };
    if (isNew) this.announcements.push(report);
    return Promise.resolve({ outcome: "announced", report, isNew });
  }

  withdraw(swarm: SwarmName): Promise<boolean> {
    this.#asked("withdraw", swarm);
    const index = this.announcements.findIndex((own) => own.info_hash === hashOf(swarm));
    return Promise.resolve(index >= 0 && this.announcements.splice(index, 1).length > 0);
  }

  swarms(): Promise<AnnouncedSwarms> {
    this.#asked("swarms");
    const swarms = this.announcements;
    return Promise.resolve({ total: swarms.length, swarms });
  }

  pin(request: PinRequest): Promise<PinOutcome> {
    this.#asked("pin", request);
    if (this.pinOutcome) return Promise.resolve(this.pinOutcome);
    const hash = request.hash ?? PEER_A, value = this.values.get(hash);
    if (value === undefined) return Promise.resolve({ outcome: "not_found" });
    const isNew = !this.pinned.some((other) => other.hash === hash);
    const report = { ...PINNED, hash };
    if (isNew) this.pinned.push(report);
    return Promise.resolve({ outcome: "pinned", report, isNew });
  }

  unpin(hash: string): Promise<boolean> {
    this.#asked("unpin", hash);
    const index = this.pinned.findIndex((other) => other.hash === hash);
    return Promise.resolve(index >= 0 && this.pinned.splice(index, 1).length > 0);
  }

  pins(offset: number, limit: number): Promise<Pins> {
    this.#asked("pins", offset, limit);
    const pins = this.pinned.slice(offset, offset + limit);
    return Promise.resolve({ total: this.pinned.length, offset, pins });
  }

  replicas(hash: string, key: string | null): Promise<ReplicasOutcome> {
    this.#asked("replicas", hash, key);
    if (this.replicasOutcome) return Promise.resolve(this.replicasOutcome);
    const value = this.values.get(hash);
    if (value === undefined) return Promise.resolve({ outcome: "not_found" });
    const { kind, seq } = value;
    const holders = [
      { node_id: NODE_ID, address: null, seq, age_s: 12.5 },
      { node_id: PEER_A, address: "192.168.1.10:8000", seq, age_s: null },
    ];
    const count = holders.length;
    const report = { hash, kind, seq, holders, count, wanted: 20, parts: null };
    return Promise.resolve({ outcome: "found", report });
  }

  openUpload(key: string | null, options?: StoreOptions): Promise<number> {
    return Promise.resolve(this.streams.openUpload((bytes) => this.store(bytes, key, options)));
  }

  write(upload: number, bytes: Uint8Array): Promise<boolean> {
    return this.streams.write(upload, bytes);
  }

  finishUpload(upload: number): Promise<StoreOutcome> {
    return this.streams.finishUpload(upload);
  }

  closeUpload(upload: number): Promise<void> {
    return this.streams.closeUpload(upload);
  }

  openDownload(value: LargeValue, _start: number, _end: number): Promise<number> {
    throw new Error(`nothing large is held here: ${value.hash}`);
  }

  readDownload(download: number): Promise<DownloadPiece> {
    return this.streams.readDownload(download);
  }

  closeDownload(download: number): Promise<void> {
    return this.streams.closeDownload(download);
  }

  openWatch(hash: string, key: string | null, after: number | null): Promise<number | undefined> {
    this.#asked("watch", hash, key, after);
    const watch = this.watches.open(hash, key, after);
    return Promise.resolve(watch && this.streams.openWatch(watch));
  }

  nextVersion(watch: number, withinMs: number): Promise<SeenVersion | "quiet" | undefined> {
    return this.streams.nextVersion(watch, withinMs);
  }

  closeWatch(watch: number): Promise<void> {
    return this.streams.closeWatch(watch);
  }

  history(after: number, range: HistoryRange = "hour"): Promise<History> {
    this.#asked("history", after, range);
    const samples = this.hour.filter(({ at }) => Date.parse(at) > after);
    const interval_s = { hour: 10, day: 300, month: 3_600 }[range];
    return Promise.resolve({ interval_s, samples, marks: this.marks });
  }

  transfers(): Promise<Transfer[]> {
    return Promise.resolve(this.underWay);
  }

  onEvent(listener: EventListener): () => void {
    return this.events.add(listener);
  }

  tellLookupSteps(isOn: boolean): Promise<void> {
    this.tellsSteps = isOn;
    return Promise.resolve();
  }

  /** Adds a value and returns its hash. */
  hold(value: string | Uint8Array, mutable = false): string {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
    const hash = sha1(`${bytes.length}:`, bytes);
    this.values.set(hash, {
      hash,
      kind: mutable ? "mutable" : "immutable",
      isBencode: false,
      bytes,
      seq: mutable ? 7 : null,
      publicKey: mutable ? new Uint8Array(32).fill(0xab) : null,
    });
    return hash;
  }

  measurements(): Promise<Measurements> {
    const durations = new DurationHistogram();
    durations.add(12.4);
    return Promise.resolve({
      roundTrips: durations,
      lookups: { find_node: durations },
      eventLoopLag: new DurationHistogram(),
      database: null,
      published: { failing: 0, short: 1, ending: 0 },
      usage: { sent: { ...noBytes(), answers: 4_000 }, received: noBytes() },
      replication: { turns: 9, waiting: 2 },
      watching: {
        held: 12,
        made: 8,
        refused: 1,
        notices: { sent: 5, acknowledged: 4, received: 3, unknown: 2 },
      },
      pending: { queries: 3, deadlines: 17 },
      process: {
        startedAtS: 1_776_162_595,
        cpuUserS: 1.5,
        cpuSystemS: 0.25,
        residentBytes: 80e6,
        heapBytes: 20e6,
        heapUsedBytes: 15e6,
        runtime: "deno 2.9.6",
        system: "linux x86_64",
      },
    });
  }

  stats(): Promise<NodeStats> {
    this.#asked("stats");
    const traffic = {
      messages: 10,
      bytes: 900,
      messages_per_second: 1.5,
      bytes_per_second: 135.2,
      by_type: {
        "ping.query": { messages: 4, bytes: 300 },
        "find_node.query": { messages: 6, bytes: 600 },
      },
    };
    return Promise.resolve({
      ...NODE_STATS,
      node_id: NODE_ID,
      uptime_s: 9000.5,
      public_key: "ab".repeat(32),
      addresses: ["127.0.0.1:8000"],
      readiness: { ...this.ready, queries: 40, answers: 38, over_s: 300 },
      peers: { healthy: 1, degraded: 1, unhealthy: 1 },
      routing_table_size: 12,
      buckets: 5,
      bucket_distribution: this.distribution,
      network_size_estimate: null,
      clones: [],
      changing_ids: { addresses: 0, worst: null, changes: 0 },
      left_out: { nodes: 0, subnets: 0, largest: null },
      traffic: { in: traffic, out: traffic, dropped: { malformed: 2 }, unsent: null, budget: null },
      lookups: {
        count: 3,
        success: 2,
        active: 1,
        hops_mean: 2.5,
        latency_ms: { mean: 40, p50: 38, p95: null },
        crowded: 1,
        latest_crowded: {
          target: "e5f96f6f38320f0f33959cb4d3d656452117aadb",
          at: "2026-04-14T10:29:55.323Z",
        },
      },
      storage: {
        items: 4,
        bytes: 4_300,
        value_bytes: 400,
        limit_bytes: 1 << 30,
        expiring_within_hour: 1,
        replicated: 2,
        announced_peers: 0,
        published: 2,
        published_items: 50,
        published_short: 1,
        published_failing: 0,
        published_ending: 0,
        pins: 1,
        republications: 7,
        copies_made: 3,
      },
      swarms: { announced: 1, failing: 0 },
      nat: {
        ...NODE_STATS.nat,
        external_address: "203.0.113.9:41000",
        votes: 12,
        reachable: false,
        read_only: true,
        introducers: 6,
        families: [{
          family: 4,
          external_address: "203.0.113.9:41000",
          type: "endpoint_independent",
          filtering: "address_and_port",
          reachable: false,
          read_only: true,
          evidence: {
            votes: 12,
            voters: 13,
            port_voters: 8,
            same_port: 8,
            voted_by: ["198.51.100.1:8000"],
            voted_at: "2026-04-14T10:29:00Z",
            reason: "3 of 3 probes that were sent have not arrived",
            checked_at: "2026-04-14T10:00:00Z",
            probes: 3,
            missed: 3,
            arrived_from: [],
          },
        }],
      },
    });
  }
}

function sha1(prefix: string, bytes: Uint8Array | null): string {
  return createHash("sha1").update(prefix).update(bytes ?? new Uint8Array()).digest("hex");
}
