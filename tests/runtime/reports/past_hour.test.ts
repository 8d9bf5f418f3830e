// Tests the figures of the last hour: rates between samples, quantiles, and limits.

import assert from "node:assert/strict";
import { Id } from "../../../src/krpc/id.ts";
import {
  PastHour,
  type Reading,
  SAMPLE_INTERVAL_MS,
} from "../../../src/runtime/reports/past_hour.ts";

const reading = (messages: number, rest: Partial<Reading> = {}): Reading => ({
  peers: 3,
  rtts: [30, 10, 20],
  in: { messages, bytes: 100 * messages },
  out: { messages: 2 * messages, bytes: 50 * messages },
  items: 7,
  bytes: 700,
  published: { values: 2, at_risk: 1 },
  ...rest,
});

const lookup = (elapsed: number, success = true) => ({
  type: "lookup" as const,
  lookup: {
    lookup: 1,
    target: Id.parse("ab".repeat(20))!,
    method: "get" as const,
    hops: 1,
    queries: 2,
    elapsed,
    success,
  },
});

Deno.test("a sample covers the time since the previous one", () => {
  const hour = new PastHour(1_000, (at) => at);
  for (const elapsed of [40, 10, 30, 20]) hour.note(lookup(elapsed));
  hour.note(lookup(5_000, false));
  hour.note({ type: "bootstrap", state: "joined", contacts: 1 });
  hour.sample(reading(50), 11_000);
  hour.sample(reading(70, { rtts: [] }), 21_000);
  assert.deepEqual(hour.after(0), [
    {
      at: "1970-01-01T00:00:11.000Z",
      peers: 3,
      rtt_ms: 20,
      in: { messages_per_second: 5, bytes_per_second: 500 },
      out: { messages_per_second: 10, bytes_per_second: 250 },
      lookups: { count: 5, success: 4, p50_ms: 30, p95_ms: 40 },
      storage: { items: 7, bytes: 700 },
      published: { values: 2, at_risk: 1 },
    },
    {
      at: "1970-01-01T00:00:21.000Z",
      peers: 3,
      rtt_ms: null,
      in: { messages_per_second: 2, bytes_per_second: 200 },
      out: { messages_per_second: 4, bytes_per_second: 100 },
      lookups: { count: 0, success: 0, p50_ms: null, p95_ms: null },
      storage: { items: 7, bytes: 700 },
      published: { values: 2, at_risk: 1 },
    },
  ]);
  assert.deepEqual(hour.after(11_000).map(({ at }) => Date.parse(at)), [21_000]);
  assert.deepEqual(hour.after(21_000), []);
});

Deno.test("counters are read at the time of the sample, and later changes don't affect it", () => {
  const hour = new PastHour(0, (at) => at);
  let messages = 10;
  // Like the node's counters, this object has no members that a spread would copy.
  const inward = Object.create({
    get messages() {
      return messages;
    },
    bytes: 10,
  });
  hour.sample(reading(10, { in: inward }), 10_000);
  messages = 30;
  hour.sample(reading(10, { in: inward }), 20_000);
  assert.deepEqual(hour.after(0).map((sample) => sample.in.messages_per_second), [1, 2]);
});

Deno.test("exactly one hour is kept, even if many lookups end", () => {
  const hour = new PastHour(0, (at) => at);
  for (let i = 1; i <= 400; i++) hour.sample(reading(i), i * SAMPLE_INTERVAL_MS);
  const kept = hour.after(0);
  assert.equal(kept.length, 360);
  assert.equal(Date.parse(kept[0].at), 41 * SAMPLE_INTERVAL_MS);
  for (let i = 0; i < 100_000; i++) hour.note(lookup(i));
  hour.sample(reading(401), 401 * SAMPLE_INTERVAL_MS);
  const { count, p95_ms } = hour.after(400 * SAMPLE_INTERVAL_MS)[0].lookups;
  assert.equal(count, 100_000);
  assert.ok(p95_ms! < 1_024);
});

Deno.test("rates are finite even if a sample is not later than the previous one", () => {
  const hour = new PastHour(10_000, (at) => at);
  hour.sample(reading(10), 10_000);
  hour.sample(reading(20), 5_000);
  for (const sample of hour.after(0)) {
    assert.ok(Number.isFinite(sample.in.bytes_per_second) && sample.in.bytes_per_second >= 0);
  }
});
