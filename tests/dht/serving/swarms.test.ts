// Searches for the peers of swarms, and announcements that are kept alive.

import assert from "node:assert/strict";
import type { OwnAnnouncement } from "../../../src/dht/serving/announcements.ts";
import { PEER_LIFE_MS } from "../../../src/dht/serving/peer_store.ts";
import type { AnnounceResult, PeerSearch, PeersResult } from "../../../src/dht/serving/swarms.ts";
import { bitsOf, FILTER_BYTES, insert } from "../../../src/krpc/bloom_filter.ts";
import type { Endpoint } from "../../../src/krpc/endpoint.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { compact, decodeAny, encode, endpoint, id, type Value } from "../../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const HASH = id("77");
const MINUTE = 60_000;

function find(network: VirtualNetwork, { node }: VirtualNode, search: Partial<PeerSearch> = {}) {
  return network.complete<PeersResult>((now, done) =>
    node.swarms.getPeers({ infoHash: HASH, ...search }, now, done)
  );
}

function start(
  network: VirtualNetwork,
  { node }: VirtualNode,
  given: { port?: number; isSeed?: boolean } = {},
): OwnAnnouncement {
  const { port, isSeed = false } = given;
  return network.complete<OwnAnnouncement>((now, done) =>
    node.announcements.start({ infoHash: HASH, port, isSeed, service: undefined }, now, done)
  );
}

const texts = ({ peers }: PeersResult) => peers.map(String).sort();

/** Adds a node that answers every query with these values, and that `reader` knows. */
function answering(
  network: VirtualNetwork,
  reader: VirtualNode,
  prefix: string,
  values: { [key: string]: Value },
): Stranger {
  const stranger = new Stranger(network, `10.9.9.${parseInt(prefix, 16)}:1`);
  stranger.answer = (packet) =>
    encode({ t: decodeAny(packet).t, y: "r", r: { id: id(prefix).toBytes(), ...values } });
  reader.node.ping(stranger.at, network.now, () => {});
  network.run(100);
  return stranger;
}

function filterOf(...addresses: Endpoint[]): Uint8Array {
  const filter = new Uint8Array(FILTER_BYTES);
  for (const address of addresses) insert(filter, bitsOf(address, itemCrypto.sha1));
  return filter;
}

Deno.test("a host is announced in both address families, even to nodes that use both", () => {
  const network = new VirtualNetwork();
  const nodes = Array.from({ length: 6 }, (_, i) => {
    const added = network.add({ at: [`10.0.0.${i + 1}:1`, `[fd00::${i + 1}]:1`] });
    if (i > 0) added.node.membership.join(network.nodes[0].endpoints, [], network.now);
    network.run(5_000);
    return added;
  });
  const { announced } = network.complete<AnnounceResult>((now, done) =>
    nodes[1].node.swarms.announce({ infoHash: HASH, port: 7 }, now, done)
  );
  assert.equal(announced.length, 5, "each node counts once");
  assert.deepEqual(texts(find(network, nodes[3])), ["10.0.0.2:7", "[fd00::2]:7"]);
});

Deno.test("peers are reported as they are found, each once", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  start(network, nodes[1], { port: 1 });
  start(network, nodes[2], { port: 2 });
  const reported: string[] = [];
  const onPeers = (peers: readonly Endpoint[]) => {
    reported.push(...peers.map(String));
    return false;
  };
  assert.deepEqual(texts(find(network, nodes[5], { onPeers })), reported.sort());
  assert.equal(reported.length, 2);
});

Deno.test("a search ends once its client has enough", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(60, { k: 8 });
  start(network, nodes[1], { port: 1 });
  const reader = nodes.find(({ node }) => node.responder.peers.hashes === 0)!;
  const whole = find(network, reader), ended = find(network, reader, { onPeers: () => true });
  assert.ok(ended.asked.length < whole.asked.length);
});

Deno.test("a node can't name peers in a narrower network than its own, or without a port", () => {
  const network = new VirtualNetwork();
  const reader = network.add({ at: "45.1.2.3:1" });
  const liar = new Stranger(network, "66.1.1.1:1");
  const values = [
    "127.0.0.1:1",
    "10.0.0.1:1",
    "0.0.0.0:1",
    "224.0.0.1:1",
    "1.2.3.4:0",
    "1.2.3.4:5",
  ];
  liar.answer = (packet) =>
    encode({
      t: decodeAny(packet).t,
      y: "r",
      r: { id: id("80").toBytes(), values: values.map((value) => compact(endpoint(value))) },
    });
  reader.node.ping(liar.at, network.now, () => {});
  network.run(100);
  assert.deepEqual(texts(find(network, reader)), ["1.2.3.4:5"]);
});

Deno.test("BEP 33: a scrape unites the filters of all nodes", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: 8 });
  for (let i = 0; i < 12; i++) start(network, nodes[i], { port: 1, isSeed: i < 4 });
  const { scrape, peers } = find(network, nodes[15], { scrapes: true });
  assert.equal(peers.length, 12);
  assert.deepEqual([scrape?.seeds, scrape?.peers], [4, 8]);
  assert.equal(find(network, nodes[15]).scrape, undefined);
});

Deno.test("BEP 33: the peers of a node without filters count unless another node knows them as seeds", () => {
  const network = new VirtualNetwork();
  const reader = network.add();
  const [seed, known, other] = [1, 2, 3].map((n) => endpoint(`10.1.1.${n}:1`));
  answering(network, reader, "10", { BFsd: filterOf(seed), BFpe: filterOf(known) });
  answering(network, reader, "11", { values: [seed, known, other].map(compact) });
  const { scrape } = find(network, reader, { scrapes: true });
  assert.deepEqual(scrape, { seeds: 1, peers: 2, nodes: 1 });
});

Deno.test("BEP 33: full filters and filters of another size are ignored", () => {
  const network = new VirtualNetwork();
  const reader = network.add();
  const full = new Uint8Array(FILTER_BYTES).fill(255), empty = new Uint8Array(FILTER_BYTES);
  answering(network, reader, "10", { BFsd: full, BFpe: empty });
  answering(network, reader, "11", { BFsd: empty, BFpe: empty.subarray(1) });
  answering(network, reader, "12", { BFsd: empty });
  assert.deepEqual(find(network, reader, { scrapes: true }).scrape, {
    seeds: 0,
    peers: 0,
    nodes: 0,
  });
});

Deno.test("BEP 33: noseed leaves out seeds", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  start(network, nodes[1], { port: 1, isSeed: true });
  start(network, nodes[2], { port: 2 });
  for (const reader of nodes.slice(3)) {
    const found = texts(find(network, reader, { noSeeds: true }));
    assert.deepEqual(found, [`${nodes[2].endpoint.withPort(2)}`]);
  }
});

Deno.test("an announcement outlives the memory of the nodes that have it, until it is ended", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30, { k: 8 });
  const { nodes: count } = start(network, nodes[1], { port: 9 });
  assert.equal(count, 8);
  const peer = `${nodes[1].endpoint.withPort(9)}`;
  for (let i = 0; i < 4; i++) {
    network.run(PEER_LIFE_MS);
    assert.deepEqual(texts(find(network, nodes[20])), [peer]);
  }
  assert.equal(nodes[1].node.announcements.stop(HASH, network.now), true);
  assert.equal(nodes[1].node.announcements.stop(HASH, network.now), false);
  network.run(PEER_LIFE_MS + MINUTE);
  assert.deepEqual(texts(find(network, nodes[20])), []);
});

Deno.test("an announcement is renewed every 15 to 25 minutes, and its deadlines don't pile up", () => {
  const HOURS = 4;
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30, { k: 8 });
  start(network, nodes[1]);
  const { deadlines } = nodes[1].node.pending;
  const times: number[] = [];
  for (let i = 0; i < HOURS * 60; i++) {
    network.run(MINUTE);
    for (const event of nodes[1].events.splice(0)) {
      if (event.type === "announce") times.push(event.announcement.lastAt);
    }
  }
  const waits = times.slice(1).map((at, i) => at - times[i]);
  assert.ok(waits.length >= 2 * HOURS);
  assert.ok(waits.every((wait) => wait > 14.9 * MINUTE && wait < 25.2 * MINUTE), `${waits}`);
  assert.ok(nodes[1].node.pending.deadlines <= deadlines + 1);
});

Deno.test("an announcement made while the node was alone reaches a node that joins", () => {
  const network = new VirtualNetwork();
  const alone = network.add();
  const { nodes, failures } = start(network, alone, { port: 5 });
  assert.deepEqual([nodes, failures], [0, 1]);
  network.run(10 * MINUTE);
  const newcomer = network.add();
  newcomer.node.membership.join([alone.endpoint], [], network.now);
  network.run(10_000);
  assert.deepEqual(texts(find(network, newcomer)), [`${alone.endpoint.withPort(5)}`]);
});

Deno.test("in a network of fewer than k nodes, each new node gets the announcement", () => {
  const network = new VirtualNetwork();
  const [owner] = network.addJoined(3);
  start(network, owner, { port: 5 });
  network.addJoined(5);
  network.run(MINUTE);
  assert.equal(owner.node.announcements.get(HASH)?.nodes, 7);
});

Deno.test("announcing again changes the port", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(5);
  const first = start(network, nodes[1], { port: 5 });
  network.run(MINUTE);
  const second = start(network, nodes[1], { port: 6, isSeed: true });
  assert.deepEqual([second.port, second.isSeed, second.firstAt], [6, true, first.firstAt]);
  network.run(PEER_LIFE_MS + MINUTE);
  assert.deepEqual(texts(find(network, nodes[3])), [`${nodes[1].endpoint.withPort(6)}`]);
});

Deno.test("restored announcements are announced soon, but not all at once", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30, { k: 8 });
  const count = 100;
  const saved = Array.from({ length: count }, (_, n) => ({
    infoHash: id(n.toString(16).padStart(4, "0")),
    port: 1,
    isSeed: false,
    service: undefined,
    firstAt: 0,
    lastAt: -Infinity,
    nextAt: Infinity,
    nodes: 0,
    failures: 0,
  }));
  const { announcements } = nodes[1].node;
  announcements.restore(saved, network.now);
  const announced = () => announcements.values().filter(({ nodes }) => nodes > 0).toArray().length;
  network.run(10_000);
  assert.ok(announced() < count / 3, `${announced()} after ten seconds`);
  network.run(2 * MINUTE);
  assert.equal(announced(), count);
});
