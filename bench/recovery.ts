// The cost of losses in virtual time: how soon lost copies are replaced, and how a mass restart affects a network.
// Run: deno run -A bench/recovery.ts

import type { Item } from "../src/dht/items/item.ts";
import { immutableItem } from "../src/dht/items/item.ts";
import { bencodeBytes } from "../src/krpc/bencode.ts";
import { compareDistance, Id, ID_BYTES } from "../src/krpc/id.ts";
import { itemCrypto } from "../src/runtime/identity/crypto.ts";
import { SeededRandom } from "../src/sim/random.ts";
import { REGIONS } from "../src/sim/latency.ts";
import { type SimNode, World } from "../src/sim/world.ts";
import { CLIENT } from "../src/version.ts";

const NODES = 200, K = 20, VALUES = 20, OWNERS = 20, OWNED = 1_000;
const SECOND = 1_000;

const random = new SeededRandom(1, 2);
const links = { latency: REGIONS, loss: 0.01, duplication: 0, reordering: 0 };
const world = new World(links, 1);

const someItem = () => immutableItem(itemCrypto, bencodeBytes(random.bytes(100)));

function closest(target: Id, count: number): SimNode[] {
  return [...world.nodes].sort((x, y) => compareDistance(x.node.id, y.node.id, target))
    .slice(0, count);
}

function copies({ target }: Item): number {
  return closest(target, K).filter((sim) => sim.items.get(target, world.now) !== undefined).length;
}

function grow(): void {
  const first: SimNode[] = [];
  for (let i = 0; i < NODES; i++) {
    world.at(i * 150, () => {
      const sim = world.add({
        k: K,
        alpha: 3,
        healthCheckIntervalMs: 60 * SECOND,
        readOnly: false,
        client: CLIENT,
      });
      if (first.length < 3) first.push(sim);
      const through = first.filter((one) => one !== sim).map(({ endpoint }) => endpoint);
      world.act(sim, (node, now) => node.membership.join(through, [], now));
    });
  }
  world.run(150 * SECOND);
}

/** Measures when a value has all its copies again after half of its holders vanish. */
function loseHolders(): void {
  const items = Array.from({ length: VALUES }, someItem);
  for (const item of items) {
    let isStored = false;
    const done = () => void (isStored = true);
    world.act(
      world.nodes[50],
      (node, now) => node.items.put({ target: item.target, make: () => item }, now, done),
    );
    world.run(world.now + 20 * SECOND, () => isStored);
  }
  world.run(world.now + 60 * SECOND);
  closest(items[0].target, K).filter((_, i) => i % 2 === 1).forEach((sim) => world.depart(sim));
  const begun = world.now;
  const [halved, ...others] = items;
  console.log(`half of a value's holders vanish: ${copies(halved)} of ${K} copies are left`);
  while (copies(halved) < K && world.now - begun < 3_600 * SECOND) world.run(world.now + SECOND);
  console.log(
    `${copies(halved)} again after ${
      ((world.now - begun) / SECOND).toFixed(0)
    } s; values that shared holders ` +
      `with it have ${Math.min(...others.map(copies))} at least`,
  );
}

/** Measures what nodes send if all their values are due at the start, and whether lookups still succeed. */
function restart(): void {
  const owners = world.nodes.slice(20, 20 + OWNERS);
  for (const { published } of owners) {
    for (let i = 0; i < OWNED; i++) {
      const due = { firstAt: 0, lastAt: 0, nextAt: 0, replicas: 0, failures: 0 };
      published.save({ item: someItem(), ...due });
    }
  }
  const begun = world.now, all = OWNERS * OWNED;
  const sent = owners.map((sim) => sim.packetsSent);
  const bytes = owners.map((sim) => sim.bytesSent);
  let most = 0, lookups = 0, exact = 0, elapsed = 0;
  const published = () => owners.reduce((sum, { node }) => sum + node.replication.published, 0);
  for (let s = 0; published() < all && s < 3_600; s++) {
    const before = owners.map((sim) => sim.packetsSent);
    if (s % 4 === 0) {
      const asker = random.pick(world.nodes), target = Id.read(random.bytes(ID_BYTES));
      world.act(asker, (node, now) =>
        node.find(target, now, (result) => {
          const [nearest] = closest(target, 2).filter((sim) => sim !== asker);
          lookups++;
          elapsed += result.elapsed;
          if (result.closest[0]?.id.equals(nearest.node.id)) exact++;
        }));
    }
    world.run(world.now + SECOND);
    owners.forEach((sim, i) => most = Math.max(most, sim.packetsSent - before[i]));
  }
  const seconds = Math.round((world.now - begun) / SECOND);
  const mean = (now: number[], then: number[]) =>
    now.reduce((sum, n, i) => sum + n - then[i], 0) / owners.length / seconds;
  const packets = mean(owners.map((sim) => sim.packetsSent), sent);
  const kilobytes = mean(owners.map((sim) => sim.bytesSent), bytes) / 1_000;
  console.log(
    `${OWNERS} nodes restart with ${OWNED} values each, all due: ${published()} published after ` +
      `${seconds} s\nan owner sends ${packets.toFixed(0)} packets/s and ${
        kilobytes.toFixed(0)
      } kB/s, ` +
      `${most} packets at most in a second\n${exact} of ${lookups} lookups meanwhile found the true ` +
      `closest node, in ${(elapsed / lookups).toFixed(0)} ms on average`,
  );
}

grow();
loseHolders();
restart();
