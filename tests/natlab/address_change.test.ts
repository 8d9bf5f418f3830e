// A running node notices a new external address, and other nodes reach it there.

import assert from "node:assert/strict";
import { Lab, type Node } from "./lab.ts";

const PUBLIC_NODES = 4;

const isRegistered = (stats: { nat: { introducers: number; reachable: boolean | null } }) =>
  stats.nat.reachable === false && stats.nat.introducers > 0;

/** Waits until the asker reaches a node at this address. Other nodes check the former address once a minute. */
async function isMet(asker: Node, node: Node, address: string): Promise<void> {
  const deadline = Date.now() + 180_000;
  for (;;) {
    await node.stats();
    const { status, body } = await asker.request(`/network/ping/${node.id}`);
    if (status === 200 && body.address.startsWith(`${address}:`)) return;
    assert.ok(Date.now() < deadline, `${node.machine.ns}: ${JSON.stringify(body)}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

Deno.test("a node notices its new external address, and another node reaches it there", async () => {
  await using lab = await Lab.open();
  const { nodes: [asker], bootstrap } = await lab.publicNodes(PUBLIC_NODES);
  await Promise.all((["linux", "full-cone", "mapped"] as const).map(async (row) => {
    const site = row === "mapped" ? await lab.site("linux", { upnp: {} }) : await lab.site(row);
    const node = await site.hosts[0].start(bootstrap);
    const isSure = ({ nat }: { nat: { reachable: boolean | null; introducers: number } }) =>
      row === "linux" ? isRegistered({ nat }) : nat.reachable === true;
    await node.until("sure whether strangers reach it", isSure);
    await isMet(asker, node, site.external);

    const begun = Date.now();
    const address = await lab.changeAddress(site);
    await node.until(
      "aware of its new address",
      ({ nat }) => nat.external_address?.split(":")[0] === address,
    );
    const aware = Date.now() - begun;
    await isMet(asker, node, address);
    const reached = Date.now() - begun;
    if (row === "mapped") {
      const { nat } = await node.until(
        "mapped at the new address",
        ({ nat }) => nat.mapping.external_address === `${address}:8000`,
      );
      assert.equal(nat.mapping.status, "mapped");
    }
    console.log(
      `${row}: knows its new address after ${aware} ms, is met there after ${reached} ms`,
    );
  }));
});
