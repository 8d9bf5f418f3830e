// 160-bit identifiers under the XOR metric (Maymounkov and Mazières, "Kademlia", 2002, section 2.1).

/** The length in bytes of a node id, an info-hash or an item's target. */
export const ID_BYTES = 20;
/** The number of bits in an id, which is also the maximum bit length of a distance. */
export const ID_BITS = 160;

/**
 * An immutable 160-bit id.
 *
 * The id is stored as five 32-bit words instead of a byte array. Distances can then be compared with a few integer
 * operations, and ids need only a third of the memory. Both matter when one process simulates 100,000 routing tables.
 */
export class Id {
  /** The five words of the id as signed 32-bit integers, most significant word first. */
  constructor(
    readonly a: number,
    readonly b: number,
    readonly c: number,
    readonly d: number,
    readonly e: number,
  ) {}

  /** Reads an id from 20 bytes at `offset`. The caller has checked the length. */
  static read(bytes: Uint8Array, offset = 0): Id {
    return new Id(
      word(bytes, offset),
      word(bytes, offset + 4),
      word(bytes, offset + 8),
      word(bytes, offset + 12),
      word(bytes, offset + 16),
    );
  }

  /** Parses 40 hex digits in upper or lower case. Returns undefined for any other text. */
  static parse(hex: string): Id | undefined {
    if (!/^[0-9a-fA-F]{40}$/.test(hex)) return undefined;
    const at = (i: number) => parseInt(hex.slice(i, i + 8), 16) | 0;
    return new Id(at(0), at(8), at(16), at(24), at(32));
  }

  /** Like `parse`, but throws a TypeError if `hex` is not 40 hex digits. */
  static from(hex: string): Id {
    const id = Id.parse(hex);
    if (id === undefined) throw new TypeError(`not an id: ${hex}`);
    return id;
  }

  write(bytes: Uint8Array, offset: number): void {
    putWord(bytes, offset, this.a);
    putWord(bytes, offset + 4, this.b);
    putWord(bytes, offset + 8, this.c);
    putWord(bytes, offset + 12, this.d);
    putWord(bytes, offset + 16, this.e);
  }

  /** Returns the 20 bytes of the id in a new array. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(ID_BYTES);
    this.write(bytes, 0);
    return bytes;
  }

  /** The id as 40 lower-case hex digits. */
  toString(): string {
    return hexWord(this.a) + hexWord(this.b) + hexWord(this.c) + hexWord(this.d) + hexWord(this.e);
  }

  equals(other: Id): boolean {
    return this.a === other.a && this.b === other.b && this.c === other.c && this.d === other.d &&
      this.e === other.e;
  }

  /** Returns a copy of this id with bit `index` inverted. Bit 0 is the most significant bit. */
  flip(index: number): Id {
    const w = [this.a, this.b, this.c, this.d, this.e];
    w[index >> 5] ^= 1 << (31 - (index & 31));
    return new Id(w[0], w[1], w[2], w[3], w[4]);
  }

  /** Returns an id with the first `bits` bits of this id and the remaining bits of `rest`. */
  withSuffix(bits: number, rest: Id): Id {
    const mine = [this.a, this.b, this.c, this.d, this.e];
    const theirs = [rest.a, rest.b, rest.c, rest.d, rest.e];
    const w = mine.map((m, i) => {
      const kept = Math.min(32, Math.max(0, bits - 32 * i));
      const mask = kept === 0 ? 0 : -1 << (32 - kept);
      return (m & mask) | (theirs[i] & ~mask);
    });
    return new Id(w[0], w[1], w[2], w[3], w[4]);
  }
}

/** The number of leading bits that two ids share, from 0 to 160. */
export function sharedPrefix(x: Id, y: Id): number {
  let w = x.a ^ y.a;
  if (w !== 0) return Math.clz32(w);
  w = x.b ^ y.b;
  if (w !== 0) return 32 + Math.clz32(w);
  w = x.c ^ y.c;
  if (w !== 0) return 64 + Math.clz32(w);
  w = x.d ^ y.d;
  if (w !== 0) return 96 + Math.clz32(w);
  return 128 + Math.clz32(x.e ^ y.e);
}

/** The bit length of the distance between two ids: 0 if they are equal, 160 if their first bits differ. */
export function distanceBits(x: Id, y: Id): number {
  return ID_BITS - sharedPrefix(x, y);
}

/** The distance between two ids, divided by the largest possible distance. */
export function distanceShare(x: Id, y: Id): number {
  const high = (x.a ^ y.a) >>> 0, low = (x.b ^ y.b) >>> 0;
  return (high * 2 ** 32 + low) / 2 ** 64;
}

/** Negative if `x` is closer to `target` than `y` is, positive if it is farther, and 0 if both ids are equal. */
export function compareDistance(x: Id, y: Id, target: Id): number {
  let p = x.a ^ target.a, q = y.a ^ target.a;
  if (p === q) {
    p = x.b ^ target.b, q = y.b ^ target.b;
    if (p === q) {
      p = x.c ^ target.c, q = y.c ^ target.c;
      if (p === q) {
        p = x.d ^ target.d, q = y.d ^ target.d;
        if (p === q) p = x.e ^ target.e, q = y.e ^ target.e;
      }
    }
  }
  if (p === q) return 0;
  // Distances are unsigned, but words are signed. With inverted sign bits, a signed comparison sorts them correctly.
  return (p ^ SIGN) < (q ^ SIGN) ? -1 : 1;
}

/** Compares two ids in the order of their hex digits. */
export function compareIds(x: Id, y: Id): number {
  return compareDistance(x, y, ZERO);
}

const ZERO = new Id(0, 0, 0, 0, 0);

/** A map with ids as keys. Its hash function has a secret seed, so strangers can't choose ids that collide. */
export class IdMap<V> {
  readonly #chains = new Map<number, Entry<V>>();
  readonly #seed: number;
  #size = 0;

  /** `seed`: a 32-bit integer that strangers can't know. */
  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  get size(): number {
    return this.#size;
  }

  get(id: Id): V | undefined {
    for (let at = this.#chains.get(this.#hash(id)); at !== undefined; at = at.next) {
      if (at.id.equals(id)) return at.value;
    }
    return undefined;
  }

  has(id: Id): boolean {
    return this.get(id) !== undefined;
  }

  set(id: Id, value: V): void {
    const hash = this.#hash(id);
    const first = this.#chains.get(hash);
    for (let at = first; at !== undefined; at = at.next) {
      if (at.id.equals(id)) {
        at.value = value;
        return;
      }
    }
    this.#chains.set(hash, { id, value, next: first });
    this.#size++;
  }

  delete(id: Id): boolean {
    const hash = this.#hash(id);
    let before: Entry<V> | undefined;
    for (let at = this.#chains.get(hash); at !== undefined; before = at, at = at.next) {
      if (!at.id.equals(id)) continue;
      if (before !== undefined) before.next = at.next;
      else if (at.next !== undefined) this.#chains.set(hash, at.next);
      else this.#chains.delete(hash);
      this.#size--;
      return true;
    }
    return false;
  }

  *entries(): Generator<[Id, V]> {
    for (const first of this.#chains.values()) {
      for (let at: Entry<V> | undefined = first; at !== undefined; at = at.next) {
        yield [at.id, at.value];
      }
    }
  }

  values(): IteratorObject<V> {
    return this.entries().map(([, value]) => value);
  }

  #hash({ a, b, c, d, e }: Id): number {
    return hashWords(this.#seed, a, b, c, d, e) >> 1; // V8 stores 31-bit integers without an allocation
  }
}

/** Returns a 32-bit hash of the words of an id. If the seed is secret, strangers can't choose ids that collide. */
export function hashWords(
  seed: number,
  a: number,
  b: number,
  c: number,
  d: number,
  e: number,
): number {
  return mix(mix(mix(mix(mix(seed ^ a) ^ b) ^ c) ^ d) ^ e);
}

interface Entry<V> {
  readonly id: Id;
  value: V;
  next: Entry<V> | undefined;
}

const SIGN = 0x80000000 | 0;

/** The finalizer of MurmurHash3 (Appleby, public domain), in which every input bit affects every output bit. */
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Reads a big-endian signed 32-bit integer. */
export function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}

/** Writes a big-endian 32-bit integer. */
export function putWord(bytes: Uint8Array, at: number, w: number): void {
  bytes[at] = w >>> 24;
  bytes[at + 1] = w >>> 16;
  bytes[at + 2] = w >>> 8;
  bytes[at + 3] = w;
}

function hexWord(w: number): string {
  return (w >>> 0).toString(16).padStart(8, "0");
}
