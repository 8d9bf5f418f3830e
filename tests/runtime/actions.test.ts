// The operator's actions on real nodes: connect, deny and allow, publish now, and the list of held values.

import assert from "node:assert/strict";
import { stored, until, withNodes } from "./nodes.ts";

const at = (port: number) => ({ host: "127.0.0.1", port });
const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test(
  "connect joins through the node that answers, and tells why it does not",
  withNodes(async (start) => {
    const [a, b, c] = [await start(), await start(), await start()];
    assert.equal((await b.connect(at(c.port))).outcome, "pong");
    assert.equal((await a.connect(at(b.port))).outcome, "pong");
    await until(async () => (await a.peers()).peers.some(({ node_id }) => node_id === c.nodeId));
    assert.deepEqual(await a.connect({ host: "192.0.2.1", port: 8000 }), {
      outcome: "not_allowed",
      address: "192.0.2.1:8000",
    });
    assert.equal((await a.connect(at(9))).outcome, "timeout");
    assert.equal((await a.connect(at(a.port))).outcome, "pong");
    assert.ok((await a.peers()).peers.every(({ node_id }) => node_id !== a.nodeId));
  }),
);

Deno.test(
  "a denied node leaves, stays away after a restart, and returns once it is allowed",
  withNodes(async (start, path) => {
    const b = await start();
    const a = await start({ dataDir: path("a") });
    await a.connect(at(b.port));
    const knowsB = async () => (await a.peers()).peers.some(({ node_id }) => node_id === b.nodeId);
    await until(knowsB);
    assert.deepEqual(await a.denyEntry(b.nodeId), { outcome: "denied", isNew: true });
    assert.deepEqual(await a.denyEntry(b.nodeId.toUpperCase()), {
      outcome: "denied",
      isNew: false,
    });
    await until(async () => !await knowsB());
    assert.equal((await a.connect(at(b.port))).outcome, "timeout");
    assert.deepEqual(await a.denyEntry(a.nodeId), { outcome: "self" });
    await a.denyEntry("203.0.113.0/24");
    await a.close();

    const again = await start({ dataDir: path("a") });
    again.deny(["198.51.100.1"]);
    assert.deepEqual(await again.denied(), { in_file: 1, denied: [b.nodeId, "203.0.113.0/24"] });
    assert.equal((await again.connect(at(b.port))).outcome, "timeout");
    assert.equal(await again.allowEntry(b.nodeId), "allowed");
    assert.equal(await again.allowEntry(b.nodeId), "unknown");
    assert.equal((await again.connect(at(b.port))).outcome, "pong");
  }),
);

Deno.test(
  "at most 1,000 entries can be denied while a node runs",
  withNodes(async (start) => {
    const node = await start();
    const entries = Array.from({ length: 1_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
    await Promise.all(entries.map((entry) => node.denyEntry(entry)));
    assert.deepEqual(await node.denyEntry("192.0.2.1"), { outcome: "full", limit: 1_000 });
  }),
);

Deno.test(
  "publishNow publishes a value at once, without waiting for its turn",
  withNodes(async (start) => {
    const node = await start();
    const { hash } = stored(await node.store(bytes("published now"), null));
    const listed = async () => (await node.published(0, 1)).published[0];
    assert.equal((await listed()).this_node_only, true);
    const other = await start();
    await node.connect(at(other.port));
    await until(async () => (await node.peers()).peers.length === 1);
    const before = Date.now();
    assert.equal((await node.publishNow(hash))?.hash, hash);
    await until(async () => Date.parse((await listed()).last_at ?? "0") >= before - 1_000);
    await until(async () => !(await listed()).this_node_only);
    assert.equal((await other.fetch(hash, null)).outcome, "found");
    assert.equal(await node.publishNow("ee".repeat(20)), undefined);
  }),
);

Deno.test(
  "held lists the values that a node holds for others, also after a restart",
  withNodes(async (start, path) => {
    const owner = await start();
    let holder = await start({ dataDir: path("holder") });
    await owner.connect(at(holder.port));
    await until(async () => (await owner.peers()).peers.length === 1);
    const { hash } = stored(await owner.store(bytes("held"), null));
    await until(async () => (await holder.held(10)).total === 1);
    const sizes = async () => (await holder.held(10)).items.map(({ hash, size }) => [hash, size]);
    assert.deepEqual(await sizes(), [[hash, "4:held".length]]);
    await holder.close();
    holder = await start({ dataDir: path("holder") });
    assert.deepEqual(await sizes(), [[hash, "4:held".length]]);
  }),
);
