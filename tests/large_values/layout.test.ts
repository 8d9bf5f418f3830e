// How large values are laid out: every piece has one place, and stripes are balanced.

import assert from "node:assert/strict";
import fc from "fast-check";
import { Layout, MAX_SIZE, parityOf, PIECE_BYTES } from "../../src/large_values/layout.ts";
import { MAX_DATA, MAX_PARITY } from "../../src/large_values/reed_solomon.ts";

const sizes = fc.oneof(fc.integer({ min: 997, max: 200_000 }), fc.integer({ min: 997, max: 2e7 }));

Deno.test("every piece belongs to exactly one stripe, and its number leads back to that stripe", () => {
  fc.assert(
    fc.property(sizes, (size) => {
      const layout = new Layout(size);
      let next = 0;
      for (const level of layout.levels) {
        assert.equal(level.first, next);
        let data = 0, parity = level.first + level.data;
        for (let i = 0; i < level.stripes; i++) {
          const stripe = level.stripe(i);
          assert.deepEqual([stripe.start, stripe.firstParity], [data, parity]);
          for (const number of [stripe.firstData, stripe.firstData + stripe.columns - 1]) {
            assert.equal(level.stripeOfNumber(number), i);
            assert.equal(layout.levelOf(number), level);
          }
          for (const number of [stripe.firstParity, stripe.firstParity + stripe.parity - 1]) {
            assert.equal(level.stripeOfNumber(number), i);
          }
          data += stripe.columns;
          parity += stripe.parity;
        }
        assert.equal(data, level.data);
        next += level.pieces;
        assert.equal(parity, next);
      }
      assert.equal(next, layout.pieces);
    }),
    { numRuns: 60 },
  );
});

Deno.test("stripes of a level differ by at most one piece, and the lengths add up to the size", () => {
  fc.assert(
    fc.property(sizes, (size) => {
      for (const level of new Layout(size).levels) {
        const columns = Array.from({ length: level.stripes }, (_, i) => level.stripe(i).columns);
        assert.ok(Math.max(...columns) - Math.min(...columns) <= 1);
        assert.ok(Math.max(...columns) <= MAX_DATA);
        const lengths = Array.from({ length: level.data }, (_, i) => level.lengthOf(i));
        assert.equal(lengths.reduce((sum, length) => sum + length), level.size);
        assert.ok(lengths.slice(0, -1).every((length) => length === PIECE_BYTES));
      }
    }),
    { numRuns: 30 },
  );
});

Deno.test("the ids of the top level fit in a root, up to the largest size", () => {
  for (const size of [997, 1_984, 9 * PIECE_BYTES, 9 * PIECE_BYTES + 1, 1e6, 2 ** 24, MAX_SIZE]) {
    const { top, pieces } = new Layout(size);
    assert.ok(top.pieces <= 45, `${size}`);
    assert.ok(pieces < 2 ** 32);
  }
  assert.equal(new Layout(9 * PIECE_BYTES).levels.length, 1);
  assert.equal(new Layout(9 * PIECE_BYTES + 1).levels.length, 2);
});

/** The probability of at most `most` successes in `count` trials. */
function binomial(count: number, success: number, most: number): number {
  let term = (1 - success) ** count, sum = 0;
  for (let i = 0; i <= most; i++) {
    sum += term;
    term *= (count - i) / (i + 1) * success / (1 - success);
  }
  return sum;
}

Deno.test("if 60 % of all nodes vanish, a stripe is lost with a probability below 10^-8", () => {
  const kept = 1 - 0.6 ** 2;
  for (let columns = 1; columns <= MAX_DATA; columns++) {
    const parity = parityOf(columns);
    assert.ok(parity <= MAX_PARITY);
    const lost = binomial(columns + parity, kept, columns - 1);
    assert.ok(lost < 1e-8, `${columns}: ${lost}`);
  }
});

Deno.test("a value of 16 MiB costs less than 6.5 times its bytes", () => {
  const { pieces } = new Layout(2 ** 24);
  assert.ok(2 * 1000 * pieces + 40 * 1000 <= 6.5 * 2 ** 24);
});
