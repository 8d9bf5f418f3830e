// Announced peers (BEP 5) and samples of info-hashes (BEP 51): life, bounds and size.

import assert from "node:assert/strict";
import {
  MAX_HASHES_PER_ADDRESS,
  MAX_INFO_HASHES,
  MAX_PEERS_PER_ADDRESS,
  MAX_PEERS_PER_HASH,
  PEER_LIFE_MS,
  PEERS_PER_REPLY,
  PeerStore,
  SAMPLE_INTERVAL_MS,
} from "../../src/dht/peer_store.ts";
import { Random } from "../../src/dht/random.ts";
import { Id } from "../../src/krpc/id.ts";
import { endpoint, id } from "../packets.ts";
import { randomSource } from "./virtual_network.ts";

const make = () => new PeerStore(new Random(randomSource(1)));
const HASH = id("aa");
const peer = (n: number) => endpoint(`1.2.${n >> 8}.${n & 255}:6881`);
const hash = (n: number) => id(n.toString(16).padStart(8, "0"));

Deno.test("BEP 5: announced peers are told, each family's to its own", () => {
  const store = make();
  assert.equal(store.peers(HASH, 4, 0), undefined);
  store.announce(HASH, peer(1), 0);
  store.announce(HASH, endpoint("[2001:db8::1]:1"), 0);
  assert.deepEqual(store.peers(HASH, 4, 0)!.map(String), [`${peer(1)}`]);
  assert.deepEqual(store.peers(HASH, 6, 0)!.map(String), ["[2001:db8::1]:1"]);
  assert.deepEqual([store.hashes, store.count], [1, 2]);
});

Deno.test("an announcement counts once, is renewed, and is forgotten", () => {
  const store = make();
  store.announce(HASH, peer(1), 0);
  store.announce(HASH, peer(2), 0);
  store.announce(HASH, peer(1), PEER_LIFE_MS - 1);
  assert.equal(store.count, 2);
  assert.deepEqual(store.peers(HASH, 4, PEER_LIFE_MS)!.map(String), [`${peer(1)}`]);
  store.expire(PEER_LIFE_MS);
  assert.deepEqual([store.hashes, store.count], [1, 1]);
  store.expire(2 * PEER_LIFE_MS);
  assert.deepEqual([store.hashes, store.count], [0, 0]);
  assert.equal(store.peers(HASH, 4, 2 * PEER_LIFE_MS), undefined);
});

Deno.test("peers of a hash are bounded, the oldest go; a reply has a random part of them", () => {
  const store = make();
  for (let n = 0; n < 3 * MAX_PEERS_PER_HASH; n++) store.announce(HASH, peer(n), n);
  assert.equal(store.count, MAX_PEERS_PER_HASH);
  const seen = new Set<string>();
  for (let i = 0; i < 50; i++) {
    const told = store.peers(HASH, 4, 1000)!;
    assert.equal(told.length, PEERS_PER_REPLY[4]);
    assert.equal(new Set(told.map(String)).size, told.length);
    for (const p of told) seen.add(`${p}`);
  }
  assert.equal(seen.size, MAX_PEERS_PER_HASH, "each is told sooner or later");
  assert.equal(seen.has(`${peer(0)}`), false);
});

Deno.test("info-hashes are bounded; known ones go on", () => {
  const store = make();
  for (let n = 0; n < MAX_INFO_HASHES; n++) assert.ok(store.announce(hash(n), peer(n), 0));
  assert.equal(store.announce(hash(MAX_INFO_HASHES), peer(1), 0), false);
  assert.ok(store.announce(hash(1), peer(2), 0));
  assert.deepEqual([store.hashes, store.count], [MAX_INFO_HASHES, MAX_INFO_HASHES + 1]);
});

Deno.test("BEP 51: a sample is some of the info-hashes, the same until its interval is over", () => {
  const store = make();
  assert.equal(store.sample(0).length, 0);
  const known = new Set<string>();
  for (let n = 0; n < 100; n++) {
    store.announce(hash(n), peer(n), 0);
    known.add(`${hash(n)}`);
  }
  const ids = (sample: Uint8Array) =>
    Array.from({ length: sample.length / 20 }, (_, i) => `${Id.read(sample, 20 * i)}`);
  const first = ids(store.sample(1));
  assert.equal(first.length, 20);
  assert.equal(new Set(first).size, 20);
  assert.ok(first.every((sampled) => known.has(sampled)));
  assert.deepEqual(ids(store.sample(SAMPLE_INTERVAL_MS)), first);
  assert.notDeepEqual(ids(store.sample(1 + SAMPLE_INTERVAL_MS)), first);
  assert.ok(SAMPLE_INTERVAL_MS / 1000 >= 0 && SAMPLE_INTERVAL_MS / 1000 <= 21600);
});

Deno.test("one address can't fill the store, nor a swarm; loopback endpoints count each for itself", () => {
  const store = make();
  for (let n = 0; n < MAX_HASHES_PER_ADDRESS; n++) assert.ok(store.announce(hash(n), peer(1), 0));
  assert.equal(store.announce(hash(MAX_HASHES_PER_ADDRESS), peer(1), 0), false);
  assert.ok(store.announce(hash(MAX_HASHES_PER_ADDRESS), peer(2), 0));
  store.announce(HASH, peer(2), 0);
  for (let port = 1; port <= 100; port++) store.announce(HASH, peer(1).withPort(port), port);
  const told = store.peers(HASH, 4, 200)!;
  assert.equal(told.length, 1 + MAX_PEERS_PER_ADDRESS);
  assert.ok(told.some((endpoint) => endpoint.equals(peer(2))));
  store.expire(2 * PEER_LIFE_MS);
  assert.ok(store.announce(hash(1), peer(1), 2 * PEER_LIFE_MS), "what expired makes room again");
  for (let port = 1; port <= 50; port++) {
    store.announce(hash(2), endpoint(`127.0.0.1:${port}`), 2 * PEER_LIFE_MS);
  }
  assert.equal(store.peers(hash(2), 4, 2 * PEER_LIFE_MS)!.length, 50);
});
