// Hashes of the states of a world.

const { imul } = Math;
const TIME = new Float64Array(1), TIME_WORDS = new Int32Array(TIME.buffer);

/** A 64-bit hash of a series of words: two halves by the rounds of MurmurHash3 (Appleby, public domain). */
export class Fingerprint {
  low = 0x239b961b;
  high = 0x38b34ae5;

  /** Adds a 32-bit integer. */
  add(word: number): this {
    let k = imul(word, 0xcc9e2d51);
    k = imul(k << 15 | k >>> 17, 0x1b873593);
    let h = this.low ^ k;
    this.low = (imul(h << 13 | h >>> 19, 5) + 0xe6546b64) | 0;
    k = imul(word, 0xab0e9789);
    k = imul(k << 16 | k >>> 16, 0xa1e38b93);
    h = this.high ^ k;
    this.high = (imul(h << 15 | h >>> 17, 5) + 0x6a2b3c1d) | 0;
    return this;
  }

  addTime(time: number): this {
    TIME[0] = time;
    return this.add(TIME_WORDS[0]).add(TIME_WORDS[1]);
  }

  addBytes(bytes: Uint8Array): this {
    const { length } = bytes;
    for (let i = 0; i < length; i += 4) {
      this.add(bytes[i] | bytes[i + 1] << 8 | bytes[i + 2] << 16 | bytes[i + 3] << 24);
    }
    return this.add(length);
  }

  addFingerprint({ low, high }: Fingerprint): this {
    return this.add(low).add(high);
  }
}

/** The slots of a new table. A table doubles when it is half full. */
const FIRST_SLOTS = 1 << 12;

/** Fingerprints of states, each with a number from 0 to 254. */
export class StateTable {
  #size = 0;
  #halves = new Int32Array(2 * FIRST_SLOTS);
  /** 1 + the number of the state in this slot; 0 if the slot is free. */
  #numbers = new Uint8Array(FIRST_SLOTS);

  get size(): number {
    return this.#size;
  }

  /** The number of a state; -1 if the state is not in the table. */
  get(state: Fingerprint): number {
    return this.#numbers[this.#slotOf(state)] - 1;
  }

  set(state: Fingerprint, number: number): void {
    const slot = this.#slotOf(state);
    if (this.#numbers[slot] === 0) this.#size++;
    this.#halves[2 * slot] = state.low;
    this.#halves[2 * slot + 1] = state.high;
    this.#numbers[slot] = 1 + number;
    if (2 * this.#size > this.#numbers.length) this.#grow();
  }

  /** The slot of a state, or the free slot for it. */
  #slotOf({ low, high }: { readonly low: number; readonly high: number }): number {
    const halves = this.#halves, numbers = this.#numbers, mask = numbers.length - 1;
    let slot = (low ^ low >>> 15) & mask;
    while (numbers[slot] !== 0 && (halves[2 * slot] !== low || halves[2 * slot + 1] !== high)) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #grow(): void {
    const halves = this.#halves, numbers = this.#numbers;
    this.#halves = new Int32Array(2 * halves.length);
    this.#numbers = new Uint8Array(2 * numbers.length);
    for (const [i, number] of numbers.entries()) {
      if (number === 0) continue;
      const low = halves[2 * i], high = halves[2 * i + 1], slot = this.#slotOf({ low, high });
      this.#halves[2 * slot] = low;
      this.#halves[2 * slot + 1] = high;
      this.#numbers[slot] = number;
    }
  }
}
