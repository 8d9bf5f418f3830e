// Finds pieces by their ids among all large values of this node. Needs about 12 bytes of memory per piece.

import { type Id, ID_BYTES, word } from "../krpc/id.ts";

/** The number of slots of an empty index; a power of two. */
const MIN_SLOTS = 1024;

const EMPTY = 0;

/** Pieces that were added together, and can be removed together. */
interface Range<T> {
  readonly owner: T;
  /** The place of the range's first piece in `#words`. */
  start: number;
  count: number;
}

/**
 * A hash table with the first word of each id. Ids are SHA-1 hashes, so the word serves as its own hash. Different ids
 * can share a word, so callers must compare the whole id of each result.
 */
export class PieceIndex<T> {
  /** For each piece, the first word of its id. */
  #words = new Uint32Array(MIN_SLOTS / 2);
  #count = 0;
  /** The hash table: 1 + the place of a piece in `#words`, or {@link EMPTY}. At most half of it is in use. */
  #slots = new Uint32Array(MIN_SLOTS);
  #ranges: Range<T>[] = [];

  get count(): number {
    return this.#count;
  }

  /**
   * Adds pieces of an owner. If the pieces that were added last have the same owner, the new pieces
   * join their range. `ids`: 20 bytes per piece.
   */
  add(owner: T, ids: Uint8Array): void {
    const count = ids.length / ID_BYTES;
    if (this.#ranges.at(-1)?.owner !== owner) {
      this.#ranges.push({ owner, start: this.#count, count: 0 });
    }
    this.reserve(count);
    for (let i = 0; i < count; i++) this.#insert(word(ids, i * ID_BYTES) >>> 0);
    this.#ranges.at(-1)!.count += count;
  }

  /** Removes all pieces of an owner. */
  remove(owner: T): void {
    const kept = this.#ranges.filter((range) => range.owner !== owner);
    if (kept.length === this.#ranges.length) return;
    this.#rebuild(kept);
  }

  /** Whether the index may have a piece with this id. */
  mayHave(id: Id): boolean {
    const wanted = id.a >>> 0, mask = this.#slots.length - 1;
    for (let slot = wanted & mask; this.#slots[slot] !== EMPTY; slot = (slot + 1) & mask) {
      if (this.#words[this.#slots[slot] - 1] === wanted) return true;
    }
    return false;
  }

  /** The pieces that may have this id, each as its owner and its position among the owner's pieces. */
  *find(id: Id): Generator<readonly [owner: T, position: number]> {
    const wanted = id.a >>> 0, mask = this.#slots.length - 1;
    for (let slot = wanted & mask; this.#slots[slot] !== EMPTY; slot = (slot + 1) & mask) {
      const place = this.#slots[slot] - 1;
      if (this.#words[place] !== wanted) continue;
      const range = this.#ranges.findLast(({ start }) => start <= place)!;
      yield [range.owner, place - range.start];
    }
  }

  #insert(wanted: number): void {
    const mask = this.#slots.length - 1;
    let slot = wanted & mask;
    while (this.#slots[slot] !== EMPTY) slot = (slot + 1) & mask;
    this.#words[this.#count] = wanted;
    this.#slots[slot] = ++this.#count;
  }

  /** Makes room for `added` more pieces at once, which needs less memory than growing step by step. */
  reserve(added: number): void {
    const count = this.#count + added;
    if (2 * count <= this.#slots.length) return;
    let slots = this.#slots.length;
    while (slots < 2 * count) slots *= 2;
    const words = new Uint32Array(slots / 2);
    words.set(this.#words.subarray(0, this.#count));
    this.#slots = new Uint32Array(slots);
    this.#fill(words, this.#count);
  }

  #rebuild(ranges: readonly Range<T>[]): void {
    const words = new Uint32Array(this.#words.length);
    let at = 0;
    this.#ranges = ranges.map(({ owner, start, count }) => {
      words.set(this.#words.subarray(start, start + count), at);
      const moved = { owner, start: at, count };
      at += count;
      return moved;
    });
    this.#slots.fill(EMPTY);
    this.#fill(words, at);
  }

  #fill(words: Uint32Array<ArrayBuffer>, count: number): void {
    this.#words = words;
    this.#count = 0;
    for (let i = 0; i < count; i++) this.#insert(words[i]);
  }
}
