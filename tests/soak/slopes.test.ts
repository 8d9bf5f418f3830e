// Slopes of measurements, and their confidence intervals.

import assert from "node:assert/strict";
import { SeededRandom } from "../../src/sim/random.ts";
import { type Point, slopeOf, theilSen } from "./slopes.ts";

const SAMPLES = 60;

/** Measurements of one node over an hour, with noise of up to `noise` in both directions. */
function series(
  { perHour, noise, seed }: { perHour: number; noise: number; seed: number },
): Point[] {
  const random = new SeededRandom(seed);
  return Array.from({ length: SAMPLES }, (_, i) => {
    const hours = i / SAMPLES;
    return { hours, value: 100 + perHour * hours + noise * (2 * random.fraction() - 1) };
  });
}

function nodes(count: number, options: { perHour: number; noise: number }): Point[][] {
  return Array.from({ length: count }, (_, seed) => series({ ...options, seed }));
}

Deno.test("the slope of a line is exact, even with a few outliers", () => {
  const line = series({ perHour: 12, noise: 0, seed: 1 });
  const disturbed = line.map((point, i) => i % 10 === 9 ? { ...point, value: 1e6 } : point);
  assert.ok(Math.abs(theilSen(line) - 12) < 1e-9);
  assert.ok(Math.abs(theilSen(disturbed) - 12) < 5);
});

Deno.test("the interval contains the true slope, and excludes zero if all nodes grow", () => {
  const { perHour, low, high } = slopeOf(nodes(10, { perHour: 5, noise: 2 }));
  assert.ok(low <= 5 && 5 <= high, `${low} to ${high}`);
  assert.ok(low > 0 && low <= perHour && perHour <= high);
});

Deno.test("the interval contains zero if nothing but noise changes", () => {
  const { low, high } = slopeOf(nodes(10, { perHour: 0, noise: 20 }));
  assert.ok(low < 0 && high > 0, `${low} to ${high}`);
});

Deno.test("one node that grows does not make the median grow", () => {
  const all = [
    ...nodes(9, { perHour: 0, noise: 1 }),
    series({ perHour: 500, noise: 1, seed: 99 }),
  ];
  assert.ok(slopeOf(all).perHour < 1);
});
