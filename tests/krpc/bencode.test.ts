// Bencode (BEP 3): the scanner, the writer and the canonical form.

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  bencodeBytes,
  byteStringContent,
  compareBytes,
  isCanonical,
  MAX_DEPTH,
  Scanner,
  Writer,
} from "../../src/krpc/bencode.ts";
import { id } from "../packets.ts";
import { encode, latin1, text, type Value } from "../packets.ts";

const skips = (bencoded: string) => {
  const scanner = new Scanner(latin1(bencoded));
  return scanner.skip() && scanner.pos === bencoded.length;
};
const integer = (bencoded: string) => new Scanner(latin1(bencoded)).integer();
const nestedLists = (depth: number) => "l".repeat(depth) + "e".repeat(depth);
const nestedDictionaries = (depth: number) => "d1:a".repeat(depth - 1) + "d" + "e".repeat(depth);

const MAX = Number.MAX_SAFE_INTEGER;

Deno.test("the scanner reads strings by their length", () => {
  const scanner = new Scanner(latin1("4:spam0:3:a:b"));
  for (const expected of ["spam", "", "a:b"]) {
    assert.ok(scanner.string());
    assert.equal(text(scanner.bytes.subarray(scanner.start, scanner.end)), expected);
  }
  assert.equal(scanner.peek(), -1);
  assert.equal(scanner.string(), false);
  assert.ok(scanner.failed);
});

Deno.test("strings whose length is missing, negative, too long or without a colon are refused", () => {
  for (
    const bad of [
      "",
      ":",
      "4",
      "4:",
      "4:abc",
      "-1:a",
      "99999999:a",
      "9007199254740993:a",
      "1a",
      "i1e",
    ]
  ) {
    assert.equal(new Scanner(latin1(bad)).string(), false, bad);
  }
});

Deno.test("the scanner does not read beyond its limit", () => {
  const scanner = new Scanner(latin1("4:spam"), 5);
  assert.equal(scanner.string(), false);
});

Deno.test("integers are exact up to 2^53 - 1, and NaN beyond", () => {
  assert.equal(integer("i0e"), 0);
  assert.equal(integer("i-42e"), -42);
  assert.equal(integer(`i${MAX}e`), MAX);
  assert.equal(integer(`i-${MAX}e`), -MAX);
  for (const big of ["9007199254740992", "9223372036854775807", "1".repeat(400)]) {
    const scanner = new Scanner(latin1(`i${big}e`));
    assert.ok(Number.isNaN(scanner.integer()), big);
    assert.equal(scanner.failed, false, "a large integer is still an integer");
  }
  for (const bad of ["i-0e", "i00e", "i01e", "i-01e"]) {
    const scanner = new Scanner(latin1(bad));
    assert.ok(Number.isNaN(scanner.integer()), bad);
    assert.equal(scanner.failed, false, "it is skipped like an integer");
  }
  for (const bad of ["", "i", "ie", "i-e", "i1", "i1.5e", "i--1e", "i+1e", "i 1e", "1", "4:spam"]) {
    assert.ok(Number.isNaN(integer(bad)), bad);
  }
});

Deno.test("a seq is exact up to 2^63 - 1, and NaN beyond and in any other form", () => {
  const seq = (bencoded: string) => new Scanner(latin1(bencoded)).seq();
  assert.equal(seq("i0e"), 0);
  assert.equal(seq(`i${MAX}e`), MAX);
  assert.equal(seq("i9007199254740992e"), 2n ** 53n);
  assert.equal(seq("i9007199254740993e"), 2n ** 53n + 1n);
  assert.equal(seq("i9223372036854775807e"), 2n ** 63n - 1n);
  assert.equal(seq("i-1e"), -1);
  const wrong = [
    ...["i9223372036854775808e", "i-9223372036854775807e", "i09007199254740993e", "i-0e", "i01e"],
    ...["", "4:spam", "i1", "ie", `i${"9".repeat(400)}e`],
  ];
  for (const bad of wrong) assert.ok(Number.isNaN(seq(bad)), bad);
});

Deno.test("a written seq has all its digits", () => {
  for (const seq of [0, 7, MAX, 2n ** 53n, 2n ** 63n - 1n]) {
    const writer = new Writer(32);
    writer.seq(seq);
    assert.equal(text(writer.done()), `i${seq}e`);
  }
});

Deno.test("skip accepts one value of any kind, and nothing else", () => {
  for (
    const good of ["i1e", "0:", "4:spam", "le", "de", "l4:spami42ee", "d3:bar4:spam3:fooli1eee"]
  ) {
    assert.ok(skips(good), good);
  }
  for (const bad of ["", "e", "l", "d", "li1e", "d3:bare", "di1ei2ee", "x", "le0:", "d1:ae"]) {
    assert.equal(skips(bad), false, bad);
  }
});

Deno.test("values that nest deeper than the limit are refused without exhausting the stack", () => {
  for (const nested of [nestedLists, nestedDictionaries]) {
    for (const check of [skips, (bencoded: string) => isCanonical(latin1(bencoded))]) {
      assert.equal(check(nested(MAX_DEPTH)), true);
      assert.equal(check(nested(MAX_DEPTH + 1)), false);
      assert.equal(check(nested(20_000)), false);
    }
  }
});

Deno.test("BEP 3: canonical form has no leading zeros, no -0, sorted and unique keys, and no bytes after it", () => {
  // deno-fmt-ignore
  const good = [
    "i0e", "i-1e", "i10e", "i9223372036854775808e", "0:", "10:0123456789", "le", "de", "l0:i0elee",
    "d0:i1e1:ai2e2:aai3e1:bi4ee", "d1:ad1:bleee",
  ];
  // deno-fmt-ignore
  const bad = [
    "", "e", "i", "ie", "i-e", "i-0e", "i00e", "i01e", "i-01e", "i1", "i1.0e", "00:", "01:a", "2:a", "1:ab", "l", "d",
    "i1ei2e", "lei1e", "d1:a", "d1:ae", "di1ei1ee", "d1:bi1e1:ai2ee", "d1:ai1e1:ai2ee", "d2:aai1e1:ai2ee", "l01:ae",
    "d01:ai1ee",
  ];
  for (const bencoded of good) assert.ok(isCanonical(latin1(bencoded)), bencoded);
  for (const bencoded of bad) assert.equal(isCanonical(latin1(bencoded)), false, bencoded);
});

const { value } = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.maxSafeInteger(),
    fc.uint8Array({ maxLength: 30 }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.stringMatching(/^[a-z]{0,5}$/), tie("value"), { maxKeys: 4 }),
  ),
}));

Deno.test("what another implementation writes is canonical and can be skipped", () => {
  fc.assert(fc.property(value, (v) => {
    const bencoded = encode(v);
    assert.ok(isCanonical(bencoded), text(bencoded));
    assert.ok(skips(text(bencoded)));
  }));
});

Deno.test("a truncated value is not canonical", () => {
  fc.assert(fc.property(value, (v) => {
    const bencoded = encode(v);
    for (let end = 0; end < bencoded.length; end++) {
      assert.equal(isCanonical(bencoded.subarray(0, end)), false);
      assert.equal(skips(text(bencoded.subarray(0, end))), false);
    }
  }));
});

Deno.test("the writer writes what another implementation writes", () => {
  const part = fc.oneof(fc.maxSafeInteger(), fc.uint8Array({ maxLength: 1200 }));
  fc.assert(fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
    const writer = new Writer(10_000);
    for (const p of parts) {
      if (typeof p === "number") writer.integer(p);
      else writer.bytes(p);
    }
    assert.equal(text(writer.done()), parts.map((p) => text(encode(p))).join(""));
  }));
  const writer = new Writer(100);
  for (const n of [0, 9, 10, 99, 100, 999, 1000, 1001, 65535]) {
    writer.reset();
    writer.decimal(n);
    assert.equal(text(writer.done()), `${n}`);
  }
});

Deno.test("the writer appends raw bytes, ranges, words and ids", () => {
  const writer = new Writer(200);
  writer.raw(latin1("ab"));
  writer.raw(new Uint8Array(60).fill(0x78));
  writer.range(latin1("01234"), 1, 3);
  writer.word(0x61626364);
  writer.id(id("6162"));
  assert.equal(text(writer.done()), `ab${"x".repeat(60)}12abcdab${"\0".repeat(18)}`);
  writer.reset();
  assert.equal(writer.done().length, 0);
});

Deno.test("byte strings survive encoding and decoding, and other values have no content", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 1100 }), (bytes) => {
    assert.deepEqual(bencodeBytes(bytes), encode(bytes));
    assert.deepEqual(byteStringContent(bencodeBytes(bytes)), bytes);
  }));
  for (const other of ["i1e", "le", "1:ab", "2:a", ""]) {
    assert.equal(byteStringContent(latin1(other)), undefined);
  }
});

Deno.test("BEP 3: keys are ordered as raw bytes, and a prefix comes first", () => {
  const sorted = ["", "a", "aa", "ab", "b", "\xff"].map(latin1);
  sorted.forEach((x, i) =>
    sorted.forEach((y, j) => assert.equal(Math.sign(compareBytes(x, y)), Math.sign(i - j)))
  );
});
