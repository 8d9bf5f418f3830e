// A node with real sockets and files: restarts, mutable values, pings and readiness.

import assert from "node:assert/strict";
import { loadConfig } from "../../src/config.ts";
import type { ServiceEvent } from "../../src/reports/events.ts";
import { LocalNode } from "../../src/runtime/local_node.ts";
import type { FetchOutcome } from "../../src/node_service.ts";
import { latin1, text } from "../packets.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";
import { startNode as start, stored, until } from "./nodes.ts";

/** Starts two nodes that know each other. */
async function pair(dataDir?: string): Promise<[LocalNode, LocalNode]> {
  const first = await start({ dataDir });
  const second = await start({ bootstrap: `127.0.0.1:${first.port}` });
  await until(async () =>
    (await first.peers()).routing_table_size === 1 &&
    (await second.peers()).routing_table_size === 1
  );
  return [first, second];
}

const valueOf = (outcome: FetchOutcome) =>
  outcome.outcome === "found" ? text(outcome.value.bytes) : outcome.outcome;

Deno.test("a read-only node uses the network, and no other node keeps it in its table", async () => {
  const [first, second] = await pair();
  const client = await start({ bootstrap: `127.0.0.1:${first.port}`, readOnly: true });
  await until(async () => (await client.peers()).routing_table_size === 2);
  const { hash, nodes } = stored(await client.store(latin1("from a client"), null));
  assert.ok([first, second].every(({ nodeId }) => nodes.includes(nodeId)));
  assert.equal(valueOf(await second.fetch(hash, null)), "from a client");
  assert.equal(valueOf(await client.fetch(hash, null)), "from a client");
  for (const node of [first, second]) {
    assert.ok((await node.peers()).peers.every(({ node_id }) => node_id !== client.nodeId));
  }
  assert.equal(
    (await second.pingAddress({ host: "127.0.0.1", port: client.port })).outcome,
    "timeout",
  );
  await Promise.all([first, second, client].map((node) => node.close()));
});

Deno.test("with its monthly budget used up, a node is read-only until the budget is raised", async () => {
  const first = await start();
  const env = { P2P_PORT: "0", P2P_MONTHLY_BUDGET: "3 kB", P2P_UP_LIMIT: "100 kB" };
  const config = loadConfig({ env, flags: { bootstrap: `127.0.0.1:${first.port}` } });
  const node = await LocalNode.start(config, { persistent: false });
  const told: ServiceEvent[] = [];
  node.onEvent((event) => void (event.type === "budget" && told.push(event)));
  const ping = async () =>
    (await first.pingAddress({ host: "127.0.0.1", port: node.port })).outcome;
  await until(async () => (await ping(), told.length > 0));
  assert.equal(await ping(), "timeout");
  const { budget, limits } = await node.traffic();
  assert.deepEqual([budget?.left, budget?.read_only, limits.up], [0, true, 100_000]);
  assert.ok((await node.stats()).traffic.budget?.read_only);

  node.limitTraffic({ p2pUpLimit: null, p2pDownLimit: null, p2pMonthlyBudget: 1e9 });
  assert.equal(await ping(), "pong");
  assert.deepEqual(told.map(({ data }) => "read_only" in data && data.read_only), [true, false]);
  await Promise.all([first.close(), node.close()]);
});

Deno.test("P2P_DOWN_LIMIT drops the queries of strangers that exceed it, until it is lifted", async () => {
  const QUERIES = 400;
  const limits = { p2pUpLimit: null, p2pMonthlyBudget: null };
  const node = await start();
  node.limitTraffic({ ...limits, p2pDownLimit: 1_000 });
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const address = { transport: "udp", hostname: "127.0.0.1", port: node.port } as const;
  const ping = latin1(`d1:ad2:id20:${"x".repeat(20)}e1:q4:ping1:t2:aa1:y1:qe`);
  const counts = async () => {
    const { in: { messages }, dropped } = (await node.stats()).traffic;
    return { accepted: messages, refused: dropped.over_limit };
  };
  for (let i = 0; i < QUERIES; i++) await socket.send(ping, address);
  await until(async () => (await counts()).refused > 0);
  node.limitTraffic({ ...limits, p2pDownLimit: null });
  const { accepted, refused } = await counts();
  assert.ok(refused < QUERIES, "some are within the limit");
  await socket.send(ping, address);
  await until(async () => (await counts()).accepted > accepted);
  socket.close();
  await node.close();
});

Deno.test("identity, node id, contacts and values survive a restart", async () => {
  await inTemporaryDirectory(async (path) => {
    const [first, second] = await pair(path("data"));
    const { hash, nodes } = stored(await second.store(latin1("kept"), null));
    assert.ok(nodes.includes(first.nodeId));
    const { nodeId } = first, { public_key } = await first.stats();
    const [{ sent }] = (await first.traffic()).months;
    assert.ok(sent > 0);
    await first.close();
    const again = await start({ dataDir: path("data") });
    assert.equal(again.nodeId, nodeId);
    assert.ok((await again.traffic()).months.some((month) => month.sent >= sent));
    assert.equal((await again.stats()).public_key, public_key);
    assert.equal(valueOf(await again.fetch(hash, null)), "kept");
    await until(async () => (await again.peers()).routing_table_size === 1);
    await Promise.all([again.close(), second.close()]);
  });
});

Deno.test("a second node on the same DATA_DIR is refused, and does not disturb the first", async () => {
  await inTemporaryDirectory(async (path) => {
    const first = await start({ dataDir: path("data") });
    await assert.rejects(() => start({ dataDir: path("data") }), /in use by another process/);
    const { hash } = stored(await first.store(latin1("still here"), null));
    assert.equal(valueOf(await first.fetch(hash, null)), "still here");
    await first.close();
  });
});

Deno.test("each store under a key raises seq, and concurrent stores get different ones", async () => {
  const [first, second] = await pair();
  const one = stored(await first.store(latin1("one"), "key"));
  assert.deepEqual([one.kind, one.key, one.seq, one.replicas], ["mutable", "key", 1, 2]);
  const many = await Promise.all(
    Array.from({ length: 5 }, (_, i) => first.store(latin1(`many ${i}`), "key")),
  );
  const seqs = many.map((outcome) => stored(outcome).seq);
  assert.deepEqual(seqs.toSorted(), [2, 3, 4, 5, 6]);
  assert.ok(many.every((outcome) => stored(outcome).hash === one.hash));
  assert.equal(valueOf(await second.fetch(one.hash, "key")), "many 4");
  assert.equal(valueOf(await second.fetch(one.hash, null)), "many 4");
  await Promise.all([first.close(), second.close()]);
});

Deno.test("values larger than one item are chunked, and keys over the limit are refused", async () => {
  const node = await start();
  assert.equal(stored(await node.store(new Uint8Array(997), null)).kind, "chunked");
  assert.equal(stored(await node.store(new Uint8Array(996), null)).kind, "immutable");
  const item = { publicKey: new Uint8Array(32), signature: new Uint8Array(64), seq: 1 };
  const tooLarge = { ...item, salt: null, value: new Uint8Array(997), cas: null };
  assert.equal((await node.storeSigned("0".repeat(40), tooLarge)).outcome, "too_large");
  assert.equal((await node.store(latin1("v"), "k".repeat(65))).outcome, "key_too_long");
  assert.equal((await node.store(latin1("v"), "k".repeat(64))).outcome, "stored");
  await node.close();
});

Deno.test("peers are found by id and answer pings, and unknown peers are reported", async () => {
  const [first, second] = await pair();
  const pong = await first.ping(second.nodeId);
  assert.equal(pong.outcome, "pong");
  assert.equal((await first.ping("77".repeat(20))).outcome, "unknown");
  assert.equal((await first.ping(first.nodeId)).outcome, "pong");
  const found = await first.find(second.nodeId);
  assert.ok(found.found && found.nodes[0].node_id === second.nodeId);
  assert.equal(found.trace?.length, found.queries);
  await second.close();
  const silent = await first.ping(second.nodeId);
  assert.equal(silent.outcome, "timeout");
  await first.close();
});

Deno.test("a node without bootstrap nodes is ready, and one with a silent bootstrap node is not", async () => {
  const alone = await start();
  assert.ok((await alone.readiness()).ready);
  const lost = await start({ bootstrap: "127.0.0.1:9" });
  assert.equal((await lost.readiness()).ready, false);
  assert.match((await lost.readiness()).reason, /joining|127\.0\.0\.1:9/);
  await Promise.all([alone.close(), lost.close()]);
});
