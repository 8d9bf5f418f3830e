// Sealed values: encrypts and decrypts with a key that is only in the value's link. Used by the page, the command line
// and the API. The format is the content coding aes128gcm (RFC 8188), without padding.

/**
 * Each sealed value has this key id in its header, so that other programs can tell the user what
 * kind of key is missing.
 */
const KEY_ID = "dmseal";

const SALT_BYTES = 16, KEY_BYTES = 16, TAG_BYTES = 16, NONCE_BYTES = 12;

/** Salt, size of a record, length of the key id, and the key id. */
export const HEADER_BYTES = SALT_BYTES + 4 + 1 + KEY_ID.length;

/** Bytes that each record adds: a delimiter, which marks the last record, and a tag. */
const RECORD_OVERHEAD = 1 + TAG_BYTES;

/**
 * The size of every record except the last. A reader detects a change after at most this many
 * bytes, and opens whole records.
 */
export const RECORD_BYTES = 65_536;

/** The bytes of content in a full record. */
export const CONTENT_BYTES = RECORD_BYTES - RECORD_OVERHEAD;

/** The delimiters after the content of a record. */
const MORE_FOLLOW = 1, LAST = 2;

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */
/** @typedef {AsyncIterable<Uint8Array>} Source */

/**
 * An error that says why a value can't be opened. `not_sealed`: it is not a sealed value; `wrong_key`: its first
 * record does not fit the key; `changed`: a later record was changed; `cut`: the end is missing.
 */
export class SealError extends Error {
  /** @param {"not_sealed" | "wrong_key" | "changed" | "cut"} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "SealError";
    this.code = code;
  }
}

/** Returns a new random key as text. */
export function newSealKey() {
  return toBase64url(crypto.getRandomValues(new Uint8Array(KEY_BYTES)));
}

/** Whether the text is a key. @param {string} text */
export function isSealKey(text) {
  // The last of the 22 digits has only two bits of the key.
  return /^[\w-]{21}[AQgw]$/.test(text);
}

/**
 * The link of a sealed value. Everybody with the link can fetch and open the value. @param {string}
 * hash @param {string} key
 */
export function sealLink(hash, key) {
  return `dm:${hash}#${key}`;
}

/**
 * Parses a link, or returns null. People copy links by hand, so it may lack the first three characters.
 * @param {string} text @returns {{ hash: string, key: string } | null}
 */
export function parseSealLink(text) {
  const [, hash, key] = /^(?:dm:)?([0-9a-f]{40})#(.+)$/i.exec(text.trim()) ?? [];
  return key !== undefined && isSealKey(key) ? { hash: hash.toLowerCase(), key } : null;
}

/** The size of a sealed value. @param {number} size the size of its content */
export function sealedSize(size) {
  const records = Math.max(1, Math.ceil(size / CONTENT_BYTES));
  return HEADER_BYTES + size + records * RECORD_OVERHEAD;
}

/** The size of the content of a sealed value. @param {number} sealed the size of that value */
export function openedSize(sealed) {
  const body = sealed - HEADER_BYTES;
  return Math.max(0, body - Math.ceil(body / RECORD_BYTES) * RECORD_OVERHEAD);
}

/** Whether these bytes are the beginning of a sealed value. @param {Uint8Array} bytes */
export function isSealed(bytes) {
  return bytes.length >= HEADER_BYTES && headerOf(bytes).every((byte, i) => byte === bytes[i]);
}

/**
 * Encrypts a value piece by piece. Each call uses a new salt, so a key can seal any number of versions of a value.
 *
 * @param {Source} source @param {string} key
 * @param {Bytes} [salt] only for test vectors
 * @returns {AsyncGenerator<Bytes>}
 */
export async function* seal(
  source,
  key,
  salt = crypto.getRandomValues(new Uint8Array(SALT_BYTES)),
) {
  const cipher = await cipherOf(key, salt), record = new Uint8Array(CONTENT_BYTES + 1);
  yield headerOf(salt);
  let length = 0, number = 0;
  for await (const piece of source) {
    for (let at = 0; at < piece.length;) {
      // Keep a full record until another byte arrives, because the last record has a different
      // delimiter.
      if (length === CONTENT_BYTES) {
        record[length] = MORE_FOLLOW;
        yield await cipher.encrypt(number++, record);
        length = 0;
      }
      const part = piece.subarray(at, at + CONTENT_BYTES - length);
      record.set(part, length);
      length += part.length;
      at += part.length;
    }
  }
  record[length] = LAST;
  yield await cipher.encrypt(number, record.subarray(0, length + 1));
}

/**
 * Decrypts a value piece by piece. Yields no byte of a record that was changed.
 *
 * @param {Source} source @param {string} key
 * @returns {AsyncGenerator<Bytes>}
 * @throws {SealError}
 */
export async function* open(source, key) {
  const input = new Input(source);
  try {
    const opener = await openerOf(await input.take(HEADER_BYTES), key);
    for (let number = 0, isLast = false; !isLast; number++) {
      const record = await input.take(RECORD_BYTES);
      isLast = await input.isAtEnd();
      yield await opener.open(number, record, isLast);
    }
  } finally {
    await input.close();
  }
}

/**
 * Returns an opener for the records of a sealed value.
 *
 * @param {Uint8Array} header the beginning of the value @param {string} key
 * @throws {SealError}
 */
export async function openerOf(header, key) {
  if (!isSealed(header)) throw new SealError("not_sealed", "The value is not sealed.");
  return new Opener(await cipherOf(key, header.slice(0, SALT_BYTES)));
}

/**
 * Yields a range of a sealed value's content. Reads only the records that contain the range.
 *
 * @param {Opener} opener
 * @param {{ size: number, read(start: number, end: number): Source }} sealed the sealed value: its size and its bytes
 * @param {{ start: number, end: number }} range from `start` (inclusive) to `end` (exclusive)
 * @returns {AsyncGenerator<Bytes>}
 * @throws {SealError}
 */
export async function* openRange(opener, { size, read }, { start, end }) {
  if (start >= end) return;
  let number = Math.floor(start / CONTENT_BYTES), skipped = start % CONTENT_BYTES;
  const records = Math.ceil(end / CONTENT_BYTES);
  const from = HEADER_BYTES + number * RECORD_BYTES;
  const to = Math.min(size, HEADER_BYTES + records * RECORD_BYTES);
  const input = new Input(read(from, to));
  try {
    for (let left = end - start; left > 0; number++) {
      const record = await input.take(RECORD_BYTES);
      const isLast = HEADER_BYTES + (number + 1) * RECORD_BYTES >= size;
      const part = (await opener.open(number, record, isLast)).subarray(skipped, skipped + left);
      yield part;
      left -= part.length;
      skipped = 0;
    }
  } finally {
    await input.close();
  }
}

/** Opens single records of a sealed value. */
export class Opener {
  #cipher;

  /** @param {Awaited<ReturnType<typeof cipherOf>>} cipher */
  constructor(cipher) {
    this.#cipher = cipher;
  }

  /**
   * Returns the content of a record.
   *
   * @param {number} number @param {Bytes} record @param {boolean} isLast whether the sealed value ends after it
   * @throws {SealError}
   */
  async open(number, record, isLast) {
    if (record.length < RECORD_OVERHEAD) throw cut();
    const plain = await this.#cipher.decrypt(number, record);
    if (plain === null) {
      throw number === 0
        ? new SealError("wrong_key", "The key does not open this value, or the value was changed.")
        : new SealError("changed", `The value was changed in record ${number}.`);
    }
    const delimiter = plain.at(-1);
    if (isLast && delimiter === MORE_FOLLOW) throw cut();
    if (delimiter !== (isLast ? LAST : MORE_FOLLOW)) {
      throw new SealError("changed", `Record ${number} does not end as it should.`);
    }
    return plain.subarray(0, -1);
  }
}

function cut() {
  return new SealError("cut", "The end of the value is missing.");
}

/** The header of a sealed value. @param {Uint8Array} salt the salt, which may be followed by other bytes */
function headerOf(salt) {
  const header = new Uint8Array(HEADER_BYTES);
  header.set(salt.subarray(0, SALT_BYTES));
  new DataView(header.buffer).setUint32(SALT_BYTES, RECORD_BYTES);
  header[SALT_BYTES + 4] = KEY_ID.length;
  header.set(new TextEncoder().encode(KEY_ID), SALT_BYTES + 5);
  return header;
}

/**
 * Derives the cipher of one sealed value from its key and its salt (RFC 8188, section 2.2).
 *
 * @param {string} key @param {Bytes} salt
 */
async function cipherOf(key, salt) {
  const material = await crypto.subtle.importKey("raw", fromBase64url(key), "HKDF", false, [
    "deriveBits",
    "deriveKey",
  ]);
  const purpose = (/** @type {string} */ name) => ({
    name: "HKDF",
    hash: "SHA-256",
    salt,
    info: new TextEncoder().encode(`Content-Encoding: ${name}\0`),
  });
  const contentKey = await crypto.subtle.deriveKey(
    purpose("aes128gcm"),
    material,
    { name: "AES-GCM", length: 128 },
    false,
    ["encrypt", "decrypt"],
  );
  const base = await crypto.subtle.deriveBits(purpose("nonce"), material, NONCE_BYTES * 8);
  /** @param {number} number */
  const parametersOf = (number) => {
    const iv = new Uint8Array(base.slice(0)), view = new DataView(iv.buffer);
    // In RFC 8188, the number of a record has 96 bits. 32 are enough here, because no value has 2^32 records.
    view.setUint32(NONCE_BYTES - 4, view.getUint32(NONCE_BYTES - 4) ^ number);
    return { name: "AES-GCM", iv };
  };
  return {
    /** @param {number} number @param {Bytes} plain */
    encrypt: async (number, plain) =>
      new Uint8Array(await crypto.subtle.encrypt(parametersOf(number), contentKey, plain)),
    /**
     * Decrypts a record. Returns null if its tag is wrong.
     *
     * @param {number} number @param {Bytes} record @returns {Promise<Bytes | null>}
     */
    decrypt: async (number, record) => {
      try {
        return new Uint8Array(
          await crypto.subtle.decrypt(parametersOf(number), contentKey, record),
        );
      } catch {
        return null;
      }
    },
  };
}

/** Reads a source in portions of given sizes. */
class Input {
  #source;
  /** Bytes that were read from the source, but not yet returned by `take`. @type {Uint8Array} */
  #rest = new Uint8Array(0);

  /** @param {Source} source */
  constructor(source) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Returns the next `count` bytes, or fewer at the end of the source. @param {number} count */
  async take(count) {
    const taken = new Uint8Array(count);
    let length = 0;
    while (length < count && !await this.isAtEnd()) {
      const part = this.#rest.subarray(0, count - length);
      taken.set(part, length);
      length += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return taken.subarray(0, length);
  }

  /** Ends the reading of the source. */
  async close() {
    await this.#source.return?.();
  }

  async isAtEnd() {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#source.next();
      if (done) return true;
      this.#rest = value;
    }
    return false;
  }
}

/** @param {Uint8Array} bytes */
function toBase64url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** @param {string} text */
function fromBase64url(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}
