// Port mapping with miniupnpd, the daemon of real routers: each protocol makes a node reachable. The node deletes its
// mapping at the end, and makes it again after the router has lost it or has changed its address.

import assert from "node:assert/strict";
import { Lab, type Machine, type MiniupnpdOptions, type Node, PING, Sockets } from "./lab.ts";

const PROTOCOLS: readonly [protocol: string, options: MiniupnpdOptions][] = [
  ["pcp", {}],
  ["nat-pmp", { pcp: false, upnp: false }],
  ["upnp", { pcp: false, natPmp: false }],
];

/** Whether a stranger gets an answer from the node. The stranger tries a few times. */
async function answersStrangers(lab: Lab, host: string, port = 8000): Promise<boolean> {
  const stranger = await Sockets.open(await lab.publicHost({ ipv6: host.includes(":") }), [6881]);
  let from: [string, number] | undefined;
  for (let i = 0; i < 4 && from === undefined; i++) {
    from = await stranger.after(6881, () => stranger.send(6881, host, port, PING));
  }
  await stranger.end();
  return from !== undefined && from[0] === host && from[1] === port;
}

/** The mappings and openings in the tables of the router's kernel. */
async function mappedBy(router: Machine): Promise<string[]> {
  const lines = [
    await router.run("nft", "list", "chain", "inet", "nat", "prerouting_upnp"),
    await router.run("nft", "list", "chain", "inet", "filter", "forward_upnp"),
  ].join("\n").split("\n");
  return lines.filter((line) => /dport/.test(line));
}

const mapped = (node: Node) => node.until("mapped", ({ nat }) => nat.mapping.status === "mapped");

for (const [protocol, options] of PROTOCOLS) {
  Deno.test(`${protocol}: a mapped node answers strangers, and deletes the mapping at the end`, async () => {
    await using lab = await Lab.open();
    const { hosts: [host], router, external } = await lab.site("linux", { upnp: options });
    const unmapped = await host.start(["--nat", "off"]);
    assert.equal(await answersStrangers(lab, external), false);
    assert.equal((await unmapped.stats()).nat.mapping, null);
    await unmapped.stop();

    const node = await host.start();
    const { nat: { mapping } } = await mapped(node);
    assert.equal(mapping.protocol, protocol);
    assert.equal(mapping.external_address, `${external}:8000`);
    assert.equal(mapping.internal_address, `${host.address}:8000`);
    assert.equal(mapping.lease_s, 3600);
    assert.equal(mapping.problem, null);
    assert.notDeepEqual(await mappedBy(router), []);
    assert.ok(await answersStrangers(lab, external));

    await node.stop();
    assert.deepEqual(await mappedBy(router), []);
    assert.equal(await answersStrangers(lab, external), false);
  });
}

Deno.test("a node makes its mapping again after the router has lost it", async () => {
  await using lab = await Lab.open();
  await Promise.all(PROTOCOLS.map(async ([protocol, options]) => {
    const { hosts: [host], router, external } = await lab.site("linux");
    const daemon = await lab.miniupnpd(router, options);
    const node = await host.start();
    await mapped(node);
    await daemon.kill();
    await router.run("nft", "flush", "chain", "inet", "nat", "prerouting_upnp");
    await router.run("nft", "flush", "chain", "inet", "filter", "forward_upnp");
    assert.deepEqual(await mappedBy(router), []);
    await lab.miniupnpd(router, options);
    // UPnP doesn't announce a restart, so the node notices it with its check each minute. If the daemon had run for
    // only a second or two, its counter of seconds doesn't always show the restart. The mapping then counts as renewed.
    const { nat } = await node.until(
      "mapped again",
      ({ nat: { mapping: { status, made, renewals } } }) =>
        status === "mapped" && made + renewals >= 2,
      100_000,
    );
    assert.equal(nat.mapping.protocol, protocol);
    assert.ok(await answersStrangers(lab, external), protocol);
  }));
});

Deno.test("IPv6: PCP and UPnP open the router's firewall for strangers", async () => {
  await using lab = await Lab.open();
  for (const [protocol, upnp] of [["pcp", { upnp: false }], ["upnp", { pcp: false }]] as const) {
    const { hosts: [host], router } = await lab.site("linux", { upnp, ipv6: true });
    const node = await host.start();
    const { nat } = await node.until(
      "let in",
      ({ nat }) => nat.pinhole.status === "mapped" && nat.mapping.status === "mapped",
    );
    assert.equal(nat.pinhole.protocol, protocol);
    const [, address, port] = /^\[(.*)\]:(\d+)$/.exec(nat.pinhole.external_address)!;
    assert.equal(port, "8000");
    assert.ok(await answersStrangers(lab, address));
    await node.stop();
    assert.equal(await answersStrangers(lab, address), false);
    assert.deepEqual(await mappedBy(router), []);
  }
});

Deno.test("strangers reach two nodes with the same port behind one router", async () => {
  await using lab = await Lab.open();
  const { bootstrap } = await lab.publicNodes(4);
  await Promise.all(PROTOCOLS.map(async ([protocol, upnp]) => {
    const { hosts, external } = await lab.site("linux", { upnp, hosts: 2 });
    const nodes = [];
    for (const host of hosts) {
      nodes.push(await host.start(bootstrap));
      await mapped(nodes.at(-1)!);
    }
    const ports = new Set<number>();
    for (const node of nodes) {
      const { nat } = await node.until("reachable", ({ nat }) => nat.reachable === true);
      // Peers see the node at its mapped address.
      assert.equal(nat.mapping.external_address, nat.external_address, protocol);
      const [host, port] = nat.external_address.split(":");
      assert.equal(host, external);
      assert.ok(await answersStrangers(lab, host, Number(port)), `${protocol}: ${host}:${port}`);
      ports.add(port);
    }
    assert.equal(ports.size, 2);
  }));
});

Deno.test("the stats report a router that is behind another NAT", async () => {
  await using lab = await Lab.open();
  const { hosts: [host] } = await lab.site("double", { upnp: {} });
  const node = await host.start();
  const { nat } = await node.until("none", ({ nat }) => nat.mapping.status === "none");
  assert.match(nat.mapping.problem, /\(nat-pmp\): network failure: it has no external address/);
});
