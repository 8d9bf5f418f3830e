// An id that fits the address (BEP 42), and what has to follow it when it changes.

import assert from "node:assert/strict";
import { ITEM_OVERHEAD_BYTES, MemoryItemStore } from "../../src/dht/item_store.ts";
import { immutableItem } from "../../src/dht/item.ts";
import { isSecureId } from "../../src/dht/secure_id.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { compareDistance } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/crypto.ts";
import { endpoint, latin1 } from "../packets.ts";
import { Answering, VirtualNetwork, type VirtualNode } from "./virtual_network.ts";

const HOUR = 3_600_000;
const DUAL = ["45.1.2.3:6881", "[2a01:5::1]:6881"];
const far4 = (i: number) => `${60 + i}.7.8.9:1`;
const far6 = (i: number) => `[2a00:${(60 + i).toString(16)}::1]:1`;

/** Contacts of a node that tell it where they see it. */
function voters(network: VirtualNetwork, of: VirtualNode, at: readonly string[]): Answering[] {
  return at.map((address) => {
    const voter = new Answering(network, address);
    voter.sees = (from) => from;
    return voter.meet(of);
  });
}
const series = (count: number, at: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => at(i));

Deno.test("BEP 42: a node of both families takes an id of its IPv4 address, whoever tells it first", () => {
  for (const order of [[far4, far6], [far6, far4]]) {
    const network = new VirtualNetwork(10, 7);
    const server = network.add({ at: DUAL });
    voters(network, server, series(16, (i) => order[i % 2](i)));
    for (const at of order) voters(network, server, series(16, (i) => at(100 + i)));
    network.run(HOUR);
    assert.ok(isSecureId(server.node.id, server.endpoints[0]));
  }
});

Deno.test("BEP 42: a node that only IPv6 answers takes an id of that address, and keeps it", () => {
  const network = new VirtualNetwork(10, 7);
  const server = network.add({ at: DUAL });
  voters(network, server, series(16, far6));
  network.run(200_000);
  assert.ok(isSecureId(server.node.id, server.endpoints[1]));
  voters(network, server, series(40, far4));
  network.run(HOUR);
  assert.equal(server.events.filter(({ type }) => type === "id").length, 1);
});

Deno.test("BEP 42: neighbours of the own network, who see another address, don't keep a node from that", () => {
  const network = new VirtualNetwork(10, 7);
  const server = network.add({ at: "192.168.1.5:6881" });
  const outside = endpoint("45.1.2.3:7000");
  for (const voter of voters(network, server, series(16, far4))) voter.sees = () => outside;
  voters(network, server, series(8, (i) => `192.168.1.${20 + i}:1`));
  network.run(HOUR);
  assert.ok(isSecureId(server.node.id, outside));
});

Deno.test("contacts that find no place beside a new id are checked no more", () => {
  const network = new VirtualNetwork(10, 3);
  const server = network.add({ at: "45.1.2.3:6881", k: 8 });
  const peers = series(120, (i) => `${50 + i}.7.8.9:1`).map((at, i) => {
    const peer = new Answering(network, at);
    peer.delayMs = (i * 37) % 300;
    return peer.meet(server);
  });
  const former = server.node.id;
  for (const peer of peers) peer.sees = (from) => from;
  network.run(200_000);
  assert.ok(!server.node.id.equals(former));
  // All but ten fall silent: whoever is left without an answer is given up.
  const silent = peers.filter((_, i) => i % 12 !== 0);
  for (const peer of silent) peer.answer = undefined;
  network.run(HOUR);
  for (const { received } of silent) received.length = 0;
  network.run(12 * HOUR);
  const most = Math.max(...silent.map(({ received }) => received.length));
  assert.ok(most < 100, `${most} packets`);
});

Deno.test("a full store keeps what is nearest to the id that the node has now", () => {
  const network = new VirtualNetwork(10, 5);
  const former = network.randomId();
  const items = new MemoryItemStore(former, 100 * (ITEM_OVERHEAD_BYTES + 8), 1);
  const server = network.add({ at: "45.1.2.3:6881", id: former, items });
  voters(network, server, series(14, far4));
  network.run(90_000);
  const { id } = server.node;
  assert.ok(!id.equals(former));
  const targets = series(2_000, (i) => `v${i}`).map((text) => {
    const item = immutableItem(itemCrypto, bencodeBytes(latin1(text)));
    items.put(item, network.now, () => {});
    return item.target;
  });
  const nearest = targets.sort((x, y) => compareDistance(x, y, id)).slice(0, 75);
  assert.ok(nearest.every((target) => items.get(target, network.now) !== undefined));
});
