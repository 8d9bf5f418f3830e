// Samples of the info-hashes that other nodes store (BEP 51).

import assert from "node:assert/strict";
import type { SampleOutcome, WalkResult } from "../../../src/dht/search/sampler.ts";
import { decodeAny, encode, id, text, type Value } from "../../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const MINUTE = 60_000;

const sampleOf = (network: VirtualNetwork, { node }: VirtualNode, from: VirtualNode | Stranger) => {
  const endpoint = "at" in from ? from.at : from.endpoint;
  return network.complete<SampleOutcome>((now, done) =>
    node.sampler.sample({ endpoint }, now, done)
  );
};

const walk = (network: VirtualNetwork, { node }: VirtualNode, budget: number) =>
  network.complete<WalkResult>((now, done) => node.sampler.walk(budget, now, done));

/** A network in which each of the first nodes has announced itself in a swarm of its own. */
function announced(
  count: number,
  nodes: number,
): { network: VirtualNetwork; added: VirtualNode[] } {
  const network = new VirtualNetwork();
  const added = network.addJoined(nodes, { k: 8 });
  for (let i = 0; i < count; i++) {
    const infoHash = id(`${(16 + i).toString(16)}77`);
    network.complete((now, done) =>
      added[i].node.swarms.announce({ infoHash, port: 1 }, now, done)
    );
  }
  return { network, added };
}

/** How many sample_infohashes queries a node sends while `run` runs. */
function queriesDuring(network: VirtualNetwork, run: () => void): number {
  let queries = 0;
  network.link = (datagram) => {
    if (text(datagram).includes("1:q17:sample_infohashes")) queries++;
    return datagram;
  };
  run();
  return queries;
}

Deno.test("BEP 51: a node returns the info-hashes that it stores", () => {
  const { network, added } = announced(5, 10);
  const holder = added.find(({ node }) => node.responder.peers.hashes > 0)!;
  const asker = added.find((node) => node !== holder)!;
  const outcome = sampleOf(network, asker, holder);
  assert.equal(outcome.kind, "sample");
  if (outcome.kind !== "sample") return;
  const { infoHashes, count, intervalS } = outcome.sample;
  assert.equal(infoHashes.length, holder.node.responder.peers.hashes);
  assert.equal(count, infoHashes.length);
  assert.ok(intervalS > 0 && intervalS <= 21_600);
});

Deno.test("a node that gives no sample, a malformed one or an error does not support samples", () => {
  const network = new VirtualNetwork();
  const asker = network.add();
  const bodies: { [key: string]: Value }[] = [
    { r: { id: id("80").toBytes() } },
    { r: { id: id("80").toBytes(), samples: "x".repeat(21) } },
    { r: { id: id("80").toBytes(), samples: 5 } },
    { e: [204, "method unknown"] },
  ];
  bodies.forEach((body, i) => {
    const other = new Stranger(network, `10.9.9.${i}:1`);
    other.answer = (packet) =>
      encode({ t: decodeAny(packet).t, y: "r" in body ? "r" : "e", ...body });
    assert.equal(sampleOf(network, asker, other).kind, "unsupported");
  });
});

Deno.test("a silent node times out", () => {
  const network = new VirtualNetwork();
  assert.equal(
    sampleOf(network, network.add(), new Stranger(network, "10.9.9.9:1")).kind,
    "timeout",
  );
});

Deno.test("BEP 51: an interval out of the permitted range is limited", () => {
  const network = new VirtualNetwork();
  const asker = network.add();
  for (const [interval, expected] of [[99_999, 21_600], [-5, 0]]) {
    const other = new Stranger(network, `10.9.9.${expected % 250}:1`);
    const r = { id: id("80").toBytes(), samples: "", num: -1, interval };
    other.answer = (packet) => encode({ t: decodeAny(packet).t, y: "r", r });
    const outcome = sampleOf(network, asker, other);
    const values = outcome.kind === "sample" && [outcome.sample.intervalS, outcome.sample.count];
    assert.deepEqual(values, [expected, 0]);
  }
});

Deno.test("a walk finds the info-hashes of the whole network, beyond its own contacts", () => {
  const count = 20, nodes = 60;
  const { network, added } = announced(count, nodes);
  const asker = added.at(-1)!;
  const { size: contacts } = asker.node.tables;
  const { infoHashes, queries, answered, sampled } = walk(network, asker, 1_000);
  assert.equal(infoHashes.length, count);
  assert.ok(queries > contacts && queries < nodes, `${queries} queries, ${contacts} contacts`);
  assert.deepEqual([answered, sampled], [queries, queries]);
});

Deno.test("a walk sends no more queries than its budget, and at most 20 a second", () => {
  const { network, added } = announced(1, 60);
  const started = network.now;
  let result: WalkResult | undefined;
  const sent = queriesDuring(network, () => void (result = walk(network, added[50], 40)));
  assert.deepEqual([sent, result?.queries], [40, 40]);
  const burst = 8, seconds = (40 - burst) / 20;
  assert.ok(network.now - started >= 1000 * seconds, `${network.now - started} ms`);
});

Deno.test("a walk leaves out nodes that would return the same sample again, until their interval is over", () => {
  const { network, added } = announced(20, 30);
  const asker = added[25];
  const first = walk(network, asker, 1_000);
  const again = walk(network, asker, 1_000);
  assert.ok(again.queries < first.queries / 2, `${again.queries} of ${first.queries}`);
  network.run(6 * MINUTE);
  assert.equal(walk(network, asker, 1_000).queries, first.queries);
});

Deno.test("a walk through a network of one node ends at once", () => {
  const network = new VirtualNetwork();
  assert.equal(walk(network, network.add(), 10).queries, 0);
});

Deno.test("one owner of many invented nodes gets few queries of a walk", () => {
  const network = new VirtualNetwork();
  const asker = network.add({ at: "45.1.2.3:6881" });
  const liar = new Stranger(network, "66.6.6.6:1");
  liar.answer = (packet) => {
    const nodes = Array.from({ length: 100 }, (_, i) => [
      ...network.randomId().toBytes(),
      ...[66, 6, 6, 6, 1, i],
    ]).flat();
    const r = { id: id("80").toBytes(), samples: "", nodes: Uint8Array.from(nodes) };
    return encode({ t: decodeAny(packet).t, y: "r", r });
  };
  asker.node.ping(liar.at, network.now, () => {});
  network.run(100);
  assert.ok(walk(network, asker, 1_000).queries <= 4);
});

Deno.test("the sum of what nodes claim to store stays a number that JSON can carry", () => {
  const network = new VirtualNetwork();
  const asker = network.add();
  for (const own of ["80", "c0"]) {
    const liar = new Stranger(network, `10.9.${own === "80" ? 1 : 2}.1:1`);
    const r = { id: id(own).toBytes(), samples: "", num: Number.MAX_SAFE_INTEGER };
    liar.answer = (packet) => encode({ t: decodeAny(packet).t, y: "r", r });
    asker.node.ping(liar.at, network.now, () => {});
  }
  network.run(100);
  const { sampled, stored } = walk(network, asker, 10);
  assert.deepEqual([sampled, stored], [2, Number.MAX_SAFE_INTEGER]);
});

Deno.test("silence to a sample does not count against a contact", () => {
  const network = new VirtualNetwork();
  const asker = network.add();
  const other = new Stranger(network, "10.9.9.9:1");
  other.answer = (packet) => {
    const { t, q } = decodeAny(packet);
    if (text(q) === "sample_infohashes") return undefined;
    return encode({ t, y: "r", r: { id: id("80").toBytes() } });
  };
  asker.node.ping(other.at, network.now, () => {});
  network.run(100);
  assert.deepEqual([walk(network, asker, 10).answered], [0]);
  assert.equal(asker.node.tables.find(id("80"))?.misses, 0);
});
