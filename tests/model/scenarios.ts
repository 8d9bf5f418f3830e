// The scenarios that the model checker explores, and the invariants that must hold after each run.

import { itemCost } from "../../src/dht/items/item_cost.ts";
import { readNewest } from "../../src/dht/items/held.ts";
import {
  compareVersions,
  immutableItem,
  type Item,
  ITEM_LIFE_MS,
  mutableTarget,
} from "../../src/dht/items/item.ts";
import type { Pin } from "../../src/dht/items/published.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { compareDistance } from "../../src/krpc/id.ts";
import { sha1 } from "../../src/runtime/identity/sha1.ts";
import { latin1 } from "../packets.ts";
import type { Chooser } from "./explorer.ts";
import {
  type Acknowledgement,
  type Machine,
  nameOf,
  type Operation,
  World,
  type WorldOptions,
} from "./world.ts";

const MINUTE = 60_000, HOUR = 60 * MINUTE;

/** Within this time, the holders have repaired all items, even those whose owners are gone. */
const HEAL_MS = 110 * MINUTE;

const crypto = { sha1, verify: () => true };

export interface Scenario extends WorldOptions {
  readonly name: string;
  readonly operations: readonly Operation[];
  /** Whether all items must have expired at the end, because nobody publishes them. */
  readonly isExpired?: boolean;
  /** Whether the stores are too small for k copies of each item. */
  readonly isFull?: boolean;
  /** Whether a copy ends before the final check unless its item is published again. */
  readonly isShortLived?: boolean;
  /** The deviations of the full check. */
  readonly deviations: number;
}

export const immutable = (value: string): Item =>
  immutableItem(crypto, bencodeBytes(latin1(value)));

export function mutable(value: string, seq: number): Item {
  const publicKey = new Uint8Array(32).fill(5), salt = new Uint8Array(0);
  const signed = { publicKey, signature: new Uint8Array(64), salt, seq };
  return {
    target: mutableTarget(crypto, publicKey, salt),
    value: bencodeBytes(latin1(value)),
    signed,
  };
}

interface PutOptions {
  readonly lifeMs?: number;
}

/** Stores an item from a node, and keeps it published. */
export function publish(by: number, item: Item): Operation {
  return {
    by,
    run(world, owner, done) {
      put(world, owner, { item }, (stored) => {
        if (stored === 0) return done();
        keep(world, owner, { item, replicas: stored }, done);
      });
    },
  };
}

/** Stores an item from a node that does not publish it again. */
export function store(by: number, item: Item, { lifeMs }: PutOptions = {}): Operation {
  return { by, run: (world, owner, done) => put(world, owner, { item, lifeMs }, done) };
}

/** Fetches an item, and keeps it published from then on, even if no node takes it. */
export function pin(by: number, { target, signed }: Item, { lifeMs }: PutOptions = {}): Operation {
  return {
    by,
    isLast: true,
    run(world, machine, done) {
      machine.node.items.get({ target, salt: signed?.salt }, world.now, ({ item }) => {
        if (item === undefined) return done();
        put(world, machine, { item, lifeMs }, (replicas) => {
          keep(world, machine, { item, replicas, lifeMs, pin: "only" }, done);
        });
      });
    },
  };
}

function put(
  world: World,
  owner: Machine,
  { item, lifeMs }: PutOptions & { readonly item: Item },
  done: (stored: number) => void,
): void {
  const { target, signed } = item;
  const put = { target, salt: signed?.salt, make: () => item, isOwn: true, lifeMs };
  owner.node.items.put(put, world.now, ({ stored }) => {
    for (const id of stored) world.confirm(owner, id, item);
    done(stored.length);
  });
}

function keep(
  world: World,
  owner: Machine,
  value: PutOptions & { readonly item: Item; readonly replicas: number; readonly pin?: Pin },
  done: () => void,
): void {
  owner.node.replicator.keepPublished(value, world.now, (isSaved) => {
    if (isSaved) world.acknowledge(owner, value.item, true);
    done();
  });
}

/** Stops publishing an item, whether it was stored or pinned by this node. */
export function withdraw(by: number, item: Item): Operation {
  return {
    by,
    isLast: true,
    run(world, owner, done) {
      // From now on, it may or may not be there after a crash.
      world.release(owner, item);
      owner.published.remove(item.target);
      owner.published.sync((isSaved) => {
        if (isSaved) world.withdraw(owner, item);
        done();
      });
    },
  };
}

/** Switches a machine off for good. */
export function leave(by: number): Operation {
  return {
    by,
    run(world, machine, done) {
      world.remove(machine);
      done();
    },
  };
}

/** Switches a machine off and on again. */
export function restart(by: number): Operation {
  return {
    by,
    isLast: true,
    run(world, machine, done) {
      world.restart(machine);
      done();
    },
  };
}

/** What a scenario has unless it says otherwise. */
const USUAL = { nodes: 3, k: 2, deviations: 2 };

/** Those with the most schedules come first, so that two threads finish together. */
const VARIANTS: readonly (Pick<Scenario, "name" | "operations"> & Partial<Scenario>)[] = [
  {
    name: "a pin outlives the owner",
    isShortLived: true,
    operations: [
      store(0, immutable("one"), { lifeMs: HOUR }),
      pin(1, immutable("one"), { lifeMs: HOUR }),
      leave(0),
    ],
    deviations: 3,
  },
  {
    name: "two versions",
    operations: [publish(0, mutable("old", 1)), publish(0, mutable("new", 2))],
    deviations: 3,
  },
  {
    name: "a value is withdrawn",
    operations: [publish(0, immutable("one")), withdraw(0, immutable("one")), restart(0)],
    deviations: 3,
  },
  {
    name: "one value",
    operations: [publish(0, immutable("one"))],
    deviations: 3,
  },
  {
    name: "two writers",
    operations: [publish(0, mutable("old", 1)), publish(1, mutable("new", 2))],
  },
  {
    name: "two writers of one seq",
    operations: [publish(0, mutable("this", 1)), publish(1, mutable("that", 1))],
  },
  {
    name: "four nodes",
    nodes: 4,
    k: 3,
    operations: [publish(0, immutable("one"))],
  },
  {
    name: "an owner leaves",
    nodes: 4,
    operations: [publish(0, immutable("one")), leave(0)],
  },
  {
    name: "an owner leaves between two versions",
    nodes: 4,
    k: 3,
    operations: [publish(0, mutable("old", 1)), publish(1, mutable("new", 2)), leave(1), leave(0)],
  },
  {
    name: "a holder leaves",
    nodes: 5,
    k: 3,
    operations: [publish(0, immutable("one")), leave(1), leave(2)],
  },
  {
    name: "full stores",
    limitBytes: 1.5 * itemCost(immutable("one")),
    isFull: true,
    operations: [publish(0, immutable("one")), publish(1, immutable("two"))],
  },
  {
    name: "a new version of an item on disk",
    operations: [
      publish(0, mutable("old", 1)),
      restart(1),
      restart(2),
      publish(0, mutable("new", 2)),
    ],
  },
  {
    name: "two writers of one seq, with items on disk",
    operations: [
      publish(0, mutable("old", 1)),
      restart(1),
      restart(2),
      publish(0, mutable("this", 2)),
      publish(1, mutable("that", 2)),
    ],
  },
  {
    name: "nobody publishes a value again",
    isExpired: true,
    operations: [store(0, immutable("one"))],
  },
  {
    name: "a pin follows versions",
    operations: [
      publish(0, mutable("old", 1)),
      pin(1, mutable("old", 1)),
      publish(0, mutable("new", 2)),
    ],
  },
  {
    name: "a pin ends",
    operations: [
      store(0, immutable("one")),
      pin(1, immutable("one")),
      withdraw(1, immutable("one")),
      restart(1),
    ],
  },
];

export const SCENARIOS: readonly Scenario[] = VARIANTS.map((variant) => ({
  ...USUAL,
  ...variant,
}));

/**
 * Runs a scenario. Returns a description of each invariant that does not hold; undefined if the chooser ended the run,
 * because everything that may follow is covered.
 */
export async function violations(
  scenario: Scenario,
  chooser: Chooser,
): Promise<string[] | undefined> {
  const world = new World(scenario, chooser);
  return await world.within(async () => {
    await world.start();
    if (!await world.operate(scenario.operations)) return undefined;
    world.endFaults();
    const problems = [...world.problems, ...lost(world)];
    if (scenario.isExpired) {
      await world.settle(ITEM_LIFE_MS + 2 * MINUTE);
      problems.push(...unexpired(world));
    } else {
      await world.settle(HEAL_MS);
      // Without a publisher, the others' copies may have ended.
      const promises = world.acknowledged.filter(({ isOwn }) => isOwn || !scenario.isShortLived);
      problems.push(...lost(world, promises), ...await unhealed(world, scenario, promises));
    }
    return problems.map((problem) => [problem, ...world.log].join("\n  "));
  });
}

/** Each acknowledged item is still held by the node that acknowledged it, in the same or a newer version. */
function lost(
  { acknowledged, withdrawn, machines, now }: World,
  promises: readonly Acknowledgement[] = acknowledged,
): string[] {
  const lost = promises.flatMap(({ holder, item }) =>
    !machines.includes(holder) || isCovered(heldBy(holder, item, now), item)
      ? []
      : `kept: node ${holder.number} has lost ${nameOf(item)}`
  );
  const back = withdrawn.flatMap(({ holder, item }) =>
    holder.published.get(item.target) === undefined
      ? []
      : `withdrawn: node ${holder.number} publishes ${nameOf(item)} again`
  );
  return [...lost, ...back];
}

/** A day after the last put, no node holds an item that nobody publishes. */
function unexpired({ acknowledged, now }: World): string[] {
  return acknowledged.flatMap(({ holder, item }) =>
    heldBy(holder, item, now) === undefined
      ? []
      : `expired: node ${holder.number} still holds ${nameOf(item)}`
  );
}

/** After the faults, the k closest nodes hold the newest version of each item, and every node finds it. */
async function unhealed(
  world: World,
  { k, isFull = false }: Scenario,
  promises: readonly Acknowledgement[],
): Promise<string[]> {
  const problems: string[] = [];
  for (const item of newest(world, promises)) {
    const closest = [...world.machines].sort((x, y) => compareDistance(x.id, y.id, item.target))
      .slice(0, k);
    for (const holder of closest) {
      if (isFull || isCovered(heldBy(holder, item, world.now), item)) continue;
      problems.push(`copies: node ${holder.number} has no copy of ${nameOf(item)}`);
    }
    for (const reader of world.machines) {
      const found = await read(world, reader, item);
      if (isCovered(found, item)) continue;
      problems.push(
        `found: node ${reader.number} reads ${found && nameOf(found)}, not ${nameOf(item)}`,
      );
    }
  }
  return problems;
}

async function read(
  world: World,
  reader: Machine,
  { target, signed }: Item,
): Promise<Item | undefined> {
  return await world.complete<Item | undefined>((done) =>
    world.run(
      reader,
      () =>
        reader.node.items.get({ target, salt: signed?.salt }, world.now, ({ item }) => done(item)),
    )
  );
}

function heldBy({ node }: Machine, { target }: Item, now: number): Item | undefined {
  let found: Item | undefined;
  // After the operations, the disks of the model answer at once.
  readNewest(node.host, target, now, (held) => found = held?.item);
  return found;
}

/** Whether `held` is `item` or a newer version of it. */
function isCovered(held: Item | undefined, item: Item): boolean {
  return held !== undefined && compareVersions(held, item) >= 0;
}

/** The newest version of each item that a node which is still there has acknowledged. */
function newest({ machines }: World, promises: readonly Acknowledgement[]): Item[] {
  const newest = new Map<string, Item>();
  for (const { holder, item } of promises) {
    if (!machines.includes(holder)) continue;
    const known = newest.get(`${item.target}`);
    if (known === undefined || !isCovered(known, item)) newest.set(`${item.target}`, item);
  }
  return [...newest.values()];
}
