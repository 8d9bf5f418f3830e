// Items that survive the process: acknowledged only when they are on disk.

import assert from "node:assert/strict";
import {
  immutableItem,
  type Item,
  ITEM_LIFE_MS,
  mutableTarget,
  type StoredItem,
} from "../../src/dht/items/item.ts";
import { itemCost } from "../../src/dht/items/item_cost.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import type { Id } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { CommitQueue } from "../../src/storage/commit_queue.ts";
import { DurableItemStore } from "../../src/storage/item_store.ts";
import { id, latin1 } from "../packets.ts";
import { TestDisk } from "./test_disk.ts";

const item = (text: string) => immutableItem(itemCrypto, bencodeBytes(latin1(text)));
const targets = (items: Iterable<{ target: unknown }>) =>
  Array.from(items, ({ target }) => `${target}`).sort();

/** Reads an item from a disk that answers at once. */
function read(store: DurableItemStore, target: Id, now = 0): StoredItem | undefined {
  let found: StoredItem | undefined;
  store.read(target, now, (item) => found = item);
  return found;
}

/** A version of one mutable item. The signature does not matter here. */
function version(seq: number): Item {
  const publicKey = new Uint8Array(32), salt = new Uint8Array(0);
  return {
    target: mutableTarget(itemCrypto, publicKey, salt),
    value: latin1(`i${seq}e`),
    signed: { publicKey, signature: new Uint8Array(64), salt, seq },
  };
}

interface Given {
  readonly store: DurableItemStore;
  readonly disk: TestDisk;
  readonly queue: CommitQueue;
  /** Puts an item and records the answer. */
  put(item: Item, now?: number): void;
  readonly answers: (boolean | undefined)[];
}

/** Runs a test with a store on a disk that works unless the test changes that. */
async function withStore(
  run: (given: Given) => Promise<void>,
  { limit = 1e6, now = 0, disk = new TestDisk() } = {},
): Promise<void> {
  const queue = new CommitQueue((changes) => disk.commit(changes), {
    failed: () => {},
    recovered: () => {},
  });
  const store = new DurableItemStore({
    own: id("5a"),
    limitBytes: limit,
    seed: 1,
    queue,
    saved: disk.records(),
    readItem: (target, done) => disk.read(target, done),
    clock: () => now,
  }, now);
  const answers: (boolean | undefined)[] = [];
  const put = (item: Item, now = 0) => {
    const at = answers.push(undefined) - 1;
    store.put({ item }, now, (outcome) => {
      assert.equal(answers[at], undefined, "answered once");
      answers[at] = outcome === "kept";
    });
  };
  try {
    await run({ store, disk, queue, put, answers });
  } finally {
    disk.isFull = false;
    await queue.close();
  }
}

Deno.test("a put is acknowledged when its group is on disk, and not before", () =>
  withStore(async ({ store, disk, queue, put, answers }) => {
    disk.hold();
    for (const text of ["a", "b", "c"]) put(item(text));
    const flushed = queue.flush();
    await disk.asked;
    assert.deepEqual(answers, [undefined, undefined, undefined]);
    assert.ok(store.get(item("a").target, 0), "it is served meanwhile");
    assert.equal(store.count, 0, "and not counted as held");
    disk.release();
    await flushed;
    assert.deepEqual(answers, [true, true, true]);
    assert.deepEqual([store.count, disk.commits, disk.items().length], [3, 1, 3]);
  }));

Deno.test("a group is committed automatically within milliseconds", () =>
  withStore(async ({ store, disk }) => {
    assert.equal(
      await new Promise((resolve) => store.put({ item: item("a") }, 0, resolve)),
      "kept",
    );
    assert.equal(disk.items().length, 1);
  }));

Deno.test("items are restored with their times, and expired ones are not", async () => {
  const saved = (text: string, expiresAt: number) => ({ ...item(text), storedAt: 1, expiresAt });
  const alive = saved("alive", 2000), dead = saved("dead", 1000);
  const disk = new TestDisk([alive, dead]);
  await withStore(async ({ store, queue, put }) => {
    assert.equal(store.count, 1);
    const held = read(store, alive.target, 1500)!;
    assert.deepEqual([held.expiresAt, held.value], [2000, alive.value]);
    assert.equal(read(store, alive.target, 2000), undefined);
    put(item("new"), 1000);
    await queue.flush();
    assert.deepEqual(targets(disk.items()), targets([alive, item("new")]));
  }, { now: 1000, disk });
});

Deno.test("an item stored while the clock was ahead still expires within a day", () => {
  const HOUR = 3_600_000, ahead = 700 * HOUR;
  const saved = { ...item("a"), storedAt: ahead, expiresAt: ahead + ITEM_LIFE_MS };
  return withStore(({ store }) => {
    const { storedAt, expiresAt } = read(store, saved.target, HOUR)!;
    assert.deepEqual([storedAt, expiresAt], [HOUR, HOUR + ITEM_LIFE_MS]);
    return Promise.resolve();
  }, { now: HOUR, disk: new TestDisk([saved]) });
});

Deno.test("the life that a put asked for is restored, also after the clock was ahead", async () => {
  const HOUR = 3_600_000, lifeMs = 72 * HOUR, disk = new TestDisk();
  await withStore(async ({ store, queue }) => {
    store.put({ item: item("a"), lifeMs }, 10 * HOUR, () => {});
    await queue.flush();
  }, { disk });
  for (const [now, end] of [[20 * HOUR, 82 * HOUR], [5 * HOUR, 77 * HOUR]]) {
    await withStore(({ store }) => {
      assert.equal(read(store, item("a").target, now)!.expiresAt, end);
      return Promise.resolve();
    }, { now, disk });
  }
});

Deno.test("the life of a replicated item counts from its owner's put, and a day later it is refused", () =>
  withStore(async ({ store, queue }) => {
    const HOUR = 3_600_000, now = 100 * HOUR, { target } = item("a");
    const putAt = async (at: number, ageMs: number) => {
      const kept = new Promise<boolean>((resolve) =>
        store.put({ item: item("a"), ageMs }, at, (outcome) => resolve(outcome === "kept"))
      );
      await queue.flush();
      return await kept;
    };
    assert.ok(await putAt(now, 23 * HOUR));
    assert.equal(store.get(target, now)!.expiresAt, now + HOUR);
    assert.ok(await putAt(now, 20 * HOUR), "a later put counts, once it is known");
    assert.equal(store.get(target, now)!.expiresAt, now + 4 * HOUR);
    assert.ok(await putAt(now, 23 * HOUR), "and does not forget it");
    assert.equal(store.get(target, now)!.expiresAt, now + 4 * HOUR);
    assert.equal(await putAt(now + 5 * HOUR, 24 * HOUR), false);
  }));

Deno.test("an item that can't be written is refused and not served", () =>
  withStore(async ({ store, disk, queue, put, answers }) => {
    disk.isFull = true;
    for (const text of ["a", "b"]) put(item(text));
    await queue.flush();
    assert.deepEqual(answers, [false, false]);
    assert.equal(store.get(item("a").target, 0), undefined);
    assert.deepEqual([store.count, store.bytes, [...store.entries()]], [0, 0, []]);
    disk.isFull = false;
    put(item("a"));
    await queue.flush();
    assert.deepEqual(answers, [false, false, true]);
    assert.deepEqual(targets(disk.items()), targets([item("a")]));
  }));

Deno.test("if a newer version can't be written, the one on disk is still served", () =>
  withStore(async ({ store, disk, queue, put, answers }) => {
    const { target } = version(1);
    const served = () => store.get(target, 0)!.signed!.seq;
    put(version(1));
    await queue.flush();
    disk.isFull = true;
    put(version(2));
    assert.equal(served(), 2, "a lower version must not overtake it");
    await queue.flush();
    assert.equal(served(), 1);
    disk.isFull = false;
    put(version(3));
    await queue.flush();
    assert.deepEqual([served(), disk.items()[0].signed!.seq, answers], [3, 3, [true, false, true]]);
  }));

Deno.test("two versions in progress get separate answers", () =>
  withStore(async ({ store, disk, queue, put, answers }) => {
    const { target } = version(1);
    disk.hold();
    put(version(1));
    const first = queue.flush();
    await disk.asked;
    put(version(2));
    disk.release();
    await first;
    assert.deepEqual(answers, [true, undefined]);
    assert.equal(store.get(target, 0)!.signed!.seq, 2);
    disk.isFull = true;
    await queue.flush();
    assert.deepEqual(answers, [true, false]);
    assert.equal(store.get(target, 0)!.signed!.seq, 1);
  }));

Deno.test("puts that are written at the same time don't exceed the limit together", () =>
  withStore(async ({ store, disk, queue, put, answers }) => {
    disk.hold();
    for (let n = 0; n < 100; n++) put(item(`${n}`.padEnd(800, "x")));
    const flushed = queue.flush();
    await disk.asked;
    assert.equal(answers.filter((kept) => kept === false).length, 80);
    disk.isFull = true;
    disk.release();
    await flushed;
    await queue.flush();
    disk.isFull = false;
    const { used, count } = { used: store.usedBytes, count: store.count };
    assert.equal(used, count * itemCost({ value: { length: 804 } }), "failed puts take no space");
  }, { limit: 20 * itemCost({ value: { length: 804 } }) }));

Deno.test("expired and evicted items are deleted on disk too", async () => {
  await withStore(async ({ store, disk, queue, put }) => {
    for (const text of ["a", "b"]) put(item(text));
    put(item("later"), 1000);
    await queue.flush();
    const expired = Array.from(store.expire(ITEM_LIFE_MS), String).sort();
    assert.deepEqual(expired, targets([item("a"), item("b")]));
    await queue.flush();
    assert.deepEqual(targets(disk.items()), targets([item("later")]));
  });
  await withStore(async ({ store, disk, queue, put, answers }) => {
    const one = (n: number) => item(`${n}`.padEnd(800, "x"));
    for (let n = 0; n < 20; n++) put(one(n));
    await queue.flush();
    for (let n = 0; n < 20; n++) store.noteSpare(one(n), true, 0);
    put(one(20));
    await queue.flush();
    await queue.flush();
    assert.equal(store.count, 20);
    assert.deepEqual(targets(disk.items()), targets(store.entries()));
    assert.deepEqual(answers, Array(21).fill(true));
  }, { limit: 20 * itemCost({ value: { length: 804 } }) });
});

Deno.test("an item that expires while a newer version is written does not delete that", () =>
  withStore(async ({ store, disk, queue, put }) => {
    put(item("a"));
    await queue.flush();
    disk.hold();
    put(item("a"), ITEM_LIFE_MS);
    const flushed = queue.flush();
    await disk.asked;
    assert.equal(store.expire(ITEM_LIFE_MS).length, 1);
    disk.release();
    await flushed;
    await queue.flush();
    assert.deepEqual(disk.items().map(({ storedAt }) => storedAt), [ITEM_LIFE_MS]);
    assert.equal(store.count, 1);
  }));

Deno.test("an item that expires is deleted on disk if the newer version can't be written", () =>
  withStore(async ({ store, disk, queue, put }) => {
    put(item("a"));
    await queue.flush();
    disk.isFull = true;
    put(item("a"), ITEM_LIFE_MS);
    store.expire(ITEM_LIFE_MS);
    await queue.flush();
    disk.isFull = false;
    await queue.flush();
    assert.deepEqual([disk.items(), store.count], [[], 0]);
  }));

Deno.test("a failed deletion is retried, unless the item has been stored again", () =>
  withStore(async ({ store, disk, queue, put }) => {
    for (const text of ["a", "b"]) put(item(text));
    await queue.flush();
    disk.isFull = true;
    store.expire(ITEM_LIFE_MS);
    await queue.flush();
    disk.isFull = false;
    put(item("b"), ITEM_LIFE_MS);
    await queue.flush();
    await queue.flush();
    assert.deepEqual(targets(disk.items()), targets([item("b")]));
    assert.deepEqual(targets(store.entries()), targets([item("b")]));
  }));

Deno.test("the number of waiting puts is limited, so that a slow disk does not fill the memory", () =>
  withStore(async ({ disk, queue, put, answers }) => {
    disk.hold();
    for (let n = 0; n < 12_000; n++) put(item("same"));
    assert.equal(answers.filter((kept) => kept === false).length, 2_000);
    disk.release();
    await queue.flush();
    put(item("same"));
    await queue.flush();
    assert.equal(answers.filter((kept) => kept).length, 10_001);
  }));

/** More items than a store keeps in memory. */
const MANY = 5_000;

/** Stores many items of 1,000 bytes, so that the first of them are on disk only. */
async function putMany({ put, queue }: Given): Promise<Item[]> {
  const many = Array.from({ length: MANY }, (_, n) => item(`${n}`.padEnd(996, "x")));
  for (const one of many) put(one);
  while (queue.waiting > 0) await queue.flush();
  return many;
}

Deno.test("the values of most items are on disk only, and are read when they are needed", () =>
  withStore(async (given) => {
    const { store, disk } = given, many = await putMany(given);
    assert.equal(store.count, MANY);
    const inMemory = [...store.entries()].length;
    assert.ok(inMemory < 0.8 * MANY, `${inMemory} values are in memory`);
    const { target, value } = many[0];
    assert.deepEqual([store.has(target, 0), store.isOnDisk(target, 0)], [true, true]);
    assert.deepEqual(read(store, target)?.value, value);
    assert.deepEqual([store.isOnDisk(target, 0), disk.reads], [false, 1]);
    assert.deepEqual(store.get(target, 0)?.value, value, "the next get needs no read");
  }, { limit: 1e8 }));

Deno.test("an item that expires, or is put again, while it is read", () =>
  withStore(async ({ store, disk, queue, put }) => {
    const found: (number | undefined)[] = [];
    const readSeq = (now: number) =>
      store.read(version(1).target, now, (item) => found.push(item?.signed?.seq as number));
    disk.heldReads = [];
    readSeq(10);
    put(version(2), 10);
    // The put reads the version on disk as well. Its read ends first.
    for (const end of disk.heldReads.toReversed()) end();
    await queue.flush();
    disk.heldReads = undefined;
    readSeq(10);
    readSeq(10 + ITEM_LIFE_MS);
    assert.deepEqual(found, [2, 2, undefined]);
  }, { now: 10, disk: new TestDisk([{ ...version(1), storedAt: 0, expiresAt: ITEM_LIFE_MS }]) }));

Deno.test("a version is not replaced by an older one, on disk or in memory", () =>
  withStore(async ({ store, disk, queue, put, answers }) => {
    put(version(1));
    assert.equal(store.isOnDisk(version(1).target, 0), false);
    put(version(3));
    put(version(2));
    await queue.flush();
    put(version(2));
    await queue.flush();
    assert.deepEqual(answers, [false, true, false, false]);
    assert.equal(read(store, version(1).target)?.signed?.seq, 3);
    assert.equal(disk.items()[0].signed?.seq, 3);
  }, { disk: new TestDisk([{ ...version(2), storedAt: 0, expiresAt: ITEM_LIFE_MS }]) }));

Deno.test("an immutable item that is put again is not read, and keeps its source", () =>
  withStore(async ({ store, disk, queue }) => {
    const again = { item: item("a"), by: "2.2/2.2.2" };
    const outcome = new Promise((resolve) => store.put(again, 5, resolve));
    await queue.flush();
    assert.equal(await outcome, "kept");
    const { by, storedAt } = store.get(item("a").target, 5)!;
    assert.deepEqual([by, storedAt, disk.reads], ["1.1/1.1.1", 5, 0]);
  }, {
    disk: new TestDisk([{
      ...item("a"),
      storedAt: 0,
      expiresAt: ITEM_LIFE_MS,
      by: "1.1/1.1.1",
    }]),
  }));

Deno.test("a mutable item is refused while the version on disk can't be read", () =>
  withStore(async ({ store, disk, queue, put, answers }) => {
    disk.isUnreadable = true;
    put(version(2));
    assert.deepEqual(answers, [false]);
    assert.equal(read(store, version(1).target), undefined);
    assert.ok(store.has(version(1).target, 0), "it is still held");
    disk.isUnreadable = false;
    put(version(2));
    await queue.flush();
    assert.deepEqual(answers, [false, true]);
  }, { disk: new TestDisk([{ ...version(1), storedAt: 0, expiresAt: ITEM_LIFE_MS }]) }));

Deno.test("an item whose value the disk has lost is dropped", () => {
  const saved = { ...item("a"), storedAt: 0, expiresAt: ITEM_LIFE_MS },
    disk = new TestDisk([saved]);
  return withStore(async ({ store, queue }) => {
    await disk.commit({
      deletedItems: [saved.target.toBytes()],
      items: [],
      published: [],
      removedBlobs: [],
      contacts: undefined,
    });
    assert.ok(store.has(saved.target, 0));
    const drops: string[] = [];
    store.onEarlyDrop = (target, reason) => drops.push(`${target} ${reason}`);
    assert.equal(read(store, saved.target), undefined);
    assert.deepEqual(drops, [`${saved.target} lost`]);
    assert.deepEqual([store.has(saved.target, 0), store.count, store.usedBytes], [false, 0, 0]);
    assert.equal(store.lost, 1);
    await queue.flush();
  }, { disk });
});
