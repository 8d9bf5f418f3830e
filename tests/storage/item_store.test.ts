// Items that survive the process: acknowledged when they are on disk, not before and not otherwise.

import assert from "node:assert/strict";
import { immutableItem, ITEM_LIFE_MS } from "../../src/dht/item.ts";
import { ITEM_OVERHEAD_BYTES, MemoryItemStore } from "../../src/dht/item_store.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { itemCrypto } from "../../src/runtime/crypto.ts";
import { Database } from "../../src/storage/database.ts";
import { DurableItemStore } from "../../src/storage/item_store.ts";
import { id, latin1 } from "../packets.ts";
import { inTemporaryDirectory } from "./temporary.ts";

const item = (text: string) => immutableItem(itemCrypto, bencodeBytes(latin1(text)));
const targets = (items: Iterable<{ target: unknown }>) =>
  Array.from(items, ({ target }) => `${target}`).sort();

/** Runs with a store on a new file; whatever was scheduled is flushed at the end. */
function withStore(
  run: (store: DurableItemStore, database: Database, errors: unknown[]) => void,
  { limit = 1e6, now = 0, before = (_: Database) => {} } = {},
): void {
  inTemporaryDirectory((path) => {
    const database = new Database(path("node.sqlite"));
    before(database);
    const errors: unknown[] = [];
    const memory = new MemoryItemStore(id("5a"), limit, 1);
    const store = new DurableItemStore(memory, database, now, (error) => errors.push(error));
    try {
      run(store, database, errors);
    } finally {
      store.flush();
      database.close();
    }
  });
}

Deno.test("a put is acknowledged when its group is on disk, not before", () => {
  withStore((store, database) => {
    const acknowledged: boolean[] = [];
    for (const text of ["a", "b", "c"]) {
      store.put(item(text), 0, (kept) => {
        assert.equal(database.items().length, 3, "all are on disk by then");
        acknowledged.push(kept);
      });
    }
    assert.deepEqual(acknowledged, []);
    assert.ok(store.get(item("a").target, 0), "it is served meanwhile");
    store.flush();
    assert.deepEqual(acknowledged, [true, true, true]);
    store.flush();
    assert.equal(acknowledged.length, 3);
  });
});

Deno.test("a group is committed by itself within milliseconds", async () => {
  await inTemporaryDirectory(async (path) => {
    const database = new Database(path("node.sqlite"));
    const store = new DurableItemStore(
      new MemoryItemStore(id("5a"), 1e6, 1),
      database,
      0,
      (error) => assert.fail(`${error}`),
    );
    assert.ok(await new Promise((resolve) => store.put(item("a"), 0, resolve)));
    assert.equal(database.items().length, 1);
    database.close();
  });
});

Deno.test("items come back with their times after a restart; expired ones don't", () => {
  const saved = (text: string, expiresAt: number) => ({ ...item(text), storedAt: 1, expiresAt });
  const alive = saved("alive", 2000), dead = saved("dead", 1000);
  withStore((store, database) => {
    assert.deepEqual([store.count, targets(store.entries())], [1, targets([alive])]);
    assert.equal(store.get(alive.target, 1500)!.expiresAt, 2000);
    assert.equal(store.get(alive.target, 2000), undefined);
    store.put(item("new"), 1000, () => {});
    store.flush();
    assert.deepEqual(targets(database.items()), targets([alive, item("new")]));
  }, { now: 1000, before: (database) => database.saveItems([alive, dead], []) });
});

Deno.test("when the disk does not take them, puts are answered with a failure", () => {
  withStore((store, database, errors) => {
    const results: boolean[] = [];
    const { saveItems } = database;
    database.saveItems = () => {
      throw new Error("disk full");
    };
    for (const text of ["a", "b"]) store.put(item(text), 0, (kept) => results.push(kept));
    store.flush();
    assert.deepEqual(results, [false, false]);
    assert.equal(errors.length, 1);
    database.saveItems = saveItems;
    store.put(item("a"), 0, (kept) => results.push(kept));
    store.flush();
    assert.deepEqual(results, [false, false, true]);
    assert.deepEqual(targets(database.items()), targets([item("a")]));
  });
});

Deno.test("what expires or is given up leaves the disk too", () => {
  withStore((store, database) => {
    for (const text of ["a", "b"]) store.put(item(text), 0, () => {});
    store.put(item("later"), 1000, () => {});
    store.flush();
    assert.deepEqual(targets(store.expire(ITEM_LIFE_MS)), targets([item("a"), item("b")]));
    store.flush();
    assert.deepEqual(targets(database.items()), targets([item("later")]));
  });
  withStore((store, database) => {
    let kept = 0;
    for (let n = 0; n < 100; n++) {
      store.put(item(`${n}`.padEnd(800, "x")), 0, (isKept) => isKept && kept++);
      if (n % 7 === 0) store.flush();
    }
    store.flush();
    assert.ok(store.count <= 20 && store.count > 10);
    assert.deepEqual(targets(database.items()), targets(store.entries()));
    assert.ok(kept >= store.count && kept < 100);
  }, { limit: 20 * (804 + ITEM_OVERHEAD_BYTES) });
});

Deno.test("an item given up before its commit is answered with a failure", () => {
  withStore((store, database) => {
    const results = new Map<string, boolean>();
    for (let n = 0; n < 60; n++) {
      const one = item(`${n}`.padEnd(800, "x"));
      store.put(one, 0, (kept) => results.set(`${one.target}`, kept));
    }
    store.flush();
    const acknowledged = [...results].filter(([, kept]) => kept).map(([target]) => target);
    assert.deepEqual(acknowledged.sort(), targets(database.items()));
    assert.equal(results.size, 60);
  }, { limit: 20 * (804 + ITEM_OVERHEAD_BYTES) });
});

Deno.test("puts that wait are bounded: a slow disk does not fill the memory", () => {
  withStore((store) => {
    let refused = 0;
    for (let n = 0; n < 12_000; n++) {
      store.put(item("same"), 0, (kept) => kept || refused++);
    }
    assert.equal(refused, 2_000);
  });
});
