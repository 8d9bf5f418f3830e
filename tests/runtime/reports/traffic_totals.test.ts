// The totals of traffic: what counts where, what is kept, and restarts.

import assert from "node:assert/strict";
import { Usage } from "../../../src/dht/usage.ts";
import { Records } from "../../../src/runtime/records.ts";
import { TrafficTotals } from "../../../src/runtime/reports/traffic_totals.ts";
import { latin1 } from "../../packets.ts";
import { recordsInto } from "../records.ts";

const EVENING = Date.parse("2026-04-30T23:30:00Z"), HOUR_MS = 3_600_000;

/** The headers of UDP and IPv4. */
const HEADERS = 28;

Deno.test("bytes count in their hour, day and month, by purpose", () => {
  const usage = new Usage(), totals = new TrafficTotals(usage, new Records());
  usage.noteSent("answers", 100, 4);
  usage.noteReceived("upkeep", 50, 6);
  totals.note(EVENING);
  usage.noteSent("answers", 200, 4);
  totals.note(EVENING + HOUR_MS);
  const { hours, days, months } = totals.report();
  assert.deepEqual(hours.map(({ hour, sent }) => [hour, sent]), [
    ["2026-04-30T23:00:00Z", 100 + HEADERS],
    ["2026-05-01T00:00:00Z", 200 + HEADERS],
  ]);
  assert.deepEqual(days.map(({ day, received }) => [day, received]), [
    ["2026-04-30", 50 + 48],
    ["2026-05-01", 0],
  ]);
  assert.deepEqual(months.map(({ month, by_purpose }) => [month, by_purpose.answers.sent]), [
    ["2026-04", 100 + HEADERS],
    ["2026-05", 200 + HEADERS],
  ]);
  assert.equal(totals.monthBytes, 200 + HEADERS);
});

Deno.test("a seal counts for each packet", () => {
  const usage = new Usage(40);
  usage.noteSent("requests", 100, 4);
  assert.equal(usage.sent.requests, 100 + 40 + HEADERS);
});

/** Records in memory, and what was saved of them. */
function recorded(saved = new Map<string, Uint8Array>()) {
  return { records: recordsInto(saved, saved), saved };
}

Deno.test("totals continue after a restart, and damaged ones are left out", () => {
  const { records, saved } = recorded();
  const usage = new Usage(), totals = new TrafficTotals(usage, records);
  usage.noteSent("relay", 100, 4);
  totals.note(EVENING);
  totals.save();
  assert.deepEqual([...saved.keys()].sort(), [
    "traffic/2026-04",
    "traffic/2026-04-30",
    "traffic/2026-04-30T23",
  ]);
  saved.set("traffic/2026-03", latin1('{"sent":{"relay":-1},"received":{}}'));
  saved.set("traffic/2026-02", latin1("nothing"));
  const next = new Usage(), again = new TrafficTotals(next, recorded(saved).records);
  next.noteSent("relay", 1, 4);
  again.note(EVENING);
  const { months } = again.report();
  assert.deepEqual(months.map(({ month, sent }) => [month, sent]), [[
    "2026-04",
    101 + 2 * HEADERS,
  ]]);
});

Deno.test("old hours are deleted", () => {
  const { records, saved } = recorded();
  const usage = new Usage(), totals = new TrafficTotals(usage, records);
  for (let hour = 0; hour < 100; hour++) {
    usage.noteSent("answers", 100, 4);
    totals.note(EVENING + hour * HOUR_MS);
    totals.save();
  }
  const { hours, days } = totals.report();
  assert.equal(hours.length, 72);
  assert.equal(hours.at(-1)!.hour, "2026-05-05T02:00:00Z");
  assert.equal([...saved.keys()].filter((name) => name.includes("T")).length, 72);
  assert.equal(days.length, 6);
});

Deno.test("the budget of a month is used up by both directions, and begins again with the next", () => {
  const usage = new Usage(), totals = new TrafficTotals(usage, new Records());
  usage.noteSent("answers", 600 - HEADERS, 4);
  usage.noteReceived("other", 300 - HEADERS, 4);
  totals.note(EVENING);
  const until = "2026-05-01T00:00:00Z";
  assert.deepEqual(totals.budget(1000), {
    ...{ bytes: 1000, used: 900, left: 100, until, read_only: false },
  });
  usage.noteSent("answers", 200 - HEADERS, 4);
  totals.note(EVENING);
  assert.deepEqual(totals.budget(1000), {
    ...{ bytes: 1000, used: 1100, left: 0, until, read_only: true },
  });
  totals.note(EVENING + HOUR_MS);
  assert.equal(totals.budget(1000).read_only, false);
  totals.note(Date.parse("2026-12-31T12:00:00Z"));
  assert.equal(totals.budget(1000).until, "2027-01-01T00:00:00Z");
});
