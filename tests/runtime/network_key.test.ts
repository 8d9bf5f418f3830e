// Tests nodes with a network key: who can talk to whom.

import assert from "node:assert/strict";
import { NetworkKey } from "../../src/config/network_key.ts";
import { loadConfig } from "../../src/config.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import { stored, until } from "./nodes.ts";

async function start(bootstrap: string, ...keys: NetworkKey[]): Promise<LocalNode> {
  const flags = { p2pPort: "0", bootstrap };
  const env = { NETWORK_KEY: keys.map((key) => key.secretText()).join() };
  return await LocalNode.start(loadConfig({ flags, env }), { persistent: false });
}

/** Starts nodes that bootstrap from the first one, runs the test, and closes them. */
async function withNodes(
  keys: readonly (readonly NetworkKey[])[],
  test: (...nodes: LocalNode[]) => Promise<void>,
): Promise<void> {
  const nodes: LocalNode[] = [];
  try {
    for (const own of keys) nodes.push(await start(nodes[0]?.address ?? "", ...own));
    await test(...nodes);
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
  }
}

async function isReady(node: LocalNode): Promise<boolean> {
  return (await node.readiness()).ready;
}

Deno.test("nodes with one network key join each other, and store and fetch values", async () => {
  const key = NetworkKey.random();
  await withNodes([[key], [key], [key]], async (first, second, third) => {
    for (const node of [second, third]) await until(() => isReady(node));
    const value = new Uint8Array(100_000).map((_, i) => (i * i) >>> 3);
    const { hash, kind, replicas } = stored(await second.store(value, null, {}));
    assert.ok(replicas >= 2);
    const fetched = await third.fetch(hash, null);
    assert.deepEqual([kind, fetched.outcome], ["chunked", "large"]);
    assert.deepEqual((await first.stats()).network_key, { in_use: true, mismatch: null });
  });
});

Deno.test("a value of 1,000 bytes fits into one packet with a network key", async () => {
  const key = NetworkKey.random();
  await withNodes([[key], [key]], async (first, second) => {
    await until(() => isReady(second));
    const text = new TextEncoder().encode("x".repeat(994));
    const { kind } = stored(await second.store(text, null, {}));
    assert.equal(kind, "immutable");
    const { traffic } = await first.stats();
    assert.ok(traffic.in.by_type["put.query"].messages >= 1);
    const { kind: mutable } = stored(await second.store(text, "a key".repeat(10), {}));
    assert.equal(mutable, "mutable");
  });
});

Deno.test("a node without the network key and one with it don't answer each other, and say so", async () => {
  const key = NetworkKey.random();
  await withNodes([[key], []], async (sealed, plain) => {
    await until(async () => (await sealed.stats()).network_key.mismatch !== null);
    assert.equal(
      (await sealed.stats()).network_key.mismatch,
      `${plain.address} has no network key: start it with the NETWORK_KEY of this node`,
    );
    assert.equal((await sealed.stats()).routing_table_size, 0);
    await until(async () => /nodes with a network key/.test((await plain.readiness()).reason));
    assert.equal(await isReady(plain), false);
    assert.equal((await plain.stats()).traffic.in.messages, 0);
  });
});

Deno.test("a node with another network key is reported, and neither joins the other", async () => {
  await withNodes([[NetworkKey.random()], [NetworkKey.random()]], async (first, second) => {
    await until(async () => (await first.stats()).network_key.mismatch !== null);
    assert.match((await first.stats()).network_key.mismatch!, /has another network key/);
    assert.ok(((await first.stats()).traffic.dropped.undecipherable ?? 0) > 0);
    assert.equal(await isReady(second), false);
  });
});

Deno.test("three nodes change their key while they run, and can always reach each other", async () => {
  const old = NetworkKey.random(), fresh = NetworkKey.random();
  await withNodes([[old], [old], [old]], async (...nodes) => {
    for (const node of nodes.slice(1)) await until(() => isReady(node));
    for (const keys of [[old, fresh], [fresh, old], [fresh]]) {
      for (const changed of nodes) {
        changed.setNetworkKeys(keys);
        for (const node of nodes) {
          for (const { nodeId } of nodes.filter((other) => other !== node)) {
            assert.equal((await node.ping(nodeId)).outcome, "pong");
          }
        }
      }
    }
    await withNodes([[old]], async (left) => {
      assert.equal(
        (await left.pingAddress({ host: "127.0.0.1", port: nodes[0].port })).outcome,
        "timeout",
      );
    });
  });
});
