// Items in memory: bounded, expiring, the farthest given up first.

import assert from "node:assert/strict";
import { immutableItem, ITEM_LIFE_MS, type StoredItem } from "../../src/dht/item.ts";
import { ITEM_OVERHEAD_BYTES, MemoryItemStore } from "../../src/dht/item_store.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { compareDistance } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/crypto.ts";
import { id } from "../packets.ts";

const OWN = id("5a5a");
/** What the items below take, each. */
const ITEM_BYTES = 804 + ITEM_OVERHEAD_BYTES;
const item = (n: number, size = 800) => {
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, n);
  return immutableItem(itemCrypto, bencodeBytes(bytes));
};

Deno.test("an item is kept for a day after its owner last put it (Kademlia, section 2.5)", () => {
  const store = new MemoryItemStore(OWN, 1e6, 1);
  const one = item(1);
  store.put(one, 0, (kept) => assert.ok(kept));
  assert.deepEqual(store.get(one.target, ITEM_LIFE_MS - 1)?.value, one.value);
  assert.equal(store.get(one.target, ITEM_LIFE_MS), undefined);
  store.put(one, 1000, (kept) => assert.ok(kept));
  assert.ok(store.get(one.target, ITEM_LIFE_MS));
  assert.equal(store.count, 1);
});

Deno.test("what has expired is dropped and named once", () => {
  const store = new MemoryItemStore(OWN, 1e6, 1);
  const dropped: StoredItem[] = [];
  store.onDrop = (gone) => dropped.push(gone);
  for (let n = 0; n < 10; n++) store.put(item(n), n, () => {});
  assert.equal(store.expire(ITEM_LIFE_MS + 4).length, 5);
  assert.equal(store.expire(ITEM_LIFE_MS + 4).length, 0);
  assert.deepEqual([store.count, dropped.length], [5, 5]);
  store.expire(Infinity);
  assert.deepEqual([store.count, store.bytes], [0, 0]);
});

Deno.test("over the limit the items farthest from the node go first", () => {
  const store = new MemoryItemStore(OWN, 100 * ITEM_BYTES, 1);
  const all = Array.from({ length: 300 }, (_, n) => item(n));
  for (const one of all) store.put(one, 0, () => {});
  assert.ok(store.count <= 100 && store.count >= 90, `${store.count} of about 100 that fit`);
  const nearest = all.map((one) => one.target).sort((x, y) => compareDistance(x, y, OWN));
  const kept = nearest.filter((target) => store.get(target, 0) !== undefined).length;
  assert.equal(kept, store.count);
  for (const target of nearest.slice(0, 80)) assert.ok(store.get(target, 0), `${target}`);
});

Deno.test("an item for which there is no room is reported as not kept", () => {
  const store = new MemoryItemStore(OWN, 9.5 * ITEM_BYTES, 1);
  const byDistance = Array.from({ length: 200 }, (_, n) => item(n))
    .sort((x, y) => compareDistance(x.target, y.target, OWN));
  for (const near of byDistance.slice(0, 9)) store.put(near, 0, (kept) => assert.ok(kept));
  let reported: boolean | undefined;
  store.put(byDistance.at(-1)!, 0, (kept) => reported = kept);
  assert.equal(reported, false);
  assert.equal(store.get(byDistance.at(-1)!.target, 0), undefined);
});

Deno.test("bytes are those of the items held, also after replacing", () => {
  const store = new MemoryItemStore(OWN, 1e6, 1);
  const one = item(1);
  store.put(one, 0, () => {});
  const before = store.bytes;
  for (let n = 0; n < 10; n++) store.put(one, n, () => {});
  assert.equal(store.bytes, before);
  assert.equal([...store.entries()].length, 1);
});

Deno.test("values of a few bytes reach the limit by what they cost, not by their bytes", () => {
  const store = new MemoryItemStore(OWN, 50 * ITEM_OVERHEAD_BYTES, 1);
  for (let n = 0; n < 200; n++) store.put(item(n, 4), 0, () => {});
  assert.ok(store.count < 50 && store.bytes < 50 * 10, `${store.count} items`);
});
