// Strangers that lie about our address change neither the address nor the id, and a real change is still noticed.

import assert from "node:assert/strict";
import { encode, endpoint } from "../../packets.ts";
import { FULL_CONE, VirtualNat } from "../virtual_nat.ts";
import { Answering, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const MINUTE = 60_000, HOUR = 60 * MINUTE;

/** How often each liar queries the node that it lies to. */
const QUERY_INTERVAL_MS = 20_000;

/** Honest nodes at public addresses, each in a network of its own. */
function internet(count: number): VirtualNetwork {
  const network = new VirtualNetwork();
  for (let i = 0; i < count; i++) join(network, network.add({ at: `5.5.${i}.1:6881` }));
  return network;
}

function join(network: VirtualNetwork, node: VirtualNode): VirtualNode {
  const [first] = network.nodes;
  if (node !== first) node.node.membership.join([first.endpoint], [], network.now);
  network.run(2_000);
  return node;
}

/** Strangers in networks of `perNetwork` addresses each. They query `victim` again and again, and answer its queries. */
function liars(
  network: VirtualNetwork,
  victim: VirtualNode,
  { count, perNetwork, claim }: {
    readonly count: number;
    readonly perNetwork: number;
    /** The address at which liar `i` claims to see the victim. */
    readonly claim: (i: number) => string;
  },
): Answering[] {
  return Array.from({ length: count }, (_, i) => {
    const liar = new Answering(
      network,
      `66.6.${Math.floor(i / perNetwork)}.${i % perNetwork + 1}:1`,
    );
    liar.sees = () => endpoint(claim(i));
    const query = encode({ t: "aa", y: "q", q: "ping", a: { id: liar.id.toBytes() } });
    const at = victim.node.nats[4]!.state.external ?? victim.endpoint;
    const ask = () => {
      liar.send(query, at);
      network.after(QUERY_INTERVAL_MS, ask);
    };
    network.after(i * QUERY_INTERVAL_MS / count, ask);
    return liar;
  });
}

/** The parts of a node's state that liars would like to change. */
function stateOf({ node }: VirtualNode) {
  const { external, type, reachable, readOnly } = node.nats[4]!.state;
  return { id: `${node.id}`, external: `${external}`, type, reachable, readOnly };
}

const changes = ({ events }: VirtualNode) =>
  events.filter(({ type }) => type === "id" || type === "nat");

/** Lets a node settle for half an hour, then exposes it to 60 liars in 20 networks for an hour. */
function attack(network: VirtualNetwork, victim: VirtualNode, claim: (i: number) => string): void {
  network.run(HOUR / 2);
  const before = stateOf(victim);
  victim.events.length = 0;
  liars(network, victim, { count: 60, perNetwork: 3, claim });
  network.run(HOUR);
  assert.deepEqual(stateOf(victim), before);
  assert.deepEqual(changes(victim), []);
}

for (const nat of [true, false]) {
  for (const honest of [3, 12]) {
    const name = `with NAT=${nat ? "auto" : "off"} and ${honest} honest nodes`;
    Deno.test(`60 liars in 20 networks change nothing in an hour at a public node, ${name}`, () => {
      const network = internet(honest);
      const victim = join(network, network.add({ at: "45.1.2.3:6881", nat }));
      attack(network, victim, () => "77.7.7.7:6881");
    });
  }
}

for (const honest of [3, 12]) {
  for (
    const [name, claim] of [
      ["another address", () => "77.7.7.7:6881"],
      ["an address each", (i: number) => `77.7.7.${i}:6881`],
      ["other ports", (i: number) => `9.9.9.9:${1_000 + i}`],
    ] as const
  ) {
    Deno.test(`60 liars in 20 networks that claim ${name} change nothing in an hour behind a full-cone NAT, with ${honest} honest nodes`, () => {
      const network = internet(honest);
      const nat = new VirtualNat(network, "9.9.9.9", FULL_CONE);
      const victim = join(network, nat.add());
      attack(network, victim, claim);
    });
  }
}

Deno.test("26 strangers in one network don't make a node change its id", () => {
  const network = internet(4);
  const victim = join(network, network.add({ at: "45.1.2.3:6881", nat: false }));
  network.run(MINUTE);
  const before = stateOf(victim).id;
  liars(network, victim, { count: 26, perNetwork: 26, claim: () => "77.7.7.7:6881" });
  network.run(5 * MINUTE);
  assert.equal(stateOf(victim).id, before);
});

Deno.test("liars that told the truth at first don't outvote the honest nodes", () => {
  const network = internet(8);
  const nat = new VirtualNat(network, "9.9.9.9", FULL_CONE);
  const victim = join(network, nat.add());
  network.run(MINUTE);
  const { external } = victim.node.nats[4]!.state;
  const patient = liars(network, victim, { count: 60, perNetwork: 3, claim: () => `${external}` });
  network.run(HOUR);
  const before = stateOf(victim);
  for (const liar of patient) liar.sees = () => endpoint("77.7.7.7:6881");
  network.run(HOUR);
  assert.deepEqual(stateOf(victim), before);
});

for (const honest of [1, 2, 12]) {
  Deno.test(`a router's new address is noticed within two minutes, with ${honest} honest nodes`, () => {
    const network = internet(honest);
    const victim = join(network, new VirtualNat(network, "9.9.9.9", FULL_CONE).add());
    network.run(10 * MINUTE);
    assert.equal(victim.node.nats[4]!.state.external!.host, "9.9.9.9");
    const moved = new VirtualNat(network, "8.8.8.8", FULL_CONE);
    network.addGateway(moved, moved.address, [victim.endpoint.host]);
    // The former address leads nowhere now.
    network.link = (datagram, _, to) => to.host === "9.9.9.9" ? undefined : datagram;
    network.run(2 * MINUTE);
    assert.equal(victim.node.nats[4]!.state.external!.host, "8.8.8.8");
  });
}

Deno.test("a node on the same machine can't make us believe that we are behind a NAT", () => {
  const network = new VirtualNetwork();
  const victim = network.add({ at: "127.0.0.1:6881" });
  const liar = new Answering(network, "127.0.0.1:7000");
  let claims = 0;
  liar.sees = () => endpoint(`8.8.8.${++claims % 256}:1000`);
  victim.node.membership.join([liar.at], [], network.now);
  network.run(10 * MINUTE);
  assert.ok(claims > 2);
  assert.equal(victim.node.nats[4]!.state.external, undefined);
  assert.ok(!victim.node.nats[4]!.state.readOnly);
});
