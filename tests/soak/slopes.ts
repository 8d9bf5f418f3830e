// Slopes of measurements over time, with confidence intervals.

import { median } from "../../bench/measure.ts";
import { SeededRandom } from "../../src/sim/random.ts";

/** Resamples of a bootstrap. With 2,000, the ends of an interval vary by 1 % of its width between seeds. */
const RESAMPLES = 2_000;

/** Probability outside each end of the 95 % interval. */
const TAIL = 0.025;

/** One measurement. */
export interface Point {
  readonly hours: number;
  readonly value: number;
}

/** A slope with its 95 % confidence interval, in units per hour. */
export interface Slope {
  readonly perHour: number;
  readonly low: number;
  readonly high: number;
}

/**
 * The Theil–Sen slope: the median slope of all pairs of points. Single outliers don't move it. NaN for fewer than two
 * points.
 */
export function theilSen(points: readonly Point[]): number {
  const slopes: number[] = [];
  for (const [i, first] of points.entries()) {
    for (const second of points.slice(i + 1)) {
      slopes.push((second.value - first.value) / (second.hours - first.hours));
    }
  }
  return median(slopes);
}

/** The median of the nodes' slopes. A bootstrap over the nodes gives the interval. */
export function slopeOf(nodes: readonly (readonly Point[])[]): Slope {
  const slopes = nodes.map(theilSen).filter((slope) => !Number.isNaN(slope));
  const random = new SeededRandom(1);
  const medians = Array.from(
    { length: RESAMPLES },
    () => median(slopes.map(() => slopes[random.below(slopes.length)])),
  ).sort((x, y) => x - y);
  return {
    perHour: median(slopes),
    low: medians[Math.floor(TAIL * RESAMPLES)],
    high: medians[Math.ceil((1 - TAIL) * RESAMPLES) - 1],
  };
}
