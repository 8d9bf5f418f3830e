// A node with a full or read-only disk, damaged files, or a second node on its DATA_DIR: it refuses with one clear line and
// the right status, or serves without storing. It never makes anything worse.

import assert from "node:assert/strict";
import { join } from "node:path";
import { PAGE_BYTES } from "../../src/dht/items/item_cost.ts";
import { sameBytes } from "../../src/dht/items/item.ts";
import { files } from "../../src/runtime/files.ts";
import { Database } from "../../src/storage/database.ts";
import { publishedOf } from "../../src/storage/rows.ts";
import { fromFileUrl, ITEM, VALUE } from "../upgrade/known.ts";
import { type Ended, NodeProcess, run, withNodes } from "../program/program.ts";
import { type Answer, Client, targetOf } from "./client.ts";
import { isPassedOver, Volume } from "./volume.ts";

const MIB = 1 << 20;

type Files = Map<string, Uint8Array<ArrayBuffer>>;

/** The files that contain data, without SQLite's index files. */
async function filesOf(directory: string): Promise<Files> {
  const found: Files = new Map();
  for await (const { name } of Deno.readDir(directory)) {
    if (!name.endsWith("-shm")) found.set(name, await Deno.readFile(join(directory, name)));
  }
  return found;
}

function assertSame(before: Files, after: Files): void {
  for (const [name, bytes] of before) {
    assert.ok(sameBytes(bytes, after.get(name) ?? new Uint8Array(0)), `${name} has changed`);
  }
}

function startOn(dataDir: string): Promise<Ended> {
  return run(["--p2p-port", "0", "--api-port", "0", "--data-dir", dataDir], { cwd: "/tmp" });
}

/** Asserts that a start ends with one line and status 1, and leaves all files unchanged. */
async function assertRefused(dataDir: string, message: RegExp): Promise<void> {
  const before = await filesOf(dataDir), begun = performance.now();
  const { code, stderr } = await startOn(dataDir);
  assert.equal(code, 1, stderr);
  assert.match(stderr, message);
  assert.match(stderr, /^dmnode: [^\n]+\n$/);
  assert.ok(performance.now() - begun < 4000, "at once");
  assertSame(before, await filesOf(dataDir));
}

/** The files of a killed node, with some values in the database and others in its log. */
async function killed(
  start: (name: string) => Promise<NodeProcess>,
  dataDir: string,
): Promise<string[]> {
  const values: string[] = [];
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const node = await start("data");
    const client = new Client(node.udp);
    for (let n = 0; n < 40; n++) {
      const value = `${signal} ${n} ${"x".repeat(700)}`;
      assert.equal((await client.put(value)).kind, "response");
      values.push(value);
    }
    client.close();
    await node.stop(signal);
  }
  assert.ok(Deno.statSync(join(dataDir, "dmnode.sqlite-wal")).size > 100_000);
  return values;
}

function change(
  path: string,
  how: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>,
): void {
  Deno.writeFileSync(path, how(Deno.readFileSync(path)));
}

const flip = (at: number, length: number) => (bytes: Uint8Array<ArrayBuffer>) => {
  for (let i = at; i < at + length; i++) bytes[i] ^= 0xff;
  return bytes;
};

Deno.test(
  "damaged files are refused with a line that names them, and left unchanged",
  withNodes(async (start, directory) => {
    const dataDir = join(directory, "data"), kept = join(directory, "kept");
    await killed(start, dataDir);
    await Deno.rename(dataDir, kept);
    const file = "dmnode.sqlite", log = "dmnode.sqlite-wal";
    const pages = Deno.statSync(join(kept, file)).size / PAGE_BYTES;
    const middle = Math.floor(pages / 2) * PAGE_BYTES;
    const cases: [string, string, (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>][] = [
      ["cut to nothing", file, () => new Uint8Array(0)],
      ["cut in half", file, (bytes) => bytes.slice(0, middle)],
      ["changed in its middle", file, flip(middle, 64)],
      ["changed in its header", file, flip(0, 100)],
      ["changed in the log", log, flip(50_000, 64)],
      ["changed in the log's header", log, flip(8, 8)],
      ["not a key", "identity.pem", flip(40, 30)],
    ];
    for (const [name, changed, how] of cases) {
      await Deno.mkdir(dataDir);
      for (const [name, bytes] of await filesOf(kept)) {
        // The first cases have no log, which could repair some of the damage.
        if (name !== log || changed !== file || how === cases[0][2]) {
          await Deno.writeFile(join(dataDir, name), bytes);
        }
      }
      change(join(dataDir, changed), how);
      const expected = changed === "identity.pem"
        ? /identity\.pem holds no Ed25519 key/
        : new RegExp(`${changed} is damaged .*nothing was changed`);
      await assertRefused(dataDir, expected).catch((error) => {
        throw new Error(`${name}: ${error.message}`, { cause: error });
      });
      await Deno.remove(dataDir, { recursive: true });
    }
  }),
);

Deno.test(
  "a changed value is left out with a warning, and the others are served",
  withNodes(async (start, directory) => {
    const dataDir = join(directory, "data");
    const values = await killed(start, dataDir);
    await (await start("data")).stop("SIGTERM"); // with its log brought in
    change(join(dataDir, "dmnode.sqlite"), (bytes) => {
      const text = new TextDecoder("latin1").decode(bytes);
      // SQLite may have moved the value, so that it is in the file twice.
      for (let at = -1; (at = text.indexOf(values[3], at + 1)) >= 0;) flip(at + 50, 1)(bytes);
      return bytes;
    });
    const node = await start("data");
    const warning = await node.line(({ level }) => level === "warning");
    assert.match(warning.message, /^Values in .* are damaged, and are left out: 1$/);
    const client = new Client(node.udp);
    for (const [i, value] of values.entries()) {
      const found = (await client.get(targetOf(value))).value;
      assert.equal(found === undefined, i === 3);
    }
    assert.equal((await client.put(values[3])).kind, "response");
    assert.ok((await client.get(targetOf(values[3]))).value);
    client.close();
  }),
);

Deno.test(
  "a second node on the same DATA_DIR is refused at once, and the first is not affected",
  withNodes(async (start, directory) => {
    const node = await start("data");
    const client = new Client(node.udp);
    assert.equal((await client.put("first")).kind, "response");
    await assertRefused(join(directory, "data"), /dmnode\.sqlite is in use by another process/);
    assert.equal((await client.put("second")).kind, "response");
    client.close();
    await node.stop("SIGKILL");
    const again = await start("data");
    const reader = new Client(again.udp);
    for (const value of ["first", "second"]) assert.ok((await reader.get(targetOf(value))).value);
    reader.close();
  }),
);

Deno.test(
  "published values are restored, even after a kill",
  withNodes(async (start, directory) => {
    const node = await start("data");
    const hashes: string[] = [];
    for (const body of ["one", "two"]) {
      const response = await fetch(`${node.api}/network/store`, {
        method: "POST",
        body,
        headers: { "content-type": "text/plain" },
      });
      hashes.push((await response.json()).hash);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    await node.stop("SIGKILL");
    const path = join(directory, "data", "dmnode.sqlite");
    const database = new Database(path, { files, mayBeEmpty: false });
    const published = Array.from(database.published(), publishedOf);
    database.close();
    assert.deepEqual(published.map(({ item }) => `${item.target}`).sort(), hashes.sort());
    assert.ok(published.every(({ replicas, nextAt }) => replicas === 1 && nextAt > Date.now()));
  }),
);

Deno.test({
  name: "a read-only DATA_DIR is refused after a stop and after a kill",
  ignore: isPassedOver,
  fn: () =>
    Volume.with(16 * MIB, async (volume) => {
      const dataDir = join(volume.path, "data");
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        const node = await NodeProcess.start(dataDir);
        const client = new Client(node.udp);
        assert.equal((await client.put(signal)).kind, "response");
        client.close();
        await node.stop(signal);
        await volume.setReadOnly(true);
        await assertRefused(dataDir, /dmnode\.sqlite can't be written: check its permissions/);
        await volume.setReadOnly(false);
      }
      await volume.setReadOnly(true);
      const { code, stderr } = await startOn(join(volume.path, "new"));
      assert.equal(code, 1);
      assert.match(stderr, /^dmnode: DATA_DIR .*new can't be created: [^\n]+\n$/);
    }),
});

Deno.test({
  name: "on a full disk a new node is refused, and one with data of the present schema starts",
  ignore: isPassedOver,
  fn: () =>
    Volume.with(4 * MIB, async (volume) => {
      const old = join(volume.path, "old");
      await Deno.mkdir(old);
      for await (const { name } of Deno.readDir(fromFileUrl("schema-1"))) {
        await Deno.copyFile(join(fromFileUrl("schema-1"), name), join(old, name));
      }
      await Deno.mkdir(join(volume.path, "new"));
      volume.fill();
      const { code, stderr } = await startOn(join(volume.path, "new"));
      assert.equal(code, 1);
      assert.match(stderr, /^dmnode: [^\n]*the disk is full: free some room[^\n]*\n$/);
      await assertRefused(old, /the disk is full: free some room/);
      volume.free();
      for (const dataDir of [old, join(volume.path, "new")]) {
        const node = await NodeProcess.start(dataDir);
        if (dataDir === old) {
          assert.equal(await (await fetch(`${node.api}/data/${ITEM.target}`)).text(), VALUE);
        }
        await node.stop("SIGTERM");
      }
      volume.fill();
      const node = await NodeProcess.start(old);
      assert.equal(await (await fetch(`${node.api}/data/${ITEM.target}`)).text(), VALUE);
      await node.stop("SIGTERM");
    }),
});

Deno.test({
  name: "when the disk fills up, only puts are refused, and they work again when there is room",
  ignore: isPassedOver,
  fn: () =>
    Volume.with(16 * MIB, async (volume) => {
      const dataDir = join(volume.path, "data");
      const node = await NodeProcess.start(dataDir);
      const client = new Client(node.udp);
      const put = (value: string) => client.put(value.padEnd(900, "x"));
      const kept = Array.from({ length: 20 }, (_, n) => `kept ${n}`);
      for (const value of kept) assert.equal((await put(value)).kind, "response");

      volume.fill();
      const refused: string[] = [];
      const several = Array.from({ length: 40 }, (_, n) => `when full ${n}`);
      // The log may have room for a few values.
      for (const value of several.splice(0, 10)) {
        if ((await put(value)).kind === "response") kept.push(value);
        else refused.push(value);
      }
      const answers = await Promise.all(
        several.map(async (value): Promise<[string, Answer]> => [value, await put(value)]),
      );
      for (const [value, answer] of answers) {
        if (answer.kind === "response") kept.push(value);
        else {
          assert.deepEqual([answer.kind, "code" in answer && answer.code], ["error", 202]);
          refused.push(value);
        }
      }
      assert.ok(refused.length > 20, `${refused.length} refused`);
      for (const value of refused) {
        assert.equal((await client.get(targetOf(value.padEnd(900, "x")))).value, undefined);
      }
      for (const value of kept) {
        assert.ok((await client.get(targetOf(value.padEnd(900, "x")))).value);
      }
      assert.equal((await client.ask("ping", {})).kind, "response");
      const response = await fetch(`${node.api}/network/store`, {
        method: "POST",
        body: "by the API",
        headers: { "content-type": "text/plain" },
      });
      assert.ok(response.status >= 500, `${response.status}`);
      await response.body?.cancel();
      assert.match(await (await fetch(`${node.api}/healthz`)).text(), /ok/);
      const told = node.lines.filter(({ level }) => level === "error");
      assert.equal(told.length, 1, JSON.stringify(told));
      assert.match(told[0].message, /dmnode\.sqlite: the disk is full: free some room/);

      volume.free();
      const deadline = performance.now() + 3000;
      while ((await put("room again")).kind !== "response") assert.ok(performance.now() < deadline);
      kept.push("room again");
      await node.line(({ message }) => message === "Values are stored again");
      for (let n = 0; n < 20; n++) {
        kept.push(`after ${n}`);
        assert.equal((await put(`after ${n}`)).kind, "response");
      }
      client.close();
      await node.stop("SIGKILL");

      const again = await NodeProcess.start(dataDir);
      const reader = new Client(again.udp);
      for (const value of kept) {
        assert.ok((await reader.get(targetOf(value.padEnd(900, "x")))).value, value);
      }
      for (const value of refused) {
        assert.equal((await reader.get(targetOf(value.padEnd(900, "x")))).value, undefined);
      }
      reader.close();
      await again.stop("SIGTERM");
    }),
});
