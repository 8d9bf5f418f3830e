// Figures as people read them, at the edges between units.

import assert from "node:assert/strict";
import * as units from "../../src/cli/units.ts";

const NOW = Date.parse("2026-04-14T10:30:00Z");

Deno.test("bytes, durations and counts have three digits and the unit that fits", () => {
  const cases: [string, string][] = [
    [units.bytes(0), "0 B"],
    [units.bytes(999), "999 B"],
    [units.bytes(999.6), "1.00 kB"],
    [units.bytes(1_000), "1.00 kB"],
    [units.bytes(12_345), "12.3 kB"],
    [units.bytes(99_949), "99.9 kB"],
    [units.bytes(99_950), "100 kB"],
    [units.bytes(999_499), "999 kB"],
    [units.bytes(999_500), "1.00 MB"],
    [units.bytes(1_073_741_824), "1.07 GB"],
    [units.bytes(Number.MAX_SAFE_INTEGER), "9.01 PB"],
    [units.duration(0), "0 s"],
    [units.duration(59.4), "59 s"],
    [units.duration(59.6), "1 min"],
    [units.duration(61), "1 min 1 s"],
    [units.duration(3_600), "1 h"],
    [units.duration(3_661), "1 h 1 min"],
    [units.duration(86_400 + 59), "1 d"],
    [units.duration(-5), "0 s"],
    [units.shortDuration(7_300), "2 h"],
    [units.shortDuration(0), "0 s"],
    [units.milliseconds(1.234), "1.23 ms"],
    [units.milliseconds(9.999), "10 ms"],
    [units.milliseconds(9_994), "9994 ms"],
    [units.milliseconds(10_000), "10.0 s"],
    [units.percent(0.987), "99 %"],
    [units.percent(0.987, 1), "98.7 %"],
    [units.count(1_234_567.4), "1,234,567"],
    [units.counted(1, "copy", "copies"), "1 copy"],
    [units.counted(0, "copy", "copies"), "0 copies"],
    [units.counted(2_000, "peer"), "2,000 peers"],
    [units.ago("2026-04-14T10:29:00Z", NOW), "1 min ago"],
    [units.ago("2026-04-14T10:31:00Z", NOW), "0 s ago"],
    [units.ahead("2026-04-14T11:30:00Z", NOW), "in 1 h"],
    [units.ahead("2026-04-14T10:29:00Z", NOW), "now"],
  ];
  for (const [given, wanted] of cases) assert.equal(given, wanted);
});

Deno.test("a sparkline has a bar for each of the latest values", () => {
  assert.equal(units.sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8), "▁▂▃▄▅▆▇█");
  assert.equal(units.sparkline([9, 0, 7], 2, 7), "▁█");
  assert.equal(units.sparkline([0, 0], 5), "▁▁");
  assert.equal(units.sparkline([5, -1, NaN], 5, 5).length, 3);
  assert.equal(units.sparkline([1, 2], 0), "");
  assert.equal(units.sparkline([], 5), "");
});
