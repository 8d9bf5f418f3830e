// Tables and the live view: whatever they show, and on however small a terminal, they stay within it.

import assert from "node:assert/strict";
import fc from "fast-check";
import type { NodeEvent } from "../../src/cli/event_client.ts";
import { type Column, shortened, tableLines, widthOf, wrapped } from "../../src/cli/table.ts";
import { renderWatch, WatchedNode } from "../../src/cli/watch_view.ts";

const plain = (_: unknown, text: string) => text;
const ID = "0123456789abcdef0123456789abcdef01234567";

const COLUMNS: Column[] = [
  { head: "NODE", shrinks: "id" },
  { head: "ADDRESS" },
  { head: "RTT", align: "right" },
  { head: "CLIENT", shrinks: "text" },
];
const ROWS = [[ID, "127.0.0.1:8000", "9.99 ms", "a client of some name"], [ID, "-", "-", "-"]];

Deno.test("a table is whole where there is room, and else ids and texts give way", () => {
  assert.deepEqual(tableLines(COLUMNS, ROWS, null, plain), [
    "NODE                                      ADDRESS             RTT  CLIENT",
    `${ID}  127.0.0.1:8000  9.99 ms  a client of some name`,
    `${ID}  -                     -  -`,
  ]);
  assert.deepEqual(tableLines(COLUMNS, ROWS, 58, plain), [
    "NODE           ADDRESS             RTT  CLIENT",
    "0123456789ab…  127.0.0.1:8000  9.99 ms  a client of some …",
    "0123456789ab…  -                     -  -",
  ]);
  const split = tableLines(COLUMNS, ROWS, 32, plain);
  assert.deepEqual(split, [
    "NODE           ADDRESS",
    "0123456789ab…  127.0.0.1:8000",
    "0123456789ab…  -",
    "",
    "NODE               RTT  CLIENT",
    "0123456789ab…  9.99 ms  a cli…",
    "0123456789ab…        -  -",
  ]);
});

Deno.test("wide characters count as they are shown, and are not cut in two", () => {
  assert.equal(shortened("数据数据", 8), "数据数据");
  assert.equal(shortened("数据数据", 7), "数据数…");
  assert.equal(shortened("数据数据", 6), "数据…");
  assert.equal(shortened("e\u0301e\u0301e\u0301", 2), "e\u0301…");
  assert.equal(shortened("ab", 0), "");
  assert.deepEqual(wrapped("one two three", 7), ["one two", "three"]);
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), fc.nat(50), (text, width) => {
    const short = shortened(text, width);
    assert.ok(widthOf(short) <= width || short === text);
  }));
});

Deno.test("no line is wider than the terminal, as long as its widest cell is not", () => {
  const cell = fc.string({ unit: "grapheme", maxLength: 12 }).map((text) =>
    text.replace(/\p{C}/gu, "?")
  );
  fc.assert(
    fc.property(
      fc.array(fc.array(cell, { minLength: 4, maxLength: 4 }), { maxLength: 5 }),
      fc.integer({ min: 60, max: 120 }),
      (rows, width) => {
        const lines = tableLines(COLUMNS, rows.map(([, ...rest]) => [ID, ...rest]), width, plain);
        for (const line of lines) assert.ok(widthOf(line) <= width, line);
        for (const [, address] of rows) {
          assert.ok(
            address.trim() === "" || lines.some((line) => line.includes(address.trimEnd())),
          );
        }
      },
    ),
  );
});

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
    first_seen: "2026-04-14T10:00:00Z",
    client: i === 5 ? "\x1b[2Jevil" : "dmnode/0.1.0",
  }));
  node.note(event("stats", STATS));
  return node;
}

Deno.test("the view has as many lines as the terminal, and none wider", () => {
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
  lost.connection = {
    state: "lost",
    why: "the node ended it\x1b[2J",
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

Deno.test("the best peers come first, the sick ones are the worst, and none is both", () => {
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

Deno.test("every event is told in words, those of others alike, and only the wanted ones are listed", () => {
  const peer = { node_id: ID, address: "127.0.0.1:1" };
  const events: [string, unknown, RegExp][] = [
    ["hello", { node_id: ID, missed: 3, resumed: false }, /3 events missed/],
    ["peer.join", peer, /0123456789… at 127\.0\.0\.1:1/],
    ["peer.leave", { ...peer, reason: "no\nanswer" }, /no\?answer/],
    [
      "peer.health",
      { ...peer, from: "healthy", to: "degraded", reason: "r" },
      /healthy to degraded: r/,
    ],
    ["data.store", { hash: ID, kind: "mutable", size: 10, from: "192.0.2.1:1" }, /10 B, for 192/],
    [
      "data.publish",
      { hash: ID, kind: "mutable", key: "k", size: 1, replicas: 1 },
      /"k".* on 1 node$/,
    ],
    ["data.fetch", { hash: ID, found: false, size: null, elapsed_ms: 2 }, /not found/],
    ["data.fetch", { hash: ID, found: true, size: 5, elapsed_ms: 2 }, /5 B, in 2\.00 ms/],
    ["data.replicate", { hash: ID, to: ["a", "b"] }, /given to 2 nodes/],
    ["data.expire", { hash: ID }, /0123456789…$/],
    [
      "data.progress",
      { direction: "store", hash: null, done_bytes: 5, state: "failed" },
      /failed$/,
    ],
    [
      "lookup",
      { target: ID, method: "get", hops: 1, queries: 2, elapsed_ms: 3, success: false },
      /nobody/,
    ],
    ["id", { node_id: ID, former: ID, address: "192.0.2.1" }, /fits 192\.0\.2\.1/],
    ["bootstrap", { state: "joined", contacts: 1 }, /1 contact$/],
    ["bootstrap", { state: "failed", contacts: 0 }, /no bootstrap node/],
    ["nat", { external_address: null, type: "symmetric" }, /each peer another port/],
    ["ready", { ready: false, reason: "why" }, /why$/],
    ["of.tomorrow", { a: 1 }, /\{"a":1\}$/],
  ];
  for (const [type, data, wanted] of events) {
    const node = new WatchedNode();
    node.note(event(type, data, 1));
    assert.equal(node.events.length, 1, type);
    assert.match(node.events[0].text, wanted);
  }
  const some = new WatchedNode("peer.*, lookup");
  for (const [type, data] of events) some.note(event(type, data, 1));
  assert.deepEqual(some.events.map(({ type }) => type), [
    "peer.join",
    "peer.leave",
    "peer.health",
    "lookup",
  ]);
});
