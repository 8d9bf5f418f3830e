// Names, help texts and samples of the metrics that are read from the node.

import { COMMIT } from "../commit.ts";
import { BOUNDS_MS } from "../dht/histogram.ts";
import type { Drop } from "../dht/traffic.ts";
import { type Bytes, PURPOSES } from "../dht/purpose.ts";
import type { Durations, Measurements } from "../node_service.ts";
import { natType, type NodeStats } from "../reports/stats.ts";
import { histogramSamples, type Metric, type MetricType, type Sample } from "./exposition.ts";
import type { Refusals } from "./limits.ts";

/** The data from which one response of /metrics is built. */
export interface Snapshot {
  readonly stats: NodeStats;
  readonly measured: Measurements;
  readonly listeners: number;
  readonly transfers: Readonly<Record<"store" | "fetch", number>>;
  readonly refusals: Refusals;
}

/** The value of a metric, its values by a single label, or samples with any labels. Unknown values are omitted. */
type Reading =
  | Value
  | readonly [label: string, values: Readonly<Record<string, Value>>]
  | readonly Sample[];
type Value = number | boolean | Durations | null | undefined;

/** The help text of each metric, grouped by the type of metric. */
const NODE_METRICS = {
  gauge: {
    dmnode_build_info: "Always 1; the labels identify the program.",
    dmnode_ready: "Whether the node can store and fetch through others, as /readyz reports.",
    dmnode_peers: "Peers of the routing table by health.",
    dmnode_routing_table_buckets: "Buckets of the routing table.",
    dmnode_network_size_nodes:
      "Estimated number of nodes in the network; absent before there is an estimate.",
    dmnode_lookups_active: "Lookups that are running.",
    dmnode_queries_active: "Queries in flight.",
    dmnode_deadlines: "Deadlines that the node has scheduled.",
    dmnode_storage_items: "Items held, by owner: this node, or others.",
    dmnode_storage_value_bytes: "Bytes of the values held.",
    dmnode_storage_used_bytes:
      "Disk space of the items held, in bytes. It counts against the limit.",
    dmnode_storage_limit_bytes: "STORAGE_LIMIT. A full node refuses to store.",
    dmnode_storage_expiring_items: "Items that expire within the hour unless they are put again.",
    dmnode_announced_peers: "Peers of BEP 5 swarms that were announced here.",
    dmnode_announced_swarms: "Swarms in which this node announces its host.",
    dmnode_announced_failing_swarms:
      "Swarms in which no node accepted the latest announcement of this host.",
    dmnode_published_values: "Values that this node keeps published.",
    dmnode_pinned_values: "Published values that are pinned.",
    dmnode_published_items: "Items of the values that this node keeps published.",
    dmnode_published_failing_items:
      "Published items that no other node acknowledged when they were last put.",
    dmnode_published_ending_items:
      "Published items whose copies on other nodes will soon expire, or have expired.",
    dmnode_published_short_items:
      "Published items that fewer than four fifths of the wanted nodes hold, as far as this node knows.",
    dmnode_replication_waiting_items:
      "Items that wait to be published again, or for their copies to be counted.",
    dmnode_watch_subscriptions:
      "Subscriptions to values: held here for other nodes, or made by this node at others.",
    dmnode_database_waiting_changes: "Changes that are not committed yet.",
    dmnode_database_damaged_rows:
      "Damaged rows that were found at the start, or when a value was read later.",
    dmnode_transfers_active: "Transfers of chunked values in progress.",
    dmnode_traffic_budget_bytes: "P2P_MONTHLY_BUDGET; absent without a budget.",
    dmnode_traffic_budget_used_bytes:
      "Bytes sent and received in this month (UTC); absent without a budget.",
    dmnode_traffic_budget_spent:
      "Whether the node is read-only because its budget is used up; absent without a budget.",
    dmnode_event_listeners: "Connections that receive events.",
    dmnode_left_out_nodes: "Nodes of the last hour that MAX_PER_SUBNET left out.",
    dmnode_nat_reachable: "Whether unsolicited packets reach this node; absent while unknown.",
    dmnode_nat_read_only:
      "Whether this node answers no strangers, because they can't reach it (BEP 43).",
    dmnode_nat_type: "1 for the type of this node's NAT, 0 for the others.",
    dmnode_nat_introducers:
      "Nodes at which this node has registered, so that they introduce others to it.",
    dmnode_nat_address_votes: "Peers that report the most common external address.",
    process_start_time_seconds: "Start of the process, since the Unix epoch.",
    process_resident_memory_bytes: "Memory of the process in RAM.",
    process_heap_bytes: "JavaScript heap, including its free part.",
    dmnode_heap_used_bytes: "JavaScript heap in use.",
  },
  counter: {
    dmnode_messages_total: "KRPC messages by direction, method and kind.",
    dmnode_message_bytes_total: "Bytes of KRPC messages, without UDP and IP headers.",
    dmnode_traffic_bytes_total:
      "Bytes of all P2P packets, with the headers of UDP and IP, by direction and purpose.",
    dmnode_dropped_packets_total:
      "Packets that were not served, or not sent (send_queue_full, not_sent), by reason.",
    dmnode_lookups_total: "Lookups that ended, by whether any node answered.",
    dmnode_lookup_hops_total: "Sum of the hops of the lookups that were answered.",
    dmnode_crowded_targets_total:
      "Targets of lookups with far too many nodes around them: maybe Sybils that hide a value.",
    dmnode_log_dropped_lines_total:
      "Lines of the log that were dropped, as they could not be written.",
    dmnode_republications_total: "Items that were published again, and acknowledged.",
    dmnode_replication_turns_total: "Times that this node counted the copies of a held item.",
    dmnode_replication_copies_total:
      "Copies of held items that this node made to replace missing ones.",
    dmnode_watch_notices_total:
      "Notices of new versions: sent, acknowledged, received, or of unknown subscriptions.",
    dmnode_watch_refusals_total: "Subscriptions of other nodes that were refused for lack of room.",
    dmnode_database_commit_failures_total: "Commits that failed. Their changes are refused.",
    dmnode_http_refusals_total:
      "Requests and connections that the API refused or cut off, by reason.",
    process_cpu_user_seconds_total: "CPU time in user mode.",
    process_cpu_system_seconds_total: "CPU time in the kernel.",
    process_cpu_seconds_total: "CPU time in user mode and in the kernel.",
  },
  histogram: {
    dmnode_round_trip_seconds: "Round trips of queries that were answered on the first try.",
    dmnode_lookup_duration_seconds: "Lookups that ended, by their method.",
    dmnode_database_commit_duration_seconds:
      "Commits, each synced to the disk, including the wait for the storage thread.",
    dmnode_event_loop_lag_seconds: "Delays of a timer that is due each second.",
  },
} as const;

type NodeMetric = { [T in keyof typeof NODE_METRICS]: keyof (typeof NODE_METRICS)[T] }[
  keyof typeof NODE_METRICS
];

function readingsOf(
  { stats, measured, listeners, transfers, refusals }: Snapshot,
): Record<NodeMetric, Reading> {
  const { traffic, lookups, storage, swarms, nat } = stats;
  const { database, published, replication, watching, pending, process } = measured;
  const build = { version: stats.version, commit: COMMIT, runtime: process.runtime };
  return {
    dmnode_build_info: [{ labels: build, value: 1 }],
    dmnode_ready: stats.readiness.ready,
    dmnode_peers: ["health", stats.peers],
    dmnode_routing_table_buckets: stats.buckets,
    dmnode_network_size_nodes: stats.network_size_estimate,
    dmnode_messages_total: trafficSamples(stats, "messages"),
    dmnode_message_bytes_total: trafficSamples(stats, "bytes"),
    dmnode_traffic_bytes_total: [
      ...usageSamples("in", measured.usage.received),
      ...usageSamples("out", measured.usage.sent),
    ],
    dmnode_dropped_packets_total: ["reason", { ...DROPS, ...traffic.dropped }],
    dmnode_round_trip_seconds: measured.roundTrips,
    dmnode_lookups_total: ["outcome", {
      answered: lookups.success,
      unanswered: lookups.count - lookups.success,
    }],
    dmnode_lookups_active: lookups.active,
    dmnode_queries_active: pending.queries,
    dmnode_deadlines: pending.deadlines,
    dmnode_lookup_hops_total: Math.round((lookups.hops_mean ?? 0) * lookups.success),
    dmnode_crowded_targets_total: lookups.crowded,
    dmnode_left_out_nodes: stats.left_out.nodes,
    dmnode_lookup_duration_seconds: ["method", measured.lookups],
    dmnode_storage_items: ["owner", {
      self: storage.items - storage.replicated,
      others: storage.replicated,
    }],
    dmnode_storage_value_bytes: storage.value_bytes,
    dmnode_storage_used_bytes: storage.bytes,
    dmnode_storage_limit_bytes: storage.limit_bytes,
    dmnode_storage_expiring_items: storage.expiring_within_hour,
    dmnode_announced_peers: storage.announced_peers,
    dmnode_announced_swarms: swarms.announced,
    dmnode_announced_failing_swarms: swarms.failing,
    dmnode_published_values: storage.published,
    dmnode_published_items: storage.published_items,
    dmnode_published_failing_items: published.failing,
    dmnode_published_short_items: published.short,
    dmnode_published_ending_items: published.ending,
    dmnode_pinned_values: storage.pins,
    dmnode_log_dropped_lines_total: stats.log.dropped,
    dmnode_republications_total: storage.republications,
    dmnode_replication_turns_total: replication.turns,
    dmnode_replication_copies_total: storage.copies_made,
    dmnode_replication_waiting_items: replication.waiting,
    dmnode_watch_subscriptions: ["side", { held: watching.held, made: watching.made }],
    dmnode_watch_notices_total: ["outcome", { ...watching.notices }],
    dmnode_watch_refusals_total: watching.refused,
    dmnode_database_commit_duration_seconds: database?.commits,
    dmnode_database_commit_failures_total: database?.failedCommits,
    dmnode_database_waiting_changes: database?.waitingChanges,
    dmnode_database_damaged_rows: database?.damagedRows,
    dmnode_transfers_active: ["direction", transfers],
    dmnode_http_refusals_total: ["reason", { ...refusals }],
    dmnode_traffic_budget_bytes: traffic.budget?.bytes,
    dmnode_traffic_budget_used_bytes: traffic.budget?.used,
    dmnode_traffic_budget_spent: traffic.budget?.read_only,
    dmnode_event_listeners: listeners,
    dmnode_event_loop_lag_seconds: measured.eventLoopLag,
    dmnode_nat_reachable: nat.reachable,
    dmnode_nat_read_only: nat.read_only,
    dmnode_nat_type: [
      "type",
      Object.fromEntries(natType.options.map((type) => [type, type === nat.type])),
    ],
    dmnode_nat_introducers: nat.introducers,
    dmnode_nat_address_votes: nat.votes,
    process_start_time_seconds: process.startedAtS,
    process_cpu_user_seconds_total: process.cpuUserS,
    process_cpu_system_seconds_total: process.cpuSystemS,
    process_cpu_seconds_total: process.cpuUserS + process.cpuSystemS,
    process_resident_memory_bytes: process.residentBytes,
    process_heap_bytes: process.heapBytes,
    dmnode_heap_used_bytes: process.heapUsedBytes,
  };
}

/**
 * All drop reasons, each with the count 0. Each series must exist from the start, because an alert misses the first
 * increase of a series that appears later.
 */
const DROPS: Readonly<Record<Drop, 0>> = {
  malformed: 0,
  no_transaction: 0,
  unknown_type: 0,
  rate_limited: 0,
  no_id: 0,
  unmatched: 0,
  read_only: 0,
  not_allowed: 0,
  denied: 0,
  send_queue_full: 0,
  not_sent: 0,
  not_introduced: 0,
  over_budget: 0,
  would_amplify: 0,
  overloaded: 0,
  over_limit: 0,
  undecipherable: 0,
  unproven: 0,
  replayed: 0,
};

function usageSamples(direction: "in" | "out", bytes: Readonly<Bytes>): Sample[] {
  return PURPOSES.map((purpose) => ({ labels: { direction, purpose }, value: bytes[purpose] }));
}

function trafficSamples({ traffic }: NodeStats, unit: "messages" | "bytes"): Sample[] {
  return (["in", "out"] as const).flatMap((direction) =>
    Object.entries(traffic[direction].by_type).map(([type, counts]) => {
      const [method, kind] = type.split(".");
      return { labels: { direction, method, kind }, value: counts[unit] };
    })
  );
}

/** Returns the metrics of the node with the values of a snapshot. */
export function nodeMetrics(snapshot: Snapshot): Metric[] {
  const readings = readingsOf(snapshot);
  return Object.entries(NODE_METRICS).flatMap(([type, helps]) =>
    Object.entries(helps).map(([name, help]) => ({
      name,
      help,
      type: type as MetricType,
      samples: () => samplesOf(readings[name as NodeMetric]),
    }))
  );
}

function samplesOf(reading: Reading): readonly Sample[] {
  if (!Array.isArray(reading)) return valueSamples({}, reading as Value);
  const [label, values] = reading;
  if (typeof label !== "string") return reading as readonly Sample[];
  return Object.entries(values as Readonly<Record<string, Value>>)
    .flatMap(([key, value]) => valueSamples({ [label]: key }, value));
}

function valueSamples(labels: Sample["labels"], value: Value): Sample[] {
  if (value === null || value === undefined) return [];
  if (typeof value !== "object") return [{ labels, value: Number(value) }];
  const bounds = BOUNDS_MS.map((bound) => bound / 1000);
  return histogramSamples(labels, { bounds, counts: value.counts, sum: value.sum / 1000 });
}
