// Nodes that share one id, as after a copy of a DATA_DIR.

import assert from "node:assert/strict";
import type { Clone } from "../../../src/dht/membership/clones.ts";
import { Endpoint } from "../../../src/krpc/endpoint.ts";
import { VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const MINUTE = 60_000;

function clonesFoundBy({ events }: VirtualNode): Clone[] {
  return events.flatMap((event) => event.type === "clone" ? [event.clone] : []);
}

function ports({ endpoints }: Clone): number[] {
  return endpoints.map(({ port }) => port).sort();
}

/** A node, and two nodes with one id that join through it. */
function twins() {
  const network = new VirtualNetwork();
  const first = network.add({ at: "10.0.0.1:1" });
  const id = network.randomId();
  const pair = [2, 3].map((n) => network.add({ id, at: `10.0.0.${n}:${n}` }));
  for (const { node } of pair) node.membership.join([first.endpoint], [], network.now);
  network.run(2 * MINUTE);
  return { network, first, pair, id };
}

Deno.test("a node that knows two nodes with one id reports them, once", () => {
  const { first, id } = twins();
  const [clone, ...others] = clonesFoundBy(first);
  assert.ok(clone.id.equals(id) && !clone.isOwn);
  assert.deepEqual(ports(clone), [2, 3]);
  assert.deepEqual(others, []);
});

Deno.test("two nodes with one id detect each other", () => {
  const { network, pair } = twins();
  pair.forEach((one, i) => {
    const [clone] = clonesFoundBy(one);
    assert.ok(clone.isOwn);
    assert.ok(clone.endpoints[0].equals(pair[1 - i].endpoint));
    assert.equal(one.node.clones.found(network.now).length, 1);
    assert.equal(one.node.clones.found(network.now + 60 * MINUTE).length, 0, "an hour later");
  });
});

Deno.test("a node with two addresses is not a clone, for others or for itself", () => {
  const network = new VirtualNetwork();
  const [first, second] = network.addJoined(2, { nat: false });
  const other = Endpoint.parse("10.9.9.9", second.endpoint.port)!;
  // The second node is also reached at another address, and sometimes sends from it.
  let sendsFromOther = false;
  network.attach(other, (datagram, from) => {
    sendsFromOther = true;
    second.node.receive(datagram, from, network.now);
    sendsFromOther = false;
  });
  network.link = (datagram, from, to) => {
    if (!from.equals(second.endpoint) || !sendsFromOther) return datagram;
    network.send(datagram, other, to);
    return undefined;
  };
  sendsFromOther = true;
  second.node.ping(first.endpoint, network.now, () => {});
  sendsFromOther = false;
  second.node.clones.suspectOwn(other, network.now);
  network.run(MINUTE);
  for (const one of [first, second]) assert.deepEqual(clonesFoundBy(one), []);
});
