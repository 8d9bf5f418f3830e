// How a large value is divided into pieces and stripes. Only the value's size determines this.

import { ID_BYTES } from "../krpc/id.ts";
import { MAX_DATA } from "./reed_solomon.ts";

/** A value of up to this many bytes is one item: bencoded, with `996:` in front, it fills BEP 44's 1000 bytes. */
export const MAX_ITEM_BYTES = 996;

/**
 * A piece begins with its number, in 4 bytes. Otherwise, all pieces of a value of zeros would be the same item, and the
 * value would be lost with the few nodes that hold it.
 */
export const NUMBER_BYTES = 4;

/** The number of content bytes in a full piece. */
export const PIECE_BYTES = MAX_ITEM_BYTES - NUMBER_BYTES;

/** The number of pieces whose ids fit in the root. */
const MAX_ROOT_PIECES = 45;

/** The size in bytes of the largest value: more than any node accepts. */
export const MAX_SIZE = 2 ** 32;

/** How many nodes hold each piece. */
export const PIECE_COPIES = 2;

/**
 * The number of parity pieces for a stripe. If 60 % of all nodes vanish, each piece with its two
 * copies is lost with probability 0.36. The probability that a stripe is lost is then about 10^-9
 * for any size of stripe.
 */
export function parityOf(columns: number): number {
  return 24 + Math.ceil(6 * columns / 5);
}

/** Data pieces that are coded together, and their parity pieces. */
export interface Stripe {
  /** The position of the first data piece among the data pieces of the level. */
  readonly start: number;
  /** The number of data pieces. */
  readonly columns: number;
  /** The number of parity pieces. */
  readonly parity: number;
  /** The number of the first data piece. */
  readonly firstData: number;
  /** The number of the first parity piece. */
  readonly firstParity: number;
}

/**
 * A byte string that is cut into pieces: at level 0 the value, at each higher level the ids of the pieces below. The
 * pieces of a level are numbered in this order: all data pieces, then the parity pieces of one stripe after the other.
 */
export class Level {
  /** The number of data pieces. */
  readonly data: number;
  readonly stripes: number;
  /** The number of all pieces. */
  readonly pieces: number;
  /** The number of stripes at the start of the level that have one data piece more than the others. */
  readonly #longer: number;
  readonly #columns: number;

  /** `first`: the number of the level's first piece. */
  constructor(readonly size: number, readonly first: number) {
    this.data = Math.ceil(size / PIECE_BYTES);
    this.stripes = Math.ceil(this.data / MAX_DATA);
    this.#columns = Math.floor(this.data / this.stripes);
    this.#longer = this.data % this.stripes;
    const last = this.stripe(this.stripes - 1);
    this.pieces = last.firstParity + last.parity - first;
  }

  stripe(index: number): Stripe {
    const longer = Math.min(index, this.#longer), columns = this.#columns;
    const start = index * columns + longer;
    const before = longer * parityOf(columns + 1) + (index - longer) * parityOf(columns);
    const own = index < this.#longer ? columns + 1 : columns;
    return {
      start,
      columns: own,
      parity: parityOf(own),
      firstData: this.first + start,
      firstParity: this.first + this.data + before,
    };
  }

  /** The index of the stripe that has this data piece. */
  stripeOf(piece: number): number {
    const columns = this.#columns, boundary = this.#longer * (columns + 1);
    if (piece < boundary) return Math.floor(piece / (columns + 1));
    return this.#longer + Math.floor((piece - boundary) / columns);
  }

  /** The index of the stripe that has the piece with this number, whether it is a data or a parity piece. */
  stripeOfNumber(number: number): number {
    const data = number - this.first, parity = data - this.data;
    if (parity < 0) return this.stripeOf(data);
    const size = parityOf(this.#columns), longer = parityOf(this.#columns + 1);
    const boundary = this.#longer * longer;
    if (parity < boundary) return Math.floor(parity / longer);
    return this.#longer + Math.floor((parity - boundary) / size);
  }

  /** The number of content bytes in a data piece. */
  lengthOf(piece: number): number {
    return Math.min(PIECE_BYTES, this.size - piece * PIECE_BYTES);
  }
}

export class Layout {
  readonly levels: readonly Level[];
  /** The number of pieces of all levels. */
  readonly pieces: number;

  /** `size`: the value's size, over {@link MAX_ITEM_BYTES}. */
  constructor(readonly size: number) {
    const levels = [new Level(size, 0)];
    for (;;) {
      const top = levels[levels.length - 1];
      if (top.pieces <= MAX_ROOT_PIECES) break;
      levels.push(new Level(top.pieces * ID_BYTES, top.first + top.pieces));
    }
    this.levels = levels;
    this.pieces = this.top.first + this.top.pieces;
  }

  /** The level whose pieces have their ids in the root. */
  get top(): Level {
    return this.levels[this.levels.length - 1];
  }

  levelOf(number: number): Level {
    return this.levels.find(({ first, pieces }) => number < first + pieces)!;
  }
}
