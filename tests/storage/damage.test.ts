// Files that a faulty disk or a user has changed: refused and left unchanged, or read without the changed rows. Wrong
// values are never served, and damage never gets worse.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { sameBytes } from "../../src/dht/items/item.ts";
import { PAGE_BYTES } from "../../src/dht/items/item_cost.ts";
import { files } from "../../src/runtime/files.ts";
import { Database } from "../../src/storage/database.ts";
import { peek } from "../../src/storage/peek.ts";
import { StorageError } from "../../src/storage/sqlite.ts";
import { itemRow, storedItem } from "../../src/storage/rows.ts";
import { damageInLog } from "../../src/storage/wal.ts";
import { id } from "../packets.ts";
import { inTemporaryDirectory } from "./temporary.ts";

const COMMITS = 60, ITEMS_A_COMMIT = 4;

/** The sizes of a log's parts. */
const LOG_HEADER = 32, FRAME = 24 + PAGE_BYTES;

const open = (path: string) => new Database(path, { files, mayBeEmpty: true });

function item(n: number) {
  const value = new TextEncoder().encode(`900:${String(n).padStart(900, "0")}`);
  return {
    target: id(n.toString(16).padStart(4, "0")),
    value,
    signed: undefined,
    storedAt: n,
    expiresAt: 1e15,
  };
}

interface Image {
  readonly database: Uint8Array<ArrayBuffer>;
  readonly log: Uint8Array<ArrayBuffer>;
}

/** The files after a kill: with a log, or after a checkpoint without one. */
function image(hasLog: boolean): Image {
  return inTemporaryDirectory((path) => {
    const database = open(path("db"));
    for (let n = 0; n < COMMITS; n++) {
      const items = Array.from(
        { length: ITEMS_A_COMMIT },
        (_, i) => itemRow(item(n * ITEMS_A_COMMIT + i)),
      );
      database.commit({
        items,
        deletedItems: [],
        published: [],
        contacts: undefined,
      });
    }
    if (!hasLog) database.close();
    const log = hasLog ? Deno.readFileSync(path("db-wal")) : new Uint8Array(0);
    const found = { database: Deno.readFileSync(path("db")), log };
    if (hasLog) database.close();
    return found;
  });
}

/** The result of opening files: the numbers of their items, or the message of the refusal. */
function opened({ database, log }: Image): number[] | string {
  return inTemporaryDirectory((path) => {
    Deno.writeFileSync(path("db"), database);
    if (log.length > 0) Deno.writeFileSync(path("db-wal"), log);
    let opened: Database;
    try {
      opened = open(path("db"));
    } catch (error) {
      assert.ok(error instanceof StorageError, `${error}`);
      assert.equal(error.message.includes("\n"), false, error.message);
      assert.ok(sameBytes(Deno.readFileSync(path("db")), database), error.message);
      if (log.length > 0) assert.ok(sameBytes(Deno.readFileSync(path("db-wal")), log));
      // A change in the header may affect the version, or how the file can be opened.
      assert.match(error.message, /damaged|newer dmnode|another program|can't be written/);
      return error.message;
    }
    try {
      return Array.from(opened.items(), (row) => {
        const { target, value, storedAt } = storedItem(row), written = item(storedAt);
        assert.equal(`${target}`, `${written.target}`);
        assert.ok(sameBytes(value, written.value));
        return storedAt;
      }).sort((x, y) => x - y);
    } finally {
      opened.close();
    }
  });
}

const ALL = Array.from({ length: COMMITS * ITEMS_A_COMMIT }, (_, n) => n);

/** A copy with all bits of `length` bytes from `at` on inverted. */
function flipped(bytes: Uint8Array<ArrayBuffer>, at: number, length: number) {
  const copy = bytes.slice();
  for (let i = at; i < Math.min(bytes.length, at + length); i++) copy[i] ^= 0xff;
  return copy;
}

/** Numbers spread from 0 to `end`, the same in each run. */
const spread = (count: number, end: number) =>
  Array.from({ length: count }, (_, i) => Math.floor(((i * 0.618034) % 1) * end));

Deno.test("intact files are read, with and without a log", () => {
  assert.deepEqual(opened(image(true)), ALL);
  assert.deepEqual(opened(image(false)), ALL);
});

Deno.test("a file with changed bytes in the middle is refused, or read without the changed values", () => {
  const whole = image(false);
  let refused = 0, read = 0;
  for (const length of [1, 16, 5000]) {
    for (const at of spread(120, whole.database.length)) {
      const result = opened({ ...whole, database: flipped(whole.database, at, length) });
      if (typeof result === "string") refused++;
      else read++;
    }
  }
  assert.ok(refused > 120 && read > 75, `${refused} refused, ${read} read`);
});

Deno.test("rows that are left out are counted", () => {
  inTemporaryDirectory((path) => {
    const { database } = image(false);
    const at = new TextDecoder("latin1").decode(database).indexOf(String(77).padStart(100, "0"));
    Deno.writeFileSync(path("db"), flipped(database, at, 1));
    const damaged = open(path("db"));
    assert.equal([...damaged.items()].length, ALL.length - 1);
    assert.equal(damaged.damagedRows, 1);
    damaged.close();
  });
});

Deno.test("a page that can't be read fails only the reads of its own items", () => {
  inTemporaryDirectory((path) => {
    // More pages than SQLite keeps in memory, so that it reads them again.
    const items = Array.from({ length: 6_000 }, (_, n) => item(n));
    const database = open(path("db"));
    for (let n = 0; n < items.length; n += 100) {
      database.commit({
        items: items.slice(n, n + 100).map(itemRow),
        deletedItems: [],
        published: [],
        contacts: undefined,
      });
    }
    database.close();
    const opened = open(path("db"));
    const text = new TextDecoder("latin1").decode(Deno.readFileSync(path("db")));
    const at = text.indexOf(String(77).padStart(100, "0"));
    using file = Deno.openSync(path("db"), { write: true });
    file.seekSync(at - at % PAGE_BYTES, Deno.SeekMode.Start);
    file.writeSync(new Uint8Array(64).fill(0xff));
    const results = opened.readItems(items.map(({ target }) => target.toBytes()));
    const failed = results.filter((result) => result === "failed").length;
    assert.equal(results[77], "failed");
    assert.ok(failed < 10, `${failed} reads failed`);
    assert.equal(results.includes("missing"), false);
    opened.close();
  });
});

Deno.test("a file with a changed byte in its header is refused, or read completely", () => {
  for (const whole of [image(false), image(true)]) {
    for (let at = 0; at < 100; at++) {
      const result = opened({ ...whole, database: flipped(whole.database, at, 1) });
      if (typeof result !== "string") assert.deepEqual(result, ALL);
    }
  }
  const whole = image(false);
  for (const length of [1, 100]) {
    assert.match(
      `${opened({ ...whole, database: flipped(whole.database, 0, length) })}`,
      /damaged/,
    );
  }
});

Deno.test("a truncated file is refused", () => {
  const { database, log } = image(false);
  for (const length of [1, 99, 100, 4096, 50_000, database.length - 4096]) {
    const message = opened({ database: database.slice(0, length), log });
    assert.match(`${message}`, /damaged/, `${length}`);
  }
  const hot = image(true);
  assert.match(`${opened({ ...hot, database: new Uint8Array(0) })}`, /it is empty/);
});

Deno.test("a log that is damaged before its last commit is refused, because later commits were acknowledged", () => {
  const { database, log } = image(true);
  const frames = (log.length - LOG_HEADER) / FRAME;
  const view = new DataView(log.buffer);
  const commits = Array.from({ length: frames }, (_, i) => i)
    .filter((i) => view.getUint32(LOG_HEADER + i * FRAME + 4) !== 0);
  // A frame with a changed header no longer belongs to this log, but the next commit reveals the damage.
  const sure = LOG_HEADER + (commits.at(-2)! - 1) * FRAME;
  for (const at of [...spread(60, sure), ...Array.from({ length: 32 }, (_, i) => i)]) {
    const message = opened({ database, log: flipped(log, at, 1) });
    assert.match(String(message), /-wal is damaged after \d+ bytes/, `byte ${at}`);
    const good = Number(/after (\d+)/.exec(message as string)![1]);
    assert.ok(good <= at && at - good < FRAME + LOG_HEADER);
    // As the message explains, truncating the log restores everything before the damage.
    const rest = opened({ database, log: log.slice(0, good) }) as number[];
    assert.deepEqual(rest, ALL.slice(0, rest.length));
    if (at > 100_000) assert.ok(rest.length > 0);
  }
});

Deno.test("a log that ends within a commit is read up to that commit, which was never acknowledged", () => {
  const { database, log } = image(true);
  const lengths = [...spread(30, log.length), log.length - 1, log.length - FRAME, 31, 0];
  for (const length of lengths) {
    const found = opened({ database, log: log.slice(0, length) }) as number[];
    assert.ok(Array.isArray(found), `${length}: ${found}`);
    assert.deepEqual(found, ALL.slice(0, found.length));
    assert.equal(found.length % ITEMS_A_COMMIT, 0);
  }
  // Another torn write: the end of the last commit reached the disk, but not its start.
  const torn = flipped(log, log.length - 2 * FRAME + 30, 1000);
  assert.deepEqual(opened({ database, log: torn }), ALL.slice(0, -ITEMS_A_COMMIT));
});

Deno.test("a log of zeros was never synced, and holds nothing", () => {
  assert.equal(damageInLog(new Uint8Array(10_000)), undefined);
  assert.equal(damageInLog(new Uint8Array(0)), undefined);
});

Deno.test("the next successful commit clears the remains of a failed one from the log", () => {
  inTemporaryDirectory((path) => {
    const database = open(path("db"));
    const none = { deletedItems: [], published: [], contacts: undefined };
    database.commit({ items: [itemRow(item(1))], ...none });
    const broken = { ...itemRow(item(2)), value: null as unknown as Uint8Array };
    assert.throws(() => database.commit({ items: [broken], ...none }));
    assert.ok(Deno.statSync(path("db-wal")).size > 0);
    database.commit({ items: [itemRow(item(3))], ...none });
    assert.equal(Deno.statSync(path("db-wal")).size, 0);
    database.close();
  });
});

/** Statements that add foreign objects to a file. The node's own statements would run or read these objects. */
const FOREIGN: Readonly<Record<string, string>> = {
  trigger: "CREATE TRIGGER x AFTER INSERT ON items BEGIN DELETE FROM published; END",
  view: "CREATE VIEW x AS SELECT * FROM items",
  "view with the name of a table":
    "DROP TABLE meta; CREATE VIEW meta AS SELECT 'a', randomblob(20)",
  table: "CREATE TABLE x (a)",
  index: "CREATE INDEX x ON items (length(value))",
  "changed table": "ALTER TABLE contacts ADD COLUMN x AS (hex(zeroblob(1000000)))",
};

for (const [what, statements] of Object.entries(FOREIGN)) {
  Deno.test(`a database with a foreign ${what} is refused and left unchanged`, () =>
    inTemporaryDirectory((path) => {
      open(path("db")).close();
      change(path("db"), statements);
      const before = Deno.readFileSync(path("db"));
      assert.throws(() => open(path("db")), /dmnode has not made its .*nothing was changed/);
      assert.match(peek(path("db"), files).problem!.text, /dmnode has not made its/);
      assert.deepEqual(Deno.readFileSync(path("db")), before);
    }));
}

for (const object of ["table published", "table meta", "index items_by_target"]) {
  Deno.test(`a database without its ${object} is refused and left unchanged`, () =>
    inTemporaryDirectory((path) => {
      open(path("db")).close();
      change(path("db"), `DROP ${object}`);
      const before = Deno.readFileSync(path("db"));
      const expected = new RegExp(
        `db is damaged \\(its ${object} is missing\\): nothing was changed`,
      );
      assert.throws(() => open(path("db")), expected);
      assert.match(peek(path("db"), files).problem!.text, expected);
      assert.deepEqual(Deno.readFileSync(path("db")), before);
    }));
}

Deno.test("an older database with a foreign trigger or a computed column is refused", () => {
  const older = "../upgrade/schema-2/dmnode.sqlite";
  for (const what of ["trigger", "view", "changed table"]) {
    inTemporaryDirectory((path) => {
      Deno.copyFileSync(new URL(older, import.meta.url), path("db"));
      change(path("db"), FOREIGN[what]);
      assert.throws(() => open(path("db")), /dmnode has not made its/);
    });
  }
});

Deno.test("a database that ANALYZE has changed opens", () =>
  inTemporaryDirectory((path) => {
    open(path("db")).close();
    change(path("db"), "ANALYZE");
    open(path("db")).close();
  }));

function change(path: string, statements: string): void {
  const db = new DatabaseSync(path);
  db.exec(statements);
  db.close();
}
