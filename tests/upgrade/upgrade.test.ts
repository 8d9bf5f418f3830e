// The present program opens a DATA_DIR of every earlier schema, and a copy of a DATA_DIR is a backup.

import assert from "node:assert/strict";
import { join } from "node:path";
import { files } from "../../src/runtime/files.ts";
import { Database } from "../../src/storage/database.ts";
import { publishedOf, savedContact } from "../../src/storage/rows.ts";
import { latin1 } from "../packets.ts";
import { type NodeProcess, run, withNodes } from "../program/program.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";
import { CONTACT, fromFileUrl, ITEM, NODE_ID, PUBLIC_KEY, PUBLISHED, VALUE } from "./known.ts";

async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { mode: 0o700 });
  for await (const { name } of Deno.readDir(from)) {
    await Deno.copyFile(join(from, name), join(to, name));
  }
}

/** Makes byte arrays of different kinds comparable. */
function plain(record: object): unknown {
  return JSON.parse(
    JSON.stringify(
      record,
      (_, value) => ArrayBuffer.isView(value) ? [...value as Uint8Array] : value,
    ),
  );
}

async function value({ api }: NodeProcess, hash: string): Promise<string> {
  return await (await fetch(`${api}/data/${hash}`)).text();
}

async function identityOf({ api }: NodeProcess): Promise<{ node_id: string; public_key: string }> {
  const { node_id, public_key } = await (await fetch(`${api}/network/stats`)).json();
  return { node_id, public_key };
}

for (const { name } of [...Deno.readDirSync(fromFileUrl("."))]) {
  if (!name.startsWith("schema-")) continue;
  Deno.test(
    `a DATA_DIR of ${name} opens, with node id, identity and values`,
    withNodes(async (start, directory) => {
      await copy(fromFileUrl(name), join(directory, "1"));
      for (let i = 0; i < 2; i++) { // as it was, and as the first start left it
        const node = await start("1");
        assert.deepEqual(await identityOf(node), {
          node_id: NODE_ID.toString(),
          public_key: PUBLIC_KEY,
        });
        assert.equal(await value(node, ITEM.target.toString()), VALUE);
        await node.stop("SIGTERM");
      }
    }),
  );

  Deno.test(`${name}: contacts and published values are restored as saved`, () =>
    inTemporaryDirectory(async (path) => {
      await copy(fromFileUrl(name), path("data"));
      const database = new Database(path("data/dmnode.sqlite"), { files, mayBeEmpty: false });
      const [contact, ...others] = database.contacts().map(savedContact);
      const published = Array.from(database.published(), publishedOf);
      database.close();
      const { id, endpoint } = CONTACT;
      const isFirst = name === "schema-1";
      assert.deepEqual(
        [plain(contact), others],
        [plain(isFirst ? { id, endpoint } : CONTACT), []],
      );
      assert.deepEqual(published.map(plain), isFirst ? [] : [plain(PUBLISHED)]);
    }));
}

/**
 * The values that the first release published in first-release. Its process was killed, so all of them are in the log.
 * It also stored a large value in a format that is not read any more.
 */
const FIRST_RELEASE = {
  "247dfdd0466263c18b7ac6e3fbe3deb279c41632": latin1("an immutable value of the first release"),
  "be0876958ae725ad1e955f5c21a28843555d6261": latin1("version 2 of a key"),
};

Deno.test(
  "a DATA_DIR that the first release left behind when it was killed opens, with all published values",
  withNodes(async (start, directory) => {
    await copy(fromFileUrl("first-release"), join(directory, "1"));
    // A copy that an interrupted upgrade left behind.
    await Deno.writeTextFile(join(directory, "1", "dmnode.sqlite.new"), "a part of a copy");
    for (let i = 0; i < 2; i++) {
      const node = await start("1");
      for (const [hash, value] of Object.entries(FIRST_RELEASE)) {
        const response = await fetch(`${node.api}/data/${hash}`);
        assert.deepEqual(new Uint8Array(await response.arrayBuffer()), new Uint8Array(value), hash);
      }
      const { published } = await (await fetch(`${node.api}/network/published`)).json();
      const hashes = published.map(({ hash }: { hash: string }) => hash);
      for (const hash of Object.keys(FIRST_RELEASE)) assert.ok(hashes.includes(hash), hash);
      await node.stop(i === 0 ? "SIGKILL" : "SIGTERM");
    }
    const names = [...Deno.readDirSync(join(directory, "1"))].map(({ name }) => name).sort();
    assert.deepEqual(names, ["dmnode.sqlite", "identity.pem", "large.sqlite"]);
  }),
);

Deno.test(
  "a copy of a stopped node's DATA_DIR is a backup: three files restore everything",
  withNodes(async (start, directory) => {
    const node = await start("1");
    const before = await identityOf(node);
    const { hash } = await (await fetch(`${node.api}/network/store`, {
      method: "POST",
      body: "backed up",
      headers: { "content-type": "text/plain" },
    })).json();
    assert.equal((await node.stop("SIGTERM")).code, 0);
    const names = [...Deno.readDirSync(join(directory, "1"))].map(({ name }) => name).sort();
    assert.deepEqual(names, ["dmnode.sqlite", "identity.pem", "large.sqlite"]);
    await copy(join(directory, "1"), join(directory, "backup"));
    await Deno.remove(join(directory, "1"), { recursive: true });

    const restored = await start("backup");
    assert.deepEqual(await identityOf(restored), before);
    assert.equal(await value(restored, hash), "backed up");
    const second = await run(["--p2p-port", "0", "--api-port", "0", "--data-dir", "backup"], {
      cwd: directory,
    });
    assert.equal(second.code, 1);
    assert.match(second.stderr, /in use by another process/);
  }),
);
