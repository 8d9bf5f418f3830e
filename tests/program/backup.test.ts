// `dmnode backup` and `dmnode restore`: save a node while it runs, and make the same node again elsewhere.

import assert from "node:assert/strict";
import { join } from "node:path";
import { command, type Ended, type NodeProcess, run, withNodes } from "./program.ts";

/** Large enough to be cut into pieces, which are in a file of their own. */
const LARGE_BYTES = 300_000, LARGE_BYTE = 0xdd;

function assertDone({ code, stdout, stderr }: Ended): string {
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
  return stdout;
}

function assertRefused({ code, stderr }: Ended, message: RegExp): void {
  assert.equal(code, 1, stderr);
  assert.match(stderr, message);
  assert.match(stderr, /^dmnode: [^\n]+\n$/);
}

/** The directories for temporary files of `dmnode backup`. */
function scratches(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).filter((name) => name[0] === ".");
}

/** Starts a backup to a pipe that holds less than the backup and that nobody reads, and interrupts it. */
async function interruptBackup(directory: string, args: string[]): Promise<void> {
  const options = { cwd: directory, env: { TMPDIR: directory } };
  const piped = command(["backup", "-", ...args], options, "null").spawn();
  while (scratches(directory).length === 0) await new Promise((done) => setTimeout(done, 20));
  piped.kill("SIGINT");
  assert.equal((await piped.status).code, 130);
  await Promise.all([piped.stdout.cancel(), piped.stderr.cancel()]);
  assert.deepEqual(scratches(directory), []);
}

async function put(node: NodeProcess, body: BodyInit): Promise<string> {
  const headers = { "content-type": "application/octet-stream" };
  const response = await fetch(`${node.api}/network/store`, { method: "POST", headers, body });
  const answer = await response.json();
  assert.match(answer.hash ?? "", /^[0-9a-f]{40}$/, JSON.stringify(answer));
  return answer.hash;
}

async function published(node: NodeProcess): Promise<string[]> {
  const hashes: string[] = [];
  for (;;) {
    const url = `${node.api}/network/published?limit=1000&offset=${hashes.length}`;
    const { published, total } = await (await fetch(url)).json();
    hashes.push(...published.map(({ hash }: { hash: string }) => hash));
    if (hashes.length >= total) return hashes.sort();
  }
}

Deno.test(
  "a backup of a running node becomes the same node in another directory",
  withNodes(async (start, directory) => {
    const at = { cwd: directory };
    await Deno.writeTextFile(join(directory, "denied"), "203.0.113.7 # a comment\n");
    const settings =
      "ALLOW_NET=loopback\nAPI_TOKEN='a # token'\nDENY_LIST=denied\nLOG_LEVEL=debug\n";
    await Deno.writeTextFile(join(directory, "node.env"), settings.replace(" # ", "#"));
    const others = [await start("a"), await start("b")];
    const bootstrap = ["--bootstrap", others.map(({ udp }) => udp).join()];
    const node = await start("data", bootstrap);
    const hashes = [
      await put(node, "small"),
      await put(node, new Uint8Array(LARGE_BYTES).fill(LARGE_BYTE)),
    ];
    const stats = await (await fetch(`${node.api}/network/stats`)).json();

    const args = ["--data-dir", "data", "--env-file", "node.env"];
    assert.match(assertDone(await run(["backup", "b.tar", ...args], at)), /2 published values/);
    if (Deno.build.os !== "windows") {
      assert.equal(Deno.statSync(join(directory, "b.tar")).mode! & 0o777, 0o600);
    }
    assertRefused(await run(["backup", "b.tar", ...args], at), /b\.tar exists/);
    assertDone(await run(["backup", "b.tar", "--force", ...args], at));
    assert.deepEqual(scratches(directory), []);

    const damaged = await Deno.readFile(join(directory, "b.tar"));
    damaged[damaged.lastIndexOf(LARGE_BYTE)] ^= 1;
    const refusedDamage = run(["restore", "-", "--data-dir", "r"], { ...at, stdin: damaged });
    assertRefused(await refusedDamage, /restored: its large\.sqlite is damaged \(blob \d+\): use/);
    assertRefused(await run(["backup", "no/b.tar", ...args], at), /no does not exist: create it/);

    if (Deno.build.os !== "windows") await interruptBackup(directory, args);

    await node.stop();
    assertRefused(
      await run(["restore", "b.tar", "--data-dir", "data"], at),
      /identity\.pem exists/,
    );
    assert.match(
      assertDone(await run(["restore", "b.tar", "--data-dir", "moved"], at)),
      /dmnode --env-file moved\/settings\.env/,
    );
    const restored = await Deno.readTextFile(join(directory, "moved", "settings.env"));
    assert.match(restored, /^API_TOKEN='a#token'$/m);
    assert.match(restored, /^LOG_LEVEL=debug$/m);
    assert.match(restored, /^DENY_LIST=.*\/moved\/denied\.txt$/m);
    const again = await start("moved", bootstrap);
    const { node_id, public_key } = await (await fetch(`${again.api}/network/stats`)).json();
    assert.deepEqual({ node_id, public_key }, {
      node_id: stats.node_id,
      public_key: stats.public_key,
    });
    assert.deepEqual(await published(again), hashes.toSorted());
    for (const other of others) await other.stop();
    const { length } = await (await fetch(`${again.api}/data/${hashes[1]}`)).bytes();
    assert.equal(length, LARGE_BYTES);
  }),
);

Deno.test(
  "a backup during many stores has every value that was acknowledged before",
  withNodes(async (start, directory) => {
    const node = await start("data");
    const acknowledged: string[] = [];
    let isDone = false;
    const store = async (name: number) => {
      for (let i = 0; !isDone; i++) {
        acknowledged.push(await put(node, `${name} ${i} ${"x".repeat(800)}`));
      }
    };
    const stores = [1, 2, 3, 4].map(store);
    const kept: string[][] = [];
    for (const name of ["1", "2", "3"]) {
      kept.push([...acknowledged]);
      assertDone(await run(["backup", name, "--data-dir", "data"], { cwd: directory }));
    }
    isDone = true;
    await Promise.all(stores);
    await node.stop("SIGKILL");
    for (const [i, name] of ["1", "2", "3"].entries()) {
      assertDone(await run(["restore", name, "--data-dir", `r${name}`], { cwd: directory }));
      const restored = new Set(await published(await start(`r${name}`)));
      assert.deepEqual(kept[i].filter((hash) => !restored.has(hash)), []);
    }
    assert.ok(kept.at(-1)!.length > 0);
  }),
);

Deno.test(
  "a damaged backup leaves no files",
  withNodes(async (start, directory) => {
    const at = { cwd: directory };
    await (await start("data")).stop();
    assertDone(await run(["backup", "good", "--data-dir", "data"], at));
    const good = await Deno.readFile(join(directory, "good"));
    const other = good.slice();
    other[0] ^= 1;
    for (const bytes of [good.slice(0, good.length - 2_000), other, new Uint8Array(10)]) {
      await Deno.writeFile(join(directory, "bad"), bytes);
      assertRefused(await run(["restore", "bad", "--data-dir", "r"], at), /can't be restored/);
      assert.deepEqual([...Deno.readDirSync(join(directory, "r"))], []);
    }
    const piped = await run(["restore", "-", "--data-dir", "r"], { ...at, stdin: good });
    assertDone(piped);
    await start("r");
  }),
);
