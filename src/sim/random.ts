// The only source of random numbers in a simulation. The seed thus determines the whole run.

/** sfc32 (Doty-Humphrey, PractRand): fast, with 128 bits of state, and passes BigCrush. */
export class SeededRandom {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, stream = 0) {
    this.#a = seed | 0;
    this.#b = (seed / 0x100000000) | 0;
    this.#c = stream | 0;
    for (let i = 0; i < 16; i++) this.word();
  }

  /** Returns a random signed 32-bit integer. */
  word(): number {
    const t = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t | 0;
    return t;
  }

  /** Returns a random number from 0 up to, but not including, 1. */
  fraction(): number {
    return (this.word() >>> 0) / 0x100000000;
  }

  /** Returns a random integer from 0 up to, but not including, `bound`. */
  below(bound: number): number {
    return Math.floor(this.fraction() * bound);
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i += 4) {
      const w = this.word();
      bytes[i] = w;
      bytes[i + 1] = w >>> 8;
      bytes[i + 2] = w >>> 16;
      bytes[i + 3] = w >>> 24;
    }
    return bytes;
  }

  /** Returns a random number from the standard normal distribution (Box-Muller transform). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.fraction()));
    return radius * Math.cos(2 * Math.PI * this.fraction());
  }

  exponential(mean: number): number {
    return -mean * Math.log(1 - this.fraction());
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}
