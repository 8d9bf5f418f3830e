// Announced peers (BEP 5) and samples of info-hashes (BEP 51): life, bounds and size.

import assert from "node:assert/strict";
import {
  MAX_ANNOUNCEMENTS,
  MAX_ANNOUNCEMENTS_PER_PRIVATE_ADDRESS,
  MAX_ANNOUNCEMENTS_PER_SOURCE,
  MAX_PEERS_PER_ADDRESS,
  MAX_PEERS_PER_HASH,
  PEER_LIFE_MS,
  PeerStore,
  SAMPLE_INTERVAL_MS,
} from "../../../src/dht/serving/peer_store.ts";
import { Random } from "../../../src/dht/random.ts";
import { estimate } from "../../../src/krpc/bloom_filter.ts";
import { Id, ID_BYTES } from "../../../src/krpc/id.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { endpoint, id } from "../../packets.ts";
import { randomSource } from "../virtual_network.ts";

const make = () => new PeerStore(new Random(randomSource(1)));
const HASH = id("aa");
/** An endpoint for each number, each in a /24 of its own. */
const peer = (n: number) => endpoint(`${1 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}.1:6881`);
const hash = (n: number) => id(n.toString(16).padStart(8, "0"));

Deno.test("BEP 5: announced peers are returned, by family", () => {
  const store = make();
  assert.deepEqual(store.peers(HASH, 4, 0), []);
  store.announce(HASH, peer(1), 0);
  store.announce(HASH, endpoint("[2a01:db8::1]:1"), 0);
  assert.deepEqual(store.peers(HASH, 4, 0).map(String), [`${peer(1)}`]);
  assert.deepEqual(store.peers(HASH, 6, 0).map(String), ["[2a01:db8::1]:1"]);
  assert.deepEqual([store.hashes, store.count], [1, 2]);
});

Deno.test("an announcement that is repeated is stored once", () => {
  const store = make();
  store.announce(HASH, peer(1), 0);
  store.announce(HASH, peer(1), PEER_LIFE_MS - 1);
  assert.equal(store.count, 1);
});

Deno.test("an announcement that is repeated lives as long as the latest one", () => {
  const store = make();
  store.announce(HASH, peer(1), 0);
  store.announce(HASH, peer(2), 0);
  store.announce(HASH, peer(1), PEER_LIFE_MS - 1);
  assert.deepEqual(store.peers(HASH, 4, PEER_LIFE_MS).map(String), [`${peer(1)}`]);
});

Deno.test("an expired announcement needs no room", () => {
  const store = make();
  store.announce(HASH, peer(1), 0);
  store.announce(HASH, peer(2), 1);
  store.expire(PEER_LIFE_MS);
  assert.deepEqual([store.hashes, store.count], [1, 1]);
  store.expire(PEER_LIFE_MS + 1);
  assert.deepEqual([store.hashes, store.count], [0, 0]);
});

/** The number of peers in a reply. */
const COUNT = 64;

/** A store with as many peers of one swarm as there is room for, and those of them that replies have returned. */
function fullSwarm() {
  const store = make();
  const announced = 3 * MAX_PEERS_PER_HASH;
  for (let n = 0; n < announced; n++) store.announce(HASH, peer(n), n);
  const selection = { count: COUNT, noSeeds: false };
  const replies = Array.from(
    { length: 50 },
    () => store.peersFor(HASH, peer(0), 1000, selection)!.map(String),
  );
  return { store, announced, replies, returned: new Set(replies.flat()) };
}

Deno.test("the peers of a swarm are bounded", () => {
  const { store } = fullSwarm();
  assert.equal(store.count, MAX_PEERS_PER_HASH);
});

Deno.test("new peers of a full swarm replace the oldest", () => {
  const { announced, returned } = fullSwarm();
  const newest = Array.from(
    { length: MAX_PEERS_PER_HASH },
    (_, i) => `${peer(announced - 1 - i)}`,
  );
  assert.deepEqual([...returned].sort(), newest.sort());
});

Deno.test("a reply has as many different peers of a swarm as requested", () => {
  for (const reply of fullSwarm().replies) {
    assert.equal(reply.length, COUNT);
    assert.equal(new Set(reply).size, reply.length);
  }
});

Deno.test("25 addresses that fill the store don't keep out anybody else", () => {
  const store = make();
  const sources = Math.ceil(MAX_ANNOUNCEMENTS / MAX_ANNOUNCEMENTS_PER_SOURCE);
  for (let n = 0; n < MAX_ANNOUNCEMENTS; n++) store.announce(hash(n), peer(n % sources), 0);
  assert.equal(store.count, MAX_ANNOUNCEMENTS);
  const modest = 1_000;
  for (let n = 0; n < modest; n++) store.announce(hash(100_000 + n), peer(sources + n), 1);
  // The attackers go on.
  for (let n = 0; n < MAX_ANNOUNCEMENTS; n++) {
    store.announce(hash(200_000 + n), peer(n % sources), 2);
  }
  assert.equal(store.count, MAX_ANNOUNCEMENTS);
  for (let n = 0; n < modest; n++) assert.ok(store.has(hash(100_000 + n), peer(sources + n), 3));
});

Deno.test("a network that announces more than its share replaces its own oldest announcements", () => {
  const store = make();
  for (let n = 0; n <= MAX_ANNOUNCEMENTS_PER_SOURCE; n++) {
    store.announce(hash(n), endpoint(`1.2.3.${n & 255}:6881`), n);
  }
  assert.equal(store.count, MAX_ANNOUNCEMENTS_PER_SOURCE);
  assert.deepEqual(store.peers(hash(0), 4, 500), []);
  assert.equal(store.peers(hash(1), 4, 500).length, 1);
  assert.equal(store.hashes, MAX_ANNOUNCEMENTS_PER_SOURCE, "a swarm without peers is removed");
});

Deno.test("a network has no more than its share if it also replaces peers of full swarms", () => {
  const store = make();
  const ours = (n: number) => endpoint(`99.1.1.${n & 255}:${1 + n}`);
  for (let n = 0; n < MAX_ANNOUNCEMENTS_PER_SOURCE; n++) store.announce(hash(n), ours(n), 0);
  for (let n = 0; n < MAX_PEERS_PER_HASH; n++) store.announce(HASH, peer(n), 1);
  store.announce(HASH, ours(MAX_ANNOUNCEMENTS_PER_SOURCE), 2);
  const others = store.peers(HASH, 4, 3).length - 1;
  assert.equal(others, MAX_PEERS_PER_HASH - 1);
  assert.equal(store.count - others, MAX_ANNOUNCEMENTS_PER_SOURCE);
});

Deno.test("a full swarm replaces peers of the network that has the most of them", () => {
  const store = make();
  const honest = 30;
  for (let n = 0; n < honest; n++) store.announce(HASH, peer(n), 0);
  for (let n = 0; n < 250; n++) store.announce(HASH, endpoint(`99.1.1.${n}:1`), 1);
  assert.equal(store.count, MAX_PEERS_PER_HASH);
  for (let n = 0; n < honest; n++) assert.ok(store.has(HASH, peer(n), 2));
  assert.ok(store.has(HASH, endpoint("99.1.1.249:1"), 2));
});

Deno.test("peers of IPv6 don't displace peers of IPv4 in a swarm", () => {
  const store = make();
  const honest = 60;
  for (let n = 0; n < honest; n++) store.announce(HASH, peer(n), 0);
  for (let n = 0; n < 2 * MAX_PEERS_PER_HASH; n++) {
    store.announce(HASH, endpoint(`[2a00:${n.toString(16)}::1]:1`), 1);
  }
  assert.equal(store.count, honest + MAX_PEERS_PER_HASH);
  for (let n = 0; n < honest; n++) assert.ok(store.has(HASH, peer(n), 2));
});

/** The ids in a sample. */
function idsOf(sample: Uint8Array): string[] {
  return Array.from(
    { length: sample.length / ID_BYTES },
    (_, i) => `${Id.read(sample, ID_BYTES * i)}`,
  );
}

function storeOf100(): PeerStore {
  const store = make();
  for (let n = 0; n < 100; n++) store.announce(hash(n), peer(n), 0);
  return store;
}

Deno.test("BEP 51: the sample of an empty store is empty", () => {
  assert.equal(make().sample(0).length, 0);
});

Deno.test("BEP 51: a sample has 20 different info-hashes of the store", () => {
  const known = new Set(Array.from({ length: 100 }, (_, n) => `${hash(n)}`));
  const sample = idsOf(storeOf100().sample(1));
  assert.equal(sample.length, 20);
  assert.equal(new Set(sample).size, 20);
  assert.ok(sample.every((sampled) => known.has(sampled)));
});

Deno.test("BEP 51: a sample stays the same during its interval", () => {
  const store = storeOf100();
  const first = idsOf(store.sample(1));
  assert.deepEqual(idsOf(store.sample(SAMPLE_INTERVAL_MS)), first);
  assert.notDeepEqual(idsOf(store.sample(1 + SAMPLE_INTERVAL_MS)), first);
});

Deno.test("BEP 51: the interval of samples is at most six hours", () => {
  assert.ok(SAMPLE_INTERVAL_MS <= 6 * 3_600_000);
});

Deno.test("the ports of one address in a swarm are bounded, so that other peers stay", () => {
  const store = make();
  store.announce(HASH, peer(2), 0);
  const ports = 2 * MAX_PEERS_PER_ADDRESS;
  for (let port = 1; port <= ports; port++) store.announce(HASH, peer(1).withPort(port), port);
  const peers = store.peers(HASH, 4, ports);
  assert.equal(peers.length, 1 + MAX_PEERS_PER_ADDRESS);
  assert.ok(peers.some((endpoint) => endpoint.equals(peer(2))));
});

Deno.test("each port of a loopback address counts as an address", () => {
  const store = make();
  const ports = 2 * MAX_PEERS_PER_ADDRESS;
  for (let port = 1; port <= ports; port++) {
    store.announce(HASH, endpoint(`127.0.0.1:${port}`), 0);
  }
  assert.equal(store.peers(HASH, 4, 0).length, ports);
});

Deno.test("BEP 33: peers that seed are left out of a reply on request", () => {
  const store = make();
  store.announce(HASH, peer(1), 0, { isSeed: true });
  store.announce(HASH, peer(2), 0, { isSeed: false });
  const chosen = (noSeeds: boolean) =>
    store.peersFor(HASH, peer(9), 1, { count: 10, noSeeds })!.map(String).sort();
  assert.deepEqual(chosen(true), [`${peer(2)}`]);
  assert.deepEqual(chosen(false), [`${peer(1)}`, `${peer(2)}`]);
});

Deno.test("BEP 33: the latest announcement of a peer says whether it seeds", () => {
  const store = make();
  store.announce(HASH, peer(1), 0, { isSeed: false });
  store.announce(HASH, peer(1), 1, { isSeed: true });
  const { seeds, peers } = store.filters(HASH, 2, itemCrypto.sha1)!;
  assert.equal(Math.round(estimate(seeds)), 1);
  assert.equal(estimate(peers), 0);
});

Deno.test("BEP 33: the filters count addresses of both families, and no expired ones", () => {
  const store = make();
  store.announce(HASH, peer(1), 0);
  store.announce(HASH, peer(2), PEER_LIFE_MS);
  store.announce(HASH, peer(2).withPort(7), PEER_LIFE_MS);
  store.announce(HASH, endpoint("[2a01:db8::1]:1"), PEER_LIFE_MS);
  const count = (now: number) => {
    const filters = store.filters(HASH, now, itemCrypto.sha1);
    return filters && Math.round(estimate(filters.peers));
  };
  assert.equal(count(PEER_LIFE_MS), 2, "two ports of one address count once");
  assert.equal(count(2 * PEER_LIFE_MS), undefined);
});

Deno.test("a host of a private network may announce 300 torrents, and many more", () => {
  const store = make(), host = endpoint("10.0.0.5:6881");
  for (let n = 0; n < 300; n++) store.announce(hash(n), host, n);
  for (let n = 0; n < 300; n++) assert.ok(store.has(hash(n), host, 300));
  for (let n = 300; n < 3_000; n++) store.announce(hash(n), host, n);
  assert.equal(store.count, MAX_ANNOUNCEMENTS_PER_PRIVATE_ADDRESS);
});
