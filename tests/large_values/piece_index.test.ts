// The index of pieces: every piece is found, and pieces of removed values are not.

import assert from "node:assert/strict";
import fc from "fast-check";
import { PieceIndex } from "../../src/large_values/piece_index.ts";
import { Id, ID_BYTES, putWord } from "../../src/krpc/id.ts";

/** Ids whose first words are given. */
function idsOf(words: readonly number[]): Uint8Array {
  const ids = new Uint8Array(words.length * ID_BYTES);
  words.forEach((word, i) => putWord(ids, i * ID_BYTES, word));
  return ids;
}

const found = (index: PieceIndex<string>, word: number) =>
  [...index.find(new Id(word | 0, 0, 0, 0, 0))].map((entry) => entry.join(" ")).sort();

Deno.test("the index equals a naive list after any additions and removals", () => {
  const words = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 60 });
  const step = fc.record({ owner: fc.constantFrom("a", "b", "c"), words, isRemoval: fc.boolean() });
  fc.assert(fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
    const index = new PieceIndex<string>();
    const naive = new Map<string, number[]>();
    let last: string | undefined;
    for (const { owner, words, isRemoval } of steps) {
      if (isRemoval) index.remove(owner), naive.delete(owner);
      // A value is added in consecutive steps.
      else if (owner === last || !naive.has(owner)) {
        for (const part of [words.slice(0, 20), words.slice(20)]) index.add(owner, idsOf(part));
        naive.set(owner, [...naive.get(owner) ?? [], ...words]);
        last = owner;
      }
    }
    for (let word = 0; word <= 41; word++) {
      const expected = [...naive].flatMap(([owner, list]) =>
        list.flatMap((other, i) => other === word ? [`${owner} ${i}`] : [])
      ).sort();
      assert.deepEqual(found(index, word), expected);
      assert.equal(index.mayHave(new Id(word, 0, 0, 0, 0)), expected.length > 0);
    }
  }));
});

Deno.test("a hundred thousand pieces are found", () => {
  const index = new PieceIndex<string>();
  const words = Array.from({ length: 100_000 }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 0);
  index.add("a", idsOf(words.slice(0, 50_000)));
  index.add("b", idsOf(words.slice(50_000)));
  assert.equal(index.count, 100_000);
  for (let i = 0; i < words.length; i += 997) {
    assert.deepEqual(found(index, words[i]), [i < 50_000 ? `a ${i}` : `b ${i - 50_000}`]);
  }
  index.remove("a");
  assert.deepEqual(found(index, words[7]), []);
  assert.deepEqual(found(index, words[50_007]), ["b 7"]);
});
