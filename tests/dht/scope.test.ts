// Nodes on the Internet learn nothing of our private network, and can't make us send packets into it.

import assert from "node:assert/strict";
import {
  compactNodes,
  concat,
  decodeAny,
  encode,
  endpoint,
  id,
  PADDING,
  query,
  text,
} from "../packets.ts";
import { Answering, Stranger, VirtualNetwork } from "./virtual_network.ts";

/** A compact node with an IPv4-mapped IPv6 address. */
function mapped(host: string, port: number): Uint8Array {
  const words = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...host.split(".").map(Number)];
  return concat(id("77").toBytes(), Uint8Array.from([...words, port >> 8, port & 255]));
}

Deno.test("while a node on the Internet joins, it only uses nodes of the other family that are on the Internet", () => {
  const network = new VirtualNetwork(10, 9);
  const server = network.add({ at: ["45.1.2.3:6881", "[2a01:5::1]:6881"] });
  const reached = new Set<string>();
  network.link = (datagram, _, to) => {
    reached.add(`${to}`);
    return datagram;
  };
  const inner = [
    "[::1]:11211",
    "[fd00::1]:53",
    "[fe80::1]:161",
    "[fec0::1]:161",
    "[64:ff9b::a00:1]:53",
    "[2002:a00:1::1]:53",
    "[2001:db8::1]:53",
    "[2a00:1::1]:0",
    "[2a00:1::1]:1",
  ];
  const listed = inner.map((at) => ({ id: network.randomId(), endpoint: endpoint(at) }));
  const nodes6 = concat(
    compactNodes(listed),
    mapped("127.0.0.1", 11211),
    mapped("192.168.1.1", 53),
  );
  const teller = new Stranger(network, "66.6.6.6:1");
  teller.answer = (packet) => {
    const { t, y } = decodeAny(packet);
    const r = { id: id("66").toBytes(), nodes: "", nodes6 };
    return text(y) === "q" ? encode({ t, y: "r", r }) : undefined;
  };
  server.node.membership.join([teller.at], [], network.now);
  network.run(30_000);
  reached.delete(`${server.endpoint}`);
  assert.deepEqual([...reached].sort(), ["66.6.6.6:1", "[2a00:1::1]:1"]);
});

Deno.test("packets from port 0 are dropped: nobody could answer them", () => {
  const network = new VirtualNetwork(10, 9);
  const server = network.add({ at: "45.1.2.3:6881" });
  const stranger = new Answering(network, "66.6.6.6:0");
  assert.equal(stranger.ask(query("ping", stranger.id, {}), server.endpoint), undefined);
  stranger.meet(server);
  assert.equal(server.node.tables.size, 0);
});

Deno.test("replies to the Internet name no nodes and peers of our private network, but replies within it do", () => {
  const network = new VirtualNetwork(10, 9);
  const server = network.add({ at: "45.1.2.3:6881" });
  for (let i = 0; i < 12; i++) new Answering(network, `${60 + i}.7.8.9:1`).meet(server);
  const infoHash = network.randomId().toBytes();
  for (let i = 0; i < 12; i++) {
    const near = new Answering(network, `192.168.1.${10 + i}:1`).meet(server);
    const { token } =
      near.ask(query("get_peers", near.id, { info_hash: infoHash }), server.endpoint).r;
    const args = { info_hash: infoHash, token: Uint8Array.from(token), port: 51413 };
    near.ask(query("announce_peer", near.id, args), server.endpoint);
  }
  const named = (at: string) => {
    const asker = new Stranger(network, at);
    const reply = asker.ask(
      query("get_peers", network.randomId(), { info_hash: infoHash }, { z: PADDING }),
      server.endpoint,
    );
    const nodes: Uint8Array = reply.r.nodes, peers: Uint8Array[] = reply.r.values ?? [];
    const hosts = Array.from({ length: nodes.length / 26 }, (_, i) => nodes[26 * i + 20]);
    return [hosts, peers.map(([first]) => first)].map((firsts) => firsts.includes(192));
  };
  assert.deepEqual(named("88.1.1.1:1"), [false, false]);
  assert.deepEqual(named("192.168.1.99:1"), [true, true]);
});
