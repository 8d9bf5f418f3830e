// A node on an emulated 64-bit ARM (tests/arm64/run.sh) works together with a node on this machine's own processor.

import assert from "node:assert/strict";
import { join } from "node:path";
import { NodeProcess, run } from "../program/program.ts";

/** An emulated node needs seconds to start. */
const WITHIN_MS = 120_000;

const emulated = Deno.env.get("DMNODE_ARM64");

async function startOn(
  processor: "arm64" | "native",
  dataDir: string,
  args: string[] = [],
): Promise<NodeProcess> {
  // program.ts reads the path of the executable from this variable.
  if (processor === "native") Deno.env.delete("DMNODE");
  else Deno.env.set("DMNODE", emulated!);
  const node = new NodeProcess(
    ["--p2p-port", "0", "--api-port", "0", "--data-dir", dataDir, ...args],
  );
  await node.line((line) => line.message.startsWith("Listening"), WITHIN_MS);
  return node;
}

async function untilReady({ api }: NodeProcess): Promise<void> {
  for (const deadline = Date.now() + WITHIN_MS;;) {
    const response = await fetch(`${api}/readyz`);
    await response.body?.cancel();
    if (response.ok) return;
    assert.ok(Date.now() < deadline, "the node did not become ready");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function store({ api }: NodeProcess, value: string, query = "") {
  const response = await fetch(`${api}/network/store${query}`, {
    method: "POST",
    body: value,
    headers: { "content-type": "text/plain" },
  });
  assert.equal(response.status, 201, await response.clone().text());
  return await response.json();
}

async function text(url: string): Promise<string> {
  return await (await fetch(url)).text();
}

if (emulated) {
  Deno.test("the emulated program is for ARM", async () => {
    Deno.env.set("DMNODE", emulated);
    assert.match((await run(["--version"])).stdout, /aarch64-unknown-linux-gnu/);
  });

  Deno.test("a node on ARM starts, joins, stores, fetches, and restarts after kill -9", async () => {
    const directory = await Deno.makeTempDir({ prefix: "dmnode-arm64-" });
    const nodes: NodeProcess[] = [];
    try {
      const native = await startOn("native", join(directory, "1"));
      nodes.push(native);
      const begun = performance.now();
      const arm = await startOn("arm64", join(directory, "2"), ["--bootstrap", native.udp]);
      console.log(`ready after ${((performance.now() - begun) / 1000).toFixed(1)} s`);
      nodes.push(arm);
      await untilReady(arm);

      const there = await store(arm, "from ARM");
      assert.equal(there.replicas, 2);
      assert.equal(await text(`${native.api}/data/${there.hash}`), "from ARM");
      // Each value is signed on one processor and verified on the other.
      const keyed = await store(native, "signed", "?key=k");
      assert.equal(await text(`${arm.api}/data/${keyed.hash}`), "signed");
      const signed = await store(arm, "signed on ARM", "?key=k");
      assert.equal(await text(`${native.api}/data/${signed.hash}`), "signed on ARM");

      await arm.stop("SIGKILL");
      const again = await startOn("arm64", join(directory, "2"));
      nodes.push(again);
      await native.stop("SIGKILL");
      assert.equal(await text(`${again.api}/data/${there.hash}`), "from ARM");
      assert.equal((await again.stop("SIGTERM")).code, 0);
    } finally {
      await Promise.all(nodes.map((node) => node.stop("SIGKILL")));
      await Deno.remove(directory, { recursive: true });
    }
  });
}
