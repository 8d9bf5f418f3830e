// What is kept of events and given to listeners: bounds of the log, and of what a connection that takes nothing costs.

import assert from "node:assert/strict";
import {
  Broadcast,
  type Listener,
  MAX_BACKLOG,
  type Sink,
  STALLED_MS,
} from "../../src/api/event_broadcast.ts";
import { EventFeed, typesOf } from "../../src/api/event_feed.ts";
import { EventLog } from "../../src/api/event_log.ts";
import { eventText } from "../../src/api/event_text.ts";
import type { SubscriptionEvents } from "../../src/api/front_thread.ts";
import type { EventType } from "../../src/api/schemas.ts";
import { FakeService, PEER_A } from "./fake_service.ts";

/** A connection that keeps what it is given until the test takes it off. */
class FakeSink implements Sink {
  readonly format = {
    name: "lines",
    encode: (events: readonly { text: string }[]) =>
      new TextEncoder().encode(events.map(({ text }) => `${text}\n`).join("")),
  };
  readonly beats: boolean[] = [];
  writes = 0;
  backlog = 0;
  most = 0;
  ended: string | undefined;
  #text = "";

  send(bytes: Uint8Array): void {
    this.writes++;
    this.#text += new TextDecoder().decode(bytes);
    this.backlog += bytes.length;
    this.most = Math.max(this.most, this.backlog);
  }

  beat(isSilent: boolean): void {
    this.beats.push(isSilent);
  }

  end(reason: string): void {
    this.ended = reason;
  }

  /** What it was given. */
  get messages() {
    return this.#text.trimEnd().split("\n").map((line) => JSON.parse(line));
  }
}

const HELLO = { node_id: PEER_A, version: "", peers: 0 };

function connect(
  broadcast: Broadcast,
  sink: Sink,
  types: EventType[] = ["data.expire"],
): Listener {
  const wish = { types: new Set(types), since: null, hello: HELLO };
  const listener = broadcast.open(wish, () => {});
  listener.start(sink);
  return listener;
}

/** A broadcast, and what has it tell numbered events. */
function broadcasting() {
  const broadcast = new Broadcast(new EventLog(1));
  let id = 0;
  const expire = () => {
    const text = eventText(++id, "data.expire", 0, { hash: PEER_A });
    broadcast.tell({ id, type: "data.expire", text });
  };
  return { broadcast, expire };
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 0));

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `in vain: ${holds}`);
    await soon();
  }
}

Deno.test("who takes nothing is given no more than a fixed number of bytes, and then ended", async () => {
  const { broadcast, expire } = broadcasting();
  const stuck = new FakeSink(), other = new FakeSink();
  connect(broadcast, stuck);
  connect(broadcast, other);
  let told = 0;
  while (stuck.ended === undefined) {
    for (let i = 0; i < 100; i++, told++) expire();
    other.backlog = 0;
    await soon();
    assert.ok(told < 20_000, "it is never ended");
  }
  assert.equal(stuck.ended, "slow");
  assert.ok(stuck.most > MAX_BACKLOG && stuck.most < 2 * MAX_BACKLOG, `${stuck.most}`);
  assert.equal(other.ended, undefined);
  assert.ok(other.writes < told / 4, `${told} events in ${other.writes} writes`);
  broadcast.close();
});

Deno.test("readings are left out for who is behind, and events are not", async () => {
  const { broadcast, expire } = broadcasting(), sink = new FakeSink();
  connect(broadcast, sink, ["data.expire", "lookup.step"]);
  const step = (lookup: number) => {
    const text = JSON.stringify({ type: "lookup.step", data: { lookup } });
    broadcast.tell({ id: null, type: "lookup.step", text });
  };
  const told = () => sink.messages.slice(1);
  step(1);
  expire();
  step(2);
  await until(() => told().length === 3);
  assert.deepEqual(told().map(({ type }) => type), ["lookup.step", "data.expire", "lookup.step"]);

  sink.backlog = MAX_BACKLOG + 1;
  for (let i = 3; i < 10_000; i++) step(i);
  expire();
  await soon();
  assert.equal(told().length, 3, "it has too much to send");
  sink.backlog = -(2 ** 30);
  await until(() => told().at(-1).type === "data.expire");
  const steps = told().slice(3, -1).map(({ data }) => data.lookup);
  assert.ok(steps.length > 0 && steps.length < 9_000, `${steps.length}`);
  assert.deepEqual(steps, Array.from(steps, (_, i) => 10_000 - steps.length + i), "the newest");
  broadcast.close();
});

Deno.test("who has sent nothing for long is stalled; who sends a little is not", () => {
  const { broadcast } = broadcasting(), sink = new FakeSink();
  const listener = connect(broadcast, sink);
  assert.equal(listener.isStalled(0), false);
  sink.backlog = 2 * MAX_BACKLOG;
  assert.equal(listener.isStalled(1), false);
  assert.equal(listener.isStalled(STALLED_MS), false);
  assert.equal(listener.isStalled(STALLED_MS + 1), true);
  sink.backlog--;
  assert.equal(listener.isStalled(STALLED_MS + 2), false);
  sink.backlog = 0;
  assert.equal(listener.isStalled(10 * STALLED_MS), false);
  broadcast.close();
});

// What would go on running fails this test: Deno looks for timers that are left.
Deno.test("nothing is kept running for who has left; a place is free once the connection is gone", async () => {
  const service = new FakeService(), feed = new EventFeed(service, 1);
  const connections: SubscriptionEvents[] = [];
  const connect = async (types: string[]) => {
    const place = feed.open({ types: typesOf(types), since: null });
    await place.start(
      (_, events) => {
        connections.push(events);
        return { taken: Promise.resolve(), tell() {}, end() {} };
      },
      "frames",
      new Uint8Array(),
    );
  };
  await connect(["*", "lookup.step"]);
  assert.deepEqual([service.tellsSteps, feed.listeners], [true, 1]);
  connections[0].left();
  assert.deepEqual([service.tellsSteps, feed.listeners], [false, 0]);
  await assert.rejects(connect([]), /Too many clients/);
  connections[0].closed();
  connections[0].closed();
  await connect([]);
  connections[1].closed();
  await connect(["stats"]);
  await assert.rejects(connect([]), /Too many clients/);
  feed.close();
  await assert.rejects(connect([]), /The node is stopping/);
});

Deno.test("who has left is given no more, and nothing goes on for it", async () => {
  const { broadcast, expire } = broadcasting(), sink = new FakeSink();
  const listener = connect(broadcast, sink);
  listener.end("slow");
  expire();
  await soon();
  assert.deepEqual([sink.ended, sink.messages.length], ["slow", 1]);
  listener.release();
  listener.release();
});

Deno.test("a connection is told whether it was silent since the last beat, but not while it is full", () => {
  const { broadcast } = broadcasting(), sink = new FakeSink();
  const listener = connect(broadcast, sink);
  listener.beat(1);
  listener.beat(2);
  sink.backlog = MAX_BACKLOG + 1;
  listener.beat(3);
  assert.deepEqual(
    [sink.beats, listener.beatAt],
    [[false, true], 3],
    "hello came before the first",
  );
  broadcast.close();
});

Deno.test("the log keeps so many events and so many characters, and knows what is lost", () => {
  const log = new EventLog(100, { entries: 5, characters: 50 }, { entries: 2, characters: 50 });
  const add = (text: string) => log.addEvent("data.expire", 0, text);
  const readAll = (from: { event: number; reading: number }) => {
    const texts: string[] = [];
    for (let event; (event = log.read(from)) !== undefined;) texts.push(event.text);
    return texts;
  };
  assert.deepEqual([log.last, log.resume(99)], [99, {
    cursor: { event: 100, reading: 0 },
    missed: 0,
  }]);
  const begin = { ...log.end };
  for (const text of ["a", "b", "c", "d", "e"]) add(text);
  log.addReading("stats", 0, "r1");
  assert.deepEqual([log.last, log.isLost(begin)], [104, false]);
  assert.deepEqual(readAll({ ...begin }), ["a", "b", "c", "d", "e", "r1"]);
  add("f");
  assert.equal(log.isLost(begin), true);
  assert.deepEqual(log.resume(99), { cursor: { event: 101, reading: 1 }, missed: 1 });
  assert.deepEqual(readAll(log.resume(102).cursor), ["d", "e", "f"]);
  add("x".repeat(48));
  assert.deepEqual(readAll({ event: log.resume(99).cursor.event, reading: 1 }), [
    "e",
    "f",
    "x".repeat(48),
  ]);
  add("y".repeat(51));
  assert.deepEqual(readAll(log.resume(106).cursor), [], "longer than all that may be kept");
  add("z");
  assert.deepEqual(log.resume(106), { cursor: { event: 108, reading: 1 }, missed: 1 });
  assert.deepEqual([98, 0, 109].map((since) => log.resume(since).missed), [null, null, null]);
  // Of readings the oldest are passed over.
  for (const text of ["r2", "r3", "r4"]) log.addReading("stats", 0, text);
  assert.deepEqual(readAll({ event: 108, reading: 1 }), ["z", "r3", "r4"]);
});
