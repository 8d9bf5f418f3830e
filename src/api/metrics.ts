// Metrics of the API and its node for Prometheus.

import type { Context, MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import type { NodeService } from "../node_service.ts";
import { EVENT_TYPES, type EventType } from "../reports/events.ts";
import { accepts, weightOf } from "./accept.ts";
import { Counter, exposition, FORMATS, Histogram } from "./exposition.ts";
import type { Refusals } from "./limits.ts";
import { nodeMetrics } from "./node_metrics.ts";
import { inSpan, nameRequestSpan } from "./tracing.ts";

/** HTTP methods that have their own time series. All others count as "other", because clients can invent methods. */
const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]);

/**
 * Upper bounds of the duration histogram in seconds: from an answer that needs no other node, up to a store that needs
 * four attempts.
 */
const REQUEST_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const NOT_STORED = [
  "too_large",
  "key_too_long",
  "seq_too_old",
  "cas_mismatch",
  "overtaken",
  "seq_exhausted",
  "bad_signature",
  "wrong_target",
  "too_few",
  "no_room",
  "unreachable",
  "busy",
] as const;

const STORED = ["stored", ...NOT_STORED] as const;

/** The node's operations that are timed, with all their outcomes. A rejected promise counts as "error". */
const OUTCOMES = {
  store: STORED,
  store_signed: STORED,
  fetch: ["found", "large", "invalid", "not_found", "key_needed"],
  pin: [
    "pinned",
    "not_found",
    "key_needed",
    "invalid",
    "too_large",
    "no_disk",
    "busy",
    "unreachable",
  ],
  replicas: ["found", "not_found", "key_needed", "busy"],
  publish_magnet: ["published", ...NOT_STORED],
  resolve_magnet: ["found", "not_found", "invalid"],
  sample_node: ["sampled", "unknown", "unsupported", "timeout"],
  sample_network: ["walked", "busy"],
  find_peers: ["found", "not_found"],
  announce: ["announced", "full", "no_disk"],
  ping: ["pong", "unknown", "timeout"],
  find: ["found", "not_found"],
} as const;

type Operation = keyof typeof OUTCOMES;
type Outcome<O extends Operation> = (typeof OUTCOMES)[O][number];

/**
 * The event types that the metrics count. They exclude events of the API itself, events that are sent only on request,
 * and progress reports.
 */
const COUNTED_EVENTS = new Set<EventType>(EVENT_TYPES)
  .difference(new Set(["hello", "stats", "watch", "lookup.step", "data.progress"]));

/** The metrics of the API and of its node. */
export class ApiMetrics {
  readonly #service: NodeService;
  readonly #listeners: () => number;
  readonly #refusals: Refusals;
  readonly #requests = new Counter<"route" | "method" | "status">({
    name: "dmnode_http_requests_total",
    help: "Requests to the API by route, method and class of status.",
  });
  readonly #operations = new Counter<"operation" | "outcome">({
    name: "dmnode_operations_total",
    help: "Operations that the API requested from the node, by outcome.",
    from: Object.entries(OUTCOMES).flatMap(([operation, outcomes]) =>
      [...outcomes, "error"].map((outcome) => ({ operation, outcome }))
    ),
  });
  readonly #events = new Counter<"type">({
    name: "dmnode_events_total",
    help: "Events of the node, by their type on /ws.",
    from: [...COUNTED_EVENTS].map((type) => ({ type })),
  });
  readonly #transfers = new Counter<"direction" | "outcome">({
    name: "dmnode_transfers_total",
    help: "Transfers of chunked values that ended, by outcome.",
    from: ["store", "fetch"].flatMap((direction) =>
      ["done", "failed"].map((outcome) => ({ direction, outcome }))
    ),
  });
  readonly #requestDurations = new Histogram<"route" | "method">({
    name: "dmnode_http_request_duration_seconds",
    help: "Time from a request to the API to the headers of its answer.",
  }, REQUEST_BOUNDS);
  readonly #operationDurations = new Histogram<"operation">({
    name: "dmnode_operation_duration_seconds",
    help: "Operations that the API requested: whole stores, fetches up to a chunked value's root.",
    from: Object.keys(OUTCOMES).map((operation) => ({ operation })),
  }, REQUEST_BOUNDS);

  constructor(service: NodeService, listeners: () => number, refusals: Refusals) {
    this.#service = service;
    this.#listeners = listeners;
    this.#refusals = refusals;
    service.onEvent((event) => {
      if (COUNTED_EVENTS.has(event.type)) this.#events.increment({ type: event.type });
      else if (event.type === "data.progress" && event.data.state !== "moving") {
        const { direction, state } = event.data;
        this.#transfers.increment({ direction, outcome: state });
      }
    });
  }

  /** Middleware that counts requests and measures their duration. */
  readonly middleware: MiddlewareHandler = async (c, next) => {
    const startedAt = performance.now();
    await next();
    const route = routeOf(c), { method: given } = c.req;
    const method = METHODS.has(given) ? given : "other";
    const status = `${Math.floor(c.res.status / 100)}xx`;
    nameRequestSpan(method, route);
    this.#requests.increment({ route, method, status });
    this.#requestDurations.observe({ route, method }, (performance.now() - startedAt) / 1000);
  };

  /** Runs an operation of the node, measures its duration and counts its outcome. */
  async measure<O extends Operation, T>(
    operation: O,
    run: () => Promise<T>,
    outcomeOf: (result: T) => Outcome<O>,
  ): Promise<T> {
    return await inSpan(`dmnode.${operation}`, async (span) => {
      const startedAt = performance.now();
      let outcome: Outcome<O> | "error" = "error";
      try {
        const result = await run();
        outcome = outcomeOf(result);
        return result;
      } finally {
        this.#operations.increment({ operation, outcome });
        this.#operationDurations.observe({ operation }, (performance.now() - startedAt) / 1000);
        span?.setAttribute("dmnode.outcome", outcome);
      }
    });
  }

  /** All metrics, in OpenMetrics format if the Accept header `accept` prefers it, otherwise in Prometheus' format. */
  async response(accept: string | undefined): Promise<Response> {
    const isOpen = prefersOpenMetrics(accept);
    const format = isOpen ? "openMetrics" : "prometheus";
    const [stats, measured, moving] = await Promise.all([
      this.#service.stats(),
      this.#service.measurements(),
      this.#service.transfers(),
    ]);
    const transfers = { store: 0, fetch: 0 };
    for (const { direction } of moving) transfers[direction]++;
    const listeners = this.#listeners(), refusals = this.#refusals;
    const text = exposition([
      ...nodeMetrics({ stats, measured, listeners, transfers, refusals }),
      this.#requests,
      this.#operations,
      this.#events,
      this.#transfers,
      this.#requestDurations,
      this.#operationDurations,
    ], format);
    return new Response(text, { headers: { "content-type": FORMATS[format] } });
  }
}

/** Whether a client prefers OpenMetrics. Of two equal weights, the format that the header names in full wins. */
function prefersOpenMetrics(accept: string | undefined): boolean {
  const open = weightOf(accept, "application/openmetrics-text") ?? 0;
  const plain = weightOf(accept, "text/plain") ?? 0;
  return open > plain || (open === plain && accepts(accept, "application/openmetrics-text"));
}

/** The path of the route that handled the request, as in the OpenAPI document; "none" for unknown paths. */
function routeOf(c: Context): string {
  const route = matchedRoutes(c).findLast(({ path }) => !path.endsWith("*"));
  return route === undefined ? "none" : route.path.replace(/:(\w+)/g, "{$1}");
}
