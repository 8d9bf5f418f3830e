// A budget for all, of which nobody gets more than a part.

import { Allowance } from "./allowance.ts";
import type { Millis } from "./deadlines.ts";

/** What one owner of addresses may take of the whole. */
const SHARE = 1 / 4;

/** Owners whose taking is remembered; of more the one that took longest ago is forgotten. */
const MAX_OWNERS = 64;

export class Shares {
  readonly #all: Allowance;
  readonly #each = new Map<string, Allowance>();

  /** Of the whole: a steady rate, and what may be taken at once. */
  constructor(readonly perSecond: number, readonly burst: number) {
    this.#all = new Allowance(perSecond, burst);
  }

  /** Takes one for `owner`; false where that is over its share, or there is none. */
  take(owner: string, now: Millis): boolean {
    const own = this.#each.get(owner) ?? new Allowance(SHARE * this.perSecond, SHARE * this.burst);
    this.#each.delete(owner);
    this.#each.set(owner, own);
    if (this.#each.size > MAX_OWNERS) this.#each.delete(this.#each.keys().next().value!);
    return own.take(now) && this.#all.take(now);
  }
}
