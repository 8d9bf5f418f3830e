// Ids bound to the address (BEP 42), and the changes that follow from a new id.

import assert from "node:assert/strict";
import { itemCost } from "../../../src/dht/items/item_cost.ts";
import { ItemStore } from "../../../src/dht/items/item_store.ts";
import { immutableItem } from "../../../src/dht/items/item.ts";
import { isSecureId } from "../../../src/dht/routing/secure_id.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { compareDistance } from "../../../src/krpc/id.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { decodeAny, endpoint, latin1, text } from "../../packets.ts";
import { Answering, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const HOUR = 3_600_000;
const DUAL = ["45.1.2.3:6881", "[2a01:5::1]:6881"];
const far4 = (i: number) => `${60 + i}.7.8.9:1`;
const far6 = (i: number) => `[2a00:${(60 + i).toString(16)}::1]:1`;

/** Contacts of a node that send it the address at which they see it. */
function voters(network: VirtualNetwork, of: VirtualNode, at: readonly string[]): Answering[] {
  return at.map((address) => {
    const voter = new Answering(network, address);
    voter.sees = (from) => from;
    return voter.meet(of);
  });
}
const series = (count: number, at: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => at(i));

Deno.test("BEP 42: a node of both families takes an id of its IPv4 address, whichever votes come first", () => {
  for (const order of [[far4, far6], [far6, far4]]) {
    const network = new VirtualNetwork(10, 7);
    const server = network.add({ at: DUAL });
    voters(network, server, series(16, (i) => order[i % 2](i)));
    for (const at of order) voters(network, server, series(16, (i) => at(100 + i)));
    network.run(HOUR);
    assert.ok(isSecureId(server.node.id, server.endpoints[0]));
  }
});

Deno.test("BEP 42: a node with a new id enters others' tables under the id of its address, and no other", () => {
  const network = new VirtualNetwork(10, 7);
  const others = series(12, far4).map((at) => network.add({ at }));
  for (const { node } of others.slice(1)) {
    node.membership.join([others[0].endpoint], [], network.now);
    network.run(5_000);
  }
  const newcomer = network.add({ at: "45.1.2.3:6881", isNewId: true });
  const former = newcomer.node.id;
  newcomer.node.membership.join([others[0].endpoint], [], network.now);
  network.run(10_000);
  const { id } = newcomer.node;
  assert.ok(isSecureId(id, newcomer.endpoint) && !id.equals(former));
  for (const { node, events } of others) {
    assert.ok(node.tables.find(id));
    const joined = events.filter((event) => event.type === "peer.join");
    assert.ok(!joined.some(({ contact }) => contact.id.equals(former)));
  }
});

Deno.test("a node with a new id joins within two seconds if bootstrap nodes are silent or report no address", () => {
  const network = new VirtualNetwork(10, 7);
  const known = new Answering(network, far4(1)), silent = endpoint(far4(2));
  const newcomer = network.add({ at: "45.1.2.3:6881", isNewId: true });
  newcomer.node.membership.join([silent, known.at], [], network.now);
  network.run(2_000);
  const queries = known.received.map(({ packet }) => decodeAny(packet));
  const read = queries.map(({ q, ro }) => [text(q), ro]);
  assert.deepEqual(read[0], ["ping", 1]);
  assert.ok(read.some(([q, ro]) => q === "find_node" && ro === undefined));
});

Deno.test("BEP 42: a node that only gets answers over IPv6 takes an id of that address, and keeps it", () => {
  const network = new VirtualNetwork(10, 7);
  const server = network.add({ at: DUAL });
  voters(network, server, series(16, far6));
  network.run(200_000);
  assert.ok(isSecureId(server.node.id, server.endpoints[1]));
  voters(network, server, series(40, far4));
  network.run(HOUR);
  assert.equal(server.events.filter(({ type }) => type === "id").length, 1);
});

Deno.test("BEP 42: neighbours in a private network, which see another address, don't keep a node from binding its id", () => {
  const network = new VirtualNetwork(10, 7);
  const server = network.add({ at: "192.168.1.5:6881" });
  const outside = endpoint("45.1.2.3:7000");
  for (const voter of voters(network, server, series(16, far4))) voter.sees = () => outside;
  voters(network, server, series(8, (i) => `192.168.1.${20 + i}:1`));
  network.run(HOUR);
  assert.ok(isSecureId(server.node.id, outside));
});

Deno.test("contacts that find no place in the table of a new id are no longer checked", () => {
  const network = new VirtualNetwork(10, 3);
  const server = network.add({ at: "45.1.2.3:6881", k: 8 });
  const peers = series(120, (i) => `${50 + i}.7.8.9:1`).map((at, i) => {
    const peer = new Answering(network, at);
    peer.client = "DM\x01\0";
    peer.delayMs = (i * 37) % 300;
    return peer.meet(server);
  });
  const former = server.node.id;
  for (const peer of peers) peer.sees = (from) => from;
  network.run(200_000);
  assert.ok(!server.node.id.equals(former));
  // All but ten fall silent, so the node drops the peers that no longer answer.
  const silent = peers.filter((_, i) => i % 12 !== 0);
  for (const peer of silent) peer.answer = undefined;
  network.run(HOUR);
  for (const { received } of silent) received.length = 0;
  network.run(12 * HOUR);
  const most = Math.max(...silent.map(({ received }) => received.length));
  assert.ok(most < 100, `${most} packets`);
});

Deno.test("a full store evicts the spare items that are farthest from the node's present id", () => {
  const network = new VirtualNetwork(10, 5);
  const former = network.randomId(), capacity = 100;
  const items = new ItemStore(former, capacity * itemCost({ value: { length: 8 } }), 1);
  const server = network.add({ at: "45.1.2.3:6881", id: former, items });
  voters(network, server, series(14, far4));
  network.run(90_000);
  const { id } = server.node;
  assert.ok(!id.equals(former));
  const stored = Array.from({ length: capacity + 1 }, (_, i) => {
    const item = immutableItem(itemCrypto, bencodeBytes(latin1(`v${i}`)));
    items.put({ item }, network.now, () => {});
    items.noteSpare(item, true, network.now);
    return item.target;
  });
  const kept = stored.filter((target) => items.get(target, network.now) !== undefined);
  const evicted = stored.filter((target) => !kept.includes(target));
  assert.ok(evicted.length > 0);
  const farthest = stored.slice(0, capacity).sort((x, y) => compareDistance(y, x, id));
  assert.deepEqual(
    evicted.map(String).sort(),
    farthest.slice(0, evicted.length).map(String).sort(),
  );
});
