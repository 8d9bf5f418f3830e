// How many packets a node of another project gets.

import assert from "node:assert/strict";
import { immutableItem, isItemError, type Item } from "../../../src/dht/items/item.ts";
import type { GetResult, PutResult } from "../../../src/dht/items/item_operations.ts";
import type { FindResult } from "../../../src/dht/search/searches.ts";
import { Pace } from "../../../src/dht/search/pace.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { endpoint, latin1, query } from "../../packets.ts";
import { ForeignClient } from "../foreign_client.ts";
import { VirtualNetwork } from "../virtual_network.ts";

/** libtorrent's guard: it blocks an address after this many packets within this time. */
const GUARD_PACKETS = 50, GUARD_MS = 10_000;

/** The largest number of packets within the guard's time. */
function densest(times: readonly number[]): number {
  let most = 0;
  for (let from = 0, to = 0; to < times.length; to++) {
    while (times[to] - times[from] >= GUARD_MS) from++;
    most = Math.max(most, to - from + 1);
  }
  return most;
}

/** Dmnodes and foreign clients that all know each other. Packets that the first node sends to clients are noted. */
function mixed({ dmnodes, clients }: { dmnodes: number; clients: number }) {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(dmnodes);
  network.run(20_000);
  const foreign = Array.from({ length: clients }, (_, i) => {
    const client = new ForeignClient(network, `10.9.9.${i}:1`);
    for (const node of nodes) client.meet(node);
    return client;
  });
  const arrivals = foreign.map(() => [] as number[]);
  network.link = (datagram, from, to) => {
    if (!from.equals(nodes[0].endpoint)) return datagram;
    const at = foreign.findIndex((client) => client.at.equals(to));
    if (at >= 0) arrivals[at].push(network.now);
    return datagram;
  };
  const [{ node: writer }] = nodes;
  return { network, nodes, foreign, arrivals, writer };
}

function item(n: number): Item {
  const made = immutableItem(itemCrypto, bencodeBytes(latin1(`piece ${n}`)));
  assert.ok(!isItemError(made));
  return made;
}

/** Stores `count` items as a batch, 16 at a time. Returns how long it took, and the fewest acknowledgements. */
function store({ network, writer }: ReturnType<typeof mixed>, count: number) {
  const batch = writer.batch(), startedAt = network.now;
  let next = 0, done = 0, fewest = Infinity;
  const putNext = () => {
    if (next === count) return;
    const part = { item: item(next++), batch, copies: 2 };
    writer.items.putPart(part, network.now, ({ stored }) => {
      done++;
      fewest = Math.min(fewest, stored.length);
      putNext();
    });
  };
  for (let i = 0; i < 16; i++) putNext();
  while (done < count && network.now < startedAt + 600_000) network.run(10);
  assert.equal(done, count);
  return { elapsed: network.now - startedAt, fewest };
}

Deno.test("foreign clients neither delay a large value nor get too many packets", () => {
  const without = store(mixed({ dmnodes: 21, clients: 0 }), 1_000);
  const scene = mixed({ dmnodes: 21, clients: 5 });
  const beside = store(scene, 1_000);
  assert.ok(scene.arrivals.every((times) => densest(times) < GUARD_PACKETS));
  assert.equal(beside.fewest, 2);
  assert.ok(beside.elapsed <= 1.1 * without.elapsed, `${beside.elapsed} ${without.elapsed}`);
});

Deno.test("a foreign client that is the only other node gets every item, within its rate limit", () => {
  const scene = mixed({ dmnodes: 1, clients: 1 }), { network, writer, arrivals } = scene;
  for (let n = 0; n < 40; n++) {
    const { target } = item(n), put = { target, make: () => item(n) };
    const { stored } = network.complete<PutResult>((now, done) => writer.items.put(put, now, done));
    assert.equal(stored.length, 2);
  }
  assert.ok(densest(arrivals[0]) < GUARD_PACKETS, `${densest(arrivals[0])}`);
});

Deno.test("a lookup queries other nodes while a foreign client has reached its rate limit", () => {
  const { network, nodes, writer, arrivals } = mixed({ dmnodes: 8, clients: 1 });
  for (let n = 0; n < 200; n++) {
    const target = network.randomId();
    const { elapsed, closest } = network.complete<FindResult>((now, done) =>
      writer.find(target, now, done)
    );
    assert.ok(elapsed < 1_000, `${elapsed}`);
    assert.ok(closest.length >= nodes.length - 1);
  }
  assert.ok(densest(arrivals[0]) < GUARD_PACKETS);
});

Deno.test("a get waits for a foreign client that has reached its rate limit, because only this client may have the value", () => {
  const { network, foreign: [client], writer } = mixed({ dmnodes: 8, clients: 1 });
  client.value = "piece 1";
  for (let n = 0; n < 12; n++) writer.find(network.randomId(), network.now, () => {});
  const { target } = item(1);
  const result = network.complete<GetResult>((now, done) =>
    writer.items.get({ target }, now, done)
  );
  assert.ok(result.item !== undefined);
});

Deno.test("the answers that a foreign client gets count too", () => {
  const { network, nodes, foreign: [client], writer, arrivals } = mixed({ dmnodes: 2, clients: 1 });
  const find = () => writer.find(network.randomId(), network.now, () => {});
  find();
  network.run(1_000);
  for (let s = 0; s < 10; s++) {
    // Twenty queries of the client itself, and as many lookups of ours as fit beside them.
    for (let i = 0; i < 2; i++) client.send(query("ping", client.id), nodes[0].endpoint);
    for (let i = 0; i < 10; i++) find();
    network.run(1_000);
  }
  assert.ok(densest(arrivals[0]) < GUARD_PACKETS, `${densest(arrivals[0])}`);
});

Deno.test("an unanswered query halves the rate of packets to a node, and answers raise it again", () => {
  const at = endpoint("1.2.3.4:5");
  /** How many packets fit into 100 s. */
  const packets = (pace: Pace, from: number) => {
    let count = 0;
    for (let now = from; now < from + 100_000; now += 10) {
      if (pace.waitFor(at, now) > 0) continue;
      pace.spend(at, now);
      count++;
    }
    return count;
  };
  const pace = new Pace();
  const usual = packets(pace, 0);
  pace.noteSilence(at, 100_000);
  const slowed = packets(pace, 200_000);
  assert.ok(slowed < 0.65 * usual, `${slowed} of ${usual}`);
  for (let i = 0; i < 100; i++) pace.noteAnswer(at, false, 300_000);
  assert.ok(packets(pace, 400_000) > usual);
});

Deno.test("an unanswered query allows no further burst", () => {
  const pace = new Pace(), at = endpoint("1.2.3.4:5");
  while (pace.waitFor(at, 0) === 0) pace.spend(at, 0);
  const before = pace.waitFor(at, 0);
  pace.noteSilence(at, 0);
  assert.equal(pace.waitFor(at, 0), 2 * before);
});

Deno.test("after an outage of our own, a few answers restore the usual rate of packets to a node", () => {
  const pace = new Pace(), at = endpoint("1.2.3.4:5");
  /** How long a node must be left alone after a burst. */
  const waitAfterBurst = (now: number) => {
    while (pace.waitFor(at, now) === 0) pace.spend(at, now);
    return pace.waitFor(at, now);
  };
  const usual = waitAfterBurst(0);
  for (let i = 0; i < 10; i++) pace.noteSilence(at, 100_000);
  assert.ok(waitAfterBurst(200_000) > 10 * usual);
  for (let i = 0; i < 5; i++) pace.noteAnswer(at, false, 400_000);
  assert.equal(waitAfterBurst(400_000), usual);
});

Deno.test("packets to a node of this project have no rate limit", () => {
  const pace = new Pace(), at = endpoint("1.2.3.4:5");
  for (let i = 0; i < 100; i++) pace.spend(at, 0);
  assert.ok(pace.waitFor(at, 0) > 0);
  pace.noteAnswer(at, true, 0);
  assert.equal(pace.waitFor(at, 0), 0);
  assert.equal(pace.size, 0);
});

Deno.test("a claim about its software by one endpoint does not lift the limit of another endpoint of the same address", () => {
  const pace = new Pace();
  for (let i = 0; i < 100; i++) pace.spend(endpoint("1.2.3.4:5"), 0);
  pace.noteAnswer(endpoint("1.2.3.4:6"), true, 0);
  assert.ok(pace.waitFor(endpoint("1.2.3.4:5"), 0) > 0);
});

Deno.test("the number of remembered rates is limited", () => {
  const pace = new Pace();
  for (let port = 1; port < 5_000; port++) pace.spend(endpoint(`1.2.3.4:${port}`), port);
  assert.equal(pace.size, 512);
});
