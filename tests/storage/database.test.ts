// The node's file: what comes back after a restart, and what is refused and left as it was.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { StoredItem } from "../../src/dht/item.ts";
import { Database, StorageError } from "../../src/storage/database.ts";
import { endpoint, hex, id, latin1 } from "../packets.ts";
import { inTemporaryDirectory } from "./temporary.ts";

/** The message with which a file is refused; it has to be one line that names the file. */
function refusal(path: string): string {
  try {
    new Database(path).close();
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
  const before = new Database(path);
  write(before);
  before.close();
  const after = new Database(path);
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

/** Plain arrays, whatever kind of byte array the database yields. */
const plain = (items: StoredItem[]) =>
  items.map((item) =>
    JSON.stringify(item, (_, value) => ArrayBuffer.isView(value) ? [...value as Uint8Array] : value)
  )
    .sort();

Deno.test("items, contacts and names come back after a restart", () => {
  inTemporaryDirectory((path) => {
    const contacts = [
      { id: id("aa"), endpoint: endpoint("1.2.3.4:6881") },
      { id: id("aa"), endpoint: endpoint("[2001:db8::1]:6881") },
      { id: id("bb"), endpoint: endpoint("255.255.255.254:65535") },
    ];
    reopened(path("node.sqlite"), (database) => {
      database.saveItems([IMMUTABLE, MUTABLE], []);
      database.saveContacts(contacts);
      database.setMeta("node_id", hex("0102"));
    }, (database) => {
      assert.deepEqual(plain(database.items()), plain([IMMUTABLE, MUTABLE]));
      assert.deepEqual(
        database.contacts().map((c) => `${c.id} ${c.endpoint}`).sort(),
        contacts.map((c) => `${c.id} ${c.endpoint}`).sort(),
      );
      assert.deepEqual([...database.meta("node_id")!], [1, 2]);
      assert.equal(database.meta("other"), undefined);
    });
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
      (database) => database.saveItems(items, []),
      (database) => database.items().map((item) => item.signed!.seq),
    );
    assert.deepEqual(read.sort((x, y) => x - y), seqs);
  });
});

Deno.test("items are replaced and deleted in one commit, the contacts as a whole", () => {
  inTemporaryDirectory((path) => {
    reopened(path("node.sqlite"), (database) => {
      database.saveItems([IMMUTABLE, MUTABLE], []);
      database.saveItems([{ ...IMMUTABLE, expiresAt: 5 }], [MUTABLE.target, IMMUTABLE.target]);
      database.saveContacts([{ id: id("aa"), endpoint: endpoint("1.2.3.4:1") }]);
      database.saveContacts([{ id: id("bb"), endpoint: endpoint("1.2.3.4:1") }]);
      database.setMeta("x", hex("01"));
      database.setMeta("x", hex("02"));
    }, (database) => {
      assert.deepEqual(plain(database.items()), plain([{ ...IMMUTABLE, expiresAt: 5 }]));
      assert.deepEqual(database.contacts().map((c) => `${c.id}`), [`${id("bb")}`]);
      assert.deepEqual([...database.meta("x")!], [2]);
    });
  });
});

Deno.test("a commit that fails changes nothing", () => {
  inTemporaryDirectory((path) => {
    reopened(path("node.sqlite"), (database) => {
      database.saveItems([IMMUTABLE], []);
      const broken = { ...MUTABLE, value: null as unknown as Uint8Array };
      assert.throws(() => database.saveItems([broken], [IMMUTABLE.target]));
      database.saveItems([MUTABLE], []);
    }, (database) => assert.equal(database.items().length, 2));
  });
});

Deno.test("what was committed survives the end of the process without a close", async () => {
  await inTemporaryDirectory(async (path) => {
    const program = `
      import { Database } from "${new URL("../../src/storage/database.ts", import.meta.url)}";
      import { Id } from "${new URL("../../src/krpc/id.ts", import.meta.url)}";
      const database = new Database(${JSON.stringify(path("node.sqlite"))});
      const target = Id.parse("01".repeat(20));
      const value = new Uint8Array([105, 49, 101]);
      database.saveItems([{ target, value, signed: undefined, storedAt: 1, expiresAt: 2 }], []);
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
    const database = new Database(path("node.sqlite"));
    assert.deepEqual(database.items().map((item) => `${item.target}`), ["01".repeat(20)]);
    database.close();
  });
});

Deno.test("a file in use is refused to a second opener", () => {
  inTemporaryDirectory((path) => {
    const first = new Database(path("node.sqlite"));
    assert.match(refusal(path("node.sqlite")), /in use by another process/);
    first.saveItems([IMMUTABLE], []);
    first.close();
    new Database(path("node.sqlite")).close();
  });
});

Deno.test("a file of a newer version is refused and left as it was", () => {
  inTemporaryDirectory((path) => {
    const file = path("node.sqlite");
    new Database(file).close();
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
  inTemporaryDirectory((path) => {
    const file = path("node.sqlite");
    const foreign = new DatabaseSync(file);
    foreign.exec("CREATE TABLE meta (of TEXT, others TEXT)");
    foreign.close();
    refusal(file);
    const again = new DatabaseSync(file);
    const tables = again.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
    again.close();
    assert.deepEqual(tables.map(({ name }) => name), ["meta"]);
  });
});

Deno.test("a file that can't be opened or written is refused", () => {
  inTemporaryDirectory((path) => {
    refusal(path("no/such/directory/node.sqlite"));
    Deno.mkdirSync(path("directory"));
    refusal(path("directory"));
  });
});
