// A node's storage with its thread: restoring everything, and failures of the thread.

import assert from "node:assert/strict";
import { immutableItem, ITEM_LIFE_MS } from "../../src/dht/items/item.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import type { Id } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { StorageError } from "../../src/storage/sqlite.ts";
import type { DiskStorage } from "../../src/storage/disk.ts";
import { endpoint, id, latin1 } from "../packets.ts";
import { type DiskSettings, openDisk } from "./open_disk.ts";
import { inTemporaryDirectory } from "./temporary.ts";

const item = (text: string) => immutableItem(itemCrypto, bencodeBytes(latin1(text)));

interface Opened {
  readonly disk: DiskStorage;
  readonly told: string[];
}

async function open(path: string, settings: DiskSettings = {}): Promise<Opened> {
  const told: string[] = [];
  const observer = {
    failed: (error: unknown) => told.push((error as Error).message),
    recovered: () => told.push("recovered"),
  };
  return { disk: await openDisk(path, { observer, ...settings }), told };
}

const put = ({ disk }: Opened, text: string) =>
  new Promise<boolean>((resolve) =>
    disk.items.put({ item: item(text) }, 1000, (outcome) => resolve(outcome === "kept"))
  );

/** The value of an item; undefined if it is not there. */
const valueOf = ({ items }: DiskStorage, target: Id, now: number) =>
  new Promise<Uint8Array | undefined>((resolve) =>
    items.read(target, now, (item) => resolve(item?.value))
  );

Deno.test("node id, items, contacts and published values are restored", async () => {
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
    first.disk.saveRecord("a/1", Uint8Array.of(1, 2));
    first.disk.saveRecord("a/2", Uint8Array.of(3));
    first.disk.saveRecord("a/2", null);
    const { nodeId } = first.disk;
    await first.disk.close();
    assert.deepEqual([...Deno.readDirSync(path("."))].map(({ name }) => name).sort(), [
      "db",
      "large.sqlite",
    ]);

    const { disk, told } = await open(path("db"));
    assert.ok(disk.nodeId.equals(nodeId));
    assert.deepEqual([...disk.records], [["a/1", Uint8Array.of(1, 2)]]);
    assert.equal(disk.items.count, texts.length);
    const found = await Promise.all(texts.map((text) => valueOf(disk, item(text).target, 1000)));
    assert.deepEqual(found, texts.map((text) => item(text).value));
    assert.deepEqual(disk.contacts.map(({ id, rtt }) => `${id} ${rtt}`), [`${contact.id} 2.5`]);
    assert.deepEqual([...disk.published.entries()].map(({ replicas }) => replicas), [4]);
    assert.equal(disk.damagedRows, 0);
    await disk.close();
    assert.deepEqual(told, []);
  });
});

Deno.test("the blobs of a published large value are kept, and those of other values are removed", async () => {
  await inTemporaryDirectory(async (path) => {
    const { disk: first } = await open(path("db"));
    const [value, ids, orphan] = await Promise.all(["value", "ids", "orphan"].map(async (text) => {
      const writer = first.blobs.create();
      await writer.append(latin1(text));
      await writer.finish();
      return writer.id;
    }));
    const large = { value, ids, next: 7 }, root = item("root");
    const times = { firstAt: 1, nextAt: 2, lastAt: 3 };
    first.published.save({ item: root, ...times, replicas: 4, failures: 0, large });
    await first.close();

    const { disk } = await open(path("db"));
    assert.deepEqual(disk.published.get(root.target)?.large, large);
    assert.deepEqual(await disk.blobs.read(value, 0, 5), latin1("value"));
    assert.deepEqual(await disk.blobs.read(ids, 0, 3), latin1("ids"));
    // Its room is freed soon after the start.
    const isThere = () => disk.blobs.read(orphan, 0, 1).then(() => true, () => false);
    while (await isThere()) await new Promise((resolve) => setTimeout(resolve, 10));
    await disk.close();
  });
});

Deno.test("items over the limit are deleted on disk too, but published values never", async () => {
  await inTemporaryDirectory(async (path) => {
    const first = await open(path("db"), { limitBytes: 100_000 });
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

Deno.test("the reason for refusing a file is reported, and the thread ends", async () => {
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

Deno.test("the state of the clock is restored", async () => {
  await inTemporaryDirectory(async (path) => {
    const first = await open(path("db"));
    const state = latin1("at 1000");
    first.disk.saveClock(state);
    await first.disk.close();
    const { disk } = await open(path("db"), {
      startClock: (saved) => {
        assert.deepEqual(saved, state);
        return 1000;
      },
    });
    await disk.close();
  });
});

Deno.test("a read takes node time, which stands still while the process is stopped", async () => {
  await inTemporaryDirectory(async (path) => {
    const first = await open(path("db"));
    assert.ok(await put(first, "a"));
    await first.disk.close();
    const { disk } = await open(path("db"), { clock: () => 1000 });
    const { target } = item("a");
    const at = await new Promise((resolve) =>
      disk.items.read(target, 2000, (held, at) => resolve(held && at))
    );
    assert.equal(at, 2000);
    await disk.close();
  });
});

Deno.test("from a version without node time, items that its clock had made expire live for another day", async () => {
  await inTemporaryDirectory(async (path) => {
    const YEAR = 365 * 24 * 3_600_000, times = [YEAR, 2 * YEAR, 3 * YEAR];
    const older = await open(path("db"));
    for (const [i, at] of times.entries()) {
      const kept = new Promise((done) => older.disk.items.put({ item: item(`${i}`) }, at, done));
      assert.equal(await kept, "kept");
    }
    await older.disk.close();
    const upgrade = await open(path("db"), {
      startClock: (_, latest) => {
        assert.equal(latest, 3 * YEAR);
        return latest;
      },
    });
    upgrade.disk.saveClock(latin1("saved"));
    await upgrade.disk.close();

    const end = 3 * YEAR + ITEM_LIFE_MS, now = end - 60_000;
    const { disk } = await open(path("db"), { startClock: () => now });
    for (const i of times.keys()) {
      assert.notEqual(await valueOf(disk, item(`${i}`).target, now), undefined);
    }
    assert.equal(disk.items.expire(end).length, 3);
    await disk.close();
  });
});

/** A thread that opens normally, and runs this code at the first commit. */
const failing = (deed: string) =>
  `data:text/javascript,${
    encodeURIComponent(`
      onmessage = ({ data }) => {
        if (data.do === "commit") { ${deed} }
        const rows = { contacts: [], published: [], announcements: [], damagedRows: 0 };
        postMessage({ type: "done", result: { nodeId: new Uint8Array(20), lastBlob: 0, ...rows } });
      };
    `)
  }`;

Deno.test("when the thread fails, waiting and later puts are refused, and the process survives", async () => {
  const opened = await open("db", { worker: failing("throw new Error('broken')") });
  assert.deepEqual(await Promise.all([put(opened, "a"), put(opened, "b")]), [false, false]);
  assert.equal(await put(opened, "c"), false);
  assert.equal(opened.disk.items.get(item("a").target, 1000), undefined);
  assert.equal(opened.told.length, 1);
  assert.match(opened.told[0], /thread that writes it has failed.*broken.*start the node again/);
  await opened.disk.close();
});

Deno.test("a thread that can't be started is reported when opening", async () => {
  for (const worker of ["data:text/javascript,throw new Error('x')", "file:///no/such/module.js"]) {
    await assert.rejects(open("db", { worker }), StorageError);
  }
});
