// The live view of `dmnode watch`: it fits every terminal, and lists peers and events.

import assert from "node:assert/strict";
import fc from "fast-check";
import { EVENT_TYPES, EVENTS } from "../../src/reports/events.ts";
import { exampleOf } from "../../src/reports/fields.ts";
import type { NodeEvent } from "../../src/cli/client/event_stream.ts";
import { widthOf } from "../../src/cli/terminal/table.ts";
import { renderWatch, sparkline, WatchedNode } from "../../src/cli/watch_view.ts";

const plain = (_: unknown, text: string) => text;
const ID = "0123456789abcdef0123456789abcdef01234567";

const STATS = {
  node_id: ID,
  version: "0.1.0",
  uptime_s: 3_700,
  addresses: ["127.0.0.1:8000", "[::1]:8000"],
  readiness: { ready: true, reason: "3 peers answer", queries: 1, answers: 1, over_s: 300 },
  peers: { healthy: 3, degraded: 1, unhealthy: 0 },
  routing_table_size: 4,
  buckets: 2,
  network_size_estimate: 12_345,
  traffic: {
    in: { messages: 1, bytes: 1e6, messages_per_second: 12, bytes_per_second: 3_400, by_type: {} },
    out: { messages: 1, bytes: 2e6, messages_per_second: 7, bytes_per_second: 900, by_type: {} },
    dropped: {},
    budget: null,
  },
  lookups: {
    count: 9,
    success: 8,
    active: 1,
    hops_mean: 2.5,
    latency_ms: { mean: 9, p50: 8, p95: 80 },
  },
  storage: { items: 5, bytes: 1e5, limit_bytes: 1e9, published: 2 },
  nat: { external_address: "192.0.2.1:8000", votes: 3, type: "none", reachable: true },
};

const event = (type: string, data: unknown, id: number | null = null): NodeEvent => ({
  id,
  type,
  at: "2026-04-14T10:29:55.323Z",
  data: data as Record<string, unknown>,
});

const canvas = (columns: number, rows: number) => ({
  columns,
  rows,
  now: Date.parse("2026-04-14T10:30:00Z"),
  url: "http://127.0.0.1:8080",
  paint: plain,
});

function watched(): WatchedNode {
  const node = new WatchedNode();
  node.peers = Array.from({ length: 20 }, (_, i) => ({
    node_id: i.toString(16).padStart(40, "0"),
    address: `127.0.0.1:${8000 + i}`,
    distance: 160,
    last_seen: "2026-04-14T10:29:55Z",
    health: i === 7 ? "unhealthy" as const : "healthy" as const,
    rtt_ms: i === 3 ? null : i * 1.5,
    score: i / 20,
    public_key: null,
    first_seen: "2026-04-14T10:00:00Z",
    client: i === 5 ? "\x1b[2Jevil" : "dmnode/0.1.0",
  }));
  node.note(event("stats", STATS));
  return node;
}

Deno.test("the view has as many lines as the terminal, and none is wider", () => {
  const node = watched();
  for (let i = 0; i < 500; i++) {
    node.note(event("lookup", {
      target: ID,
      method: "get",
      hops: 1,
      queries: 2,
      elapsed_ms: i,
      success: i % 9 > 0,
    }, i + 1));
  }
  assert.equal(node.lastId, 500);
  const waiting = new WatchedNode();
  const lost = watched();
  lost.lost = {
    reason: "the node ended it\x1b[2J",
    retryAt: canvas(1, 1).now + 4_000,
  };
  for (const one of [node, waiting, lost]) {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 250 }),
        fc.integer({ min: 1, max: 80 }),
        (columns, rows) => {
          const lines = renderWatch(one, canvas(columns, rows));
          assert.equal(lines.length, rows);
          for (const line of lines) {
            assert.ok(widthOf(line) <= columns, `${columns}: ${line}`);
            assert.doesNotMatch(line, /\p{Cc}/u);
          }
        },
      ),
    );
  }
  const text = renderWatch(lost, canvas(80, 24)).join("\n");
  assert.match(text, /no connection [^]*the node ended it\?\[2J; trying again in 4 s/);
});

Deno.test("the best peers come first, unhealthy ones are the worst, and no peer is both", () => {
  const lines = renderWatch(watched(), canvas(100, 50));
  const at = (text: string) => lines.findIndex((line) => line.startsWith(text));
  const [best, worst] = [at("Best peers"), at("Worst peers")];
  assert.match(lines[best + 1], /127\.0\.0\.1:8019 +healthy/);
  assert.match(lines[worst + 1], /127\.0\.0\.1:8007 +unhealthy/);
  assert.match(lines[worst + 2], /127\.0\.0\.1:8000 /);
  const shown = lines.slice(best, worst + 10).flatMap((line) =>
    /127\.0\.0\.1:80\d\d/.exec(line) ?? []
  );
  assert.equal(new Set(shown).size, shown.length);
  assert.match(renderWatch(watched(), canvas(140, 40)).join("\n"), /Best peers +Worst peers/);
});

Deno.test("the view lists every event in words, except those that it shows in other ways", () => {
  for (const [type, { data: schema }] of Object.entries(EVENTS)) {
    const data = exampleOf(schema);
    const node = new WatchedNode();
    node.note(event(type, data, 1));
    const isListed = !["stats", "lookup.step", "watch", "data.progress"].includes(type);
    assert.equal(node.events.length, isListed ? 1 : 0, type);
    if (isListed) assert.doesNotMatch(String(node.events[0].cell), /\{/, `${type} is in words`);
  }
});

Deno.test("an event without words is shown as JSON, and text from strangers is made printable", () => {
  const node = new WatchedNode();
  node.note(event("of.tomorrow", { a: 1 }));
  node.note(event("peer.leave", { node_id: ID, address: "127.0.0.1:1", reason: "no\nanswer" }));
  const [unknown, left] = node.events.map(({ cell }) => String(cell));
  assert.match(unknown, /\{"a":1\}/);
  assert.match(left, /^01234567 at 127\.0\.0\.1:1 left: no\?answer/);
});

Deno.test("a failed transfer is listed, a running one is not", () => {
  const node = new WatchedNode();
  const transfer = { direction: "store", hash: null, done_bytes: 5 };
  node.note(event("data.progress", { ...transfer, state: "moving" }));
  node.note(event("data.progress", { ...transfer, state: "failed" }));
  assert.equal(node.events.length, 1);
  assert.match(String(node.events[0].cell), /^store failed, 5 B/);
});

Deno.test("only events of the selected types are listed", () => {
  const node = new WatchedNode("peer.*, lookup");
  for (const type of EVENT_TYPES) node.note(event(type, exampleOf(EVENTS[type].data), 1));
  const types = new Set(node.events.map(({ type }) => type));
  assert.deepEqual([...types], ["peer.join", "peer.leave", "peer.health", "lookup"]);
});

Deno.test("a sparkline has a bar for each of the latest values", () => {
  assert.equal(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8), "▁▂▃▄▅▆▇█");
  assert.equal(sparkline([9, 0, 7], 2), "▁█");
  assert.equal(sparkline([0, 0], 5), "▁▁");
  assert.equal(sparkline([5, -1, NaN], 5).length, 3);
  assert.equal(sparkline([1, 2], 0), "");
  assert.equal(sparkline([], 5), "");
});
