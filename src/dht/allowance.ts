// How much of something may be done: so much at once, and so much a second for good (a token bucket).

import type { Millis } from "./deadlines.ts";

export class Allowance {
  readonly #perSecond: number;
  readonly #burst: number;
  #left: number;
  #at: Millis | undefined;

  constructor(perSecond: number, burst: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#left = burst;
  }

  /** Takes so much of it; false, and nothing is taken, where there is not enough left. */
  take(now: Millis, amount = 1): boolean {
    const regained = (now - (this.#at ?? now)) * this.#perSecond / 1000;
    this.#left = Math.min(this.#burst, this.#left + regained);
    this.#at = now;
    if (this.#left < amount) return false;
    this.#left -= amount;
    return true;
  }
}
