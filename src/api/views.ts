// What the node reports, in the API's spelling: snake_case names and RFC 3339 times.

import type { z } from "@hono/zod-openapi";
import { type Config, describeEntry } from "../config.ts";
import type {
  HourSample,
  LookupReport,
  MappingReport,
  NatReport,
  PeerDetail,
  PeerReport,
  PingReport,
  Progress,
  PublishedValue,
  ReplicasReport,
  StatsReport,
  StoreReport,
} from "../runtime/service.ts";
import {
  BUCKET_RANGES,
  type FindResponse,
  type HistoryResponse,
  type Peer,
  type PeerResponse,
  type PeersQuery,
  type PeersResponse,
  type PingResponse,
  type PublishedResponse,
  type ReplicasResponse,
  type StatsResponse,
  type StoreResponse,
  type TransfersResponse,
} from "./schemas.ts";

/** RFC 3339 in UTC, to the second. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19) + "Z";
}

type BucketDistribution = z.output<typeof PeersResponse>["bucket_distribution"];

/** Sums a histogram by distance (0 to 160) into the eight ranges; our own distance of 0 is in the first. */
export function bucketDistribution(histogram: readonly number[]): BucketDistribution {
  const distribution = Object.fromEntries(
    BUCKET_RANGES.map((range) => [range, 0]),
  ) as BucketDistribution;
  histogram.forEach((contacts, distance) => {
    distribution[BUCKET_RANGES[Math.max(0, Math.ceil(distance / 20) - 1)]] += contacts;
  });
  return distribution;
}

const UNKNOWN_LAST = Infinity;
const SORT_KEYS: Record<z.output<typeof PeersQuery>["sort"], (peer: PeerReport) => number> = {
  score: (peer) => -peer.score,
  last_seen: (peer) => -peer.lastSeen,
  first_seen: (peer) => peer.firstSeen,
  distance: (peer) => peer.distance,
  rtt: (peer) => peer.rttMs ?? UNKNOWN_LAST,
};

/** The peers that `query` asks for; those that sort alike are in the order of their ids. */
export function selectPeers(
  peers: readonly PeerReport[],
  { health, sort, limit }: z.output<typeof PeersQuery>,
): z.output<typeof Peer>[] {
  const key = SORT_KEYS[sort];
  return peers
    .filter((peer) => health === undefined || peer.health === health)
    .map((peer) => ({ peer, rank: key(peer) }))
    .sort((a, b) =>
      a.rank < b.rank || (a.rank === b.rank && a.peer.nodeId < b.peer.nodeId) ? -1 : 1
    )
    .slice(0, limit)
    .map(({ peer }) => peerView(peer));
}

/** One peer of the table. */
export function peerView<H extends string>(
  peer: Omit<PeerReport, "health"> & { readonly health: H },
) {
  return {
    node_id: peer.nodeId,
    address: peer.address,
    distance: peer.distance,
    last_seen: timeText(peer.lastSeen),
    health: peer.health,
    rtt_ms: peer.rttMs,
    score: peer.score,
    first_seen: timeText(peer.firstSeen),
    client: peer.client,
  };
}

/** All that is known of one peer. */
export function peerDetailView(peer: PeerDetail): z.output<typeof PeerResponse> {
  const optional = (ms: number | null) => ms === null ? null : timeText(ms);
  return {
    ...peerView(peer),
    score_parts: { ...peer.scoreParts },
    rtt_variation_ms: peer.rttVariationMs,
    misses: peer.misses,
    faults: peer.faults,
    keeps_us: peer.keepsUs,
    last_query: optional(peer.lastQuery),
    last_response: optional(peer.lastResponse),
    next_check: optional(peer.nextCheck),
    bucket: peer.bucket,
    history: peer.history.map(({ at, what, reason }) => ({ at: timeText(at), what, reason })),
  };
}

/** Answer to a ping. */
export function pingView(
  { nodeId, address, rttMs, health, via }: Extract<PingReport, { outcome: "pong" }>,
): z.output<typeof PingResponse> {
  return { node_id: nodeId, address, rtt_ms: rttMs, health, via };
}

/** Answer to a store. */
export function storeView(report: StoreReport): z.output<typeof StoreResponse> {
  const { hash, kind, key, seq, size, replicas, nodes, elapsedMs } = report;
  return { hash, kind, key, seq, size, replicas, nodes, elapsed_ms: elapsedMs };
}

/** One value that the node keeps published. */
export function publishedView(
  value: PublishedValue,
): z.output<typeof PublishedResponse>["published"][number] {
  const { hash, kind, key, seq, size, items, firstAt, lastAt, nextAt, replicas, failures } = value;
  return {
    hash,
    kind,
    key,
    seq,
    size,
    items,
    first_at: timeText(firstAt),
    last_at: lastAt === null ? null : timeText(lastAt),
    next_at: timeText(nextAt),
    replicas,
    failures,
  };
}

/** Who holds a value. */
export function replicasView(report: ReplicasReport): z.output<typeof ReplicasResponse> {
  const { hash, kind, seq, holders, wanted, parts } = report;
  return {
    hash,
    kind,
    seq,
    holders: holders.map(({ nodeId, address, seq, ageS }) => ({
      node_id: nodeId,
      address,
      seq,
      age_s: ageS,
    })),
    count: holders.length,
    wanted,
    parts: parts && {
      manifests: parts.manifests,
      manifests_counted: parts.manifestsCounted,
      chunks: parts.chunks,
      chunks_counted: parts.chunksCounted,
      least: parts.least,
      mean: parts.mean,
    },
  };
}

/** One sample of the last hour. */
export function hourView(
  { at, peers, rttMs, in: inward, out, lookups, storage }: HourSample,
): z.output<typeof HistoryResponse>["samples"][number] {
  const rate = ({ messagesPerSecond, bytesPerSecond }: HourSample["in"]) => ({
    messages_per_second: messagesPerSecond,
    bytes_per_second: bytesPerSecond,
  });
  return {
    // To the millisecond: it is what the next request asks after.
    at: new Date(at).toISOString(),
    peers,
    rtt_ms: rttMs,
    in: rate(inward),
    out: rate(out),
    lookups: {
      count: lookups.count,
      success: lookups.success,
      p50_ms: lookups.p50Ms,
      p95_ms: lookups.p95Ms,
    },
    storage: { items: storage.items, bytes: storage.bytes },
  };
}

/** One large value under way. */
export function transferView(
  { transfer, label, direction, hash, doneBytes, totalBytes }: Progress,
): z.output<typeof TransfersResponse>["transfers"][number] {
  return { transfer, label, direction, hash, done_bytes: doneBytes, total_bytes: totalBytes };
}

/** Answer to a lookup, with its queries where they are asked for. */
export function lookupView(report: LookupReport, trace: boolean): z.output<typeof FindResponse> {
  const { target, found, hops, queries, elapsedMs } = report;
  const nodes = report.nodes.map(({ nodeId, address, distance }) => ({
    node_id: nodeId,
    address,
    distance,
  }));
  const view = { target, found, nodes, hops, queries, elapsed_ms: elapsedMs };
  if (!trace) return view;
  return {
    ...view,
    trace: report.trace.map(({ nodeId, address, hop, startedMs, rttMs, outcome }) => ({
      node_id: nodeId,
      address,
      hop,
      started_ms: startedMs,
      rtt_ms: rttMs,
      outcome,
    })),
  };
}

/** Statistics with the configuration in force; the token itself is left out. */
export function statsView(
  report: StatsReport,
  histogram: readonly number[],
  config: Config,
): z.output<typeof StatsResponse> {
  return { ...bareStatsView(report, histogram), config: configView(config) };
}

/** Statistics without the configuration. */
export function bareStatsView(
  report: StatsReport,
  histogram: readonly number[],
): Omit<z.output<typeof StatsResponse>, "config"> {
  const { traffic, lookups, storage, nat } = report;
  return {
    node_id: report.nodeId,
    public_key: report.publicKey,
    version: report.version,
    started_at: timeText(report.startedAt),
    uptime_s: report.uptimeS,
    addresses: report.addresses,
    readiness: {
      ready: report.readiness.ready,
      reason: report.readiness.reason,
      queries: report.readiness.queries,
      answers: report.readiness.answers,
      over_s: report.readiness.overS,
    },
    peers: report.peers,
    routing_table_size: report.routingTableSize,
    buckets: report.buckets,
    bucket_distribution: bucketDistribution(histogram),
    network_size_estimate: report.networkSizeEstimate,
    traffic: {
      in: trafficView(traffic.in),
      out: trafficView(traffic.out),
      dropped: traffic.dropped,
    },
    lookups: {
      count: lookups.count,
      success: lookups.success,
      active: lookups.active,
      hops_mean: lookups.hopsMean,
      latency_ms: lookups.latencyMs,
    },
    storage: {
      items: storage.items,
      bytes: storage.bytes,
      limit_bytes: storage.limitBytes,
      expiring_within_hour: storage.expiringWithinHour,
      replicated: storage.replicated,
      announced_peers: storage.announcedPeers,
      published: storage.published,
      published_items: storage.publishedItems,
      republications: storage.republications,
      copies_made: storage.copiesMade,
    },
    nat: natView(nat),
  };
}

/** How the node is reached from outside. */
export function natView(nat: StatsReport["nat"]): z.output<typeof StatsResponse>["nat"] {
  return {
    mode: nat.mode,
    external_address: nat.externalAddress,
    votes: nat.votes,
    type: nat.type,
    reachable: nat.reachable,
    read_only: nat.readOnly,
    introducers: nat.introducers,
    families: nat.families.map(natFamilyView),
    mapping: mappingView(nat.mapping),
    pinhole: mappingView(nat.pinhole),
  };
}

function mappingView(report: MappingReport | null): StatsView["nat"]["mapping"] {
  if (report === null) return null;
  const { internalAddress, externalAddress, leaseS, since, renewedAt, ...rest } = report;
  return {
    ...rest,
    internal_address: internalAddress,
    external_address: externalAddress,
    lease_s: leaseS,
    since: since === null ? null : timeText(since),
    renewed_at: renewedAt === null ? null : timeText(renewedAt),
  };
}

/** What is held to be so of one address family. */
export function natFamilyView(
  report: NatReport,
): z.output<typeof StatsResponse>["nat"]["families"][number] {
  const { family, externalAddress, type, filtering, reachable, readOnly, evidence } = report;
  const optional = (ms: number | null) => ms === null ? null : timeText(ms);
  return {
    family,
    external_address: externalAddress,
    type,
    filtering,
    reachable,
    read_only: readOnly,
    evidence: {
      votes: evidence.votes,
      voters: evidence.voters,
      port_voters: evidence.portVoters,
      same_port: evidence.samePort,
      voted_by: evidence.votedBy,
      voted_at: optional(evidence.votedAt),
      reason: evidence.reason,
      checked_at: optional(evidence.checkedAt),
      probes: evidence.probes,
      missed: evidence.missed,
      arrived_from: evidence.arrivedFrom,
    },
  };
}

type TrafficReport = StatsReport["traffic"]["in"];
type StatsView = z.output<typeof StatsResponse>;

function trafficView(report: TrafficReport): StatsView["traffic"]["in"] {
  return {
    messages: report.messages,
    bytes: report.bytes,
    messages_per_second: report.perSecond,
    bytes_per_second: report.bytesPerSecond,
    by_type: report.byType,
  };
}

function configView(config: Config): StatsView["config"] {
  const { allowNet } = config;
  return {
    p2p_port: config.p2pPort,
    p2p_host: config.p2pHost,
    bootstrap_nodes: config.bootstrapNodes.map(({ host, port }) =>
      host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`
    ),
    k_bucket_size: config.bucketSize,
    min_replicas: config.minReplicas,
    max_per_subnet: config.maxPerSubnet,
    alpha: config.alpha,
    health_check_interval: config.healthCheckIntervalMs / 1000,
    api_host: config.apiHost,
    api_port: config.apiPort,
    api_token: config.apiToken !== null,
    api_open_reads: config.apiOpenReads,
    api_allowed_hosts: [...config.apiAllowedHosts],
    api_trusted_proxies: config.apiTrustedProxies.map(describeEntry),
    api_rate_limit: config.apiRateLimit,
    api_send_rate_limit: config.apiSendRateLimit,
    api_max_connections: config.apiMaxConnections,
    data_dir: config.dataDir,
    log_level: config.logLevel,
    log_format: config.logFormat,
    max_value_size: config.maxValueSize,
    storage_limit: config.storageLimit,
    nat: config.nat,
    relay: config.relay,
    allow_net: allowNet.mode === "list"
      ? allowNet.entries.map(describeEntry)
      : allowNet.mode === "any",
  };
}
