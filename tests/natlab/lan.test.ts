// Tests nodes with a network key on one local network, without bootstrap nodes: their beacons cross a bridge.

import assert from "node:assert/strict";
import { join } from "node:path";
import { NetworkKey } from "../../src/config/network_key.ts";
import { Lab, type Machine, type Node } from "./lab.ts";

/** The options of a node with a network key in this file. */
const withKey = (file: string) => ["--network-key-file", file, "--nat", "off"];

async function newKey(directory: string, name: string): Promise<string> {
  const file = join(directory, name);
  await Deno.writeTextFile(file, `${NetworkKey.random().secretText()}\n`, { mode: 0o600 });
  return file;
}

/** Builds a local network of machines that are connected by a bridge. */
async function local(hosts: number, options: { readonly ipv6?: boolean } = {}) {
  const lab = await Lab.open();
  const { hosts: machines } = await lab.site("linux", { hosts, ...options });
  return { lab, machines, key: await newKey(lab.directory, "key") };
}

async function removeIpv4(machine: Machine): Promise<void> {
  await machine.run("ip", "-4", "address", "flush", "dev", "eth0");
}

/** The addresses of a node's contacts, sorted. */
async function contacts(node: Node): Promise<string[]> {
  const { body } = await node.request("/network/peers");
  return body.peers.map(({ address }: { address: string }) => address).toSorted();
}

const hasPeers = (count: number) => ({ peers }: { peers: { healthy: number } }) =>
  peers.healthy === count;

Deno.test("nodes with one key find each other on a local network, and nodes with another key do not", async () => {
  const { lab, machines, key } = await local(3);
  await using _ = lab;
  const otherKey = await newKey(lab.directory, "other");
  const other = await lab.startNode(machines[2], withKey(otherKey));
  const nodes: Node[] = [];
  for (const machine of machines.slice(0, 2)) {
    nodes.push(await lab.startNode(machine, withKey(key)));
  }
  for (const node of nodes) {
    await node.until("the other node is a peer", ({ peers }) => peers.healthy > 0);
  }
  assert.equal((await other.stats()).routing_table_size, 0);
});

Deno.test("nodes without IPv4 and without a router find each other by IPv6 beacons", async () => {
  const { lab, machines, key } = await local(2);
  await using _ = lab;
  const nodes: Node[] = [];
  for (const machine of machines) {
    await removeIpv4(machine);
    nodes.push(await lab.startNode(machine, withKey(key)));
  }
  for (const node of nodes) await node.until("the other node is a peer", hasPeers(1));
  for (const node of nodes) {
    const [address] = await contacts(node);
    assert.match(address, /^\[fe80:/);
  }
});

Deno.test("nodes with IPv4 and IPv6 find each other in both families, by addresses that are valid beyond the link", async () => {
  const { lab, machines, key } = await local(2, { ipv6: true });
  await using _ = lab;
  const nodes: Node[] = [];
  for (const machine of machines) nodes.push(await lab.startNode(machine, withKey(key)));
  for (const node of nodes) {
    await node.until("the other node is a peer in both families", hasPeers(2));
  }
  const [ipv4, ipv6] = await contacts(nodes[0]);
  assert.equal(ipv4, `${machines[1].address}:8000`);
  assert.match(ipv6, /^\[2001:db8:/);
});

Deno.test("--allow-net decides from which addresses a node sends beacons, and which ones it follows", async () => {
  const { lab, machines, key } = await local(3, { ipv6: true });
  await using _ = lab;
  const [first, second, third] = machines;
  const allowNet = `--allow-net=${first.address},${second.address}`;
  const nodes: Node[] = [];
  for (const machine of [first, second]) {
    nodes.push(await lab.startNode(machine, [...withKey(key), allowNet]));
  }
  const stranger = await lab.startNode(third, withKey(key));
  for (const node of nodes) await node.until("the other node is a peer", hasPeers(1));
  assert.deepEqual(await contacts(nodes[0]), [`${second.address}:8000`]);
  assert.equal((await stranger.stats()).routing_table_size, 0);
});

Deno.test("BEACONS=off turns beacons off", async () => {
  const { lab, machines, key } = await local(3);
  await using _ = lab;
  const silent = await lab.startNode(machines[0], [...withKey(key), "--beacons", "off"]);
  const nodes: Node[] = [];
  for (const machine of machines.slice(1)) nodes.push(await lab.startNode(machine, withKey(key)));
  for (const node of nodes) {
    await node.until("the other node is a peer", ({ peers }) => peers.healthy > 0);
  }
  assert.equal((await silent.stats()).routing_table_size, 0);
});
