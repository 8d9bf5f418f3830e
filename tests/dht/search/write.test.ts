// Writes to the closest nodes: which nodes get the value, and for which answers the write waits.

import assert from "node:assert/strict";
import type { Queries } from "../../../src/dht/search/queries.ts";
import type { Query, QueryWatcher } from "../../../src/dht/search/query.ts";
import { write, type WriteResult } from "../../../src/dht/search/write.ts";
import type { Message } from "../../../src/krpc/message.ts";
import { endpoint, id } from "../../packets.ts";

/** A write to four of `count` nodes. The test decides when they answer. */
function scene(count: number) {
  const sent: QueryWatcher[] = [];
  const tables = { k: 4, find: () => undefined };
  const send = (_: Query, __: number, watcher: QueryWatcher) => void sent.push(watcher);
  const nodes = Array.from({ length: count }, (_, i) => ({
    id: id(`${10 + i}`),
    endpoint: endpoint(`1.2.3.${i}:1`),
    token: new Uint8Array(4),
  }));
  const late: string[] = [];
  let result: WriteResult | undefined;
  const given = { method: "put", nodes, args: () => ({}) } as const;
  const queries = { tables, send } as unknown as Queries;
  const onStored = (by: unknown) => void late.push(`${by}`);
  write({ ...given, queries, onStored, purpose: "requests" }, 0, (ended) => result = ended);
  const answer = (index: number) =>
    sent[index].done({
      kind: "response",
      message: {} as Message,
      rtt: 1,
      isRttUnsure: false,
      isSecondTry: false,
    }, 1);
  return { sent, answer, stored: () => result?.stored.length, acknowledged: late };
}

Deno.test("a write gives the value to the next node if one is overdue, and does not wait for that one", () => {
  const { sent, answer, stored, acknowledged } = scene(10);
  for (let i = 0; i < 3; i++) answer(i);
  assert.deepEqual([sent.length, stored()], [4, undefined]);
  sent[3].onOverdue(1_000);
  assert.equal(sent.length, 5);
  answer(4);
  assert.equal(stored(), 4);
  answer(3);
  assert.equal(acknowledged.length, 5, "its late answer still counts");
});

Deno.test("a write waits for an overdue node if there is no other", () => {
  const { sent, answer, stored } = scene(4);
  for (let i = 0; i < 3; i++) answer(i);
  sent[3].onOverdue(1_000);
  assert.equal(stored(), undefined);
  answer(3);
  assert.equal(stored(), 4);
});

Deno.test("a write does not go to more and more nodes if all are overdue", () => {
  const { sent, answer, stored } = scene(20);
  for (let i = 0; i < sent.length; i++) sent[i].onOverdue(1_000);
  assert.equal(sent.length, 5);
  for (let i = 0; i < 4; i++) answer(i);
  assert.equal(stored(), undefined);
  answer(4);
  assert.equal(stored(), 5);
});

Deno.test("a query that was held and is overdue counts once", () => {
  const { sent, answer, stored } = scene(10);
  sent[0].onHeld!(0);
  sent[0].onOverdue(1_000);
  assert.equal(sent.length, 5);
  for (let i = 1; i < 5; i++) answer(i);
  assert.equal(stored(), 4);
});
