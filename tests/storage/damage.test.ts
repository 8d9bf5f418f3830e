// Files that the disk or a careless hand has changed: told of and left as they are, or read without what was changed.
// Never served wrong, never made worse.

import assert from "node:assert/strict";
import { sameBytes } from "../../src/dht/item.ts";
import { files } from "../../src/runtime/files.ts";
import { Database, StorageError } from "../../src/storage/database.ts";
import { itemRow, storedItem } from "../../src/storage/rows.ts";
import { damageInLog } from "../../src/storage/wal.ts";
import { id } from "../packets.ts";
import { inTemporaryDirectory } from "./temporary.ts";

const COMMITS = 60, ITEMS_A_COMMIT = 4;

/** Of a log and its frames, with SQLite's default page. */
const LOG_HEADER = 32, FRAME = 24 + 4096;

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

/** The files as a kill leaves them: with a log, or without one, after a checkpoint. */
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

/** What becomes of these files: the numbers of the items in them, or the line with which they are refused. */
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
      // Of a header, what is changed may be the version, or what says how it can be opened.
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

/** A copy in which `length` bytes from `at` on have all their bits inverted. */
function flipped(bytes: Uint8Array<ArrayBuffer>, at: number, length: number) {
  const copy = bytes.slice();
  for (let i = at; i < Math.min(bytes.length, at + length); i++) copy[i] ^= 0xff;
  return copy;
}

/** The same numbers at each run, spread from 0 to `end`. */
const spread = (count: number, end: number) =>
  Array.from({ length: count }, (_, i) => Math.floor(((i * 0.618034) % 1) * end));

Deno.test("whole files are read, with their log and without it", () => {
  assert.deepEqual(opened(image(true)), ALL);
  assert.deepEqual(opened(image(false)), ALL);
});

Deno.test("a file with bytes changed in its middle is refused, or read without the changed values", () => {
  const whole = image(false);
  let refused = 0, read = 0;
  for (const length of [1, 16, 5000]) {
    for (const at of spread(80, whole.database.length)) {
      const result = opened({ ...whole, database: flipped(whole.database, at, length) });
      if (typeof result === "string") refused++;
      else read++;
    }
  }
  assert.ok(refused > 80 && read > 50, `${refused} refused, ${read} read`);
});

Deno.test("what is left out is counted", () => {
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

Deno.test("a file with any byte of its header changed is refused, or read as a whole", () => {
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

Deno.test("a file that was cut short is refused", () => {
  const { database, log } = image(false);
  for (const length of [1, 99, 100, 4096, 50_000, database.length - 4096]) {
    const message = opened({ database: database.slice(0, length), log });
    assert.match(`${message}`, /damaged/, `${length}`);
  }
  const hot = image(true);
  assert.match(`${opened({ ...hot, database: new Uint8Array(0) })}`, /it is empty/);
});

Deno.test("a log that is damaged before its last commit is refused: those after it were acknowledged", () => {
  const { database, log } = image(true);
  const frames = (log.length - LOG_HEADER) / FRAME;
  const view = new DataView(log.buffer);
  const commits = Array.from({ length: frames }, (_, i) => i)
    .filter((i) => view.getUint32(LOG_HEADER + i * FRAME + 4) !== 0);
  // A frame with a changed header is no frame of this log any more; the commit after it tells.
  const sure = LOG_HEADER + (commits.at(-2)! - 1) * FRAME;
  for (const at of [...spread(60, sure), ...Array.from({ length: 32 }, (_, i) => i)]) {
    const message = opened({ database, log: flipped(log, at, 1) });
    assert.match(String(message), /-wal is damaged after \d+ bytes/, `byte ${at}`);
    const good = Number(/after (\d+)/.exec(message as string)![1]);
    assert.ok(good <= at && at - good < FRAME + LOG_HEADER);
    // As the message says: what came before the damage is there again when the log is cut off.
    const rest = opened({ database, log: log.slice(0, good) }) as number[];
    assert.deepEqual(rest, ALL.slice(0, rest.length));
    if (at > 100_000) assert.ok(rest.length > 0);
  }
});

Deno.test("a log that ends in the midst of a commit is read up to that: it was never acknowledged", () => {
  const { database, log } = image(true);
  const lengths = [...spread(30, log.length), log.length - 1, log.length - FRAME, 31, 0];
  for (const length of lengths) {
    const found = opened({ database, log: log.slice(0, length) }) as number[];
    assert.ok(Array.isArray(found), `${length}: ${found}`);
    assert.deepEqual(found, ALL.slice(0, found.length));
    assert.equal(found.length % ITEMS_A_COMMIT, 0);
  }
  // Torn otherwise: the last commit's end reached the disk and its start did not.
  const torn = flipped(log, log.length - 2 * FRAME + 30, 1000);
  assert.deepEqual(opened({ database, log: torn }), ALL.slice(0, -ITEMS_A_COMMIT));
});

Deno.test("a log of zeros was never synced, and holds nothing", () => {
  assert.equal(damageInLog(new Uint8Array(10_000)), undefined);
  assert.equal(damageInLog(new Uint8Array(0)), undefined);
});

Deno.test("what a failed commit left in the log is cleared away by the next that succeeds", () => {
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
