// A large value is stored beside libtorrent nodes, which block an address that sends them 50 packets within 10 s.

import assert from "node:assert/strict";
import { Dmnodes } from "./dmnode.ts";
import { eventually, PeerProcess, requirePeers } from "./peers.ts";

const DMNODES = 20, LIBTORRENTS = 5, VALUE_BYTES = 1_000_000;

/** libtorrent's default, in packets a second over ten seconds. */
const GUARD = 5;

Deno.test("a large value stored beside libtorrent nodes makes none of them block the node", async () => {
  await requirePeers();
  await using dmnodes = new Dmnodes();
  await using cpp = new PeerProcess("libtorrent");
  const first = await dmnodes.start();
  while (dmnodes.count < DMNODES) await dmnodes.start([first.address]);
  const theirs = await cpp.start({
    count: LIBTORRENTS,
    bootstrap: [first.address],
    block_ratelimit: GUARD,
  });
  // An address of its own, because the guard counts the packets of an address.
  const writer = await dmnodes.start([first.address], { host: "127.0.0.2" });
  for (const { address } of theirs) {
    const port = Number(address.split(":")[1]);
    await eventually(`the writer reaches ${address}`, async () => {
      return (await writer.pingAddress({ host: "127.0.0.1", port })).outcome === "pong";
    });
  }

  const value = Uint8Array.from({ length: VALUE_BYTES }, (_, i) => (i * i) >>> 8);
  const stored = await writer.store(value, null);

  assert.equal(stored.outcome, "stored");
  for (const { address } of theirs) {
    const port = Number(address.split(":")[1]);
    const { outcome } = await writer.pingAddress({ host: "127.0.0.1", port });
    assert.equal(outcome, "pong", `${address} has not blocked us`);
  }
});
