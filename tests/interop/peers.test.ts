// Tests the other implementations with each other, without dmnode. A failure here is not a fault of dmnode.

import assert from "node:assert/strict";
import { hex, PeerError, PeerProcess, publicKeyOf, randomHex, requirePeers } from "./peers.ts";
import type { Found, Stored } from "./peers.ts";

Deno.test("bittorrent-dht and libtorrent agree with each other", async (t) => {
  await requirePeers();
  await using javascript = new PeerProcess("bittorrent-dht");
  await using cpp = new PeerProcess("libtorrent");
  const [first] = await javascript.start();
  const [second] = await cpp.start({ bootstrap: [first.address] });
  // Each reader joins through a node of the other implementation.
  await javascript.start({ bootstrap: [second.address] });
  await cpp.start({ bootstrap: [first.address] });
  const processes = [javascript, cpp];

  for (const writer of processes) {
    for (const reader of processes) {
      await t.step(`${writer.kind} writes, ${reader.kind} reads`, async () => {
        const infoHash = randomHex(20);
        const { port } = await writer.ask<{ port: number }>("announce", {
          info_hash: infoHash,
          port: 4242,
        });
        const { peers } = await reader.ask<{ peers: string[] }>("get_peers", {
          node: 1,
          info_hash: infoHash,
        });
        assert.deepEqual(peers, [`127.0.0.1:${port}`]);

        const value = hex(`immutable by ${writer.kind} for ${reader.kind}`);
        const { hash } = await writer.ask<Stored>("put_immutable", { value });
        const found = await reader.ask<Found>("get_immutable", { node: 1, hash });
        assert.equal(found.found && found.value, value);

        const seed = randomHex(32);
        const name = { public_key: publicKeyOf(seed), salt: hex("salt") };
        for (const seq of [1, 2]) {
          const value = hex(`version ${seq}`);
          await writer.ask<Stored>("put_mutable", { ...name, seed, seq, value });
          const found = await reader.ask<Found>("get_mutable", { ...name, node: 1 });
          assert.deepEqual(found.found && [found.value, found.seq], [value, seq]);
        }
        await assert.rejects(
          javascript.ask("put_mutable", { ...name, seed, seq: 1, value }),
          (error) => error instanceof PeerError && error.code === 302,
        );
      });
    }
  }
});
