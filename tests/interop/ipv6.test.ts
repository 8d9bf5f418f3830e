// dmnode and libtorrent over IPv6, and over both families at once (BEP 32).

import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import type { LocalNode } from "../../src/runtime/local_node.ts";
import { Dmnodes, misunderstood } from "./dmnode.ts";
import {
  eventually,
  type Found,
  hex,
  PeerProcess,
  randomHex,
  requirePeers,
  type Stored,
} from "./peers.ts";

const hasIpv6 = Object.values(networkInterfaces()).flat()
  .some((address) => address?.address === "::1");

// Some container hosts have no IPv6, not even on loopback.
Deno.test({ name: "dmnode and libtorrent over IPv6", ignore: !hasIpv6 }, async (t) => {
  await requirePeers();
  await using peers = new PeerProcess("libtorrent");
  await using dmnodes = new Dmnodes();
  const ours = await dmnodes.start([], { dual: true });
  const onIpv4 = `127.0.0.1:${ours.port}`, onIpv6 = `[::1]:${ours.port}`;
  const [six] = await peers.start({ hosts: ["::1"], bootstrap: [onIpv6] });

  await t.step("libtorrent bootstraps from dmnode, and dmnode from libtorrent", async () => {
    await eventually("dmnode has it in its table", () => knows(ours, six.address));
    const { nodes } = await peers.ask<{ nodes: { address: string }[] }>("table", {
      node: six.node,
    });
    assert.deepEqual(nodes.map(({ address }) => address), [onIpv6]);
    const newcomer = await dmnodes.start([six.address], { dual: true });
    assert.equal(await knows(newcomer, six.address), true);
    assert.equal((await newcomer.ping(six.nodeId)).outcome, "pong");
  });

  await t.step("each finds the peers that the other announces", async () => {
    const core = await dmnodes.startCore(six.address);
    const infoHash = randomHex(20);
    await core.announce(infoHash, 4242);
    const { peers: found } = await peers.ask<{ peers: string[] }>("get_peers", {
      node: six.node,
      info_hash: infoHash,
    });
    assert.deepEqual(found, ["[::1]:4242"]);

    const theirs = randomHex(20);
    await peers.ask("announce", { node: six.node, info_hash: theirs });
    const reader = await dmnodes.startCore(onIpv6);
    assert.deepEqual(await reader.peers(theirs), [six.address]);
  });

  await t.step(
    "a value put over IPv6 is read over IPv4 through dmnode, and the reverse",
    async () => {
      const [four] = await peers.start({ bootstrap: [onIpv4] });
      for (const [writer, reader] of [[six, four], [four, six]]) {
        const value = hex(`from ${writer.address}`);
        const { hash } = await peers.ask<Stored>("put_immutable", { node: writer.node, value });
        const found = await peers.ask<Found>("get_immutable", { node: reader.node, hash });
        assert.equal(found.found && found.value, value);
      }
    },
  );

  await t.step("dmnode learns of IPv6 nodes from an IPv4 answer", async () => {
    const [dual] = await peers.start({ hosts: ["127.0.0.1", "::1"], bootstrap: [six.address] });
    const newcomer = await dmnodes.start([dual.all![0].address], { dual: true });
    await eventually("it has an IPv6 node in its table", () => knows(newcomer, six.address));
  });

  await t.step("dmnode understood every packet", async () => {
    assert.deepEqual(await misunderstood(ours), {});
  });
});

async function knows(node: LocalNode, address: string): Promise<boolean> {
  return (await node.peers()).peers.some((peer) => peer.address === address);
}
