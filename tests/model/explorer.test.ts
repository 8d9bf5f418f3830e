// The search itself: it makes each allowed series of choices once.

import assert from "node:assert/strict";
import { type Chooser, Explorer, type ExplorerOptions, Replayer } from "./explorer.ts";
import { Fingerprint, StateTable } from "./fingerprint.ts";

/** A program with four choices. The second one offers more if the first one deviated. */
function program(chooser: Chooser): string {
  const first = chooser.choose(2);
  return [first, chooser.choose(2 + first), chooser.choose(3), chooser.choose(2)].join("");
}

function all(options: ExplorerOptions): string[] {
  const explorer = new Explorer(options), found: string[] = [];
  do found.push(program(explorer)); while (explorer.advance());
  return found;
}

/** All series of choices of `program`, by nested loops. */
const EVERY = [0, 1].flatMap((first) =>
  Array.from(
    { length: 2 + first },
    (_, second) =>
      [0, 1, 2].flatMap((third) => [0, 1].map((fourth) => [first, second, third, fourth].join(""))),
  )
    .flat()
);

const deviations = (choices: string) => [...choices].filter((choice) => choice !== "0").length;

Deno.test("the explorer makes each series of choices once", () => {
  assert.deepEqual(all({ deviations: 4 }).sort(), EVERY.toSorted());
});

Deno.test("the explorer makes only series with as few deviations as it was told", () => {
  for (const limit of [0, 1, 2, 3]) {
    const expected = EVERY.filter((choices) => deviations(choices) <= limit);
    assert.deepEqual(all({ deviations: limit }).sort(), expected.sort());
  }
});

/** Three counters, each of which goes up by one in each of two steps. Only their sums matter. */
function counters(chooser: Chooser): string | undefined {
  const sums = [0, 0, 0];
  for (let step = 0; step < 4; step++) {
    const state = new Fingerprint();
    for (const sum of sums) state.add(sum);
    if (chooser.isCovered(state, step === 3)) return undefined;
    if (step < 3) sums[chooser.choose(3)]++;
  }
  return sums.join("");
}

Deno.test("a run ends in a state that an earlier run has reached", () => {
  const explorer = new Explorer({ deviations: 3 }), ends: string[] = [];
  let runs = 0;
  do {
    const end = counters(explorer);
    runs++;
    if (end !== undefined) ends.push(end);
  } while (explorer.advance());
  const every = ["003", "012", "021", "030", "102", "111", "120", "201", "210", "300"];
  assert.deepEqual(ends.sort(), every);
  assert(runs < 3 ** 3);
});

Deno.test("a state counts as known only if as many deviations were allowed from it on", () => {
  for (const deviations of [0, 1, 2]) {
    const explorer = new Explorer({ deviations }), ends = new Set<string>();
    do {
      const end = counters(explorer);
      if (end !== undefined) ends.add(end);
    } while (explorer.advance());
    // Each step that does not count up the first counter is a deviation.
    for (const end of ["300", "210", "201", "120", "111", "102"]) {
      assert.equal(ends.has(end), 3 - Number(end[0]) <= deviations, `${end}, ${deviations}`);
    }
  }
});

Deno.test("a schedule can be repeated", () => {
  const explorer = new Explorer({ deviations: 4 });
  do {
    const made = program(explorer);
    assert.equal(program(new Replayer(explorer.schedule)), made);
  } while (explorer.advance());
});

Deno.test("a table of states knows the number of each of 100,000 states", () => {
  const table = new StateTable(), count = 100_000;
  const state = (i: number) => new Fingerprint().add(i >> 8).add(i & 255);
  for (let i = 0; i < count; i++) table.set(state(i), i % 5);
  assert.equal(table.size, count);
  for (let i = 0; i < count; i++) assert.equal(table.get(state(i)), i % 5);
  assert.equal(table.get(state(count)), -1);
});
