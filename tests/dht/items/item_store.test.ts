// Items in memory: bounds, expiry, admission and eviction.

import assert from "node:assert/strict";
import { type GivenItem, immutableItem, ITEM_LIFE_MS } from "../../../src/dht/items/item.ts";
import { itemCost } from "../../../src/dht/items/item_cost.ts";
import { ItemStore, type PutOutcome } from "../../../src/dht/items/item_store.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { compareDistance, type Id } from "../../../src/krpc/id.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { id } from "../../packets.ts";

const OWN = id("5a5a");
/** The size of each item below. */
const ITEM_BYTES = itemCost({ value: { length: 804 } });
/** The size of a tiny item. */
const SMALLEST = itemCost({ value: { length: 8 } });
const item = (n: number, size = 800) => {
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, n);
  return immutableItem(itemCrypto, bencodeBytes(bytes));
};

Deno.test("an item is kept for a day after its owner last put it (Kademlia, section 2.5)", () => {
  const store = new ItemStore(OWN, 1e6, 1);
  const one = item(1);
  store.put({ item: one }, 0, (outcome) => assert.equal(outcome, "kept"));
  assert.deepEqual(store.get(one.target, ITEM_LIFE_MS - 1)?.value, one.value);
  assert.equal(store.get(one.target, ITEM_LIFE_MS), undefined);
  store.put({ item: one }, 1000, (outcome) => assert.equal(outcome, "kept"));
  assert.ok(store.get(one.target, ITEM_LIFE_MS));
  assert.equal(store.count, 1);
});

Deno.test("an expired item is removed and returned once", () => {
  const store = new ItemStore(OWN, 1e6, 1);
  const dropped: Id[] = [];
  store.onDrop = (gone) => dropped.push(gone);
  for (let n = 0; n < 10; n++) store.put({ item: item(n) }, n, () => {});
  assert.equal(store.expire(ITEM_LIFE_MS + 4).length, 5);
  assert.equal(store.expire(ITEM_LIFE_MS + 4).length, 0);
  assert.deepEqual([store.count, dropped.length], [5, 5]);
  store.expire(Infinity);
  assert.deepEqual([store.count, store.bytes], [0, 0]);
});

/** Puts an item, and returns the outcome. */
function put(store: ItemStore, given: GivenItem, now = 0): PutOutcome {
  const outcomes: PutOutcome[] = [];
  store.put(given, now, (outcome) => outcomes.push(outcome));
  assert.equal(outcomes.length, 1);
  return outcomes[0];
}

Deno.test("a full store refuses items, and keeps all that it has acknowledged", () => {
  const store = new ItemStore(OWN, 100 * ITEM_BYTES, 1);
  const all = Array.from({ length: 300 }, (_, n) => item(n));
  const kept = all.filter((one) => put(store, { item: one }) === "kept");
  assert.equal(kept.length, 100);
  assert.equal(store.usedBytes, 100 * ITEM_BYTES);
  for (const { target } of kept) assert.ok(store.get(target, ITEM_LIFE_MS - 1));
  assert.equal(put(store, { item: all[299] }), "full");
  assert.equal(put(store, { item: kept[0] }, 1_000), "kept", "putting it again needs no room");
});

Deno.test("space is free again once items have expired", () => {
  const store = new ItemStore(OWN, 2 * ITEM_BYTES, 1);
  assert.equal(put(store, { item: item(1) }), "kept");
  assert.equal(put(store, { item: item(2) }, 1), "kept");
  assert.equal(put(store, { item: item(3) }, 1), "full");
  store.expire(ITEM_LIFE_MS);
  assert.equal(put(store, { item: item(3) }, ITEM_LIFE_MS), "kept");
});

Deno.test("items from an earlier run are kept even if the limit is lower now", () => {
  const store = new ItemStore(OWN, ITEM_BYTES, 1);
  for (let n = 0; n < 5; n++) {
    store.restore({ ...item(n), storedAt: 0, expiresAt: ITEM_LIFE_MS });
  }
  assert.equal(store.count, 5);
  assert.equal(put(store, { item: item(9) }), "full");
});

Deno.test("one source can fill a fifth of a store, one wider network half of it, and others still get in", () => {
  const store = new ItemStore(OWN, 1_000 * ITEM_BYTES, 1);
  let n = 0;
  const fill = (by: string) => {
    let count = 0;
    while (put(store, { item: item(n++), by }) === "kept") count++;
    return count;
  };
  assert.equal(fill("5.6/7"), 200);
  assert.equal(put(store, { item: item(n), by: "5.6/7" }), "source_full");
  for (let subnet = 8; subnet < 200; subnet++) fill(`5.6/${subnet}`);
  assert.ok(store.count >= 490 && store.count <= 500, `${store.count}`);
  assert.equal(put(store, { item: item(n++), by: "9.9/9" }), "kept");
  assert.equal(put(store, { item: item(n++) }), "kept");
  assert.equal(fill("9.9/9"), 99);
});

Deno.test("64 sources in as many wider networks leave room for the 65th", () => {
  const store = new ItemStore(OWN, 2 ** 30, 1);
  let n = 0;
  for (let network = 0; network < 64; network++) {
    // Large steps: what counts is the share, not the number of items.
    while (store.room(`${network}.0/0`) > 0) {
      const size = Math.min(10_000_000, Math.ceil(store.room(`${network}.0/0`)));
      const bytes = new Uint8Array(Math.max(4, size - 200));
      const target = id(n.toString(16).padStart(8, "0"));
      n++;
      const given = { item: { target, value: bytes, signed: undefined }, by: `${network}.0/0` };
      if (put(store, given) !== "kept") break;
    }
  }
  const free = store.limitBytes - store.usedBytes;
  assert.ok(free > 2 * SMALLEST, `${free} bytes are free`);
});

Deno.test("an item counts for the source that put it first, even if another source puts it again", () => {
  const store = new ItemStore(OWN, 100 * ITEM_BYTES, 1);
  const items = Array.from({ length: 20 }, (_, n) => item(n));
  for (const one of items) assert.equal(put(store, { item: one, by: "1.1/1" }), "kept");
  const before = store.room("2.2/2");
  for (const one of items) put(store, { item: one, by: "2.2/2" }, 1);
  assert.equal(store.room("2.2/2"), before, "the second source is not charged");
  assert.equal(put(store, { item: item(99), by: "1.1/1" }), "source_full");
});

Deno.test("an item that lives for a week counts seven times against its source's share", () => {
  const store = new ItemStore(OWN, 1_000 * ITEM_BYTES, 1), lifeMs = 7 * ITEM_LIFE_MS;
  const fill = (by: string | undefined, from: number) => {
    let count = 0;
    while (put(store, { item: item(from + count), by, lifeMs }) === "kept") count++;
    return count;
  };
  assert.equal(fill("1.1/1", 0), 34);
  assert.equal(put(store, { item: item(0), by: "1.1/1", lifeMs }, 1_000.3), "kept", "again");
  assert.equal(put(store, { item: item(0), by: "1.1/1" }, 2_000.7), "kept");
  assert.equal(fill(undefined, 10_000), 966, "others are limited by what the disk takes");
  assert.equal(store.usedBytes, 1_000 * ITEM_BYTES);
});

Deno.test("the room that is announced for a week can be used to the end", () => {
  const store = new ItemStore(OWN, 1_000 * ITEM_BYTES, 1), lifeMs = 7 * ITEM_LIFE_MS;
  const count = Math.floor(store.roomInAll("1.1/1", lifeMs) / ITEM_BYTES);
  assert.equal(count, 34);
  for (let n = 0; n < count; n++) {
    assert.equal(put(store, { item: item(n), by: "1.1/1", lifeMs }), "kept");
  }
  assert.equal(put(store, { item: item(count), by: "1.1/1", lifeMs }), "source_full");
});

Deno.test("an item that lives for more than a day counts for the source that asked for this life", () => {
  const store = new ItemStore(OWN, 1_000 * ITEM_BYTES, 1), one = item(1);
  const [before, untouched] = [store.room("2.2/2"), store.room("1.1/1")];
  put(store, { item: one, by: "1.1/1" });
  assert.equal(put(store, { item: one, by: "2.2/2", lifeMs: 7 * ITEM_LIFE_MS }, 1), "kept");
  assert.equal(before - store.room("2.2/2"), 7.25 * ITEM_BYTES);
  assert.equal(untouched - store.room("1.1/1"), 0.25 * ITEM_BYTES, "the first source is not");
  store.expire(8 * ITEM_LIFE_MS);
  assert.deepEqual([store.usedBytes, store.room("2.2/2")], [0, before]);
});

Deno.test("the room that is announced to a source can be used to the end", () => {
  const store = new ItemStore(OWN, 1_000 * ITEM_BYTES, 1);
  for (const by of [undefined, "1.1/1", "1.1/2", "2.2/2"]) {
    const announced = store.roomInAll(by) / ITEM_BYTES;
    let count = 0;
    while (put(store, { item: item(store.count), by }) === "kept") count++;
    assert.ok(Math.abs(count - announced) <= 1, `${count} of ${announced}`);
    if (by === undefined) store.expire(Infinity);
  }
});

Deno.test("only spare items are evicted, the farthest first, and reported", () => {
  const store = new ItemStore(OWN, 100 * ITEM_BYTES, 1);
  const evicted: Id[] = [];
  store.onEarlyDrop = (gone) => evicted.push(gone);
  const all = Array.from({ length: 100 }, (_, n) => item(n));
  for (const one of all) assert.equal(put(store, { item: one }), "kept");
  const spare = all.filter((_, n) => n % 2 === 0);
  for (const one of spare) store.noteSpare(one, true, 0);
  for (const one of spare.slice(0, 10)) store.noteSpare(one, false, 0);
  assert.equal(put(store, { item: item(100) }), "kept");
  const farthest = spare.slice(10)
    .sort((x, y) => compareDistance(y.target, x.target, OWN)).slice(0, 5);
  assert.deepEqual(evicted, farthest.map(({ target }) => target));
  for (let n = 101; n < 200; n++) put(store, { item: item(n) });
  assert.equal(evicted.length, 40);
  for (const one of all.filter((_, n) => n % 2 === 1)) assert.ok(store.get(one.target, 0));
});

Deno.test("a report about other holders from two hours ago is no reason to evict an item", () => {
  const store = new ItemStore(OWN, 2 * ITEM_BYTES, 1);
  for (const n of [1, 2]) put(store, { item: item(n) });
  store.noteSpare(item(1), true, 0);
  assert.equal(put(store, { item: item(3) }, 2 * 3_600_000), "full");
});

Deno.test("bytes counts the values held, also after a replacement", () => {
  const store = new ItemStore(OWN, 1e6, 1);
  const one = item(1);
  store.put({ item: one }, 0, () => {});
  const before = store.bytes;
  for (let n = 0; n < 10; n++) store.put({ item: one }, n, () => {});
  assert.equal(store.bytes, before);
  assert.equal([...store.entries()].length, 1);
});

Deno.test("small values count with their overhead against the limit", () => {
  const store = new ItemStore(OWN, 50 * SMALLEST, 1);
  for (let n = 0; n < 200; n++) store.put({ item: item(n, 4) }, 0, () => {});
  assert.ok(store.count <= 50 && store.bytes < 50 * 10, `${store.count} items`);
});
