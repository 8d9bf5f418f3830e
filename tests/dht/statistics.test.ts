// Figures over lookups and traffic.

import assert from "node:assert/strict";
import type { Candidate, LookupResult } from "../../src/dht/lookup.ts";
import { distanceHistogram, LookupStatistics } from "../../src/dht/statistics.ts";
import { Traffic } from "../../src/dht/traffic.ts";
import { compareDistance, Id } from "../../src/krpc/id.ts";
import { endpoint, id } from "../packets.ts";
import { randomSource } from "./virtual_network.ts";

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
  } satisfies Candidate));
  return {
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

Deno.test("the size of the network is estimated from the density of ids around targets", () => {
  const random = randomSource(1);
  for (const size of [100, 1_000, 5_000]) {
    const network = Array.from({ length: size }, () => Id.read(random(20)));
    const statistics = new LookupStatistics();
    for (let i = 0; i < 64; i++) {
      const target = Id.read(random(20));
      const closest = network.slice().sort((x, y) => compareDistance(x, y, target)).slice(0, 20);
      statistics.record(result(target, closest), 20, id("00"));
    }
    const estimate = statistics.networkSize(id("00"), [], 10)!;
    assert.ok(Math.abs(estimate / size - 1) < 0.2, `${estimate} for ${size}`);
  }
});

Deno.test("a lookup for our own id tells nothing of the network's size beside our neighbours", () => {
  const own = id("aa"), statistics = new LookupStatistics();
  const closest = Array.from({ length: 20 }, (_, i) => id((i + 1).toString(16).padStart(2, "0")));
  statistics.record(result(own, closest), 20, own);
  assert.equal(statistics.networkSize(own, [], 10), null);
  statistics.record(result(id("00"), closest), 20, own);
  assert.notEqual(statistics.networkSize(own, [], 10), null);
});

Deno.test("lookups nobody answered count as failures, and are in no mean", () => {
  const statistics = new LookupStatistics();
  assert.deepEqual(
    [statistics.hopsMean, statistics.latency().p50, statistics.networkSize(id("00"), [], 0)],
    [null, null, null],
  );
  statistics.record(result(id("aa"), [], { elapsed: 9_999, hops: 0 }), 20, id("00"));
  statistics.record(result(id("aa"), [id("ab")], { hops: 3 }), 20, id("00"));
  assert.deepEqual([statistics.count, statistics.success, statistics.hopsMean], [2, 1, 3]);
  assert.deepEqual(statistics.latency(), { mean: 10, p50: 10, p95: 10 });
});

Deno.test("percentiles are over the latest lookups", () => {
  const statistics = new LookupStatistics();
  const record = (elapsed: number) =>
    statistics.record(result(id("aa"), [id("ab")], { elapsed }), 20, id("00"));
  for (let i = 0; i < 600; i++) record(1_000_000);
  for (let ms = 1; ms <= 512; ms++) record(ms);
  const { mean, p50, p95 } = statistics.latency();
  assert.deepEqual([mean, p50], [256.5, 257]);
  assert.ok(p95! >= 486 && p95! <= 488);
});

Deno.test("the histogram has a count for each distance from 0 to 160 bits", () => {
  const histogram = distanceHistogram([0, 160, 160, 7]);
  assert.equal(histogram.length, 161);
  assert.deepEqual([histogram[0], histogram[7], histogram[160]], [1, 1, 2]);
  assert.equal(histogram.reduce((x, y) => x + y), 4);
});

Deno.test("traffic is counted by method and kind, drops by reason", () => {
  const traffic = new Traffic();
  traffic.in.count("ping", "query", 50);
  traffic.in.count("ping", "query", 60);
  traffic.in.count("unknown", "error", 5);
  assert.deepEqual(traffic.in.byType(), {
    "ping.query": { messages: 2, bytes: 110 },
    "unknown.error": { messages: 1, bytes: 5 },
  });
  assert.deepEqual([traffic.in.messages, traffic.in.bytes, traffic.out.messages], [3, 115, 0]);
  traffic.drop("malformed");
  traffic.drop("malformed");
  assert.deepEqual(traffic.dropped, { malformed: 2 });
});
