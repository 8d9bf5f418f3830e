// GET /metrics: what the node counts and measures, for Prometheus and whatever else reads its formats. Of the same
// requests and operations there are spans, where Deno exports telemetry (OTEL_DENO).

import { SpanStatusCode, trace } from "@opentelemetry/api";
import type { Context, MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import { Counter, Histogram, type Metric, Registry } from "prom-client";
import { COMMIT } from "../commit.ts";
import { BOUNDS_MS } from "../dht/histogram.ts";
import { ITEM_OVERHEAD_BYTES } from "../dht/item_store.ts";
import type { Drop } from "../dht/traffic.ts";
import type { Refusals } from "./limits.ts";
import type {
  Durations,
  FetchOutcome,
  Measurements,
  NatType,
  NodeService,
  PingReport,
  ReplicasOutcome,
  ServiceEvent,
  StatsReport,
  StoreOutcome,
} from "../runtime/service.ts";

/** What all metrics of one scrape are read from. */
interface Snapshot {
  readonly stats: StatsReport;
  readonly measured: Measurements;
  /** Connections that events are sent to. */
  readonly listeners: number;
  readonly transfers: Readonly<Record<"store" | "fetch", number>>;
  readonly refusals: Refusals;
}

type Labels = Readonly<Record<string, string>>;
/** One series: its labels and its value. A value that is not known has no series. */
type Sample = readonly [Labels, number | null];

/** A metric that is read when it is asked for. */
interface Pulled {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  read(snapshot: Snapshot): number | null | Iterable<Sample>;
}

/** A histogram that is counted elsewhere. */
interface PulledHistogram {
  readonly name: string;
  readonly help: string;
  readonly type: "histogram";
  read(snapshot: Snapshot): Iterable<readonly [Labels, Durations]>;
}

/** Every reason, so that each has a series from the start: an alert can't see the first step of one that appears. */
const DROPS: Readonly<Record<Drop, true>> = {
  malformed: true,
  no_transaction: true,
  unknown_type: true,
  rate_limited: true,
  unmatched: true,
  read_only: true,
  not_allowed: true,
  send_queue_full: true,
  not_introduced: true,
  over_budget: true,
  would_amplify: true,
};

const NAT_TYPES: Readonly<Record<NatType, true>> = {
  none: true,
  endpoint_independent: true,
  symmetric: true,
  unknown: true,
};

const flag = (value: boolean | null) => value === null ? null : Number(value);

/** What the node keeps count of itself. */
const PULLED: readonly (Pulled | PulledHistogram)[] = [
  {
    type: "gauge",
    name: "dmnode_build_info",
    help: "Always 1; the labels tell what this is.",
    read: ({ stats, measured }) => [[
      { version: stats.version, commit: COMMIT, runtime: measured.process.runtime },
      1,
    ]],
  },
  {
    type: "gauge",
    name: "dmnode_ready",
    help: "Whether the node can store and fetch through others, as /readyz tells.",
    read: ({ stats }) => flag(stats.readiness.ready),
  },
  {
    type: "gauge",
    name: "dmnode_peers",
    help: "Peers of the routing table by health.",
    read: ({ stats }) => Object.entries(stats.peers).map(([health, n]) => [{ health }, n]),
  },
  {
    type: "gauge",
    name: "dmnode_routing_table_buckets",
    help: "Buckets of the routing table.",
    read: ({ stats }) => stats.buckets,
  },
  {
    type: "gauge",
    name: "dmnode_network_size_nodes",
    help: "Estimated number of nodes in the network; absent before there is an estimate.",
    read: ({ stats }) => stats.networkSizeEstimate,
  },
  {
    type: "counter",
    name: "dmnode_messages_total",
    help: "KRPC messages by direction, method and kind.",
    read: ({ stats }) => traffic(stats, "messages"),
  },
  {
    type: "counter",
    name: "dmnode_message_bytes_total",
    help: "Bytes of KRPC messages, without UDP and IP headers.",
    read: ({ stats }) => traffic(stats, "bytes"),
  },
  {
    type: "counter",
    name: "dmnode_dropped_packets_total",
    help: "Packets that were not served, or not sent (send_queue_full), by reason.",
    read: ({ stats }) => named("reason", DROPS, (reason) => stats.traffic.dropped[reason] ?? 0),
  },
  {
    type: "histogram",
    name: "dmnode_round_trip_seconds",
    help: "Round trips of queries that were answered at the first try.",
    read: ({ measured }) => [[{}, measured.roundTrips]],
  },
  {
    type: "counter",
    name: "dmnode_lookups_total",
    help: "Lookups that ended, by whether anybody answered.",
    read: ({ stats: { lookups: { count, success } } }) => [
      [{ outcome: "answered" }, success],
      [{ outcome: "unanswered" }, count - success],
    ],
  },
  {
    type: "gauge",
    name: "dmnode_lookups_active",
    help: "Lookups that run.",
    read: ({ stats }) => stats.lookups.active,
  },
  {
    type: "counter",
    name: "dmnode_lookup_hops_total",
    help: "Hops of the lookups that were answered, together.",
    read: ({ stats: { lookups } }) => Math.round((lookups.hopsMean ?? 0) * lookups.success),
  },
  {
    type: "histogram",
    name: "dmnode_lookup_duration_seconds",
    help: "Lookups that ended, by what they asked.",
    read: ({ measured }) =>
      Object.entries(measured.lookups).map(([method, durations]) => [{ method }, durations]),
  },
  {
    type: "gauge",
    name: "dmnode_storage_items",
    help: "Items held, by whose they are: this node's own, or others'.",
    read: ({ stats: { storage: { items, replicated } } }) => [
      [{ owner: "self" }, items - replicated],
      [{ owner: "others" }, replicated],
    ],
  },
  {
    type: "gauge",
    name: "dmnode_storage_value_bytes",
    help: "Bytes of the values held.",
    read: ({ stats }) => stats.storage.bytes,
  },
  {
    type: "gauge",
    name: "dmnode_storage_used_bytes",
    help: "What counts against the limit: the values, and what each takes beyond them.",
    read: ({ stats: { storage: { bytes, items } } }) => bytes + items * ITEM_OVERHEAD_BYTES,
  },
  {
    type: "gauge",
    name: "dmnode_storage_limit_bytes",
    help: "STORAGE_LIMIT: beyond it the values farthest from this node's id are given up.",
    read: ({ stats }) => stats.storage.limitBytes,
  },
  {
    type: "gauge",
    name: "dmnode_storage_expiring_items",
    help: "Items that expire within the hour unless they are put again.",
    read: ({ stats }) => stats.storage.expiringWithinHour,
  },
  {
    type: "gauge",
    name: "dmnode_announced_peers",
    help: "Peers of BEP 5 swarms that were announced here.",
    read: ({ stats }) => stats.storage.announcedPeers,
  },
  {
    type: "gauge",
    name: "dmnode_published_values",
    help: "Values that this node keeps published.",
    read: ({ stats }) => stats.storage.published,
  },
  {
    type: "gauge",
    name: "dmnode_published_items",
    help: "Items that these values consist of.",
    read: ({ stats }) => stats.storage.publishedItems,
  },
  {
    type: "gauge",
    name: "dmnode_published_failing_items",
    help: "Items of these that nobody acknowledged the last time.",
    read: ({ measured }) => measured.published.failing,
  },
  {
    type: "gauge",
    name: "dmnode_published_short_items",
    help: "Items of these that fewer than half of the nodes acknowledged that should.",
    read: ({ measured }) => measured.published.short,
  },
  {
    type: "counter",
    name: "dmnode_republications_total",
    help: "Items that were published again, and acknowledged.",
    read: ({ stats }) => stats.storage.republications,
  },
  {
    type: "counter",
    name: "dmnode_replication_turns_total",
    help: "Turns in which this node counted the copies of a held item.",
    read: ({ measured }) => measured.replication.turns,
  },
  {
    type: "counter",
    name: "dmnode_replication_copies_total",
    help: "Copies of held items that were made where some were missing.",
    read: ({ stats }) => stats.storage.copiesMade,
  },
  {
    type: "gauge",
    name: "dmnode_replication_waiting_items",
    help: "Items that wait to be published again, or for their copies to be counted.",
    read: ({ measured }) => measured.replication.waiting,
  },
  {
    type: "histogram",
    name: "dmnode_database_commit_duration_seconds",
    help: "Commits, each synced to the disk, with the wait for the thread that makes them.",
    read: ({ measured: { database } }) => database === null ? [] : [[{}, database.commits]],
  },
  {
    type: "counter",
    name: "dmnode_database_commit_failures_total",
    help: "Commits that failed; what waits for them is refused.",
    read: ({ measured }) => measured.database?.failedCommits ?? null,
  },
  {
    type: "gauge",
    name: "dmnode_database_waiting_changes",
    help: "Changes that are not committed yet.",
    read: ({ measured }) => measured.database?.waitingChanges ?? null,
  },
  {
    type: "gauge",
    name: "dmnode_database_damaged_rows",
    help: "Rows that were left out at the start, for they are not as they were written.",
    read: ({ measured }) => measured.database?.damagedRows ?? null,
  },
  {
    type: "gauge",
    name: "dmnode_transfers_active",
    help: "Chunked values that are being moved.",
    read: ({ transfers }) => Object.entries(transfers).map(([direction, n]) => [{ direction }, n]),
  },
  {
    type: "counter",
    name: "dmnode_http_refusals_total",
    help: "Requests and connections that the API refused, or cut off, by reason.",
    read: ({ refusals }) => Object.entries(refusals).map(([reason, n]) => [{ reason }, n]),
  },
  {
    type: "gauge",
    name: "dmnode_event_listeners",
    help: "Connections that events are sent to.",
    read: ({ listeners }) => listeners,
  },
  {
    type: "histogram",
    name: "dmnode_event_loop_lag_seconds",
    help: "How late a timer ran that is due each second.",
    read: ({ measured }) => [[{}, measured.eventLoopLag]],
  },
  {
    type: "gauge",
    name: "dmnode_nat_reachable",
    help: "Whether others reach this node unasked; absent where that is not known.",
    read: ({ stats }) => flag(stats.nat.reachable),
  },
  {
    type: "gauge",
    name: "dmnode_nat_read_only",
    help: "Whether this node answers no strangers, because they can't reach it (BEP 43).",
    read: ({ stats }) => flag(stats.nat.readOnly),
  },
  {
    type: "gauge",
    name: "dmnode_nat_type",
    help: "1 for the kind of NAT that this node is behind, 0 for the others.",
    read: ({ stats }) => named("type", NAT_TYPES, (type) => Number(type === stats.nat.type)),
  },
  {
    type: "gauge",
    name: "dmnode_nat_introducers",
    help: "Nodes at which this one has registered, so that others are introduced to it.",
    read: ({ stats }) => stats.nat.introducers,
  },
  {
    type: "gauge",
    name: "dmnode_nat_address_votes",
    help: "Peers that report the external address that most of them do.",
    read: ({ stats }) => stats.nat.votes,
  },
  {
    type: "gauge",
    name: "process_start_time_seconds",
    help: "When the process started, since the Unix epoch.",
    read: ({ measured }) => measured.process.startedAtS,
  },
  {
    type: "counter",
    name: "process_cpu_user_seconds_total",
    help: "CPU time in user mode.",
    read: ({ measured }) => measured.process.cpuUserS,
  },
  {
    type: "counter",
    name: "process_cpu_system_seconds_total",
    help: "CPU time in the kernel.",
    read: ({ measured }) => measured.process.cpuSystemS,
  },
  {
    type: "counter",
    name: "process_cpu_seconds_total",
    help: "CPU time in user mode and in the kernel.",
    read: ({ measured: { process } }) => process.cpuUserS + process.cpuSystemS,
  },
  {
    type: "gauge",
    name: "process_resident_memory_bytes",
    help: "Memory of the process that is in RAM.",
    read: ({ measured }) => measured.process.residentBytes,
  },
  {
    type: "gauge",
    name: "process_heap_bytes",
    help: "JavaScript heap, with what is free of it.",
    read: ({ measured }) => measured.process.heapBytes,
  },
  {
    type: "gauge",
    name: "dmnode_heap_used_bytes",
    help: "JavaScript heap in use.",
    read: ({ measured }) => measured.process.heapUsedBytes,
  },
];

/** Does nothing where no telemetry is exported. */
const TRACER = trace.getTracer("dmnode");

/** Methods that have a series of their own: others are anybody's invention. */
const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]);

/** Bounds in seconds: a figure that is at hand, and a store that is tried four times. */
const REQUEST_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** What is asked of the node and takes its time, and how each may end; "error" is a rejection. */
interface Outcomes {
  store: StoreOutcome["outcome"];
  store_signed: StoreOutcome["outcome"];
  fetch: FetchOutcome["outcome"];
  replicas: ReplicasOutcome["outcome"];
  ping: PingReport["outcome"];
  find: "found" | "not_found";
}

const STORED: Readonly<Record<StoreOutcome["outcome"], true>> = {
  stored: true,
  too_large: true,
  key_too_long: true,
  seq_too_old: true,
  cas_mismatch: true,
  overtaken: true,
  bad_signature: true,
  wrong_target: true,
  too_few: true,
  unreachable: true,
  busy: true,
};

/** All that there are, for the reason that {@link DROPS} has. */
const OUTCOMES: { readonly [O in keyof Outcomes]: Readonly<Record<Outcomes[O], true>> } = {
  store: STORED,
  store_signed: STORED,
  fetch: { found: true, large: true, invalid: true, not_found: true, key_needed: true },
  replicas: { found: true, not_found: true, key_needed: true, busy: true },
  ping: { pong: true, unknown: true, timeout: true },
  find: { found: true, not_found: true },
};

/** Events that are counted: steps are told only while somebody listens, and progress has metrics of its own. */
const EVENTS: Readonly<
  Record<Exclude<ServiceEvent["type"], "lookup.step" | "data.progress">, true>
> = {
  "peer.join": true,
  "peer.leave": true,
  "peer.health": true,
  "data.store": true,
  "data.publish": true,
  "data.fetch": true,
  "data.replicate": true,
  "data.expire": true,
  "lookup": true,
  "id": true,
  "bootstrap": true,
  "nat": true,
  "ready": true,
};

/** The metrics of one API and of the node behind it. */
export class ApiMetrics {
  readonly #service: NodeService;
  readonly #listeners: () => number;
  readonly #refusals: Refusals;
  readonly #requests = new Counter({
    name: "dmnode_http_requests_total",
    help: "Requests to the API by route, method and class of status.",
    labelNames: ["route", "method", "status"],
    registers: [],
  });
  readonly #requestDurations = new Histogram({
    name: "dmnode_http_request_duration_seconds",
    help: "Requests to the API until their headers are sent.",
    labelNames: ["route", "method"],
    buckets: REQUEST_BOUNDS,
    registers: [],
  });
  readonly #operations = new Counter({
    name: "dmnode_operations_total",
    help: "What the API has asked of the node, by how that ended.",
    labelNames: ["operation", "outcome"],
    registers: [],
  });
  readonly #operationDurations = new Histogram({
    name: "dmnode_operation_duration_seconds",
    help: "What the API has asked of the node: whole stores, fetches up to a chunked value's root.",
    labelNames: ["operation"],
    buckets: REQUEST_BOUNDS,
    registers: [],
  });
  readonly #events = new Counter({
    name: "dmnode_events_total",
    help: "What happened in the node, by the type of the event that /ws sends.",
    labelNames: ["type"],
    registers: [],
  });
  readonly #transfers = new Counter({
    name: "dmnode_transfers_total",
    help: "Chunked values that were moved, wholly or not.",
    labelNames: ["direction", "outcome"],
    registers: [],
  });
  readonly #text = new Registry();
  readonly #open = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>();
  #snapshot: Snapshot | undefined;

  /**
   * @param listeners how many connections events are sent to
   * @param refusals where refusals are counted
   */
  constructor(service: NodeService, listeners: () => number, refusals: Refusals) {
    this.#service = service;
    this.#listeners = listeners;
    this.#refusals = refusals;
    this.#open.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
    for (const metric of PULLED) {
      this.#register(metric, () => Promise.resolve(samplesOf(metric, this.#snapshot!)));
    }
    const live = [
      this.#requests,
      this.#requestDurations,
      this.#operations,
      this.#operationDurations,
      this.#events,
      this.#transfers,
    ];
    for (const metric of live) {
      const { name, help } = metric as unknown as Described;
      const type = metric instanceof Counter ? "counter" : "histogram";
      this.#register({ name, help, type }, async () => (await metric.get()).values);
    }
    for (const direction of ["store", "fetch"]) {
      for (const outcome of ["done", "failed"]) this.#transfers.inc({ direction, outcome }, 0);
    }
    for (const type in EVENTS) this.#events.inc({ type }, 0);
    for (const [operation, outcomes] of Object.entries(OUTCOMES)) {
      for (const outcome of [...Object.keys(outcomes), "error"]) {
        this.#operations.inc({ operation, outcome }, 0);
      }
      this.#operationDurations.zero({ operation });
    }
    service.onEvent((event) => {
      if (event.type in EVENTS) this.#events.inc({ type: event.type });
      else if (event.type === "data.progress" && event.progress.state !== "moving") {
        const { direction, state } = event.progress;
        this.#transfers.inc({ direction, outcome: state });
      }
    });
  }

  /**
   * Enters a metric that is read when it is asked for: the library's own would have to be filled anew each time, and
   * can't be in two registries, for OpenMetrics takes the end off a counter's name.
   */
  #register({ name, help, type }: Described, read: () => Promise<readonly NamedSample[]>): void {
    const enter = (registry: Pick<Registry, "registerMetric">, shown: string) => {
      const get = async () => ({ name: shown, help, type, values: await read() });
      registry.registerMetric({ name, get } as unknown as Metric);
    };
    enter(this.#text, name);
    enter(this.#open, type === "counter" ? name.replace(/_total$/, "") : name);
  }

  /** Counts the requests that pass through. */
  readonly middleware: MiddlewareHandler = async (c, next) => {
    const startedAt = performance.now();
    await next();
    const route = routeOf(c), { method: given } = c.req;
    const method = METHODS.has(given) ? given : "other";
    const status = `${Math.floor(c.res.status / 100)}xx`;
    // Deno's own span of the request knows no routes; paths would be a name for each value.
    trace.getActiveSpan()?.updateName(`${method} ${route}`).setAttribute("http.route", route);
    this.#requests.inc({ route, method, status });
    this.#requestDurations.observe({ route, method }, (performance.now() - startedAt) / 1000);
  };

  /** Measures what the node was asked, and counts its outcome. */
  async measure<O extends keyof Outcomes, T>(
    operation: O,
    run: () => Promise<T>,
    outcomeOf: (result: T) => Outcomes[O],
  ): Promise<T> {
    return await TRACER.startActiveSpan(`dmnode.${operation}`, async (span) => {
      const startedAt = performance.now();
      let outcome: Outcomes[O] | "error" = "error";
      try {
        const result = await run();
        outcome = outcomeOf(result);
        return result;
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
        throw error;
      } finally {
        this.#operations.inc({ operation, outcome });
        this.#operationDurations.observe({ operation }, (performance.now() - startedAt) / 1000);
        span.setAttribute("dmnode.outcome", outcome).end();
      }
    });
  }

  /** All metrics as they stand, in OpenMetrics where `accept` names it, else in Prometheus' own format. */
  async response(accept: string | undefined): Promise<Response> {
    const isOpen = /(^|,)\s*application\/openmetrics-text\s*(;|,|$)/i.test(accept ?? "");
    const registry = isOpen ? this.#open : this.#text;
    const transfers = { store: 0, fetch: 0 };
    for (const { direction } of this.#service.transfers()) transfers[direction]++;
    this.#snapshot = {
      stats: this.#service.stats(),
      measured: this.#service.measurements(),
      listeners: this.#listeners(),
      transfers,
      refusals: this.#refusals,
    };
    // All metrics are read before this gives way to anything else.
    const text = registry.metrics();
    this.#snapshot = undefined;
    return new Response(await text, { headers: { "content-type": registry.contentType } });
  }
}

interface Described {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
}

interface NamedSample {
  readonly metricName?: string;
  readonly labels: Labels | Readonly<Record<string, string | number>>;
  readonly value: number;
}

function samplesOf(metric: Pulled | PulledHistogram, snapshot: Snapshot): NamedSample[] {
  if (metric.type === "histogram") {
    return [...metric.read(snapshot)].flatMap((sample) => histogramSamples(metric.name, sample));
  }
  const read = metric.read(snapshot);
  const samples: Iterable<Sample> = read === null || typeof read === "number" ? [[{}, read]] : read;
  return Array.from(samples).flatMap(([labels, value]) =>
    value === null ? [] : [{ labels, value }]
  );
}

function histogramSamples(
  name: string,
  [labels, { counts, sum }]: readonly [Labels, Durations],
): NamedSample[] {
  let count = 0;
  const buckets = counts.map((n, i) => {
    count += n;
    const le = i < BOUNDS_MS.length ? String(BOUNDS_MS[i] / 1000) : "+Inf";
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum / 1000 },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

/** One series for each of these names. */
function named<K extends string>(
  label: string,
  names: Readonly<Record<K, true>>,
  read: (name: K) => number,
): Sample[] {
  return (Object.keys(names) as K[]).map((name) => [{ [label]: name }, read(name)]);
}

function traffic({ traffic }: StatsReport, what: "messages" | "bytes"): Sample[] {
  return (["in", "out"] as const).flatMap((direction) =>
    Object.entries(traffic[direction].byType).map(([type, counts]): Sample => {
      const [method, kind] = type.split(".");
      return [{ direction, method, kind }, counts[what]];
    })
  );
}

/** The path of the route that answered, as the API's document writes it; paths that have none are one. */
function routeOf(c: Context): string {
  const route = matchedRoutes(c).findLast(({ path }) => !path.endsWith("*"));
  return route === undefined ? "none" : route.path.replace(/:(\w+)/g, "{$1}");
}
