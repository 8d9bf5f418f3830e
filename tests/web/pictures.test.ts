// The data behind the dashboard's pictures, tables and sentences.

import assert from "node:assert/strict";
import { closestSoFar, placeSteps } from "../../src/web/convergence.js";
import { describeEvent, kindOf, KINDS } from "../../src/web/event_text.js";
import { routeOf, VIEWS } from "../../src/web/routes.js";
import { sortRows } from "../../src/web/table.js";
import { EVENT_TYPES } from "../../src/reports/events.ts";

const TARGET = "0".repeat(40);
const step = (digit: string, started: number, rtt: number | null, outcome = "responded") => ({
  node_id: `${digit}${"0".repeat(39)}`,
  address: `${digit}:1`,
  hop: 1,
  started_ms: started,
  rtt_ms: rtt,
  outcome: outcome as "responded",
});

Deno.test("the line of the closest node only gets nearer, in the order of the answers", () => {
  const placed = placeSteps(TARGET, [
    step("8", 0, 10),
    step("1", 5, 40),
    step("2", 5, 10),
    step("4", 5, 11),
    step("1", 6, null, "timeout"),
    step("1", 6, null, "pending"),
  ]);
  assert.deepEqual(closestSoFar(placed), [
    { atMs: 10, bits: 159 },
    { atMs: 15, bits: 157 },
    { atMs: 45, bits: 156 },
  ]);
  assert.deepEqual(placed.map(({ endMs }) => endMs), [10, 45, 15, 16, Infinity, null]);
  const [givenUp] = placeSteps(TARGET, [{ ...step("1", 6, null, "timeout"), ended_ms: 90 }]);
  assert.equal(givenUp.endMs, 90);
  const [bootstrap] = placeSteps(TARGET, [{ ...step("8", 0, 1), node_id: null } as never]);
  assert.equal(bootstrap.bits, 160);
});

Deno.test("rows sort both ways, with missing values last and equal values by key", () => {
  const rows = [["d", 2], ["a", null], ["c", 1], ["b", 2]] as const;
  type Row = typeof rows[number];
  const sorted = (direction: "ascending" | "descending") =>
    sortRows(rows, direction, { by: (row: Row) => row[1], keyOf: (row: Row) => row[0] }).map((
      [key],
    ) => key).join(
      "",
    );
  assert.equal(sorted("ascending"), "cbda");
  assert.equal(sorted("descending"), "bdca");
});

Deno.test("every URL hash leads to a view, even a malformed one", () => {
  for (const { view, path } of VIEWS) assert.deepEqual(routeOf(path), { view, id: null });
  const id = "AB".repeat(20);
  assert.deepEqual(routeOf(`#/peers/${id}`), { view: "peer", id: id.toLowerCase() });
  assert.deepEqual(routeOf(`#/values/${id}`), { view: "value", id: id.toLowerCase() });
  for (const odd of ["", "#", "#/nothing", "#/%E0%A4%A", "#//", "#/__proto__"]) {
    assert.deepEqual(routeOf(odd), { view: "overview", id: null }, odd);
  }
  assert.equal(routeOf("#/peers/%E0%A4%A").id, "%e0%a4%a");
});

Deno.test("each type of event has a kind and a sentence, even with unexpected data", () => {
  for (const type of EVENT_TYPES) {
    assert.ok(KINDS.includes(kindOf(type)));
    for (const data of [{}, { to: null }, null, []]) {
      assert.equal(typeof describeEvent({ id: 1, type, at: "", data }).text, "string", type);
    }
  }
  const hash = "ab".repeat(20);
  const told = (type: string, data: unknown) => describeEvent({ id: 1, type, at: "", data });
  assert.deepEqual(told("data.publish", { hash, seq: 2, key: "k", size: 1_200, replicas: 1 }), {
    tone: "accent",
    link: { href: `#/values/${hash}`, label: "abababab" },
    text: "version 2 of “k”, 1.20 kB published on 1 node",
  });
  assert.equal(told("data.fetch", { hash, found: false, elapsed_ms: 5 }).tone, "warn");
  assert.equal(told("peer.health", { node_id: hash, to: "unhealthy" }).tone, "bad");
  assert.equal(told("from.tomorrow", { a: 1 }).text, '{"a":1}');
});
