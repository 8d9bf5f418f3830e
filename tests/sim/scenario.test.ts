// Whole runs: what follows from the seed alone, and what networks withstand.

import assert from "node:assert/strict";
import { flatLatency } from "../../src/sim/latency.ts";
import { distribution, measured } from "../../src/sim/scenario.ts";
import { simulate } from "./scenarios.ts";

Deno.test("the same seed gives the same result, another seed or scenario another one", () => {
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

Deno.test("without troubles every lookup finds the closest node, and every value is found", () => {
  const { lookups, fetches, fetchedValues, copies, replicas, lookupSamples, fetchSamples } =
    simulate({ values: 20 });
  assert.equal(lookups.found, 40);
  assert.equal(fetches?.found, 40);
  assert.equal(replicas, 8);
  assert.deepEqual(fetchedValues, { count: 20, missed: 0 });
  // Of the 160 places one may be taken by the ninth closest node.
  assert.ok(copies!.mean > 7.85 && copies!.least >= 7, JSON.stringify(copies));
  assert.deepEqual([copies!.stale, copies!.lost], [0, 0]);
  assert.equal(lookupSamples.length, 40);
  // Nothing comes from the asker itself: at the least one round trip is paid.
  for (const { elapsed, queries } of fetchSamples) assert.ok(elapsed > 50 && queries > 0);
  assert.ok(lookups.hops.mean >= 1 && lookups.queries.mean >= 8);
});

Deno.test("where every node holds the value there is nothing to fetch", () => {
  const { fetches, fetchedValues, replicas } = simulate({ nodes: 8, values: 2, lookups: 2 });
  assert.equal(fetches, undefined);
  assert.equal(fetchedValues.count, 0);
  assert.equal(replicas, 8);
});

Deno.test("half of the nodes vanish, and the values are still found", () => {
  const { lookups, fetches } = simulate({ values: 20, kill: 0.5 });
  assert.equal(fetches?.success, 1);
  assert.ok(lookups.success > 0.9, `${lookups.success}`);
});

Deno.test("a quarter of the nodes falls silent, and values are stored on the others", () => {
  const { lookups, fetches, replicas } = simulate({ values: 20, silent: 0.25 });
  assert.equal(fetches?.success, 1);
  assert.equal(replicas, 8);
  assert.ok(lookups.success > 0.9, `${lookups.success}`);
});

Deno.test("values outlive those that stored and those that held them", () => {
  // Eight sessions later: of those who were there when the values were stored hardly anybody is left.
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

Deno.test("who stored a value puts it back where all of its holders are gone", () => {
  const trouble = { values: 40, k: 2, kill: 0.8 };
  const atOnce = simulate(trouble), later = simulate({ ...trouble, settleMinutes: 75 });
  assert.ok(atOnce.fetchedValues.missed > atOnce.copies!.lost);
  assert.equal(later.fetchedValues.missed, later.copies!.lost);
  assert.equal(later.copies!.lost, atOnce.copies!.lost);
  assert.ok(later.replication.published > 0);
});

Deno.test("the copies of half of the nodes are made up for", () => {
  const trouble = { values: 20, kill: 0.5 };
  const atOnce = simulate(trouble), later = simulate({ ...trouble, settleMinutes: 30 });
  assert.ok(atOnce.copies!.mean < 7, `${atOnce.copies!.mean}`);
  assert.ok(later.copies!.mean > 7.5, `${later.copies!.mean}`);
});

Deno.test("after a partition the newest versions are everywhere", () => {
  const trouble = { values: 20, mutable: 0.5, partitionMinutes: 20 };
  // Within seconds: no half has heard of what is new in the other, and that must show.
  assert.ok(simulate({ ...trouble, mutable: 1, lookups: 10 }).copies!.stale > 0);
  const { fetches, fetchedValues, copies, virtualMs } = simulate({ ...trouble, settleMinutes: 15 });
  assert.equal(fetches?.success, 1);
  assert.deepEqual(fetchedValues, { count: 20, missed: 0 });
  assert.equal(copies?.stale, 0);
  assert.equal(copies?.lost, 0);
  assert.ok(virtualMs > 35 * 60_000);
});

Deno.test("under churn newcomers take the places of those that leave", () => {
  const { lookups, virtualMs, traffic } = simulate({ churnMinutes: 10, hours: 0.25 });
  assert.equal(traffic.length, 60);
  assert.equal(lookups.count, 40);
  assert.ok(lookups.success > 0.9, `${lookups.success}`);
  assert.ok(virtualMs >= 0.24 * 3_600_000);
});

Deno.test("liars cost time, and hide the closest node from nobody", () => {
  const calm = simulate({ values: 10 }), lied = simulate({ values: 10, sybils: 0.1 });
  assert.ok(lied.lookups.queries.mean > calm.lookups.queries.mean);
  assert.ok(lied.lookups.success > 0.9, `${lied.lookups.success}`);
  assert.ok(lied.fetches!.success > 0.9, `${lied.fetches!.success}`);
});

Deno.test("what good nodes fetch is told apart from what flaky ones do", () => {
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

Deno.test("percentiles are taken of sorted figures", () => {
  const values = Array.from({ length: 100 }, (_, i) => 99 - i);
  assert.deepEqual(distribution(values), { mean: 49.5, p50: 50, p95: 95, p99: 99, max: 99 });
  assert.deepEqual(distribution([]), { mean: 0, p50: 0, p95: 0, p99: 0, max: 0 });
});

Deno.test("after a longer calm, or with rarer checks, a network at rest sends less", () => {
  const usual = simulate({ calmMinutes: 0 });
  const later = simulate({ calmMinutes: 6 });
  const rarer = simulate({ calmMinutes: 6, healthCheckIntervalMs: 600_000 });
  const longer = later.virtualMs - usual.virtualMs;
  assert.ok(Math.abs(longer - 6 * 60_000) < 5_000, `${longer} ms`);
  assert.ok(later.idle.packetsPerSecond < usual.idle.packetsPerSecond);
  assert.ok(rarer.idle.packetsPerSecond < later.idle.packetsPerSecond / 3);
});
