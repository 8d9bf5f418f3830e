// What monitoring reads of a real node: it moves with what happens.

import assert from "node:assert/strict";
import { loadConfig } from "../../src/config.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import type { Durations } from "../../src/runtime/service.ts";
import { startNetwork, until } from "../network/nodes.ts";

const countOf = ({ counts }: Durations) => counts.reduce((sum, n) => sum + n, 0);

Deno.test("round trips, lookups, commits and lag are counted as they happen", async () => {
  const nodes = await startNetwork(2);
  const dataDir = await Deno.makeTempDir({ prefix: "dmnode-measured-" });
  try {
    const bootstrap = `127.0.0.1:${nodes[0].port}`;
    const config = loadConfig({ flags: { p2pPort: "0", dataDir, bootstrap }, env: {} });
    const node = await LocalNode.start(config, { persistent: true });
    nodes.push(node);
    await until(() => node.readiness().ready, "the node is ready");
    // What is read is what stands there: it goes on counting.
    const before = structuredClone(node.measurements());
    const { outcome } = await node.store(new TextEncoder().encode("a value"), null);
    assert.equal(outcome, "stored");
    await node.find("0".repeat(40));
    const { roundTrips, lookups, database, published, process } = node.measurements();
    // Of a query that was late, and was sent again, nobody knows what its answer took: others follow.
    await until(() => countOf(roundTrips) > countOf(before.roundTrips), "a query is answered");
    assert.ok(roundTrips.sum > before.roundTrips.sum);
    assert.equal(countOf(lookups.find_node!), countOf(before.lookups.find_node!) + 1);
    assert.ok(countOf(lookups.get!) > countOf(before.lookups.get!));
    assert.ok(countOf(database!.commits) > countOf(before.database!.commits));
    assert.equal(database!.failedCommits, 0);
    assert.equal(database!.damagedRows, 0);
    assert.deepEqual(published, { failing: 0, short: 0 });
    assert.ok(process.residentBytes > 10e6 && process.cpuUserS >= before.process.cpuUserS);
    assert.ok(Math.abs(process.startedAtS - performance.timeOrigin / 1000) < 1);
    await until(() => countOf(node.measurements().eventLoopLag) > 0, "a timer has run");
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
    await Deno.remove(dataDir, { recursive: true });
  }
});

Deno.test("a value that too few nodes hold is short; a node that keeps nothing has no database", async () => {
  const nodes = await startNetwork(1);
  try {
    const [first] = nodes;
    await first.store(new TextEncoder().encode("stored alone"), null);
    assert.equal(first.measurements().published.short, 0, "there was nobody else");
    assert.equal(first.measurements().database, null);
    const config = loadConfig({
      flags: { p2pPort: "0", bootstrap: `127.0.0.1:${first.port}` },
      env: {},
    });
    for (let i = 0; i < 4; i++) nodes.push(await LocalNode.start(config, { persistent: false }));
    await until(() => first.peers().length === 4, "all are known");
    assert.equal(first.measurements().published.short, 1);
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
  }
});
