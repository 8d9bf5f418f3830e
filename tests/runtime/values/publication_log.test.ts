// Tests the past of published values: publications, failures and counts.

import assert from "node:assert/strict";
import { Records } from "../../../src/runtime/records.ts";
import {
  MAX_ENTRIES,
  MAX_VALUES,
  PublicationLog,
  type PublicationState,
} from "../../../src/runtime/values/publication_log.ts";
import { recordsInto } from "../records.ts";

const HASH = "ab".repeat(20);

const state = (lastAt: number | null, rest: Partial<PublicationState> = {}): PublicationState => ({
  hash: HASH,
  lastAt,
  failures: 0,
  replicas: 20,
  seq: 7,
  ...rest,
});

const entries = (log: PublicationLog) =>
  log.of(HASH).map(({ at, kind, copies }) => [Date.parse(at), kind, copies]);

Deno.test("each publication, failure and count is logged once", () => {
  const log = new PublicationLog(new Records());
  log.follow([state(1_000)], 1_500);
  log.follow([state(1_000, { replicas: 19 })], 1_600);
  log.follow([state(1_000, { failures: 1 })], 2_000);
  log.follow([state(1_000, { failures: 1 })], 2_100);
  log.follow([state(1_000, { failures: 2 })], 3_000);
  log.noteCount(HASH, 17, 3_500);
  log.follow([state(4_000)], 4_000);
  assert.deepEqual(entries(log), [
    [1_000, "published", 20],
    [2_000, "failed", 0],
    [3_000, "failed", 0],
    [3_500, "counted", 17],
    [4_000, "published", 20],
  ]);
});

Deno.test("the log is bounded, survives a restart and forgets values that are no longer published", () => {
  const saved = new Map<string, Uint8Array>();
  const log = new PublicationLog(recordsInto(saved));
  for (let i = 1; i <= 2 * MAX_ENTRIES; i++) log.follow([state(i)], i);
  assert.equal(log.of(HASH).length, MAX_ENTRIES);
  assert.deepEqual(new PublicationLog(new Records(saved)).of(HASH), log.of(HASH));
  const many = Array.from({ length: MAX_VALUES + 10 }, (_, n) => state(1, { hash: `${n}` }));
  log.follow(many, 1);
  assert.equal(saved.size, MAX_VALUES);
  assert.deepEqual(log.of(HASH), []);
  log.follow([], 2);
  assert.equal(saved.size, 0);
});

Deno.test("the count of a value that is not published is ignored, and so are damaged records", () => {
  const log = new PublicationLog(new Records(new Map([[`copies/${HASH}`, new Uint8Array(33)]])));
  assert.deepEqual(log.of(HASH), []);
  log.noteCount(HASH, 3, 1);
  assert.deepEqual(log.of(HASH), []);
});
