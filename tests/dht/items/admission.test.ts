// Strangers who try to fill the stores of a network, and what its members can still do.

import assert from "node:assert/strict";
import { newestHeld } from "../../../src/dht/items/held.ts";
import { immutableItem, type Item } from "../../../src/dht/items/item.ts";
import type { PutResult, Room } from "../../../src/dht/items/item_operations.ts";
import { itemCost } from "../../../src/dht/items/item_cost.ts";
import { ItemStore } from "../../../src/dht/items/item_store.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import type { Id } from "../../../src/krpc/id.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { decodeAny, id, latin1, query, text } from "../../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const K = 4, CAPACITY = 200, HOUR = 3_600_000;
const ASKER = id("a5c3");
const SIZE = itemCost({ value: { length: 13 } });

const item = (name: string) =>
  immutableItem(itemCrypto, bencodeBytes(latin1(name.padStart(10, "_"))));

/** Nodes at public addresses, each with room for `CAPACITY` items. */
function internet(count: number): VirtualNetwork {
  const network = new VirtualNetwork();
  for (let n = 0; n < count; n++) {
    const own = network.randomId();
    const items = new ItemStore(own, CAPACITY * SIZE, 1);
    const added = network.add({ at: `9.${n}.1.1:6881`, id: own, k: K, items, nat: false });
    if (n > 0) added.node.membership.join(network.nodes[0].endpoints, [], network.now);
    network.run(2_000);
  }
  return network;
}

function put(network: VirtualNetwork, { node }: VirtualNode, item: Item): PutResult {
  return network.complete((now, done) =>
    node.items.put({ target: item.target, make: () => item, isOwn: true }, now, done)
  );
}

/** Lets a stranger put as many items on a node as it takes. Returns how many it took. */
function fill(stranger: Stranger, victim: VirtualNode, name: string): number {
  const target = ASKER.toBytes();
  for (let n = 0;; n++) {
    // Slowly: the rate limit for each address is another defence.
    stranger.network.run(100);
    const { token } = stranger.ask(query("get", ASKER, { target }), victim.endpoint).r;
    const v = `${name} ${n}`.padStart(10, "x");
    const reply = stranger.ask(query("put", ASKER, { v, token }), victim.endpoint);
    if (text(reply.y) === "e") return n;
  }
}

Deno.test("attackers in 30 subnets fill a node, and it keeps what it had and still takes values of others", () => {
  const network = internet(12);
  const [victim, ...others] = network.nodes;
  const before = Array.from({ length: 10 }, (_, n) => item(`before ${n}`));
  for (const one of before) put(network, others[0], one);
  const held = before.filter(({ target }) => victim.items.get(target, network.now) !== undefined);
  assert.ok(held.length > 0);

  let taken = 0;
  for (let n = 0; n < 30; n++) {
    taken += fill(new Stranger(network, `${20 + n}.5.6.7:4000`), victim, `${n}`);
  }
  assert.ok(taken > 0.8 * CAPACITY && victim.items.usedBytes <= CAPACITY * SIZE, `${taken}`);
  for (const { target } of held) assert.ok(victim.items.get(target, network.now));

  // With the victim full, values of others are still on k nodes: the next ones take them.
  for (let n = 0; n < 20; n++) {
    const { stored } = put(network, others[n % others.length], item(`after ${n}`));
    assert.ok(stored.length >= K - 1, `${stored.length} nodes`);
  }
  network.run(HOUR);
  const copies = (target: Id) =>
    others.filter((one) => newestHeld(one, target, network.now) !== undefined).length;
  for (const { target } of held) {
    assert.ok(victim.items.get(target, network.now) !== undefined || copies(target) >= K);
  }
  const evicted = victim.events.filter((event) => event.type === "data.expire");
  for (const { target, reason } of evicted) {
    assert.equal(reason, "evicted");
    assert.ok(copies(target) >= K, "only what enough others hold");
  }
});

Deno.test("putting the items of others again neither evicts them nor counts against their owners", () => {
  const network = internet(12);
  const [victim, owner] = network.nodes;
  const items = Array.from({ length: 30 }, (_, n) => item(`mine ${n}`));
  for (const one of items) put(network, owner, one);
  const held = items.filter(({ target }) => victim.items.get(target, network.now) !== undefined);
  const source = "9.1/1";
  const room = victim.items.room(source);
  const stranger = new Stranger(network, "66.6.6.6:4000");
  for (const { value } of items) {
    const { token } =
      stranger.ask(query("get", ASKER, { target: ASKER.toBytes() }), victim.endpoint).r;
    const v = decodeAny(value) as unknown as Uint8Array;
    stranger.ask(query("put", ASKER, { v, token }), victim.endpoint);
  }
  const added = victim.items.count - held.length;
  assert.equal(victim.items.room(source), room - added * SIZE / 4, "only the space got less");
  for (const { target } of held) assert.equal(victim.items.get(target, network.now)?.by, source);
});

Deno.test("a node asks others for room for the whole value in a small network, and for a part of it in a large one", () => {
  const ask = (network: VirtualNetwork, bytes: number, copies: number) =>
    network.complete<Room>((now, done) =>
      network.nodes[0].node.items.room({ bytes, copies, targets: [ASKER] }, now, done)
    );
  const share = CAPACITY * SIZE / 5;
  const small = internet(3);
  assert.deepEqual(ask(small, share, K), {
    neededBytes: share,
    asked: 2,
    withRoom: 2,
    isAll: true,
  });
  assert.equal(ask(small, share + 1, K).withRoom, 0);
  small.nodes[1].isDown = true;
  assert.equal(ask(small, share, K).asked, 1, "only nodes that answer count");
  const large = internet(40);
  const { isAll, asked, withRoom, neededBytes } = ask(large, share, 1);
  assert.ok(!isAll && asked >= K && withRoom === asked);
  assert.ok(neededBytes < share / 2, `${neededBytes}`);
});
