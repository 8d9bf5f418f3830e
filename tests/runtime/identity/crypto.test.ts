// Hashes and signatures, against published test vectors.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Identity, verify } from "../../../src/runtime/identity/crypto.ts";
import { sha1 } from "../../../src/runtime/identity/sha1.ts";
import { hex, latin1, text } from "../../packets.ts";

/** RFC 8032, section 7.1: seed, public key, message, signature. */
const RFC8032 = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155" +
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  ],
].map((row) => row.map(hex));

Deno.test("SHA-1 has its published values (FIPS 180)", () => {
  const cases = [
    ["", "da39a3ee5e6b4b0d3255bfef95601890afd80709"],
    ["abc", "a9993e364706816aba3e25717850c26c9cd0d89d"],
  ];
  for (const [message, digest] of cases) {
    assert.deepEqual(Uint8Array.from(sha1(latin1(message))), hex(digest));
  }
});

Deno.test("SHA-1 is the runtime's own, for every length up to five blocks", () => {
  for (let length = 0; length <= 320; length++) {
    const bytes = crypto.getRandomValues(new Uint8Array(length));
    const expected = createHash("sha1").update(bytes).digest();
    assert.deepEqual(sha1(bytes), Uint8Array.from(expected));
  }
});

Deno.test("RFC 8032: keys, signatures and their verification", () => {
  for (const [seed, publicKey, message, signature] of RFC8032) {
    const identity = new Identity(seed);
    assert.deepEqual(identity.publicKey, publicKey);
    assert.deepEqual(identity.sign(message), signature);
    assert.ok(verify(publicKey, message, signature));
    assert.equal(verify(publicKey, latin1("other"), signature), false);
  }
});

Deno.test("malformed keys and signatures are invalid, and don't throw", () => {
  const [, publicKey, message, signature] = RFC8032[1];
  for (const length of [0, 31, 33]) {
    assert.equal(verify(new Uint8Array(length), message, signature), false);
  }
  for (const length of [0, 63, 65]) {
    assert.equal(verify(publicKey, message, new Uint8Array(length)), false);
  }
  for (const fill of [0, 1, 127, 255]) {
    const key = new Uint8Array(32).fill(fill);
    assert.equal(verify(key, message, signature), false);
    assert.equal(verify(publicKey, message, new Uint8Array(64).fill(fill)), false);
  }
});

Deno.test("a signature with an unreduced scalar is refused, so that nobody can make a second one of the same bytes", () => {
  const [, publicKey, message, signature] = RFC8032[1];
  const order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
  const malleable = signature.slice();
  let carry = 0;
  for (let i = 0; i < 32; i++) {
    carry += malleable[32 + i] + order[i];
    malleable[32 + i] = carry & 255;
    carry >>= 8;
  }
  assert.equal(verify(publicKey, message, malleable), false);
});

Deno.test("the private key is exported as PEM", () => {
  const pem = new Identity(RFC8032[0][0]).toPem();
  assert.match(pem, /^-----BEGIN PRIVATE KEY-----\n/);
  assert.ok(atob(pem.split("\n")[1]).endsWith(text(RFC8032[0][0])));
});
