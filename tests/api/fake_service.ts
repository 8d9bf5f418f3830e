// A NodeService without a network: values in a map, peers from a list, outcomes that a test can force.

import { createHash } from "node:crypto";
import type { HostPort } from "../../src/config.ts";
import { DurationHistogram } from "../../src/dht/histogram.ts";
import type {
  AddressPingReport,
  FetchedValue,
  FetchOutcome,
  HourSample,
  LookupReport,
  Measurements,
  NodeService,
  PeerDetail,
  PeerReport,
  PingReport,
  Progress,
  PublishedValue,
  Readiness,
  ReplicasOutcome,
  SignedItem,
  StatsReport,
  StoreOptions,
  StoreOutcome,
} from "../../src/runtime/service.ts";
import { type EventListener, EventListeners } from "../../src/runtime/events.ts";
import { type Version, type Watch, Watches } from "../../src/runtime/watch.ts";
import { collected } from "../data/memory_network.ts";

export const NODE_ID = "a1".repeat(20);
export const PEER_A = "b2".repeat(20);
export const PEER_B = "c3".repeat(20);
export const PEER_C = "d4".repeat(20);
/** Known to nobody. */
export const STRANGER = "ee".repeat(20);

const peer = (nodeId: string, distance: number, rest: Partial<PeerReport> = {}): PeerReport => ({
  nodeId,
  address: "192.168.1.10:8000",
  distance,
  firstSeen: Date.UTC(2026, 3, 14, 9, 0, 0),
  lastSeen: Date.UTC(2026, 3, 14, 10, 29, 55, 678),
  health: "healthy",
  rttMs: 12.4,
  score: 0.97,
  client: "dmnode/0.1.0",
  ...rest,
});

export class FakeService implements NodeService {
  readonly nodeId = NODE_ID;
  /** What was asked, in order. */
  readonly calls: unknown[][] = [];
  /** Hashes that are fetched with their key alone. */
  readonly keyNeeded = new Set<string>();
  readonly values = new Map<string, FetchedValue>();
  /** Those who hear what a test says that happened. */
  readonly events = new EventListeners();
  tellsSteps = false;
  peerList: PeerReport[] = [
    peer(PEER_A, 155),
    peer(PEER_B, 160, {
      address: "[2001:db8::1]:8000",
      score: 0.5,
      rttMs: null,
      client: null,
      health: "degraded",
      firstSeen: Date.UTC(2026, 3, 13),
      lastSeen: Date.UTC(2026, 3, 14, 11),
    }),
    peer(PEER_C, 12, {
      score: 0.1,
      rttMs: 3,
      health: "unhealthy",
      firstSeen: Date.UTC(2026, 3, 15),
      lastSeen: Date.UTC(2026, 3, 12),
    }),
  ];
  histogram = Array.from(
    { length: 161 },
    (_, d) => ({ 0: 1, 20: 1, 21: 1, 140: 2, 141: 3, 160: 4 })[d] ?? 0,
  );
  ready: Readiness = { ready: true, reason: "3 peers answer." };
  underWay: Progress[] = [];
  hour: HourSample[] = [];
  /** What the stores were asked beside their value. */
  readonly options: (StoreOptions | undefined)[] = [];
  publishedValues: PublishedValue[] = [];
  /** Answer of the next counts of copies, instead of counting. */
  replicasOutcome: ReplicasOutcome | null = null;
  /** What the watched values are said to be, by hash. */
  readonly versions = new Map<string, Version>();
  readonly watches = new Watches({
    read: (hash) => Promise.resolve(this.versions.get(hash)),
    now: () => Date.UTC(2026, 3, 14, 12),
    random: () => 0.5,
    // Polls at once when a watch begins, and never of its own accord.
    later: (ms, run) => {
      if (ms === 0) queueMicrotask(run);
      return () => {};
    },
  });
  /** Answer of the next stores, instead of storing. */
  storeOutcome: StoreOutcome | null = null;
  /** Thrown by every method that is asked. */
  failure: Error | null = null;

  #asked(...call: unknown[]): void {
    this.calls.push(call);
    if (this.failure) throw this.failure;
  }

  peers(): PeerReport[] {
    this.#asked("peers");
    return this.peerList;
  }

  peer(id: string): PeerDetail | undefined {
    this.#asked("peer", id);
    const known = this.peerList.find(({ nodeId }) => nodeId === id);
    return known && {
      ...known,
      health: id === PEER_C ? "gone" : known.health,
      scoreParts: { answers: 1, speed: 0.98, honesty: 1, tenure: 0.99 },
      rttVariationMs: known.rttMs === null ? null : 2.5,
      misses: 1,
      faults: 0.5,
      keepsUs: null,
      lastQuery: null,
      lastResponse: known.lastSeen,
      nextCheck: id === PEER_C ? null : known.lastSeen + 60_000,
      bucket: id === PEER_C ? null : 3,
      history: [
        { at: known.firstSeen, what: "joined", reason: null },
        { at: known.lastSeen, what: "degraded", reason: "no answer to ping" },
      ],
    };
  }

  distanceHistogram(): number[] {
    return this.histogram;
  }

  readiness(): Readiness {
    return this.ready;
  }

  ping(id: string): Promise<PingReport> {
    this.#asked("ping", id);
    const { address, health } = this.peerList[0];
    if (id === PEER_A) {
      const pong = { nodeId: id, address, rttMs: 12.4, health };
      return Promise.resolve({ outcome: "pong", ...pong, via: "punched" });
    }
    return Promise.resolve(
      id === PEER_B ? { outcome: "timeout", address } : { outcome: "unknown" },
    );
  }

  pingAddress({ host, port }: HostPort): Promise<AddressPingReport> {
    const address = `${host}:${port}`;
    this.#asked("pingAddress", address);
    if (host === "nowhere.example" || host === "2001:db8::2") {
      return Promise.resolve({ outcome: "no_address" });
    }
    if (host === "192.0.2.1") return Promise.resolve({ outcome: "not_allowed", address });
    if (host === "192.0.2.2") return Promise.resolve({ outcome: "timeout", address });
    const { health } = this.peerList[0];
    return Promise.resolve({
      outcome: "pong",
      nodeId: PEER_A,
      address,
      rttMs: 12.4,
      health,
      via: "direct",
    });
  }

  find(target: string): Promise<LookupReport> {
    this.#asked("find", target);
    return Promise.resolve({
      target,
      found: target === PEER_A,
      nodes: this.peerList.map(({ nodeId, address, distance }) => ({ nodeId, address, distance })),
      hops: 2,
      queries: 5,
      elapsedMs: 41.5,
      trace: [
        {
          nodeId: PEER_A,
          address: "192.168.1.10:8000",
          hop: 1,
          startedMs: 0,
          rttMs: 12.4,
          outcome: "responded",
        },
        {
          nodeId: null,
          address: "boot.example.org:8000",
          hop: 2,
          startedMs: 13,
          rttMs: null,
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
    const seq = key === null ? null : (this.values.get(hash)?.seq ?? 0) + 1;
    this.values.set(hash, {
      hash,
      kind,
      bytes: value,
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
    this.values.set(hash, { hash, kind: "mutable", bytes: value, seq, publicKey });
    return this.#stored(hash, "mutable", null, seq, value.length);
  }

  #stored(
    hash: string,
    kind: "immutable" | "mutable",
    key: string | null,
    seq: number | null,
    size: number,
  ): Promise<StoreOutcome> {
    const nodes = [NODE_ID, PEER_A];
    return Promise.resolve({
      outcome: "stored",
      report: { hash, kind, key, seq, size, replicas: 2, nodes, elapsedMs: 80.25 },
    });
  }

  fetch(hash: string, key: string | null): Promise<FetchOutcome> {
    this.#asked("fetch", hash, key);
    const value = this.values.get(hash);
    if (value === undefined) return Promise.resolve({ outcome: "not_found" });
    const hidden = this.keyNeeded.has(hash) && key === null;
    return Promise.resolve(hidden ? { outcome: "key_needed" } : { outcome: "found", value });
  }

  published(offset: number, limit: number): { total: number; values: PublishedValue[] } {
    this.#asked("published", offset, limit);
    const { publishedValues: all } = this;
    return { total: all.length, values: all.slice(offset, offset + limit) };
  }

  forget(hash: string): boolean {
    this.#asked("forget", hash);
    return this.values.delete(hash);
  }

  replicas(hash: string, key: string | null): Promise<ReplicasOutcome> {
    this.#asked("replicas", hash, key);
    if (this.replicasOutcome) return Promise.resolve(this.replicasOutcome);
    const value = this.values.get(hash);
    if (value === undefined) return Promise.resolve({ outcome: "not_found" });
    const { kind, seq } = value;
    const holders = [
      { nodeId: NODE_ID, address: null, seq, ageS: 12.5 },
      { nodeId: PEER_A, address: "192.168.1.10:8000", seq, ageS: null },
    ];
    const report = { hash, kind, seq, holders, wanted: 20, parts: null };
    return Promise.resolve({ outcome: "found", report });
  }

  watch(hash: string, key: string | null, after: number | null): Watch | undefined {
    this.#asked("watch", hash, key, after);
    return this.watches.open(hash, key, after);
  }

  pastHour(after: number): HourSample[] {
    return this.hour.filter(({ at }) => at > after);
  }

  transfers(): Progress[] {
    return this.underWay;
  }

  onProgress(): () => void {
    return () => {};
  }

  onEvent(listener: EventListener): () => void {
    return this.events.add(listener);
  }

  tellLookupSteps(isOn: boolean): void {
    this.tellsSteps = isOn;
  }

  /** Puts a value in place and returns its hash. */
  hold(value: string | Uint8Array, mutable = false): string {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
    const hash = sha1(`${bytes.length}:`, bytes);
    this.values.set(hash, {
      hash,
      kind: mutable ? "mutable" : "immutable",
      bytes,
      seq: mutable ? 7 : null,
      publicKey: mutable ? new Uint8Array(32).fill(0xab) : null,
    });
    return hash;
  }

  measurements(): Measurements {
    const durations = new DurationHistogram();
    durations.add(12.4);
    return {
      roundTrips: durations,
      lookups: { find_node: durations },
      eventLoopLag: new DurationHistogram(),
      database: null,
      published: { failing: 0, short: 1 },
      replication: { turns: 9, waiting: 2 },
      process: {
        startedAtS: 1_776_162_595,
        cpuUserS: 1.5,
        cpuSystemS: 0.25,
        residentBytes: 80e6,
        heapBytes: 20e6,
        heapUsedBytes: 15e6,
        runtime: "deno 2.9.6",
      },
    };
  }

  stats(): StatsReport {
    this.#asked("stats");
    const traffic = {
      messages: 10,
      bytes: 900,
      perSecond: 1.5,
      bytesPerSecond: 135.2,
      byType: { ping: { messages: 4, bytes: 300 }, find_node: { messages: 6, bytes: 600 } },
    };
    return {
      nodeId: NODE_ID,
      version: "0.1.0",
      startedAt: Date.UTC(2026, 3, 14, 8),
      uptimeS: 9000.5,
      publicKey: "ab".repeat(32),
      addresses: ["127.0.0.1:8000"],
      readiness: { ...this.ready, queries: 40, answers: 38, overS: 300 },
      peers: { healthy: 1, degraded: 1, unhealthy: 1 },
      routingTableSize: 12,
      buckets: 5,
      networkSizeEstimate: null,
      traffic: { in: traffic, out: traffic, dropped: { malformed: 2 } },
      lookups: {
        count: 3,
        success: 2,
        active: 1,
        hopsMean: 2.5,
        latencyMs: { mean: 40, p50: 38, p95: null },
      },
      storage: {
        items: 4,
        bytes: 400,
        limitBytes: 1 << 30,
        expiringWithinHour: 1,
        replicated: 2,
        announcedPeers: 0,
        published: 2,
        publishedItems: 50,
        republications: 7,
        copiesMade: 3,
      },
      nat: {
        mode: "auto",
        externalAddress: "203.0.113.9:41000",
        votes: 12,
        type: "endpoint_independent",
        reachable: false,
        readOnly: true,
        introducers: 6,
        families: [{
          family: 4,
          externalAddress: "203.0.113.9:41000",
          type: "endpoint_independent",
          filtering: "address_and_port",
          reachable: false,
          readOnly: true,
          evidence: {
            votes: 12,
            voters: 13,
            portVoters: 8,
            samePort: 8,
            votedBy: ["198.51.100.1:8000"],
            votedAt: Date.UTC(2026, 3, 14, 10, 29),
            reason: "3 of 3 probes that were sent have not arrived",
            checkedAt: Date.UTC(2026, 3, 14, 10),
            probes: 3,
            missed: 3,
            arrivedFrom: [],
          },
        }],
        mapping: {
          status: "mapped",
          protocol: "upnp",
          gateway: "192.168.1.1",
          internalAddress: "192.168.1.20:8000",
          externalAddress: "203.0.113.9:8000",
          leaseS: 3600,
          since: Date.UTC(2026, 3, 14, 10, 0, 0),
          renewedAt: Date.UTC(2026, 3, 14, 10, 30, 0),
          made: 1,
          renewals: 1,
          problem: null,
        },
        pinhole: null,
      },
    };
  }
}

function sha1(prefix: string, bytes: Uint8Array | null): string {
  return createHash("sha1").update(prefix).update(bytes ?? new Uint8Array()).digest("hex");
}
