// Tests the network key as users meet it: creating one, nodes that share it, and replacing it while they run.

import assert from "node:assert/strict";
import { join } from "node:path";
import { type NodeProcess, run, withNodes } from "./program.ts";

async function peers(node: NodeProcess): Promise<number> {
  const stats = await (await fetch(`${node.api}/network/stats`)).json();
  return stats.peers.healthy;
}

async function pings(node: NodeProcess, other: NodeProcess): Promise<boolean> {
  const id = (await (await fetch(`${other.api}/network/stats`)).json()).node_id;
  const response = await fetch(`${node.api}/network/ping/${id}`);
  await response.body?.cancel();
  return response.ok;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!await holds()) {
    assert.ok(Date.now() < deadline, "in vain");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

Deno.test("network new prints a key as one word, or writes it to a file of mode 0600", async () => {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-key-" });
  try {
    const printed = await run(["network", "new"]);
    assert.match(printed.stdout, /^dmkey[a-z2-7]{56}\n$/);
    assert.notEqual((await run(["network", "new"])).stdout, printed.stdout);
    const file = join(directory, "k");
    const written = await run(["network", "new", file]);
    assert.equal(written.code, 0, written.stderr);
    const key = await Deno.readTextFile(file);
    assert.match(key, /^dmkey[a-z2-7]{56}\n$/);
    assert.ok(!written.stdout.includes(key.trim()));
    if (Deno.build.os !== "windows") assert.equal((await Deno.stat(file)).mode! & 0o777, 0o600);
    const again = await run(["network", "new", file]);
    assert.equal(again.code, 1);
    assert.equal(await Deno.readTextFile(file), key, "an existing key is never overwritten");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("network rotate keeps the comments of the file", async () => {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-key-" });
  try {
    const file = join(directory, "k"), key = (await run(["network", "new"])).stdout;
    await Deno.writeTextFile(file, `# of the cellar\n\n${key}# ask Ada\n`, { mode: 0o600 });
    const texts: string[] = [];
    for (const step of ["add", "use", "finish"]) {
      const { code, stderr } = await run(["network", "rotate", step, file]);
      assert.equal(code, 0, stderr);
      texts.push(await Deno.readTextFile(file));
    }
    const fresh = texts[0].split("\n")[3], comments = "# of the cellar\n# ask Ada\n";
    assert.match(fresh, /^dmkey/);
    assert.deepEqual(texts, [
      `${comments}${key}${fresh}\n`,
      `${comments}${fresh}\n${key}`,
      `${comments}${fresh}\n`,
    ]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a typo in the key ends the start with status 2, and the error does not contain the key", async () => {
  const key = (await run(["network", "new"])).stdout.trim();
  const typo = key.slice(0, -1) + (key.endsWith("a") ? "b" : "a");
  const { code, stderr } = await run(["start"], { env: { NETWORK_KEY: typo } });
  assert.equal(code, 2);
  assert.match(stderr, /^dmnode: NETWORK_KEY: .* checksum is wrong\n$/);
  assert.ok(!stderr.includes(typo.slice(5, 25)));
});

Deno.test({
  name: "three nodes replace their key in three steps, always reach each other, and never show it",
  ignore: Deno.build.os === "windows",
  fn: withNodes(async (start, directory) => {
    const files = ["1", "2", "3"].map((name) => join(directory, `${name}.key`));
    const [master] = files;
    const secrets = new Set<string>();
    const copy = async () => {
      const text = await Deno.readTextFile(master);
      for (const key of text.trim().split("\n")) secrets.add(key);
      for (const file of files.slice(1)) await Deno.writeTextFile(file, text, { mode: 0o600 });
    };
    assert.equal((await run(["network", "new", master])).code, 0);
    await copy();
    const nodes: NodeProcess[] = [];
    for (const file of files) {
      const bootstrap = nodes.length === 0 ? [] : ["--bootstrap", nodes[0].udp];
      const level = ["--log-level", "trace"];
      nodes.push(await start(file, ["--network-key-file", file, ...bootstrap, ...level]));
    }
    for (const node of nodes) await until(async () => await peers(node) === 2);
    const outputs: string[] = [];
    for (const step of ["add", "use", "finish"]) {
      const { code, stdout, stderr } = await run(["network", "rotate", step, master]);
      assert.equal(code, 0, stderr);
      outputs.push(stdout);
      await copy();
      for (const [i, node] of nodes.entries()) {
        const before = node.lines.filter(({ now }) => now === "NETWORK_KEY").length;
        node.signal("SIGHUP");
        await until(() =>
          Promise.resolve(node.lines.filter(({ now }) => now === "NETWORK_KEY").length > before)
        );
        for (const other of nodes.filter((_, j) => j !== i)) {
          assert.ok(await pings(node, other) && await pings(other, node), `${step}, node ${i + 1}`);
        }
      }
    }
    assert.equal(secrets.size, 2);
    const current = (await Deno.readTextFile(master)).trim();
    assert.ok(secrets.has(current));
    const late = await run(["network", "rotate", "finish", master]);
    assert.match(late.stderr, /has only one key: begin with dmnode network rotate add/);
    for (const node of nodes) {
      outputs.push(
        JSON.stringify(node.lines),
        await Deno.readTextFile(`/proc/${node.pid}/cmdline`).catch(() => ""),
      );
      for (const path of ["/network/stats", "/network/peers", "/metrics", "/openapi.json"]) {
        outputs.push(await (await fetch(`${node.api}${path}`)).text());
      }
    }
    for (const secret of secrets) assert.ok(!outputs.join().includes(secret.slice(5, 25)));
  }),
});
