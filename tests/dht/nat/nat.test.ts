// Finding out whether strangers can reach a node: behind each kind of NAT, behind firewalls, and without either.

import assert from "node:assert/strict";
import type { NatState } from "../../../src/dht/nat/nat_state.ts";
import { decodeAny, endpoint, text } from "../../packets.ts";
import {
  ADDRESS_RESTRICTED,
  FULL_CONE,
  type NatBehaviour,
  PORT_RESTRICTED,
  SYMMETRIC,
  VirtualNat,
} from "../virtual_nat.ts";
import { VirtualNetwork, type VirtualNode, type VirtualNodeOptions } from "../virtual_network.ts";

const MINUTE = 60_000;

/** A network of nodes at public addresses, each in a subnet of its own. */
function internet(count = 12, options: VirtualNodeOptions = {}): VirtualNetwork {
  const network = new VirtualNetwork();
  for (let i = 0; i < count; i++) join(network, network.add({ at: `5.5.${i}.1:6881`, ...options }));
  network.run(10_000);
  return network;
}

function join(network: VirtualNetwork, node: VirtualNode): VirtualNode {
  const [first] = network.nodes;
  if (node !== first) node.node.membership.join([first.endpoint], [], network.now);
  network.run(2_000);
  return node;
}

function behind(
  network: VirtualNetwork,
  behaviour: NatBehaviour,
  options: VirtualNodeOptions = {},
): { nat: VirtualNat; node: VirtualNode } {
  const nat = new VirtualNat(network, `9.9.${network.nodes.length}.9`, behaviour);
  return { nat, node: join(network, nat.add(options)) };
}

const stateOf = ({ node }: VirtualNode): NatState => node.nats[4]!.state;

/** The parts of a NAT's state that these tests check. */
function brief(node: VirtualNode): [string, boolean | undefined, boolean] {
  const { type, reachable, readOnly } = stateOf(node);
  return [type, reachable, readOnly];
}

const isKnown = (network: VirtualNetwork, { node }: VirtualNode): boolean =>
  network.nodes.some((other) =>
    other.node !== node && other.node.tables.find(node.id) !== undefined
  );

Deno.test("a node at a public address counts as reachable once strangers query it, without a probe", () => {
  const network = internet();
  network.run(5 * MINUTE);
  for (const node of network.nodes.slice(1)) {
    assert.deepEqual(brief(node), ["none", true, false]);
    assert.ok(stateOf(node).external!.equals(node.endpoint));
  }
});

Deno.test("nodes at private and loopback addresses count as reachable at once, and ask for no probes", () => {
  for (const prefix of ["10.7.0", "127.0.0"]) {
    const network = new VirtualNetwork();
    const probes: string[] = [];
    network.link = (datagram) => {
      const { q } = decodeAny(datagram);
      if (q !== undefined && text(q).startsWith("dm_")) probes.push(text(q));
      return datagram;
    };
    const nodes = [1, 2, 3].map((i) => join(network, network.add({ at: `${prefix}.${i}:6881` })));
    const expected = ["none", true, false];
    for (const node of nodes.slice(1)) assert.deepEqual(brief(node), expected);
    // The first node joins through nobody, so its health checks are the first queries that it chooses to send.
    network.run(MINUTE);
    assert.deepEqual(brief(nodes[0]), expected);
    network.run(100 * MINUTE);
    assert.deepEqual(probes, []);
    assert.equal(nodes[1].events.filter(({ type }) => type === "nat").length, 1);
  }
});

for (
  const [name, behaviour, type] of [
    ["a port-restricted NAT", PORT_RESTRICTED, "endpoint_independent"],
    ["an address-restricted NAT", ADDRESS_RESTRICTED, "endpoint_independent"],
    ["a symmetric NAT", SYMMETRIC, "symmetric"],
  ] as const
) {
  Deno.test(`behind ${name} a node knows about its NAT, and enters no table`, () => {
    // With this many nodes and such small tables, the node does not know all of them. Packets from known addresses
    // might pass a filter.
    const network = internet(60, { k: 3 });
    const { nat, node } = behind(network, behaviour, { k: 3 });
    network.run(MINUTE);
    assert.deepEqual(brief(node), [type, false, true]);
    const { external, evidence } = stateOf(node);
    assert.equal(external!.host, nat.address);
    assert.ok(evidence.tally!.votes >= 2 && evidence.tally!.votes === evidence.tally!.voters);
    assert.ok(evidence.missed >= 1);
    if (behaviour !== ADDRESS_RESTRICTED) assert.deepEqual(evidence.arrivedFrom, []);
    assert.match(evidence.reason, /probes|only from addresses/);
    network.run(3 * MINUTE);
    assert.ok(!isKnown(network, node));
    assert.ok(node.node.tables.size >= 3, "and is a full client");
  });
}

Deno.test("behind a full-cone NAT, a node takes part once a stranger's probe has arrived", () => {
  const network = internet();
  const { node } = behind(network, FULL_CONE);
  assert.deepEqual(brief(node).slice(1), [undefined, true], "first it keeps out of tables");
  network.run(MINUTE);
  assert.deepEqual(brief(node), ["endpoint_independent", true, false]);
  assert.ok(stateOf(node).evidence.arrivedFrom.length > 0);
  network.run(3 * MINUTE);
  assert.ok(isKnown(network, node));
});

Deno.test("a public node behind a firewall finds out that strangers can't reach it", () => {
  const network = internet();
  const node = network.add({ at: "7.7.7.7:6881" });
  const written = new Set<string>();
  network.link = (datagram, from, to) => {
    if (from.sameAddress(node.endpoint)) written.add(`${from} ${to}`);
    return to.sameAddress(node.endpoint) && !written.has(`${to} ${from}`) ? undefined : datagram;
  };
  join(network, node);
  network.run(6 * MINUTE);
  assert.deepEqual(brief(node), ["none", false, true]);
});

Deno.test("a port that a router forwards is noticed at once when the mapping is reported", () => {
  const network = internet();
  const { nat, node } = behind(network, PORT_RESTRICTED);
  network.run(MINUTE);
  assert.deepEqual(brief(node).slice(1), [false, true]);
  const { events } = node;
  events.length = 0;
  assert.equal(isKnown(network, node), false);
  nat.forward(6881, node.endpoint);
  node.node.nats[4]!.noteMapping(endpoint(`${nat.address}:6881`), network.now);
  network.run(MINUTE);
  const knowing = network.nodes.filter((other) =>
    other.node.tables.find(node.node.id) !== undefined
  );
  assert.equal(knowing.length, 12, "its neighbours learn about it at once");
  assert.deepEqual(brief(node), ["endpoint_independent", true, false]);
  assert.equal(stateOf(node).external!.port, 6881);
  assert.ok(events.some((event) => event.type === "nat" && event.state.reachable));
  nat.unforward(6881);
  node.node.nats[4]!.noteMapping(undefined, network.now);
  network.run(MINUTE);
  assert.deepEqual(brief(node).slice(1), [false, true]);
});

Deno.test("a port that a router forwards is noticed within the hour by the regular checks", () => {
  const network = internet();
  const { nat, node } = behind(network, PORT_RESTRICTED);
  network.run(MINUTE);
  nat.forward(6881, node.endpoint);
  network.run(65 * MINUTE);
  assert.deepEqual(brief(node).slice(1), [true, false]);
});

Deno.test("a new address is checked again", () => {
  const network = internet();
  const { nat, node } = behind(network, FULL_CONE);
  network.run(MINUTE);
  assert.equal(stateOf(node).reachable, true);
  const moved = new VirtualNat(network, "8.8.8.8", PORT_RESTRICTED);
  network.addGateway(moved, "8.8.8.8", [node.endpoint.host]);
  network.run(5 * MINUTE);
  assert.notEqual(stateOf(node).external!.host, nat.address);
  assert.deepEqual(brief(node), ["endpoint_independent", false, true]);
});

Deno.test("new ports after a router's restart don't make a NAT count as symmetric", () => {
  const network = internet();
  const { nat, node } = behind(network, PORT_RESTRICTED);
  network.run(MINUTE);
  const types = new Set<string>();
  for (let i = 0; i < 3; i++) {
    nat.restart();
    for (let s = 0; s < 300; s++) {
      network.run(1_000);
      types.add(stateOf(node).type);
    }
  }
  assert.deepEqual([...types], ["endpoint_independent"]);
});

Deno.test("probes at an extra port reveal the kind of NAT, even if all nodes know each other", () => {
  const kinds = [
    [FULL_CONE, true, "none"],
    [ADDRESS_RESTRICTED, false, "address"],
    [PORT_RESTRICTED, false, "address_and_port"],
    [SYMMETRIC, false, "address_and_port"],
  ] as const;
  for (const count of [2, 12]) {
    for (const [behaviour, reachable, filtering] of kinds) {
      const network = internet(count);
      const { node } = behind(network, behaviour);
      network.run(MINUTE);
      assert.deepEqual(brief(node).slice(1), [reachable, !reachable]);
      assert.equal(stateOf(node).filtering, filtering);
    }
  }
  const network = internet(1);
  const { node } = behind(network, PORT_RESTRICTED);
  network.run(MINUTE);
  assert.deepEqual(brief(node), ["unknown", false, true]);
});

Deno.test("if no node can probe it, a node takes part and judges by the queries of strangers", () => {
  for (const [behaviour, reachable] of [[FULL_CONE, true], [PORT_RESTRICTED, false]] as const) {
    // Other implementations, which answer `dm_probe` as an unknown query.
    const network = new VirtualNetwork();
    const client = 0x4c540100;
    for (let i = 0; i < 12; i++) {
      join(network, network.add({ at: `5.5.${i}.1:6881`, client, nat: false }));
    }
    const nat = new VirtualNat(network, "9.9.9.9", behaviour);
    const node = join(network, nat.add());
    network.run(10_000);
    for (let i = 0; i < 20; i++) {
      const newcomer = network.add({ at: `6.6.${i}.1:6881`, client, nat: false });
      newcomer.node.membership.join([network.nodes[1].endpoint], [], network.now);
      network.run(MINUTE);
    }
    assert.deepEqual(brief(node).slice(1), [reachable, !reachable]);
  }
});

Deno.test("a single false vote does not change our address", () => {
  const network = internet();
  const [, node] = network.nodes;
  network.run(3 * MINUTE);
  const before = brief(node);
  const liars = network.nodes.slice(2, 5);
  network.link = (datagram, from) => {
    if (!liars.some(({ endpoint }) => endpoint.equals(from))) return datagram;
    const at = text(datagram).indexOf("2:ip6:");
    if (at >= 0) datagram.set([6, 6, 6, 6], at + 6);
    return datagram;
  };
  network.run(10 * MINUTE);
  assert.deepEqual(brief(node), before);
  assert.ok(stateOf(node).external!.equals(node.endpoint));
});

Deno.test("IPv6 may be reachable while IPv4 is not", () => {
  const network = new VirtualNetwork();
  for (let i = 0; i < 12; i++) {
    join(network, network.add({ at: [`5.5.${i}.1:6881`, `[2a01:db8:${i}::1]:6881`] }));
  }
  const nat = new VirtualNat(network, "9.9.9.9", PORT_RESTRICTED);
  const node = nat.add({ at: ["192.168.77.1:6881", "[2a01:db8:77::1]:6881"] });
  network.addGateway(nat, "9.9.9.9", ["192.168.77.1"]);
  node.node.membership.join(network.nodes[0].endpoints, [], network.now);
  network.run(8 * MINUTE);
  const [v4, v6] = Object.values(node.node.nats).map(({ state }) => state);
  assert.deepEqual([v4.family, v4.type, v4.reachable, v4.readOnly], [
    4,
    "endpoint_independent",
    false,
    true,
  ]);
  assert.deepEqual([v6.family, v6.type, v6.reachable, v6.readOnly], [6, "none", true, false]);
  assert.ok(network.nodes.some((other) => other.node.tables.byFamily[6]!.find(node.node.id)));
  assert.ok(network.nodes.every((other) => !other.node.tables.byFamily[4]?.find(node.node.id)));
});

Deno.test("NAT=off: a node behind a NAT takes part without a check", () => {
  const network = internet();
  const { node } = behind(network, PORT_RESTRICTED, { nat: false });
  network.run(10 * MINUTE);
  assert.deepEqual(brief(node), ["unknown", undefined, false]);
});

Deno.test("at rest, the checks cost less than one packet a minute", () => {
  const network = internet(30);
  network.run(10 * MINUTE);
  let packets = 0;
  network.link = (datagram) => {
    const { q } = decodeAny(datagram);
    if (q !== undefined && /dm_|get_peers/.test(text(q))) packets++;
    return datagram;
  };
  network.run(120 * MINUTE);
  assert.ok(packets / 30 / 120 < 1, `${packets / 30 / 120} a node and minute`);
});
