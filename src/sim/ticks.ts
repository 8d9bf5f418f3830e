// When each node is to be woken next, and which of them first.

import type { Millis } from "../dht/deadlines.ts";

/** Room for this many at first; it doubles as needed. A power of two. */
const FIRST_CAPACITY = 1024;

/**
 * A tree of winners (Knuth, The Art of Computer Programming, volume 3, section 5.4.1) over the nodes' numbers: each
 * match is won by the earlier one, of equals by the lower number. Nearly every packet moves a node's time; a heap
 * would move other nodes' entries for that, and each of these is somewhere else in memory.
 */
export class Ticks {
  #at = new Float64Array(FIRST_CAPACITY).fill(Infinity);
  /** The winner of each match: of all at 1, of matches 2i and 2i + 1 at i; the second half are the numbers. */
  #winners = matches(this.#at);

  /** The earliest time; Infinity where nobody is to be woken. */
  get next(): Millis {
    return this.#at[this.#winners[1]];
  }

  /** Whose time that is. */
  get first(): number {
    return this.#winners[1];
  }

  /** When a node is to be woken. */
  at(number: number): Millis {
    return number < this.#at.length ? this.#at[number] : Infinity;
  }

  set(number: number, at: Millis): void {
    if (number >= this.#at.length) this.#grow(number);
    const ats = this.#at, winners = this.#winners;
    ats[number] = at;
    for (let i = (number + ats.length) >> 1; i > 0; i >>= 1) {
      const x = winners[2 * i], y = winners[2 * i + 1];
      const winner = ats[y] < ats[x] ? y : x;
      // Where another has won before and still does, nothing changes further up.
      if (winners[i] === winner && winner !== number) return;
      winners[i] = winner;
    }
  }

  #grow(number: number): void {
    let capacity = this.#at.length;
    while (capacity <= number) capacity *= 2;
    const at = new Float64Array(capacity).fill(Infinity);
    at.set(this.#at);
    this.#at = at;
    this.#winners = matches(at);
  }
}

function matches(ats: Float64Array): Int32Array {
  const { length } = ats;
  const winners = new Int32Array(2 * length);
  for (let i = 0; i < length; i++) winners[length + i] = i;
  for (let i = length - 1; i > 0; i--) {
    const x = winners[2 * i], y = winners[2 * i + 1];
    winners[i] = ats[y] < ats[x] ? y : x;
  }
  return winners;
}
