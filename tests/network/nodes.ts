// Starts real nodes on loopback for the tests of networks.

import assert from "node:assert/strict";
import { loadConfig } from "../../src/config.ts";
import type { LargeValue } from "../../src/node_service.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";

/** Starts nodes on loopback. Each joins through the first one. `flags` and `env` are its settings. */
export async function startNetwork(
  count: number,
  flags: Readonly<Record<string, string>> = {},
  env: Readonly<Record<string, string>> = {},
): Promise<LocalNode[]> {
  const nodes: LocalNode[] = [];
  const start = async (bootstrap: string) => {
    const config = loadConfig({ flags: { p2pPort: "0", bootstrap, ...flags }, env });
    const node = await LocalNode.start(config, { persistent: false });
    nodes.push(node);
  };
  await start("");
  const first = `127.0.0.1:${nodes[0].port}`;
  for (let i = 1; i < count; i++) {
    await start(first);
    await until(async () => (await nodes[i].readiness()).ready, `node ${i} joins`);
  }
  return nodes;
}

/** Waits until no node runs a lookup. */
export async function lookupsEnd(nodes: readonly LocalNode[]): Promise<void> {
  await until(async () => {
    const stats = await Promise.all(nodes.map((node) => node.stats()));
    return stats.every(({ lookups }) => lookups.active === 0);
  }, "joining ends");
}

/** The bytes of a large value, which the node downloads while the test reads. */
export async function* bytesOf(
  node: LocalNode,
  value: LargeValue,
  start = 0,
  end = value.size,
): AsyncGenerator<Uint8Array> {
  const download = await node.openDownload(value, start, end);
  for (;;) {
    const piece = await node.readDownload(download);
    if (piece.outcome === "failed") throw new Error(piece.detail);
    if (piece.outcome === "end") return;
    yield piece.bytes;
  }
}

/** Polls until a condition holds. The time limit is generous even for a loaded machine. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!await holds()) {
    assert.ok(Date.now() < deadline, `waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
