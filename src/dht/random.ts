// A node's random numbers. All come from its host, so that a simulation with the same seed repeats exactly.

import { Id, ID_BYTES, word } from "../krpc/id.ts";

/** How many bytes are requested from the host at once. One call per random number would be slow. */
const POOL_BYTES = 512;

export class Random {
  readonly #source: (length: number) => Uint8Array;
  #pool: Uint8Array = new Uint8Array(0);
  #used = 0;

  /** `source` returns `length` unpredictable bytes. */
  constructor(source: (length: number) => Uint8Array) {
    this.#source = source;
  }

  bytes(length: number): Uint8Array {
    return this.#source(length);
  }

  /** A random signed 32-bit integer. */
  word(): number {
    if (this.#used + 4 > this.#pool.length) {
      this.#pool = this.#source(POOL_BYTES);
      this.#used = 0;
    }
    this.#used += 4;
    return word(this.#pool, this.#used - 4);
  }

  /** A random number in [0, 1). */
  fraction(): number {
    return (this.word() >>> 0) / 0x100000000;
  }

  id(): Id {
    return Id.read(this.#source(ID_BYTES));
  }

  /** A random element; undefined if the list is empty. */
  pick<T>(list: readonly T[]): T | undefined {
    return list.length === 0 ? undefined : list[Math.floor(this.fraction() * list.length)];
  }

  /** Shuffles a list in place (Fisher and Yates). */
  shuffle<T>(list: T[]): void {
    for (let i = list.length - 1; i > 0; i--) {
      const j = Math.floor(this.fraction() * (i + 1));
      [list[i], list[j]] = [list[j], list[i]];
    }
  }
}
