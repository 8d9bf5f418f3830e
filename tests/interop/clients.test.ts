// Real BitTorrent clients that know nothing but dmnodes find each other, and download from each other.
// It needs the laboratory: tests/natlab/run.sh DENO tests/interop/clients.test.ts

import assert from "node:assert/strict";
import { Lab, nft, type Node } from "../natlab/lab.ts";
import { Client, type ClientName, CLIENTS, createTorrent, type Torrent } from "./clients.ts";

/** Transmission's DHT does nothing until it knows more than half a dozen nodes. */
const DMNODES = 10;
/** Several blocks and pieces, but no load on a busy machine. */
const PIECES = 8;
/** Clients repeat a search that found nothing after some seconds to minutes. */
const PATIENCE_MS = 600_000;
const POLL_MS = 2_000;

const NAMES = Object.keys(CLIENTS) as ClientName[];

const title = "clients find each other through dmnodes only, and download from each other";
Deno.test(title, { ignore: !Deno.env.has("NATLAB") }, async (t) => {
  // libtorrent drops packets from networks that it holds to be dark, such as 11.0.0.0/8.
  await using lab = await Lab.open((n) => `198.18.${n}`);
  const { nodes } = await lab.publicNodes(DMNODES);
  const introducers = nodes.map(({ machine }) => ({ host: machine.address, port: 8000 }));
  const machines = await Promise.all(NAMES.map(() => lab.publicHost()));
  const addresses = machines.map(({ address }) => address).join();
  // A client's DHT can't ask another client. Files travel over TCP.
  await nft(
    lab.internet,
    `table inet clients { chain forward { type filter hook forward priority filter;
      meta l4proto udp ip saddr { ${addresses} } ip daddr { ${addresses} } drop; }
    }`,
  );
  await using clients = new AsyncDisposableStack();
  const running = new Map<ClientName, Client>();
  for (const [i, name] of NAMES.entries()) {
    running.set(name, clients.use(await Client.start(name, machines[i], introducers)));
  }

  const pairs = NAMES.flatMap((from) =>
    NAMES.filter((to) => to !== from).map((to) => ({
      from: running.get(from)!,
      to: running.get(to)!,
      torrent: createTorrent(`${from}-${to}`, PIECES, introducers),
    }))
  );
  // Only the two clients of a pair know its torrent. All downloads run at once.
  const downloads = pairs.map(async ({ from, to, torrent }, i) => {
    const seed = { client: from, begin: () => from.seed(torrent) };
    const download = { client: to, begin: () => to.add(torrent) };
    // The second client finds the first one, and connects to it.
    const [first, second] = to.misreadsPeers ? [download, seed] : [seed, download];
    await first.begin();
    // Each dmnode asks seldom enough not to be taken for an attacker.
    const node = nodes[i % nodes.length];
    await until(
      `${first.client.name} announces itself`,
      () => isAnnounced(node, torrent, first.client.address),
    );
    await second.begin();
    await until(`${to.name} has the file`, () => to.has(torrent));
  });
  await Promise.allSettled(downloads);
  for (const [i, { from, to }] of pairs.entries()) {
    await t.step(`${to.name} downloads from ${from.name}`, () => downloads[i]);
  }

  await t.step("dmnodes keep all clients in their tables", async () => {
    for (const client of running.values()) {
      await until(`${client.name} is a healthy peer of a dmnode`, () => isHealthy(nodes, client));
    }
  });
});

async function isAnnounced(node: Node, { infoHash }: Torrent, address: string): Promise<boolean> {
  const { status, body } = await node.request(`/network/swarms/${infoHash}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body.peers.includes(address);
}

async function isHealthy(nodes: readonly Node[], { address }: Client): Promise<boolean> {
  const answers = await Promise.all(nodes.map((node) => node.request("/network/peers")));
  return answers.some(({ body }) =>
    body.peers.some((peer: { address: string; health: string }) =>
      peer.address === address && peer.health === "healthy"
    )
  );
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!await condition()) {
    assert.ok(Date.now() < deadline, `not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
