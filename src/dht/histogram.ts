// A histogram of durations for monitoring. Adding a duration costs one increment.

/** The lowest bound: about a round trip within one machine. Each further bound is twice the previous one. */
const FIRST_MS = 0.25;

/** The lowest bound: about the round-trip time within one machine. Each further bound is twice the previous one. */
export const BOUNDS_MS: readonly number[] = Array.from({ length: 17 }, (_, i) => FIRST_MS * 2 ** i);

export class DurationHistogram {
  /** The number of durations in each bucket. The last bucket has no upper bound. */
  readonly counts = new Array<number>(BOUNDS_MS.length + 1).fill(0);
  /** The sum of all durations in ms. */
  sum = 0;

  add(ms: number): void {
    this.sum += ms;
    const quarters = Math.ceil(ms / FIRST_MS) - 1;
    this.counts[quarters <= 0 ? 0 : Math.min(BOUNDS_MS.length, 32 - Math.clz32(quarters))]++;
  }
}
