// A node catches up with its network after a time in which it did not run, and which its clock did not count.

import assert from "node:assert/strict";
import { immutableItem } from "../../src/dht/items/item.ts";
import type { PutResult } from "../../src/dht/items/item_operations.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { decodeAny, id, latin1, query, text } from "../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "./virtual_network.ts";

const SECOND = 1_000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE;

const STRANGER = id("5a");

const item = (value: string) => immutableItem(itemCrypto, bencodeBytes(latin1(value)));

function publish(network: VirtualNetwork, { node }: VirtualNode, value: string): void {
  const own = item(value);
  const { stored } = network.complete<PutResult>((now, done) =>
    node.items.put({ target: own.target, make: () => own }, now, done)
  );
  node.replicator.keepPublished({ item: own, replicas: stored.length }, network.now);
}

Deno.test("write tokens from before are refused, and new ones are accepted", () => {
  const network = new VirtualNetwork(), [one] = network.addJoined(1);
  const stranger = new Stranger(network, "9.9.9.9:9");
  const { target } = item("hello");
  const token = () =>
    stranger.ask(query("get", STRANGER, { target: target.toBytes() }), one.endpoint).r.token;
  const put = (token: Uint8Array) =>
    stranger.ask(query("put", STRANGER, { token, v: "hello" }), one.endpoint);
  const old = token();
  one.node.catchUp(network.now);
  assert.equal(put(old).e[0], 203);
  assert.equal(text(put(token()).y), "r");
});

Deno.test("own values are published within half a minute, and held items are repaired within minutes", () => {
  const network = new VirtualNetwork(), nodes = network.addJoined(6, { k: 6 });
  const [owner, ...others] = nodes;
  const values = ["a", "b", "c"];
  for (const value of values) publish(network, owner, value);
  publish(network, others[0], "d");
  network.run(5 * MINUTE);
  const { target } = item("d");
  // While the owner was away, the others have lost everything.
  for (const { items } of others) items.expire(network.now + 1_000 * HOUR);
  owner.node.catchUp(network.now);
  network.run(30 * SECOND);
  for (const value of values) {
    for (const { items } of others) {
      assert.notEqual(items.get(item(value).target, network.now), undefined, value);
    }
  }
  network.run(4 * MINUTE);
  assert.notEqual(others[1].items.get(target, network.now), undefined);
});

Deno.test("all contacts are checked within half a minute, and those that are gone are dropped", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(6, { healthCheckIntervalMs: HOUR });
  const [one, gone, ...others] = nodes;
  network.run(MINUTE);
  gone.isDown = true;
  const asked = new Set<string>();
  network.link = (datagram, from, to) => {
    const { q } = decodeAny(datagram);
    if (from.equals(one.endpoint) && q !== undefined) asked.add(`${to}`);
    return datagram;
  };
  one.node.catchUp(network.now);
  network.run(30 * SECOND);
  for (const { endpoint } of others) assert.ok(asked.has(`${endpoint}`), `${endpoint}`);
  network.run(MINUTE);
  assert.equal(one.node.tables.find(gone.node.id), undefined);
  assert.equal(one.node.tables.size, others.length);
});
