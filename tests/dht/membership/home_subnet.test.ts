// The nodes of one site: all of them find each other, although they share one public /24 or /64.

import assert from "node:assert/strict";
import { immutableItem } from "../../../src/dht/items/item.ts";
import type { GetResult, PutResult } from "../../../src/dht/items/item_operations.ts";
import type { FindResult } from "../../../src/dht/search/searches.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { encode } from "../../packets.ts";
import { VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const SITE = 12, LARGE_SITE = 60;

/** Adds `count` nodes, which join through `first` or, without it, through the first of them. */
function join(
  network: VirtualNetwork,
  at: (n: number) => string,
  { count = SITE, first }: { count?: number; first?: VirtualNode } = {},
): VirtualNode[] {
  const nodes = Array.from({ length: count }, (_, n) => network.add({ at: at(n), isNewId: true }));
  for (const one of nodes) {
    const to = first ?? nodes[0];
    if (one !== to) one.node.membership.join(to.endpoints, [], network.now);
    network.run(500);
  }
  network.run(30_000);
  return nodes;
}

function find(network: VirtualNetwork, by: VirtualNode, { node }: VirtualNode): FindResult {
  return network.complete<FindResult>((now, done) => by.node.find(node.id, now, done));
}

for (
  const [subnet, at] of [
    ["/24", (n: number) => `5.6.7.${n + 1}:8000`],
    ["/64", (n: number) => `[2a00:1:2:3::${n + 1}]:8000`],
    ["private network", (n: number) => `10.9.7.${n + 1}:8000`],
  ] as const
) {
  Deno.test(`${SITE} nodes in one ${subnet} have each other in their tables and find each other`, () => {
    const network = new VirtualNetwork();
    const nodes = join(network, at);
    for (const { node } of nodes) assert.equal(node.tables.size, SITE - 1);
    const found = nodes.filter((one, n) => {
      const { closest } = find(network, nodes[(n + 1) % SITE], one);
      return closest[0]?.id.equals(one.node.id);
    });
    assert.equal(found.length, SITE);
    assert.deepEqual(nodes[1].node.tables.subnets.leftOut(network.now), []);
    const item = immutableItem(itemCrypto, encode("one value"));
    const { stored } = network.complete<PutResult>((now, done) =>
      nodes[2].node.items.put({ target: item.target, make: () => item }, now, done)
    );
    assert.equal(stored.length, SITE, "and store at all of them");
  });
}

for (
  const [subnet, at] of [
    ["/24", (n: number) => `5.6.7.${n + 1}:8000`],
    // All ids that fit a /64 (BEP 42) have one of eight prefixes.
    ["/64", (n: number) => `[2a00:1:2:3::${n + 1}]:8000`],
  ] as const
) {
  Deno.test(`${LARGE_SITE} nodes in one ${subnet} find each other, and each reads what another stores`, () => {
    const network = new VirtualNetwork();
    const nodes = join(network, at, { count: LARGE_SITE });
    network.run(60_000);
    const found = nodes.filter((one, n) => {
      const { closest } = find(network, nodes[(n + 1) % LARGE_SITE], one);
      return closest[0]?.id.equals(one.node.id);
    });
    assert.equal(found.length, LARGE_SITE);
    const item = immutableItem(itemCrypto, encode("one value"));
    network.complete<PutResult>((now, done) =>
      nodes[2].node.items.put({ target: item.target, make: () => item }, now, done)
    );
    const readers = nodes.filter(({ node }) => {
      const { item: read } = network.complete<GetResult>((now, done) =>
        node.items.get({ target: item.target }, now, done)
      );
      return read !== undefined;
    });
    assert.equal(readers.length, LARGE_SITE);
  });
}

Deno.test("a node elsewhere finds all nodes of the site of its bootstrap node", () => {
  const network = new VirtualNetwork();
  const [first] = join(network, (n) => `5.6.7.${n + 1}:8000`);
  const [guest] = join(network, () => "9.9.9.9:8000", { count: 1, first });
  assert.equal(guest.node.tables.size, SITE);
});

Deno.test("a stranger's subnet stays limited, and the nodes that are left out are reported", () => {
  const network = new VirtualNetwork();
  const nodes = join(network, (n) => `5.6.7.${n + 1}:8000`);
  join(network, (n) => `7.7.7.${n + 1}:8000`, { first: nodes[0] });
  const { tables } = nodes[3].node, table = tables.of(4);
  const strangers = [...table.contacts()].filter(({ endpoint }) =>
    endpoint.host.startsWith("7.7.7.")
  );
  assert.ok(
    strangers.length > 0 && strangers.length <= tables.subnets.perSubnet * table.bucketCount,
  );
  const [leftOut, ...others] = tables.subnets.leftOut(network.now);
  assert.equal(leftOut.subnet, "7.7.7.0/24");
  assert.ok(leftOut.nodes > 0);
  assert.deepEqual(others, []);
  assert.deepEqual(tables.subnets.leftOut(network.now + 3_600_000), [], "an hour later");
});
