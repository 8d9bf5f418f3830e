// Real nodes on loopback for the tests of networks.

import assert from "node:assert/strict";
import { loadConfig } from "../../src/config.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";

/** Nodes on loopback, each joined through the first; `flags` are those of the command line. */
export async function startNetwork(
  count: number,
  flags: Readonly<Record<string, string>> = {},
): Promise<LocalNode[]> {
  const nodes: LocalNode[] = [];
  const start = async (bootstrap: string) => {
    const config = loadConfig({ flags: { p2pPort: "0", bootstrap, ...flags }, env: {} });
    const node = await LocalNode.start(config, { persistent: false });
    nodes.push(node);
  };
  await start("");
  const first = `127.0.0.1:${nodes[0].port}`;
  for (let i = 1; i < count; i++) {
    await start(first);
    await until(() => nodes[i].readiness().ready, `node ${i} joins`);
  }
  return nodes;
}

/** Waits until something holds; fails after a while that a loaded machine does not need. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!await holds()) {
    assert.ok(Date.now() < deadline, `waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
