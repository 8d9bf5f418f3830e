// Reads an item from the answers of several nodes, some of which are wrong.

import assert from "node:assert/strict";
import { mutableTarget, signedBytes } from "../../../src/dht/items/item.ts";
import { ItemReader } from "../../../src/dht/items/item_reader.ts";
import { decode } from "../../../src/krpc/message.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { Identity, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { encode, id, latin1, type Value } from "../../packets.ts";

const OWNER = new Identity(new Uint8Array(32).fill(7));
const SALT = latin1("salt");

function answer(values: { [key: string]: Value }) {
  const message = decode(encode({ t: "aa", y: "r", r: { id: id("01").toBytes(), ...values } }));
  assert.ok(typeof message !== "string");
  return message;
}

Deno.test("a node that returns the salt is not blamed for the wrong value of another node", () => {
  const target = mutableTarget(itemCrypto, OWNER.publicKey, SALT);
  const value = bencodeBytes(latin1("right"));
  const right = {
    k: OWNER.publicKey,
    salt: SALT,
    seq: 1,
    sig: OWNER.sign(signedBytes(SALT, 1, value)),
    v: "right",
  };
  const { salt: _, ...wrong } = { ...right, v: "wrong" };
  const reader = new ItemReader(itemCrypto, { target });
  reader.read(answer(wrong));
  assert.equal(reader.isWrong, false, "without the salt, nobody can tell");
  reader.read(answer(right));
  assert.deepEqual(reader.newest?.value, value);
  assert.equal(reader.isWrong, false);
  reader.read(answer(wrong));
  assert.equal(reader.isWrong, true);
});
