// Tables fit the terminal, whatever they show.

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type Column,
  shortened,
  tableLines,
  widthOf,
  wrapped,
} from "../../../src/cli/terminal/table.ts";

const plain = (_: unknown, text: string) => text;
const ID = "0123456789abcdef0123456789abcdef01234567";

const COLUMNS: Column[] = [
  { head: "NODE", shrinks: "id" },
  { head: "ADDRESS" },
  { head: "RTT", align: "right" },
  { head: "CLIENT", shrinks: "text" },
];
const ROWS = [[ID, "127.0.0.1:8000", "9.99 ms", "a client of some name"], [ID, "-", "-", "-"]];

Deno.test("a table is complete if there is room, and otherwise ids and texts are shortened", () => {
  assert.deepEqual(tableLines(COLUMNS, ROWS, null, plain), [
    "NODE                                      ADDRESS             RTT  CLIENT",
    `${ID}  127.0.0.1:8000  9.99 ms  a client of some name`,
    `${ID}  -                     -  -`,
  ]);
  assert.deepEqual(tableLines(COLUMNS, ROWS, 58, plain), [
    "NODE           ADDRESS             RTT  CLIENT",
    "0123456789ab…  127.0.0.1:8000  9.99 ms  a client of some …",
    "0123456789ab…  -                     -  -",
  ]);
  const split = tableLines(COLUMNS, ROWS, 32, plain);
  assert.deepEqual(split, [
    "NODE           ADDRESS",
    "0123456789ab…  127.0.0.1:8000",
    "0123456789ab…  -",
    "",
    "NODE               RTT  CLIENT",
    "0123456789ab…  9.99 ms  a cli…",
    "0123456789ab…        -  -",
  ]);
});

Deno.test("wide characters count as two cells, and are not cut in half", () => {
  assert.equal(shortened("数据数据", 8), "数据数据");
  assert.equal(shortened("数据数据", 7), "数据数…");
  assert.equal(shortened("数据数据", 6), "数据…");
  assert.equal(shortened("e\u0301e\u0301e\u0301", 2), "e\u0301…");
  assert.equal(shortened("ab", 0), "");
  assert.deepEqual(wrapped("one two three", 7), ["one two", "three"]);
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), fc.nat(50), (text, width) => {
    const short = shortened(text, width);
    assert.ok(widthOf(short) <= width || short === text);
  }));
});

Deno.test("no line is wider than the terminal unless a single cell is", () => {
  const cell = fc.string({ unit: "grapheme", maxLength: 12 }).map((text) =>
    text.replace(/\p{C}/gu, "?")
  );
  fc.assert(
    fc.property(
      fc.array(fc.array(cell, { minLength: 4, maxLength: 4 }), { maxLength: 5 }),
      fc.integer({ min: 60, max: 120 }),
      (rows, width) => {
        const lines = tableLines(COLUMNS, rows.map(([, ...rest]) => [ID, ...rest]), width, plain);
        for (const line of lines) assert.ok(widthOf(line) <= width, line);
        for (const [, address] of rows) {
          assert.ok(
            address.trim() === "" || lines.some((line) => line.includes(address.trimEnd())),
          );
        }
      },
    ),
  );
});
