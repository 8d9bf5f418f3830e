// Nodes that start at the same time.

import assert from "node:assert/strict";
import { text } from "../../packets.ts";
import { VirtualNetwork } from "../virtual_network.ts";

Deno.test("nodes that join through a new node at the same time know each other within seconds", () => {
  const network = new VirtualNetwork();
  const [first, ...others] = Array.from({ length: 4 }, () => network.add());
  const begun = network.now;
  // The first node is busy, and tests the others only after they have asked it for nodes.
  network.link = (datagram, from) => {
    const isTest = from.equals(first.endpoint) && /1:q4:ping/.test(text(datagram));
    return isTest && network.now < begun + 200 ? undefined : datagram;
  };
  for (const { node } of others) node.membership.join([first.endpoint], [], network.now);
  network.run(5_000);
  assert.deepEqual(others.map(({ node }) => node.tables.size), [3, 3, 3]);
});
