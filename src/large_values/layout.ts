// Divides a large value into pieces and stripes. The division depends only on the size of the value.

import { ID_BYTES } from "../krpc/id.ts";
import { MAX_DATA } from "./reed_solomon.ts";

/**
 * The maximum size of a value that fits in one item: with the prefix `996:`, it fills the 1000 bytes that BEP 44
 * allows.
 */
export const MAX_ITEM_BYTES = 996;

/**
 * Each piece begins with its number, in 4 bytes. Without the number, all pieces of a value of zeros would be the same
 * item, and a few nodes would hold the whole value.
 */
export const NUMBER_BYTES = 4;

/** The number of content bytes in a piece of full length. */
export const PIECE_BYTES = MAX_ITEM_BYTES - NUMBER_BYTES;

/** The maximum number of pieces whose ids fit in the root item. */
const MAX_ROOT_PIECES = 45;

/** The maximum size of a large value in bytes. It is more than any node accepts. */
export const MAX_SIZE = 2 ** 32;

/** The number of nodes that hold each piece. */
export const PIECE_COPIES = 2;

/**
 * Returns the number of parity pieces for a stripe. If 60 % of all nodes fail, each piece, which has two copies, is
 * lost with probability 0.36. For any size of stripe, the probability that the stripe is lost is then about 10^-9.
 */
export function parityOf(columns: number): number {
  return 24 + Math.ceil(6 * columns / 5);
}

/** A group of data pieces that are erasure-coded together, and their parity pieces. */
export interface Stripe {
  /** The index of the stripe's first data piece among all data pieces of the level. */
  readonly start: number;
  /** The number of data pieces in the stripe. */
  readonly columns: number;
  /** The number of parity pieces in the stripe. */
  readonly parity: number;
  /** The piece number of the first data piece. */
  readonly firstData: number;
  /** The piece number of the first parity piece. */
  readonly firstParity: number;
}

/**
 * A byte string that is cut into pieces. At level 0, this is the value. At each higher level, it consists of the ids of
 * the pieces below. The pieces of a level are numbered in this order: all data pieces, then the parity pieces, one
 * stripe after another.
 */
export class Level {
  /** The number of data pieces in the level. */
  readonly data: number;
  readonly stripes: number;
  /** The number of all pieces. */
  readonly pieces: number;
  /** The first stripes of the level have one data piece more than the others. This is the number of such stripes. */
  readonly #longer: number;
  readonly #columns: number;

  /** `size`: the length of the byte string. `first`: the number of the level's first piece. */
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

  /** Returns the index of the stripe that contains this data piece. */
  stripeOf(piece: number): number {
    const columns = this.#columns, boundary = this.#longer * (columns + 1);
    if (piece < boundary) return Math.floor(piece / (columns + 1));
    return this.#longer + Math.floor((piece - boundary) / columns);
  }

  /** Returns the index of the stripe that contains the data or parity piece with this number. */
  stripeOfNumber(number: number): number {
    const data = number - this.first, parity = data - this.data;
    if (parity < 0) return this.stripeOf(data);
    const size = parityOf(this.#columns), longer = parityOf(this.#columns + 1);
    const boundary = this.#longer * longer;
    if (parity < boundary) return Math.floor(parity / longer);
    return this.#longer + Math.floor((parity - boundary) / size);
  }

  /** Returns the number of content bytes in a data piece. */
  lengthOf(piece: number): number {
    return Math.min(PIECE_BYTES, this.size - piece * PIECE_BYTES);
  }
}

export class Layout {
  readonly levels: readonly Level[];
  /** The number of pieces in all levels together. */
  readonly pieces: number;

  /** `size`: the size of the value, which must exceed {@link MAX_ITEM_BYTES}. */
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

  /** The highest level, whose piece ids are in the root item. */
  get top(): Level {
    return this.levels[this.levels.length - 1];
  }

  levelOf(number: number): Level {
    return this.levels.find(({ first, pieces }) => number < first + pieces)!;
  }
}
