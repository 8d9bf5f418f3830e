// The commands for pins, and what put says about a value's life, through real nodes.

import assert from "node:assert/strict";
import { type NodeProcess, run, withNodes } from "./program.ts";

const HOUR_MS = 3_600_000;

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!await holds()) {
    assert.ok(Date.now() < deadline, `in vain: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Runs a command through a node. */
const dmnode = ({ api }: NodeProcess, directory: string) => (args: string[], stdin = "") =>
  run([...args, "--api", api], { cwd: directory, stdin: new TextEncoder().encode(stdin) });

Deno.test(
  "put says until when a value lives, and that it is stored on this node only",
  withNodes(async (start, directory) => {
    const node = await start("1"), put = dmnode(node, directory);
    const alone = await put(["put"], "alone");
    assert.equal(alone.code, 0);
    assert.match(alone.stdout, /^[0-9a-f]{40}\n$/);
    assert.match(alone.stderr, /^dmnode: stored on this node only: [^\n]+\n$/);
    await start("2", ["--bootstrap", node.udp]);
    const from = Date.now();
    const life = async (...args: string[]) => {
      const { code, stderr } = await put(["put", ...args], "kept");
      assert.equal(code, 0, stderr);
      const [, at] = /^lives until (\S+) if this node leaves\n$/.exec(stderr) ?? [];
      return Math.round((Date.parse(at) - from) / HOUR_MS);
    };
    assert.deepEqual(
      [await life(), await life("--ttl", "7d"), await life("--ttl", "100m", "--key", "k")],
      [24, 168, 2],
    );
    const { stdout, stderr } = await put(["put", "--json", "--ttl", "2d"], "kept");
    const { lives_until, this_node_only } = JSON.parse(stdout);
    assert.deepEqual([Math.round((Date.parse(lives_until) - from) / HOUR_MS), stderr], [48, ""]);
    assert.equal(this_node_only, false);
    const table = (await put(["published"])).stdout.split("\n");
    assert.match(table[0], /^HASH .* STATE +LIVES UNTIL$/);
    assert.ok(table.some((line) => /safe +\d{4}-\d\d-\d\dT[\d:]+Z$/.test(line)), table.join("\n"));
  }),
);

Deno.test(
  "a value under a key of another node is pinned, served after its owner left, and unpinned",
  withNodes(async (start, directory) => {
    const owner = await start("owner");
    const pinner = await start("pinner", ["--bootstrap", owner.udp]);
    const ofOwner = dmnode(owner, directory), ofPinner = dmnode(pinner, directory);
    const hash = (await ofOwner(["put", "--key", "a b"], "pinned value")).stdout.trim();
    const { public_key } = JSON.parse((await ofOwner(["stats", "--json"])).stdout);
    const byKey = ["--key", "a b", "--public-key", public_key];
    const pinned = await ofPinner(["pin", ...byKey, "--ttl", "2d"]);
    assert.deepEqual([pinned.code, pinned.stdout], [0, `${hash}\n`]);
    assert.match(pinned.stderr, /^lives until /);
    const again = JSON.parse((await ofPinner(["pin", hash, "--json"])).stdout);
    assert.deepEqual([again.hash, again.pinned, again.ttl], [hash, true, 172_800]);
    await owner.stop("SIGKILL");

    const list = JSON.parse((await ofPinner(["pins", "--json"])).stdout);
    assert.deepEqual([list.total, list.pins[0].hash], [1, hash]);
    const stranger = await start("stranger", ["--bootstrap", pinner.udp]);
    await until(async () => {
      const { stdout } = await dmnode(stranger, directory)(["get", hash]);
      return stdout === "pinned value";
    });
    assert.match((await ofPinner(["pins"])).stdout, new RegExp(`\n${hash} .*\n1 of 1 value\n$`));

    const unpinned = await ofPinner(["unpin", ...byKey]);
    assert.deepEqual([unpinned.code, unpinned.stdout, unpinned.stderr], [0, "", ""]);
    const twice = await ofPinner(["unpin", hash]);
    assert.equal(twice.code, 1);
    assert.match(twice.stderr, /^dmnode: this node does not pin .*HTTP 404/);
    const unknown = await ofPinner(["pin", "12".repeat(20)]);
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /^dmnode: no value .* was found[^\n]*HTTP 404[^\n]*\n$/);
    const wrongKey = await ofPinner(["pin", "--key", "no such"]);
    assert.equal(wrongKey.code, 1);
    assert.match(wrongKey.stderr, /^dmnode: the key "no such" of this node/);
  }),
);

Deno.test(
  "a value that no other node acknowledges is an event, and a line in the log and in doctor",
  withNodes(async (start, directory) => {
    const node = await start("1"), other = await start("2", ["--bootstrap", node.udp]);
    const ofNode = dmnode(node, directory);
    await other.stop("SIGKILL");
    const abort = new AbortController();
    const events = await fetch(`${node.api}/events?types=data.health`, { signal: abort.signal });
    const reader = events.body!.pipeThrough(new TextDecoderStream()).getReader();
    const hash = (await ofNode(["put"], "nobody takes it")).stdout.trim();
    let text = "";
    while (!text.includes("data.health")) text += (await reader.read()).value;
    assert.match(text, new RegExp(`"hash":"${hash}".*"from":"safe","to":"failing"`));
    abort.abort();
    await node.line(({ message }) => message.startsWith("No other node acknowledged"));
    const { stdout } = await ofNode(["doctor", "--json"]);
    const found = JSON.parse(stdout).findings ?? JSON.parse(stdout);
    assert.match(JSON.stringify(found), /"published values"[^}]*1 value, 1 on this node only/);
    const metrics = await (await fetch(`${node.api}/metrics`)).text();
    assert.match(metrics, /^dmnode_published_failing_items 1$/m);
  }),
);
