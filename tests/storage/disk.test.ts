// All of a node's storage with its thread: what comes back, and what becomes of it when the thread fails.

import assert from "node:assert/strict";
import { immutableItem } from "../../src/dht/item.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { itemCrypto } from "../../src/runtime/crypto.ts";
import { StorageError } from "../../src/storage/database.ts";
import { DiskStorage } from "../../src/storage/disk.ts";
import { endpoint, id, latin1 } from "../packets.ts";
import { inTemporaryDirectory } from "./temporary.ts";

const WORKER = new URL("../../src/runtime/storage_worker.ts", import.meta.url).href;

const item = (text: string) => immutableItem(itemCrypto, bencodeBytes(latin1(text)));

interface Opened {
  readonly disk: DiskStorage;
  readonly told: string[];
}

async function open(path: string, worker = WORKER, limitBytes = 1e8): Promise<Opened> {
  const told: string[] = [];
  const disk = await DiskStorage.open({
    worker: new Worker(worker, { type: "module" }),
    path,
    mayBeEmpty: true,
    limitBytes,
    now: 1000,
    randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
    observer: {
      failed: (error) => told.push((error as Error).message),
      recovered: () => told.push("recovered"),
    },
  });
  return { disk, told };
}

const put = ({ disk }: Opened, text: string) =>
  new Promise<boolean>((resolve) => disk.items.put(item(text), 1000, resolve));

Deno.test("node id, items, contacts and published values come back", async () => {
  await inTemporaryDirectory(async (path) => {
    const first = await open(path("db"));
    const texts = Array.from({ length: 2500 }, (_, n) => `value ${n}`);
    const kept = await Promise.all(texts.map((text) => put(first, text)));
    assert.ok(kept.every((isKept) => isKept));
    const contact = { id: id("aa"), endpoint: endpoint("127.0.0.1:9"), rtt: 2.5 };
    first.disk.saveContacts([contact]);
    const published = {
      item: item("own"),
      firstAt: 1,
      nextAt: 2,
      lastAt: 3,
      replicas: 4,
      failures: 0,
    };
    first.disk.published.save(published);
    const { nodeId } = first.disk;
    await first.disk.close();
    assert.deepEqual([...Deno.readDirSync(path("."))].map(({ name }) => name), ["db"]);

    const { disk, told } = await open(path("db"));
    assert.ok(disk.nodeId.equals(nodeId));
    assert.equal(disk.items.count, texts.length);
    for (const text of texts) assert.ok(disk.items.get(item(text).target, 1000));
    assert.deepEqual(disk.contacts.map(({ id, rtt }) => `${id} ${rtt}`), [`${contact.id} 2.5`]);
    assert.deepEqual([...disk.published.entries()].map(({ replicas }) => replicas), [4]);
    assert.equal(disk.damagedRows, 0);
    await disk.close();
    assert.deepEqual(told, []);
  });
});

Deno.test("items beyond the limit are given up on disk too; published ones never", async () => {
  await inTemporaryDirectory(async (path) => {
    const first = await open(path("db"), WORKER, 100_000);
    for (let n = 0; n < 200; n++) {
      first.disk.published.save({
        item: item(`own ${n}`),
        firstAt: 1,
        nextAt: 2,
        lastAt: 3,
        replicas: 0,
        failures: 0,
      });
      await put(first, `${n}`);
    }
    const { count } = first.disk.items;
    assert.ok(count < 100);
    await first.disk.close();
    const { disk } = await open(path("db"));
    assert.deepEqual([disk.items.count, disk.published.count], [count, 200]);
    await disk.close();
  });
});

Deno.test("what a file is refused for comes through, and the thread ends", async () => {
  await inTemporaryDirectory(async (path) => {
    const first = await open(path("db"));
    await assert.rejects(open(path("db")), (error) => {
      assert.ok(error instanceof StorageError);
      return /in use by another process/.test(error.message);
    });
    await first.disk.close();
    Deno.writeTextFileSync(path("other"), "x".repeat(5000));
    await assert.rejects(open(path("other")), /damaged/);
  });
});

/** A thread that opens, and at the first commit does this. */
const failing = (deed: string) =>
  `data:text/javascript,${
    encodeURIComponent(`
      onmessage = ({ data }) => {
        if (data.do === "commit") { ${deed} }
        const saved = { nodeId: new Uint8Array(20), contacts: [], published: [], damagedRows: 0 };
        postMessage({ type: "done", saved });
      };
    `)
  }`;

Deno.test("when the thread fails, waiting puts and later ones are refused, and the process lives", async () => {
  const opened = await open("db", failing("throw new Error('broken')"));
  assert.deepEqual(await Promise.all([put(opened, "a"), put(opened, "b")]), [false, false]);
  assert.equal(await put(opened, "c"), false);
  assert.equal(opened.disk.items.get(item("a").target, 1000), undefined);
  assert.equal(opened.told.length, 1);
  assert.match(opened.told[0], /thread that writes it has failed.*broken.*start the node again/);
  await opened.disk.close();
});

Deno.test("a thread that can't be started is a reason to refuse the start", async () => {
  for (const worker of ["data:text/javascript,throw new Error('x')", "file:///no/such/module.js"]) {
    await assert.rejects(open("db", worker), StorageError);
  }
});
