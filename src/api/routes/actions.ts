// Routes for the operator's actions: connect to a node, deny one, publish a value now, and collect diagnostics.

import type { OpenAPIHono } from "@hono/zod-openapi";
import { HELLO } from "../../reports/fields.ts";
import { Diagnostics } from "../../reports/diagnostics.ts";
import { DeniedNodes } from "../../reports/peers.ts";
import { PublishedValue } from "../../reports/values.ts";
import { judgeNode, medianRttOf } from "../../web/findings.js";
import { jsonText, parseJson } from "../../web/json.js";
import { type EventFeed, typesOf } from "../events/feed.ts";
import { Problem } from "../problems.ts";
import { DenyQuery, HashParams, PingQuery } from "../schemas.ts";
import { BAD_HASH, headers, json, problem } from "./answers.ts";
import { PING_RESPONSES, pinged, pingLabel } from "./network.ts";
import { configReport } from "./node.ts";
import { del, describeGuarded, exactJson, get, post, type RouteDeps, serve } from "./route.ts";

/** Maximum number of peers and events in the diagnostics. The report stays below 1 MB, so that people can mail it. */
const MAX_PEERS = 200, MAX_EVENTS = 500;

export function actionRoutes(app: OpenAPIHono, deps: RouteDeps, feed: EventFeed): void {
  connectRoute(app, deps);
  denyRoutes(app, deps);
  publishRoute(app, deps);
  diagnosticsRoute(app, deps, feed);
}

function connectRoute(app: OpenAPIHono, { service, access, metrics }: RouteDeps): void {
  serve(app, {
    tags: ["Network"],
    ...access.sending("admin"),
    ...post("/network/peers", "connectPeer", "Connect to a node"),
    description:
      "Pings the node at an address. If it answers, this node joins the network through it, as through a bootstrap " +
      "node. This lasts until the restart: BOOTSTRAP_NODES names the nodes for each start.",
    request: { query: PingQuery },
    responses: PING_RESPONSES,
  }, async (c) => {
    const { address } = c.req.valid("query");
    const result = await metrics.measure("ping", () => service.connect(address), pingLabel);
    return c.json(pinged(address, result), 200);
  });
}

/** The detail of the response if a change of the deny list could not be saved on disk. */
const NOT_SAVED =
  "The change is in force, but not on disk, so a restart undoes it. See the node's log.";

function denyRoutes(app: OpenAPIHono, { service, access }: RouteDeps): void {
  const tags = ["Network"], changing = { tags, ...access.private("admin") };

  serve(app, {
    tags,
    ...access.private("read"),
    ...get("/network/denied", "listDenied", "List the denied nodes and addresses"),
    description:
      "This node ignores them: it drops their packets, and does not send them any. The entries of the file that " +
      "DENY_LIST names are only counted.",
    responses: { 200: json("The denied nodes and addresses", DeniedNodes, "Two entries") },
  }, async (c) => c.json(await service.denied(), 200));

  serve(app, {
    ...changing,
    ...post("/network/denied", "denyNode", "Deny a node or address"),
    description:
      "From now on, this node ignores the node with this id or public key, or all nodes at this address or in this " +
      "CIDR. The entry survives restarts. The file that DENY_LIST names does not change.",
    request: { query: DenyQuery },
    responses: {
      200: json("It was denied before", DeniedNodes, "Two entries"),
      201: json("Denied", DeniedNodes, "Two entries"),
      ...problem(400, "query parameter entry: expected an address, CIDR, node id or public key."),
      ...problem(409, "The entry names this node."),
      ...problem(503, NOT_SAVED),
      ...problem(507, "1000 entries are denied through the API; put more into the DENY_LIST file."),
    },
  }, async (c) => {
    const result = await service.denyEntry(c.req.valid("query").entry);
    switch (result.outcome) {
      case "denied":
        return c.json(await service.denied(), result.isNew ? 201 : 200);
      case "self":
        throw new Problem(409, "The entry names this node.");
      case "unsaved":
        throw new Problem(503, NOT_SAVED);
      case "full": {
        const advice = "put more into the DENY_LIST file";
        throw new Problem(507, `${result.limit} entries are denied through the API; ${advice}.`);
      }
    }
  });

  serve(app, {
    ...changing,
    ...del("/network/denied", "allowNode", "Stop denying a node or address"),
    description: "Removes an entry that was added through the API.",
    request: { query: DenyQuery },
    responses: {
      204: { description: "The entry was removed", headers: headers() },
      ...problem(400, "query parameter entry: expected an address, CIDR, node id or public key."),
      ...problem(404, "No entry 203.0.113.7 was added through the API."),
      ...problem(503, NOT_SAVED),
    },
  }, async (c) => {
    const { entry } = c.req.valid("query");
    switch (await service.allowEntry(entry)) {
      case "allowed":
        return c.body(null, 204);
      case "unknown":
        throw new Problem(404, `No entry ${entry} was added through the API.`);
      case "unsaved":
        throw new Problem(503, NOT_SAVED);
    }
  });
}

function publishRoute(app: OpenAPIHono, { service, access }: RouteDeps): void {
  serve(app, {
    tags: ["Values"],
    ...access.sending("store"),
    ...post("/network/published/{hash}", "publishNow", "Publish a value now"),
    description:
      "Starts to put the value on the nodes closest to its hash, without waiting for `next_at`. The answer does not " +
      "wait for those nodes: `last_at` and `replicas` of GET /network/published change when they have acknowledged it.",
    request: { params: HashParams },
    responses: {
      202: json("The value will be published next", PublishedValue, "A value"),
      ...BAD_HASH,
      ...problem(404, `This node does not publish ${HELLO}.`),
    },
  }, async (c) => {
    const { hash } = c.req.valid("param");
    const value = await service.publishNow(hash);
    if (value === undefined) throw new Problem(404, `This node does not publish ${hash}.`);
    return exactJson(value, 202);
  });
}

function diagnosticsRoute(
  app: OpenAPIHono,
  { service, access }: RouteDeps,
  feed: EventFeed,
): void {
  const guard = describeGuarded(app, {
    tags: ["Node"],
    ...access.private("read"),
    ...get("/network/diagnostics", "readDiagnostics", "Collect a report for finding problems"),
    description:
      "The version, the settings, the statistics, the findings of `dmnode doctor` about the running node, its best " +
      "peers and its latest events in one document. The report has no tokens, no network key, no private key, no " +
      "links of sealed values and no keys of values. It has addresses of this node and of its peers.",
    responses: { 200: json("The report", Diagnostics, "A short report") },
  });
  app.get("/network/diagnostics", guard, async (c) => {
    const [stats, { peers }, { process }] = await Promise.all([
      service.stats(),
      service.peers({ limit: MAX_PEERS }),
      service.measurements(),
    ]);
    const whole = { ...stats, config: configReport(access.config) };
    const events = feed.search({ types: typesOf([]), text: "", limit: MAX_EVENTS });
    const report = {
      made_at: new Date().toISOString(),
      runtime: process.runtime,
      system: process.system,
      memory: {
        resident_bytes: process.residentBytes,
        heap_bytes: process.heapBytes,
        heap_used_bytes: process.heapUsedBytes,
      },
      cpu_s: process.cpuUserS + process.cpuSystemS,
      findings: judgeNode(whole, medianRttOf(peers)),
      stats: whole,
      peers,
      events: events.map(({ text }) => withoutKeys(parseJson(text))),
    };
    return c.body(jsonText(report), 200, { "content-type": "application/json" });
  });
}

/** Removes the key of a value from an event, because the name that a user chose as the key may be private. */
function withoutKeys(event: { readonly data: Readonly<Record<string, unknown>> }) {
  const { data } = event;
  return "key" in data && data.key !== null ? { ...event, data: { ...data, key: null } } : event;
}
