// /ws on a node of a small real network: each type of event comes from what really happens there.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { EVENT_TYPES } from "../../src/api/event_feed.ts";
import { Event } from "../../src/api/schemas.ts";
import { serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import type { StoreOutcome } from "../../src/runtime/service.ts";
import { inPieces, sampleBytes } from "../data/memory_network.ts";
import { startNetwork } from "../network/nodes.ts";
import { latin1 } from "../packets.ts";
import { Client, type Message } from "./event_clients.ts";

/** What takes hours, or an address on the Internet: tests/runtime/events.test.ts has it on a clock of its own. */
const ELSEWHERE = ["data.replicate", "data.expire", "id"];

/** Peers are asked for a sign of life each second: one that is gone leaves soon. */
const FLAGS = { healthCheckInterval: "1" };

function stored(outcome: StoreOutcome) {
  assert.equal(outcome.outcome, "stored", JSON.stringify(outcome));
  return outcome.outcome === "stored" ? outcome.report : assert.fail();
}

Deno.test("a small real network: every type of event is heard, in the shape that is documented", async () => {
  const others = await startNetwork(3, FLAGS);
  const config = loadConfig({
    flags: { p2pPort: "0", bootstrap: `127.0.0.1:${others[0].port}`, ...FLAGS },
    env: {},
  });
  const node = await LocalNode.start(config, { persistent: false });
  const server = await serveApi(createApi({ service: node, config }), {
    hostname: "127.0.0.1",
    port: 0,
  });
  const kept = stored(await others[1].store(latin1("watched"), "watched"));
  const client = new Client(
    // From before the first event on.
    `${server.url}/ws?types=*,lookup.step&since=0&watch=${kept.hash}&key=watched`,
  );
  const messages: Message[] = [];
  /** Waits for a message, where it is not there yet. */
  const heard = async (type: string, fits: (data: Message["data"]) => boolean = () => true) => {
    for (let i = 0;; i++) {
      if (i === messages.length) messages.push(await client.message());
      if (messages[i].type === type && fits(messages[i].data)) return messages[i].data;
    }
  };
  try {
    const hello = await heard("hello");
    assert.deepEqual([hello.node_id, hello.missed], [node.nodeId, null]);
    assert.equal((await heard("bootstrap")).state, "joined");
    assert.equal((await heard("ready")).ready, true);
    await heard("nat", ({ external_address }) => external_address === node.address);
    for (const { nodeId, port } of others) {
      const peer = await heard("peer.join", ({ node_id }) => node_id === nodeId);
      assert.equal(peer.address, `127.0.0.1:${port}`);
    }
    assert.equal((await heard("watch")).hash, kept.hash);

    const held = stored(await others[0].store(latin1("for the network"), null));
    const store = await heard("data.store", ({ hash }) => hash === held.hash);
    assert.deepEqual(store, {
      hash: held.hash,
      kind: "immutable",
      seq: null,
      size: 15,
      from: `127.0.0.1:${others[0].port}`,
    });
    const own = stored(await node.store(latin1("from here"), "mine"));
    const publish = await heard("data.publish", ({ hash }) => hash === own.hash);
    const { kind, key, seq, size, replicas } = own;
    assert.deepEqual(publish, { hash: own.hash, kind, key, seq, size, replicas });
    assert.deepEqual([publish.kind, publish.key, publish.seq, publish.size], [
      "mutable",
      "mine",
      1,
      9,
    ]);
    await node.fetch(held.hash, null);
    const fetched = await heard("data.fetch", ({ hash }) => hash === held.hash);
    assert.deepEqual([fetched.found, fetched.kind, fetched.size], [true, "immutable", 15]);
    await node.fetch("ab".repeat(20), null);
    const missing = await heard("data.fetch", ({ found }) => !found);
    assert.deepEqual([missing.hash, missing.kind, missing.size], ["ab".repeat(20), null, null]);

    const bytes = sampleBytes(100_000);
    const large = stored(await node.store(inPieces(bytes), null, { label: "big" }));
    const progress = await heard("data.progress", ({ state }) => state === "done");
    assert.deepEqual([progress.label, progress.hash, progress.done_bytes, progress.direction], [
      "big",
      large.hash,
      bytes.length,
      "store",
    ]);
    assert.equal((await heard("data.publish", ({ hash }) => hash === large.hash)).kind, "chunked");
    const parts = messages.filter(({ type }) => type === "data.publish");
    assert.equal(parts.length, 2, "not the parts of the large one");

    const { lookup, ...found } = await findSoon(node, others[1].nodeId, heard);
    assert.deepEqual([found.method, found.success], ["find_node", true]);
    const steps = messages.filter(({ type, data }) =>
      type === "lookup.step" && data.lookup === lookup
    ).map(({ data }) => data);
    assert.equal(steps.filter(({ state }) => state === "asked").length, found.queries);
    assert.ok(steps.some(({ state, rtt_ms }) => state === "responded" && rtt_ms > 0));
    assert.ok(
      steps.some(({ node_id, distance }) => node_id === others[1].nodeId && distance === 0),
    );
    assert.equal((await heard("stats")).node_id, node.nodeId);

    const gone = others.pop()!;
    await gone.close();
    const health = await heard("peer.health", ({ node_id }) => node_id === gone.nodeId);
    assert.deepEqual([health.from, health.to], ["healthy", "degraded"]);
    assert.match(health.reason, /^no answer to /);
    const leave = await heard("peer.leave", ({ node_id }) => node_id === gone.nodeId);
    assert.equal(leave.address, health.address);

    for (const message of messages) assert.deepEqual(Event.parse(message), message);
    const seen = new Set(messages.map(({ type }) => type));
    assert.deepEqual(EVENT_TYPES.filter((type) => !seen.has(type)), ELSEWHERE);
    const ids = messages.map(({ id }) => id).filter((id) => id !== null);
    assert.deepEqual(ids, ids.map((_, i) => ids[0] + i), "no event is left out");
  } finally {
    await server.close();
    await client.end();
    for (const one of [node, ...others]) await one.close();
  }
});

async function findSoon(
  node: LocalNode,
  id: string,
  heard: (type: string, fits: (data: Message["data"]) => boolean) => Promise<Message["data"]>,
) {
  await node.find(id);
  return await heard("lookup", ({ target }) => target === id);
}
