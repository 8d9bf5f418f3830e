// Tests the executable that DMNODE names, on any system: its version, three nodes that store and fetch, kill -9 and a
// restart. Also prints the start-up time.

import assert from "node:assert/strict";
import { join } from "node:path";
import manifest from "../../deno.json" with { type: "json" };
import { NodeProcess, run, type RunOptions } from "../program/program.ts";

// Windows needs this variable for sockets.
const systemRoot = Deno.env.get("SYSTEMROOT");
const env: Record<string, string> = systemRoot === undefined ? {} : { SYSTEMROOT: systemRoot };

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-smoke-" });
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function untilReady({ api }: NodeProcess): Promise<void> {
  for (const deadline = Date.now() + 20_000;;) {
    const response = await fetch(`${api}/readyz`);
    await response.body?.cancel();
    if (response.ok) return;
    assert.ok(Date.now() < deadline, "the node did not become ready");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function fetched(url: string): Promise<string> {
  const response = await fetch(url);
  const text = await response.text();
  assert.equal(response.status, 200, `${url}: ${text}`);
  return text;
}

if (Deno.env.get("DMNODE")) {
  Deno.test("--version prints version, commit, Deno and target", async () => {
    const { code, stdout } = await run(["--version"], { env });
    assert.equal(code, 0);
    const [, version, commit, target] =
      /^dmnode (\S+) \((\S+), Deno \d+\.\d+\.\d+, ([\w-]+)\)\s*$/.exec(stdout) ?? [];
    assert.equal(version, manifest.version);
    assert.notEqual(commit, "dev");
    assert.equal(target, Deno.build.target);
  });

  Deno.test("three nodes store and fetch, and a killed node restarts with all its data", () =>
    inDirectory(async (directory) => {
      const options: RunOptions = { env, cwd: directory };
      const nodes: NodeProcess[] = [];
      const start = async (name: string, args: string[] = []) => {
        const node = await NodeProcess.start(join(directory, name), args, options);
        nodes.push(node);
        return node;
      };
      try {
        const first = await start("1");
        const second = await start("2", ["--bootstrap", first.udp]);
        const third = await start("3", ["--bootstrap", first.udp]);
        await Promise.all([second, third].map(untilReady));

        const put = await run(["put", "--key", "greeting", "--api", second.api, "--json"], {
          ...options,
          stdin: new TextEncoder().encode("Hello, network"),
        });
        assert.equal(put.code, 0, put.stderr);
        const { hash, replicas } = JSON.parse(put.stdout);
        assert.equal(replicas, 3);
        assert.equal(await fetched(`${third.api}/data/${hash}`), "Hello, network");
        assert.match(await fetched(`${first.api}/openapi.json`), /"3\.1/);
        assert.match(await fetched(`${first.api}/`), /^<!doctype html>.*DataMgmt Node/si);

        const { node_id } = JSON.parse(await fetched(`${second.api}/network/stats`));
        await second.stop("SIGKILL");
        const again = await start("2");
        assert.equal(JSON.parse(await fetched(`${again.api}/network/stats`)).node_id, node_id);
        await Promise.all([first, third].map((node) => node.stop("SIGKILL")));
        assert.equal(await fetched(`${again.api}/data/${hash}`), "Hello, network");
      } finally {
        await Promise.all(nodes.map((node) => node.stop("SIGKILL")));
      }
    }));

  Deno.test("the node becomes ready in every run, and the test prints the time", () =>
    inDirectory(async (directory) => {
      const times: number[] = [];
      for (let i = 0; i < 5; i++) {
        const begun = performance.now();
        const node = await NodeProcess.start(join(directory, "node"), [], { env, cwd: directory });
        times.push(performance.now() - begun);
        await node.stop("SIGKILL");
      }
      console.log(`ready after ${times.map((ms) => ms.toFixed(0)).join(", ")} ms`);
    }));
}
