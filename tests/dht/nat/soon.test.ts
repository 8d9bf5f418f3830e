// How soon after its start others can reach a node behind a NAT, in a network with one public node.

import assert from "node:assert/strict";
import type { ReachResult } from "../../../src/dht/nat/reaching.ts";
import {
  ADDRESS_RESTRICTED,
  FULL_CONE,
  type NatBehaviour,
  PORT_RESTRICTED,
  SYMMETRIC,
  VirtualNat,
} from "../virtual_nat.ts";
import { VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const NATS: Record<string, NatBehaviour> = {
  "full-cone": FULL_CONE,
  "address-restricted": ADDRESS_RESTRICTED,
  "port-restricted": PORT_RESTRICTED,
  "symmetric": SYMMETRIC,
};

const WITHIN_MS = 5_000;

/** Adds a node behind a NAT, which joins through the first node of the network. */
function start(network: VirtualNetwork, behaviour: NatBehaviour): VirtualNode {
  const nat = new VirtualNat(network, `9.9.${network.nodes.length}.9`, behaviour);
  const node = nat.add({ isNewId: true });
  node.node.membership.join([network.nodes[0].endpoint], [], network.now);
  return node;
}

/** Lets `asker` try again and again to reach the node, until it succeeds. Fails `WITHIN_MS` after `begun`. */
function reachSoon(
  network: VirtualNetwork,
  asker: VirtualNode,
  { target, begun }: { readonly target: VirtualNode; readonly begun: number },
): void {
  let reached: ReachResult | undefined;
  while (reached?.kind !== "reached") {
    assert.ok(network.now - begun < WITHIN_MS, JSON.stringify(reached?.kind));
    network.run(250);
    reached = undefined;
    const { reaching } = asker.node.hidden.cross();
    reaching.reach(target.node.id, network.now, (result) => reached = result);
    network.run(500);
  }
}

for (const [name, behaviour] of Object.entries(NATS)) {
  Deno.test(`a node behind a ${name} NAT can be reached within ${WITHIN_MS / 1000} s from its start`, () => {
    const network = new VirtualNetwork(20);
    network.add({ at: "5.5.5.1:6881" });
    const asker = start(network, PORT_RESTRICTED);
    network.run(10 * 60_000);
    const target = start(network, behaviour), begun = network.now;
    reachSoon(network, asker, { target, begun });
  });

  Deno.test(`its only introducer reaches a node behind a ${name} NAT within ${WITHIN_MS / 1000} s from its start`, () => {
    const network = new VirtualNetwork(20);
    const introducer = network.add({ at: "5.5.5.1:6881" });
    network.run(10 * 60_000);
    const target = start(network, behaviour), begun = network.now;
    reachSoon(network, introducer, { target, begun });
  });

  Deno.test(`its only introducer still reaches a node behind a ${name} NAT after an hour`, () => {
    const network = new VirtualNetwork(20);
    const introducer = network.add({ at: "5.5.5.1:6881" });
    const target = start(network, behaviour);
    network.run(60 * 60_000);
    reachSoon(network, introducer, { target, begun: network.now });
  });
}
