// How many nodes must vanish before a stripe is lost.

import assert from "node:assert/strict";
import fc from "fast-check";
import { StripeCopies } from "../../src/large_values/durability.ts";
import { Id } from "../../src/krpc/id.ts";

const node = (n: number) => new Id(n, 0, 0, 0, 0);

function toleranceOf(columns: number, pieces: readonly (readonly number[])[]): number {
  const copies = new StripeCopies(columns);
  for (const nodes of pieces) copies.add(nodes.map(node));
  return copies.tolerance;
}

Deno.test("if each of three nodes has all pieces, all three must vanish", () => {
  assert.equal(toleranceOf(20, Array(20).fill([1, 2, 3])), 3);
});

Deno.test("if each piece is on a different node, more nodes must vanish than there are parity pieces", () => {
  assert.equal(toleranceOf(4, [1, 2, 3, 4, 5, 6, 7].map((n) => [n])), 4);
});

Deno.test("a stripe that lacks too many pieces is lost already", () => {
  assert.equal(toleranceOf(3, [[1], [2]]), 0);
  assert.equal(toleranceOf(3, [[1], [2], []]), 0);
});

/** Whether fewer pieces than `columns` are left if the nodes in `gone`, a set of bits, vanish. */
const isLost = (columns: number, pieces: readonly (readonly number[])[], gone: number) =>
  pieces.filter((nodes) => nodes.some((n) => (gone & 1 << n) === 0)).length < columns;

Deno.test("the tolerance is never higher than the number of nodes that really must vanish", () => {
  const NODES = 7;
  const holders = fc.uniqueArray(fc.nat(NODES - 1), { minLength: 0, maxLength: 3 });
  fc.assert(
    fc.property(
      fc.array(holders, { minLength: 3, maxLength: 12 }),
      fc.integer({ min: 1, max: 6 }),
      (pieces, columns) => {
        const tolerance = toleranceOf(columns, pieces);
        for (let gone = 0; gone < 1 << NODES; gone++) {
          const count = gone.toString(2).replaceAll("0", "").length;
          if (isLost(columns, pieces, gone)) assert.ok(tolerance <= count);
        }
      },
    ),
    { numRuns: 200 },
  );
});
