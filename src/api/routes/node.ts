// Routes for the node itself: statistics, history, health and metrics.

import type { OpenAPIHono } from "@hono/zod-openapi";
import { z } from "zod";
import { describeEntry, hostPortText } from "../../config/addresses.ts";
import type { Config } from "../../config.ts";
import { field } from "../../reports/fields.ts";
import { ConfigReport, History, Readiness, Stats } from "../../reports/stats.ts";
import { Threats } from "../../reports/threats.ts";
import { TrafficReport } from "../../reports/traffic.ts";
import type { Refusals } from "../limits.ts";
import { Problem } from "../problems.ts";
import { HistoryQuery } from "../schemas.ts";
import { headers, json, problem, text } from "./answers.ts";
import { describeGuarded, get, type RouteDeps, serve } from "./route.ts";

const Health = z.object({ status: field(z.literal("ok"), "ok") }).meta({ id: "Health" });
const Ready = Readiness.extend({ ready: field(z.literal(true), true) }).meta({ id: "Ready" });

const METRICS =
  `# HELP dmnode_ready Whether the node can store and fetch through others, as /readyz reports.
# TYPE dmnode_ready gauge
dmnode_ready 1
`;

/** The dependencies of these routes. */
interface NodeDeps extends RouteDeps {
  readonly refusals: Readonly<Refusals>;
}

export function nodeRoutes(
  app: OpenAPIHono,
  { service, access, metrics, refusals }: NodeDeps,
): void {
  const tags = ["Node"], reading = { tags, ...access.open("read") };

  serve(app, {
    ...reading,
    ...get("/network/stats", "readStatistics", "Read the node's statistics"),
    description:
      "The node's identity, activity, storage and NAT, and the configuration in force without the token.",
    responses: { 200: json("Statistics", Stats, "A node in a network of about 10,000") },
  }, async (c) => c.json({ ...await service.stats(), config: configReport(access.config) }, 200));

  serve(app, {
    ...reading,
    ...get("/network/history", "readHistory", "Read the node's figures over time"),
    description:
      "The samples that the dashboard draws: every ten seconds of the last hour, every five minutes of the last day, " +
      "or every hour of the last thirty days, with the important events of the same time. The day and the thirty days " +
      "survive a restart. For longer times, let Prometheus read /metrics.",
    request: { query: HistoryQuery },
    responses: {
      200: json("The samples", History, "One sample"),
      ...problem(400, "query parameter after: expected a time such as 2026-04-14T10:29:55Z."),
    },
  }, async (c) => {
    const { after, range } = c.req.valid("query");
    return c.json(await service.history(after === undefined ? 0 : Date.parse(after), range), 200);
  });

  serve(app, {
    ...reading,
    ...get("/network/traffic", "readTraffic", "Read the bytes sent and received over months"),
    description:
      "All P2P packets, with the headers of UDP and IP, by hour, day and month in UTC, and by their purpose. The node " +
      "saves the totals once a minute, so they survive restarts.",
    responses: { 200: json("The totals", TrafficReport, "One hour, day and month") },
  }, async (c) => c.json(await service.traffic(), 200));

  serve(app, {
    ...reading,
    ...get("/network/threats", "readThreats", "Read the signs of an attack"),
    description:
      "The packets that the node refused, by reason, rate and source network; how dense the ids around this node and " +
      "around its values are, compared with the network's size; and the networks of most contacts. All lists are " +
      "bounded. The sources are estimates that are never too high.",
    responses: { 200: json("The signs", Threats, "A node with few refused packets") },
  }, async (c) => {
    const refused = Object.entries(refusals).filter(([, n]) => n > 0);
    return c.json({ ...await service.threats(), api_refusals: Object.fromEntries(refused) }, 200);
  });

  serve(app, {
    tags,
    ...get("/healthz", "checkHealth", "Check whether the process lives"),
    description: "Answers as long as the process lives.",
    responses: { 200: json("The process lives", Health, "It lives") },
  }, (c) => c.json({ status: "ok" as const }, 200));

  const joining = { ready: false, reason: "still joining the network" };
  serve(app, {
    tags,
    ...get("/readyz", "checkReadiness", "Check whether the node can store and fetch"),
    description:
      "Answers 200 while the node can store and fetch through others, else 503. `reason` says why. The first node of " +
      "a network is ready without peers.",
    responses: {
      200: json("The node is ready", Ready, "The node is ready"),
      ...problem(503, joining.reason, joining),
    },
  }, async (c) => {
    const { ready, reason } = await service.readiness();
    if (!ready) throw new Problem(503, reason, { extension: { ready, reason } });
    return c.json({ ready, reason }, 200);
  });

  const guard = describeGuarded(app, {
    ...reading,
    ...get("/metrics", "readMetrics", "Read the metrics"),
    description:
      "Everything that the node counts and measures, in Prometheus' text format, or in OpenMetrics if `Accept` names " +
      "it. The response explains each name, unit and meaning.",
    responses: {
      200: {
        description: "The metrics",
        headers: headers(),
        content: {
          "text/plain": text("metrics", "One of the metrics", METRICS),
          "application/openmetrics-text": text(
            "metrics",
            "One of the metrics",
            `${METRICS}# EOF\n`,
          ),
        },
      },
    },
  });
  app.get("/metrics", guard, (c) => metrics.response(c.req.header("accept")));
}

/** The node's configuration. Reports whether a token is set, but not the token itself. */
export function configReport(config: Config): z.output<typeof ConfigReport> {
  const { allowNet, apiToken, bucketSize, healthCheckIntervalMs } = config;
  const {
    apiHost,
    apiSocketMode,
    p2pExternal,
    bootstrapNodes,
    apiTokens,
    apiTrustedProxies,
    denied,
  } = config;
  const values = Object.entries(config).map(([member, value]) => [
    member.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    value,
  ]);
  return ConfigReport.parse({
    ...Object.fromEntries(values),
    api_host: apiHost.join() || "none",
    api_socket_mode: `0${apiSocketMode.toString(8)}`,
    p2p_external: p2pExternal.map(hostPortText),
    k_bucket_size: bucketSize,
    bootstrap_nodes: bootstrapNodes.map(hostPortText),
    health_check_interval: healthCheckIntervalMs / 1000,
    denied: denied.length,
    api_token: apiToken !== null,
    api_tokens: apiTokens?.length ?? null,
    api_trusted_proxies: apiTrustedProxies.map(describeEntry),
    allow_net: allowNet.mode === "list"
      ? allowNet.entries.map(describeEntry)
      : allowNet.mode === "any",
  });
}
