// Watched values in the simulator: the real code of watches, on virtual time.

import assert from "node:assert/strict";
import { flatLatency } from "../../src/sim/latency.ts";
import { runWatchScenario, type WatchScenario } from "../../src/sim/watching.ts";

const RTT = 80;

const SCENARIO: WatchScenario = {
  nodes: 60,
  watch: 10,
  foreign: 0,
  nat: 0,
  kill: 0,
  hours: 0.1,
  latency: flatLatency(RTT),
  loss: 0,
  duplication: 0,
  reordering: 0,
  seed: 1,
  k: 8,
  alpha: 3,
  healthCheckIntervalMs: 60_000,
};

Deno.test("watchers hear of each change about when its put is acknowledged, and poll nothing at rest", async () => {
  const { rest, healthy, troubled, notices } = await runWatchScenario(SCENARIO);
  assert.equal(healthy.heard, healthy.count);
  assert.ok(healthy.afterAck.p95 < 4 * RTT, `${healthy.afterAck.p95} ms`);
  assert.deepEqual([rest.polls, rest.pushed, rest.subscriptions], [0, 1, 8]);
  assert.equal(rest.queries, 8 * 60);
  assert.equal(notices.unknown, 0);
  assert.equal(troubled, undefined);
});

Deno.test("with lost packets and dead holders, every watcher hears within a minute", async () => {
  const lossy = { ...SCENARIO, loss: 0.05, kill: 0.3 };
  const { healthy, troubled } = await runWatchScenario(lossy);
  for (const { heard, count, afterAck } of [healthy, troubled!]) {
    assert.equal(heard, count);
    assert.ok(afterAck.max < 60_000, `${afterAck.max} ms`);
  }
});

Deno.test("watchers behind NATs hear of changes as soon as others", async () => {
  const { rest, healthy } = await runWatchScenario({ ...SCENARIO, nat: 1 });
  assert.equal(healthy.heard, healthy.count);
  assert.ok(healthy.afterAck.p95 < 10 * RTT, `${healthy.afterAck.p95} ms`);
  assert.equal(rest.polls, 0);
  assert.ok(rest.pings > 0);
});

Deno.test("values on nodes with other software are polled", async () => {
  const { rest, healthy } = await runWatchScenario({ ...SCENARIO, foreign: 1 });
  assert.equal(healthy.heard, healthy.count);
  assert.ok(rest.polls > 30);
  assert.equal(rest.pushed, 0);
});

Deno.test("the same seed gives the same times", async () => {
  const small = { ...SCENARIO, nodes: 30, watch: 4, hours: 0.01 };
  const [first, second] = [await runWatchScenario(small), await runWatchScenario(small)];
  assert.equal(first.digest, second.digest);
  assert.deepEqual(first, second);
});
