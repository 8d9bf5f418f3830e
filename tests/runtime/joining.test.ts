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
    unsent: () => null,
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

Deno.test("a node joins through a link-local address only if it has no IPv6 contact", () => {
  const network = new VirtualNetwork();
  const [first, second, routed, near] = [1, 2, 3, 4].map((n) =>
    network.add({ at: `[${n === 4 ? "fe80" : "fd00"}::${n}]:6881` })
  );
  for (const { node } of [first, second]) node.membership.join([], [], network.now);
  network.run(1_000);
  joiningOf(first, network).meet(near.endpoint);
  network.run(1_000);
  assert.equal(first.node.tables.size, 1);

  const joining = joiningOf(second, network);
  for (const { endpoint } of [routed, near]) {
    joining.meet(endpoint);
    network.run(1_000);
  }
  assert.equal(second.node.tables.byFamily[6]?.at(near.endpoint), undefined);
  assert.equal(second.node.tables.size, 1);
});

Deno.test("a node with contacts of one family still joins through a beacon of the other family", () => {
  const network = new VirtualNetwork();
  const both = [1, 2, 3].map((n) => network.add({ at: [`10.0.0.${n}:6881`, `[fd00::${n}]:6881`] }));
  const [first, second, late] = both;
  second.node.membership.join(first.endpoints.slice(1), [], network.now);
  late.node.membership.join(first.endpoints.slice(0, 1), [], network.now);
  network.run(10_000);
  const { tables } = late.node;
  assert.equal(tables.byFamily[6]?.size, 0);
  joiningOf(late, network).meet(second.endpoints[1]);
  network.run(1_000);
  assert.equal(tables.byFamily[6]?.size, 2, "the node that it heard named the other one");
});
