// Ids and the XOR metric, compared with big integers.

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  compareDistance,
  distanceBits,
  Id,
  IdMap,
  putWord,
  sharedPrefix,
  word,
} from "../../src/krpc/id.ts";
import { id } from "../packets.ts";

const ids = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => Id.read(bytes));
const big = (x: Id) => BigInt(`0x${x}`);

/** Two ids that often share a prefix. */
const pairs = fc.tuple(ids, ids, fc.nat(160)).map(([x, y, bits]) =>
  [x, x.withSuffix(bits, y)] as const
);

Deno.test("an id is 20 bytes, 40 hex digits of either case, and prints in lower case", () => {
  const digits = "00112233445566778899aAbBcCdDeEfF01234567";
  const parsed = Id.parse(digits)!;
  assert.equal(`${parsed}`, digits.toLowerCase());
  assert.ok(Id.read(parsed.toBytes()).equals(parsed));
  for (const bad of ["", digits.slice(1), `${digits}0`, digits.replace("0", "g"), ` ${digits}`]) {
    assert.equal(Id.parse(bad), undefined);
  }
  fc.assert(fc.property(ids, (x) => {
    assert.ok(Id.parse(`${x}`)!.equals(x));
    const shifted = new Uint8Array(25);
    x.write(shifted, 3);
    assert.ok(Id.read(shifted, 3).equals(x));
  }));
});

Deno.test("Kademlia 2.1: distance is the XOR of two ids, as an unsigned integer", () => {
  fc.assert(fc.property(ids, ids, ids, (x, y, target) => {
    const p = big(x) ^ big(target), q = big(y) ^ big(target);
    assert.equal(Math.sign(compareDistance(x, y, target)), p < q ? -1 : p > q ? 1 : 0);
    assert.equal(compareDistance(x, x, target), 0);
  }));
  fc.assert(fc.property(pairs, ids, ([x, y], target) => {
    const p = big(x) ^ big(target), q = big(y) ^ big(target);
    assert.equal(Math.sign(compareDistance(x, y, target)), p < q ? -1 : p > q ? 1 : 0);
  }));
});

Deno.test("the distance in bits is 0 for equal ids, and 160 if the first bits differ", () => {
  assert.equal(distanceBits(id("8"), id("8")), 0);
  assert.equal(distanceBits(id("8"), id("0")), 160);
  assert.equal(distanceBits(id("0"), id("0".repeat(39) + "1")), 1);
  fc.assert(fc.property(pairs, ([x, y]) => {
    const distance = big(x) ^ big(y);
    const bits = distance === 0n ? 0 : distance.toString(2).length;
    assert.equal(distanceBits(x, y), bits);
    assert.equal(sharedPrefix(x, y), 160 - bits);
    assert.equal(x.equals(y), bits === 0);
  }));
});

Deno.test("flip inverts one bit, and withSuffix keeps a prefix", () => {
  fc.assert(fc.property(ids, ids, fc.nat(159), (x, rest, bit) => {
    assert.equal(big(x.flip(bit)) ^ big(x), 1n << BigInt(159 - bit));
    const mixed = x.withSuffix(bit, rest);
    const low = (1n << BigInt(160 - bit)) - 1n;
    assert.equal(big(mixed), (big(x) & ~low) | (big(rest) & low));
  }));
});

Deno.test("a map by id behaves like a map by hex digits", () => {
  // Few ids and a constant seed, for long chains and repeated keys.
  const step = fc.record({ key: fc.nat(40), action: fc.constantFrom("set", "delete") });
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), fc.integer(), (steps, seed) => {
    const map = new IdMap<number>(seed), model = new Map<string, number>();
    steps.forEach(({ key, action }, i) => {
      const at = id(key.toString(16).padStart(2, "0"));
      if (action === "set") map.set(at, i), model.set(`${at}`, i);
      else assert.equal(map.delete(at), model.delete(`${at}`));
      assert.equal(map.size, model.size);
      assert.equal(map.get(at), model.get(`${at}`));
    });
    const entries = Array.from(map.entries(), ([at, value]) => `${at} ${value}`).sort();
    assert.deepEqual(entries, Array.from(model, ([at, value]) => `${at} ${value}`).sort());
  }));
});

Deno.test("a word is 32 bits, big-endian and signed", () => {
  const bytes = new Uint8Array(6);
  putWord(bytes, 1, -2);
  assert.deepEqual([...bytes], [0, 255, 255, 255, 254, 0]);
  assert.equal(word(bytes, 1), -2);
});
