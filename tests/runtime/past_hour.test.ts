// The figures of the last hour: rates between samples, quantiles, and that they are bounded.

import assert from "node:assert/strict";
import { Id } from "../../src/krpc/id.ts";
import { PastHour, type Reading, SAMPLE_EVERY_MS } from "../../src/runtime/past_hour.ts";

const reading = (messages: number, rest: Partial<Reading> = {}): Reading => ({
  peers: 3,
  rtts: [30, 10, 20],
  in: { messages, bytes: 100 * messages },
  out: { messages: 2 * messages, bytes: 50 * messages },
  items: 7,
  bytes: 700,
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

Deno.test("a sample has what happened since the one before", () => {
  const hour = new PastHour(1_000);
  for (const elapsed of [40, 10, 30, 20]) hour.note(lookup(elapsed));
  hour.note(lookup(5_000, false));
  hour.note({ type: "bootstrap", state: "joined", contacts: 1 });
  hour.sample(reading(50), 11_000);
  hour.sample(reading(70, { rtts: [] }), 21_000);
  assert.deepEqual(hour.after(0), [
    {
      at: 11_000,
      peers: 3,
      rttMs: 20,
      in: { messagesPerSecond: 5, bytesPerSecond: 500 },
      out: { messagesPerSecond: 10, bytesPerSecond: 250 },
      lookups: { count: 5, success: 4, p50Ms: 30, p95Ms: 40 },
      storage: { items: 7, bytes: 700 },
    },
    {
      at: 21_000,
      peers: 3,
      rttMs: null,
      in: { messagesPerSecond: 2, bytesPerSecond: 200 },
      out: { messagesPerSecond: 4, bytesPerSecond: 100 },
      lookups: { count: 0, success: 0, p50Ms: null, p95Ms: null },
      storage: { items: 7, bytes: 700 },
    },
  ]);
  assert.deepEqual(hour.after(11_000).map(({ at }) => at), [21_000]);
  assert.deepEqual(hour.after(21_000), []);
});

Deno.test("what is counted is read at the time of the sample, though the counters go on", () => {
  const hour = new PastHour(0);
  let messages = 10;
  // As the node's own counters are: no members that a spread would copy.
  const inward = Object.create({
    get messages() {
      return messages;
    },
    bytes: 10,
  });
  hour.sample(reading(10, { in: inward }), 10_000);
  messages = 30;
  hour.sample(reading(10, { in: inward }), 20_000);
  assert.deepEqual(hour.after(0).map((sample) => sample.in.messagesPerSecond), [1, 2]);
});

Deno.test("an hour is kept and no more, however many lookups end", () => {
  const hour = new PastHour(0);
  for (let i = 1; i <= 400; i++) hour.sample(reading(i), i * SAMPLE_EVERY_MS);
  const kept = hour.after(0);
  assert.equal(kept.length, 360);
  assert.equal(kept[0].at, 41 * SAMPLE_EVERY_MS);
  for (let i = 0; i < 100_000; i++) hour.note(lookup(i));
  hour.sample(reading(401), 401 * SAMPLE_EVERY_MS);
  const { count, p95Ms } = hour.after(400 * SAMPLE_EVERY_MS)[0].lookups;
  assert.equal(count, 100_000);
  assert.ok(p95Ms! < 1_024);
});

Deno.test("two samples at one moment, as after a clock was set back, have finite rates", () => {
  const hour = new PastHour(10_000);
  hour.sample(reading(10), 10_000);
  hour.sample(reading(20), 5_000);
  for (const sample of hour.after(0)) {
    assert.ok(Number.isFinite(sample.in.bytesPerSecond) && sample.in.bytesPerSecond >= 0);
  }
});
