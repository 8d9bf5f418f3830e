// Token buckets: an allowance grows at a steady rate up to a maximum (the burst). Any amount of it can be spent at a
// time.

import { BoundedMap } from "./bounded_map.ts";
import type { Millis } from "./deadlines.ts";

/** A token bucket that starts full. */
export class Allowance {
  #amount: number;
  #updatedAt: Millis | undefined;

  constructor(readonly perSecond: number, readonly burst: number) {
    this.#amount = burst;
  }

  /** The amount available now; negative if `spend` has spent more than was available. */
  available(now: Millis): number {
    const gained = (now - (this.#updatedAt ?? now)) * this.perSecond / 1000;
    this.#updatedAt = now;
    return this.#amount = Math.min(this.burst, this.#amount + gained);
  }

  /** Spends `amount` and returns true. If less is available, spends nothing and returns false. */
  take(now: Millis, amount = 1): boolean {
    if (this.available(now) < amount) return false;
    this.#amount -= amount;
    return true;
  }

  /**
   * Spends `amount` even if less is available. Use this for costs that are known only afterwards.
   */
  spend(now: Millis, amount: number): void {
    this.#amount = this.available(now) - amount;
  }

  /** Like `spend`, for callers that don't know the time. A negative amount is a refund. */
  charge(amount: number): void {
    this.#amount = Math.min(this.burst, this.#amount - amount);
  }

  /** Milliseconds until `amount` is available; 0 if it is available now. */
  waitFor(now: Millis, amount = 1): Millis {
    return Math.max(0, amount - this.available(now)) * 1000 / this.perSecond;
  }
}

/**
 * A separate allowance for each key, all of the same size. Beyond `capacity` keys, the least recently used key is
 * forgotten.
 */
export class AllowancePerKey {
  readonly #byKey: BoundedMap<string, Allowance>;

  constructor(readonly perSecond: number, readonly burst: number, capacity: number) {
    this.#byKey = new BoundedMap(capacity);
  }

  get size(): number {
    return this.#byKey.size;
  }

  take(key: string, now: Millis): boolean {
    const allowance = this.#byKey.get(key) ?? new Allowance(this.perSecond, this.burst);
    this.#byKey.set(key, allowance);
    return allowance.take(now);
  }

  /** Milliseconds until `take` succeeds for this key; 0 if it succeeds now. */
  waitFor(key: string, now: Millis): Millis {
    return this.#byKey.get(key)?.waitFor(now) ?? 0;
  }
}

/** The maximum share of a shared allowance that the owner of one address may use. */
const OWNER_SHARE = 1 / 4;

const MAX_OWNERS = 64;

/** One allowance that the owners of all addresses share. Each owner may use at most `OWNER_SHARE` of it. */
export class SharedAllowance {
  readonly #total: Allowance;
  readonly #perOwner: AllowancePerKey;

  constructor(perSecond: number, burst: number) {
    this.#total = new Allowance(perSecond, burst);
    this.#perOwner = new AllowancePerKey(OWNER_SHARE * perSecond, OWNER_SHARE * burst, MAX_OWNERS);
  }

  /** Spends one unit for `owner`. Returns false if that would exceed the owner's part or the whole allowance. */
  take(owner: string, now: Millis): boolean {
    return this.#perOwner.take(owner, now) && this.#total.take(now);
  }
}
