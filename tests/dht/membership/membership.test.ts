// How a newcomer fills its table.

import assert from "node:assert/strict";
import { type Id, sharedPrefix } from "../../../src/krpc/id.ts";
import { text } from "../../packets.ts";
import { VirtualNetwork } from "../virtual_network.ts";

const K = 8;

/** The endpoints queried in the second after a newcomer joined a network of `count` nodes, with their counts. */
function joining(nodes: number) {
  const network = new VirtualNetwork();
  for (let i = 0; i < nodes; i++) {
    const { node } = network.add({ k: K, at: `5.${i >> 8}.${i & 255}.1:6881` });
    if (i > 0) node.membership.join([network.nodes[0].endpoint], [], network.now);
    network.run(200);
  }
  network.run(120_000);
  const { node, endpoint } = network.add({ k: K, at: "6.1.1.1:6881" });
  const pings = new Map<string, number>();
  network.link = (datagram, from, to) => {
    if (from.equals(endpoint) && text(datagram).includes("1:q4:ping")) {
      pings.set(`${to}`, (pings.get(`${to}`) ?? 0) + 1);
    }
    return datagram;
  };
  node.membership.join([network.nodes[0].endpoint], [], network.now);
  network.run(1_000);
  const shares = (id: Id) => sharedPrefix(node.id, id);
  const others = network.nodes.slice(0, -1).map((other) => shares(other.node.id));
  const contacts = [...node.tables.contacts()].map(({ id }) => shares(id));
  return { pings, others, contacts };
}

Deno.test("a newcomer fills all its buckets, including those that have not split off yet", () => {
  const { others, contacts } = joining(250);
  const count = (list: number[], shared: number) => list.filter((n) => n === shared).length;
  for (let shared = 0; shared < 10; shared++) {
    const places = Math.min(K, count(others, shared));
    assert.ok(count(contacts, shared) >= places - 1, `${shared} bits: ${contacts.sort()}`);
  }
});

Deno.test("a newcomer pings no node twice", () => {
  const { pings } = joining(250);
  assert.ok(pings.size > K, `${pings.size}`);
  assert.ok([...pings.values()].every((n) => n === 1), [...pings].join(" "));
});
