// dmnode and one other implementation find each other's peers, scrape each other, and sample each other's info-hashes.

import assert from "node:assert/strict";
import type { LocalNode } from "../../src/runtime/local_node.ts";
import { Dmnodes } from "./dmnode.ts";
import { PeerProcess, randomHex, requirePeers } from "./peers.ts";

/** Announces a port through a node, as the API does. */
async function announce(node: LocalNode, infoHash: string, port: number): Promise<void> {
  const outcome = await node.announce({ infoHash }, { port, isSeed: true });
  assert.ok(outcome.outcome === "announced" && outcome.report.nodes > 0, JSON.stringify(outcome));
}

for (const kind of ["bittorrent-dht", "libtorrent"] as const) {
  const isLibtorrent = kind === "libtorrent";

  Deno.test(`dmnode and ${kind} find the peers that the other announces`, async (t) => {
    await requirePeers();
    await using peers = new PeerProcess(kind);
    await using dmnodes = new Dmnodes();
    const [holder] = await peers.start();
    const ours = await dmnodes.start([holder.address]);
    const reader = await dmnodes.start([holder.address]);
    const [theirs] = await peers.start({ bootstrap: [holder.address] });

    await t.step(`${kind} finds what dmnode announced`, async () => {
      const infoHash = randomHex(20);
      await announce(ours, infoHash, 4242);
      const request = { node: theirs.node, info_hash: infoHash };
      const { peers: found } = await peers.ask<{ peers: string[] }>("get_peers", request);
      assert.deepEqual(found, ["127.0.0.1:4242"]);
    });

    await t.step(`dmnode finds what ${kind} announced`, async () => {
      const infoHash = randomHex(20);
      const request = { node: theirs.node, info_hash: infoHash, port: isLibtorrent ? 0 : 4343 };
      const { port } = await peers.ask<{ port: number }>("announce", request);
      const { peers: found, ipv4 } = await reader.findPeers({ infoHash });
      assert.deepEqual([found, ipv4], [[`127.0.0.1:${port}`], 1]);
    });

    await t.step(`dmnode scrapes a swarm that ${kind} holds too`, async () => {
      const infoHash = randomHex(20);
      await announce(ours, infoHash, 4444);
      const { scrape } = await reader.findPeers({ infoHash }, { scrapes: true });
      // bittorrent-dht has no filters: it does not say that the peer seeds. dmnodes and libtorrent do.
      assert.deepEqual([scrape?.seeds, scrape?.peers], [1, 0]);
    });
  });
}

Deno.test("BEP 33: dmnode scrapes libtorrent alone", async () => {
  await requirePeers();
  await using peers = new PeerProcess("libtorrent");
  await using dmnodes = new Dmnodes();
  const [holder] = await peers.start();
  const ours = await dmnodes.start([holder.address]);
  const infoHash = randomHex(20);
  await announce(ours, infoHash, 4242);
  await dmnodes.replace();
  const reader = await dmnodes.start([holder.address]);
  const { scrape } = await reader.findPeers({ infoHash }, { scrapes: true });
  assert.deepEqual(scrape, { seeds: 1, peers: 0, nodes: 1 });
});

Deno.test("BEP 51: dmnode samples the info-hashes of libtorrent", async () => {
  await requirePeers();
  await using peers = new PeerProcess("libtorrent");
  await using dmnodes = new Dmnodes();
  const [holder] = await peers.start();
  const ours = await dmnodes.start([holder.address]);
  const infoHash = randomHex(20);
  await announce(ours, infoHash, 4242);
  const outcome = await ours.sampleNode(holder.nodeId);
  assert.equal(outcome.outcome, "sampled");
  if (outcome.outcome !== "sampled") return;
  assert.deepEqual([outcome.report.info_hashes, outcome.report.stored], [[infoHash], 1]);
});

Deno.test("BEP 51: bittorrent-dht, which does not answer samples, stays a healthy contact", async () => {
  await requirePeers();
  await using peers = new PeerProcess("bittorrent-dht");
  await using dmnodes = new Dmnodes();
  const [holder] = await peers.start();
  const ours = await dmnodes.start([holder.address]);
  assert.equal((await ours.sampleNode(holder.nodeId)).outcome, "timeout");
  const walk = await ours.sampleNetwork(10);
  assert.deepEqual(walk.outcome === "walked" && [walk.report.queries, walk.report.nodes], [1, 0]);
  const [peer] = (await ours.peers()).peers;
  assert.deepEqual([peer.node_id, peer.health], [holder.nodeId, "healthy"]);
});
