// Reports about a running node: counts from its parts, and measurements over time.

import process from "node:process";
import type { Config } from "../../config.ts";
import type { Millis } from "../../dht/deadlines.ts";
import { DurationHistogram } from "../../dht/histogram.ts";
import type { ItemStore } from "../../dht/items/item_store.ts";
import type { Slot } from "../../dht/items/item_table.ts";
import type { Contact } from "../../dht/routing/contact.ts";
import type { DhtNode } from "../../dht/node.ts";
import type { PublishedStore } from "../../dht/items/published.ts";
import type { DiskStorage } from "../../storage/disk.ts";
import { VERSION } from "../../version.ts";
import { hex } from "../../krpc/hex.ts";
import { compareDistance, word } from "../../krpc/id.ts";
import type { KeyMismatch } from "./key_mismatch.ts";
import { DAY, FigureHistory, MONTH } from "./figure_history.ts";
import type { Marks } from "./marks.ts";
import { natReport, natSummary } from "./nat_report.ts";
import { PastHour, SAMPLE_INTERVAL_MS } from "./past_hour.ts";
import type { PeerHistory } from "./peer_history.ts";
import type { Records } from "../records.ts";
import type { MappingState } from "../port_mapping/keeper.ts";
import type { PortMapping } from "../port_mapping/port_mapping.ts";
import type { NodeClock } from "../clock.ts";
import type { ReadinessProbe } from "./readiness.ts";
import type { Measurements, ProcessReport } from "../../node_service.ts";
import type { History, HistoryRange, Mapping, Nat, NodeStats } from "../../reports/stats.ts";
import type { Budget } from "../../reports/traffic.ts";
import { optionalTime, timeText } from "../../reports/time.ts";
import type { HeldItems } from "../../reports/values.ts";
import { PeerReports } from "./peers.ts";
import { REFUSALS_INTERVAL_MS, ThreatReports } from "./threats.ts";
import type { Unsent } from "./unsent.ts";
import type { Publications } from "../values/publications.ts";

/** Rates are averages over this many seconds: long enough to be readable, short enough to show changes. */
const RATE_SECONDS = 5;

/**
 * Up to this many items, each report counts the items anew. With more items, reports use a cached count, because
 * counting 100,000 items would delay packets by 5 ms.
 */
const FEW_ITEMS = 10_000;

/** The interval at which items are counted if there are more than FEW_ITEMS. */
const COUNT_ITEMS_INTERVAL_MS = 10_000;

/** The interval at which the lag of the event loop is measured. */
const LAG_EVERY_MS = 1_000;

/** The number of samples and the sample interval of each history, by range. */
const SERIES = {
  hour: { intervalMs: SAMPLE_INTERVAL_MS, count: 3_600_000 / SAMPLE_INTERVAL_MS },
  day: DAY,
  month: MONTH,
};

/** The parts of the node that the reports read. */
export interface ReportedNode {
  readonly core: DhtNode;
  readonly config: Pick<Config, "bucketSize" | "storageLimit" | "nat">;
  readonly startedAt: Millis;
  /** The node's Ed25519 public key of 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Returns the bound UDP addresses, with the port that the system chose if P2P_PORT is 0. */
  readonly addresses: () => string[];
  readonly items: ItemStore;
  readonly published: PublishedStore;
  readonly disk: DiskStorage | undefined;
  readonly publications: Pick<Publications, "count" | "items" | "counts" | "itemsAtRisk">;
  readonly history: PeerHistory;
  readonly readiness: ReadinessProbe;
  readonly budget: () => Budget | null;
  readonly mapping: PortMapping | undefined;
  /** Returns the key that a contact has proven to hold; null if it has proven none. */
  readonly keyOf: (contact: Contact) => string | null;
  /** Detects other nodes with a wrong network key. Undefined if this node has no network key. */
  readonly keyMismatch: KeyMismatch | undefined;
  /** Returns how many log lines were dropped, and how long the log has been stalled. */
  readonly log: () => NodeStats["log"];
  readonly unsent: Pick<Unsent, "latest">;
  readonly clock: Pick<NodeClock, "now" | "wall">;
  readonly records: Records;
  readonly marks: Pick<Marks, "after">;
}

/** The reports of one node, as `NodeService` describes them. */
export class Reports {
  readonly peers: PeerReports;
  readonly threats: ThreatReports;
  readonly #core: DhtNode;
  readonly #samples: { in: [number, number]; out: [number, number] }[] = [];
  readonly #eventLoopLag = new DurationHistogram();
  readonly pastHour: PastHour;
  readonly #longer: Readonly<Record<Exclude<HistoryRange, "hour">, FigureHistory>>;
  #itemCounts:
    | { readonly at: Millis; readonly expiring: number; readonly ours: number }
    | undefined;

  constructor(private readonly node: ReportedNode) {
    this.#core = node.core;
    const wall = (at: Millis) => node.clock.wall(at);
    this.peers = new PeerReports(node.core, node.history, wall, node.keyOf);
    this.threats = new ThreatReports(node);
    this.pastHour = new PastHour(node.startedAt, wall);
    this.#longer = {
      day: new FigureHistory(DAY, node.records),
      month: new FigureHistory(MONTH, node.records),
    };
  }

  /** Starts to take samples at regular intervals. Call this before the first report. */
  start(every: (ms: number, run: () => void) => void): void {
    every(1000, () => this.#sample());
    every(SAMPLE_INTERVAL_MS, () => this.#sampleHour());
    every(REFUSALS_INTERVAL_MS, () => this.threats.sample());
    let at = performance.now();
    every(LAG_EVERY_MS, () => {
      const now = performance.now();
      this.#eventLoopLag.add(Math.max(0, now - at - LAG_EVERY_MS));
      at = now;
    });
    this.#sample();
  }

  stats(): NodeStats {
    const { traffic, tables, searches: { statistics: lookups }, responder } = this.#core;
    const { startedAt, readiness, items, publications, clock } = this.node, at = clock.now();
    const startedAtWall = clock.wall(startedAt);
    const peers = { healthy: 0, degraded: 0, unhealthy: 0 };
    for (const contact of tables.contacts()) peers[contact.health]++;
    const { expiring, ours } = this.#countItems(at), { counts } = publications;
    return {
      node_id: `${this.#core.id}`,
      network_key: {
        in_use: this.node.keyMismatch !== undefined,
        mismatch: this.node.keyMismatch?.latest(at) ?? null,
      },
      public_key: hex(this.node.publicKey),
      version: VERSION,
      started_at: timeText(startedAtWall),
      uptime_s: Math.max(0, clock.wall(at) - startedAtWall) / 1000,
      addresses: this.node.addresses(),
      readiness: { ...readiness.state(at), ...readiness.answers },
      peers,
      routing_table_size: tables.size,
      buckets: tables.families.reduce((sum, family) => sum + tables.of(family).bucketCount, 0),
      bucket_distribution: this.peers.distribution(),
      network_size_estimate: this.#core.searches.networkSize(at),
      left_out: this.leftOut(at),
      clones: this.#core.clones.found(at).map((clone) => ({
        node_id: `${clone.id}`,
        addresses: clone.endpoints.map(String),
        is_own: clone.isOwn,
        at: timeText(clock.wall(clone.at)),
      })),
      changing_ids: this.#core.changingIds(at),
      traffic: {
        in: this.#trafficReport("in"),
        out: this.#trafficReport("out"),
        dropped: { ...traffic.dropped } as Record<string, number>,
        unsent: this.node.unsent.latest(at),
        budget: this.node.budget(),
      },
      lookups: {
        count: lookups.count,
        success: lookups.success,
        active: lookups.active,
        hops_mean: lookups.hopsMean,
        latency_ms: lookups.latency(),
        crowded: lookups.crowded,
        latest_crowded: lookups.latestCrowded === undefined ? null : {
          target: `${lookups.latestCrowded.target}`,
          at: timeText(clock.wall(lookups.latestCrowded.at)),
        },
      },
      storage: {
        items: items.count,
        bytes: items.usedBytes,
        value_bytes: items.bytes,
        limit_bytes: this.node.config.storageLimit,
        expiring_within_hour: expiring,
        replicated: items.count - ours,
        announced_peers: responder.peers.count,
        published: publications.count,
        published_items: publications.items,
        published_short: counts.short,
        published_failing: counts.failing,
        published_ending: counts.ending,
        pins: counts.pinned,
        republications: this.#core.replication.published,
        copies_made: this.#core.replication.copies,
      },
      swarms: this.#swarmsReport(),
      log: this.node.log(),
      nat: this.nat(),
    };
  }

  /** Counts the nodes that MAX_PER_SUBNET kept out of routing tables or lookups within the last hour. */
  leftOut(at: Millis): NodeStats["left_out"] {
    const subnets = this.#core.tables.subnets.leftOut(at);
    return {
      nodes: subnets.reduce((sum, { nodes }) => sum + nodes, 0),
      subnets: subnets.length,
      largest: subnets.at(0)?.subnet ?? null,
    };
  }

  #swarmsReport(): NodeStats["swarms"] {
    const { announcements } = this.#core;
    const failing = announcements.values().filter(({ failures }) => failures > 0).toArray().length;
    return { announced: announcements.count, failing };
  }

  #trafficReport(direction: "in" | "out"): NodeStats["traffic"]["in"] {
    const { messages, bytes } = this.#core.traffic[direction];
    const first = this.#samples[0][direction], last = this.#samples.at(-1)![direction];
    const seconds = Math.max(1, this.#samples.length - 1);
    return {
      messages,
      bytes,
      messages_per_second: (last[0] - first[0]) / seconds,
      bytes_per_second: (last[1] - first[1]) / seconds,
      by_type: this.#core.traffic[direction].byType(),
    };
  }

  /** Counts the items that expire within the hour, and those that this node signed or publishes. */
  #countItems(at: Millis): { readonly expiring: number; readonly ours: number } {
    const known = this.#itemCounts, isDear = this.node.items.count > FEW_ITEMS;
    if (known !== undefined && isDear && at - known.at < COUNT_ITEMS_INTERVAL_MS) return known;
    let expiring = 0, ours = 0;
    const { records } = this.node.items, signer = word(this.node.publicKey, 0);
    for (const slot of records.slots()) {
      if (records.expiresAt(slot) - at < 3_600_000) expiring++;
      const isSigned = records.signer(slot) === signer;
      if (isSigned || this.node.published.get(records.target(slot)) !== undefined) ours++;
    }
    this.#itemCounts = { at, expiring, ours };
    return this.#itemCounts;
  }

  nat(): Nat {
    const families = Object.values(this.#core.nats).map(({ state }) => natReport(state));
    return {
      mode: this.node.config.nat,
      ...natSummary(families),
      introducers: this.#core.introducers,
      families,
      mapping: this.#mappingReport(this.node.mapping?.state(4)),
      pinhole: this.#mappingReport(this.node.mapping?.state(6)),
    };
  }

  #mappingReport(state: MappingState | undefined): Mapping {
    if (state === undefined || state.status === "off") return null;
    const { status, made, renewals, problem, lease, since, renewedAt } = state;
    const time = (at: Millis | null) => optionalTime(at === null ? null : this.node.clock.wall(at));
    return {
      status,
      protocol: lease?.protocol ?? null,
      gateway: lease?.gateway ?? null,
      internal_address: lease?.internal.toString() ?? null,
      external_address: lease?.external.toString() ?? null,
      lease_s: lease?.seconds ?? null,
      since: time(since),
      renewed_at: time(renewedAt),
      made,
      renewals,
      problem,
    };
  }

  /** Lists held items. With many items, the list is not sorted by distance, because sorting would delay packets. */
  held(limit: number): HeldItems {
    const { id } = this.#core, { items, clock } = this.node, { records } = items;
    let slots: Iterable<Slot> = records.slots();
    if (items.count <= FEW_ITEMS) {
      const byDistance = Array.from(slots, (slot) => ({ slot, target: records.target(slot) }))
        .sort((a, b) => compareDistance(a.target, b.target, id));
      slots = byDistance.map(({ slot }) => slot);
    }
    return {
      total: items.count,
      items: Array.from(Iterator.from(slots).take(limit), (slot) => ({
        hash: `${records.target(slot)}`,
        size: records.valueBytes(slot),
        expires_at: timeText(clock.wall(records.expiresAt(slot))),
      })),
    };
  }

  measurements(): Measurements {
    const { traffic, searches: { statistics: lookups }, replication } = this.#core;
    const { watching, responder: { subscriptions } } = this.#core;
    const { sent, acknowledged, refused } = subscriptions.counts;
    const { received, unknown } = watching.counts;
    const commits = this.node.disk?.commits;
    return {
      roundTrips: traffic.roundTrips,
      lookups: lookups.durations,
      eventLoopLag: this.#eventLoopLag,
      database: commits === undefined ? null : {
        commits: commits.durations,
        failedCommits: commits.failures,
        waitingChanges: commits.waiting,
        damagedRows: this.node.disk!.damagedRows,
      },
      published: this.node.publications.itemsAtRisk(),
      usage: { sent: traffic.usage.sent, received: traffic.usage.received },
      replication: { turns: replication.completed, waiting: replication.pending },
      watching: {
        held: subscriptions.size,
        made: watching.subscriptions,
        refused,
        notices: { sent, acknowledged, received, unknown },
      },
      pending: this.#core.pending,
      process: processReport(this.node.clock.wall(this.node.startedAt)),
    };
  }

  /** Returns the samples of a range after a time in milliseconds since 1970. */
  history(after: number, range: HistoryRange): History {
    const { clock, marks } = this.node, now = clock.wall(clock.now());
    const { intervalMs, count } = SERIES[range];
    const samples = range === "hour"
      ? this.pastHour.after(after)
      : this.#longer[range].samples(now).filter(({ at }) => Date.parse(at) > after);
    const since = Math.max(after, now - intervalMs * count);
    return { interval_s: intervalMs / 1000, samples, marks: marks.after(since) };
  }

  #sample(): void {
    const { in: inward, out } = this.#core.traffic;
    this.#samples.push({ in: [inward.messages, inward.bytes], out: [out.messages, out.bytes] });
    if (this.#samples.length > RATE_SECONDS + 1) this.#samples.shift();
  }

  #sampleHour(): void {
    const contacts = Array.from(this.#core.tables.contacts());
    const { in: inward, out } = this.#core.traffic;
    const { count: items, bytes } = this.node.items;
    const rtts = contacts.map(({ rtt }) => rtt).filter((rtt) => !Number.isNaN(rtt));
    const { publications, clock } = this.node, at = clock.now();
    const { short, failing, ending } = publications.counts;
    const published = { values: publications.count, at_risk: short + failing + ending };
    const reading = { peers: contacts.length, rtts, in: inward, out, items, bytes, published };
    const sample = this.pastHour.sample(reading, at);
    for (const history of Object.values(this.#longer)) history.add(clock.wall(at), sample);
  }
}

/** Reads the figures of the process from the system. This takes microseconds and needs no permission. */
function processReport(startedAt: number): ProcessReport {
  const { user, system } = process.cpuUsage();
  const { rss, heapTotal, heapUsed } = Deno.memoryUsage();
  return {
    startedAtS: startedAt / 1000,
    cpuUserS: user / 1e6,
    cpuSystemS: system / 1e6,
    residentBytes: rss,
    heapBytes: heapTotal,
    heapUsedBytes: heapUsed,
    runtime: `deno ${Deno.version.deno}`,
    system: `${Deno.build.os} ${Deno.build.arch}`,
  };
}
