// A network of real nodes over UDP on loopback: every node finds all values, and lookups are exact.

import assert from "node:assert/strict";
import { compareDistance, Id } from "../../src/krpc/id.ts";
import { lookupsEnd, startNetwork } from "./nodes.ts";

const NODES = 100, VALUES = 200, K = 20;

Deno.test("in a network of 100 nodes, any node reads the 200 values of others, and lookups are exact", async () => {
  const nodes = await startNetwork(NODES);
  try {
    await lookupsEnd(nodes);
    const pick = () => nodes[Math.floor(Math.random() * nodes.length)];
    const texts = Array.from({ length: VALUES }, (_, i) => `value ${i} ${crypto.randomUUID()}`);
    const hashes: string[] = [];
    for (const text of texts) {
      const outcome = await pick().store(new TextEncoder().encode(text), null);
      assert.equal(outcome.outcome, "stored");
      if (outcome.outcome !== "stored") continue;
      assert.equal(outcome.report.replicas, K);
      hashes.push(outcome.report.hash);
    }
    for (const [i, hash] of hashes.entries()) {
      const found = await pick().fetch(hash, null);
      assert.equal(found.outcome, "found");
      if (found.outcome === "found") {
        assert.equal(new TextDecoder().decode(found.value.bytes), texts[i]);
      }
    }

    const ids = nodes.map((node) => Id.parse(node.nodeId)!);
    let exact = 0;
    for (const [i, node] of nodes.entries()) {
      const target = Id.read(crypto.getRandomValues(new Uint8Array(20)));
      const truth = ids.filter((_, j) => j !== i)
        .sort((x, y) => compareDistance(x, y, target)).slice(0, K).map(String);
      const { nodes: found } = await node.find(target.toString());
      if (found.map((f) => f.node_id).join() === truth.join()) exact++;
    }
    assert.ok(exact >= 99, `${exact} of 100 lookups returned the true ${K} closest`);
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
  }
});
