// The measurements of a real node change with its activity.

import assert from "node:assert/strict";
import { loadConfig } from "../../src/config.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import type { Durations } from "../../src/node_service.ts";
import { startNetwork, until } from "../network/nodes.ts";

const countOf = ({ counts }: Durations) => counts.reduce((sum, n) => sum + n, 0);

Deno.test("round trips, lookups, commits and lag are counted as they happen", async () => {
  const nodes = await startNetwork(2);
  const dataDir = await Deno.makeTempDir({ prefix: "dmnode-measured-" });
  try {
    const bootstrap = `127.0.0.1:${nodes[0].port}`;
    const config = loadConfig({ flags: { p2pPort: "0", dataDir, bootstrap }, env: {} });
    const startedAtS = Date.now() / 1000;
    const node = await LocalNode.start(config, { persistent: true });
    nodes.push(node);
    await until(async () => (await node.readiness()).ready, "the node is ready");
    // The histograms are live, so the earlier state has to be copied.
    const before = structuredClone(await node.measurements());
    const { outcome } = await node.store(new TextEncoder().encode("a value"), null);
    assert.equal(outcome, "stored");
    await node.find("0".repeat(40));
    const { roundTrips, lookups, database, published, process } = await node.measurements();
    // A query that was sent twice yields no round-trip time, so wait for further queries.
    await until(() => countOf(roundTrips) > countOf(before.roundTrips), "a query is answered");
    assert.ok(roundTrips.sum > before.roundTrips.sum);
    assert.equal(countOf(lookups.find_node!), countOf(before.lookups.find_node!) + 1);
    assert.ok(countOf(lookups.get!) > countOf(before.lookups.get!));
    assert.ok(countOf(database!.commits) > countOf(before.database!.commits));
    assert.equal(database!.failedCommits, 0);
    assert.equal(database!.damagedRows, 0);
    assert.deepEqual(published, { ending: 0, failing: 0, short: 0 });
    assert.ok(process.residentBytes > 10e6 && process.cpuUserS >= before.process.cpuUserS);
    assert.ok(process.startedAtS >= startedAtS - 1 && process.startedAtS <= Date.now() / 1000 + 1);
    await until(
      async () => countOf((await node.measurements()).eventLoopLag) > 0,
      "a timer has run",
    );
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
    await Deno.remove(dataDir, { recursive: true });
  }
});

Deno.test("a value of a lone node counts as failing until there are others, and a node without a disk has no database", async () => {
  const nodes = await startNetwork(1);
  try {
    const [first] = nodes;
    await first.store(new TextEncoder().encode("stored alone"), null);
    const { published, database } = await first.measurements();
    assert.equal(published.short, 0, "there was no other node");
    assert.equal(published.failing, 1);
    assert.equal(database, null);
    const config = loadConfig({
      flags: { p2pPort: "0", bootstrap: `127.0.0.1:${first.port}` },
      env: {},
    });
    for (let i = 0; i < 4; i++) nodes.push(await LocalNode.start(config, { persistent: false }));
    // Its owner publishes the value within seconds of the first arrival, so that it need not be short for long.
    await until(
      async () => (await first.measurements()).published.failing === 0,
      "it is published",
    );
    await until(async () => (await first.measurements()).published.short === 0, "it has copies");
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
  }
});
