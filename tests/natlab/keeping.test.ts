// What has to go on by itself: mappings that are kept open, and addresses that change while nodes run.

import assert from "node:assert/strict";
import { Lab, type Node } from "./lab.ts";

const PUBLIC_NODES = 4;

/** How long a node is left alone: the shortest mapping ends some times meanwhile if nothing keeps it. */
const ALONE_MS = 95_000;

async function network(lab: Lab): Promise<{ nodes: Node[]; bootstrap: string[] }> {
  const hosts = await Promise.all(Array.from({ length: PUBLIC_NODES }, () => lab.publicHost()));
  const bootstrap = ["--bootstrap", hosts.slice(0, 2).map((h) => `${h.address}:8000`).join()];
  return { nodes: await Promise.all(hosts.map((host) => host.start(bootstrap))), bootstrap };
}

const isRegistered = (stats: { nat: { introducers: number; reachable: boolean | null } }) =>
  stats.nat.reachable === false && stats.nat.introducers > 0;

/** Waits until a node is met at this address, whatever its id is by then. */
async function isMet(asker: Node, node: Node, address: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    await node.stats();
    const { status, body } = await asker.request(`/network/ping/${node.id}`);
    if (status === 200 && body.address.startsWith(`${address}:`)) return;
    assert.ok(Date.now() < deadline, `${node.machine.ns}: ${JSON.stringify(body)}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

Deno.test("a mapping of 30 seconds is kept open with few packets, and another node meets it after a while", async () => {
  await using lab = await Lab.open();
  const { nodes: [asker], bootstrap } = await network(lab);
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
  assert.equal(body.via, "punched");
});

Deno.test("another external address: the node knows it and is met there within a minute", async () => {
  await using lab = await Lab.open();
  const { nodes: [asker], bootstrap } = await network(lab);
  await Promise.all((["linux", "full-cone", "mapped"] as const).map(async (row) => {
    const site = row === "mapped" ? await lab.site("linux", { upnp: {} }) : await lab.site(row);
    const node = await site.hosts[0].start(bootstrap);
    const isSure = ({ nat }: { nat: { reachable: boolean | null; introducers: number } }) =>
      row === "linux" ? isRegistered({ nat }) : nat.reachable === true;
    await node.until("sure of its standing", isSure);
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
