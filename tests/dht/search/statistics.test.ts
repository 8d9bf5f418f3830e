// Statistics of lookups and traffic.

import assert from "node:assert/strict";
import type { Candidate, LookupResult } from "../../../src/dht/search/lookup.ts";
import { LookupStatistics, sizeAround } from "../../../src/dht/search/statistics.ts";
import { Traffic } from "../../../src/dht/traffic.ts";
import { compareDistance, Id } from "../../../src/krpc/id.ts";
import { endpoint, id } from "../../packets.ts";
import { randomSource } from "../virtual_network.ts";

function result(target: Id, ids: Id[], changes: Partial<LookupResult> = {}): LookupResult {
  const closest = ids.map((of) => ({
    id: of,
    endpoint: endpoint("1.2.3.4:5"),
    hop: 1,
    state: "responded",
    sentAt: 0,
    rtt: 1,
    expected: NaN,
    token: undefined,
    client: 0,
  } satisfies Candidate));
  return {
    isWhole: true,
    isCrowded: false,
    nodesInCore: 0,
    isSparse: false,
    target,
    method: "find_node",
    family: 4,
    closest,
    asked: closest,
    heard: [],
    hops: 2,
    startedAt: 0,
    elapsed: 10,
    ...changes,
  };
}

/** The estimate of a node that has no neighbours. */
function sizeIn(statistics: LookupStatistics, now: number, family: 4 | 6 = 4): number | null {
  return statistics.networkSize({ own: id("00"), family, neighbours: [] }, now);
}

Deno.test("the size of the network is estimated from the density of ids around targets", () => {
  const random = randomSource(1);
  for (const size of [100, 1_000, 5_000]) {
    const network = Array.from({ length: size }, () => Id.read(random(20)));
    const statistics = new LookupStatistics();
    for (let i = 0; i < 64; i++) {
      const target = Id.read(random(20));
      const closest = network.slice().sort((x, y) => compareDistance(x, y, target)).slice(0, 20);
      statistics.record(result(target, closest), { k: 20, own: id("00") });
    }
    const estimate = sizeIn(statistics, 10)!;
    assert.ok(Math.abs(estimate / size - 1) < 0.2, `${estimate} for ${size}`);
  }
});

Deno.test("Sybils at fewer than half of the targets hardly move the estimate", () => {
  const SIZE = 1_000, K = 20, random = randomSource(1);
  const network = Array.from({ length: SIZE }, () => Id.read(random(20)));
  const statistics = new LookupStatistics();
  for (let i = 0; i < 60; i++) {
    const target = Id.read(random(20));
    // At two of five targets, the network is three times as dense as elsewhere.
    const isAttacked = i % 5 < 2, count = isAttacked ? Math.floor(K / 3) : K;
    const honest = network.slice().sort((x, y) => compareDistance(x, y, target)).slice(0, count);
    const sybils = Array.from(
      { length: K - count },
      () => target.withSuffix(20, Id.read(random(20))),
    );
    statistics.record(result(target, [...sybils, ...honest]), { k: K, own: id("00") });
  }
  const estimate = sizeIn(statistics, 10)!;
  assert.ok(estimate > 0.8 * SIZE && estimate < 1.5 * SIZE, `${estimate}`);
});

Deno.test("nodes that share the first 64 bits with our id say nothing about the size of the network", () => {
  const own = id("00"), random = randomSource(1);
  const neighbours = Array.from(
    { length: 20 },
    () => ({ id: own.withSuffix(64, Id.read(random(20))) }),
  );
  assert.equal(sizeAround(own, neighbours), null);
  assert.equal(new LookupStatistics().networkSize({ own, family: 4, neighbours }, 0), null);
});

Deno.test("a crowded target does not change the estimate", () => {
  const statistics = new LookupStatistics();
  const closest = Array.from({ length: 20 }, (_, i) => id((i + 1).toString(16).padStart(2, "0")));
  statistics.record(result(id("00"), closest, { isCrowded: true }), { k: 20, own: id("ff") });
  assert.equal(sizeIn(statistics, 10), null);
});

Deno.test("each address family has its own estimate", () => {
  const statistics = new LookupStatistics();
  const closest = Array.from({ length: 20 }, (_, i) => id((i + 1).toString(16).padStart(2, "0")));
  statistics.record(result(id("00"), closest, { family: 6 }), { k: 20, own: id("ff") });
  assert.equal(sizeIn(statistics, 10, 4), null);
  assert.notEqual(sizeIn(statistics, 10, 6), null);
});

Deno.test("a lookup for our own id does not change the estimate", () => {
  const own = id("aa"), statistics = new LookupStatistics();
  const closest = Array.from({ length: 20 }, (_, i) => id((i + 1).toString(16).padStart(2, "0")));
  statistics.record(result(own, closest), { k: 20, own });
  assert.equal(sizeIn(statistics, 10), null);
  statistics.record(result(id("00"), closest), { k: 20, own });
  assert.notEqual(sizeIn(statistics, 10), null);
});

Deno.test("before the first lookup, its means and the size of the network are unknown", () => {
  const statistics = new LookupStatistics();
  assert.equal(statistics.hopsMean, null);
  assert.equal(statistics.latency().p50, null);
  assert.equal(sizeIn(statistics, 0), null);
});

Deno.test("lookups without an answer count as failures, so they enter no mean", () => {
  const statistics = new LookupStatistics();
  statistics.record(result(id("aa"), [], { elapsed: 9_999, hops: 0 }), { k: 20, own: id("00") });
  statistics.record(result(id("aa"), [id("ab")], { hops: 3 }), { k: 20, own: id("00") });
  assert.deepEqual([statistics.count, statistics.success, statistics.hopsMean], [2, 1, 3]);
  assert.deepEqual(statistics.latency(), { mean: 10, p50: 10, p95: 10 });
});

Deno.test("percentiles cover the latest lookups", () => {
  const statistics = new LookupStatistics();
  const record = (elapsed: number) =>
    statistics.record(result(id("aa"), [id("ab")], { elapsed }), { k: 20, own: id("00") });
  for (let i = 0; i < 600; i++) record(1_000_000);
  for (let ms = 1; ms <= 512; ms++) record(ms);
  const { mean, p50, p95 } = statistics.latency();
  assert.deepEqual([mean, p50], [256.5, 257]);
  assert.ok(p95! >= 486 && p95! <= 488);
});

Deno.test("traffic is counted by the method of its messages", () => {
  const traffic = new Traffic();
  traffic.in.count("ping", "query", 50);
  traffic.in.count("ping", "query", 60);
  traffic.in.count("unknown", "error", 5);
  assert.deepEqual(traffic.in.byType(), {
    "ping.query": { messages: 2, bytes: 110 },
    "unknown.error": { messages: 1, bytes: 5 },
  });
  assert.deepEqual([traffic.in.messages, traffic.in.bytes, traffic.out.messages], [3, 115, 0]);
});

Deno.test("dropped packets are counted by the reason", () => {
  const traffic = new Traffic();
  traffic.drop("malformed");
  traffic.drop("malformed");
  assert.deepEqual(traffic.dropped, { malformed: 2 });
});

Deno.test("a sparse lookup does not count in the estimate of the network's size", () => {
  const statistics = new LookupStatistics();
  const closest = Array.from({ length: 20 }, (_, i) => id((i + 1).toString(16).padStart(2, "0")));
  statistics.record(result(id("00"), closest, { isSparse: true }), { k: 20, own: id("ff") });
  assert.equal(statistics.networkSize({ own: id("ff"), family: 4, neighbours: [] }, 10), null);
});

Deno.test("the density of our neighbours suggests the size of the network", () => {
  const random = randomSource(3), own = id("00"), size = 1_000;
  const neighbours = Array.from({ length: size }, () => ({ id: Id.read(random(20)) }))
    .sort((x, y) => compareDistance(x.id, y.id, own)).slice(0, 20);
  assert.ok(Math.abs(sizeAround(own, neighbours)! / size - 1) < 0.5);
  assert.equal(sizeAround(own, neighbours.slice(0, 7)), null, "too few neighbours");
});
