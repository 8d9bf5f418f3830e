// Reaching nodes behind NATs: directly, through punched holes, by way of others; and what strangers can't make of that.

import assert from "node:assert/strict";
import type { ReachResult } from "../../src/dht/punching.ts";
import {
  ADDRESS_RESTRICTED,
  FULL_CONE,
  type NatBehaviour,
  PORT_RESTRICTED,
  SYMMETRIC,
  VirtualNat,
} from "./virtual_nat.ts";
import { VirtualNetwork, type VirtualNode, type VirtualNodeOptions } from "./virtual_network.ts";

const MINUTE = 60_000;

/** A network of nodes at public addresses, each in a subnet of its own. */
function internet(count = 12, options: VirtualNodeOptions = {}): VirtualNetwork {
  const network = new VirtualNetwork(20);
  for (let i = 0; i < count; i++) {
    const node = network.add({ at: `5.5.${i}.1:6881`, ...options });
    if (i > 0) node.node.join([network.nodes[0].endpoint], [], network.now);
    network.run(1_000);
  }
  network.run(3 * MINUTE);
  return network;
}

/** A node behind a NAT that has found out about it. */
function behind(
  network: VirtualNetwork,
  behaviour: NatBehaviour,
  options: VirtualNodeOptions = {},
): VirtualNode {
  const nat = new VirtualNat(network, `9.9.${network.nodes.length}.9`, behaviour);
  const node = nat.add(options);
  node.node.join([network.nodes[0].endpoint], [], network.now);
  network.run(MINUTE);
  return node;
}

interface Reached {
  readonly result: ReachResult;
  readonly ms: number;
}

function reach(network: VirtualNetwork, from: VirtualNode, to: VirtualNode): Reached {
  const begun = network.now;
  let ms = NaN;
  const result = network.complete<ReachResult>((now, done) =>
    from.node.reach(to.node.id, now, (result, at) => {
      ms = at - begun;
      done(result);
    })
  );
  return { result, ms };
}

const way = ({ result }: Reached) => result.kind === "reached" ? result.way : result.kind;

const KINDS = {
  public: undefined,
  "full cone": FULL_CONE,
  "address-restricted": ADDRESS_RESTRICTED,
  "port-restricted": PORT_RESTRICTED,
  symmetric: SYMMETRIC,
} as const;
type Kind = keyof typeof KINDS;

for (
  const [from, to, expected] of [
    ["public", "public", "direct"],
    ["port-restricted", "public", "direct"],
    ["symmetric", "public", "direct"],
    ["port-restricted", "full cone", "direct"],
    ["symmetric", "full cone", "direct"],
    ["public", "port-restricted", "punched"],
    ["public", "symmetric", "punched"],
    ["port-restricted", "port-restricted", "punched"],
    ["address-restricted", "port-restricted", "punched"],
    ["port-restricted", "address-restricted", "punched"],
    ["symmetric", "address-restricted", "punched"],
    ["address-restricted", "symmetric", "punched"],
    ["symmetric", "port-restricted", "punched"],
    ["port-restricted", "symmetric", "punched"],
    ["symmetric", "symmetric", "relayed"],
  ] as readonly [Kind, Kind, string][]
) {
  Deno.test(`${from} to ${to}: ${expected}`, () => {
    const network = internet(40, { k: 4 });
    const [x, y] = [from, to].map((kind, i) => {
      const behaviour = KINDS[kind];
      if (behaviour !== undefined) return behind(network, behaviour, { k: 4 });
      return network.nodes[20 + 10 * i];
    });
    const reached = reach(network, x, y);
    assert.equal(way(reached), expected);
    assert.ok(reached.ms < 2_000, `${reached.ms} ms`);
    // The way stands: the next time nobody is asked.
    const again = reach(network, x, y);
    assert.equal(way(again), expected);
    assert.ok(again.ms <= 160, `${again.ms} ms`);
  });
}
