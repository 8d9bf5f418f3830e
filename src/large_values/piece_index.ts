// An index of the pieces of all large values of this node, by id. It needs about 12 bytes of memory per piece.

import { type Id, ID_BYTES, word } from "../krpc/id.ts";

/** The number of hash table slots in an empty index; a power of two. */
const MIN_SLOTS = 1024;

const EMPTY = 0;

/** A contiguous range of pieces that belong to one owner. */
interface Range<T> {
  readonly owner: T;
  /** The index of the range's first piece in `#words`. */
  start: number;
  count: number;
}

/**
 * A hash table of the first 32-bit word of each id. Ids are SHA-1 hashes, so no other hash function is needed.
 * Different ids can share this word, so callers must compare the full id of each result.
 */
export class PieceIndex<T> {
  /** The first 32-bit word of each piece's id. */
  #words = new Uint32Array(MIN_SLOTS / 2);
  #count = 0;
  /**
   * The hash table. A slot contains 1 + the index of a piece in `#words`, or {@link EMPTY}. At most half of the slots
   * are in use.
   */
  #slots = new Uint32Array(MIN_SLOTS);
  #ranges: Range<T>[] = [];

  get count(): number {
    return this.#count;
  }

  /**
   * Adds pieces of an owner. If the previous pieces have the same owner, the new pieces extend their range. `ids`: 20
   * bytes per piece.
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

  /** Whether the index may contain a piece with this id. */
  mayHave(id: Id): boolean {
    const wanted = id.a >>> 0, mask = this.#slots.length - 1;
    for (let slot = wanted & mask; this.#slots[slot] !== EMPTY; slot = (slot + 1) & mask) {
      if (this.#words[this.#slots[slot] - 1] === wanted) return true;
    }
    return false;
  }

  /** Yields the pieces that may have this id, each with its owner and its position among the owner's pieces. */
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

  /** Makes room for `added` more pieces at once. This needs less memory than growing in several steps. */
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
