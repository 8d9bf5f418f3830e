// The surroundings of a target: how often honest nodes crowd it, and what a node reports if Sybils do.

import assert from "node:assert/strict";
import { maxSimilar } from "../../../src/dht/routing/diversity.ts";
import { Region } from "../../../src/dht/search/region.ts";
import { compareDistance, Id } from "../../../src/krpc/id.ts";
import { randomSource, VirtualNetwork } from "../virtual_network.ts";

const SIZE = 1_000, K = 20, TARGETS = 500;

/** The K closest of SIZE random ids to each of TARGETS random targets. */
function neighbourhoods() {
  const random = randomSource(1);
  const network = Array.from({ length: SIZE }, () => Id.read(random(20)));
  return Array.from({ length: TARGETS }, () => {
    const target = Id.read(random(20));
    const closest = network.toSorted((x, y) => compareDistance(x, y, target)).slice(0, K);
    return { target, closest };
  });
}

Deno.test("honest nodes crowd no target, even if the network seems a third larger or smaller", () => {
  for (const { target, closest } of neighbourhoods()) {
    for (const size of [2 / 3 * SIZE, SIZE, 4 / 3 * SIZE]) {
      const region = new Region(target, { k: K, size });
      assert.ok(!region.isInCore(closest[K - 1]), `${target}, ${size}`);
    }
  }
});

Deno.test("of honest nodes, at most one of 200 has more similar ids around it than a lookup accepts", () => {
  let refused = 0;
  for (const { target, closest } of neighbourhoods()) {
    const { similarBits } = new Region(target, { k: K, size: SIZE });
    const counts = new Map<number, number>();
    for (const { a } of closest) {
      const prefix = a >>> (32 - similarBits);
      counts.set(prefix, (counts.get(prefix) ?? 0) + 1);
    }
    for (const count of counts.values()) refused += Math.max(0, count - maxSimilar(K));
  }
  assert.ok(refused <= TARGETS * K / 200, `${refused}`);
});

Deno.test("twenty ids that share 24 bits with a target crowd it", () => {
  const random = randomSource(2), target = Id.read(random(20));
  const region = new Region(target, { k: K, size: SIZE });
  for (let i = 0; i < K; i++) {
    assert.ok(region.isInCore(target.withSuffix(24, Id.read(random(20)))));
  }
});

Deno.test("a node reports a crowded target once an hour", () => {
  const HOUR_MS = 3_600_000, NEAR_BITS = 24, k = 8;
  const network = new VirtualNetwork();
  const nodes = network.addJoined(60, { k });
  const target = network.randomId();
  for (let i = 0; i < 2 * k; i++) {
    const { node } = network.add({ id: target.withSuffix(NEAR_BITS, network.randomId()), k });
    node.membership.join([nodes[0].endpoint], [], network.now);
  }
  network.run(10_000);
  const { node, events } = nodes[1];
  const find = () => network.complete((now, done) => node.find(target, now, done));
  const alarms = () => events.filter(({ type }) => type === "lookup.crowded");
  find();
  find();
  const [alarm, ...others] = alarms();
  assert.deepEqual(others, []);
  assert.ok(alarm?.type === "lookup.crowded" && alarm.target.equals(target));
  assert.ok(alarm.nodes >= k && alarm.expected < k, `${alarm.nodes}, ${alarm.expected}`);
  assert.equal(node.searches.statistics.crowded, 1);
  network.run(HOUR_MS);
  find();
  assert.equal(alarms().length, 2);
});

Deno.test("a network that has grown tenfold since the latest lookups crowds no target", () => {
  const k = 8;
  const network = new VirtualNetwork();
  const first = network.addJoined(30, { k });
  const findAll = () => {
    for (const { node } of first) {
      for (let i = 0; i < 10; i++) {
        const target = network.randomId();
        network.complete((now, done) => node.find(target, now, done));
      }
    }
  };
  findAll();
  for (let i = 0; i < 270; i++) {
    const { node } = network.add({ k });
    node.membership.join([first[i % first.length].endpoint], [], network.now);
    network.run(100);
  }
  network.run(10_000);
  findAll();
  const alarms = first.flatMap(({ events }) => events.filter((e) => e.type === "lookup.crowded"));
  assert.deepEqual(alarms, []);
});
