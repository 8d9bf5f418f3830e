// Magnet links under a key (BEP 46).

import assert from "node:assert/strict";
import { mutableTarget } from "../../src/dht/items/item.ts";
import { isCanonical } from "../../src/krpc/bencode.ts";
import { hex } from "../../src/krpc/hex.ts";
import { decodePointer, encodePointer, magnetText, parseMagnet } from "../../src/krpc/magnet.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { encode, id, latin1, text, type Value } from "../packets.ts";

const KEY = "8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e";
const LINK = `magnet:?xs=urn:btpk:${KEY}`;

/** The target to which a link leads. */
function targetOf(link: string): string {
  const { publicKey, salt } = parseMagnet(link)!;
  return `${mutableTarget(itemCrypto, publicKey, salt)}`;
}

Deno.test("BEP 46: the links of the test vectors lead to their targets", () => {
  assert.equal(targetOf(LINK), "cc3f9d90b572172053626f9980ce261a850d050b");
  assert.equal(targetOf(`${LINK}&s=6e`), "59ee7c2cb9b4f7eb1986ee2d18fd2fdb8a56554f");
});

Deno.test("a link that was read is written unchanged", () => {
  for (const link of [LINK, `${LINK}&s=6e`, `${LINK}&s=${"ff".repeat(64)}`]) {
    assert.equal(magnetText(parseMagnet(link)!), link);
  }
});

Deno.test("a link may have other parameters, in any order, and upper-case digits", () => {
  const link = `MAGNET:?dn=a%20name&s=6E&xs=http://example.org&xs=URN:BTPK:${KEY.toUpperCase()}`;
  assert.equal(magnetText(parseMagnet(link)!), `${LINK}&s=6e`);
});

Deno.test("a question mark in another parameter does not hide those after it", () => {
  const link = `magnet:?dn=why?&xs=urn:btpk:${KEY}&x=how?&s=6e`;
  assert.equal(magnetText(parseMagnet(link)!), `${LINK}&s=6e`);
});

Deno.test("a link without a valid key and salt is refused", () => {
  const wrong = [
    "",
    KEY,
    "magnet:",
    "magnet:?xs=urn:btpk:",
    LINK.slice(0, -1),
    `${LINK}00`,
    `magnet:?xs=urn:btih:${KEY}`,
    LINK.replace("85", "zz"),
    `${LINK}&s=6`,
    `${LINK}&s=6g`,
    `${LINK}&s=${"ff".repeat(65)}`,
    LINK.replace("magnet", "http"),
  ];
  for (const link of wrong) assert.equal(parseMagnet(link), undefined, link);
});

Deno.test("BEP 46: the value under the key is a dictionary with the info-hash as ih", () => {
  const pointer = encodePointer(id("77"));
  assert.equal(text(pointer), `d2:ih20:${text(id("77").toBytes())}e`);
  assert.ok(isCanonical(pointer));
  assert.equal(`${decodePointer(pointer)}`, `${id("77")}`);
});

Deno.test("other members of the dictionary are ignored", () => {
  const value = encode({ a: ["ih"], ih: id("77").toBytes(), z: { ih: "x" } });
  assert.equal(`${decodePointer(value)}`, `${id("77")}`);
});

Deno.test("a value without an info-hash of 20 bytes is no pointer", () => {
  const values: Value[] = ["ih", 5, [], {}, { ih: 5 }, { ih: "x" }, { ih: id("77").toString() }];
  for (const value of values) {
    assert.equal(decodePointer(encode(value)), undefined, hex(encode(value)));
  }
  for (const bytes of ["", "d", "d2:ih", "d2:ih20:", "di1ei2ee"]) {
    assert.equal(decodePointer(latin1(bytes)), undefined, bytes);
  }
});
