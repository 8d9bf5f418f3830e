// Our own queries: when one is slow, late, overdue and missed.

import assert from "node:assert/strict";
import { Writer } from "../../src/krpc/bencode.ts";
import { decode, type Message } from "../../src/krpc/message.ts";
import { Contact } from "../../src/dht/contact.ts";
import { OwnCoordinate } from "../../src/dht/coordinate.ts";
import type { Host } from "../../src/dht/host.ts";
import { Queries, whenDone } from "../../src/dht/queries.ts";
import { Random } from "../../src/dht/random.ts";
import { Traffic } from "../../src/dht/traffic.ts";
import { encode, endpoint, id } from "../packets.ts";

/** Queries to one contact that answers in 40 ms, give or take 5. */
function scene() {
  const at = endpoint("1.2.3.4:5");
  const contact = new Contact(id("aa"), at, 0);
  contact.recall(
    { firstSeen: 0, lastSeen: 0, rtt: 40, rttVariation: 15, answerRate: 1, faults: 0 },
    0,
  );
  const sent: Uint8Array[] = [];
  const misses: string[] = [];
  const unsure: boolean[] = [];
  const queries = new Queries(
    {
      host: { send: (datagram: Uint8Array) => void sent.push(datagram.slice()) } as unknown as Host,
      self: { id: id("01") },
      client: 0,
      traffic: new Traffic(),
      nat: { noteSent: () => {}, noteVote: () => {}, isReadOnly: () => false },
      coordinate: new OwnCoordinate(),
      contactAt: () => contact,
      noteAnswer: (_, __, ___, ____, isUnsure) => void unsure.push(isUnsure),
      noteMiss: (_id, _to, reason) => void misses.push(reason),
      isAdaptive: true,
    },
    new Writer(1_000),
    new Random((length) => new Uint8Array(length).fill(7)),
  );
  const heard: [string, number][] = [];
  const watcher = {
    onLate: (now: number) => void heard.push(["late", now]),
    onOverdue: (now: number) => void heard.push(["overdue", now]),
    done: ({ kind }: { kind: string }, now: number) => void heard.push([kind, now]),
  };
  const send = () =>
    queries.send({ method: "ping", to: at, args: {}, expected: contact.id }, 0, watcher);
  const run = () => {
    while (queries.nextDeadline < Infinity) queries.tick(queries.nextDeadline);
  };
  /** Hands in the answer to the query that was sent last. */
  const answer = (now: number) => {
    const { packet, tidStart, tidEnd } = decode(sent.at(-1)!) as Message;
    const t = packet.slice(tidStart, tidEnd);
    const reply = decode(encode({ t, y: "r", r: { id: id("aa").toBytes() } })) as Message;
    return queries.receive(reply, at, now);
  };
  return { queries, at, sent, misses, unsure, heard, send, run, answer };
}

Deno.test("a query is sent again after mean and two and a half variations, and missed at last", () => {
  const { sent, misses, heard, send, run, queries } = scene();
  send();
  run();
  assert.deepEqual(heard, [["late", 77.5], ["overdue", 155], ["timeout", 1077.5]]);
  assert.equal(sent.length, 2);
  assert.deepEqual(misses, ["no answer to ping"]);
  assert.equal(queries.open, 0);
});

Deno.test("when our own process slept, answers get their time before a query is late", () => {
  const { heard, send, queries, answer } = scene();
  send();
  queries.tick(5_000);
  assert.deepEqual(heard, []);
  assert.ok(answer(5_001));
  assert.deepEqual(heard, [["response", 5_001]]);
  assert.equal(queries.nextDeadline, Infinity);
});

Deno.test("an answer that waited while our own process slept tells nothing of the round trip", () => {
  for (const isTickFirst of [true, false]) {
    const { send, queries, unsure, answer } = scene();
    send();
    answer(40);
    send();
    if (isTickFirst) queries.tick(3_600_000);
    answer(3_600_000);
    assert.deepEqual(unsure, [false, true]);
  }
});

Deno.test("queries of a process that never catches up end nevertheless, cost no more packets, and blame nobody", () => {
  const { queries, sent, misses, heard, send } = scene();
  send();
  for (let i = 0; i < 10 && queries.open > 0; i++) queries.tick(queries.nextDeadline + 150);
  assert.deepEqual(heard.map(([what]) => what), ["late", "overdue", "timeout"]);
  assert.deepEqual([queries.open, sent.length, misses], [0, 1, []]);
});

Deno.test("a watcher may want nothing but the outcome", () => {
  const { queries, at, run } = scene();
  const outcomes: string[] = [];
  const query = { method: "ping", to: at, args: {}, expected: undefined } as const;
  queries.send(query, 0, whenDone(({ kind }) => outcomes.push(kind)));
  run();
  assert.deepEqual(outcomes, ["timeout"]);
});
