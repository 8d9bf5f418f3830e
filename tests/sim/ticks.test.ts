// The simulation's wake-up times.

import assert from "node:assert/strict";
import { SeededRandom } from "../../src/sim/random.ts";
import { Ticks } from "../../src/sim/ticks.ts";

Deno.test("the earliest node is first, of equals the one of the lower number, whatever was set before", () => {
  const ticks = new Ticks();
  const random = new SeededRandom(3);
  const model = new Array<number>(3_000).fill(Infinity);
  assert.equal(ticks.next, Infinity);
  for (let i = 0; i < 20_000; i++) {
    // More and more of them: the tree has to grow.
    const number = random.below(1 + Math.floor(i * model.length / 20_000));
    const at = random.fraction() < 0.1 ? Infinity : random.below(500);
    ticks.set(number, at);
    model[number] = at;
    assert.equal(ticks.at(number), at);
    if (i % 20 !== 0) continue;
    const earliest = Math.min(...model);
    assert.equal(ticks.next, earliest);
    if (earliest < Infinity) assert.equal(ticks.first, model.indexOf(earliest));
  }
  assert.equal(ticks.at(1_000_000), Infinity);
});
