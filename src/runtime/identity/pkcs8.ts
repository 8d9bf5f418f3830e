// Encrypts a private key with a passphrase in a format that `openssl pkey` can read: PKCS #8 with PBES2 (RFC 8018),
// scrypt (RFC 7914) and AES-256-CBC. Deno 2.4's node:crypto would ignore the passphrase and write the key unencrypted.

import { Buffer } from "node:buffer";
import { createCipheriv, randomBytes, scryptSync } from "node:crypto";

/** Parameters of scrypt: the minimum that OWASP recommends. They use 16 MiB of memory; OpenSSL allows up to 32 MiB. */
const COST = 2 ** 14, BLOCK_SIZE = 8, PARALLELIZATION = 5;

const KEY_BYTES = 32, SALT_BYTES = 16, BLOCK_BYTES = 16;

const PBES2 = objectId("2a864886f70d01050d"); // 1.2.840.113549.1.5.13
const SCRYPT = objectId("2b06010401da47040b"); // 1.3.6.1.4.1.11591.4.11
const AES_256_CBC = objectId("60864801650304012a"); // 2.16.840.1.101.3.4.1.42

/** Encrypts a private key, given as PKCS #8 in DER, and returns it in PEM. */
export function encryptedPem(der: Uint8Array, passphrase: string): string {
  const salt = randomBytes(SALT_BYTES), iv = randomBytes(BLOCK_BYTES);
  const key = scryptSync(Buffer.from(passphrase), salt, KEY_BYTES, {
    N: COST,
    r: BLOCK_SIZE,
    p: PARALLELIZATION,
  });
  // Pad here: Deno 2.4 omits the padding if the input consists of whole blocks.
  const cipher = createCipheriv("aes-256-cbc", key, iv).setAutoPadding(false);
  const encrypted = Buffer.concat([cipher.update(padded(der)), cipher.final()]);
  const derivation = sequence(
    SCRYPT,
    sequence(octets(salt), integer(COST), integer(BLOCK_SIZE), integer(PARALLELIZATION)),
  );
  const scheme = sequence(AES_256_CBC, octets(iv));
  const whole = sequence(sequence(PBES2, sequence(derivation, scheme)), octets(encrypted));
  const lines = whole.toString("base64").match(/.{1,64}/g)!.join("\n");
  return `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${lines}\n-----END ENCRYPTED PRIVATE KEY-----\n`;
}

/** Pads to whole blocks with 1 to 16 bytes, each of which contains the number of added bytes (PKCS #7). */
function padded(bytes: Uint8Array): Buffer {
  const count = BLOCK_BYTES - bytes.length % BLOCK_BYTES;
  return Buffer.concat([bytes, Buffer.alloc(count, count)]);
}

// Encoding in DER (X.690)

function tagged(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  // Two length bytes are enough, as all contents are shorter than 64 KiB.
  const size = length < 128
    ? [length]
    : length < 256
    ? [0x81, length]
    : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function sequence(...parts: Uint8Array[]): Buffer {
  return tagged(0x30, Buffer.concat(parts));
}

function octets(bytes: Uint8Array): Buffer {
  return tagged(0x04, bytes);
}

/** Encodes a number from 0 to 2^31 - 1. */
function integer(value: number): Buffer {
  const bytes = [value >> 24, value >> 16, value >> 8, value].map((byte) => byte & 0xff);
  // DER uses as few bytes as possible: remove leading zeros. But the sign bit of the first byte must stay 0.
  while (bytes.length > 1 && bytes[0] === 0 && bytes[1] < 0x80) bytes.shift();
  return tagged(0x02, Buffer.from(bytes));
}

function objectId(hex: string): Buffer {
  return tagged(0x06, Buffer.from(hex, "hex"));
}
