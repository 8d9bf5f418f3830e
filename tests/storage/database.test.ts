// The node's file: what comes back after a restart, and what is refused and left as it was.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { StoredItem } from "../../src/dht/item.ts";
import { files } from "../../src/runtime/files.ts";
import { type Changes } from "../../src/storage/commit_queue.ts";
import { Database, StorageError } from "../../src/storage/database.ts";
import type { Published } from "../../src/dht/published.ts";
import {
  contactRow,
  itemRow,
  publishedOf,
  publishedRow,
  type SavedContact,
  savedContact,
  storedItem,
} from "../../src/storage/rows.ts";
import { endpoint, hex, id, latin1 } from "../packets.ts";
import { inTemporaryDirectory } from "./temporary.ts";

const open = (path: string, mayBeEmpty = true) => new Database(path, { files, mayBeEmpty });

/** A commit of these changes and no others. */
function commit(database: Database, changes: Partial<Changes>): void {
  database.commit({
    deletedItems: [],
    items: [],
    published: [],
    contacts: undefined,
    ...changes,
  });
}

/** The message with which a file is refused; it has to be one line that names the file. */
function refusal(path: string, mayBeEmpty = true): string {
  try {
    open(path, mayBeEmpty).close();
  } catch (error) {
    assert.ok(error instanceof StorageError, `${error}`);
    assert.ok(error.message.includes(path));
    assert.equal(error.message.includes("\n"), false);
    return error.message;
  }
  return assert.fail("it was opened");
}

function reopened<T>(
  path: string,
  write: (database: Database) => void,
  read: (database: Database) => T,
): T {
  const before = open(path);
  write(before);
  before.close();
  const after = open(path);
  try {
    return read(after);
  } finally {
    after.close();
  }
}

const IMMUTABLE: StoredItem = {
  target: id("01"),
  value: latin1("5:hello"),
  signed: undefined,
  storedAt: 1_700_000_000_000.25,
  expiresAt: 1_700_007_200_000.25,
};
const MUTABLE: StoredItem = {
  ...IMMUTABLE,
  target: id("02"),
  signed: {
    publicKey: new Uint8Array(32).fill(1),
    signature: new Uint8Array(64).fill(2),
    salt: latin1("salt\0\xff"),
    seq: Number.MAX_SAFE_INTEGER,
  },
};

/** Comparable, whatever kind of byte array the database yields. */
const plain = (records: Iterable<object>) =>
  Array.from(
    records,
    (record) =>
      JSON.stringify(record, (_, value) =>
        ArrayBuffer.isView(value)
          ? [...value as Uint8Array]
          : value === -Infinity
          ? "never"
          : value),
  ).sort();

const itemsOf = (database: Database) => Array.from(database.items(), storedItem);

const PUBLISHED: Published[] = [
  { item: IMMUTABLE, firstAt: 1.5, nextAt: 2.5, lastAt: -Infinity, replicas: 0, failures: 3 },
  { item: MUTABLE, firstAt: 1, nextAt: 2 ** 41 + 0.5, lastAt: 7, replicas: 20, failures: 0 },
].map((published) => {
  const { target, value, signed } = published.item;
  return { ...published, item: { target, value, signed } };
});

Deno.test("items, contacts, published values and names come back after a restart", () => {
  inTemporaryDirectory((path) => {
    const contacts: SavedContact[] = [
      { id: id("aa"), endpoint: endpoint("1.2.3.4:6881") },
      {
        id: id("aa"),
        endpoint: endpoint("[2001:db8::1]:6881"),
        firstSeen: 1_700_000_000_000.5,
        lastSeen: 1_700_000_000_001,
        rtt: 12.25,
        rttVariation: 0,
        answerRate: 0.75,
        parts: { coordinate: [1, 2.5], note: "ü" },
      },
      { id: id("bb"), endpoint: endpoint("255.255.255.254:65535"), rtt: 1 },
    ];
    reopened(path("node.sqlite"), (database) => {
      commit(database, {
        items: [IMMUTABLE, MUTABLE].map(itemRow),
        contacts: contacts.map(contactRow),
        published: PUBLISHED.map(publishedRow),
      });
      database.setMeta("node_id", hex("0102"));
    }, (database) => {
      assert.deepEqual(plain(itemsOf(database)), plain([IMMUTABLE, MUTABLE]));
      assert.deepEqual(plain(database.contacts().map(savedContact)), plain(contacts));
      assert.deepEqual(plain(Array.from(database.published(), publishedOf)), plain(PUBLISHED));
      assert.deepEqual([...database.meta("node_id")!], [1, 2]);
      assert.equal(database.meta("other"), undefined);
      assert.equal(database.damagedRows, 0);
    });
  });
});

Deno.test("what a contact has not got yet is missing when it comes back", () => {
  inTemporaryDirectory((path) => {
    const contact = {
      id: id("aa"),
      endpoint: endpoint("1.2.3.4:1"),
      rtt: NaN,
      lastSeen: -Infinity,
    };
    reopened(
      path("node.sqlite"),
      (database) => commit(database, { contacts: [contactRow(contact)] }),
      (database) => {
        const { rtt, lastSeen } = savedContact(database.contacts()[0]);
        assert.deepEqual([rtt, lastSeen], [undefined, undefined]);
      },
    );
  });
});

Deno.test("every seq from 0 to 2^53 - 1 comes back exactly", () => {
  inTemporaryDirectory((path) => {
    const seqs = [0, 1, 2 ** 31, 2 ** 32 + 1, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER];
    const items = seqs.map((seq, i) => ({
      ...MUTABLE,
      target: id(`0${i}`),
      signed: { ...MUTABLE.signed!, seq },
    }));
    const read = reopened(
      path("node.sqlite"),
      (database) => commit(database, { items: items.map(itemRow) }),
      (database) => itemsOf(database).map((item) => item.signed!.seq),
    );
    assert.deepEqual(read.sort((x, y) => x - y), seqs);
  });
});

Deno.test("rows are replaced and deleted in one commit, the contacts as a whole", () => {
  inTemporaryDirectory((path) => {
    const [first, second] = PUBLISHED.map(publishedRow);
    reopened(path("node.sqlite"), (database) => {
      commit(database, {
        items: [IMMUTABLE, MUTABLE].map(itemRow),
        published: [first, second],
        contacts: [contactRow({ id: id("aa"), endpoint: endpoint("1.2.3.4:1") })],
      });
      commit(database, {
        items: [itemRow({ ...IMMUTABLE, expiresAt: 5 })],
        deletedItems: [MUTABLE.target.toBytes(), IMMUTABLE.target.toBytes()],
        published: [second, { ...first, replicas: 4 }, { target: second.target }],
        contacts: [contactRow({ id: id("bb"), endpoint: endpoint("1.2.3.4:1") })],
      });
      commit(database, {});
      database.setMeta("x", hex("01"));
      database.setMeta("x", hex("02"));
    }, (database) => {
      assert.deepEqual(plain(itemsOf(database)), plain([{ ...IMMUTABLE, expiresAt: 5 }]));
      assert.deepEqual(
        plain(Array.from(database.published(), publishedOf)),
        plain([{ ...PUBLISHED[0], replicas: 4 }]),
      );
      assert.deepEqual(database.contacts().map((c) => `${savedContact(c).id}`), [`${id("bb")}`]);
      assert.deepEqual([...database.meta("x")!], [2]);
    });
  });
});

Deno.test("a commit that fails changes nothing", () => {
  inTemporaryDirectory((path) => {
    reopened(path("node.sqlite"), (database) => {
      commit(database, { items: [itemRow(IMMUTABLE)] });
      const broken = { ...itemRow(MUTABLE), value: null as unknown as Uint8Array };
      assert.throws(
        () => commit(database, { items: [broken], deletedItems: [IMMUTABLE.target.toBytes()] }),
        StorageError,
      );
      commit(database, { items: [itemRow(MUTABLE)] });
    }, (database) => assert.equal(itemsOf(database).length, 2));
  });
});

Deno.test("what was committed survives the end of the process without a close", async () => {
  await inTemporaryDirectory(async (path) => {
    const program = `
      import { Database } from "${new URL("../../src/storage/database.ts", import.meta.url)}";
      import { files } from "${new URL("../../src/runtime/files.ts", import.meta.url)}";
      const path = ${JSON.stringify(path("node.sqlite"))};
      const database = new Database(path, { files, mayBeEmpty: true });
      const target = new Uint8Array(20).fill(1), value = new Uint8Array([105, 49, 101]);
      const signed = { public_key: null, signature: null, salt: null, seq: null };
      const item = { target, value, ...signed, stored_at: 1, expires_at: 2 };
      database.commit({ items: [item], deletedItems: [], published: [] });
      console.log("committed");
      Deno.kill(Deno.pid, "SIGKILL");
    `;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--no-check", "-"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(program));
    await writer.close();
    const { stdout, stderr, signal } = await child.output();
    assert.equal(new TextDecoder().decode(stdout), "committed\n", new TextDecoder().decode(stderr));
    assert.equal(signal, "SIGKILL");
    const database = open(path("node.sqlite"));
    assert.deepEqual(itemsOf(database).map((item) => `${item.target}`), ["01".repeat(20)]);
    database.close();
  });
});

Deno.test("a file in use is refused to a second opener, at once", () => {
  inTemporaryDirectory((path) => {
    const first = open(path("node.sqlite"));
    commit(first, { items: [itemRow(MUTABLE)] });
    const begun = performance.now();
    assert.match(refusal(path("node.sqlite")), /in use by another process/);
    assert.ok(performance.now() - begun < 1000);
    commit(first, { items: [itemRow(IMMUTABLE)] });
    first.close();
    const again = open(path("node.sqlite"));
    assert.equal(itemsOf(again).length, 2);
    again.close();
  });
});

Deno.test("a file of a newer version is refused and left as it was", () => {
  inTemporaryDirectory((path) => {
    const file = path("node.sqlite");
    open(file).close();
    const newer = new DatabaseSync(file);
    newer.exec("PRAGMA user_version = 999; CREATE TABLE of_tomorrow (x)");
    newer.close();
    const before = Deno.readFileSync(file);
    assert.match(refusal(file), /newer dmnode \(schema 999/);
    assert.deepEqual(Deno.readFileSync(file), before);
  });
});

Deno.test("a file that is no database is refused and left as it was", () => {
  const random = new Uint8Array(8192);
  crypto.getRandomValues(random);
  for (const content of [latin1("hello"), random, latin1("SQLite format 3\0" + "x".repeat(5000))]) {
    inTemporaryDirectory((path) => {
      const file = path("node.sqlite");
      Deno.writeFileSync(file, content);
      assert.match(refusal(file), /damaged/);
      assert.deepEqual(Deno.readFileSync(file), content);
      assert.deepEqual([...Deno.readDirSync(path("."))].map(({ name }) => name), ["node.sqlite"]);
    });
  }
});

Deno.test("another program's database is refused and left as it was", () => {
  for (const version of [0, 1]) {
    inTemporaryDirectory((path) => {
      const file = path("node.sqlite");
      const foreign = new DatabaseSync(file);
      foreign.exec(`CREATE TABLE meta (of TEXT, others TEXT); PRAGMA user_version = ${version}`);
      foreign.close();
      const before = Deno.readFileSync(file);
      assert.match(refusal(file), /another program/);
      assert.deepEqual(Deno.readFileSync(file), before);
    });
  }
});

Deno.test("an empty file is taken for one in the making only where there can't have been more", () => {
  inTemporaryDirectory((path) => {
    const file = path("node.sqlite");
    Deno.writeTextFileSync(file, "");
    assert.match(refusal(file, false), /damaged \(it is empty\)/);
    assert.equal(Deno.statSync(file).size, 0);
    Deno.writeTextFileSync(`${file}-wal`, "what is left of it");
    assert.match(refusal(file), /damaged \(it is empty\)/);
    Deno.removeSync(`${file}-wal`);
    open(file).close();
    open(file, false).close();
  });
});

Deno.test("a file that can't be opened or written is refused", () => {
  inTemporaryDirectory((path) => {
    refusal(path("no/such/directory/node.sqlite"));
    Deno.mkdirSync(path("directory"));
    refusal(path("directory"));
  });
});
