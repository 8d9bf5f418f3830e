// The node's database file: what is restored, and what is refused and left unchanged.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { StoredItem } from "../../src/dht/items/item.ts";
import { files } from "../../src/runtime/files.ts";
import { type Changes } from "../../src/storage/commit_queue.ts";
import { Database } from "../../src/storage/database.ts";
import { StorageError } from "../../src/storage/sqlite.ts";
import type { Published } from "../../src/dht/items/published.ts";
import {
  announcementRow,
  contactRow,
  itemRow,
  publishedOf,
  publishedRow,
  type SavedAnnouncement,
  savedAnnouncement,
  type SavedContact,
  savedContact,
  storedItem,
} from "../../src/storage/rows.ts";
import { MAX_SEQ, type Seq } from "../../src/krpc/seq.ts";
import { endpoint, hex, id, latin1 } from "../packets.ts";
import { inTemporaryDirectory } from "./temporary.ts";

const open = (path: string, mayBeEmpty = true) => new Database(path, { files, mayBeEmpty });

/** A commit with only these changes. */
function commit(database: Database, changes: Partial<Changes>): void {
  database.commit({
    deletedItems: [],
    items: [],
    published: [],
    contacts: undefined,
    ...changes,
  });
}

/** The message of a refusal. It must be one line that names the file. */
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

/** Makes byte arrays of different kinds comparable. */
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

const TIMES = { firstAt: 1, nextAt: 2, lastAt: 7, replicas: 20, failures: 0 };

const PUBLISHED: Published[] = [
  { item: IMMUTABLE, firstAt: 1.5, nextAt: 2.5, lastAt: -Infinity, replicas: 0, failures: 3 },
  { item: MUTABLE, firstAt: 1, nextAt: 2 ** 41 + 0.5, lastAt: 7, replicas: 20, failures: 0 },
  { item: { ...IMMUTABLE, target: id("03") }, ...TIMES, lifeMs: 3.6e6 },
  { item: { ...MUTABLE, target: id("04") }, ...TIMES, pin: "only" as const },
].map((published) => {
  const { target, value, signed } = published.item;
  return { ...published, item: { target, value, signed } };
});

const ANNOUNCEMENTS: SavedAnnouncement[] = [
  { infoHash: id("05"), port: 6881, isSeed: true, service: undefined, firstAt: 1.5 },
  { infoHash: id("06"), port: undefined, isSeed: false, service: "chat ü", firstAt: 2 },
];

const announcementsOf = (database: Database) => database.announcements().map(savedAnnouncement);

Deno.test("an announcement is replaced, and removed, by its info-hash", () => {
  inTemporaryDirectory((path) => {
    const [first, second] = ANNOUNCEMENTS;
    const changed = { ...first, port: 1 };
    reopened(path("node.sqlite"), (database) => {
      commit(database, { announcements: ANNOUNCEMENTS.map(announcementRow) });
      commit(database, {
        announcements: [announcementRow(changed), { info_hash: second.infoHash.toBytes() }],
      });
    }, (database) => assert.deepEqual(announcementsOf(database), [changed]));
  });
});

Deno.test("items, contacts, published values and names are restored after a restart", () => {
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
        announcements: ANNOUNCEMENTS.map(announcementRow),
      });
      database.setMeta("node_id", hex("0102"));
    }, (database) => {
      assert.deepEqual(plain(itemsOf(database)), plain([IMMUTABLE, MUTABLE]));
      assert.deepEqual(plain(database.contacts().map(savedContact)), plain(contacts));
      assert.deepEqual(plain(Array.from(database.published(), publishedOf)), plain(PUBLISHED));
      assert.deepEqual(announcementsOf(database), ANNOUNCEMENTS);
      assert.deepEqual([...database.meta("node_id")!], [1, 2]);
      assert.equal(database.meta("other"), undefined);
      assert.equal(database.damagedRows, 0);
    });
  });
});

Deno.test("unknown properties of a contact stay unknown", () => {
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

Deno.test("every seq from 0 to 2^63 - 1 is restored exactly", () => {
  inTemporaryDirectory((path) => {
    const small = [0, 1, 2 ** 31, 2 ** 32 + 1, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER];
    const seqs: Seq[] = [...small, 2n ** 53n, 2n ** 53n + 1n, MAX_SEQ - 1n, MAX_SEQ];
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
    assert.deepEqual(read.sort((x, y) => x < y ? -1 : 1), seqs);
  });
});

Deno.test("one commit replaces and deletes rows, and replaces all contacts", () => {
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

Deno.test("committed changes survive the end of the process without a close", async () => {
  await inTemporaryDirectory(async (path) => {
    const program = `
      import { Database } from "${new URL("../../src/storage/database.ts", import.meta.url)}";
      import { files } from "${new URL("../../src/runtime/files.ts", import.meta.url)}";
      const path = ${JSON.stringify(path("node.sqlite"))};
      const database = new Database(path, { files, mayBeEmpty: true });
      const target = new Uint8Array(20).fill(1), value = new Uint8Array([105, 49, 101]);
      const signed = { public_key: null, signature: null, salt: null, seq: null };
      const item = { target, value, ...signed, stored_at: 1, expires_at: 2, source: null, copies: null };
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

Deno.test("a file in use can't be opened again, and the refusal is immediate", () => {
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

Deno.test("a file of a newer version is refused and left unchanged", () => {
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

Deno.test("a file that is not a database is refused and left unchanged", () => {
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

Deno.test("another program's database is refused and left unchanged", () => {
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

Deno.test("an empty file is accepted only if it can't have lost content", () => {
  inTemporaryDirectory((path) => {
    const file = path("node.sqlite");
    Deno.writeTextFileSync(file, "");
    assert.match(refusal(file, false), /damaged \(it is empty\)/);
    assert.equal(Deno.statSync(file).size, 0);
    Deno.writeTextFileSync(`${file}-wal`, "the rest of a log");
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
