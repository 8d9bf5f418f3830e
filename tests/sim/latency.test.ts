// Matrices of round-trip times: valid, invalid and built-in ones.

import assert from "node:assert/strict";
import { parseLatencyCsv, REGIONS, WITHIN_REGION_MS } from "../../src/sim/latency.ts";

Deno.test("a matrix is read, and its empty diagonal is filled in", () => {
  const matrix = parseLatencyCsv(",a,b\r\na,,12.5\r\nb, 13 ,0\r\n", "test.csv");
  assert.deepEqual(matrix, {
    name: "test.csv",
    regions: ["a", "b"],
    rtt: [[WITHIN_REGION_MS, 12.5], [13, 0]],
  });
});

Deno.test("an invalid matrix is refused with a message that names the place", () => {
  const refused: [string, RegExp][] = [
    ["", /0 columns and 0 rows/],
    [",a,b\na,1,2", /2 columns and 1 rows/],
    [",a,b\na,1,2\nb,1", /row 3 has 1 figures, not 2/],
    [",a,b\na,1,2\nc,1,2", /row 3 is "c", where the header has "b"/],
    [",a,b\na,1,\nb,1,2", /a to b: "" is no time/],
    [",a,b\na,1,2\nb,-1,2", /b to a: "-1" is no time/],
    [",a,b\na,1,2\nb,fast,2", /b to a: "fast" is no time/],
    [",a,b\na,1,2\nb,1,12000000", /b to b: "12000000" is no time/],
    ["<html>\n<body>", /0 columns/],
  ];
  for (const [text, message] of refused) {
    assert.throws(() => parseLatencyCsv(text, "test.csv"), (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, message);
      assert.match(error.message, /^test\.csv: .*$/);
      return true;
    });
  }
});

Deno.test("the built-in matrix has 18 regions, is symmetric, and has the documented mean", () => {
  const { regions, rtt } = REGIONS;
  assert.equal(regions.length, 18);
  const apart = rtt.flatMap((row, i) => row.filter((_, j) => i !== j));
  rtt.forEach((row, i) => row.forEach((ms, j) => assert.equal(ms, rtt[j][i])));
  assert.equal(Math.round(apart.reduce((sum, ms) => sum + ms, 0) / apart.length), 159);
});
