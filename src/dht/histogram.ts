// Durations counted by their size, for monitoring: adding one costs an increment.

/** Bounds are powers of two from this on: in a network of one machine round trips are that short. */
const FIRST_MS = 0.25;

/** Bounds of the buckets, in ms, each included; the last is over what anything here waits for. */
export const BOUNDS_MS: readonly number[] = Array.from({ length: 17 }, (_, i) => FIRST_MS * 2 ** i);

export class DurationHistogram {
  /** Durations by the first bound that they don't exceed; the last counts those beyond all. */
  readonly counts = new Array<number>(BOUNDS_MS.length + 1).fill(0);
  /** All durations together, in ms. */
  sum = 0;

  /** `ms`: 0 or more. */
  add(ms: number): void {
    this.sum += ms;
    const quarters = Math.ceil(ms / FIRST_MS) - 1;
    this.counts[quarters <= 0 ? 0 : Math.min(BOUNDS_MS.length, 32 - Math.clz32(quarters))]++;
  }
}
