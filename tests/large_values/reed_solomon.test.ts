// Reed-Solomon coding: any sufficient set of pieces restores a stripe, and the parity of fixed data never changes.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import {
  encode,
  MAX_DATA,
  MAX_PARITY,
  type NumberedPiece,
  restore,
} from "../../src/large_values/reed_solomon.ts";
import { hex } from "../../src/krpc/hex.ts";

/** All pieces of a stripe: data first, then parity. */
function piecesOf(data: Uint8Array, length: number, parity: number): NumberedPiece[] {
  const coded = encode(data, length, parity);
  const all = [...cut(data, length), ...cut(coded, length)];
  return all.map((bytes, number) => ({ number, bytes }));
}

function cut(bytes: Uint8Array, length: number): Uint8Array[] {
  return Array.from(
    { length: bytes.length / length },
    (_, i) => bytes.subarray(i * length, (i + 1) * length),
  );
}

const stripes = fc.record({
  columns: fc.integer({ min: 1, max: MAX_DATA }),
  length: fc.integer({ min: 1, max: 40 }),
  parity: fc.integer({ min: 0, max: MAX_PARITY }),
  seed: fc.integer(),
});

Deno.test("any pieces restore a stripe if there are as many as data pieces", () => {
  fc.assert(fc.property(stripes, ({ columns, length, parity, seed }) => {
    const random = fc.sample(fc.nat(255), { numRuns: columns * length, seed });
    const data = Uint8Array.from(random);
    const all = piecesOf(data, length, parity);
    const [kept] = fc.sample(fc.shuffledSubarray(all, { minLength: columns, maxLength: columns }), {
      numRuns: 1,
      seed,
    });
    const restored = restore(kept, columns);
    for (const { number, bytes } of all.slice(0, columns)) {
      const isKept = kept.some((piece) => piece.number === number);
      assert.deepEqual(restored.get(number), isKept ? undefined : bytes);
    }
  }));
});

Deno.test("all data pieces can be restored from parity pieces only", () => {
  const length = 3;
  const data = Uint8Array.from({ length: MAX_DATA * length }, (_, i) => 7 * i + 1);
  const parity = piecesOf(data, length, MAX_PARITY).slice(-MAX_DATA);
  const restored = restore(parity, MAX_DATA);
  const joined = Array.from({ length: MAX_DATA }, (_, i) => [...restored.get(i)!]).flat();
  assert.deepEqual(Uint8Array.from(joined), data);
});

Deno.test("one piece too few does not restore a stripe", () => {
  const pieces = piecesOf(new Uint8Array(10), 2, 5).slice(-4);
  assert.throws(() => restore(pieces, 5), RangeError);
});

Deno.test("the parity of fixed data never changes", () => {
  // Published in docs/protocol.md.
  assert.equal(hex(encode(Uint8Array.of(1, 2, 3, 4), 1, 4)), "fcc3fecd");
  const data = Uint8Array.from({ length: 32 * 992 }, (_, i) => i + (i >> 8));
  const coded = encode(data, 992, 63);
  assert.equal(
    createHash("sha256").update(coded).digest("hex"),
    "2893f61f3b2cdb729be4b829e2508936aed4083bb0bcb78431701763449d2d74",
  );
});
