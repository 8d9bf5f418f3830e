// How soon copies are restored after nodes have died, at any moment and for any k.

import assert from "node:assert/strict";
import { newestHeld } from "../../../src/dht/items/held.ts";
import { immutableItem, type Item } from "../../../src/dht/items/item.ts";
import type { PutResult } from "../../../src/dht/items/item_operations.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { compareDistance } from "../../../src/krpc/id.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { latin1 } from "../../packets.ts";
import { VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const CHECK_MS = 60_000, WITHIN_MS = CHECK_MS + 120_000, MINUTE = 60_000;

const item = (name: string) => immutableItem(itemCrypto, bencodeBytes(latin1(name)));

/** Stores a value and keeps it published. */
function publish(network: VirtualNetwork, { node }: VirtualNode, item: Item): void {
  const { stored } = network.complete<PutResult>((now, done) =>
    node.items.put({ target: item.target, isOwn: true, make: () => item }, now, done)
  );
  node.replicator.keepPublished({ item, replicas: stored.length }, network.now);
}

/** How many of the items are not on all of the k closest living nodes. */
function short({ nodes, now }: VirtualNetwork, items: readonly Item[], k: number): number {
  return items.filter(({ target }) =>
    nodes.filter(({ isDown }) => !isDown)
      .sort((x, y) => compareDistance(x.node.id, y.node.id, target)).slice(0, k)
      .some((one) => newestHeld(one, target, now) === undefined)
  ).length;
}

interface Deaths {
  readonly k: number;
  readonly nodes?: number;
  readonly deaths?: number;
  readonly values?: number;
  /** The time between the stores and the deaths. */
  readonly afterMs?: number;
  readonly seed?: number;
}

/** Stores values, lets some nodes die without notice, and returns how many values are short of copies in the end. */
function shortAfterDeaths(
  { k, nodes = 12, deaths = 3, values = 60, afterMs = 0, seed = 1 }: Deaths,
) {
  const network = new VirtualNetwork(10, seed);
  const [owner, ...others] = network.addJoined(nodes, { k, healthCheckIntervalMs: CHECK_MS });
  network.run(5 * MINUTE);
  const items = Array.from({ length: values }, (_, n) => item(`${seed} ${n}`));
  for (const one of items) publish(network, owner, one);
  assert.equal(short(network, items, k), 0);
  network.run(afterMs);
  for (const one of others.slice(0, deaths)) one.isDown = true;
  network.run(WITHIN_MS);
  return short(network, items, k);
}

Deno.test("deaths right after the stores are repaired within a health check and two minutes", () => {
  for (const seed of [1, 2, 3]) assert.equal(shortAfterDeaths({ k: 4, seed }), 0, `seed ${seed}`);
});

Deno.test("deaths at any moment after the stores are repaired in time", () => {
  for (const afterMs of [1_000, 20_000, 50_000, 100_000, 10 * MINUTE]) {
    assert.equal(shortAfterDeaths({ k: 4, afterMs, values: 30 }), 0, `after ${afterMs} ms`);
  }
});

Deno.test("a wave of twelve deaths among 30 nodes is repaired in time after the last one", () => {
  const k = 5, network = new VirtualNetwork();
  const [owner, ...others] = network.addJoined(30, { k, healthCheckIntervalMs: CHECK_MS });
  network.run(5 * MINUTE);
  const items = Array.from({ length: 60 }, (_, n) => item(`wave ${n}`));
  for (const one of items) publish(network, owner, one);
  for (const one of others.slice(0, 12)) {
    one.isDown = true;
    network.run(30_000);
  }
  assert.ok(short(network, items, k) > 0);
  network.run(WITHIN_MS);
  assert.equal(short(network, items, k), 0);
});

Deno.test("deaths are repaired in time for every k from 2 to 20", () => {
  for (let k = 2; k <= 20; k++) {
    const found = shortAfterDeaths({ k, nodes: k + 8, deaths: Math.min(3, k), values: 20 });
    assert.equal(found, 0, `k = ${k}`);
  }
});

Deno.test("an owner whose holders have all left puts its value again at once", () => {
  const network = new VirtualNetwork();
  const [owner, ...others] = network.addJoined(12, { k: 2, healthCheckIntervalMs: CHECK_MS });
  network.run(5 * MINUTE);
  const one = Array.from({ length: 20 }, (_, n) => item(`${n}`)).find(({ target }) =>
    network.nodes.filter(({ node }) => compareDistance(node.id, owner.node.id, target) < 0).length >
      2
  )!;
  publish(network, owner, one);
  const replicas = () => owner.published.get(one.target)!.replicas;
  assert.equal(replicas(), 2);
  for (const node of others) {
    node.isDown = node.items.get(one.target, network.now) !== undefined;
  }
  let least = 2;
  for (let at = 0; at < WITHIN_MS; at += 1_000) {
    network.run(1_000);
    least = Math.min(least, replicas());
  }
  assert.ok(least < 2, "the owner's report shows the loss");
  assert.equal(replicas(), 2);
  assert.equal(short(network, [one], 2), 0);
});

Deno.test("a node that was alone for days publishes its values as soon as it finds other nodes", () => {
  const network = new VirtualNetwork();
  const [owner] = network.addJoined(1, { k: 4 });
  const items = Array.from({ length: 50 }, (_, n) => item(`${n}`));
  for (const one of items) publish(network, owner, one);
  network.run(50 * 60 * MINUTE);
  const newcomers = network.addJoined(3, { k: 4 });
  network.run(MINUTE);
  for (const { items: held } of newcomers) assert.equal(held.count, items.length);
});

Deno.test("a contact that is only dropped from the table, or that comes and goes, causes no storm of repairs", () => {
  const network = new VirtualNetwork();
  const [owner, ...others] = network.addJoined(12, { k: 4, healthCheckIntervalMs: CHECK_MS });
  for (let n = 0; n < 20; n++) publish(network, owner, item(`${n}`));
  network.run(10 * MINUTE);
  const repairs = () =>
    network.nodes.reduce((sum, { node }) => sum + node.replication.completed, 0);
  const before = repairs();
  for (let minute = 0; minute < 60; minute++) {
    others[0].isDown = minute % 4 < 2;
    network.run(MINUTE);
  }
  // Each of 20 items is repaired once for each of at most 2 x 6 changes an hour, and once an hour anyway.
  assert.ok(repairs() - before <= 20 * 13 * 2, `${repairs() - before} repairs`);
});
