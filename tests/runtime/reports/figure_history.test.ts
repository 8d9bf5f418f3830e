// Tests the figures of a day and of thirty days: how samples are merged, kept over a restart, and forgotten.

import assert from "node:assert/strict";
import type { Sample } from "../../../src/reports/stats.ts";
import { Records } from "../../../src/runtime/records.ts";
import { DAY, FigureHistory, MONTH } from "../../../src/runtime/reports/figure_history.ts";
import { recordsInto } from "../records.ts";

const SERIES = { name: "test/", intervalMs: 1_000, count: 10 };
const START = 1_000_000;

const sample = (peers: number, rest: Partial<Sample> = {}): Omit<Sample, "at"> => ({
  peers,
  rtt_ms: 10,
  in: { messages_per_second: peers, bytes_per_second: 100 },
  out: { messages_per_second: 2, bytes_per_second: 200 },
  lookups: { count: 3, success: 2, p50_ms: 10, p95_ms: null },
  storage: { items: peers, bytes: 700 },
  published: { values: 2, at_risk: 0 },
  ...rest,
});

Deno.test("the samples of an interval become one", () => {
  const history = new FigureHistory(SERIES, new Records());
  history.add(START, sample(2, { rtt_ms: null }));
  history.add(START + 500, sample(4, { published: { values: 3, at_risk: 1 } }));
  const [one, ...others] = history.samples(START + 900);
  assert.deepEqual(others, []);
  assert.deepEqual(one, {
    at: new Date(START + 500).toISOString(),
    peers: 3,
    rtt_ms: 10,
    in: { messages_per_second: 3, bytes_per_second: 100 },
    out: { messages_per_second: 2, bytes_per_second: 200 },
    lookups: { count: 6, success: 4, p50_ms: 10, p95_ms: null },
    storage: { items: 4, bytes: 700 },
    published: { values: 3, at_risk: 1 },
  });
});

Deno.test("the newest samples are kept, also over a restart", () => {
  const saved = new Map<string, Uint8Array>();
  const records = recordsInto(saved);
  const history = new FigureHistory(SERIES, records), end = START + 25 * SERIES.intervalMs;
  for (let at = START; at <= end; at += SERIES.intervalMs) history.add(at, sample(1));
  assert.equal(saved.size, SERIES.count, "old samples are overwritten");
  assert.equal(history.samples(end).length, SERIES.count);
  const again = new FigureHistory(SERIES, new Records(saved)).samples(end);
  // The last interval had not ended.
  assert.deepEqual(again, history.samples(end).slice(0, -1));
});

Deno.test("damaged records and those of another time are left out", () => {
  const saved = new Map([
    ["test/1", new Uint8Array(7)],
    ["test/2", new Uint8Array(Float64Array.from({ length: 15 }, () => NaN).buffer)],
    ["test/3", new Uint8Array(Float64Array.from({ length: 15 }, () => 1e300).buffer)],
    ["test/99", new Uint8Array(Float64Array.from({ length: 15 }, () => 1).buffer)],
  ]);
  const history = new FigureHistory(SERIES, new Records(saved));
  assert.deepEqual(history.samples(START), []);
  history.add(START + 5_000, sample(1));
  assert.deepEqual(history.samples(START), [], "the clock was ahead");
});

Deno.test("the histories of a day and of thirty days need less than 300 kB", () => {
  let bytes = 0;
  const records = new Records(new Map(), (name, record) => {
    bytes += name.length + record!.length;
    return Promise.resolve(true);
  });
  for (const series of [DAY, MONTH]) {
    const history = new FigureHistory(series, records);
    for (let i = 0; i <= series.count; i++) history.add(START + i * series.intervalMs, sample(1));
  }
  assert.ok(bytes < 300_000, `${bytes}`);
  assert.equal(DAY.intervalMs * DAY.count, 24 * 3_600_000);
  assert.equal(MONTH.intervalMs * MONTH.count, 30 * 24 * 3_600_000);
});
