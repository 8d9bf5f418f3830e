// Writes that are sent during a lookup, and then taken over by the write to the closest nodes.

import assert from "node:assert/strict";
import { EarlyWrites } from "../../../src/dht/search/early_writes.ts";
import type { Queries } from "../../../src/dht/search/queries.ts";
import type { Query, QueryOutcome, QueryWatcher } from "../../../src/dht/search/query.ts";
import type { Message } from "../../../src/krpc/message.ts";
import { endpoint, id } from "../../packets.ts";

const STORED: QueryOutcome = {
  kind: "response",
  message: {} as Message,
  rtt: 1,
  isRttUnsure: false,
  isSecondTry: false,
};

const QUERY = {
  method: "put",
  to: endpoint("1.2.3.4:1"),
  args: {},
  expected: id("10"),
} as const;

function scene() {
  const sent: { query: Query; watcher: QueryWatcher }[] = [];
  const stored: string[] = [], heard: string[] = [];
  const send = (query: Query, _: number, watcher: QueryWatcher) =>
    void sent.push({ query, watcher });
  const writes = new EarlyWrites({ send } as unknown as Queries, (by) => void stored.push(`${by}`));
  const watcher: QueryWatcher = {
    onLate: () => void heard.push("late"),
    onOverdue: () => void heard.push("overdue"),
    done: ({ kind }) => void heard.push(kind),
  };
  return { sent, stored, heard, writes, watcher };
}

Deno.test("a node gets an early write once, and its acknowledgement counts at once", () => {
  const { sent, stored, heard, writes, watcher } = scene();
  writes.start(QUERY, 0);
  writes.start(QUERY, 1);
  assert.equal(sent.length, 1);
  sent[0].watcher.done(STORED, 2);
  assert.equal(stored.length, 1);
  writes.send(QUERY, 3, watcher);
  assert.deepEqual([sent.length, heard], [1, ["response"]]);
});

Deno.test("an early write that is open reports to the later one, also if it is overdue already", () => {
  const { sent, heard, writes, watcher } = scene();
  writes.start(QUERY, 0);
  sent[0].watcher.onOverdue(500);
  writes.send(QUERY, 600, watcher);
  assert.deepEqual([sent.length, heard], [1, ["overdue"]]);
  sent[0].watcher.done({ kind: "timeout" }, 1_500);
  assert.deepEqual(heard, ["overdue", "timeout"]);
});

Deno.test("a node without an early write gets the later one", () => {
  const { sent, writes, watcher } = scene();
  writes.start(QUERY, 0);
  writes.send({ ...QUERY, expected: id("20") }, 0, watcher);
  assert.equal(sent.length, 2);
});
