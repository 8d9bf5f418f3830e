// Tests the bounds of the event log, and of the memory that a listener costs that reads nothing.

import assert from "node:assert/strict";
import {
  Broadcast,
  type Listener,
  MAX_BACKLOG,
  type Sink,
  STALLED_MS,
} from "../../../src/api/events/broadcast.ts";
import { EventFeed, typesOf } from "../../../src/api/events/feed.ts";
import { EventLog, eventText } from "../../../src/api/events/log.ts";
import type { EventType } from "../../../src/reports/events.ts";
import { FakeService, PEER_A } from "../fake_service.ts";

/** A connection that stores the bytes it gets. Tests set its backlog. */
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

  /** The messages that it got. */
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
  const wish = { types: new Set(types), since: null };
  return broadcast.open({ ...wish, greeting: HELLO, connect: () => sink });
}

/** A broadcast, and a function that makes it send a numbered event. */
function broadcasting() {
  const broadcast = new Broadcast(new EventLog(1));
  let id = 0;
  const expire = () => {
    const data = { hash: PEER_A, reason: "expired" } as const;
    const text = eventText({ id: ++id, type: "data.expire", at: 0, data });
    broadcast.tell({ id, type: "data.expire", text });
  };
  return { broadcast, expire };
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 0));

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `this did not become true: ${holds}`);
    await soon();
  }
}

Deno.test("a listener that reads nothing gets a limited number of bytes, and is then disconnected", async () => {
  const { broadcast, expire } = broadcasting();
  const stuck = new FakeSink(), other = new FakeSink();
  connect(broadcast, stuck);
  connect(broadcast, other);
  let told = 0;
  while (stuck.ended === undefined) {
    for (let i = 0; i < 100; i++, told++) expire();
    other.backlog = 0;
    await soon();
    assert.ok(told < 20_000, "it was not disconnected");
  }
  assert.equal(stuck.ended, "slow");
  assert.ok(stuck.most > MAX_BACKLOG && stuck.most < 2 * MAX_BACKLOG, `${stuck.most}`);
  assert.equal(other.ended, undefined);
  assert.ok(other.writes < told / 4, `${told} events in ${other.writes} writes`);
  broadcast.close();
});

Deno.test("a slow listener skips readings, but gets every event", async () => {
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
  assert.equal(told().length, 3, "its backlog is full");
  sink.backlog = -(2 ** 30);
  await until(() => told().at(-1).type === "data.expire");
  const steps = told().slice(3, -1).map(({ data }) => data.lookup);
  assert.ok(steps.length > 0 && steps.length < 9_000, `${steps.length}`);
  assert.deepEqual(
    steps,
    Array.from(steps, (_, i) => 10_000 - steps.length + i),
    "the newest ones",
  );
  broadcast.close();
});

Deno.test("a listener is stalled if its full backlog has not shrunk for a while", () => {
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

// Deno fails this test if a timer is still running at its end.
Deno.test("no timer runs after the last listener left, and a closed connection makes room for another", () => {
  const service = new FakeService(), feed = new EventFeed(service, 1);
  const connect = (types: string[]) => {
    const wish = { types: typesOf(types), since: null };
    return feed.open({ ...wish, greeting: HELLO, connect: () => new FakeSink() });
  };
  const first = connect(["*", "lookup.step"]);
  assert.deepEqual([service.tellsSteps, feed.listeners], [true, 1]);
  first.stop();
  assert.deepEqual([service.tellsSteps, feed.listeners], [false, 0]);
  assert.throws(() => connect([]), /Too many clients/);
  first.release();
  first.release();
  connect([]).release();
  connect(["stats"]);
  assert.throws(() => connect([]), /Too many clients/);
  feed.close();
  assert.throws(() => connect([]), /The node is stopping/);
});

Deno.test("a listener that left gets no more events", async () => {
  const { broadcast, expire } = broadcasting(), sink = new FakeSink();
  const listener = connect(broadcast, sink);
  listener.end("slow");
  expire();
  await soon();
  assert.deepEqual([sink.ended, sink.messages.length], ["slow", 1]);
  listener.release();
  listener.release();
});

Deno.test("each check of a connection reports whether it was silent, unless its backlog is full", () => {
  const { broadcast } = broadcasting(), sink = new FakeSink();
  const listener = connect(broadcast, sink);
  listener.beat();
  listener.beat();
  sink.backlog = MAX_BACKLOG + 1;
  listener.beat();
  assert.deepEqual(sink.beats, [false, true], "hello came before the first");
  broadcast.close();
});

Deno.test("the log releases the text of an event that it drops", async () => {
  const module = import.meta.resolve("../../../src/api/events/log.ts");
  const program = `
    import { EventLog } from ${JSON.stringify(module)};
    const log = new EventLog(0, undefined, { entries: 1_000, characters: 1_000_000 });
    const used = () => (gc(), Deno.memoryUsage().heapUsed);
    const before = used();
    for (let i = 0; i < 1_000; i++) {
      log.add({ id: null, type: "stats", text: String(i).padEnd(50_000, "x").split("").join("") }, 0);
    }
    const after = used();
    console.log(log.end.reading, after - before);`;
  const args = ["eval", "--v8-flags=--expose-gc", "--no-check", program];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
  const [readings, grownBytes] = new TextDecoder().decode(stdout).trim().split(" ").map(Number);
  assert.equal(readings, 1_000);
  assert.ok(grownBytes < 2_000_000, `20 readings of 50,000 characters, not ${grownBytes} bytes`);
});

Deno.test("the log holds a limited number of events and characters, and counts the lost ones", () => {
  const log = new EventLog(100, { entries: 5, characters: 50 }, { entries: 2, characters: 50 });
  const add = (text: string) => log.add({ id: log.last + 1, type: "data.expire", text }, 0);
  const addReading = (text: string) => log.add({ id: null, type: "stats", text }, 0);
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
  addReading("r1");
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
  assert.deepEqual(readAll(log.resume(106).cursor), [], "longer than the log's limit");
  add("z");
  assert.deepEqual(log.resume(106), { cursor: { event: 108, reading: 1 }, missed: 1 });
  assert.deepEqual([98, 0, 109].map((since) => log.resume(since).missed), [null, null, null]);
  // The oldest readings are skipped.
  for (const text of ["r2", "r3", "r4"]) addReading(text);
  assert.deepEqual(readAll({ event: 108, reading: 1 }), ["z", "r3", "r4"]);
});
