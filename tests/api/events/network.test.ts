// Tests /ws on a node of a small real network, where each type of event has its real cause.

import assert from "node:assert/strict";
import { createApi } from "../../../src/api/app.ts";
import { Event, EVENT_TYPES } from "../../../src/reports/events.ts";
import { serveApi } from "../../../src/api/server.ts";
import { loadConfig } from "../../../src/config.ts";
import { LocalNode } from "../../../src/runtime/local_node.ts";
import type { StoreOutcome } from "../../../src/node_service.ts";
import { inPieces, sampleBytes } from "../../large_values/memory_network.ts";
import { startNetwork } from "../../network/nodes.ts";
import { latin1 } from "../../packets.ts";
import { Client, type Message } from "./clients.ts";

/** Types that need hours, two networks, a budget, or an address on the Internet. tests/runtime tests them. */
const ELSEWHERE = [
  "data.replicate",
  "data.adopt",
  "data.expire",
  "data.health",
  "lookup.crowded",
  "id",
  "clone",
  "clock",
  "budget",
];

/** Peers are checked every second, so that a lost one soon leaves. */
const FLAGS = { healthCheckInterval: "1" };

function stored(outcome: StoreOutcome) {
  assert.equal(outcome.outcome, "stored", JSON.stringify(outcome));
  return outcome.outcome === "stored" ? outcome.report : assert.fail();
}

Deno.test("listeners of a small real network get every type of event in its documented shape", async () => {
  const others = await startNetwork(3, FLAGS);
  const config = loadConfig({
    flags: { p2pPort: "0", bootstrap: `127.0.0.1:${others[0].port}`, ...FLAGS },
    env: {},
  });
  const node = await LocalNode.start(config, { persistent: false });
  const server = await serveApi(createApi({ service: node, config }), {
    hostnames: ["127.0.0.1"],
    port: 0,
  });
  const kept = stored(await others[1].store(latin1("watched"), "watched"));
  const client = new Client(
    // Connected before the first event.
    `${server.url}/ws?types=*,lookup.step&since=0&watch=${kept.hash}&key=watched`,
  );
  const messages: Message[] = [];
  /** Waits until a message has arrived. */
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
    const { nodes: _, elapsed_ms: __, ...published } = own;
    assert.deepEqual(publish, published);
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

    const swarm = { service: "chat" };
    await node.announce(swarm, { port: 4000, isSeed: false });
    const announced = await heard("swarm.announce");
    assert.deepEqual([announced.service, announced.port, announced.nodes], ["chat", 4000, 3]);
    await node.findPeers(swarm);
    assert.equal((await heard("swarm.find")).peers, 1);
    await node.withdraw(swarm);
    assert.equal((await heard("swarm.withdraw")).info_hash, announced.info_hash);

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
