// The format of large values: their items, and the only valid forms of roots and references.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { bencodeBytes, isCanonical, literal } from "../../src/krpc/bencode.ts";
import { Id, ID_BYTES } from "../../src/krpc/id.ts";
import { Layout, MAX_SIZE } from "../../src/large_values/layout.ts";
import {
  decodeReference,
  decodeRoot,
  encodeReference,
  encodeRoot,
  isMarked,
} from "../../src/large_values/manifest.ts";
import { encode } from "../../src/large_values/reed_solomon.ts";
import { inPieces, sampleBytes } from "./memory_network.ts";
import { setup } from "./setup.ts";

/** A naive model of the format, as docs/protocol.md describes it: the hashes of all items, and the root's. */
function naiveTree(bytes: Uint8Array): { items: Set<string>; root: string } {
  const items = new Set<string>();
  const sha1 = (value: Uint8Array) => createHash("sha1").update(value).digest("hex");
  let string = bytes, number = 0;
  const pieceOf = (content: Uint8Array) => {
    const piece = new Uint8Array(4 + content.length);
    new DataView(piece.buffer).setUint32(0, number++);
    piece.set(content, 4);
    const hash = sha1(bencodeBytes(piece));
    items.add(hash);
    return hash;
  };
  for (;;) {
    const contents: Uint8Array[] = [];
    for (let at = 0; at < string.length; at += 992) contents.push(string.subarray(at, at + 992));
    const ids = contents.map(pieceOf);
    const { length } = contents, stripes = Math.ceil(length / 32);
    for (let i = 0; i < stripes; i++) {
      const columns = Math.floor(length / stripes) + (i < length % stripes ? 1 : 0);
      const data = new Uint8Array(992 * columns);
      contents.splice(0, columns).forEach((content, j) => data.set(content, 992 * j));
      const parity = encode(data, 992, 24 + Math.ceil(columns * 6 / 5));
      for (let at = 0; at < parity.length; at += 992) {
        ids.push(pieceOf(parity.subarray(at, at + 992)));
      }
    }
    const list = latin1(ids.join(""));
    if (ids.length <= 45) {
      const h = latin1(createHash("sha256").update(bytes).digest("hex"));
      const text = `d1:c${list.length}:${list}2:dmi2e1:e4:rs321:h32:${h}` +
        `1:si${bytes.length}e1:t1:be`;
      return { items, root: sha1(literal(text)) };
    }
    string = literal(list);
  }
}

function latin1(hex: string): string {
  return hex.replace(/../g, (byte) => String.fromCharCode(parseInt(byte, 16)));
}

/** The hashes of all items of a value, and the root's. */
async function treeOf(bytes: Uint8Array, pieceLength?: number) {
  const { network, values } = setup(100);
  const { root } = await values.store(inPieces(bytes, pieceLength));
  for (const { value } of network.items.values()) {
    assert.ok(value.length <= 1000 && isCanonical(value));
  }
  const items = new Set(network.items.keys());
  items.delete(`${root.target}`);
  return { items, root: `${root.target}` };
}

const STRIPE = 32 * 992;
const BOUNDARIES = [
  ...[997, 1_984, 1_985, 9 * 992, 9 * 992 + 1, STRIPE, STRIPE + 1, 2 * STRIPE + 1],
  ...[44_821, 100_000, 2_016_901],
];

Deno.test("the items of a value equal those of a naive model at every boundary size", async () => {
  for (const size of BOUNDARIES) {
    // Bytes above 127 make the value binary, whatever its size.
    const bytes = sampleBytes(size);
    assert.deepEqual(await treeOf(bytes), naiveTree(bytes), `${size}`);
  }
});

Deno.test("the items do not depend on the pieces in which the bytes arrive", async () => {
  const bytes = sampleBytes(100_000);
  const whole = await treeOf(bytes, 100_000);
  for (const length of [1_000, 9_999, 65_536]) assert.deepEqual(await treeOf(bytes, length), whole);
});

Deno.test("the vectors of docs/protocol.md", async () => {
  const docs = await Deno.readTextFile(new URL("../../docs/protocol.md", import.meta.url));
  for (const size of [997, 44_821, 100_000, 2_016_901]) {
    const { root, items } = await treeOf(sampleBytes(size));
    const row = `\\| ${size.toLocaleString("en")} +\\| ${
      items.size.toLocaleString("en")
    } +\\|.*${root}`;
    assert.match(docs, new RegExp(row), `${size}: ${items.size} ${root}`);
  }
});

Deno.test("the largest root fits in an item", () => {
  const sha256 = new Uint8Array(32).fill(7), pieces = new Uint8Array(45 * ID_BYTES);
  const root = encodeRoot({ size: MAX_SIZE, sha256, hint: "text", pieces });
  assert.equal(root.length, 984);
});

/** A root as text, so that tests can change parts of it. */
function rootText(parts: Record<string, string> = {}): Uint8Array {
  const length = ID_BYTES * new Layout(1_000).top.pieces;
  const { c, dm, e, h, s, t, end } = {
    c: `1:c${length}:` + "x".repeat(length),
    dm: "2:dmi2e",
    e: "1:e4:rs32",
    h: "1:h32:" + "y".repeat(32),
    s: "1:si1000e",
    t: "1:t1:j",
    end: "e",
    ...parts,
  };
  return literal(`d${c}${dm}${e}${h}${s}${t}${end}`);
}

Deno.test("a root in any other form is invalid", () => {
  assert.equal(decodeRoot(rootText())?.hint, "json");
  const hostile: Record<string, string>[] = [
    { dm: "2:dmi1e" },
    { dm: "2:dmi3e" },
    { dm: "2:dm1:2" },
    { dm: "" },
    { e: "" },
    { e: "1:e4:rs33" },
    { e: "1:ei32e" },
    { h: "" },
    { h: "1:h31:" + "y".repeat(31) },
    { h: "1:hi5e" },
    { t: "" },
    { t: "1:t1:h" },
    { t: "1:t4:html" },
    { t: "1:ti0e" },
    { t: "1:t1:j1:ui0e" },
    { s: "1:si996e" },
    { s: "1:si0e" },
    { s: "1:si-1000e" },
    { s: "1:si1985e" },
    { s: "1:si01000e" },
    { s: `1:si${MAX_SIZE + 1}e` },
    { s: "1:si9007199254740993e" },
    { s: "1:sle" },
    { c: "1:c0:" },
    { c: "1:c579:" + "x".repeat(579) },
    { c: "1:c600:" + "x".repeat(600) },
    { c: "1:ci5e" },
    { c: "1:cl20:" + "x".repeat(20) + "e" },
    { c: "" },
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

Deno.test("everything that can be decoded encodes to the same bytes", () => {
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
      assert.deepEqual(encodeRoot(root), bytes);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a reference to a root has exactly one valid form", () => {
  const target = Id.parse("0123456789abcdef0123456789abcdef01234567")!;
  const reference = encodeReference(target);
  assert.ok(isCanonical(reference) && isMarked(reference));
  assert.ok(decodeReference(reference)?.equals(target));
  assert.equal(decodeRoot(reference), undefined);
  assert.equal(decodeReference(rootText()), undefined);
  const twenty = "z".repeat(20);
  const hostile = [
    `d2:dmi1e1:r20:${twenty}e`,
    `d2:dmi2e1:r19:${twenty.slice(1)}e`,
    `d2:dmi2e1:r20:${twenty}1:si5ee`,
    `d2:dmi2e1:ri5ee`,
    `d1:r20:${twenty}2:dmi2ee`,
    `d1:r20:${twenty}e`,
  ];
  for (const text of hostile) assert.equal(decodeReference(literal(text)), undefined, text);
});

Deno.test("a value of one item is never mistaken for a part of a large value", () => {
  for (const text of ["d2:dmi1ee", "", "2:dm", "d1:c0:e"]) {
    assert.equal(isMarked(bencodeBytes(literal(text))), false);
  }
  assert.equal(isMarked(literal("d1:a1:b2:dmi7ee")), true);
  assert.equal(isMarked(literal("d1:ad2:dmi1eee")), false, "only at the top");
});
