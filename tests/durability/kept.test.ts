// What a node must not lose between two moments: its key, its first contacts, the end of a publication, and large values.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inTemporaryDirectory } from "../storage/temporary.ts";
import { openDisk } from "../storage/open_disk.ts";
import { type NodeProcess, run, withNodes } from "../program/program.ts";
import { contentOf } from "./blob_writer.ts";

const BLOB_WRITER = fileURLToPath(new URL("blob_writer.ts", import.meta.url));

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function store({ api }: NodeProcess, body: string, query = ""): Promise<string> {
  const headers = { "content-type": "text/plain" };
  const response = await fetch(`${api}/network/store${query}`, { method: "POST", body, headers });
  const { hash } = await response.json();
  return hash;
}

async function publishedBy({ api }: NodeProcess): Promise<string[]> {
  const { published } = await (await fetch(`${api}/network/published`)).json();
  return published.map(({ hash }: { hash: string }) => hash);
}

Deno.test(
  "a node without its key is not started if it publishes signed values, and no new key is made",
  withNodes(async (start, directory) => {
    const dataDir = join(directory, "1"), key = join(dataDir, "identity.pem");
    const args = ["--p2p-port", "0", "--api-port", "0", "--data-dir", dataDir];
    const first = await start("1");
    await store(first, "not signed");
    await first.stop("SIGTERM");
    await Deno.remove(key);
    const second = await start("1");
    const { public_key } = await (await fetch(`${second.api}/network/stats`)).json();
    const hash = await store(second, "signed", "?key=greeting");
    await second.stop("SIGKILL");
    await Deno.rename(key, join(directory, "kept.pem"));

    for (let attempt = 0; attempt < 2; attempt++) {
      const { code, stderr } = await run(args, { cwd: directory });
      assert.equal(code, 1);
      assert.match(stderr, /^dmnode: [^\n]*identity\.pem is missing[^\n]*\n$/);
      assert.match(
        stderr,
        /restore that file, import the key with dmnode identity import, or give/,
      );
      assert.ok(stderr.includes(public_key), stderr);
      assert.ok(![...Deno.readDirSync(dataDir)].some(({ name }) => name.startsWith("identity")));
    }
    const imported = await run(["identity", "import", "kept.pem", "--data-dir", dataDir], {
      cwd: directory,
    });
    assert.equal(imported.code, 0, imported.stderr);
    const third = await start("1");
    assert.ok((await publishedBy(third)).includes(hash));
  }),
);

Deno.test(
  "a node that is killed seconds after it joined finds its contacts again without a bootstrap node",
  withNodes(async (start) => {
    const other = await start("1");
    const node = await start("2", ["--bootstrap", other.udp]);
    await node.line(({ message }) => message.startsWith("Joined the network"));
    await pause(5_000);
    // The other node did not join anyone, but has a contact too.
    await Promise.all([node.stop("SIGKILL"), other.stop("SIGKILL")]);
    await Promise.all([start("1", ["--p2p-port", other.udp.split(":")[1]]), start("2")].map(
      async (started) => {
        const node = await started;
        const deadline = performance.now() + 30_000;
        for (;;) {
          const { peers } = await (await fetch(`${node.api}/network/peers`)).json();
          if (peers.length > 0) return;
          assert.ok(performance.now() < deadline, "no contact");
          await pause(200);
        }
      },
    ));
  }),
);

Deno.test(
  "a value whose deletion was confirmed is not published after a kill",
  withNodes(async (start) => {
    for (let round = 0; round < 4; round++) {
      const node = await start("1");
      assert.deepEqual(await publishedBy(node), []);
      const hash = await store(node, `round ${round}`);
      const response = await fetch(`${node.api}/data/${hash}`, { method: "DELETE" });
      assert.equal(response.status, 204);
      await node.stop("SIGKILL");
    }
    assert.deepEqual(await publishedBy(await start("1")), []);
  }),
);

Deno.test("large values survive kill -9 if their published root was saved, and others leave nothing", async () => {
  await inTemporaryDirectory(async (path) => {
    const ROUNDS = 12;
    const published = new Map<string, string>();
    for (let round = 0; round < ROUNDS; round++) {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "--allow-all", "--no-check", BLOB_WRITER, path("db"), `${round}`],
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      const reading = (async () => {
        for (;;) {
          const { value, done } = await lines.read();
          if (done) return;
          text += value;
        }
      })();
      while (!text.includes("\n")) await pause(10);
      await pause(Math.random() * 300);
      child.kill("SIGKILL");
      await child.status;
      await reading;
      for (const line of text.split("\n").slice(0, -1)) {
        const [event, root, seed] = line.split(" ");
        if (event === "published") published.set(root, seed);
        else if (event === "removed") published.delete(root);
      }

      const disk = await openDisk(path("db"));
      const found = new Map(
        [...disk.published.entries()].map((entry) => [`${entry.item.target}`, entry.large!]),
      );
      for (const [root, seed] of published) {
        const large = found.get(root);
        assert.ok(large !== undefined, "lost");
        const content = contentOf(Number(seed));
        assert.deepEqual(await disk.blobs.read(large.value, 0, content.length), content);
        assert.deepEqual(await disk.blobs.read(large.ids, 0, 1000), content.subarray(0, 1000));
      }
      await disk.close();
    }
    assert.ok(published.size > ROUNDS, `${published.size} published`);
    const disk = await openDisk(path("db"));
    const sizes = Array.from(disk.published.entries(), ({ item }) =>
      // A value that was about to be removed may still be there.
      (published.has(`${item.target}`)
        ? contentOf(Number(published.get(`${item.target}`))).length
        : 500_000) + 66_000);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    const deadline = performance.now() + 20_000;
    while (Deno.statSync(path("large.sqlite")).size > 1.1 * bytes) {
      assert.ok(performance.now() < deadline, "the room of unfinished values is freed");
      await pause(100);
    }
    await disk.close();
  });
});
