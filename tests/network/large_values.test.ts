// Large values on real nodes over UDP: one node stores a thousand items, and another fetches them while holders die.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Identity } from "../../src/runtime/identity/crypto.ts";
import type { Progress } from "../../src/large_values/large_values.ts";
import type { StoreOutcome } from "../../src/node_service.ts";
import { collected, inPieces, sampleBytes } from "../large_values/memory_network.ts";
import { latin1 } from "../packets.ts";
import { bytesOf, lookupsEnd, startNetwork } from "./nodes.ts";

/** Few replicas, so that most nodes lack most items. */
const NODES = 10, K = 4;

function stored(outcome: StoreOutcome) {
  assert.equal(outcome.outcome, "stored", JSON.stringify(outcome));
  return outcome.outcome === "stored" ? outcome.report : assert.fail();
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

Deno.test("a node fetches 1 MiB byte for byte although a holder is killed meanwhile", async () => {
  const nodes = await startNetwork(NODES, { k: `${K}` });
  try {
    await lookupsEnd(nodes);
    const [from, to] = [nodes[3], nodes[7]];
    const bytes = sampleBytes(1 << 20);
    const steps: Progress[] = [];
    const stop = from.onEvent((event) => {
      if (event.type === "data.progress") steps.push(event.data);
    });
    const report = stored(await from.store(inPieces(bytes), null, { totalBytes: bytes.length }));
    stop();
    assert.deepEqual([report.kind, report.size, report.seq], ["chunked", 1 << 20, null]);
    assert.ok(report.replicas >= K / 2, `${report.replicas} replicas`);
    assert.ok(steps.length > 1 && steps.at(-1)?.done_bytes === 1 << 20);

    const found = await to.fetch(report.hash, null);
    assert.equal(found.outcome, "large");
    if (found.outcome !== "large") return;
    const { size, hint } = found.value;
    assert.deepEqual([size, hint], [1 << 20, "binary"]);
    const part = await collected(bytesOf(to, found.value, 700_000, 700_500));
    assert.deepEqual(part, bytes.slice(700_000, 700_500));

    const holder = nodes.find((node) =>
      report.nodes.includes(node.nodeId) && node !== from && node !== to
    )!;
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for await (const part of bytesOf(to, found.value)) {
      if (parts.push(part.slice()) === 100) await holder.close();
    }
    const back = new Uint8Array(await new Blob(parts).arrayBuffer());
    assert.equal(sha256(back), sha256(bytes));
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
  }
});

Deno.test("a new large value replaces the one under its key, and both can be fetched by their roots", async () => {
  const nodes = await startNetwork(3);
  try {
    const [one, two] = [sampleBytes(50_000), sampleBytes(2000)];
    const first = stored(await nodes[1].store(one, "key"));
    assert.deepEqual([first.kind, first.key, first.seq], ["chunked", "key", 1]);
    const fetched = async (hash: string) => {
      const outcome = await nodes[2].fetch(hash, null);
      if (outcome.outcome !== "large") return assert.fail(outcome.outcome);
      const { value } = outcome;
      return { ...value, bytes: await collected(bytesOf(nodes[2], value)) };
    };
    const before = await fetched(first.hash);
    assert.deepEqual([before.seq, before.bytes], [1, one]);
    assert.equal(before.publicKey?.length, 32);
    const second = stored(await nodes[1].store(inPieces(two), "key"));
    assert.deepEqual([second.hash, second.seq], [first.hash, 2]);
    assert.deepEqual((await fetched(first.hash)).bytes, two);
    const root = await fetched(before.root);
    assert.deepEqual([root.bytes, root.seq, root.hash], [one, null, before.root]);
    const small = stored(await nodes[1].store(new Uint8Array([1]), "key"));
    assert.deepEqual([small.kind, small.hash, small.seq], ["mutable", first.hash, 3]);
    const again = await nodes[2].fetch(first.hash, null);
    assert.equal(again.outcome, "found");
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
  }
});

Deno.test("a stopped node ends its transfers, and a reader refuses an invalid reference", async () => {
  const nodes = await startNetwork(3);
  try {
    const bytes = sampleBytes(100_000);
    const { hash } = stored(await nodes[0].store(bytes, null));
    const outcome = await nodes[1].fetch(hash, null);
    if (outcome.outcome !== "large") return assert.fail(outcome.outcome);
    const pieces = bytesOf(nodes[1], outcome.value);
    await pieces.next();
    await nodes[1].close();
    await assert.rejects(collected(pieces), /the node stops/);

    const identity = new Identity(crypto.getRandomValues(new Uint8Array(32)));
    const { publicKey } = identity;
    const value = latin1("d1:a1:b2:dmi1ee");
    const signature = identity.sign(latin1("3:seqi1e1:vd1:a1:b2:dmi1ee"));
    const target = createHash("sha1").update(publicKey).digest("hex");
    const item = { publicKey, signature, seq: 1, salt: null, value, cas: null };
    assert.equal((await nodes[0].storeSigned(target, item)).outcome, "stored");
    assert.equal((await nodes[2].fetch(target, null)).outcome, "invalid");
  } finally {
    await Promise.all(nodes.map((node) => node.close()));
  }
});
