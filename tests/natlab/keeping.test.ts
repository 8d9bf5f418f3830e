// Behind a NAT that forgets mappings after 30 seconds, a node stays reachable and sends few packets.

import assert from "node:assert/strict";
import { Lab } from "./lab.ts";

const PUBLIC_NODES = 4;

/** Time without traffic from the test. Without keep-alives, the mapping would end several times. */
const ALONE_MS = 95_000;

const isRegistered = (stats: { nat: { introducers: number; reachable: boolean | null } }) =>
  stats.nat.reachable === false && stats.nat.introducers > 0;

Deno.test("a node keeps a mapping of 30 seconds open with few packets, and another node can reach it later", async () => {
  await using lab = await Lab.open();
  const { nodes: [asker], bootstrap } = await lab.publicNodes(PUBLIC_NODES);
  const site = await lab.site("short-timeout");
  const node = await site.hosts[0].start(bootstrap);
  await node.until("registered", isRegistered);
  const before = await lab.counts(site);
  await new Promise((resolve) => setTimeout(resolve, ALONE_MS));
  const after = await lab.counts(site);
  const minute = (count: number) => Math.round(count * 60_000 / ALONE_MS);
  console.log(
    `at rest behind a mapping of 30 s: ${minute(after.out - before.out)} packets a minute out, ` +
      `${minute(after.in - before.in)} in, ${after.filtered - before.filtered} filtered`,
  );
  assert.equal(after.mappings, 1, "the mapping is there");
  const { status, body } = await asker.request(`/network/ping/${node.id}`);
  assert.equal(status, 200, JSON.stringify(body));
  // The node is registered at all public nodes, and keeps its NAT open for them.
  assert.equal(body.via, "direct");
});
