// Keeping values alive: republication, copies, outages and partitions.

import assert from "node:assert/strict";
import {
  immutableItem,
  type Item,
  ITEM_LIFE_MS,
  signedBytes,
} from "../../../src/dht/items/item.ts";
import { mutableTarget } from "../../../src/dht/items/item.ts";
import type {
  GetResult,
  PutResult,
  ReplicasResult,
} from "../../../src/dht/items/item_operations.ts";
import { PACKETS_PER_SECOND } from "../../../src/dht/items/replicator.ts";
import { newestHeld } from "../../../src/dht/items/held.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { compareDistance, type Id } from "../../../src/krpc/id.ts";
import { Identity, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { decodeAny, encode, id, latin1, PADDING, query, text } from "../../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const MINUTE = 60_000, HOUR = 60 * MINUTE;
const K = 8;
const LIAR = id("5a");
const CHALLENGE = new Uint8Array(8);
const OWNER = new Identity(new Uint8Array(32).fill(7));

const immutable = (value: string) => immutableItem(itemCrypto, bencodeBytes(latin1(value)));

function mutable(value: string, seq: number): Item {
  const bytes = bencodeBytes(latin1(value)), salt = new Uint8Array(0);
  const { publicKey } = OWNER;
  const signature = OWNER.sign(signedBytes(salt, seq, bytes));
  return {
    target: mutableTarget(itemCrypto, publicKey, salt),
    value: bytes,
    signed: { publicKey, signature, salt, seq },
  };
}

function put(
  network: VirtualNetwork,
  { node }: VirtualNode,
  item: Item,
  lifeMs?: number,
): PutResult {
  const { target, signed } = item;
  return network.complete((now, done) =>
    node.items.put({ target, salt: signed?.salt, lifeMs, make: () => item }, now, done)
  );
}

/** Stores a value and keeps it published. */
function publish(
  network: VirtualNetwork,
  owner: VirtualNode,
  item: Item,
  lifeMs?: number,
): PutResult {
  const result = network.complete<PutResult>((now, done) =>
    owner.node.items.put(
      { target: item.target, salt: item.signed?.salt, lifeMs, isOwn: true, make: () => item },
      now,
      done,
    )
  );
  const replicas = result.stored.length;
  owner.node.replicator.keepPublished({ item, replicas, lifeMs }, network.now);
  return result;
}

const get = (network: VirtualNetwork, { node }: VirtualNode, target: Id, salt?: Uint8Array) =>
  network.complete<GetResult>((now, done) => node.items.get({ target, salt }, now, done));

/** The nodes that are up and should hold an item, nearest first. */
function closest(nodes: readonly VirtualNode[], target: Id): VirtualNode[] {
  return nodes.filter((one) => !one.isDown)
    .sort((x, y) => compareDistance(x.node.id, y.node.id, target)).slice(0, K);
}

const holding = (nodes: readonly VirtualNode[], { target, signed }: Item, now: number) =>
  nodes.filter((one) => {
    const held = newestHeld(one, target, now)?.item;
    return !one.isDown && held !== undefined && held.signed?.seq === signed?.seq;
  });

Deno.test("Kademlia 2.5: a value that its owner republishes never expires", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(12, { k: K, healthCheckIntervalMs: 10 * MINUTE });
  const item = immutable("kept");
  publish(network, nodes[3], item);
  network.run(2 * ITEM_LIFE_MS);
  assert.equal(holding(closest(nodes, item.target), item, network.now).length, K);
  assert.ok(nodes[3].node.replication.published >= 40, "hourly");
  nodes[3].published.remove(item.target);
  network.run(ITEM_LIFE_MS + HOUR);
  assert.equal(
    holding(nodes, item, network.now).length,
    0,
    "its holders don't keep it alive either",
  );
});

Deno.test("an owner has its value even if all nodes that held it are gone, and says so to others", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(12, { k: 2 });
  for (const item of [immutable("own"), mutable("own", 3)]) {
    const holders = nodes.toSorted((x, y) => compareDistance(x.node.id, y.node.id, item.target));
    const owner = holders[8];
    publish(network, owner, item);
    assert.equal(owner.items.get(item.target, network.now), undefined, "it takes no room there");
    for (const one of holders.slice(0, 2)) one.isDown = true;
    assert.deepEqual(get(network, owner, item.target, new Uint8Array(0)).item, item);
    const stranger = new Stranger(network, "10.9.9.1:1");
    const args = { target: item.target.toBytes(), ss: 1 };
    const { r } = stranger.ask(query("get", LIAR, args, { z: PADDING }), owner.endpoint);
    assert.equal(text(r.v), "own");
    assert.ok(r.sa <= 1, `${r.sa} s`);
    const { replicas } = network.complete<ReplicasResult>((now, done) =>
      owner.node.items.replicas({ target: item.target }, now, done)
    );
    assert.ok(replicas.some(({ endpoint }) => endpoint === undefined));
    for (const one of nodes) one.isDown = false;
    network.run(5 * MINUTE);
  }
});

Deno.test("an item that should have two copies gets two, and its holders keep it at two", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: K });
  const item = immutable("piece");
  const { stored } = network.complete<PutResult>((now, done) =>
    nodes[3].node.items.put({ target: item.target, copies: 2, make: () => item }, now, done)
  );
  const holders = () => holding(nodes, item, network.now);
  assert.deepEqual(new Set(stored), new Set(holders().map(({ node }) => node.id)));
  assert.equal(holders().length, 2);
  network.run(3 * HOUR);
  assert.equal(holders().length, 2, "no repair adds a third");
  holders()[0].isDown = true;
  network.run(3 * HOUR);
  assert.equal(holders().length, 2);
  assert.ok(holders().every(({ items }) => items.get(item.target, network.now)?.copies === 2));
});

Deno.test("nobody can lower the number of copies that an item should have", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(4, { k: K });
  const item = immutable("all");
  const copiesAfter = (copies?: number) => {
    network.complete<PutResult>((now, done) =>
      nodes[0].node.items.put({ target: item.target, copies, make: () => item }, now, done)
    );
    const held = nodes.slice(1).map(({ items }) => items.get(item.target, network.now));
    return new Set(held.flatMap((one) => one === undefined ? [] : [one.copies]));
  };
  assert.deepEqual(copiesAfter(3), new Set([3]));
  assert.deepEqual(copiesAfter(2), new Set([3]));
  assert.deepEqual(copiesAfter(4), new Set([4]));
  assert.deepEqual(copiesAfter(), new Set([undefined]));
  assert.deepEqual(copiesAfter(2), new Set([undefined]));
});

Deno.test("a node that is alone for days still has its own values", () => {
  const network = new VirtualNetwork();
  const [owner] = network.addJoined(1, { k: K });
  const item = immutable("alone");
  assert.equal(publish(network, owner, item).stored.length, 1);
  network.run(3 * ITEM_LIFE_MS);
  assert.deepEqual(get(network, owner, item.target).item, item);
});

Deno.test("a newer version that another node stored here is served instead of the own one", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(3, { k: K });
  const [owner, other] = nodes;
  publish(network, owner, mutable("old", 1));
  put(network, other, mutable("new", 2));
  const { target } = mutable("old", 1);
  const { r } = new Stranger(network, "10.9.9.1:1")
    .ask(query("get", LIAR, { target: target.toBytes() }, { z: PADDING }), owner.endpoint);
  assert.deepEqual([r.seq, text(r.v)], [2, "new"]);
});

Deno.test("without its owner, a value lives a day, and one of its holders completes its copies each hour", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: K, healthCheckIntervalMs: 10 * MINUTE });
  const item = immutable("orphan");
  put(network, nodes[0], item);
  const start = network.now;
  let rounds = 0;
  network.link = (datagram) => {
    const { q, a } = decodeAny(datagram);
    if (q !== undefined && text(q) === "get" && a.pc !== undefined) rounds++;
    return datagram;
  };
  network.run(12 * HOUR);
  // One holder asks the seven others, and those around them: between 7 and 19 queries.
  assert.ok(rounds / 12 > 5 && rounds / 12 < 70, `${rounds / 12} queries an hour`);
  network.run(11.9 * HOUR);
  assert.equal(holding(closest(nodes, item.target), item, network.now).length, K);
  network.run(start + ITEM_LIFE_MS + 5 * MINUTE - network.now);
  assert.equal(holding(nodes, item, network.now).length, 0);
});

Deno.test("without its owner, a value lives as long as its put asked for, also in copies that holders make", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: K, healthCheckIntervalMs: 10 * MINUTE });
  const item = immutable("for three days"), lifeMs = 3 * ITEM_LIFE_MS;
  put(network, nodes[0], item, lifeMs);
  const start = network.now, first = holding(nodes, item, start);
  network.run(HOUR);
  for (const one of first.slice(0, K / 2)) one.isDown = true;
  network.run(lifeMs - 2 * HOUR);
  const holders = holding(closest(nodes, item.target), item, network.now);
  assert.ok(holders.length >= K - 1, `${holders.length} copies`);
  assert.ok(holders.some((one) => !first.includes(one)));
  for (const { items } of holders) {
    const { expiresAt } = items.get(item.target, network.now)!;
    assert.ok(Math.abs(expiresAt - start - lifeMs) < 5_000, "its owner's put counts");
  }
  network.run(2 * HOUR);
  assert.equal(holding(nodes, item, network.now).length, 0);
});

Deno.test("a value that lives for an hour does not end while its owner is there", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(12, { k: K });
  const item = immutable("short"), owner = nodes[3];
  publish(network, owner, item, HOUR);
  for (let i = 0; i < 30; i++) {
    network.run(10 * MINUTE);
    assert.ok(holding(closest(nodes, item.target), item, network.now).length >= K - 1, `${i}`);
  }
  owner.published.remove(item.target);
  network.run(HOUR + 5 * MINUTE);
  assert.equal(holding(nodes, item, network.now).length, 0);
});

Deno.test("a put can ask for a life of one hour to seven days, and can't shorten a life", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(2, { k: K });
  const [holder] = nodes, stranger = new Stranger(network, "10.9.9.1:1");
  const lifeAfter = (value: string, tl?: number) => {
    const { target } = immutable(value);
    const { r } = stranger.ask(
      query("get", LIAR, { target: target.toBytes() }),
      holder.endpoint,
    );
    const args = { token: r.token, v: latin1(value), ...(tl === undefined ? {} : { tl }) };
    stranger.ask(query("put", LIAR, args), holder.endpoint);
    const { expiresAt } = holder.items.get(target, network.now)!;
    return Math.round((expiresAt - network.now) / MINUTE) * MINUTE;
  };
  assert.equal(lifeAfter("a", 1), HOUR);
  assert.equal(lifeAfter("b", 2 * 3600), 2 * HOUR);
  assert.equal(lifeAfter("c", 2 ** 40), 7 * ITEM_LIFE_MS);
  assert.equal(lifeAfter("d", -5), ITEM_LIFE_MS);
  assert.equal(lifeAfter("e"), ITEM_LIFE_MS);
  assert.equal(lifeAfter("e", 3 * 86_400), 3 * ITEM_LIFE_MS);
  assert.equal(lifeAfter("e", 3600), 3 * ITEM_LIFE_MS);
  assert.equal(lifeAfter("e"), 3 * ITEM_LIFE_MS);
});

Deno.test("when half of the holders vanish, the others restore the copies within minutes", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(40, { k: K });
  const items = Array.from({ length: 3 }, (_, i) => immutable(`value ${i}`));
  for (const item of items) put(network, nodes[0], item);
  network.run(5 * MINUTE);
  for (const one of closest(nodes, items[0].target).filter((_, i) => i % 2)) one.isDown = true;
  network.run(10 * MINUTE);
  for (const item of items) {
    const copies = holding(closest(nodes, item.target), item, network.now).length;
    assert.ok(copies >= K - 1, `${copies} copies of ${item.target}`);
  }
  assert.ok(nodes.some(({ events }) => events.some((event) => event.type === "data.replicate")));
});

Deno.test("nodes that join closer to a value get a copy with its age", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(12, { k: K });
  const item = immutable("handed on");
  put(network, nodes[0], item);
  const start = network.now;
  network.run(3 * HOUR);
  const newcomers = Array.from({ length: 6 }, (_, i) => {
    const near = item.target.flip(150 + i);
    const added = network.add({ id: near, k: K });
    added.node.membership.join(nodes[0].endpoints, [], network.now);
    network.run(2_000);
    return added;
  });
  network.run(10 * MINUTE);
  assert.equal(holding(newcomers, item, network.now).length, newcomers.length);
  for (const { items } of newcomers) {
    const { expiresAt } = items.get(item.target, network.now)!;
    assert.ok(Math.abs(expiresAt - start - ITEM_LIFE_MS) < 5_000, "its owner's put counts");
  }
});

Deno.test("a node that only claims to repair an item can't keep its holders from repairing it forever", () => {
  const network = new VirtualNetwork();
  const [holder, ...others] = network.addJoined(4, { k: 2 });
  const item = immutable("watched over");
  put(network, holder, item);
  const liar = new Stranger(network, "10.9.9.1:1");
  liar.answer = (packet) => {
    const { t, y } = decodeAny(packet);
    const r = { id: LIAR.toBytes() };
    return text(y) === "q" ? encode({ t, y: "r", r }) : undefined;
  };
  for (const { node } of [holder, ...others]) node.ping(liar.at, network.now, () => {});
  network.run(1_000);
  const say = query("get", LIAR, { target: item.target.toBytes(), pc: CHALLENGE });
  let rounds = 0;
  network.link = (datagram, from) => {
    const { q, a } = decodeAny(datagram);
    if (!from.equals(liar.at) && q !== undefined && text(q) === "get" && a.pc !== undefined) {
      rounds++;
    }
    return datagram;
  };
  for (let i = 0; i < 12 * 12; i++) {
    for (const { endpoint } of [holder, ...others]) liar.send(say, endpoint);
    network.run(5 * MINUTE);
  }
  assert.ok(rounds > 0);
});

Deno.test("a reader sends the newest version of a mutable item to holders of an older one", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: K });
  const old = mutable("old", 1), fresh = mutable("new", 2);
  put(network, nodes[0], old);
  const [first] = closest(nodes, old.target);
  first.items.put({ item: fresh }, network.now, () => {});
  const result = get(network, nodes[15], old.target, new Uint8Array(0));
  assert.equal(result.item?.signed?.seq, 2);
  network.run(5_000);
  assert.equal(holding(closest(nodes, old.target), fresh, network.now).length, K);
});

Deno.test("replicas() returns the holders of an item, and the version and age of each copy", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: K });
  const item = mutable("counted", 3);
  put(network, nodes[0], item);
  network.run(90_000);
  const [nearest, ...rest] = closest(nodes, item.target);
  nearest.isDown = true;
  const asker = nodes.find((one) => !rest.includes(one) && one !== nearest)!;
  const { replicas } = network.complete<ReplicasResult>(
    (now, done) => asker.node.items.replicas({ target: item.target }, now, done),
  );
  assert.deepEqual(replicas.map(({ id }) => `${id}`), rest.map(({ node }) => `${node.id}`));
  for (const { seq, ageMs } of replicas) {
    assert.equal(seq, 3);
    assert.ok(ageMs! >= 85_000 && ageMs! <= 110_000, `${ageMs} ms`);
  }
});

Deno.test("a node that lost an acknowledged item counts as less reliable, once, and stays a contact", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(12, { k: K });
  const [owner] = nodes;
  const items = ["one", "two", "three", "four", "five", "six", "seven"].map(immutable);
  for (const item of items) put(network, owner, item);
  const loser =
    nodes.slice(1).find(({ items: held }) =>
      items.every(({ target }) => held.get(target, network.now) !== undefined)
    ) ?? closest(nodes.slice(1), items[0].target)[0];
  const lost = items.filter(({ target }) => loser.items.get(target, network.now) !== undefined);
  const look = ({ target }: Item) =>
    network.complete((now, done) => owner.node.items.replicas({ target }, now, done));
  for (const item of lost) look(item);
  assert.equal(owner.node.tables.find(loser.node.id)!.faults, 0, "it has all values");
  loser.items.get = () => undefined;
  look(lost[0]);
  const { faults } = owner.node.tables.find(loser.node.id)!;
  assert.ok(faults > 0.9 && faults <= 1, `${faults}`);
  look(lost[0]);
  assert.ok(owner.node.tables.find(loser.node.id)!.faults < faults, "the fault is reported once");
  for (const item of lost) look(item);
  assert.ok(owner.node.tables.find(loser.node.id)!.faults < 3, "it may have restarted");
  const others = [...owner.node.tables.contacts()].filter(({ id }) => !id.equals(loser.node.id));
  assert.ok(others.every((contact) => contact.faults === 0));
});

Deno.test("a thousand values due at the same time are republished within the budget", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10, { k: K });
  const [owner] = nodes;
  for (let i = 0; i < 1_000; i++) {
    const item = immutable(`${i}`);
    owner.published.save({
      item,
      firstAt: 0,
      lastAt: 0,
      nextAt: 0,
      replicas: 0,
      failures: 0,
    });
  }
  let sent = 0, most = 0, total = 0;
  network.link = (datagram, from) => {
    if (from.equals(owner.endpoint) && decodeAny(datagram).q !== undefined) sent++;
    return datagram;
  };
  for (let s = 0; s < 300; s++) {
    network.run(1_000);
    if (s >= 120) total += sent;
    most = Math.max(most, sent);
    sent = 0;
  }
  assert.ok(most <= 4 * PACKETS_PER_SECOND, `${most} in a second`);
  assert.ok(total / 180 <= 1.2 * PACKETS_PER_SECOND, `${total / 180} a second`);
  assert.equal(owner.node.replication.published, 1_000);
});

Deno.test("after an outage of ten minutes, or of a night, a node is back within 30 s", () => {
  for (const outage of [10 * MINUTE, 9 * HOUR]) {
    const network = new VirtualNetwork();
    const nodes = network.addJoined(30, { k: K });
    const item = immutable("still there");
    put(network, nodes[1], item);
    const cut = nodes.find((one) =>
      !closest(nodes, item.target).includes(one) && one !== nodes[0]
    )!;
    network.link = (datagram, from, to) =>
      from.equals(cut.endpoint) || to.equals(cut.endpoint) ? undefined : datagram;
    network.run(outage);
    assert.equal(cut.node.tables.size, 0);
    network.link = (datagram) => datagram;
    network.run(30_000);
    assert.ok(cut.node.tables.size >= K, `${cut.node.tables.size} contacts`);
    assert.equal(text(get(network, cut, item.target).item!.value), "11:still there");
  }
});

Deno.test("two halves of a network unite after an hour's partition, and the newest version wins everywhere", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(40, { k: K });
  const old = mutable("before", 1), fresh = mutable("meanwhile", 2);
  const kept = immutable("kept");
  publish(network, nodes[4], old);
  publish(network, nodes[5], kept);
  network.run(5 * MINUTE);
  const side = new Map(nodes.map((one, i) => [`${one.endpoint}`, i % 2]));
  network.link = (datagram, from, to) =>
    side.get(`${from}`) === side.get(`${to}`) ? datagram : undefined;
  network.run(10 * MINUTE);
  publish(network, nodes[4], fresh);
  network.run(50 * MINUTE);
  assert.ok(
    [...nodes[0].node.tables.contacts()].every(({ endpoint }) => side.get(`${endpoint}`) === 0),
    "each half has forgotten the other",
  );
  network.link = (datagram) => datagram;
  network.run(30 * MINUTE);
  for (const item of [fresh, kept]) {
    const copies = holding(closest(nodes, item.target), item, network.now).length;
    assert.ok(copies >= K - 1, `${copies} of ${K} hold ${item.target}`);
  }
  assert.equal(
    holding(nodes, old, network.now).filter((one) => closest(nodes, old.target).includes(one))
      .length,
    0,
  );
  for (const asker of nodes) {
    const target = network.randomId();
    const truth = nodes.filter((one) => one !== asker)
      .sort((x, y) => compareDistance(x.node.id, y.node.id, target))[0];
    const found = network.complete<{ closest: readonly { id: Id }[] }>((now, done) =>
      asker.node.find(target, now, done)
    );
    assert.ok(found.closest[0].id.equals(truth.node.id));
  }
});

Deno.test("a node that claims to have a newer version does not stop holders from making copies", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30, { k: K });
  const item = mutable("true", 1);
  put(network, nodes[0], item);
  const liar = new Stranger(network, "10.9.9.1:1");
  const near = item.target.flip(159);
  liar.answer = (packet) => {
    const { t, y } = decodeAny(packet);
    const r = { id: near.toBytes(), token: "liar", seq: 99 };
    return text(y) === "q" ? encode({ t, y: "r", r }) : undefined;
  };
  for (const { node } of nodes) node.ping(liar.at, network.now, () => {});
  network.run(5 * MINUTE);
  for (const one of closest(nodes, item.target).filter((_, i) => i % 2)) one.isDown = true;
  network.run(15 * MINUTE);
  const copies = holding(closest(nodes, item.target), item, network.now).length;
  assert.ok(copies >= K - 1, `${copies} copies`);
});

Deno.test("a value that only its owner acknowledged is published soon after other nodes are reachable", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: K });
  const owner = nodes[7], item = immutable("alone");
  network.link = (datagram, from, to) =>
    from.equals(owner.endpoint) || to.equals(owner.endpoint) ? undefined : datagram;
  publish(network, owner, item);
  network.run(MINUTE);
  network.link = (datagram) => datagram;
  network.run(5 * MINUTE);
  const holders = closest(nodes, item.target);
  const copies = holding(holders, item, network.now).length;
  assert.ok(copies >= K - 1, `${copies} copies`);
});
