// Randomness of a node, all of it from its host, so that a simulation repeats from its seed.

import { Id, ID_BYTES, word } from "../krpc/id.ts";

/** Bytes asked of the host at once: a call a word would cost more than the word. */
const POOL_BYTES = 512;

export class Random {
  readonly #source: (length: number) => Uint8Array;
  #pool: Uint8Array = new Uint8Array(0);
  #used = 0;

  /** `source` yields that many unpredictable bytes. */
  constructor(source: (length: number) => Uint8Array) {
    this.#source = source;
  }

  /** A new array of random bytes. */
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

  /** A number from 0 to below 1. */
  fraction(): number {
    return (this.word() >>> 0) / 0x100000000;
  }

  id(): Id {
    return Id.read(this.#source(ID_BYTES));
  }

  /** Puts a list in random order, in place (Fisher and Yates). */
  shuffle<T>(list: T[]): void {
    for (let i = list.length - 1; i > 0; i--) {
      const j = Math.floor(this.fraction() * (i + 1));
      [list[i], list[j]] = [list[j], list[i]];
    }
  }
}
