// Tests the important events that the charts mark.

import assert from "node:assert/strict";
import { Records } from "../../../src/runtime/records.ts";
import { Marks, MAX_MARKS } from "../../../src/runtime/reports/marks.ts";
import { recordsInto } from "../records.ts";

const MINUTE = 60_000;

const ready = (isReady: boolean) => ({
  type: "ready" as const,
  data: { ready: isReady, reason: "no peer answers" },
});

Deno.test("important events are kept in order, also over a restart", () => {
  const saved = new Map<string, Uint8Array>();
  const marks = new Marks(recordsInto(saved));
  marks.start("0.1.0", 0);
  marks.note(ready(false), MINUTE);
  marks.changeId(3 * MINUTE);
  const expected = [
    ["start", "the node started, version 0.1.0"],
    ["ready", "not ready: no peer answers"],
    ["id", "the node changed its id"],
  ];
  assert.deepEqual(marks.after(-1).map(({ type, text }) => [type, text]), expected);
  assert.deepEqual(marks.after(MINUTE).length, 1);
  assert.deepEqual(new Marks(new Records(saved)).after(-1), marks.after(-1));
});

Deno.test("a state that flutters leaves one mark a minute, and old marks are dropped", () => {
  const saved = new Map<string, Uint8Array>();
  const marks = new Marks(recordsInto(saved));
  for (let i = 0; i < 10; i++) marks.note(ready(i % 2 === 0), i);
  assert.equal(marks.after(-1).length, 1);
  for (let i = 1; i <= 2 * MAX_MARKS; i++) marks.note(ready(true), i * MINUTE);
  assert.equal(marks.after(-1).length, MAX_MARKS);
  assert.equal(saved.size, MAX_MARKS);
});

Deno.test("damaged marks are left out", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const saved = new Map([["mark/0", bytes("x")], ["mark/1", bytes("1 virus y")], [
    "mark/2",
    bytes(""),
  ]]);
  assert.deepEqual(new Marks(new Records(saved)).after(-1), []);
});
