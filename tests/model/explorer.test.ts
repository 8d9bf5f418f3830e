// The search itself: it makes each allowed series of choices once.

import assert from "node:assert/strict";
import { type Chooser, Explorer, type ExplorerOptions, Replayer } from "./explorer.ts";

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

Deno.test("two explorers share the series between them", () => {
  const parts = [0, 1].flatMap((part) => all({ deviations: 4, part, parts: 2 }));
  // Each of them makes the series without deviations.
  assert.deepEqual(parts.sort(), [...EVERY, "0000"].sort());
});

Deno.test("a schedule can be repeated", () => {
  const explorer = new Explorer({ deviations: 4 });
  do {
    const made = program(explorer);
    assert.equal(program(new Replayer(explorer.schedule)), made);
  } while (explorer.advance());
});
