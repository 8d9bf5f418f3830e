// What has happened lately, each no oftener than once in a while.

import type { Millis } from "./deadlines.ts";

/** Names of the latest time, in arrays: most nodes have few of them, and a process may have many nodes. */
export class Recent {
  readonly #names: string[] = [];
  readonly #at: Millis[] = [];

  /** A name is kept for `keepMs`; of more than `most` the oldest is forgotten. */
  constructor(readonly keepMs: Millis, readonly most: number) {}

  has(name: string, now: Millis): boolean {
    const first = this.#at.findIndex((at) => now - at < this.keepMs);
    this.#forget(first < 0 ? this.#at.length : first);
    return this.#names.includes(name);
  }

  /** Notes a name that is not there. */
  add(name: string, now: Millis): void {
    if (this.#names.length === this.most) this.#forget(1);
    this.#names.push(name);
    this.#at.push(Math.floor(now));
  }

  #forget(count: number): void {
    this.#names.splice(0, count);
    this.#at.splice(0, count);
  }
}
