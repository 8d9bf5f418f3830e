// Items that are stored together: on the right nodes, with few questions.

import assert from "node:assert/strict";
import { Batch } from "../../src/dht/batch.ts";
import { immutableItem } from "../../src/dht/item.ts";
import type { Candidate, Placed } from "../../src/dht/lookup.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { compareDistance, type Id } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/crypto.ts";
import { endpoint, id, latin1 } from "../packets.ts";
import { VirtualNetwork } from "./virtual_network.ts";

const TOKEN = latin1("token");

function answered(batch: Batch, node: Id): void {
  batch.note({
    id: node,
    endpoint: endpoint("127.0.0.1:1000"),
    expectedMs: 1,
    coordinateXy: 0,
    coordinateZHeight: 0,
    token: TOKEN,
    answeredAt: 0,
  });
}

const heardOf = (node: Id) => ({ id: node }) as Placed;
const asked = (node: Id) => ({ id: node }) as Candidate;

Deno.test("while a closer node was heard of and not asked, a batch does not know the holders", () => {
  const batch = new Batch(1), target = id("0");
  for (const near of ["10", "20", "30"]) answered(batch, id(near));
  const holders = () => batch.holders(target, 3, 10, 0)?.map((node) => `${node.id}`.slice(0, 2));
  assert.deepEqual(holders(), ["10", "20", "30"]);
  batch.noteLookup({ asked: [], heard: [heardOf(id("40"))] });
  assert.deepEqual(holders(), ["10", "20", "30"], "one that is farther");
  batch.noteLookup({ asked: [], heard: [heardOf(id("18"))] });
  assert.equal(holders(), undefined);
  batch.noteLookup({ asked: [asked(id("18"))], heard: [] });
  assert.deepEqual(holders(), ["10", "20", "30"], "it was asked, and did not answer");
  batch.noteLookup({ asked: [], heard: [heardOf(id("18"))] });
  assert.deepEqual(holders(), ["10", "20", "30"], "others know it still");
});

Deno.test("who was heard of and answers then is one of the holders", () => {
  const batch = new Batch(1), target = id("0");
  for (const near of ["10", "20"]) answered(batch, id(near));
  batch.noteLookup({ asked: [], heard: [heardOf(id("18"))] });
  answered(batch, id("18"));
  batch.noteLookup({ asked: [asked(id("18"))], heard: [] });
  const holders = batch.holders(target, 2, 10, 0);
  assert.deepEqual(holders?.map((node) => `${node.id}`.slice(0, 2)), ["10", "18"]);
});

Deno.test("items of a batch come to the closest nodes, most of them without a search", () => {
  const network = new VirtualNetwork(10, 4);
  const nodes = network.addJoined(60, { k: 8 });
  const { node } = nodes[5];
  const batch = node.batch();
  const items = Array.from(
    { length: 60 },
    (_, i) => immutableItem(itemCrypto, bencodeBytes(latin1(`${i}`))),
  );
  let right = 0;
  const before = node.lookups.count;
  for (const item of items) {
    network.complete((now, done) => node.putPart(item, batch, now, done));
    const closest = nodes
      .sort((x, y) => compareDistance(x.node.id, y.node.id, item.target)).slice(0, 8);
    right += closest.filter(({ items: held }) => held.get(item.target, network.now)).length;
  }
  const searches = node.lookups.count - before;
  assert.ok(right >= 0.99 * 8 * items.length, `${right} copies of ${8 * items.length}`);
  assert.ok(searches < items.length / 2, `${searches} searches`);
});
