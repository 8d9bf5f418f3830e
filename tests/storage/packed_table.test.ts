// The room that items need on disk: it follows from what is stored now, whatever was stored and deleted before.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { itemCost, rowClass } from "../../src/dht/items/item_cost.ts";
import { MAX_VALUE_BYTES, type StoredItem } from "../../src/dht/items/item.ts";
import { Id } from "../../src/krpc/id.ts";
import { files } from "../../src/runtime/files.ts";
import { Database } from "../../src/storage/database.ts";
import { itemRow, publishedRow } from "../../src/storage/rows.ts";
import { inTemporaryDirectory } from "./temporary.ts";

/** What a file has beside its items: the other tables, and pages that are partly filled. */
const SLACK_BYTES = 250_000;

/** Unpredictable numbers that are the same in each run. */
class Random {
  #state = 1;

  below(limit: number): number {
    this.#state = Math.imul(this.#state ^ (this.#state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5 | 0;
    return ((this.#state ^ (this.#state >>> 13)) >>> 0) % limit;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}

function item(random: Random, size: number, isMutable = false, saltLength = 0): StoredItem {
  const signed = {
    publicKey: new Uint8Array(32),
    signature: new Uint8Array(64),
    salt: new Uint8Array(saltLength),
    seq: Number.MAX_SAFE_INTEGER,
  };
  return {
    target: Id.read(random.bytes(20)),
    value: new Uint8Array(size),
    signed: isMutable ? signed : undefined,
    storedAt: Date.now() + 0.5,
    expiresAt: Date.now() + 0.25,
    by: "255.255.255.0",
    copies: 20,
  };
}

const totalCost = (items: Iterable<StoredItem>) =>
  Array.from(items, itemCost).reduce((sum, cost) => sum + cost, 0);

interface Given {
  readonly database: Database;
  readonly path: string;
  change(added: readonly StoredItem[], deleted?: readonly StoredItem[]): void;
  /** The largest size of the log after a commit so far. */
  maxLogBytes(): number;
  close(): void;
}

function withDatabase(run: (given: Given) => void): void {
  inTemporaryDirectory((name) => {
    const path = name("db"), database = new Database(path, { files, mayBeEmpty: true });
    let maxLog = 0, isOpen = true;
    const close = () => {
      if (isOpen) database.close();
      isOpen = false;
    };
    try {
      run({
        database,
        path,
        change(added, deleted = []) {
          for (let at = 0; at < Math.max(added.length, deleted.length); at += 256) {
            database.commit({
              items: added.slice(at, at + 256).map(itemRow),
              deletedItems: deleted.slice(at, at + 256).map(({ target }) => target.toBytes()),
              published: [],
              contacts: undefined,
            });
            maxLog = Math.max(maxLog, Deno.statSync(`${path}-wal`).size);
          }
        },
        maxLogBytes: () => maxLog,
        close,
      });
    } finally {
      close();
    }
  });
}

const fileBytes = ({ path }: Given) => Deno.statSync(path).size;

for (
  const [name, size, isMutable] of [
    ["full items", MAX_VALUE_BYTES, false],
    ["full mutable items", MAX_VALUE_BYTES, true],
    ["small items", 5, false],
    ["medium items", 620, false],
  ] as const
) {
  Deno.test(`the disk needs at most itemCost for ${name}`, () =>
    inTemporaryDirectory((path) => {
      const random = new Random(), count = 4_000;
      const items = Array.from({ length: count }, () => item(random, size, isMutable));
      const database = new Database(path("db"), { files, mayBeEmpty: true });
      for (let at = 0; at < count; at += 200) {
        database.commit({
          items: items.slice(at, at + 200).map(itemRow),
          deletedItems: [],
          published: [],
          contacts: undefined,
        });
      }
      database.close();
      const bytes = Deno.statSync(path("db")).size;
      assert.ok(bytes <= totalCost(items) + SLACK_BYTES / 2, `${bytes / count} bytes per item`);
      if (name === "small items") assert.ok(bytes / count < 250);
    }));
}

Deno.test("a value of 996 bytes takes at most 1.4 kB, held or published", () =>
  inTemporaryDirectory((path) => {
    const random = new Random(), count = 4_000;
    const items = Array.from({ length: count }, () => item(random, MAX_VALUE_BYTES));
    for (const table of ["items", "published"] as const) {
      const database = new Database(path(table), { files, mayBeEmpty: true });
      for (let at = 0; at < count; at += 200) {
        const part = items.slice(at, at + 200);
        const times = { firstAt: 1.5, nextAt: 2.5, lastAt: 3.5, replicas: 20, failures: 0 };
        database.commit({
          items: table === "items" ? part.map(itemRow) : [],
          deletedItems: [],
          published: table === "items" ? [] : part.map((item) => publishedRow({ item, ...times })),
          contacts: undefined,
        });
      }
      database.close();
      assert.ok(Deno.statSync(path(table)).size / count <= 1_400, table);
    }
  }));

Deno.test("items that come and go don't grow the file, and the log stays under 16 MB", () =>
  withDatabase((given) => {
    const random = new Random();
    const some = (count: number) =>
      Array.from({ length: count }, () => item(random, 1 + random.below(MAX_VALUE_BYTES)));
    let live = some(3_000), peak = totalCost(live);
    given.change(live);
    for (let round = 0; round < 20; round++) {
      const left = live.filter(() => random.below(10) < 6);
      const gone = live.filter((item) => !left.includes(item));
      given.change([], gone);
      const added = some(gone.length);
      given.change(added);
      live = [...left, ...added];
      peak = Math.max(peak, totalCost(live));
      assert.ok(fileBytes(given) <= peak + SLACK_BYTES, `${fileBytes(given)} in round ${round}`);
    }
    // All of the room is reused by items of another size.
    given.change([], live);
    const small = Array.from({ length: 3_000 }, () => item(random, 5, true, 20));
    given.change(small);
    assert.ok(fileBytes(given) <= peak + SLACK_BYTES);
    assert.ok(given.maxLogBytes() < 16e6, `${given.maxLogBytes()}`);
    assert.equal([...given.database.items()].length, small.length);
  }));

Deno.test("the ids of each class stay without gaps, also after a commit that failed", () =>
  withDatabase((given) => {
    const random = new Random();
    const held = new Map<string, StoredItem>();
    for (let round = 0; round < 150; round++) {
      const deleted = [...held.values()].filter(() => random.below(5) === 0);
      for (const { target } of deleted) held.delete(`${target}`);
      // Some items get a new value of another size.
      const added = [
        ...[...held.values()].filter(() => random.below(8) === 0)
          .map((old) => ({ ...old, value: new Uint8Array(1 + random.below(MAX_VALUE_BYTES)) })),
        ...Array.from({ length: random.below(8) }, () => item(random, 1 + random.below(1000))),
      ];
      for (const item of added) held.set(`${item.target}`, item);
      if (round % 7 === 0) {
        const broken = { ...itemRow(item(random, 9)), value: null as unknown as Uint8Array };
        assert.throws(() =>
          given.database.commit({
            items: [itemRow(item(random, 9)), itemRow(item(random, 999)), broken],
            deletedItems: [...held.values()].slice(0, 5).map(({ target }) => target.toBytes()),
            published: [],
            contacts: undefined,
          })
        );
      }
      given.change(added, deleted);
    }
    const rows = [...given.database.items()];
    assert.deepEqual(
      rows.map(({ target, value }) => `${Id.read(target)} ${value.length}`).sort(),
      Array.from(held.values(), ({ target, value }) => `${target} ${value.length}`).sort(),
    );
    given.close();
    const db = new DatabaseSync(given.path);
    const ids = db.prepare("SELECT id, length(value) AS size FROM items ORDER BY id").all() as {
      id: number;
      size: number;
    }[];
    db.close();
    const next = new Map<number, number>();
    for (const { id, size } of ids) {
      const kind = Math.floor(id / 2 ** 32);
      assert.equal(kind, rowClass(size));
      assert.equal(id % 2 ** 32, next.get(kind) ?? 0);
      next.set(kind, (next.get(kind) ?? 0) + 1);
    }
    assert.ok(next.size >= 4, `${next.size} classes`);
  }));

Deno.test("items whose targets have the same beginning are distinguished", () => {
  withDatabase(({ database, change }) => {
    const random = new Random(), first = item(random, 10), target = first.target.toBytes();
    target[target.length - 1] ^= 1;
    const second = { ...item(random, 20), target: Id.read(target) };
    change([first, second]);
    change([], [first]);
    const held = Array.from(database.items(), ({ value }) => value.length);
    assert.deepEqual(held, [second.value.length]);
  });
});
