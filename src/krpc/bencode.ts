// Bencode (BEP 3): a scanner over received bytes, and a writer into a fixed buffer.

import { type Id, putWord } from "./id.ts";

/** Lists and dictionaries nested deeper than this are refused. KRPC itself needs 3. */
export const MAX_DEPTH = 32;

const D = 0x64, E = 0x65, I = 0x69, L = 0x6c, COLON = 0x3a, ZERO = 0x30, NINE = 0x39, MINUS = 0x2d;

/**
 * Walks one datagram. Every read returns -1, or leaves `failed` set, where the bytes are not what was asked for;
 * nothing throws. Structure is checked here; canonical form only by {@link isCanonical}, since peers in use send
 * unsorted keys.
 */
export class Scanner {
  pos = 0;
  failed = false;
  /** Where the string read last begins and ends. */
  start = 0;
  end = 0;

  constructor(readonly bytes: Uint8Array, readonly limit: number = bytes.length) {}

  /** The next byte, or -1 at the end. */
  peek(): number {
    return this.pos < this.limit ? this.bytes[this.pos] : -1;
  }

  /** Steps over `byte` where it is next. */
  take(byte: number): boolean {
    if (this.pos >= this.limit || this.bytes[this.pos] !== byte) return false;
    this.pos++;
    return true;
  }

  /** Reads a byte string into `start` and `end`; false, and `failed`, where there is none. */
  string(): boolean {
    const { bytes, limit } = this;
    let pos = this.pos, length = 0;
    const first = pos;
    while (pos < limit) {
      const c = bytes[pos];
      if (c < ZERO || c > NINE) break;
      length = length * 10 + c - ZERO;
      // 7 digits are more than any datagram holds, and keep `length` far from overflow.
      if (++pos - first > 7) return this.#fail();
    }
    if (pos === first || pos >= limit || bytes[pos] !== COLON) return this.#fail();
    pos++;
    if (length > limit - pos) return this.#fail();
    this.start = pos;
    this.end = this.pos = pos + length;
    return true;
  }

  /** Reads an integer; NaN where it is none, or not exact as a double (beyond ±(2^53 - 1)). */
  integer(): number {
    const { bytes, limit } = this;
    let pos = this.pos + 1;
    if (this.peek() !== I) return NaN;
    const negative = pos < limit && bytes[pos] === MINUS;
    if (negative) pos++;
    const first = pos;
    let value = 0;
    while (pos < limit && bytes[pos] >= ZERO && bytes[pos] <= NINE) {
      value = value * 10 + (bytes[pos++] - ZERO); // in this order: all below 2^53 stay exact
    }
    if (pos === first || pos >= limit || bytes[pos] !== E) {
      this.failed = true;
      return NaN;
    }
    this.pos = pos + 1;
    if (value > Number.MAX_SAFE_INTEGER) return NaN;
    return negative ? -value : value;
  }

  /** Steps over any one value; false, and `failed`, where there is none or it nests too deep. */
  skip(depth = 0): boolean {
    const c = this.peek();
    if (c >= ZERO && c <= NINE) return this.string();
    if (c === I) {
      this.integer();
      return !this.failed;
    }
    if ((c !== L && c !== D) || depth >= MAX_DEPTH) return this.#fail();
    this.pos++;
    while (!this.take(E)) {
      if (c === D && !this.string()) return false;
      if (!this.skip(depth + 1)) return false;
    }
    return true;
  }

  #fail(): false {
    this.failed = true;
    return false;
  }
}

/**
 * Whether `bytes` are exactly one value in bencode's single valid form: no leading zeros, no `-0`, keys sorted and
 * unique, nothing after it.
 */
export function isCanonical(bytes: Uint8Array): boolean {
  return canonicalEnd(bytes, 0, 0) === bytes.length;
}

function canonicalEnd(bytes: Uint8Array, pos: number, depth: number): number {
  const c = bytes[pos];
  if (c >= ZERO && c <= NINE) return canonicalString(bytes, pos);
  if (c === I) {
    const at = bytes[pos + 1] === MINUS ? pos + 2 : pos + 1;
    let end = at;
    while (bytes[end] >= ZERO && bytes[end] <= NINE) end++;
    if (end === at || bytes[end] !== E) return -1;
    if (bytes[at] === ZERO && (end - at > 1 || at === pos + 2)) return -1;
    return end + 1;
  }
  if ((c !== L && c !== D) || depth >= MAX_DEPTH) return -1;
  let key: Uint8Array | undefined;
  for (pos++; bytes[pos] !== E;) {
    if (c === D) {
      const end = canonicalString(bytes, pos);
      if (end < 0) return -1;
      const next = bytes.subarray(bytes.indexOf(COLON, pos) + 1, end);
      if (key !== undefined && compareBytes(key, next) >= 0) return -1;
      key = next;
      pos = end;
    }
    pos = canonicalEnd(bytes, pos, depth + 1);
    if (pos < 0) return -1;
  }
  return pos + 1;
}

function canonicalString(bytes: Uint8Array, pos: number): number {
  if (bytes[pos] === ZERO && bytes[pos + 1] !== COLON) return -1;
  const scanner = new Scanner(bytes);
  scanner.pos = pos;
  return scanner.string() ? scanner.end : -1;
}

/** Order of two byte strings, shorter first where one begins with the other. */
export function compareBytes(x: Uint8Array, y: Uint8Array): number {
  const length = Math.min(x.length, y.length);
  for (let i = 0; i < length; i++) if (x[i] !== y[i]) return x[i] - y[i];
  return x.length - y.length;
}

/** `bytes` as a bencoded byte string. */
export function bencodeBytes(bytes: Uint8Array): Uint8Array {
  const writer = new Writer(bytes.length + 8);
  writer.bytes(bytes);
  return writer.done();
}

/** The content of a bencoded byte string, or undefined where `bencoded` is another kind of value. */
export function byteStringContent(bencoded: Uint8Array): Uint8Array | undefined {
  const scanner = new Scanner(bencoded);
  const isString = scanner.string() && scanner.pos === bencoded.length;
  return isString ? bencoded.subarray(scanner.start, scanner.end) : undefined;
}

/** A piece of a message that never changes, as bytes. */
export function literal(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** Builds one message in a buffer that is used again and again; the caller knows the bound of what it writes. */
export class Writer {
  readonly buffer: Uint8Array;
  pos = 0;

  constructor(capacity: number) {
    this.buffer = new Uint8Array(capacity);
  }

  /** What was written since the last reset: a view, valid until the next write after a reset. */
  done(): Uint8Array {
    return this.buffer.subarray(0, this.pos);
  }

  reset(): void {
    this.pos = 0;
  }

  /** Copies bytes as they are. */
  raw(bytes: Uint8Array): void {
    const length = bytes.length;
    if (length > 48) {
      this.buffer.set(bytes, this.pos);
    } else { // below about 50 bytes a loop beats the call into the runtime
      const { buffer, pos } = this;
      for (let i = 0; i < length; i++) buffer[pos + i] = bytes[i];
    }
    this.pos += length;
  }

  /** Copies `from[start..end)` as it is. */
  range(from: Uint8Array, start: number, end: number): void {
    const { buffer, pos } = this;
    for (let i = start; i < end; i++) buffer[pos + i - start] = from[i];
    this.pos += end - start;
  }

  /** A string's length and colon. */
  length(n: number): void {
    this.decimal(n);
    this.buffer[this.pos++] = COLON;
  }

  /** A byte string. */
  bytes(bytes: Uint8Array): void {
    this.length(bytes.length);
    this.raw(bytes);
  }

  /** A byte string given as ASCII text. */
  ascii(text: string): void {
    this.length(text.length);
    for (let i = 0; i < text.length; i++) this.buffer[this.pos++] = text.charCodeAt(i);
  }

  /** An integer, within ±(2^53 - 1). */
  integer(n: number): void {
    this.buffer[this.pos++] = I;
    if (n < 0) this.buffer[this.pos++] = MINUS;
    this.decimal(Math.abs(n));
    this.buffer[this.pos++] = E;
  }

  /** The 20 bytes of an id, without a length. */
  id(id: Id): void {
    id.write(this.buffer, this.pos);
    this.pos += 20;
  }

  /** Four bytes, big-endian. */
  word(w: number): void {
    putWord(this.buffer, this.pos, w);
    this.pos += 4;
  }

  /** A natural number's digits. */
  decimal(n: number): void {
    const { buffer } = this;
    if (n < 1000) { // every length that KRPC writes
      if (n >= 100) buffer[this.pos++] = ZERO + (n / 100 | 0);
      if (n >= 10) buffer[this.pos++] = ZERO + (n / 10 | 0) % 10;
      buffer[this.pos++] = ZERO + n % 10;
      return;
    }
    const digits = String(n);
    for (let i = 0; i < digits.length; i++) buffer[this.pos++] = digits.charCodeAt(i);
  }
}
