// A value whose holders are mostly libtorrent nodes: the watcher polls, and hears of each version.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { Dmnodes, misunderstood } from "./dmnode.ts";
import { hex, PeerProcess, publicKeyOf, randomHex, requirePeers, type Stored } from "./peers.ts";

const LIBTORRENTS = 12;

/** Longer than two polls of a value that has just changed. */
const HEARD_MS = 30_000;

Deno.test("a dmnode watches a value that libtorrent nodes hold and change", async () => {
  await requirePeers();
  await using dmnodes = new Dmnodes();
  await using cpp = new PeerProcess("libtorrent");
  const first = await dmnodes.start();
  const [writer] = await cpp.start({ count: LIBTORRENTS, bootstrap: [first.address] });
  const watcher = await dmnodes.start([first.address]);
  const seed = randomHex(32), publicKey = publicKeyOf(seed), salt = "watched";
  const put = (seq: number) =>
    cpp.ask<Stored>("put_mutable", {
      node: writer.node,
      seed,
      public_key: publicKey,
      salt: hex(salt),
      seq,
      value: hex(`version ${seq}`),
    });
  const hash = createHash("sha1").update(Buffer.from(publicKey, "hex")).update(salt).digest("hex");
  await put(1);
  const watch = await watcher.openWatch(hash, salt, null);
  assert.ok(watch !== undefined);
  for (const seq of [1, 2]) {
    if (seq > 1) await put(seq);
    const version = await watcher.nextVersion(watch, HEARD_MS);
    assert.equal(typeof version === "object" && version.seq, seq);
  }
  const sent = (await watcher.stats()).traffic.out.by_type;
  for (const [type, { messages }] of Object.entries(sent)) {
    // Only the two dmnodes may get subscriptions.
    if (type === "dm_subscribe.query") assert.ok(messages <= 4, `${messages} subscriptions`);
  }
  for (const node of [first, watcher]) assert.deepEqual(await misunderstood(node), {});
});
