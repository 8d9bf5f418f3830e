// Network keys: 32 random bytes, written as one word with a checksum.

import { crc32c } from "../krpc/crc.ts";

const KEY_BYTES = 32, CHECKSUM_BYTES = 3;

/** Every key starts with this text, so that people and programs recognize keys. */
const PREFIX = "dmkey";

/** The digits of base32 (RFC 4648) in lower case. A key has no punctuation, so a double click selects all of it. */
const DIGITS = "abcdefghijklmnopqrstuvwxyz234567";

/** The length of a key as text: the key and its checksum fill 56 digits of five bits. */
const TEXT_LENGTH = PREFIX.length + (KEY_BYTES + CHECKSUM_BYTES) * 8 / 5;

/**
 * A key that all nodes of a private network share. The key is never included in JSON, in text or in a message to a
 * worker.
 */
export class NetworkKey {
  readonly #bytes: Uint8Array<ArrayBuffer>;

  private constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
  }

  static random(): NetworkKey {
    return new NetworkKey(crypto.getRandomValues(new Uint8Array(KEY_BYTES)));
  }

  /** Parses a key. If the text is not a valid key, returns an error message that does not quote the text. */
  static parse(text: string): NetworkKey | string {
    const word = text.toLowerCase();
    if (!word.startsWith(PREFIX)) return `expected a network key, which starts with ${PREFIX}`;
    if (word.length !== TEXT_LENGTH) {
      return `expected a network key, which has ${TEXT_LENGTH} characters`;
    }
    const all = fromBase32(word.slice(PREFIX.length));
    if (all === undefined) {
      return "expected a network key, which has only letters and digits from 2 to 7";
    }
    const bytes = all.slice(0, KEY_BYTES);
    const isWhole = checksumOf(bytes).every((byte, i) => byte === all[KEY_BYTES + i]);
    return isWhole
      ? new NetworkKey(bytes)
      : "expected a network key without a typo: the checksum is wrong";
  }

  /** Returns a copy of the secret bytes. */
  secret(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice();
  }

  /** The key as the user writes it. */
  secretText(): string {
    const { length } = this.#bytes, all = new Uint8Array(length + CHECKSUM_BYTES);
    all.set(this.#bytes);
    all.set(checksumOf(this.#bytes), length);
    return PREFIX + toBase32(all);
  }
}

function checksumOf(bytes: Uint8Array): Uint8Array {
  const crc = crc32c(bytes);
  return Uint8Array.of(crc >>> 16, crc >>> 8, crc);
}

function toBase32(bytes: Uint8Array): string {
  let text = "", value = 0, bits = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += DIGITS[(value >>> (bits - 5)) & 31];
  }
  return text;
}

function fromBase32(text: string): Uint8Array<ArrayBuffer> | undefined {
  const bytes = new Uint8Array(text.length * 5 / 8);
  let value = 0, bits = 0, at = 0;
  for (const digit of text) {
    const five = DIGITS.indexOf(digit);
    if (five < 0) return undefined;
    value = (value << 5) | five;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes[at++] = value >>> bits;
  }
  return bytes;
}
