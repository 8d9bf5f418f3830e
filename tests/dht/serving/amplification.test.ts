// No reply to an address that may be forged is more than three times as long as its query.

import assert from "node:assert/strict";
import fc from "fast-check";
import { immutableItem, type Item } from "../../../src/dht/items/item.ts";
import type { GetResult, PutResult } from "../../../src/dht/items/item_operations.ts";
import { PROOF_PING_BYTES } from "../../../src/dht/serving/proofs.ts";
import { MAX_REPLY_FACTOR } from "../../../src/dht/reply_size.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { decodeAny, encode, endpoint, id, latin1, query, text } from "../../packets.ts";
import { mutate, mutations, queryPackets, TARGET } from "../../fuzz/packets.ts";
import { Answering, Stranger, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const ASKER = id("a5c3");
const LARGEST = immutableItem(itemCrypto, encode("x".repeat(996)));

/** Longer than a ping waits for an answer. */
const PING_TIMEOUT_MS = 5_000;

/** A node with full tables, a swarm and an item, each of which makes a long reply. */
function fullNode(network: VirtualNetwork): VirtualNode {
  const server = network.add({ at: ["45.1.2.3:6881", "[2a00:1::1]:6881"] });
  for (let i = 0; i < 60; i++) {
    new Answering(network, `${60 + i}.7.8.9:1`).meet(server);
    new Answering(network, `[2a00:${100 + i}::1]:1`).meet(server);
    server.node.responder.peers.announce(TARGET, endpoint(`${60 + i}.1.1.1:1`), network.now);
    server.node.responder.peers.announce(
      network.randomId(),
      endpoint(`${60 + i}.1.1.1:1`),
      network.now,
    );
  }
  server.items.put({ item: LARGEST }, network.now, () => {});
  return server;
}

const get = () => query("get", ASKER, { target: LARGEST.target.toBytes() });

/** The bytes that arrived: replies, and the pings that ask for a proof. Pings to possible contacts say so with `kp`. */
function answered({ received }: Stranger): number {
  return received.map(({ packet }) => packet)
    .filter((packet) => decodeAny(packet).a?.kp === undefined)
    .reduce((sum, { length }) => sum + length, 0);
}

Deno.test("no query makes a node send three times its length to an address that does not answer", () => {
  const network = new VirtualNetwork();
  const server = fullNode(network);
  let hosts = 0, isAlmostUsed = false;
  const ask = (packet: Uint8Array, family: 4 | 6) => {
    const at = family === 4
      ? `99.${++hosts >> 8}.${hosts & 255}.9:1`
      : `[2b00:${(++hosts).toString(16)}::9]:1`;
    const victim = new Stranger(network, at);
    victim.send(packet, server.endpoints[family === 4 ? 0 : 1]);
    network.run(PING_TIMEOUT_MS);
    const bytes = answered(victim), allowed = MAX_REPLY_FACTOR * packet.length;
    isAlmostUsed ||= bytes > 0.95 * allowed;
    assert.ok(bytes <= allowed, `${bytes} for ${packet.length} bytes: ${text(packet)}`);
  };
  const token = latin1("12345678");
  for (const family of [4, 6] as const) {
    for (const packet of [...queryPackets(token), get(), latin1("d1:q4:ping1:t0:1:y1:qe")]) {
      ask(packet, family);
    }
  }
  fc.assert(
    fc.property(mutations, fc.constantFrom(4 as const, 6 as const), (mutation, family) => {
      ask(mutate([...queryPackets(token), get()], mutation), family);
    }),
    { numRuns: 500 },
  );
  assert.ok(isAlmostUsed);
});

Deno.test("an asker that answers a ping gets the whole value, and then all others at once", () => {
  const network = new VirtualNetwork();
  const server = fullNode(network);
  const asker = new Answering(network, "99.1.1.1:1");
  asker.send(get(), server.endpoint);
  network.run(4 * network.delayMs);
  const values = () =>
    asker.received.map(({ packet }) => decodeAny(packet)).filter(({ r }) => r?.v !== undefined);
  assert.equal(values().length, 1);
  assert.equal(values()[0].r.v.length, 996);
  asker.send(get(), server.endpoint);
  network.run(2 * network.delayMs);
  assert.equal(values().length, 2);
});

Deno.test("an asker that does not answer a ping gets a token and nodes", () => {
  const network = new VirtualNetwork();
  const server = fullNode(network);
  const asker = new Stranger(network, "99.1.1.1:1");
  asker.send(get(), server.endpoint);
  network.run(PING_TIMEOUT_MS);
  const [{ r }] = asker.received.map(({ packet }) => decodeAny(packet))
    .filter(({ y }) => text(y) === "r");
  assert.equal(r.v, undefined);
  assert.ok(r.token.length > 0);
  assert.ok(r.nodes.length > 0);
});

Deno.test("a read-only asker, which answers no pings, gets at once what fits: a small value, or else nodes", () => {
  const network = new VirtualNetwork();
  const server = fullNode(network);
  const small = immutableItem(itemCrypto, encode("y".repeat(150)));
  server.items.put({ item: small }, network.now, () => {});
  const asker = new Stranger(network, "99.1.1.1:1");
  const ask = ({ target }: Item) =>
    asker.ask(query("get", ASKER, { target: target.toBytes() }, { ro: 1 }), server.endpoint).r;
  assert.equal(ask(LARGEST).v, undefined);
  assert.ok(ask(LARGEST).nodes.length > 0);
  assert.equal(ask(small).v.length, 150);
});

Deno.test("a token proves the address of its sender", () => {
  const network = new VirtualNetwork();
  const server = fullNode(network);
  const asker = new Stranger(network, "99.1.1.1:1");
  const target = LARGEST.target.toBytes();
  const { token } = asker.ask(query("get", ASKER, { target: TARGET.toBytes() }), server.endpoint).r;
  const { r } = asker.ask(query("get", ASKER, { target, token: token.slice() }), server.endpoint);
  assert.equal(r.v.length, 996);
});

Deno.test("the pings that ask for proofs are limited, and other askers then get short replies at once", () => {
  const network = new VirtualNetwork();
  const server = fullNode(network);
  const victims = Array.from({ length: 500 }, (_, i) => {
    const victim = new Stranger(network, `99.${i >> 8}.${i & 255}.1:1`);
    victim.send(get(), server.endpoint);
    return victim;
  });
  network.run(2 * network.delayMs);
  const pinged = victims.filter(({ received }) =>
    received.some(({ packet }) => packet.length <= PROOF_PING_BYTES)
  );
  const replied = victims.filter(({ received }) =>
    received.some(({ packet }) => text(packet).includes("1:y1:r"))
  );
  assert.ok(pinged.length > 0 && pinged.length <= 200, `${pinged.length} pinged`);
  assert.equal(replied.length, victims.length - pinged.length);
});

Deno.test("the usual queries of other implementations get 8 nodes and a token", () => {
  const network = new VirtualNetwork();
  const server = fullNode(network);
  const asker = new Stranger(network, "99.1.1.1:1");
  // libtorrent sends its version, and a transaction id of two bytes.
  const more = { v: "LT\x02\x0b" }, target = network.randomId().toBytes();
  const found = asker.ask(query("find_node", ASKER, { target }, more), server.endpoint).r;
  assert.equal(found.nodes.length, 8 * 26);
  const peers = asker.ask(
    query("get_peers", ASKER, { info_hash: target }, more),
    server.endpoint,
  ).r;
  assert.equal(peers.nodes.length, 8 * 26);
  assert.equal(peers.token.length, 8);
});

Deno.test("our own lookups get whole replies without a further round trip", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(60, { at: undefined });
  let proofs = 0, asked = 0, full = 0;
  network.link = (datagram) => {
    const { y, q, a, r } = decodeAny(datagram);
    if (text(y) === "q" && text(q) === "ping" && a.kp === undefined) proofs++;
    if (text(y) === "q" && text(q) === "find_node") asked++;
    if (r?.nodes?.length === 20 * 26) full++;
    return datagram;
  };
  const newcomer = network.add();
  newcomer.node.membership.join([nodes[0].endpoint], [], network.now);
  network.run(2_000);
  assert.ok(asked > 20 && full > 0.9 * asked, `${full} of ${asked}`);
  const item = immutableItem(itemCrypto, encode("y".repeat(996)));
  network.complete<PutResult>((now, done) =>
    newcomer.node.items.put({ target: item.target, make: () => item }, now, done)
  );
  const reader = network.add();
  reader.node.membership.join([nodes[0].endpoint], [], network.now);
  network.run(2_000);
  const result = network.complete<GetResult>((now, done) =>
    reader.node.items.get({ target: item.target }, now, done)
  );
  assert.deepEqual(result.item, item);
  assert.equal(proofs, 0);
});
