// Hashes, random bytes and Ed25519 signatures, computed by the runtime's crypto library.

import { Buffer } from "node:buffer";
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign as signWith,
  verify as verifyWith,
} from "node:crypto";
import type { DataCrypto } from "../../large_values/item_network.ts";
import type { ItemCrypto } from "../../dht/items/item.ts";
import { Id, ID_BYTES } from "../../krpc/id.ts";
import { encryptedPem } from "./pkcs8.ts";
import { sha1 } from "./sha1.ts";

/** The DER bytes that precede a raw public key in SubjectPublicKeyInfo (RFC 8410). */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** The DER bytes that precede a raw private key in PKCS #8 (RFC 8410). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** Length of a private key in bytes (RFC 8032). */
const SEED_BYTES = 32;

export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

export function randomId(): Id {
  return Id.read(randomBytes(ID_BYTES));
}

/** Verifies an Ed25519 signature. Returns false for a malformed key or signature. */
export function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  try {
    const der = Buffer.concat([SPKI_PREFIX, publicKey]);
    const key = createPublicKey({ key: der, format: "der", type: "spki" });
    return verifyWith(null, message, key, signature);
  } catch {
    return false; // the key is not a point on the curve
  }
}

export const itemCrypto: ItemCrypto = { sha1, verify };

export const dataCrypto: DataCrypto = { ...itemCrypto, sha256: () => createHash("sha256") };

/** An Ed25519 key pair that signs this node's mutable items. It exposes the private key only as PEM. */
export class Identity {
  readonly publicKey: Uint8Array;
  readonly #privateKey: KeyObject;

  /** @param seed the 32-byte private key (RFC 8032) */
  constructor(seed: Uint8Array) {
    const der = Buffer.concat([PKCS8_PREFIX, seed]);
    this.#privateKey = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.#privateKey).export({ format: "der", type: "spki" });
    this.publicKey = new Uint8Array(spki.subarray(SPKI_PREFIX.length));
  }

  static generate(): Identity {
    return new Identity(randomBytes(SEED_BYTES));
  }

  /** Reads a PEM private key (PKCS #8). Throws if the key is not an Ed25519 key, or the passphrase is wrong. */
  static fromPem(pem: string, passphrase?: string): Identity {
    const key = createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });
    if (key.asymmetricKeyType !== "ed25519") {
      throw new Error(`it is a ${key.asymmetricKeyType} key`);
    }
    const der = key.export({ format: "der", type: "pkcs8" });
    // In the DER, the public key may follow the private key (RFC 5958).
    return new Identity(der.subarray(PKCS8_PREFIX.length, PKCS8_PREFIX.length + SEED_BYTES));
  }

  /** The private key in PEM (PKCS #8). */
  toPem(): string {
    return this.#privateKey.export({ format: "pem", type: "pkcs8" }) as string;
  }

  /** The private key in PEM, encrypted. This takes half a second by design, to slow down guessing of the passphrase. */
  toEncryptedPem(passphrase: string): string {
    return encryptedPem(this.#privateKey.export({ format: "der", type: "pkcs8" }), passphrase);
  }

  /** Returns the 64-byte signature of a message. */
  sign(message: Uint8Array): Uint8Array {
    return new Uint8Array(signWith(null, message, this.#privateKey));
  }
}
