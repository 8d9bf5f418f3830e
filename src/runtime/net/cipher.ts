// XChaCha20-Poly1305 for datagrams, by libsodium as WebAssembly. node:crypto would take several times as long for each
// packet, because it creates objects and throws an error for each forged one.

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
}

/** The number of bytes that `encrypt` adds to a message. */
export const TAG_BYTES = 16;

const NONCE_BYTES = 24;

const KEY_BYTES = 32;

/** Memory for one packet, larger than a received datagram. */
const PACKET_BYTES = 2_304;

/** The module is loaded only by nodes with a network key, because it takes some memory. */
let loading: Promise<Sodium> | undefined;

/**
 * Encrypts and decrypts in WebAssembly memory, with separate buffers for both: a decrypted message
 * stays valid while others are encrypted.
 */
export class Cipher {
  readonly #sodium: Sodium;
  readonly #keysAt: number;
  readonly #nonceAt: number;
  readonly #outgoingAt: number;
  readonly #incomingAt: number;
  readonly #decryptedAt: number;
  /** The nonce that the next call of `encrypt` or `decrypt` uses, initially zero. */
  readonly nonce: Uint8Array;
  /** The message for `encrypt`, which overwrites it with the ciphertext. */
  readonly outgoing: Uint8Array;
  /** The buffer for the ciphertext that `decrypt` reads. */
  readonly incoming: Uint8Array;
  /** The buffer to which `decrypt` writes the message. */
  readonly decrypted: Uint8Array;

  /** Loads the module, and reserves memory for `keys` keys. */
  static async load(keys: number): Promise<Cipher> {
    loading ??= import("libsodium").then(({ default: create }) =>
      (create as unknown as () => Promise<Sodium>)()
    );
    return new Cipher(await loading, keys);
  }

  private constructor(sodium: Sodium, keys: number) {
    this.#sodium = sodium;
    this.#keysAt = sodium._malloc(keys * KEY_BYTES + NONCE_BYTES + 3 * PACKET_BYTES);
    this.#nonceAt = this.#keysAt + keys * KEY_BYTES;
    this.#outgoingAt = this.#nonceAt + NONCE_BYTES;
    this.#incomingAt = this.#outgoingAt + PACKET_BYTES;
    this.#decryptedAt = this.#incomingAt + PACKET_BYTES;
    const part = (at: number, length: number) => sodium.HEAPU8.subarray(at, at + length);
    this.nonce = part(this.#nonceAt, NONCE_BYTES).fill(0);
    this.outgoing = part(this.#outgoingAt, PACKET_BYTES);
    this.incoming = part(this.#incomingAt, PACKET_BYTES);
    this.decrypted = part(this.#decryptedAt, PACKET_BYTES);
  }

  /** Sets the key with index `i`. A key has 32 bytes. */
  setKey(i: number, key: Uint8Array): void {
    this.#sodium.HEAPU8.set(key, this.#keysAt + i * KEY_BYTES);
  }

  /** Encrypts `length` bytes of `outgoing`, from `at` on, with key `i`. Appends the tag. */
  encrypt(i: number, at: number, length: number): void {
    const bytes = this.#outgoingAt + at, nonce = this.#nonceAt;
    const key = this.#keysAt + i * KEY_BYTES;
    this.#sodium._crypto_aead_xchacha20poly1305_ietf_encrypt(
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
    const bytes = this.#incomingAt + at, nonce = this.#nonceAt;
    const key = this.#keysAt + i * KEY_BYTES;
    return this.#sodium._crypto_aead_xchacha20poly1305_ietf_decrypt(
      this.#decryptedAt,
      0,
      0,
      bytes,
      length,
      0,
      0,
      0,
      0,
      nonce,
      key,
    ) === 0;
  }
}
