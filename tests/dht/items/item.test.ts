// Tests items (BEP 44): targets, signatures, and which version may replace another.

import assert from "node:assert/strict";
import {
  immutableItem,
  immutableTarget,
  isItemError,
  type Item,
  itemOf,
  MAX_VALUE_BYTES,
  mutableItem,
  mutableTarget,
  refusal,
  sameBytes,
  signedBytes,
} from "../../../src/dht/items/item.ts";
import { ErrorCode, Message } from "../../../src/krpc/message.ts";
import { Identity, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { concat, hex, latin1, text } from "../../packets.ts";

const K = hex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548");
const HELLO = latin1("12:Hello World!");
const SALT = latin1("foobar"), NO_SALT = new Uint8Array(0);
const SIG1 = hex(
  "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff" +
    "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
);
const SIG2 = hex(
  "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d" +
    "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
);
const TARGET1 = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
const TARGET2 = "411eba73b6f087ca51a3795d9c8c938d365e32c1";
const TARGET3 = "e5f96f6f38320f0f33959cb4d3d656452117aadb";

function assertItem(result: ReturnType<typeof itemOf>): asserts result is Item {
  assert.equal(isItemError(result), false, JSON.stringify(result));
}

Deno.test("BEP 44, test 3: the target of an immutable item is SHA-1 of the bencoded value", () => {
  assert.equal(`${immutableTarget(itemCrypto, HELLO)}`, TARGET3);
  assert.equal(`${immutableItem(itemCrypto, HELLO).target}`, TARGET3);
});

Deno.test("BEP 44, tests 1 and 2: the target of a mutable item is SHA-1 of key and salt", () => {
  assert.equal(`${mutableTarget(itemCrypto, K, NO_SALT)}`, TARGET1);
  assert.equal(`${mutableTarget(itemCrypto, K, SALT)}`, TARGET2);
});

Deno.test("BEP 44, tests 1 and 2: salt, seq and value are signed, an empty salt left out", () => {
  assert.equal(text(signedBytes(NO_SALT, 1, HELLO)), "3:seqi1e1:v12:Hello World!");
  assert.equal(text(signedBytes(SALT, 1, HELLO)), "4:salt6:foobar3:seqi1e1:v12:Hello World!");
  assert.equal(
    text(signedBytes(NO_SALT, Number.MAX_SAFE_INTEGER, latin1("le"))),
    "3:seqi9007199254740991e1:vle",
  );
});

Deno.test("BEP 44, tests 1 and 2: the signatures are verified", () => {
  for (
    const [salt, signature, target] of [[NO_SALT, SIG1, TARGET1], [SALT, SIG2, TARGET2]] as const
  ) {
    const item = mutableItem(itemCrypto, HELLO, { publicKey: K, signature, salt, seq: 1 });
    assertItem(item);
    assert.equal(`${item.target}`, target);
  }
});

Deno.test("BEP 44: a signature fits no other value, seq, salt or key (206)", () => {
  const signed = { publicKey: K, signature: SIG2, salt: SALT, seq: 1 };
  const changed = [
    mutableItem(itemCrypto, latin1("12:Hello World?"), signed),
    mutableItem(itemCrypto, HELLO, { ...signed, seq: 2 }),
    mutableItem(itemCrypto, HELLO, { ...signed, salt: latin1("foobaz") }),
    mutableItem(itemCrypto, HELLO, { ...signed, salt: NO_SALT }),
    mutableItem(itemCrypto, HELLO, {
      ...signed,
      publicKey: concat(K.subarray(1), K.subarray(0, 1)),
    }),
    mutableItem(itemCrypto, HELLO, { ...signed, signature: SIG1 }),
    mutableItem(itemCrypto, HELLO, { ...signed, publicKey: new Uint8Array(32).fill(255) }),
  ];
  for (const result of changed) {
    assert.ok(isItemError(result));
    assert.equal(result.code, ErrorCode.badSignature);
  }
});

const OWNER = new Identity(new Uint8Array(32).fill(7));

function signed(value: string, seq: number, salt = ""): Item {
  const bytes = latin1(value), saltBytes = latin1(salt);
  const signature = OWNER.sign(signedBytes(saltBytes, seq, bytes));
  const item = mutableItem(itemCrypto, bytes, {
    publicKey: OWNER.publicKey,
    signature,
    salt: saltBytes,
    seq,
  });
  assertItem(item);
  return item;
}

/** Returns a message that contains an item, like a put or a response. */
function carrying(item: Item, changes: Partial<Message> = {}): Message {
  return Object.assign(new Message(new Uint8Array(0)), {
    value: item.value,
    publicKey: item.signed?.publicKey,
    signature: item.signed?.signature,
    salt: item.signed?.salt,
    seq: item.signed?.seq,
  }, changes);
}

Deno.test("an item in a message is copied out of the packet", () => {
  const item = signed("3:abc", 1, "salt");
  const value = item.value.slice();
  const read = itemOf(itemCrypto, carrying(item, { value }));
  value.fill(0);
  assertItem(read);
  assert.deepEqual(read, item);
});

Deno.test("BEP 44: each fault of an item has its code", () => {
  const item = signed("3:abc", 1, "salt");
  const big = latin1(`${MAX_VALUE_BYTES - 4}:${"x".repeat(MAX_VALUE_BYTES - 4)}`);
  assert.equal(big.length, 1000);
  const faults: [Partial<Message>, number][] = [
    [{ value: undefined }, 203],
    [{ value: concat(big, latin1("x")) }, 205],
    [{ value: latin1("03:abc") }, 203],
    [{ value: latin1("i-0e") }, 203],
    [{ value: latin1("d1:bi1e1:ai2ee") }, 203],
    [{ publicKey: new Uint8Array(31) }, 203],
    [{ publicKey: new Uint8Array(33) }, 203],
    [{ signature: undefined }, 203],
    [{ signature: new Uint8Array(63) }, 203],
    [{ signature: new Uint8Array(64) }, 206],
    [{ salt: new Uint8Array(65) }, 207],
    [{ salt: undefined }, 206],
    [{ seq: NaN }, 203],
    [{ seq: -1 }, 203],
    [{ seq: 2 }, 206],
  ];
  for (const [changes, code] of faults) {
    const result = itemOf(itemCrypto, carrying(item, changes));
    assert.ok(isItemError(result));
    assert.equal(result.code, code, JSON.stringify([Object.keys(changes), result]));
  }
  assertItem(itemOf(itemCrypto, carrying(immutableItem(itemCrypto, big))));
  assertItem(itemOf(itemCrypto, carrying(signed(text(big), 1, "s".repeat(64)))));
});

Deno.test("BEP 44: seq never falls (302)", () => {
  const held = signed("3:abc", 5);
  assert.equal(refusal(held, signed("3:xyz", 4), undefined)?.code, 302);
  assert.equal(refusal(held, signed("3:abc", 4), undefined)?.code, 302);
  assert.equal(refusal(held, signed("3:xyz", 6), undefined), undefined);
});

Deno.test("BEP 44: with an equal seq, no lesser value is accepted (302)", () => {
  const held = signed("3:abc", 5);
  assert.equal(refusal(held, signed("3:aaa", 5), undefined)?.code, 302);
  assert.equal(refusal(held, signed("3:abc", 5), undefined), undefined);
  assert.equal(refusal(held, signed("3:xyz", 5), undefined), undefined);
});

Deno.test("BEP 44: cas must be the seq that is replaced (301)", () => {
  const held = signed("3:abc", 5);
  const code = (cas: number) => refusal(held, signed("3:xyz", 6), cas)?.code;
  assert.equal(code(5), undefined);
  for (const wrong of [0, 4, 6, -5]) assert.equal(code(wrong), 301);
  assert.equal(refusal(held, signed("3:xyz", 4), 4)?.code, 301, "cas is checked first");
  assert.equal(refusal(held, signed("3:abc", 5), 4), undefined, "the same item again");
});

Deno.test("BEP 44: cas is ignored if nothing is replaced", () => {
  assert.equal(refusal(undefined, signed("3:xyz", 6), 5), undefined);
  const immutable = immutableItem(itemCrypto, HELLO);
  assert.equal(refusal(immutable, immutable, 5), undefined);
});

Deno.test("byte arrays are equal if their length and content are", () => {
  assert.ok(sameBytes(hex("0102"), hex("0102")));
  assert.equal(sameBytes(hex("0102"), hex("01")), false);
  assert.equal(sameBytes(hex("0102"), hex("0103")), false);
});
