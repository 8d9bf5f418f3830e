// Tests GET /metrics: the figures are correct in both formats, and strangers can't add series.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { BOUNDS_MS } from "../../src/dht/histogram.ts";
import { loadConfig } from "../../src/config.ts";
import { useApi, withServedNode } from "../monitoring/nodes.ts";
import { isPassedOver, promtool } from "../monitoring/tools.ts";
import { FakeService, PEER_A, PEER_B, STRANGER } from "./fake_service.ts";

const OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN = "text/plain; version=0.0.4; charset=utf-8";

function setup(env: Record<string, string> = {}) {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig({ env }) });
  const request = async (path: string, init?: RequestInit): Promise<Response> =>
    await app.fetch(new Request(`http://localhost${path}`, init));
  const metrics = async (accept = "") => {
    const response = await request("/metrics", { headers: { accept } });
    assert.equal(response.status, 200);
    return await response.text();
  };
  return { service, request, metrics };
}

/** Parses metrics into values by series. */
function seriesOf(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const series = new Map(lines.map((line) => {
    const [, name, value] = /^(\w+(?:\{.*\})?) (\S+)$/.exec(line)!;
    return [name, Number(value)];
  }));
  assert.equal(series.size, lines.length, "a series occurs twice");
  return series;
}

Deno.test("the node's figures have their metric names and are in base units", async () => {
  const { metrics } = setup();
  const series = seriesOf(await metrics());
  const expected: Record<string, number> = {
    'dmnode_peers{health="degraded"}': 1,
    dmnode_ready: 1,
    'dmnode_dropped_packets_total{reason="malformed"}': 2,
    'dmnode_dropped_packets_total{reason="send_queue_full"}': 0,
    'dmnode_lookups_total{outcome="answered"}': 2,
    'dmnode_lookups_total{outcome="unanswered"}': 1,
    dmnode_lookup_hops_total: 5,
    dmnode_round_trip_seconds_sum: 0.0124,
    dmnode_round_trip_seconds_count: 1,
    'dmnode_round_trip_seconds_bucket{le="0.008"}': 0,
    'dmnode_round_trip_seconds_bucket{le="0.016"}': 1,
    'dmnode_round_trip_seconds_bucket{le="+Inf"}': 1,
    'dmnode_lookup_duration_seconds_count{method="find_node"}': 1,
    'dmnode_storage_items{owner="others"}': 2,
    'dmnode_storage_items{owner="self"}': 2,
    dmnode_nat_reachable: 0,
    dmnode_nat_read_only: 1,
    'dmnode_nat_type{type="endpoint_independent"}': 1,
    'dmnode_nat_type{type="symmetric"}': 0,
    dmnode_storage_value_bytes: 400,
    dmnode_storage_used_bytes: 4_300,
    dmnode_storage_limit_bytes: 2 ** 30,
    dmnode_published_short_items: 1,
    dmnode_replication_turns_total: 9,
    process_cpu_seconds_total: 1.75,
    process_start_time_seconds: 1_776_162_595,
    'dmnode_build_info{version="0.1.0",commit="dev",runtime="deno 2.9.6"}': 1,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(series.get(name), value, name);
  // Unknown figures have no value, such as an estimate or the figures of a missing database.
  for (
    const name of [
      "dmnode_network_size_nodes",
      "dmnode_database_commit_failures_total",
    ]
  ) assert.ok(!series.has(name), name);
  const bounds = [...series.keys()].filter((name) =>
    name.startsWith("dmnode_round_trip_seconds_b")
  );
  assert.equal(bounds.length, BOUNDS_MS.length + 1);
});

Deno.test("reachability has no value while it is unknown", async () => {
  const { service, metrics } = setup();
  const stats = await service.stats();
  service.stats = () => Promise.resolve({ ...stats, nat: { ...stats.nat, reachable: null } });
  assert.ok(!seriesOf(await metrics()).has("dmnode_nat_reachable"));
});

Deno.test("refused requests are counted by reason", async () => {
  const { request, metrics } = setup({ API_TOKEN: "a-token" });
  const foreign = { headers: { origin: "http://evil.example" } };
  assert.equal((await request("/network/peers", foreign)).status, 403);
  assert.equal((await request("/network/published")).status, 401);
  const series = seriesOf(await metrics());
  assert.equal(series.get('dmnode_http_refusals_total{reason="foreign_origin"}'), 1);
  assert.equal(series.get('dmnode_http_refusals_total{reason="missing_token"}'), 1);
  assert.equal(series.get('dmnode_http_refusals_total{reason="request_rate"}'), 0);
});

Deno.test("the format is the requested one, and by default that of Prometheus", async () => {
  const { request } = setup();
  const asked: [string, string][] = [
    ["", PLAIN],
    ["*/*", PLAIN],
    ["text/html, application/xml;q=0.9", PLAIN],
    ["application/openmetrics-textual", PLAIN],
    ["application/openmetrics-text", OPEN_METRICS],
    [
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75," +
      "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
      OPEN_METRICS,
    ],
    ["text/plain;q=0.5, Application/OpenMetrics-Text ; version=1.0.0", OPEN_METRICS],
    ["application/openmetrics-text;q=0.1, text/plain;q=0.9", PLAIN],
    ["text/plain;q=0, */*", OPEN_METRICS],
    ["", PLAIN],
  ];
  for (const [accept, type] of asked) {
    const response = await request("/metrics", { headers: { accept } });
    const text = await response.text();
    assert.equal(response.headers.get("content-type"), type, accept);
    assert.equal(response.headers.get("cache-control"), "no-store");
    const isOpen = type === OPEN_METRICS;
    assert.equal(text.endsWith("\n# EOF\n"), isOpen);
    const counter = `dmnode_lookups${isOpen ? "" : "_total"}`;
    assert.match(text, new RegExp(`^# TYPE ${counter} counter$`, "m"));
    assert.match(text, /^dmnode_lookups_total\{outcome="answered"\} 2$/m);
    assert.doesNotMatch(text, /_total_total/);
  }
});

Deno.test("requests are counted by route, method and class of status", async () => {
  const { service, request, metrics } = setup();
  const hash = service.hold("a value");
  await request(`/data/${hash}`);
  await request(`/data/${hash}`, { method: "HEAD" });
  await request(`/data/${"0".repeat(40)}`);
  await request("/data/nonsense");
  await request(`/network/ping/${PEER_A}`);
  await request(`/network/ping/${PEER_B}`);
  await request("/network/store", { method: "POST", body: "x" });
  await request("/nowhere");
  service.failure = new Error("a defect");
  await request("/network/peers");
  service.failure = null;
  const series = seriesOf(await metrics());
  const expected: Record<string, number> = {
    'dmnode_http_requests_total{route="/data/{hash}",method="GET",status="2xx"}': 1,
    'dmnode_http_requests_total{route="/data/{hash}",method="HEAD",status="2xx"}': 1,
    'dmnode_http_requests_total{route="/data/{hash}",method="GET",status="4xx"}': 2,
    'dmnode_http_requests_total{route="/network/ping/{node_id}",method="GET",status="2xx"}': 1,
    'dmnode_http_requests_total{route="/network/ping/{node_id}",method="GET",status="5xx"}': 1,
    'dmnode_http_requests_total{route="/network/store",method="POST",status="2xx"}': 1,
    'dmnode_http_requests_total{route="/network/peers",method="GET",status="5xx"}': 1,
    'dmnode_http_requests_total{route="none",method="GET",status="4xx"}': 1,
    'dmnode_http_request_duration_seconds_count{route="/data/{hash}",method="GET"}': 3,
    'dmnode_operations_total{operation="fetch",outcome="found"}': 2,
    'dmnode_operations_total{operation="fetch",outcome="not_found"}': 1,
    'dmnode_operations_total{operation="ping",outcome="pong"}': 1,
    'dmnode_operations_total{operation="ping",outcome="timeout"}': 1,
    'dmnode_operations_total{operation="store",outcome="stored"}': 1,
    'dmnode_operations_total{operation="store",outcome="error"}': 0,
    'dmnode_operation_duration_seconds_count{operation="fetch"}': 3,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(series.get(name), value, name);
});

Deno.test("an operation that fails counts as an error, and a transfer is counted by its outcome", async () => {
  const { service, request, metrics } = setup();
  service.failure = new Error("a defect");
  assert.equal((await request(`/network/find/${STRANGER}`)).status, 500);
  service.failure = null;
  const progress = {
    transfer: 1,
    label: null,
    direction: "store",
    hash: null,
    done_bytes: 5,
    total_bytes: null,
  } as const;
  for (const state of ["moving", "failed"] as const) {
    service.events.tell({ type: "data.progress", data: { ...progress, state } }, 0);
  }
  service.events.tell({ type: "data.expire", data: { hash: STRANGER, reason: "expired" } }, 0);
  const series = seriesOf(await metrics());
  assert.equal(series.get('dmnode_operations_total{operation="find",outcome="error"}'), 1);
  assert.equal(series.get('dmnode_transfers_total{direction="store",outcome="failed"}'), 1);
  assert.equal(series.get('dmnode_transfers_total{direction="store",outcome="done"}'), 0);
  assert.equal(series.get('dmnode_events_total{type="data.expire"}'), 1);
});

Deno.test("strangers' requests can't add series or labels", async () => {
  const { request, metrics } = setup();
  const methods = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "BREW",
    "X".repeat(99),
  ];
  const paths = Array.from({ length: 60 }, (_, i) => [
    `/made-up-${i}`,
    `/data/${String(i).padStart(40, "0")}`,
    `/data/made-up-${i}"}\n`,
    `/network/find/made-up-${i}?made-up=${i}`,
    `/network/made-up-${i}/ping`,
    `//made-up-${i}/../data/${i}`,
    `/ws?types=made-up-${i}`,
    `/metrics?made-up=${i}`,
  ]).flat();
  const ask = async (from: number, to: number) => {
    for (const [i, path] of paths.slice(from, to).entries()) {
      for (const method of methods) {
        const response = await request(encodeURI(path), {
          method,
          body: ["GET", "HEAD"].includes(method) ? undefined : "made-up",
          headers: {
            "content-type": `made-up/${i}`,
            "user-agent": `made-up-${i}`,
            "x-transfer-label": `made-up-${i}`,
          },
        });
        await response.body?.cancel();
      }
    }
  };
  await ask(0, 80);
  const before = seriesOf(await metrics());
  await ask(80, paths.length);
  const after = await metrics();
  assert.deepEqual([...seriesOf(after).keys()].sort(), [...before.keys()].sort());
  const theirs = [...seriesOf(after).keys()].filter((name) => /made-up|BREW|XXX|0000/.test(name));
  assert.deepEqual(theirs, []);
  assert.match(after, /dmnode_http_requests_total\{route="none",method="other",status="4xx"\} \d/);
});

Deno.test({
  name: "promtool finds no fault in the metrics of a real node",
  ignore: isPassedOver,
}, async () => {
  await withServedNode(3, async ({ url }) => {
    await useApi(url);
    const response = await fetch(`${url}/metrics`);
    const text = await response.text();
    const series = seriesOf(text);
    for (
      const name of [
        'dmnode_operations_total{operation="store",outcome="stored"}',
        'dmnode_operations_total{operation="fetch",outcome="not_found"}',
        'dmnode_messages_total{direction="out",method="put",kind="query"}',
        'dmnode_transfers_total{direction="store",outcome="done"}',
        "dmnode_round_trip_seconds_count",
        'dmnode_lookup_duration_seconds_count{method="get"}',
        "dmnode_database_commit_duration_seconds_count",
        "dmnode_published_values",
        "process_resident_memory_bytes",
      ]
    ) assert.ok(series.get(name)! > 0, `${name} is ${series.get(name)}`);
    assert.ok(series.size < 1_500, `${series.size} series`);
    const linted = await promtool(["check", "metrics"], text);
    assert.deepEqual(linted, { success: true, text: "" });
  });
});

Deno.test({ name: "promtool would find bad metrics", ignore: isPassedOver }, async () => {
  const linted = await promtool(
    ["check", "metrics"],
    "# TYPE bad_milliseconds counter\nbad_milliseconds 1\n",
  );
  assert.equal(linted.success, false);
  assert.match(linted.text, /no help text/);
});
