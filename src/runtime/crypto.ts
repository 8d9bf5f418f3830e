// Hashes and Ed25519 signatures, by the platform's own library.

import { Buffer } from "node:buffer";
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign as signWith,
  verify as verifyWith,
} from "node:crypto";
import type { DataCrypto } from "../data/item_network.ts";
import type { ItemCrypto } from "../dht/item.ts";
import { encryptedPem } from "./pkcs8.ts";

/** DER up to the 32 bytes of a raw key: SubjectPublicKeyInfo and PKCS #8 of Ed25519 (RFC 8410). */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** RFC 8032's private key, the end of its PKCS #8 form. */
const SEED_BYTES = 32;

export function sha1(bytes: Uint8Array): Uint8Array {
  return createHash("sha1").update(bytes).digest();
}

/** Verifies an Ed25519 signature; false for malformed keys and signatures too. */
export function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  try {
    const der = Buffer.concat([SPKI_PREFIX, publicKey]);
    const key = createPublicKey({ key: der, format: "der", type: "spki" });
    return verifyWith(null, message, key, signature);
  } catch {
    return false; // a key that is no point of the curve
  }
}

export const itemCrypto: ItemCrypto = { sha1, verify };

export const dataCrypto: DataCrypto = { ...itemCrypto, sha256: () => createHash("sha256") };

/** An Ed25519 key pair that signs this node's mutable items. The secret leaves it as PEM only, for a file. */
export class Identity {
  readonly publicKey: Uint8Array;
  readonly #privateKey: KeyObject;

  /** `seed`: RFC 8032's 32-byte private key. */
  constructor(seed: Uint8Array) {
    const der = Buffer.concat([PKCS8_PREFIX, seed]);
    this.#privateKey = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.#privateKey).export({ format: "der", type: "spki" });
    this.publicKey = new Uint8Array(spki.subarray(SPKI_PREFIX.length));
  }

  static generate(): Identity {
    return new Identity(crypto.getRandomValues(new Uint8Array(SEED_BYTES)));
  }

  /**
   * Of a private key as PKCS #8 in PEM, encrypted or not.
   *
   * @throws {Error} where it is none of Ed25519, or the passphrase does not open it
   */
  static fromPem(pem: string, passphrase?: string): Identity {
    const key = createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });
    if (key.asymmetricKeyType !== "ed25519") {
      throw new Error(`it is a ${key.asymmetricKeyType} key`);
    }
    const der = key.export({ format: "der", type: "pkcs8" });
    // RFC 5958 lets the public key follow.
    return new Identity(der.subarray(PKCS8_PREFIX.length, PKCS8_PREFIX.length + SEED_BYTES));
  }

  /** The private key as PKCS #8 in PEM. */
  toPem(): string {
    return this.#privateKey.export({ format: "pem", type: "pkcs8" }) as string;
  }

  /** The same, for those alone who have the passphrase. Takes half a second: guessing has to be slow. */
  toEncryptedPem(passphrase: string): string {
    const der = this.#privateKey.export({ format: "der", type: "pkcs8" });
    return encryptedPem(der, passphrase);
  }

  /** 64 bytes. */
  sign(message: Uint8Array): Uint8Array {
    return new Uint8Array(signWith(null, message, this.#privateKey));
  }
}
