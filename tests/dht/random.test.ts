// Tests random numbers: words from the host's bytes, and fair shuffles.

import assert from "node:assert/strict";
import { Random } from "../../src/dht/random.ts";
import { randomSource } from "./virtual_network.ts";

Deno.test("words are the host's bytes, each used once", () => {
  const random = new Random((length) => Uint8Array.from({ length }, (_, i) => i));
  assert.equal(random.word(), 0x00010203);
  assert.equal(random.word(), 0x04050607);
  const seen = new Set<number>();
  const fresh = new Random(randomSource(1));
  for (let i = 0; i < 10_000; i++) seen.add(fresh.word());
  assert.ok(seen.size > 9_990);
});

Deno.test("fractions are in [0, 1)", () => {
  assert.equal(new Random((length) => new Uint8Array(length)).fraction(), 0);
  assert.ok(new Random((length) => new Uint8Array(length).fill(255)).fraction() < 1);
});

Deno.test("a shuffle keeps all members", () => {
  const random = new Random(randomSource(1));
  const list = [0, 1, 2, 3];
  for (let i = 0; i < 100; i++) {
    random.shuffle(list);
    assert.deepEqual(list.toSorted(), [0, 1, 2, 3]);
  }
});

Deno.test("after a shuffle, each member is equally likely to be the first", () => {
  const random = new Random(randomSource(1));
  const first = [0, 0, 0, 0];
  for (let i = 0; i < 4_000; i++) {
    const list = [0, 1, 2, 3];
    random.shuffle(list);
    first[list[0]]++;
  }
  for (const count of first) assert.ok(Math.abs(count - 1_000) < 150, `${first}`);
});
