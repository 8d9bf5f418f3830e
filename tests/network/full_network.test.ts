// Full stores: what is acknowledged is kept, and what does not fit is refused.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { StoreOutcome } from "../../src/node_service.ts";
import type { LocalNode } from "../../src/runtime/local_node.ts";
import { randomSource } from "../dht/virtual_network.ts";
import { bytesOf, startNetwork } from "./nodes.ts";

/** Values of the same size that have no items in common. */
function value(size: number, n: number): Uint8Array {
  return randomSource(n)(size);
}

/** Whether a node can return a value. */
async function has(node: LocalNode, hash: string, bytes: Uint8Array): Promise<boolean> {
  const fetched = await node.fetch(hash, null);
  if (fetched.outcome !== "large") return false;
  const pieces: Uint8Array[] = [];
  for await (const piece of bytesOf(node, fetched.value)) pieces.push(piece);
  return Buffer.concat(pieces).equals(bytes);
}

Deno.test("in a full network of three nodes, all that was stored can be read, and the rest is refused", async () => {
  const nodes = await startNetwork(3, {}, { STORAGE_LIMIT: "1000000" });
  try {
    const stored: { hash: string; bytes: Uint8Array }[] = [], refused: StoreOutcome[] = [];
    for (let n = 0; n < 20; n++) {
      const bytes = value(100_000, n);
      const outcome = await nodes[n % 3].store(bytes, null);
      if (outcome.outcome === "stored") stored.push({ hash: outcome.report.hash, bytes });
      else refused.push(outcome);
    }
    assert.ok(stored.length >= 3, `${stored.length} values were stored`);
    assert.deepEqual(new Set(refused.map(({ outcome }) => outcome)), new Set(["no_room"]));
    for (const node of nodes) {
      for (const { hash, bytes } of stored) assert.ok(await has(node, hash, bytes), hash);
    }
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
  }
});

Deno.test("a node that is alone stores its own value, even beyond its limit for values of others", async () => {
  const [node] = await startNetwork(1, {}, { STORAGE_LIMIT: "600000" });
  try {
    const bytes = value(300_000, 0);
    const outcome = await node.store(bytes, null);
    assert.equal(outcome.outcome, "stored");
    const { hash } = (outcome as Extract<StoreOutcome, { outcome: "stored" }>).report;
    assert.ok(await has(node, hash, bytes));
  } finally {
    await node.close();
  }
});

Deno.test("a small value that all other nodes refuse for lack of space is not stored", async () => {
  const nodes = await startNetwork(2, {}, { STORAGE_LIMIT: "0" });
  try {
    const outcome = await nodes[0].store(new TextEncoder().encode("small"), null);
    const refusals = [{ code: 202, text: "storage is full", nodes: 1 }];
    const few = { outcome: "too_few", acknowledged: 0, wanted: 1, refusals } as const;
    assert.deepEqual(outcome, { ...few, isFull: true, isPublished: false });
    assert.equal((await nodes[0].published(0, 10)).total, 0, "nothing of it is kept");
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
  }
});
