// Tests that a duration is counted in the first bucket whose bound it does not exceed.

import assert from "node:assert/strict";
import fc from "fast-check";
import { BOUNDS_MS, DurationHistogram } from "../../src/dht/histogram.ts";

function bucketOf(ms: number): number {
  const histogram = new DurationHistogram();
  histogram.add(ms);
  assert.equal(histogram.counts.reduce((sum, n) => sum + n, 0), 1);
  assert.equal(histogram.sum, ms);
  return histogram.counts.indexOf(1);
}

Deno.test("a bound belongs to its own bucket, and a longer duration to the next one", () => {
  assert.equal(BOUNDS_MS[0], 0.25);
  assert.equal(BOUNDS_MS.at(-1), 16_384);
  for (const [i, bound] of BOUNDS_MS.entries()) {
    assert.equal(bucketOf(bound), i);
    assert.equal(bucketOf(bound * 1.000001), i + 1);
  }
  assert.equal(bucketOf(0), 0);
  assert.equal(bucketOf(1e12), BOUNDS_MS.length);
});

Deno.test("every duration is in the bucket that a linear search finds", () => {
  const search = (ms: number) => {
    const found = BOUNDS_MS.findIndex((bound) => ms <= bound);
    return found < 0 ? BOUNDS_MS.length : found;
  };
  const duration = fc.oneof(
    fc.double({ min: 0, max: 40, noNaN: true }),
    fc.double({ min: 0, max: 1e7, noNaN: true }),
  );
  fc.assert(fc.property(duration, (ms) => assert.equal(bucketOf(ms), search(ms))), {
    numRuns: 5000,
  });
});
