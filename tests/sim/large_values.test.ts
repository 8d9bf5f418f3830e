// Large values in a simulated network in which most nodes vanish at the same moment.

import assert from "node:assert/strict";
import { flatLatency } from "../../src/sim/latency.ts";
import { type LargeScenario, runLargeScenario } from "../../src/sim/large_values.ts";

/** Smaller than `make sim-large`, which stores 200 values of 16 MiB among 1,000 nodes. */
const SMALL: LargeScenario = {
  nodes: 100,
  values: 2,
  reads: 2,
  bytes: 200_000,
  kill: 0.6,
  sets: 5,
  seed: 1,
  k: 20,
  alpha: 3,
  healthCheckIntervalMs: 600_000,
  latency: flatLatency(10),
  loss: 0,
  duplication: 0,
  reordering: 0,
};

Deno.test("when 60 % of all nodes vanish at once, every value is intact", async () => {
  const { readIntact, failures, multiple, replicas } = await runLargeScenario(SMALL);
  assert.deepEqual([readIntact, failures], [SMALL.reads, []]);
  assert.ok(multiple > 6 && multiple < 7.5, `${multiple} times the bytes`);
  assert.ok(replicas >= 20, `${replicas}`);
});

Deno.test("when nearly all nodes vanish, the values are lost, and reading them says so", async () => {
  const { readIntact, failures } = await runLargeScenario({
    ...SMALL,
    values: 1,
    reads: 1,
    kill: 0.93,
  });
  assert.equal(readIntact, 0);
  assert.match(failures[0], /was not found/);
});

Deno.test("sets of 60 % of the nodes are judged to leave every value intact", async () => {
  const { intact } = await runLargeScenario(SMALL);
  assert.deepEqual(intact, Array.from({ length: SMALL.sets }, () => SMALL.values));
});

Deno.test("sets of nearly all nodes are judged to destroy every value", async () => {
  const { intact } = await runLargeScenario({ ...SMALL, kill: 0.93 });
  assert.deepEqual(intact, Array.from({ length: SMALL.sets }, () => 0));
});

Deno.test("values that nobody reads are judged and counted like the others", async () => {
  const { intact, multiple, readIntact } = await runLargeScenario({
    ...SMALL,
    values: 3,
    reads: 1,
  });
  assert.deepEqual(intact, Array.from({ length: SMALL.sets }, () => 3));
  assert.ok(multiple > 6 && multiple < 7.5, `${multiple} times the bytes`);
  assert.equal(readIntact, 1);
});

Deno.test("the same seed gives the same result", async () => {
  const run = () => runLargeScenario({ ...SMALL, nodes: 30, values: 1, reads: 1, bytes: 20_000 });
  assert.deepEqual(await run(), await run());
});
