// Counting the copies of values.

import assert from "node:assert/strict";
import { isItemError, mutableItem } from "../../src/dht/items/item.ts";
import { compareDistance } from "../../src/krpc/id.ts";
import { nextSeq } from "../../src/krpc/seq.ts";
import { Identity, itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { flatLatency } from "../../src/sim/latency.ts";
import { copiesOf, SimValue } from "../../src/sim/values.ts";
import { type SimNode, World } from "../../src/sim/world.ts";

const OPTIONS = { k: 3, alpha: 3, healthCheckIntervalMs: 60_000, readOnly: false, client: 0 };
const FIRST = new TextEncoder().encode("5:first"), SECOND = new TextEncoder().encode("6:second");

/** Ten nodes by their distance to the value. */
function nodesAround({ target }: SimValue): { world: World; nodes: SimNode[] } {
  const links = { latency: flatLatency(50), loss: 0, duplication: 0, reordering: 0 };
  const world = new World(links, 1);
  for (let i = 0; i < 10; i++) world.add(OPTIONS);
  const nodes = [...world.nodes];
  nodes.sort((x, y) => compareDistance(x.node.id, y.node.id, target));
  return { world, nodes };
}

function give({ item }: SimValue, ...holders: SimNode[]): void {
  for (const { items } of holders) items.put({ item }, 0, () => {});
}

Deno.test("only copies of the newest version at the k closest nodes count", () => {
  const value = new SimValue(FIRST, new Identity(new Uint8Array(32).fill(7)));
  const { nodes } = nodesAround(value);
  give(value, nodes[0], nodes[1], nodes[5]);
  assert.deepEqual(copiesOf([value], { nodes, eligible: nodes, k: 3 }, 1), {
    mean: 2,
    least: 2,
    stale: 0,
    lost: 0,
  });
  value.renew(SECOND);
  assert.deepEqual(copiesOf([value], { nodes, eligible: nodes, k: 3 }, 1), {
    mean: 0,
    least: 0,
    stale: 2,
    lost: 1,
  });
  // This copy is far from the value, but keeps it alive.
  give(value, nodes[8]);
  assert.equal(copiesOf([value], { nodes, eligible: nodes, k: 3 }, 1).lost, 0);
  give(value, nodes[0]);
  assert.deepEqual(copiesOf([value], { nodes, eligible: nodes, k: 3 }, 1), {
    mean: 1,
    least: 1,
    stale: 1,
    lost: 0,
  });
});

Deno.test("a value is lost when no node holds it and its owner is gone", () => {
  const value = new SimValue(FIRST);
  const { world, nodes } = nodesAround(value);
  give(value, nodes[4]);
  value.owner = nodes[9];
  world.silence(nodes[4]);
  assert.equal(copiesOf([value], { nodes, eligible: nodes, k: 3 }, 1).lost, 0);
  world.depart(nodes[9]);
  assert.equal(copiesOf([value], { nodes, eligible: nodes, k: 3 }, 1).lost, 1);
});

Deno.test("each version of a mutable value is signed, and a new one is newer", () => {
  const value = new SimValue(FIRST, new Identity(new Uint8Array(32).fill(7)));
  const { target, signed } = value.item;
  value.renew(SECOND);
  assert.ok(value.isMutable && value.target.equals(target));
  assert.equal(value.item.signed!.seq, nextSeq(signed!.seq));
  assert.ok(!isItemError(mutableItem(itemCrypto, value.item.value, value.item.signed!)));
  assert.ok(!new SimValue(FIRST).isMutable);
});
