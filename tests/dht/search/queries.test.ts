// Our own queries: when they are late, overdue and missed.

import assert from "node:assert/strict";
import { Outbox } from "../../../src/dht/outbox.ts";
import { Random } from "../../../src/dht/random.ts";
import { Contact } from "../../../src/dht/routing/contact.ts";
import { Tables } from "../../../src/dht/routing/tables.ts";
import { Queries } from "../../../src/dht/search/queries.ts";
import { whenDone } from "../../../src/dht/search/query.ts";
import { Self } from "../../../src/dht/self.ts";
import { Traffic } from "../../../src/dht/traffic.ts";
import { decode, type Message, type Method } from "../../../src/krpc/message.ts";
import { encode, endpoint, id } from "../../packets.ts";

/** The contact's round trip and its variation. */
const RTT = 40, VARIATION = 15;

/** The times at which a query to the contact is repeated, overdue and missed. */
const LATE = RTT + 2.5 * VARIATION, OVERDUE = 2 * LATE, MISSED = LATE + 1_000;

/** Queries to one contact whose round trip is known. */
function scene(rtt = RTT, rttVariation = VARIATION) {
  const at = endpoint("1.2.3.4:5"), own = id("01");
  const contact = new Contact(id("aa"), at, 0);
  const record = { firstSeen: 0, lastSeen: 0, answerRate: 1, faults: 0 };
  contact.recall({ ...record, rtt, rttVariation }, 0);
  const tables = new Tables({ id: own, k: 20, families: [4] }, 0);
  tables.of(4).admit(contact, 0);
  const sent: Uint8Array[] = [];
  const transport = {
    send: (datagram: Uint8Array) => void sent.push(datagram.slice()),
    isLocal: () => false,
    openSockets: () => undefined,
  };
  const outbox = new Outbox({ self: new Self(own, 0), traffic: new Traffic(), transport });
  let filling = 0;
  const random = new Random((length) => new Uint8Array(length).fill(filling++));
  const queries = new Queries({ outbox, tables, random });
  const misses: string[] = [];
  queries.onMiss = (_, miss) => void misses.push(miss);
  const unsure: boolean[] = [], measured: number[] = [];
  queries.onAnswer = (_, { isRttUnsure, rtt }) => {
    unsure.push(isRttUnsure);
    measured.push(rtt);
  };
  const heard: [string, number][] = [];
  const watcher = {
    onLate: (now: number) => void heard.push(["late", now]),
    onOverdue: (now: number) => void heard.push(["overdue", now]),
    done: ({ kind }: { kind: string }, now: number) => void heard.push([kind, now]),
  };
  const send = (method: Method = "ping", args = {}) =>
    queries.send({ method, to: at, args, expected: contact.id }, 0, watcher);
  const run = () => {
    while (queries.nextDeadline < Infinity) queries.tick(queries.nextDeadline);
  };
  const runUntil = (end: number) => {
    while (queries.nextDeadline <= end) queries.tick(queries.nextDeadline);
  };
  /** Delivers the answer to a packet, by default to the one that was sent last. */
  const answer = (now: number, index = sent.length - 1) => {
    const { packet, tidStart, tidEnd } = decode(sent[index]) as Message;
    const t = packet.slice(tidStart, tidEnd);
    const reply = decode(encode({ t, y: "r", r: { id: id("aa").toBytes() } })) as Message;
    return queries.receive(reply, at, now);
  };
  return { queries, at, sent, misses, unsure, measured, heard, send, run, runUntil, answer };
}

Deno.test("a query is repeated after the mean and two and a half variations, and finally missed", () => {
  const { sent, misses, heard, send, run, queries } = scene();
  send();
  run();
  assert.deepEqual(heard, [["late", LATE], ["overdue", OVERDUE], ["timeout", MISSED]]);
  assert.equal(sent.length, 2);
  assert.deepEqual(misses, ["no_answer"]);
  assert.equal(queries.open, 0);
});

Deno.test("after our own process stalled, answers still have time before a query is late", () => {
  const { heard, send, queries, answer } = scene();
  send();
  queries.tick(5_000);
  assert.deepEqual(heard, []);
  assert.ok(answer(5_001));
  assert.deepEqual(heard, [["response", 5_001]]);
  assert.equal(queries.nextDeadline, Infinity);
});

Deno.test("an answer that waited while our own process stalled does not count as a round trip", () => {
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

Deno.test("in a process that never catches up, queries end without more packets and without a miss", () => {
  const { queries, sent, misses, heard, send } = scene();
  send();
  for (let i = 0; i < 10 && queries.open > 0; i++) queries.tick(queries.nextDeadline + 150);
  assert.deepEqual(heard.map(([what]) => what), ["late", "overdue", "timeout"]);
  assert.deepEqual([queries.open, sent.length, misses], [0, 1, []]);
});

Deno.test("an answer after eight seconds is used and measured, but does not end its query twice", () => {
  const { misses, measured, heard, send, runUntil, answer, queries } = scene();
  send();
  runUntil(8_000);
  assert.deepEqual(misses, ["no_answer"]);
  assert.equal(queries.open, 0);
  assert.ok(answer(8_000, 0));
  assert.deepEqual(measured, [8_000]);
  assert.deepEqual(heard.map(([what]) => what), ["late", "overdue", "timeout"]);
  assert.equal(queries.nextDeadline, Infinity);
});

Deno.test("an answer that arrives after ten seconds is ignored", () => {
  const { send, runUntil, answer } = scene();
  send();
  runUntil(10_000);
  assert.ok(!answer(10_001));
});

Deno.test("the round trip is that of the packet that was answered, the first or the second", () => {
  for (const [index, expected] of [[0, 90], [1, 90 - LATE]]) {
    const { sent, measured, unsure, send, runUntil, answer } = scene();
    send();
    runUntil(80);
    assert.equal(sent.length, 2);
    answer(90, index);
    assert.deepEqual([measured, unsure], [[expected], [false]]);
  }
});

Deno.test("a query to a slow node is late after a second, but is repeated only after the node's own time", () => {
  const rtt = 4_000, variation = 400;
  const { sent, misses, heard, send, runUntil, answer } = scene(rtt, variation);
  send();
  runUntil(4_999);
  assert.deepEqual(heard, [["late", 1_000], ["overdue", 2_000]]);
  assert.deepEqual([sent.length, misses], [1, []]);
  runUntil(5_001);
  assert.equal(sent.length, 2);
  answer(8_000, 0);
  assert.deepEqual(heard.at(-1), ["response", 8_000]);
});

Deno.test("a put has more time than a round trip, because its receiver writes to its disk", () => {
  const { sent, unsure, send, runUntil, answer } = scene();
  send("put", { token: new Uint8Array(4), value: new Uint8Array([0x69, 0x31, 0x65]) });
  runUntil(240);
  assert.equal(sent.length, 1);
  answer(240);
  assert.deepEqual(unsure, [true]);
});

Deno.test("puts are repeated later if they take longer", () => {
  const { sent, send, runUntil, answer } = scene();
  const put = () =>
    send("put", { token: new Uint8Array(4), value: new Uint8Array([0x69, 0x31, 0x65]) });
  for (let i = 0; i < 50; i++) {
    const index = sent.length;
    put();
    runUntil(900);
    answer(900, index);
  }
  const before = sent.length;
  put();
  runUntil(900);
  assert.equal(sent.length, before + 1);
});

Deno.test("puts that take many seconds don't delay the repetition of others by seconds", () => {
  const { sent, send, runUntil, answer } = scene();
  const put = () =>
    send("put", { token: new Uint8Array(4), value: new Uint8Array([0x69, 0x31, 0x65]) });
  for (let i = 0; i < 10; i++) {
    const index = sent.length;
    put();
    runUntil(9_000);
    answer(9_000, index);
  }
  const before = sent.length;
  put();
  runUntil(3_000);
  assert.equal(sent.length, before + 2);
});

Deno.test("whenDone reports only the outcome", () => {
  const { queries, at, run } = scene();
  const outcomes: string[] = [];
  const query = { method: "ping", to: at, args: {}, expected: undefined } as const;
  queries.send(query, 0, whenDone(({ kind }) => outcomes.push(kind)));
  run();
  assert.deepEqual(outcomes, ["timeout"]);
});
