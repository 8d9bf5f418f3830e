// XChaCha20-Poly1305 and SipHash for datagrams, by libsodium as WebAssembly. node:crypto would take several times as
// long for each packet, because it creates objects and throws an error for each forged one.

/** The functions of libsodium that are used here. Lengths of 64 bits are pairs of 32-bit words, low word first. */
interface Sodium {
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _crypto_aead_xchacha20poly1305_ietf_encrypt(
    ...args: readonly [
      ...[ciphertext: number, ciphertextLength: 0, message: number, low: number, high: 0],
      ...[data: 0, dataLow: 0, dataHigh: 0, secretNonce: 0, nonce: number, key: number],
    ]
  ): number;
  _crypto_aead_xchacha20poly1305_ietf_decrypt(
    ...args: readonly [
      ...[message: number, messageLength: 0, secretNonce: 0, ciphertext: number, low: number],
      ...[high: 0, data: 0, dataLow: 0, dataHigh: 0, nonce: number, key: number],
    ]
  ): number;
  _crypto_shorthash(hash: number, input: number, low: number, high: 0, key: number): number;
}

/** The number of bytes that `encrypt` adds to a message. */
export const TAG_BYTES = 16;

const NONCE_BYTES = 24;

/** The size in bytes of a key for `encrypt` and `decrypt`. */
const KEY_BYTES = 32;

/** The sizes in bytes of the key, the longest input and the result of `hash`. */
const HASH_KEY_BYTES = 16, HASH_INPUT_BYTES = 20, HASH_BYTES = 8;

/** The number of keys of `hash` that stay in memory: copying a key takes as long as hashing. */
const HASH_KEYS = 4;

/** Buffer size for one packet in bytes: more than the longest received datagram. */
const PACKET_BYTES = 2_304;

/**
 * The memory of all ciphers of this thread. It is reserved once: if the memory of the module grew, all views of it
 * would become unusable.
 */
interface Memory {
  readonly sodium: Sodium;
  readonly at: Readonly<Record<Part, number>>;
  readonly views: Readonly<Record<Part, Uint8Array>>;
  /**
   * The key that was last copied into the module's memory; undefined if none. `hashKeys` are the copied keys of `hash`.
   */
  key: Uint8Array | undefined;
  readonly hashKeys: (Uint8Array | undefined)[];
}

const SIZES = {
  key: KEY_BYTES,
  hashKeys: HASH_KEY_BYTES * HASH_KEYS,
  hashInput: HASH_INPUT_BYTES,
  hashed: HASH_BYTES,
  nonce: NONCE_BYTES,
  outgoing: PACKET_BYTES,
  incoming: PACKET_BYTES,
  decrypted: PACKET_BYTES,
} as const;

type Part = keyof typeof SIZES;

/** The module is loaded only by nodes with a network key, because it takes some memory. */
let loading: Promise<Memory> | undefined;

async function loadMemory(): Promise<Memory> {
  const { default: create } = await import("libsodium");
  const sodium = await (create as unknown as () => Promise<Sodium>)();
  const sizes = Object.entries(SIZES) as [Part, number][];
  let end = sodium._malloc(sizes.reduce((sum, [, size]) => sum + size, 0));
  const parts = sizes.map(([part, size]) => [part, end, end += size] as const);
  return {
    sodium,
    at: Object.fromEntries(parts.map(([part, at]) => [part, at])) as Memory["at"],
    views: Object.fromEntries(
      parts.map(([part, at, end]) => [part, sodium.HEAPU8.subarray(at, end).fill(0)]),
    ) as Memory["views"],
    key: undefined,
    hashKeys: [],
  };
}

/**
 * Encrypts and decrypts in WebAssembly memory, which all ciphers of a thread share. Encryption and decryption have
 * separate buffers: a decrypted message stays valid while others are encrypted.
 */
export class Cipher {
  readonly #memory: Memory;
  #keys: readonly Uint8Array[] = [];
  /** The nonce that the next call of `encrypt` or `decrypt` uses. Its last 8 bytes are zero. */
  readonly nonce: Uint8Array;
  /** The message for `encrypt`, which overwrites it with the ciphertext. */
  readonly outgoing: Uint8Array;
  /** The buffer for the ciphertext that `decrypt` reads. */
  readonly incoming: Uint8Array;
  /** The buffer to which `decrypt` writes the message. */
  readonly decrypted: Uint8Array;
  /** The input of `hash`: at most 20 bytes. */
  readonly hashInput: Uint8Array;
  /** The result of `hash`: 8 bytes. */
  readonly hashed: Uint8Array;

  /** Loads the module, if no other cipher has done so. */
  static async load(): Promise<Cipher> {
    return new Cipher(await (loading ??= loadMemory()));
  }

  private constructor(memory: Memory) {
    const { nonce, outgoing, incoming, decrypted, hashInput, hashed } = memory.views;
    this.#memory = memory;
    this.nonce = nonce;
    this.outgoing = outgoing;
    this.incoming = incoming;
    this.decrypted = decrypted;
    this.hashInput = hashInput;
    this.hashed = hashed;
  }

  /** Sets the keys for `encrypt` and `decrypt`. Each has 32 bytes. */
  setKeys(keys: readonly Uint8Array[]): void {
    this.#keys = keys;
  }

  /** Encrypts `length` bytes of `outgoing`, from `at` on, with key `i`. Appends the tag. */
  encrypt(i: number, at: number, length: number): void {
    const { sodium, at: { outgoing, nonce, key } } = this.#memory, bytes = outgoing + at;
    this.#loadKey(i);
    sodium._crypto_aead_xchacha20poly1305_ietf_encrypt(
      bytes,
      0,
      bytes,
      length,
      0,
      0,
      0,
      0,
      0,
      nonce,
      key,
    );
  }

  /** Decrypts `length` bytes of `incoming`, from `at` on. Returns false if they were not encrypted with key `i`. */
  decrypt(i: number, at: number, length: number): boolean {
    const { sodium, at: { incoming, decrypted, nonce, key } } = this.#memory;
    this.#loadKey(i);
    return sodium._crypto_aead_xchacha20poly1305_ietf_decrypt(
      decrypted,
      0,
      0,
      incoming + at,
      length,
      0,
      0,
      0,
      0,
      nonce,
      key,
    ) === 0;
  }

  /**
   * Writes SipHash-2-4 of the first `length` bytes of `hashInput` to `hashed`. The key has 16 bytes. Keys that are used
   * in turns should have different slots, from 0 to 3.
   */
  hash(key: Uint8Array, slot: number, length: number): void {
    const { sodium, views, hashKeys, at } = this.#memory, offset = slot * HASH_KEY_BYTES;
    if (hashKeys[slot] !== key) {
      views.hashKeys.set(key, offset);
      hashKeys[slot] = key;
    }
    sodium._crypto_shorthash(at.hashed, at.hashInput, length, 0, at.hashKeys + offset);
  }

  #loadKey(i: number): void {
    const memory = this.#memory, key = this.#keys[i];
    if (memory.key === key) return;
    memory.views.key.set(key);
    memory.key = key;
  }
}
