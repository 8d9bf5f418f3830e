// Version numbers: their digits, their one form each, and their order.

import assert from "node:assert/strict";
import fc from "fast-check";
import { isSeq, MAX_SEQ, maxSeq, nextSeq, parseSeq, type Seq } from "../../src/krpc/seq.ts";

const MAX_NUMBER = Number.MAX_SAFE_INTEGER;

Deno.test("numbers from 0 to 2^63 - 1 are read exactly, as numbers up to 2^53 - 1", () => {
  const cases: [string, Seq | undefined][] = [
    ["0", 0],
    ["1", 1],
    ["9007199254740991", MAX_NUMBER],
    ["9007199254740992", 2n ** 53n],
    ["9007199254740993", 2n ** 53n + 1n],
    ["9223372036854775807", MAX_SEQ],
    ["9223372036854775808", undefined],
    ["10000000000000000000", undefined],
  ];
  for (const [digits, seq] of cases) assert.equal(parseSeq(digits), seq);
  for (const bad of ["", "-1", "-0", "00", "01", "+1", "1.0", "1e3", " 1", "0x1", "one"]) {
    assert.equal(parseSeq(bad), undefined, bad);
  }
});

Deno.test("each number has one form, and only that form is a version number", () => {
  for (const seq of [0, 1, MAX_NUMBER, 2n ** 53n, MAX_SEQ]) assert.ok(isSeq(seq), `${seq}`);
  for (const bad of [-0, -1, 0.5, NaN, Infinity, 2 ** 53, 0n, 1n, -1n, MAX_SEQ + 1n, "1", null]) {
    assert.equal(isSeq(bad), false, `${typeof bad} ${bad}`);
  }
});

Deno.test("the next number is one higher, across 2^53 and up to the largest, which none follows", () => {
  assert.equal(nextSeq(0), 1);
  assert.equal(nextSeq(MAX_NUMBER - 1), MAX_NUMBER);
  assert.equal(nextSeq(MAX_NUMBER), 2n ** 53n);
  assert.equal(nextSeq(2n ** 53n), 2n ** 53n + 1n);
  assert.equal(nextSeq(MAX_SEQ - 1n), MAX_SEQ);
  assert.equal(nextSeq(MAX_SEQ), undefined);
});

Deno.test("digits are read and written without a change, and keep their order", () => {
  const anySeq = fc.bigInt({ min: 0n, max: MAX_SEQ });
  fc.assert(fc.property(anySeq, anySeq, (x, y) => {
    const [first, second] = [parseSeq(`${x}`)!, parseSeq(`${y}`)!];
    assert.ok(isSeq(first));
    assert.equal(`${first}`, `${x}`);
    assert.equal(first === second, x === y);
    assert.equal(first < second, x < y);
    assert.equal(`${maxSeq(first, second)}`, `${x > y ? x : y}`);
  }));
});
