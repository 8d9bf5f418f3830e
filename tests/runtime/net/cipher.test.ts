// Tests the memory that all ciphers of a thread share.

import assert from "node:assert/strict";
import { Cipher, TAG_BYTES } from "../../../src/runtime/net/cipher.ts";

/** With separate memory, this number of ciphers would need more than the module has at first. */
const CIPHERS = 2_000;

const MESSAGE = new TextEncoder().encode("message");

function seal(cipher: Cipher): Uint8Array {
  cipher.outgoing.set(MESSAGE);
  cipher.encrypt(0, 0, MESSAGE.length);
  return cipher.outgoing.slice(0, MESSAGE.length + TAG_BYTES);
}

function opens(cipher: Cipher, sealed: Uint8Array): boolean {
  cipher.incoming.set(sealed);
  return cipher.decrypt(0, 0, sealed.length);
}

Deno.test("a cipher still works after thousands of others were loaded, each with its own key", async () => {
  const ciphers: Cipher[] = [];
  for (let i = 0; i < CIPHERS; i++) {
    const cipher = await Cipher.load();
    cipher.setKeys([new Uint8Array(32).fill(i), new Uint8Array(32)]);
    ciphers.push(cipher);
  }
  const [first, second] = ciphers;
  const sealed = seal(first);
  assert.notDeepEqual(seal(second), sealed);
  assert.ok(opens(first, sealed));
  assert.ok(!opens(second, sealed));
});
