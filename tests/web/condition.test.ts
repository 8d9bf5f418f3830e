// The headline of the dashboard: it names what is wrong, and is green only if nothing is.

import assert from "node:assert/strict";
import { exampleOf } from "../../src/reports/fields.ts";
import { Stats } from "../../src/reports/stats.ts";
import { conditionOf, isLoopback } from "../../src/web/condition.js";

const WELL = exampleOf(Stats);

Deno.test("a node with answering peers and nothing to complain about is ready", () => {
  assert.deepEqual(conditionOf(WELL), { tone: "ok", title: "Ready", problems: [] });
});

Deno.test("each thing that needs attention makes the headline a warning that names it", () => {
  const { storage, traffic } = WELL;
  const cases: [Partial<Stats>, RegExp][] = [
    [{ peers: { healthy: 26, degraded: 30, unhealthy: 0 } }, /^30 of 56 peers did not answer/],
    [{ nat: { ...WELL.nat, reachable: false } }, /cannot reach it/],
    [{ storage: { ...storage, bytes: 990, limit_bytes: 1000 } }, /is 99.0 % full/],
    [{ traffic: { ...traffic, dropped: { rate_limited: 1e6 } } }, /refused 1,000,000 packets/],
    [{ storage: { ...storage, published_short: 1 } }, /^1 published value has too few copies/],
  ];
  for (const [change, expected] of cases) {
    const { tone, title, problems } = conditionOf({ ...WELL, ...change });
    assert.equal(tone, "warn");
    assert.equal(title, "Needs attention");
    assert.equal(problems.length, 1);
    assert.match(problems[0], expected);
  }
  const allAtOnce = Object.assign({}, WELL, ...cases.map(([change]) => change));
  assert.equal(conditionOf(allAtOnce).problems.length, 4, "the storage of the last case counts");
});

Deno.test("a node without peers is not green, and one that can't store is red", () => {
  const peers = { healthy: 0, degraded: 0, unhealthy: 0 };
  assert.equal(conditionOf({ ...WELL, peers }).tone, "warn");
  assert.match(conditionOf({ ...WELL, peers }).problems[0], /no copy on another node/);
  const readiness = { ...WELL.readiness, ready: false };
  assert.equal(conditionOf({ ...WELL, peers, readiness }).tone, "bad");
});

Deno.test("some late answers, refusals and silent peers are no problem", () => {
  const dropped = { unmatched: 22_344, rate_limited: 900 };
  const peers = { healthy: 50, degraded: 6, unhealthy: 0 };
  const traffic = { ...WELL.traffic, dropped };
  assert.equal(conditionOf({ ...WELL, peers, traffic }).tone, "ok");
});

Deno.test("a node on loopback is not blamed for being unreachable", () => {
  const addresses = ["127.0.0.1:8000", "[::1]:8000"];
  assert.ok(isLoopback(addresses));
  assert.ok(!isLoopback([...addresses, "192.168.1.2:8000"]));
  assert.ok(!isLoopback([]));
  const nat = { ...WELL.nat, reachable: false };
  assert.equal(conditionOf({ ...WELL, addresses, nat }).tone, "ok");
});
