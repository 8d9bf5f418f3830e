// Which nodes have acknowledged which items of late: one that does not have such an item any more has lost it.

import type { Id } from "../krpc/id.ts";
import type { Millis } from "./deadlines.ts";

/** BEP 44 lets nodes drop an item after two hours; ours are put again before that. */
const HELD_MS = 60 * 60_000;

/** The latest so many are remembered. */
const MAX_REMEMBERED = 2_048;

export class Acknowledgements {
  /** Since when, the earliest first. */
  readonly #since = new Map<number, Millis>();

  /** Notes that a node has acknowledged a put of the item with this target. */
  note(target: Id, holder: Id, now: Millis): void {
    const key = keyOf(target, holder);
    this.#since.delete(key);
    this.#since.set(key, now);
    if (this.#since.size > MAX_REMEMBERED) {
      this.#since.delete(this.#since.keys().next().value!);
    }
  }

  /** Whether a node that does not have an item should have it; the same loss is told once. */
  takeLoss(target: Id, holder: Id, now: Millis): boolean {
    const key = keyOf(target, holder);
    const since = this.#since.get(key);
    if (since === undefined) return false;
    this.#since.delete(key);
    return now - since < HELD_MS;
  }
}

/** 53 bits of both: they tell a few thousand pairs apart. */
function keyOf(target: Id, holder: Id): number {
  return ((target.a ^ holder.b) >>> 0) * 2 ** 21 + ((target.c ^ holder.a) >>> 11);
}
