// Numbers and times as people read them, with the values at which the unit changes.

import assert from "node:assert/strict";
import * as format from "../../src/web/format.js";

const NOW = Date.parse("2026-04-14T10:30:00Z");
const MINUTE = 60_000;

const CASES: Record<string, [formatted: string, wanted: string][]> = {
  "a count has thousands separators": [
    [format.count(1_234_567.4), "1,234,567"],
    [format.about(9_999), "9,999"],
    [format.about(12_345), "12.3K"],
    [format.plural(1, "copy", "copies"), "1 copy"],
    [format.plural(0, "copy", "copies"), "0 copies"],
    [format.plural(2_000, "peer"), "2,000 peers"],
  ],
  "bytes have three digits and a decimal unit": [
    [format.bytes(0), "0 B"],
    [format.bytes(999), "999 B"],
    [format.bytes(999.6), "1.00 kB"],
    [format.bytes(1_000), "1.00 kB"],
    [format.bytes(12_345), "12.3 kB"],
    [format.bytes(99_949), "99.9 kB"],
    [format.bytes(99_950), "100 kB"],
    [format.bytes(999_499), "999 kB"],
    [format.bytes(999_500), "1.00 MB"],
    [format.bytes(1_073_741_824), "1.07 GB"],
    [format.bytes(Number.MAX_SAFE_INTEGER), "9.01 PB"],
    [format.bytes(null), "–"],
    [format.byteRate(1_234), "1.23 kB/s"],
    [format.rate(123.4), "123"],
  ],
  "milliseconds have three digits, and become seconds": [
    [format.ms(0), "0 ms"],
    [format.ms(0.42), "0.42 ms"],
    [format.ms(1.234), "1.23 ms"],
    [format.ms(12.4), "12.4 ms"],
    [format.ms(123.4), "123 ms"],
    [format.ms(999.6), "1.00 s"],
    [format.ms(10_000), "10.0 s"],
    [format.ms(null), "–"],
  ],
  "a share is never rounded up to 100 %": [
    [format.percent(0), "0 %"],
    [format.percent(1), "100 %"],
    [format.percent(0.5), "50.0 %"],
    [format.percent(0.98765), "98.8 %"],
    [format.percent(0.9999), "> 99.9 %"],
  ],
  "a duration has its two largest units": [
    [format.duration(0), "0 s"],
    [format.duration(-5), "0 s"],
    [format.duration(59.4), "59 s"],
    [format.duration(61), "1 min 1 s"],
    [format.duration(3_600), "1 h"],
    [format.duration(3_661), "1 h 1 min"],
    [format.duration(86_400 + 59), "1 d"],
    [format.duration(93_784), "1 d 2 h"],
    [format.shortDuration(7_300), "2 h"],
    [format.shortDuration(0), "0 s"],
  ],
  "a time is relative to now": [
    [format.ago(NOW - 500, NOW), "just now"],
    [format.ago(NOW - 1.5 * MINUTE, NOW), "1 min ago"],
    [format.ago(NOW + MINUTE, NOW), "just now"],
    [format.until(NOW + 90 * MINUTE, NOW), "in 1 h"],
    [format.until(NOW + 500, NOW), "now"],
    [format.until(NOW - MINUTE, NOW), "now"],
  ],
};

for (const [name, cases] of Object.entries(CASES)) {
  Deno.test(name, () => {
    for (const [formatted, wanted] of cases) assert.equal(formatted, wanted);
  });
}

Deno.test("a text that others chose can't change the direction of the words around it", () => {
  assert.equal(format.isolated("notes/today"), "notes/today");
  assert.equal(format.isolated("שלום"), "\u2068שלום\u2069");
  assert.equal(format.isolated("a\u2069\u202eb"), "\u2068a\ufffd\ufffdb\u2069");
});
