// Complete runs: determinism, and the disturbances that networks survive.

import assert from "node:assert/strict";
import { flatLatency, REGIONS } from "../../src/sim/latency.ts";
import { distribution, measured } from "../../src/sim/measures.ts";
import { simulate } from "./scenarios.ts";

Deno.test("equal seeds give equal results, and other seeds or scenarios give others", () => {
  const trouble = {
    values: 5,
    mutable: 0.4,
    loss: 0.02,
    duplication: 0.05,
    reordering: 0.1,
    flaky: 0.2,
    nat: 0.1,
  };
  const first = simulate(trouble);
  assert.deepEqual(simulate(trouble), first);
  assert.match(first.digest, /^[0-9a-f]{40}$/);
  const others = [
    { seed: 2 },
    { values: 6 },
    { mutable: 0.2 },
    { loss: 0.03 },
    { latency: flatLatency(51) },
    { settleMinutes: 1 },
  ];
  const digests = others.map((other) => simulate({ ...trouble, ...other }).digest);
  assert.equal(new Set([first.digest, ...digests]).size, 7);
});

Deno.test("without disturbances, every lookup finds the closest node and every value is found", () => {
  const { lookups, fetches, fetchedValues, copies, replicas, stores, ...samples } = simulate({
    values: 20,
  });
  const { lookupSamples, fetchSamples } = samples;
  assert.equal(lookups.found, 40);
  assert.equal(fetches?.found, 40);
  assert.equal(replicas, 8);
  assert.deepEqual([stores?.count, stores?.enough], [20, 20]);
  // A node acknowledges a put only after it has given a token, so a store takes at least two round trips.
  assert.ok(stores!.latency.p50 > 100 && stores!.whole.p50 >= stores!.latency.p50);
  assert.deepEqual(fetchedValues, { count: 20, missed: 0 });
  // In one of the 160 cases, the ninth closest node may have replaced the eighth.
  assert.ok(copies!.mean > 7.85 && copies!.least >= 7, JSON.stringify(copies));
  assert.deepEqual([copies!.stale, copies!.lost], [0, 0]);
  assert.equal(lookupSamples.length, 40);
  // No value comes from the asking node itself, so each fetch takes at least one round trip.
  for (const { elapsed, queries } of fetchSamples) assert.ok(elapsed > 50 && queries > 0);
  assert.ok(lookups.hops.mean >= 1 && lookups.queries.mean >= 8);
});

Deno.test("if every node holds the value, nothing is fetched", () => {
  const { fetches, fetchedValues, replicas } = simulate({ nodes: 8, values: 2, lookups: 2 });
  assert.equal(fetches, undefined);
  assert.equal(fetchedValues.count, 0);
  assert.equal(replicas, 8);
});

Deno.test("values are found after half of the nodes vanish", () => {
  const { lookups, fetches } = simulate({ values: 20, kill: 0.5 });
  assert.equal(fetches?.success, 1);
  assert.ok(lookups.success > 0.9, `${lookups.success}`);
});

Deno.test("while a quarter of the nodes is silent, values are stored on the others", () => {
  const { lookups, fetches, replicas } = simulate({ values: 20, silent: 0.25 });
  assert.equal(fetches?.success, 1);
  assert.equal(replicas, 8);
  assert.ok(lookups.success > 0.9, `${lookups.success}`);
});

Deno.test("values outlive their owners and their holders", () => {
  // After eight sessions, hardly any node is left from the time when the values were stored.
  const { fetches, fetchedValues, copies, replication } = simulate({
    nodes: 40,
    values: 10,
    lookups: 10,
    churnMinutes: 10,
    settleMinutes: 80,
  });
  assert.equal(fetches?.success, 1);
  assert.deepEqual(fetchedValues, { count: 10, missed: 0 });
  assert.equal(copies?.lost, 0);
  assert.ok(replication.completed > 0 && replication.copies > 10 * 8);
});

Deno.test("the owner stores a value again after all holders are gone", () => {
  const trouble = { values: 40, k: 2, kill: 0.8 };
  const atOnce = simulate(trouble), later = simulate({ ...trouble, settleMinutes: 75 });
  assert.ok(atOnce.fetchedValues.missed > atOnce.copies!.lost);
  assert.equal(later.fetchedValues.missed, later.copies!.lost);
  assert.equal(later.copies!.lost, atOnce.copies!.lost);
  assert.ok(later.replication.published > 0);
});

Deno.test("the copies lost with half of the nodes are replaced", () => {
  const trouble = { values: 20, kill: 0.5 };
  const atOnce = simulate(trouble), later = simulate({ ...trouble, settleMinutes: 30 });
  assert.ok(atOnce.copies!.mean < 7, `${atOnce.copies!.mean}`);
  assert.ok(later.copies!.mean > 7.5, `${later.copies!.mean}`);
});

Deno.test("after a wave of deaths among 30 nodes, every value has five copies again within three minutes", () => {
  const wave = { nodes: 30, k: 5, values: 60, lookups: 60, kill: 0.4 };
  const atOnce = simulate(wave).copies!, later = simulate({ ...wave, settleMinutes: 3 });
  assert.ok(atOnce.least < 5, "the deaths hit holders");
  assert.equal(later.copies!.least, 5);
  assert.equal(later.fetchedValues.missed, 0);
});

Deno.test("after a partition the newest versions are everywhere", () => {
  const trouble = { values: 20, mutable: 0.5, partitionMinutes: 20 };
  // Within seconds, neither half has the new versions of the other, and this must be visible.
  assert.ok(simulate({ ...trouble, mutable: 1, lookups: 10 }).copies!.stale > 0);
  const { fetches, fetchedValues, copies, virtualMs } = simulate({ ...trouble, settleMinutes: 15 });
  assert.equal(fetches?.success, 1);
  assert.deepEqual(fetchedValues, { count: 20, missed: 0 });
  assert.equal(copies?.stale, 0);
  assert.equal(copies?.lost, 0);
  assert.ok(virtualMs > 35 * 60_000);
});

Deno.test("under churn, newcomers replace the nodes that leave", () => {
  const { lookups, virtualMs, traffic } = simulate({ churnMinutes: 10, hours: 0.25 });
  assert.equal(traffic.length, 60);
  assert.equal(lookups.count, 40);
  assert.ok(lookups.success > 0.9, `${lookups.success}`);
  assert.ok(virtualMs >= 0.24 * 3_600_000);
});

Deno.test("lying nodes cost time, but lookups still find the closest node", () => {
  const calm = simulate({ values: 10 }), lied = simulate({ values: 10, sybils: 0.1 });
  assert.ok(lied.lookups.queries.mean > calm.lookups.queries.mean);
  assert.ok(lied.lookups.success > 0.9, `${lied.lookups.success}`);
  assert.ok(lied.fetches!.success > 0.9, `${lied.fetches!.success}`);
});

Deno.test("if 30 % of the nodes collude, at least 95 % of the fetches find the value", () => {
  const k = 20;
  const { fetches, copies } = simulate({
    nodes: 300,
    k,
    values: 100,
    lookups: 100,
    colluders: 0.3,
    latency: REGIONS,
  });
  assert.ok(copies!.mean < k, "colluders keep no values");
  assert.ok(fetches!.success >= 0.95, `${fetches!.success}`);
});

Deno.test("20 Sybils around each value, in 2 or 20 networks, hide nothing, cost little and are noticed", () => {
  const COUNT = 12;
  for (const eclipseNetworks of [2, 20]) {
    const siege = { nodes: 120, values: COUNT, mutable: 0.5, lookups: 60 };
    const { eclipse } = simulate({ ...siege, eclipse: 20, eclipseNetworks });
    const { quiet, storedBefore, storedAfter, noticed } = eclipse!;
    for (const fetches of [storedBefore, storedAfter]) assert.equal(fetches.success, 1);
    // The 60 fetches of one kind are too few for a reliable mean.
    const queries = (storedBefore.queries.mean + storedAfter.queries.mean) / 2;
    assert.ok(queries < 1.5 * quiet.queries.mean, `${queries}, quiet ${quiet.queries.mean}`);
    // A fetch may end before it knows enough Sybils, but each of the puts under attack notices them.
    assert.ok(noticed >= COUNT / 2, `${noticed}`);
  }
});

Deno.test("without attackers, no key seems to be attacked", () => {
  assert.equal(simulate({ values: 20, lookups: 300 }).alarms, 0);
});

Deno.test("fetches of good and of flaky nodes are reported separately", () => {
  const { fetches, fetchesOfGood } = simulate({ values: 20, lookups: 100, flaky: 0.5 });
  assert.ok(fetchesOfGood!.count > 0 && fetchesOfGood!.count < fetches!.count);
  assert.ok(fetchesOfGood!.latency.mean < fetches!.latency.mean);
  assert.equal(simulate({ values: 20, lookups: 10 }).fetchesOfGood, undefined);
});

Deno.test("an operation that never ended counts as a failure, but has no hops", () => {
  const sample = { at: 0, found: true, hops: 2, queries: 10, elapsed: 100, isAskerFlaky: false };
  const lost = {
    at: 0,
    found: false,
    hops: NaN,
    queries: NaN,
    elapsed: 60_000,
    isAskerFlaky: false,
  };
  const { count, found, success, hops, latency } = measured([sample, lost]);
  assert.deepEqual([count, found, success, hops.mean, latency.max], [2, 1, 0.5, 2, 60_000]);
});

Deno.test("percentiles are taken from sorted figures", () => {
  const values = Array.from({ length: 100 }, (_, i) => 99 - i);
  assert.deepEqual(distribution(values), { mean: 49.5, p50: 50, p95: 95, p99: 99, max: 99 });
  assert.deepEqual(distribution([]), { mean: 0, p50: 0, p95: 0, p99: 0, max: 0 });
});

Deno.test("an idle network sends less after a longer calm, or with rarer checks", () => {
  const usual = simulate({ calmMinutes: 0 });
  const later = simulate({ calmMinutes: 6 });
  const rarer = simulate({ calmMinutes: 6, healthCheckIntervalMs: 600_000 });
  const longer = later.virtualMs - usual.virtualMs;
  assert.ok(Math.abs(longer - 6 * 60_000) < 5_000, `${longer} ms`);
  assert.ok(later.idle.packetsPerSecond < usual.idle.packetsPerSecond);
  assert.ok(rarer.idle.packetsPerSecond < later.idle.packetsPerSecond / 3);
});
