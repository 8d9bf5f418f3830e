// Hosts with several addresses, with separate sockets for IPv4 and IPv6, and with link-local addresses only.

import assert from "node:assert/strict";
import { Lab, type Machine } from "./lab.ts";

const hasPeer = ({ peers }: { peers: { healthy: number } }) => peers.healthy > 0;

function addAddress(host: Machine, last: number): Promise<string> {
  const address = host.address.replace(/\d+$/, String(last));
  return host.run("ip", "address", "add", `${address}/24`, "dev", "eth0").then(() => address);
}

Deno.test("a host answers from the address that was asked, so a node behind a firewall can join there", async () => {
  await using lab = await Lab.open();
  const host = await lab.publicHost();
  const second = await addAddress(host, 3);
  const node = await host.start();
  const { hosts: [behind, other] } = await lab.site("firewall", { hosts: 2 });
  const guest = await behind.start(["--bootstrap", `${second}:8000`]);
  await guest.until("a peer of the second address", hasPeer);

  const third = await addAddress(host, 4);
  const late = await other.start(["--bootstrap", `${third}:8000`]);
  await late.until("a peer of an address that came later", hasPeer);
  const { addresses } = await node.stats();
  assert.ok(addresses.includes(`${third}:8000`), addresses.join());

  await host.run("ip", "address", "del", `${third}/24`, "dev", "eth0");
  await node.until(
    "without the address that went",
    (stats) => !stats.addresses.includes(`${third}:8000`),
  );
});

Deno.test("with net.ipv6.bindv6only, a node still serves IPv4", async () => {
  await using lab = await Lab.open();
  const { nodes: [node], bootstrap } = await lab.publicNodes(1);
  const host = await lab.publicHost();
  await host.run("sysctl", "-qw", "net.ipv6.bindv6only=1");
  const separate = await host.start(bootstrap);
  await separate.until("joined over IPv4", hasPeer);
  await node.until("in contact with the other node", hasPeer);
  const { addresses } = await separate.stats();
  assert.ok(addresses.includes("[::]:8000") && addresses.includes("0.0.0.0:8000"));
  assert.ok(separate.lines.some(({ message }) => message.includes("net.ipv6.bindv6only")));
});

Deno.test("nodes on one link find each other by their link-local addresses", async () => {
  await using lab = await Lab.open();
  const [first, second] = [await lab.publicHost(), await lab.publicHost()];
  await first.run(..."ip link add near type veth peer name near netns".split(" "), second.ns);
  for (const host of [first, second]) {
    await host.run("sysctl", "-qw", "net.ipv6.conf.near.accept_dad=0");
    await host.run("ip", "link", "set", "near", "up");
  }
  await first.run(..."ip address add fe80::1/64 dev near nodad".split(" "));
  const node = await first.start();
  const guest = await second.start(["--bootstrap", "[fe80::1%near]:8000"]);
  await guest.until("joined over the link", hasPeer);
  await node.until("in contact over the link", hasPeer);
});
