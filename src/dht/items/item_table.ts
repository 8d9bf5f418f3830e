// The records of the items in a store, packed into arrays of numbers. A record needs about 100 bytes of memory.

import { hashWords, Id, word } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import type { StoredItem } from "./item.ts";
import { contentCost, keyedBytes } from "./item_cost.ts";

/** The number of a record. It stays the same until the record is removed. A later record may get the same number. */
export type Slot = number;

/** An item's fields without its value. */
export interface ItemRecord extends Pick<StoredItem, "target" | "storedAt" | "expiresAt" | "by"> {
  /** How many nodes should hold the item; undefined means k. */
  readonly copies: number | undefined;
  readonly valueBytes: number;
  /** The bytes of the public key, the signature and the salt; 0 if the item is immutable. */
  readonly keyedBytes: number;
  /** The first 32 bits of the public key; 0 if the item is immutable. */
  readonly signer: number;
}

/** The plan for our next repair of an item's replicas; see `replicator.ts`. */
export interface Turn {
  readonly at: Millis;
  /** The number of arrivals and departures of contacts that had been counted when the repair was planned. */
  readonly changes: number;
  /** How many times in a row another node did the repair before ours was due. */
  readonly deferrals: number;
  /** The first 32 bits of the id of the node that did the latest of these repairs; 0 if there is none. */
  readonly by: number;
}

/**
 * The number of records in a chunk is 2 to this power. A table grows by whole chunks, so that no large array is copied.
 */
const CHUNK_BITS = 10;
const CHUNK_RECORDS = 1 << CHUNK_BITS, CHUNK_MASK = CHUNK_RECORDS - 1;

/**
 * The number of records that a new table has room for. It is small, because a simulation has many tables with few
 * records.
 */
const FIRST_RECORDS = 8;

/** The number of places in an empty hash table; a power of two. */
const MIN_PLACES = 16;

const EMPTY = 0;

/** The indices of those fields of a record that are doubles. */
const STORED_AT = 0;
/** NaN if the slot is free. */
const EXPIRES_AT = 1;
/** The index of the time since which the item has been spare; NaN if it is not spare. */
const SPARE_SINCE = 2;
/** The index of the time of the planned repair; NaN if no repair is planned. */
const TURN_AT = 3;
const NUMBERS = 4;

/** The indices of those fields of a record that are 32-bit integers. The first five fields are the target. */
const VALUE_BYTES = 5, KEYED_BYTES = 6;
/** The index of the number of nodes that should hold the item; 0 means k. */
const COPIES = 7;
/** The index of the number of the item's source; see `Sources`. */
const SOURCE = 8;
const SIGNER = 9, TURN_CHANGES = 10, TURN_DEFERRALS = 11, TURN_BY = 12;
const WORDS = 13;

/** The records of a store's items. An open-addressing hash table with linear probing finds a record by its target. */
export class ItemTable {
  readonly #seed: number;
  /** The records, in chunks. */
  readonly #numbers: Float64Array[] = [];
  readonly #words: Int32Array[] = [];
  /**
   * The hash table. Each place contains 1 + the slot of a record, or {@link EMPTY}. At most half of the places are in
   * use.
   */
  #places = new Uint32Array(MIN_PLACES);
  #size = 0;
  /** All slots are below this number. */
  #end: Slot = 0;
  readonly #free: Slot[] = [];
  #spares = 0;
  readonly #sources = new Sources();

  /** `seed`: a 32-bit integer that strangers can't know, so that they can't choose targets that collide. */
  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  get size(): number {
    return this.#size;
  }

  /** All slots are below this number. Some of them may be free. */
  get end(): Slot {
    return this.#end;
  }

  /** The number of records whose items are spare; see `ItemStore.noteSpare`. */
  get spares(): number {
    return this.#spares;
  }

  /** The slot of the record with this target; -1 if there is none. */
  find({ a, b, c, d, e }: Id): Slot {
    const places = this.#places, mask = places.length - 1;
    let place = hashWords(this.#seed, a, b, c, d, e) & mask;
    for (; places[place] !== EMPTY; place = (place + 1) & mask) {
      const slot = places[place] - 1, words = this.#words[slot >> CHUNK_BITS];
      const at = (slot & CHUNK_MASK) * WORDS;
      if (
        words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d &&
        words[at + 4] === e
      ) return slot;
    }
    return -1;
  }

  isFree(slot: Slot): boolean {
    return Number.isNaN(this.#number(slot, EXPIRES_AT));
  }

  /** The slots of all records. Records may be added and removed during the iteration. */
  *slots(): Generator<Slot> {
    for (let slot = 0; slot < this.#end; slot++) if (!this.isFree(slot)) yield slot;
  }

  /** Adds a record, or replaces the one with the same target. Returns its slot. */
  set(record: ItemRecord): Slot {
    const { target } = record, found = this.find(target);
    if (found >= 0) this.#clear(found);
    const slot = found < 0 ? this.#add(target) : found;
    this.#setNumber(slot, STORED_AT, record.storedAt);
    this.#setNumber(slot, EXPIRES_AT, record.expiresAt);
    this.#setNumber(slot, SPARE_SINCE, NaN);
    this.#setNumber(slot, TURN_AT, NaN);
    this.#setWord(slot, VALUE_BYTES, record.valueBytes);
    this.#setWord(slot, KEYED_BYTES, record.keyedBytes);
    this.#setWord(slot, COPIES, record.copies ?? 0);
    this.#setWord(slot, SOURCE, this.#sources.take(record.by));
    this.#setWord(slot, SIGNER, record.signer);
    return slot;
  }

  remove(slot: Slot): void {
    this.#clear(slot);
    this.#unlink(slot);
    this.#setNumber(slot, EXPIRES_AT, NaN);
    this.#free.push(slot);
    this.#size--;
  }

  get(slot: Slot): ItemRecord {
    return {
      target: this.target(slot),
      storedAt: this.storedAt(slot),
      expiresAt: this.expiresAt(slot),
      by: this.source(slot),
      copies: this.copies(slot),
      valueBytes: this.valueBytes(slot),
      keyedBytes: this.#word(slot, KEYED_BYTES),
      signer: this.signer(slot),
    };
  }

  target(slot: Slot): Id {
    const words = this.#words[slot >> CHUNK_BITS], at = (slot & CHUNK_MASK) * WORDS;
    return new Id(words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4]);
  }

  storedAt(slot: Slot): Millis {
    return this.#number(slot, STORED_AT);
  }

  /** NaN if the slot is free. */
  expiresAt(slot: Slot): Millis {
    return this.#number(slot, EXPIRES_AT);
  }

  source(slot: Slot): string | undefined {
    return this.#sources.name(this.#word(slot, SOURCE));
  }

  copies(slot: Slot): number | undefined {
    return this.#word(slot, COPIES) || undefined;
  }

  valueBytes(slot: Slot): number {
    return this.#word(slot, VALUE_BYTES);
  }

  /** The bytes that count against the limit of the store; see `itemCost`. */
  cost(slot: Slot): number {
    return contentCost(this.valueBytes(slot) + this.#word(slot, KEYED_BYTES));
  }

  /** The first 32 bits of the public key; 0 if the item is immutable. */
  signer(slot: Slot): number {
    return this.#word(slot, SIGNER);
  }

  /** The planned repair of an item; undefined if no repair is planned. */
  turn(slot: Slot): Turn | undefined {
    const at = this.#number(slot, TURN_AT);
    if (Number.isNaN(at)) return undefined;
    return {
      at,
      changes: this.#word(slot, TURN_CHANGES),
      deferrals: this.#word(slot, TURN_DEFERRALS),
      by: this.#word(slot, TURN_BY),
    };
  }

  setTurn(slot: Slot, { at, changes, deferrals, by }: Turn): void {
    this.#setNumber(slot, TURN_AT, at);
    this.#setWord(slot, TURN_CHANGES, changes);
    this.#setWord(slot, TURN_DEFERRALS, deferrals);
    this.#setWord(slot, TURN_BY, by);
  }

  /** The time since which an item has been spare; NaN if it is not spare. */
  spareSince(slot: Slot): Millis {
    return this.#number(slot, SPARE_SINCE);
  }

  /** `since` is the time since which the item has been spare; NaN if it is not spare. */
  setSpareSince(slot: Slot, since: Millis): void {
    if (!Number.isNaN(this.spareSince(slot))) this.#spares--;
    if (!Number.isNaN(since)) this.#spares++;
    this.#setNumber(slot, SPARE_SINCE, since);
  }

  /** Marks the item of a record as not spare, and releases the name of its source. */
  #clear(slot: Slot): void {
    this.setSpareSince(slot, NaN);
    this.#sources.release(this.#word(slot, SOURCE));
  }

  #number(slot: Slot, field: number): number {
    return this.#numbers[slot >> CHUNK_BITS][(slot & CHUNK_MASK) * NUMBERS + field];
  }

  #setNumber(slot: Slot, field: number, value: number): void {
    this.#numbers[slot >> CHUNK_BITS][(slot & CHUNK_MASK) * NUMBERS + field] = value;
  }

  #word(slot: Slot, field: number): number {
    return this.#words[slot >> CHUNK_BITS][(slot & CHUNK_MASK) * WORDS + field];
  }

  #setWord(slot: Slot, field: number, value: number): void {
    this.#words[slot >> CHUNK_BITS][(slot & CHUNK_MASK) * WORDS + field] = value;
  }

  #add(target: Id): Slot {
    if (2 * (this.#size + 1) > this.#places.length) this.#widen();
    const slot = this.#free.pop() ?? this.#newSlot();
    const words = this.#words[slot >> CHUNK_BITS], at = (slot & CHUNK_MASK) * WORDS;
    words[at] = target.a;
    words[at + 1] = target.b;
    words[at + 2] = target.c;
    words[at + 3] = target.d;
    words[at + 4] = target.e;
    this.#link(slot);
    this.#size++;
    // Setting the field of a new record must not count as a change.
    this.#setNumber(slot, SPARE_SINCE, NaN);
    return slot;
  }

  #newSlot(): Slot {
    const slot = this.#end++, chunk = slot >> CHUNK_BITS;
    const former = this.#words[chunk]?.length ?? 0;
    if ((slot & CHUNK_MASK) * WORDS < former) return slot;
    const records = chunk > 0 ? CHUNK_RECORDS : Math.max(FIRST_RECORDS, 2 * (former / WORDS));
    const words = new Int32Array(records * WORDS), numbers = new Float64Array(records * NUMBERS);
    if (former > 0) {
      words.set(this.#words[chunk]);
      numbers.set(this.#numbers[chunk]);
    }
    this.#words[chunk] = words;
    this.#numbers[chunk] = numbers;
    return slot;
  }

  #hash(slot: Slot): number {
    const words = this.#words[slot >> CHUNK_BITS], at = (slot & CHUNK_MASK) * WORDS;
    return hashWords(
      this.#seed,
      words[at],
      words[at + 1],
      words[at + 2],
      words[at + 3],
      words[at + 4],
    );
  }

  #link(slot: Slot): void {
    const places = this.#places, mask = places.length - 1;
    let place = this.#hash(slot) & mask;
    while (places[place] !== EMPTY) place = (place + 1) & mask;
    places[place] = slot + 1;
  }

  /** Removes a slot from the hash table, and closes the gap (Knuth, volume 3, 6.4, algorithm R). */
  #unlink(slot: Slot): void {
    const places = this.#places, mask = places.length - 1;
    let gap = this.#hash(slot) & mask;
    while (places[gap] !== slot + 1) gap = (gap + 1) & mask;
    for (let place = (gap + 1) & mask; places[place] !== EMPTY; place = (place + 1) & mask) {
      const home = this.#hash(places[place] - 1) & mask;
      // Move this entry only if a search for it would pass the gap.
      if (((place - home) & mask) < ((place - gap) & mask)) continue;
      places[gap] = places[place];
      gap = place;
    }
    places[gap] = EMPTY;
  }

  #widen(): void {
    this.#places = new Uint32Array(2 * this.#places.length);
    for (let slot = 0; slot < this.#end; slot++) if (!this.isFree(slot)) this.#link(slot);
  }
}

/** The record of an item. */
export function recordOf(
  { target, storedAt, expiresAt, by, copies, value, signed }: StoredItem,
): ItemRecord {
  const { length: valueBytes } = value, keyed = keyedBytes(signed);
  const signer = signed === undefined ? 0 : word(signed.publicKey, 0);
  return { target, storedAt, expiresAt, by, copies, valueBytes, keyedBytes: keyed, signer };
}

/** The names of sources. Records refer to them by number, because many records have the same source. */
class Sources {
  readonly #numbers = new Map<string, number>();
  /** The names of the sources, by number. Number 0 means that there is no source. */
  readonly #names: (string | undefined)[] = [undefined];
  /** For each number, how many records refer to the name. */
  readonly #uses: number[] = [0];
  readonly #free: number[] = [];

  name(number: number): string | undefined {
    return this.#names[number];
  }

  /** Returns the number of a name, and counts one more record that refers to the name. */
  take(name: string | undefined): number {
    if (name === undefined) return 0;
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.#free.pop() ?? this.#names.length;
      this.#numbers.set(name, number);
      this.#names[number] = name;
      this.#uses[number] = 0;
    }
    this.#uses[number]++;
    return number;
  }

  /** Counts one record fewer that refers to a name. */
  release(number: number): void {
    if (number === 0 || --this.#uses[number] > 0) return;
    this.#numbers.delete(this.#names[number]!);
    this.#names[number] = undefined;
    this.#free.push(number);
  }
}
