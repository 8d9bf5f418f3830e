// Items that survive the process: acknowledged when they are on disk, not before and not otherwise.

import assert from "node:assert/strict";
import { immutableItem, type Item, ITEM_LIFE_MS, mutableTarget } from "../../src/dht/item.ts";
import { ITEM_OVERHEAD_BYTES, MemoryItemStore } from "../../src/dht/item_store.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { itemCrypto } from "../../src/runtime/crypto.ts";
import { CommitQueue } from "../../src/storage/commit_queue.ts";
import { DurableItemStore } from "../../src/storage/item_store.ts";
import { id, latin1 } from "../packets.ts";
import { TestDisk } from "./test_disk.ts";

const item = (text: string) => immutableItem(itemCrypto, bencodeBytes(latin1(text)));
const targets = (items: Iterable<{ target: unknown }>) =>
  Array.from(items, ({ target }) => `${target}`).sort();

/** A version of one mutable item; its signature is nobody's concern here. */
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
  /** Puts, and notes how it is answered. */
  put(item: Item, now?: number): void;
  readonly answers: (boolean | undefined)[];
}

/** Runs with a store on a disk that takes what it is given, until it is told otherwise. */
async function withStore(
  run: (given: Given) => Promise<void>,
  { limit = 1e6, now = 0, disk = new TestDisk() } = {},
): Promise<void> {
  const queue = new CommitQueue((changes) => disk.commit(changes), {
    failed: () => {},
    recovered: () => {},
  });
  const memory = new MemoryItemStore(id("5a"), limit, 1);
  const store = new DurableItemStore(memory, queue, disk.items(), now, 1);
  const answers: (boolean | undefined)[] = [];
  const put = (item: Item, now = 0) => {
    const at = answers.push(undefined) - 1;
    store.put(item, now, (kept) => {
      assert.equal(answers[at], undefined, "answered once");
      answers[at] = kept;
    });
  };
  try {
    await run({ store, disk, queue, put, answers });
  } finally {
    disk.isFull = false;
    await queue.close();
  }
}

Deno.test("a put is acknowledged when its group is on disk, not before", () =>
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

Deno.test("a group is committed by itself within milliseconds", () =>
  withStore(async ({ store, disk }) => {
    assert.ok(await new Promise((resolve) => store.put(item("a"), 0, resolve)));
    assert.equal(disk.items().length, 1);
  }));

Deno.test("items come back with their times after a restart; expired ones don't", async () => {
  const saved = (text: string, expiresAt: number) => ({ ...item(text), storedAt: 1, expiresAt });
  const alive = saved("alive", 2000), dead = saved("dead", 1000);
  const disk = new TestDisk([alive, dead]);
  await withStore(async ({ store, queue, put }) => {
    assert.deepEqual([store.count, targets(store.entries())], [1, targets([alive])]);
    assert.equal(store.get(alive.target, 1500)!.expiresAt, 2000);
    assert.equal(store.get(alive.target, 2000), undefined);
    put(item("new"), 1000);
    await queue.flush();
    assert.deepEqual(targets(disk.items()), targets([alive, item("new")]));
  }, { now: 1000, disk });
});

Deno.test("an item that was stored under a clock that was ahead ends within a day all the same", () => {
  const HOUR = 3_600_000, ahead = 700 * HOUR;
  const saved = { ...item("a"), storedAt: ahead, expiresAt: ahead + ITEM_LIFE_MS };
  return withStore(({ store }) => {
    const { storedAt, expiresAt } = store.get(saved.target, HOUR)!;
    assert.deepEqual([storedAt, expiresAt], [HOUR, HOUR + ITEM_LIFE_MS]);
    return Promise.resolve();
  }, { now: HOUR, disk: new TestDisk([saved]) });
});

Deno.test("an item that is handed on lives on from when its owner put it, and not at all once that is a day ago", () =>
  withStore(async ({ store, queue }) => {
    const HOUR = 3_600_000, now = 100 * HOUR, { target } = item("a");
    const putAt = async (at: number, ageMs: number) => {
      const kept = new Promise<boolean>((resolve) => store.put(item("a"), at, resolve, ageMs));
      await queue.flush();
      return await kept;
    };
    assert.ok(await putAt(now, 23 * HOUR));
    assert.equal(store.get(target, now)!.expiresAt, now + HOUR);
    assert.ok(await putAt(now, 20 * HOUR), "who is told of a later put takes that");
    assert.equal(store.get(target, now)!.expiresAt, now + 4 * HOUR);
    assert.ok(await putAt(now, 23 * HOUR), "and does not forget it");
    assert.equal(store.get(target, now)!.expiresAt, now + 4 * HOUR);
    assert.equal(await putAt(now + 5 * HOUR, 24 * HOUR), false);
  }));

Deno.test("what the disk does not take is refused, and not served", () =>
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

Deno.test("where a newer version is not taken, the one on disk goes on being served", () =>
  withStore(async ({ store, disk, queue, put, answers }) => {
    const { target } = version(1);
    const served = () => store.get(target, 0)!.signed!.seq;
    put(version(1));
    await queue.flush();
    disk.isFull = true;
    put(version(2));
    assert.equal(served(), 2, "a lower one must not pass it on its way");
    await queue.flush();
    assert.equal(served(), 1);
    disk.isFull = false;
    put(version(3));
    await queue.flush();
    assert.deepEqual([served(), disk.items()[0].signed!.seq, answers], [3, 3, [true, false, true]]);
  }));

Deno.test("of two versions on their way, each has its own answer", () =>
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

Deno.test("what expires or is given up leaves the disk too", async () => {
  await withStore(async ({ store, disk, queue, put }) => {
    for (const text of ["a", "b"]) put(item(text));
    put(item("later"), 1000);
    await queue.flush();
    assert.deepEqual(targets(store.expire(ITEM_LIFE_MS)), targets([item("a"), item("b")]));
    await queue.flush();
    assert.deepEqual(targets(disk.items()), targets([item("later")]));
  });
  await withStore(async ({ store, disk, queue, put, answers }) => {
    for (let n = 0; n < 100; n++) {
      put(item(`${n}`.padEnd(800, "x")));
      if (n % 7 === 0) await queue.flush();
    }
    await queue.flush();
    await queue.flush();
    assert.ok(store.count <= 20 && store.count > 10);
    assert.deepEqual(targets(disk.items()), targets(store.entries()));
    const kept = answers.filter((kept) => kept).length;
    assert.ok(kept >= store.count && kept < 100);
  }, { limit: 20 * (804 + ITEM_OVERHEAD_BYTES) });
});

Deno.test("an item that expires while a newer one of its target is written does not take that along", () =>
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

Deno.test("and leaves the disk where that newer one is not taken", () =>
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

Deno.test("a deletion that failed is made up for, unless the item has come back", () =>
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

Deno.test("puts that wait are bounded: a slow disk does not fill the memory", () =>
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
