// What a node tells of itself and its peers: read off its parts, and measured where that takes time.

import type { Config } from "../config.ts";
import type { Contact } from "../dht/contact.ts";
import type { Millis } from "../dht/deadlines.ts";
import { DurationHistogram } from "../dht/histogram.ts";
import type { NodeEvent } from "../dht/host.ts";
import type { ItemStore } from "../dht/item_store.ts";
import type { DhtNode } from "../dht/node.ts";
import type { PublishedStore } from "../dht/published.ts";
import { distanceHistogram } from "../dht/statistics.ts";
import { distanceBits, ID_BITS, word } from "../krpc/id.ts";
import type { DiskStorage } from "../storage/disk.ts";
import { clientName, VERSION } from "../version.ts";
import { hex, parseId } from "./hex.ts";
import { natReport, natSummary } from "./nat_report.ts";
import { type HourSample, PastHour, SAMPLE_EVERY_MS } from "./past_hour.ts";
import type { PeerHistory } from "./peer_history.ts";
import type { MappingState, PortMapping } from "./port_mapping/port_mapping.ts";
import { LAG_EVERY_MS, processReport } from "./process.ts";
import type { ReadinessProbe } from "./readiness.ts";
import type {
  MappingReport,
  Measurements,
  NodeService,
  PeerDetail,
  PeerReport,
  StatsReport,
} from "./service.ts";
import type { Values } from "./values.ts";

/** Rates are over this many seconds: long enough to read, short enough to see a change. */
const RATE_SECONDS = 5;

/** More items than these are counted anew so often at most: 100,000 take 5 ms, in which no packet is answered. */
const FEW_ITEMS = 10_000, COUNT_ITEMS_MS = 10_000;

/** The part of `NodeService` that tells of the node itself and its peers. */
type ReportService = Pick<
  NodeService,
  "peers" | "peer" | "distanceHistogram" | "stats" | "measurements" | "pastHour"
>;

/** Runs something every `ms` milliseconds. */
type Every = (ms: number, run: () => void) => void;

/** What reports need of the node. They change nothing of it. */
export interface ReportedNode {
  readonly core: DhtNode;
  readonly config: Pick<Config, "bucketSize" | "storageLimit" | "nat">;
  readonly startedAt: Millis;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** The bound UDP address, with the real port. */
  readonly address: string;
  readonly items: ItemStore;
  readonly published: PublishedStore;
  /** Undefined where nothing is kept. */
  readonly disk: DiskStorage | undefined;
  readonly values: Pick<Values, "publishedCount" | "publishedItems">;
  readonly history: PeerHistory;
  readonly readiness: ReadinessProbe;
  /** Undefined where no router is asked. */
  readonly mapping: PortMapping | undefined;
  readonly now: () => Millis;
}

/** Reports of one node, as `NodeService` describes them. */
export class Reports implements ReportService {
  readonly #node: ReportedNode;
  readonly #core: DhtNode;
  readonly #samples: { in: [number, number]; out: [number, number] }[] = [];
  readonly #eventLoopLag = new DurationHistogram();
  readonly #pastHour: PastHour;
  #itemCounts:
    | { readonly at: Millis; readonly expiring: number; readonly ours: number }
    | undefined;

  constructor(node: ReportedNode) {
    this.#node = node;
    this.#core = node.core;
    this.#pastHour = new PastHour(node.startedAt);
  }

  /** Starts to measure what shows over time alone; to be called before the first report. */
  start(every: Every): void {
    every(1000, () => this.#sample());
    this.#measureLag(every);
    every(SAMPLE_EVERY_MS, () => this.#sampleHour());
    this.#sample();
  }

  /** Takes in an event of the node. */
  note(event: NodeEvent): void {
    this.#pastHour.note(event);
  }

  peers(): PeerReport[] {
    return Array.from(this.#core.contacts(), (contact) => this.peerReport(contact));
  }

  /** A contact, as `peers` and events tell of it. */
  peerReport(contact: Contact): PeerReport {
    return {
      nodeId: contact.id.toString(),
      address: contact.endpoint.toString(),
      distance: distanceBits(contact.id, this.#core.id),
      firstSeen: contact.firstSeen,
      lastSeen: contact.lastSeen,
      health: contact.health,
      rttMs: Number.isNaN(contact.rtt) ? null : contact.rtt,
      score: contact.score,
      client: clientName(contact.client),
    };
  }

  peer(id: string): PeerDetail | undefined {
    const record = this.#node.history.get(id);
    const present = this.#core.contact(parseId(id));
    const contact = present ?? record?.contact;
    if (contact === undefined) return undefined;
    const report = this.peerReport(contact);
    const buckets = this.#core.tables[contact.endpoint.family]!.bucketCount;
    return {
      ...report,
      health: present === undefined ? "gone" : report.health,
      scoreParts: contact.scoreParts,
      rttVariationMs: report.rttMs === null ? null : contact.rttVariation,
      misses: contact.misses,
      faults: contact.faults,
      keepsUs: contact.keepsUs ?? null,
      // Contacts hold a time before all others for what never happened.
      lastQuery: contact.lastQuery > 0 ? contact.lastQuery : null,
      lastResponse: contact.lastResponse > 0 ? contact.lastResponse : null,
      nextCheck: present?.dueAt ?? null,
      bucket: present === undefined ? null : Math.min(ID_BITS - report.distance, buckets - 1),
      history: record?.changes ?? [],
    };
  }

  distanceHistogram(): number[] {
    const distances = Array.from(this.#core.contacts(), (c) => distanceBits(c.id, this.#core.id));
    return distanceHistogram(distances);
  }

  stats(): StatsReport {
    const { traffic, lookups, tables, peers: announced } = this.#core;
    const { startedAt, readiness } = this.#node, at = this.#node.now();
    const peers = { healthy: 0, degraded: 0, unhealthy: 0 };
    for (const contact of this.#core.contacts()) peers[contact.health]++;
    const { expiring, ours } = this.#countItems(at);
    const latency = lookups.latency();
    const rates = this.#rates();
    return {
      nodeId: this.#core.id.toString(),
      version: VERSION,
      startedAt,
      uptimeS: (at - startedAt) / 1000,
      publicKey: hex(this.#node.publicKey),
      addresses: [this.#node.address],
      readiness: { ...readiness.state(at), ...readiness.answers },
      peers,
      routingTableSize: this.#core.contactCount,
      buckets: (tables[4]?.bucketCount ?? 0) + (tables[6]?.bucketCount ?? 0),
      networkSizeEstimate: this.#core.networkSize(at),
      traffic: {
        in: {
          messages: traffic.in.messages,
          bytes: traffic.in.bytes,
          ...rates.in,
          byType: traffic.in.byType(),
        },
        out: {
          messages: traffic.out.messages,
          bytes: traffic.out.bytes,
          ...rates.out,
          byType: traffic.out.byType(),
        },
        dropped: { ...traffic.dropped } as Record<string, number>,
      },
      lookups: {
        count: lookups.count,
        success: lookups.success,
        active: lookups.active,
        hopsMean: lookups.hopsMean,
        latencyMs: latency,
      },
      storage: {
        items: this.#node.items.count,
        bytes: this.#node.items.bytes,
        limitBytes: this.#node.config.storageLimit,
        expiringWithinHour: expiring,
        replicated: this.#node.items.count - ours,
        announcedPeers: announced.count,
        published: this.#node.values.publishedCount,
        publishedItems: this.#node.values.publishedItems,
        republications: this.#core.replication.published,
        copiesMade: this.#core.replication.copies,
      },
      nat: this.nat(),
    };
  }

  /** Items that expire within the hour, and those that this node has signed or publishes. */
  #countItems(at: Millis): { readonly expiring: number; readonly ours: number } {
    const known = this.#itemCounts;
    if (
      known !== undefined && this.#node.items.count > FEW_ITEMS && at - known.at < COUNT_ITEMS_MS
    ) {
      return known;
    }
    let expiring = 0, ours = 0;
    for (const item of this.#node.items.entries()) {
      if (item.expiresAt - at < 3_600_000) expiring++;
      const isSigned = item.signed && sameKey(item.signed.publicKey, this.#node.publicKey);
      if (isSigned || this.#node.published.get(item.target) !== undefined) ours++;
    }
    this.#itemCounts = { at, expiring, ours };
    return this.#itemCounts;
  }

  /** As `stats` tells of it. */
  nat(): StatsReport["nat"] {
    const families = this.#core.nat.map(natReport);
    return {
      mode: this.#node.config.nat,
      ...natSummary(families),
      introducers: this.#core.introducers,
      families,
      mapping: mappingReport(this.#node.mapping?.state(4)),
      pinhole: mappingReport(this.#node.mapping?.state(6)),
    };
  }

  measurements(): Measurements {
    const { traffic, lookups, replication, contactCount } = this.#core;
    const commits = this.#node.disk?.commits;
    const enough = Math.min(this.#node.config.bucketSize, contactCount) / 2;
    let failing = 0, short = 0;
    for (const { replicas, failures } of this.#node.published.entries()) {
      if (failures > 0) failing++;
      if (replicas < enough) short++;
    }
    return {
      roundTrips: traffic.roundTrips,
      lookups: lookups.durations,
      eventLoopLag: this.#eventLoopLag,
      database: commits === undefined ? null : {
        commits: commits.durations,
        failedCommits: commits.failures,
        waitingChanges: commits.waiting,
        damagedRows: this.#node.disk!.damagedRows,
      },
      published: { failing, short },
      replication: { turns: replication.completed, waiting: replication.pending },
      process: processReport(),
    };
  }

  pastHour(after: number): readonly HourSample[] {
    return this.#pastHour.after(after);
  }

  #sample(): void {
    const { in: inward, out } = this.#core.traffic;
    this.#samples.push({ in: [inward.messages, inward.bytes], out: [out.messages, out.bytes] });
    if (this.#samples.length > RATE_SECONDS + 1) this.#samples.shift();
  }

  #measureLag(every: Every): void {
    let at = performance.now();
    every(LAG_EVERY_MS, () => {
      const now = performance.now();
      this.#eventLoopLag.add(Math.max(0, now - at - LAG_EVERY_MS));
      at = now;
    });
  }

  #sampleHour(): void {
    const contacts = Array.from(this.#core.contacts());
    const { in: inward, out } = this.#core.traffic;
    const { count: items, bytes } = this.#node.items;
    const rtts = contacts.map(({ rtt }) => rtt).filter((rtt) => !Number.isNaN(rtt));
    this.#pastHour.sample(
      { peers: contacts.length, rtts, in: inward, out, items, bytes },
      this.#node.now(),
    );
  }

  #rates() {
    const first = this.#samples[0], last = this.#samples.at(-1)!;
    const seconds = Math.max(1, this.#samples.length - 1);
    const rate = (direction: "in" | "out") => ({
      perSecond: (last[direction][0] - first[direction][0]) / seconds,
      bytesPerSecond: (last[direction][1] - first[direction][1]) / seconds,
    });
    return { in: rate("in"), out: rate("out") };
  }
}

function mappingReport(state: MappingState | undefined): MappingReport | null {
  if (state === undefined || state.status === "off") return null;
  const { internal, external, ...report } = state;
  return {
    ...report,
    internalAddress: internal?.toString() ?? null,
    externalAddress: external?.toString() ?? null,
  };
}

function sameKey(x: Uint8Array, y: Uint8Array): boolean {
  for (let i = 0; i < x.length; i += 4) if (word(x, i) !== word(y, i)) return false;
  return true;
}
