// The form of large values: the tree's shape, its bytes, and everything that is not exactly that.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { bencodeBytes, isCanonical, literal } from "../../src/krpc/bencode.ts";
import { Id } from "../../src/krpc/id.ts";
import { Chunker } from "../../src/data/chunker.ts";
import {
  capacity,
  childCount,
  CHUNK_BYTES,
  decodeInner,
  decodeReference,
  decodeRoot,
  encodeManifest,
  encodeReference,
  FAN_OUT,
  isMarked,
  levelOf,
  MAX_LEVEL,
  MAX_SIZE,
  type Whole,
} from "../../src/data/manifest.ts";
import type { Item } from "../../src/dht/item.ts";
import { dataCrypto } from "../../src/runtime/crypto.ts";
import { sampleBytes } from "./memory_network.ts";

const WHOLE: Whole = { sha256: new Uint8Array(32).fill(7), hint: "text" };

/** All items of a value, the root last. */
function itemsOf(bytes: Uint8Array, pieces: readonly number[] = [bytes.length]): Item[] {
  const chunker = new Chunker(dataCrypto);
  const items: Item[] = [];
  let at = 0;
  for (const length of pieces) {
    items.push(...chunker.add(bytes.subarray(at, at + length)));
    at += length;
  }
  items.push(...chunker.end());
  const sha256 = new Uint8Array(createHash("sha256").update(bytes).digest());
  items.push(chunker.root({ sha256, hint: "binary" }));
  return items;
}

/** The tree as a reader with the whole value at hand would build it, level by level: each item's value, and the root. */
function naiveTree(bytes: Uint8Array): Set<string> {
  const sha1 = (value: Uint8Array) => createHash("sha1").update(value).digest("hex");
  const made = new Set<string>();
  let nodes = Array.from({ length: Math.ceil(bytes.length / 996) }, (_, i) => {
    const chunk = bytes.subarray(i * 996, (i + 1) * 996);
    return { hash: sha1(bencodeBytes(chunk)), size: chunk.length };
  });
  for (let level = 1; nodes.length > 1 || level === 1; level++) {
    for (const { hash } of nodes) made.add(hash);
    const groups = Array.from(
      { length: Math.ceil(nodes.length / 45) },
      (_, i) => nodes.slice(i * 45, (i + 1) * 45),
    );
    nodes = groups.map((group) => {
      const size = group.reduce((sum, node) => sum + node.size, 0);
      const children = group.map((node) => node.hash).join("");
      const isRoot = groups.length === 1;
      const h = isRoot ? latin1(createHash("sha256").update(bytes).digest("hex")) : "";
      const text = `d1:c${children.length / 2}:${latin1(children)}2:dmi1e` +
        (isRoot ? `1:h32:${h}` : "") + `1:li${level}e1:si${size}e` + (isRoot ? "1:t1:b" : "") +
        "e";
      return { hash: sha1(literal(text)), size };
    });
  }
  made.add(nodes[0].hash);
  return made;
}

function latin1(hex: string): string {
  return hex.replace(/../g, (byte) => String.fromCharCode(parseInt(byte, 16)));
}

const LEVEL_2 = 996 * 45 ** 2;
const BOUNDARIES = [
  997,
  1992,
  1993,
  996 * 45 - 1,
  996 * 45,
  996 * 45 + 1,
  996 * 46,
  996 * 90,
  996 * 90 + 1,
  LEVEL_2 - 1,
  LEVEL_2,
  LEVEL_2 + 1,
  LEVEL_2 + 996 * 45 + 1,
];

Deno.test("the tree at every boundary is the one that a naive model builds", () => {
  for (const size of BOUNDARIES) {
    const bytes = sampleBytes(size);
    const items = itemsOf(bytes);
    assert.deepEqual(new Set(items.map((item) => `${item.target}`)), naiveTree(bytes), `${size}`);
    for (const { value } of items) {
      assert.ok(value.length <= 1000 && isCanonical(value), `${size}`);
    }
    const root = decodeRoot(items.at(-1)!.value);
    assert.deepEqual([root?.size, root?.level], [size, levelOf(size)]);
  }
});

Deno.test("the tree does not depend on how the bytes arrive", () => {
  const bytes = sampleBytes(100_000);
  const whole = itemsOf(bytes).map((item) => `${item.target}`);
  fc.assert(
    fc.property(fc.array(fc.nat(20_000), { maxLength: 20 }), (lengths) => {
      const pieces = [...lengths, bytes.length];
      assert.deepEqual(itemsOf(bytes, pieces).map((item) => `${item.target}`), whole);
    }),
    { numRuns: 20 },
  );
});

Deno.test("the vectors of docs/protocol.md", async () => {
  const docs = await Deno.readTextFile(new URL("../../docs/protocol.md", import.meta.url));
  for (const size of [997, 44_821, 100_000, 2_016_901]) {
    const root = `${itemsOf(sampleBytes(size)).at(-1)!.target}`;
    assert.match(docs, new RegExp(`\\| ${size.toLocaleString("en")} +\\|.*${root}`), `${size}`);
  }
});

Deno.test("the largest root fits an item, and levels hold what they should", () => {
  const children = new Uint8Array(FAN_OUT * 20);
  assert.equal(encodeManifest(MAX_LEVEL, MAX_SIZE, children, WHOLE).length, 981);
  assert.equal(MAX_SIZE, 4_084_222_500);
  assert.deepEqual(
    [1, 996, 997, capacity(1), capacity(1) + 1, capacity(2), capacity(3) + 1, MAX_SIZE].map(
      levelOf,
    ),
    [0, 0, 1, 1, 2, 2, 4, 4],
  );
  assert.equal(childCount(1, CHUNK_BYTES + 1), 2);
  assert.equal(childCount(2, capacity(1) + 1), 2);
});

/** A root as text, of which a test can change parts. */
function rootText(parts: Record<string, string> = {}): Uint8Array {
  const { c, dm, h, l, s, t, end } = {
    c: "1:c40:" + "x".repeat(40),
    dm: "2:dmi1e",
    h: "1:h32:" + "y".repeat(32),
    l: "1:li1e",
    s: "1:si1000e",
    t: "1:t1:j",
    end: "e",
    ...parts,
  };
  return literal(`d${c}${dm}${h}${l}${s}${t}${end}`);
}

Deno.test("a root in any other form is none", () => {
  assert.equal(decodeRoot(rootText())?.hint, "json");
  const hostile: Record<string, string>[] = [
    { dm: "2:dmi2e" },
    { dm: "2:dm1:1" },
    { dm: "" },
    { h: "" },
    { h: "1:h31:" + "y".repeat(31) },
    { h: "1:hi5e" },
    { t: "" },
    { t: "1:t1:h" },
    { t: "1:t4:html" },
    { t: "1:ti0e" },
    { t: "1:t1:j1:ui0e" },
    { l: "1:li0e" },
    { l: "1:li2e" },
    { l: "1:li-1e" },
    { l: "1:l1:1" },
    { l: "1:li99999999999999999999e" },
    { s: "1:si996e" },
    { s: "1:si0e" },
    { s: "1:si-1000e" },
    { s: "1:si1993e" },
    { s: "1:si01000e" },
    { s: `1:si${MAX_SIZE + 1}e`, l: "1:li5e" },
    { s: "1:si9007199254740993e" },
    { s: "1:sle" },
    { c: "1:c0:" },
    { c: "1:c39:" + "x".repeat(39) },
    { c: "1:c60:" + "x".repeat(60) },
    { c: "1:ci5e" },
    { c: "1:cl20:" + "x".repeat(20) + "e" },
    { c: "1:c40:" + "x".repeat(40) + "1:c40:" + "x".repeat(40) },
    { c: "", l: "1:li1e1:c40:" + "x".repeat(40) },
    { end: "" },
    { end: "ee" },
    { end: "e0:" },
  ];
  for (const parts of hostile) {
    assert.equal(decodeRoot(rootText(parts)), undefined, JSON.stringify(parts));
  }
  for (const text of ["", "d", "de", "le", "i5e", "3:abc", "d1:c", "d1:c99999999:", "d-", "dd"]) {
    assert.equal(decodeRoot(literal(text)), undefined, text);
    assert.equal(isMarked(literal(text)), false, text);
    assert.equal(decodeReference(literal(text)), undefined, text);
  }
});

Deno.test("what decodes encodes back to the very same bytes, whatever was changed", () => {
  const valid = rootText();
  fc.assert(
    fc.property(fc.nat(valid.length - 1), fc.nat(255), fc.nat(255), (at, x, y) => {
      const bytes = valid.slice();
      bytes[at] = x;
      bytes[(at + 7) % bytes.length] ^= y & 1;
      isMarked(bytes);
      decodeReference(bytes);
      const root = decodeRoot(bytes);
      if (root === undefined) return;
      assert.deepEqual(encodeManifest(root.level, root.size, root.children, root), bytes);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("an inner manifest is the one its place demands, or none", () => {
  const children = new Uint8Array(3 * 20).fill(9);
  const size = 2 * capacity(1) + 5;
  const inner = encodeManifest(2, size, children);
  assert.deepEqual(decodeInner(inner, 2, size), children);
  assert.equal(decodeInner(inner, 2, size - 1), undefined);
  assert.equal(decodeInner(inner, 3, size), undefined);
  assert.equal(decodeInner(inner, 1, size), undefined);
  assert.equal(decodeInner(inner, 2, capacity(2)), undefined);
  assert.equal(decodeInner(encodeManifest(2, size, children, WHOLE), 2, size), undefined);
  assert.equal(decodeInner(bencodeBytes(children), 2, size), undefined);
  assert.equal(decodeInner(new Uint8Array(0), 2, size), undefined);
  assert.equal(decodeRoot(inner), undefined);
});

Deno.test("a reference names its root, in one form only", () => {
  const target = Id.parse("0123456789abcdef0123456789abcdef01234567")!;
  const reference = encodeReference(target);
  assert.ok(isCanonical(reference) && isMarked(reference));
  assert.ok(decodeReference(reference)?.equals(target));
  assert.equal(decodeRoot(reference), undefined);
  assert.equal(decodeReference(rootText()), undefined);
  const twenty = "z".repeat(20);
  const hostile = [
    `d2:dmi2e1:r20:${twenty}e`,
    `d2:dmi1e1:r19:${twenty.slice(1)}e`,
    `d2:dmi1e1:r20:${twenty}1:si5ee`,
    `d2:dmi1e1:ri5ee`,
    `d1:r20:${twenty}2:dmi1ee`,
    `d1:r20:${twenty}e`,
  ];
  for (const text of hostile) assert.equal(decodeReference(literal(text)), undefined, text);
});

Deno.test("a value of one item is never taken for a part of a large one", () => {
  for (const text of ["d2:dmi1ee", "", "2:dm", "d1:c0:e"]) {
    assert.equal(isMarked(bencodeBytes(literal(text))), false);
  }
  assert.equal(isMarked(literal("d1:a1:b2:dmi7ee")), true);
  assert.equal(isMarked(literal("d1:ad2:dmi1eee")), false, "only at the top");
});
