// One address, or one /64 of IPv6, can't use up the resources for all.

import assert from "node:assert/strict";
import { immutableItem } from "../../src/dht/items/item.ts";
import { itemCost } from "../../src/dht/items/item_cost.ts";
import { ItemStore } from "../../src/dht/items/item_store.ts";
import { MAX_ANNOUNCEMENTS_PER_SOURCE, PeerStore } from "../../src/dht/serving/peer_store.ts";
import { Random } from "../../src/dht/random.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { compareDistance, type Id } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { endpoint, id, latin1, query, text } from "../packets.ts";
import { Answering, randomSource, Stranger, VirtualNetwork } from "./virtual_network.ts";

Deno.test("one stranger can't fill the store of info-hashes", () => {
  const network = new VirtualNetwork(1);
  const server = network.add({ at: ["45.1.2.3:6881", "[2a00:1::1]:6881"] });
  const announce = (from: Stranger, to = server.endpoint) => {
    const infoHash = network.randomId().toBytes();
    const token = from.ask(query("get_peers", id("80"), { info_hash: infoHash }), to).r.token;
    const args = { info_hash: infoHash, token: Uint8Array.from(token), port: 1 };
    return text(from.ask(query("announce_peer", id("80"), args), to).y);
  };
  for (let host = 1; host <= 3; host++) {
    const one = new Stranger(network, `[2a00:bad:0:1::${host}]:1`);
    for (let i = 0; i < 100; i++) {
      announce(one, server.endpoints[1]);
      network.run(20);
    }
  }
  assert.equal(server.node.responder.peers.count, MAX_ANNOUNCEMENTS_PER_SOURCE);
  assert.equal(announce(new Stranger(network, "77.1.1.1:1")), "r");
});

Deno.test("one stranger can't fill a swarm", () => {
  const store = new PeerStore(new Random(randomSource(1)));
  for (let i = 0; i < 50; i++) store.announce(id("77"), endpoint(`${20 + i}.1.1.1:1`), 0);
  for (let i = 1; i <= 100; i++) {
    store.announce(id("77"), endpoint(`[2a00:bad:0:1::${i.toString(16)}]:1`), 1);
  }
  assert.equal(store.peers(id("77"), 4, 2).length, 50);
});

Deno.test("one stranger can't use up the pings to newcomers", () => {
  const network = new VirtualNetwork(10, 9);
  const server = network.add({ at: "45.1.2.3:6881" });
  const one = new Stranger(network, "66.6.6.6:1");
  let isOver = false;
  const flood = () => {
    // Ids so close to the node's own id that their buckets have room.
    one.send(query("ping", server.node.id.withSuffix(24, network.randomId())), server.endpoint);
    if (!isOver) network.after(20, flood);
  };
  flood();
  network.run(10_000);
  for (let i = 0; i < 60; i++) {
    const newcomer = new Answering(network, `${20 + i}.7.8.9:1`);
    for (let n = 0; n < 3; n++) {
      const target = newcomer.id.toBytes();
      newcomer.send(query("find_node", newcomer.id, { target }), server.endpoint);
      network.run(500);
    }
  }
  isOver = true;
  // The farthest buckets do not have room for all.
  assert.ok(server.node.tables.size >= 40, `${server.node.tables.size}`);
});

Deno.test("one stranger that changes its id counts as one neighbour, and causes few repairs", () => {
  const completed = (isChanging: boolean) => {
    const network = new VirtualNetwork(10, 11);
    for (let i = 0; i < 40; i++) {
      const { node } = network.add({ at: `${50 + i}.1.2.3:6881` });
      if (i > 0) node.membership.join([network.nodes[0].endpoint], [], network.now);
      network.run(2_000);
    }
    network.run(300_000);
    const victim = network.nodes[7];
    for (let i = 0; i < 100; i++) {
      const item = immutableItem(itemCrypto, bencodeBytes(latin1(`v${i}`)));
      victim.items.put({ item }, network.now, () => {});
    }
    network.run(70_000);
    const one = new Answering(network, "166.6.6.6:1");
    let isOver = !isChanging;
    const change = () => {
      if (isOver) return;
      one.id = victim.node.id.withSuffix(24, network.randomId());
      one.send(query("ping", one.id), victim.endpoint);
      network.after(20_000, change);
    };
    change();
    const before = victim.node.replication.completed;
    network.run(1_500_000);
    isOver = true;
    return victim.node.replication.completed - before;
  };
  const quiet = completed(false), changing = completed(true);
  assert.ok(changing <= quiet + 20, `${changing} instead of ${quiet}`);
});

Deno.test("one stranger can't fill the store of items, even with values close to the node's id", () => {
  const network = new VirtualNetwork(1, 9);
  const own = network.randomId();
  const capacity = 400, others = 100;
  const items = new ItemStore(own, capacity * itemCost({ value: { length: 10 } }), 1);
  const server = network.add({ at: "45.1.2.3:6881", id: own, items, nat: false });
  const token = (from: Stranger) =>
    Uint8Array.from(
      from.ask(query("get", id("80"), { target: own.toBytes() }), server.endpoint).r.token,
    );
  const targetOf = (value: string) => immutableItem(itemCrypto, bencodeBytes(latin1(value))).target;
  const held = Array.from({ length: others }, (_, i): Id => {
    const values = Array.from({ length: 50 }, (_, j) => `h${i}.${j}`);
    const [v] = values.sort((x, y) => compareDistance(targetOf(x), targetOf(y), own));
    const from = new Stranger(network, `${20 + i}.1.1.1:1`);
    from.ask(query("put", id("80"), { token: token(from), v }), server.endpoint);
    return targetOf(v);
  });
  const one = new Stranger(network, "66.6.6.6:1"), itsToken = token(one);
  for (let tried = 0, put = 0; put < 1_000; tried++) {
    const v = `e${tried}`;
    if ((targetOf(v).a ^ own.a) >>> 24 !== 0) continue;
    put++;
    one.send(query("put", id("80"), { token: itsToken, v }), server.endpoint);
    network.run(11);
  }
  // It may hold a quarter of what is then still free, which is a fifth of what was free.
  assert.equal(items.count - others, (capacity - others) / 5);
  assert.ok(held.every((target) => items.get(target, network.now) !== undefined));
});
