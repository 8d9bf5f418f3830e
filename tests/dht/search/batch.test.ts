// Items that are stored as a batch: on the right nodes, with few queries.

import assert from "node:assert/strict";
import { Batch } from "../../../src/dht/search/batch.ts";
import { immutableItem } from "../../../src/dht/items/item.ts";
import type { Candidate, Placed } from "../../../src/dht/search/lookup.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { compareDistance, type Id } from "../../../src/krpc/id.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { endpoint, id, latin1 } from "../../packets.ts";
import { VirtualNetwork } from "../virtual_network.ts";

const TOKEN = latin1("token");

function answered(batch: Batch, node: Id): void {
  batch.note({
    id: node,
    endpoint: endpoint("127.0.0.1:1000"),
    expectedMs: 1,
    coordinateXy: 0,
    coordinateZHeight: 0,
    token: TOKEN,
    stores: true,
    answeredAt: 0,
  });
}

const K = 3;
const placed = (node: Id) => ({ id: node }) as Placed;

/** Notes a lookup that was ended early, unless `closest` says what it found. */
function noteLookup(
  batch: Batch,
  { asked = [], heard = [], target = id("0"), closest }: {
    asked?: Id[];
    heard?: Id[];
    target?: Id;
    closest?: Id[];
  },
): void {
  batch.noteLookup({
    target,
    closest: (closest ?? []).map(placed),
    isWhole: closest !== undefined,
    asked: asked.map((node) => ({ id: node }) as Candidate),
    heard: heard.map(placed),
  }, K);
}

Deno.test("a batch does not know the holders while a closer node was named but not asked", () => {
  const batch = new Batch(1), target = id("0");
  for (const near of ["10", "20", "30"]) answered(batch, id(near));
  const holders = () =>
    batch.holders(target, { k: 3, networkSize: 10 }, 0)?.map((node) => `${node.id}`.slice(0, 2));
  assert.deepEqual(holders(), ["10", "20", "30"]);
  noteLookup(batch, { heard: [id("40")] });
  assert.deepEqual(holders(), ["10", "20", "30"], "a farther node");
  noteLookup(batch, { heard: [id("18")] });
  assert.equal(holders(), undefined);
  noteLookup(batch, { asked: [id("18")] });
  assert.deepEqual(holders(), ["10", "20", "30"], "it was asked, and did not answer");
  noteLookup(batch, { heard: [id("18")] });
  assert.deepEqual(holders(), ["10", "20", "30"], "other nodes still know it");
});

Deno.test("a node that was not asked counts even if it shares its first byte with the farthest holder", () => {
  const batch = new Batch(1), target = id("0");
  for (const near of ["10", "20", "3080"]) answered(batch, id(near));
  const holders = () => batch.holders(target, { k: 3, networkSize: 10 }, 0)?.length;
  noteLookup(batch, { heard: [id("3090")] });
  assert.equal(holders(), 3, "it is farther");
  noteLookup(batch, { heard: [id("3070")] });
  assert.equal(holders(), undefined, "it is closer");
});

Deno.test("a named node that answers later is one of the holders", () => {
  const batch = new Batch(1), target = id("0");
  for (const near of ["10", "20"]) answered(batch, id(near));
  noteLookup(batch, { heard: [id("18")] });
  answered(batch, id("18"));
  noteLookup(batch, { asked: [id("18")] });
  const holders = batch.holders(target, { k: 2, networkSize: 10 }, 0);
  assert.deepEqual(holders?.map((node) => `${node.id}`.slice(0, 2)), ["10", "18"]);
});

Deno.test("a batch knows the holders if a lookup has found all nodes near the target, even if there are few", () => {
  const batch = new Batch(1);
  // A network of 1000 nodes has about 60 in this sixteenth, but by chance it has only three.
  const nodes = ["11", "12", "14"].map((hex) => id(hex));
  for (const node of nodes) answered(batch, node);
  const holders = (hex: string, count: number) =>
    batch.holders(id(hex), { k: K, count, networkSize: 1_000 }, 0)?.length;
  assert.equal(holders("10", 2), undefined);
  noteLookup(batch, { target: id("10"), closest: nodes });
  // The lookup's third node is 14, so it has found all nodes from 10 to 13.
  assert.equal(holders("10", 2), K);
  assert.equal(holders("13", 2), K);
  assert.equal(holders("13", 3), undefined, "another node from 15 to 17 may be closer than 14");
  assert.equal(holders("15", 1), undefined);
  noteLookup(batch, { target: id("15"), closest: nodes.slice(0, 2) });
  assert.equal(holders("15", 3), K, "fewer than k nodes are the whole network");
});

Deno.test("the items of a batch reach the closest nodes, most of them without a lookup", () => {
  const network = new VirtualNetwork(10, 4);
  const nodes = network.addJoined(60, { k: 8 });
  const { node } = nodes[5];
  const batch = node.batch();
  const items = Array.from(
    { length: 60 },
    (_, i) => immutableItem(itemCrypto, bencodeBytes(latin1(`${i}`))),
  );
  let right = 0;
  const before = node.searches.statistics.count;
  for (const item of items) {
    network.complete((now, done) => node.items.putPart({ item, batch }, now, done));
    const closest = nodes
      .sort((x, y) => compareDistance(x.node.id, y.node.id, item.target)).slice(0, 8);
    // The node itself counts as a holder: its caller keeps the item.
    right += closest.filter((one) => one.node === node || one.items.get(item.target, network.now))
      .length;
  }
  const searches = node.searches.statistics.count - before;
  assert.ok(right >= 0.99 * 8 * items.length, `${right} copies of ${8 * items.length}`);
  assert.ok(searches < items.length / 2, `${searches} searches`);
});
