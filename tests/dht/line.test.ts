// The limits on a node's rates: who goes first, how long queries wait, and what is dropped.

import assert from "node:assert/strict";
import { Line } from "../../src/dht/line.ts";
import { type Bytes, type Purpose, PURPOSES } from "../../src/dht/purpose.ts";
import { query } from "../packets.ts";
import { Stranger, VirtualNetwork } from "./virtual_network.ts";

const RATE = 10_000, SECOND = 1_000;

const cost = (purpose: Purpose) => ({ purpose, up: 200, down: 400 });

const sum = (bytes: Bytes) => PURPOSES.reduce((total, purpose) => total + bytes[purpose], 0);

Deno.test("without limits nothing waits, and everything is accepted", () => {
  const line = new Line();
  line.noteSent(1e9, "answers");
  line.noteReceived(1e9);
  assert.equal(line.waitFor(cost("transfers"), 0), 0);
  assert.ok(line.mayAnswer(false, 0));
  assert.ok(line.mayReceive("stranger", 0));
});

Deno.test("as the line fills, large values wait first, then upkeep, requests and at last answers", () => {
  const line = new Line({ up: RATE });
  line.mayAnswer(false, 0);
  const order: string[] = [];
  for (let sent = 0; sent < 2 * RATE; sent += 100) {
    for (const purpose of ["transfers", "upkeep", "requests"] as const) {
      if (!order.includes(purpose) && line.waitFor(cost(purpose), 0) > 0) order.push(purpose);
    }
    if (!order.includes("answers") && !line.mayAnswer(false, 0)) order.push("answers");
    if (!order.includes("pings") && !line.mayAnswer(true, 0)) order.push("pings");
    line.noteSent(100, "upkeep");
  }
  assert.deepEqual(order, ["transfers", "upkeep", "requests", "answers", "pings"]);
});

Deno.test("a query waits behind those that wait already, but not behind less urgent ones", () => {
  const line = new Line({ up: RATE });
  line.noteSent(RATE, "upkeep");
  const first = line.waitFor(cost("requests"), 0);
  for (let i = 0; i < 100; i++) line.hold(cost("transfers"));
  assert.equal(line.waitFor(cost("requests"), 0), first);
  line.hold(cost("requests"));
  assert.equal(line.waitFor(cost("requests"), 0), first + SECOND * 200 / RATE);
  line.release(cost("requests"));
  assert.equal(line.waitFor(cost("requests"), 0), first);
});

Deno.test("a dropped packet does not use up the rate for others", () => {
  const line = new Line({ down: RATE });
  line.mayReceive("stranger", 0);
  line.noteReceived(0.8 * RATE);
  assert.ok(!line.mayReceive("stranger", 0));
  assert.ok(line.mayReceive("contact", 0));
  assert.ok(line.mayReceive("answer", 0));
  line.noteReceived(0.3 * RATE);
  assert.ok(!line.mayReceive("contact", 0));
  assert.ok(line.mayReceive("answer", 0));
  assert.ok(line.mayReceive("contact", SECOND));
});

Deno.test("answers leave a quarter of the rate for the node's own users", () => {
  const up = 10 * RATE, line = new Line({ up });
  line.mayAnswer(false, 0);
  line.noteSent(0.8 * up, "answers");
  assert.ok(!line.mayAnswer(false, 0));
  assert.equal(line.waitFor(cost("requests"), 0), 0);
});

Deno.test("changed rates hold at once", () => {
  const line = new Line({ up: RATE });
  line.noteSent(10 * RATE, "upkeep");
  line.set({ up: undefined, down: undefined });
  assert.ok(line.mayAnswer(false, 0));
});

Deno.test("a node stays within its rate in a flood, and its own lookups still succeed", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20);
  const { node, endpoint } = nodes[0], { usage } = node.traffic;
  usage.line.set({ up: RATE, down: undefined });
  const before = sum(usage.sent), seconds = 20;
  const strangers = Array.from({ length: 50 }, (_, i) => new Stranger(network, `10.9.9.${i}:1`));
  const target = network.randomId().toBytes(), id = network.randomId();
  let found = 0;
  for (let second = 0; second < seconds; second++) {
    for (const stranger of strangers) {
      for (let i = 0; i < 4; i++) stranger.send(query("find_node", id, { target }), endpoint);
    }
    if (second === 10) {
      node.find(network.randomId(), network.now, ({ closest }) => found = closest.length);
    }
    network.run(SECOND);
  }
  assert.ok(sum(usage.sent) - before <= RATE * (seconds + 2));
  assert.ok(node.traffic.dropped.over_limit! > 0);
  assert.equal(found, 19);
  assert.ok(node.tables.size === 19);
});

Deno.test("a read-only node by its budget answers nobody and repairs nothing, until the budget has room", () => {
  const network = new VirtualNetwork();
  const [{ node, endpoint }, other] = network.addJoined(5);
  node.forceReadOnly(true, network.now);
  let answered: boolean | undefined;
  const ping = () => {
    other.node.ping(endpoint, network.now, ({ kind }) => answered = kind === "pong");
    network.run(20 * SECOND);
    return answered;
  };
  assert.equal(ping(), false);
  assert.ok(node.self.isReadOnly(4));
  let found = 0;
  node.find(network.randomId(), network.now, ({ closest }) => found = closest.length);
  network.run(SECOND);
  assert.equal(found, 4);
  node.forceReadOnly(false, network.now);
  assert.equal(ping(), true);
});
