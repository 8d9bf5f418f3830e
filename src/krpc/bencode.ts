// Bencode (BEP 3): a scanner for received bytes, and a writer into a fixed buffer.

import { type Id, putWord } from "./id.ts";
import { parseSeq, type Seq } from "./seq.ts";

/** The maximum nesting depth of lists and dictionaries that we accept. KRPC itself needs 3 levels. */
export const MAX_DEPTH = 32;

const D = 0x64, E = 0x65, I = 0x69, L = 0x6c, COLON = 0x3a, ZERO = 0x30, NINE = 0x39, MINUS = 0x2d;

/**
 * Reads one datagram from front to back. It never throws: if the next value is not of the requested kind, the method
 * returns this as its result or sets `failed`. Unsorted keys are accepted, because other implementations send them. Use
 * {@link isCanonical} to reject them.
 */
export class Scanner {
  pos = 0;
  failed = false;
  /** The index of the first byte of the string that was read last. */
  start = 0;
  /** The index after the last byte of the string that was read last. */
  end = 0;

  constructor(readonly bytes: Uint8Array, readonly limit: number = bytes.length) {}

  /** Returns the next byte, or -1 at the end of the datagram. */
  peek(): number {
    return this.pos < this.limit ? this.bytes[this.pos] : -1;
  }

  /** Skips the next byte if it equals `byte`. Returns whether it did. */
  take(byte: number): boolean {
    if (this.pos >= this.limit || this.bytes[this.pos] !== byte) return false;
    this.pos++;
    return true;
  }

  /** Reads a byte string, and sets `start` and `end` to its position. Otherwise, sets `failed` and returns false. */
  string(): boolean {
    const { bytes, limit } = this;
    let pos = this.pos, length = 0;
    const first = pos;
    while (pos < limit) {
      const c = bytes[pos];
      if (c < ZERO || c > NINE) break;
      length = length * 10 + c - ZERO;
      // A length of seven digits exceeds any datagram. This limit also keeps `length` from overflowing.
      if (++pos - first > 7) return this.#fail();
    }
    if (pos === first || pos >= limit || bytes[pos] !== COLON) return this.#fail();
    pos++;
    if (length > limit - pos) return this.#fail();
    this.start = pos;
    this.end = this.pos = pos + length;
    return true;
  }

  /**
   * Reads an integer. Returns NaN if there is no integer, if a double can't hold it exactly (beyond ±(2^53 - 1)), or if
   * it is not canonical: `-0`, or with leading zeros. In the last two cases, `start` and `end` enclose the sign and
   * digits.
   */
  integer(): number {
    const { bytes, limit } = this;
    let pos = this.pos + 1;
    if (this.peek() !== I) return NaN;
    const negative = pos < limit && bytes[pos] === MINUS;
    if (negative) pos++;
    const first = pos;
    let value = 0;
    while (pos < limit && bytes[pos] >= ZERO && bytes[pos] <= NINE) {
      value = value * 10 + (bytes[pos++] - ZERO); // this order keeps all integers below 2^53 exact
    }
    if (pos === first || pos >= limit || bytes[pos] !== E) {
      this.failed = true;
      return NaN;
    }
    this.pos = pos + 1;
    const isCanonical = bytes[first] !== ZERO || (pos === first + 1 && !negative);
    if (value > Number.MAX_SAFE_INTEGER || !isCanonical) {
      this.start = negative ? first - 1 : first;
      this.end = pos;
      return NaN;
    }
    return negative ? -value : value;
  }

  /** Reads an integer like {@link integer}, but exactly up to 2^63 - 1, which is the largest `seq` (BEP 44). */
  seq(): Seq {
    const { pos } = this;
    const value = this.integer();
    if (!Number.isNaN(value) || this.failed || this.pos === pos) return value;
    return parseSeq(String.fromCharCode(...this.bytes.subarray(this.start, this.end))) ?? NaN;
  }

  /** Skips one value of any kind. Returns false and sets `failed` if there is no value or it is nested too deeply. */
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

/** Whether `bytes` contain exactly one canonical value: no leading zeros, no `-0`, and sorted and unique keys. */
export function isCanonical(bytes: Uint8Array): boolean {
  return canonicalEnd(bytes, 0, 0) === bytes.length;
}

/** Returns the index after the canonical value at `pos`; -1 if there is none. */
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

/** Compares two byte strings byte by byte. A prefix comes before the longer string. */
export function compareBytes(x: Uint8Array, y: Uint8Array): number {
  const length = Math.min(x.length, y.length);
  for (let i = 0; i < length; i++) if (x[i] !== y[i]) return x[i] - y[i];
  return x.length - y.length;
}

/** Encodes `bytes` as a bencoded byte string. */
export function bencodeBytes(bytes: Uint8Array): Uint8Array {
  const writer = new Writer(bytes.length + 8);
  writer.bytes(bytes);
  return writer.done();
}

/** Returns the content of a bencoded byte string; undefined if `bencoded` is any other value. */
export function byteStringContent(bencoded: Uint8Array): Uint8Array | undefined {
  const scanner = new Scanner(bencoded);
  const isString = scanner.string() && scanner.pos === bencoded.length;
  return isString ? bencoded.subarray(scanner.start, scanner.end) : undefined;
}

/** Converts Latin-1 text to bytes. */
export function literal(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** Writes messages into one reused buffer. The caller must ensure that each message fits. */
export class Writer {
  readonly buffer: Uint8Array;
  pos = 0;

  constructor(capacity: number) {
    this.buffer = new Uint8Array(capacity);
  }

  /** Returns the bytes written since the last reset, as a view that the next message overwrites. */
  done(): Uint8Array {
    return this.buffer.subarray(0, this.pos);
  }

  reset(): void {
    this.pos = 0;
  }

  /** Appends bytes as they are, without a length prefix. */
  raw(bytes: Uint8Array): void {
    const length = bytes.length;
    if (length > 48) {
      this.buffer.set(bytes, this.pos);
    } else { // a loop is faster than a call into the runtime, up to about 50 bytes
      const { buffer, pos } = this;
      for (let i = 0; i < length; i++) buffer[pos + i] = bytes[i];
    }
    this.pos += length;
  }

  /** Appends the bytes `from[start..end)` without a length prefix. */
  range(from: Uint8Array, start: number, end: number): void {
    const { buffer, pos } = this;
    for (let i = start; i < end; i++) buffer[pos + i - start] = from[i];
    this.pos += end - start;
  }

  /** Appends the length of a string and the colon that follows it. */
  length(n: number): void {
    this.decimal(n);
    this.buffer[this.pos++] = COLON;
  }

  /** Appends a byte string. */
  bytes(bytes: Uint8Array): void {
    this.length(bytes.length);
    this.raw(bytes);
  }

  /** Appends ASCII text as a byte string. */
  ascii(text: string): void {
    this.length(text.length);
    for (let i = 0; i < text.length; i++) this.buffer[this.pos++] = text.charCodeAt(i);
  }

  /** Appends an integer within ±(2^53 - 1). */
  integer(n: number): void {
    this.buffer[this.pos++] = I;
    if (n < 0) this.buffer[this.pos++] = MINUS;
    this.decimal(Math.abs(n));
    this.buffer[this.pos++] = E;
  }

  /** Appends a version number (`seq`) as an integer. */
  seq(seq: Seq): void {
    if (typeof seq === "number") return this.integer(seq);
    this.buffer[this.pos++] = I;
    this.#digits(`${seq}`);
    this.buffer[this.pos++] = E;
  }

  /** Appends an id's 20 bytes without a length prefix. */
  id(id: Id): void {
    id.write(this.buffer, this.pos);
    this.pos += 20;
  }

  /** Appends four bytes, big-endian. */
  word(w: number): void {
    putWord(this.buffer, this.pos, w);
    this.pos += 4;
  }

  /** Appends the digits of a natural number. */
  decimal(n: number): void {
    const { buffer } = this;
    if (n < 1000) { // all lengths in KRPC
      if (n >= 100) buffer[this.pos++] = ZERO + (n / 100 | 0);
      if (n >= 10) buffer[this.pos++] = ZERO + (n / 10 | 0) % 10;
      buffer[this.pos++] = ZERO + n % 10;
      return;
    }
    this.#digits(`${n}`);
  }

  #digits(digits: string): void {
    for (let i = 0; i < digits.length; i++) this.buffer[this.pos++] = digits.charCodeAt(i);
  }
}
