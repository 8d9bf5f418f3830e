// Tests how a node makes use of nodes that it hears on the local network.

import assert from "node:assert/strict";
import type { Millis } from "../../src/dht/deadlines.ts";
import { Id } from "../../src/krpc/id.ts";
import type { CoreRunner } from "../../src/runtime/core_runner.ts";
import { Joining } from "../../src/runtime/joining.ts";
import { NetFilter } from "../../src/runtime/net/net_scope.ts";
import { VirtualNetwork, type VirtualNode } from "../dht/virtual_network.ts";
import { endpoint } from "../packets.ts";

/** The joining of a virtual node without bootstrap nodes. */
function joiningOf({ node }: VirtualNode, network: VirtualNetwork): Joining {
  const core = { node, do: (run: (at: Millis) => unknown) => run(network.now) };
  return new Joining({
    core: core as unknown as CoreRunner,
    bootstrapNodes: [],
    families: [4],
    port: 6881,
    filter: new NetFilter({ mode: "any" }),
    resolve: () => Promise.resolve([]),
    isSealed: true,
  });
}

Deno.test("a node without contacts joins through a node whose beacon it receives", () => {
  const network = new VirtualNetwork(), [first, second, late] = [1, 2, 3].map(() => network.add());
  second.node.membership.join([first.endpoint], [], network.now);
  late.node.membership.join([], [], network.now);
  network.run(10_000);
  assert.equal(late.node.tables.size, 0);
  joiningOf(late, network).meet(second.endpoint);
  network.run(1_000);
  assert.equal(late.node.tables.size, 2, "the node that it heard named the other one");
});

Deno.test("each beacon makes a node send one packet, also if it has saved contacts but none that answers", () => {
  const network = new VirtualNetwork(), alone = network.add();
  const seeds = Array.from({ length: 50 }, (_, i) => ({
    id: Id.read(network.randomBytes(20)),
    endpoint: endpoint(`10.1.0.${i}:6881`),
  }));
  alone.node.membership.join([], seeds, network.now);
  network.run(10_000);
  let sent = 0;
  network.link = (datagram) => {
    sent++;
    return datagram;
  };
  const joining = joiningOf(alone, network);
  for (let i = 0; i < 20; i++) joining.meet(endpoint(`10.2.0.${i}:6881`));
  assert.equal(sent, 20);
});
