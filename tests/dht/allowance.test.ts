// Tests allowances: a single one, one per key, and one shared by owners.

import assert from "node:assert/strict";
import { Allowance, AllowancePerKey, SharedAllowance } from "../../src/dht/allowance.ts";

/** Returns how many of `attempts` succeed at the same time. */
function countTaken(take: () => boolean, attempts = 100): number {
  let count = 0;
  for (let i = 0; i < attempts; i++) if (take()) count++;
  return count;
}

Deno.test("an allowance gives a burst at once, then its steady rate", () => {
  const allowance = new Allowance(2, 10);
  assert.equal(countTaken(() => allowance.take(0)), 10);
  assert.equal(countTaken(() => allowance.take(1_000)), 2);
});

Deno.test("an unused allowance never grows beyond its burst", () => {
  const allowance = new Allowance(2, 10);
  allowance.take(0);
  assert.equal(allowance.available(3_600_000), 10);
});

Deno.test("spending more than is available delays the next spending", () => {
  const allowance = new Allowance(2, 10);
  allowance.spend(0, 14);
  assert.equal(allowance.available(0), -4);
  assert.equal(allowance.waitFor(0), 2_500);
  assert.ok(!allowance.take(2_499));
  assert.ok(allowance.take(2_500));
});

Deno.test("each key has its own allowance", () => {
  const perKey = new AllowancePerKey(1, 3, 2);
  assert.equal(countTaken(() => perKey.take("a", 0)), 3);
  assert.equal(countTaken(() => perKey.take("b", 0)), 3);
  assert.equal(perKey.waitFor("a", 0), 1_000);
});

Deno.test("if there are too many keys, the one that was unused for longest is forgotten", () => {
  const perKey = new AllowancePerKey(1, 3, 2);
  for (const key of ["a", "b"]) countTaken(() => perKey.take(key, 0));
  perKey.take("c", 0);
  assert.equal(perKey.size, 2);
  assert.equal(perKey.waitFor("a", 0), 0);
});

Deno.test("one owner gets at most a quarter of a shared allowance", () => {
  const shared = new SharedAllowance(4, 40);
  assert.equal(countTaken(() => shared.take("a", 0)), 10);
  const others = ["b", "c", "d", "e"].map((owner) => countTaken(() => shared.take(owner, 0)));
  assert.deepEqual(others, [10, 10, 10, 0]);
});
