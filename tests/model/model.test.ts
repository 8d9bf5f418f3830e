// A slice of the model check (`make check-model` runs all of it), and bugs that it must find.

import assert from "node:assert/strict";
import { ItemOperations } from "../../src/dht/items/item_operations.ts";
import { PublishedStore } from "../../src/dht/items/published.ts";
import { Upkeep } from "../../src/dht/items/upkeep.ts";
import type { Id } from "../../src/krpc/id.ts";
import { DurableItemStore } from "../../src/storage/item_store.ts";
import { DurablePublishedStore } from "../../src/storage/published.ts";
import { type Chooser, Explorer } from "./explorer.ts";
import { type Scenario, SCENARIOS, violations } from "./scenarios.ts";
import { World } from "./world.ts";

function scenarioOf(name: string): Scenario {
  const scenario = SCENARIOS.find((one) => one.name === name);
  assert(scenario !== undefined, name);
  return scenario;
}

/** The first violation of a scenario with at most one deviation, with its schedule; undefined if there is none. */
async function firstViolation(scenario: Scenario): Promise<string | undefined> {
  const explorer = new Explorer({ deviations: 1 });
  do {
    const [first] = await violations(scenario, explorer) ?? [];
    if (first !== undefined) return `${first}\n  schedule ${JSON.stringify(explorer.schedule)}`;
  } while (explorer.advance());
}

for (const scenario of SCENARIOS) {
  Deno.test(`no schedule with few faults breaks a guarantee: ${scenario.name}`, async () => {
    assert.equal(await firstViolation(scenario), undefined);
  });
}

/** The states in which the operations of a scenario end, with at most `deviations` deviations. */
async function ends(scenario: Scenario, deviations: number, endsEarly: boolean) {
  const explorer = new Explorer({ deviations }), ends = new Set<string>();
  const chooser: Chooser = {
    choose: (count) => explorer.choose(count),
    isCovered(state, isEnd) {
      if (isEnd) ends.add(`${state.low} ${state.high}`);
      return endsEarly && explorer.isCovered(state, isEnd);
    },
  };
  let runs = 0;
  do {
    runs++;
    const world = new World(scenario, chooser);
    await world.within(async () => {
      await world.start();
      await world.operate(scenario.operations);
    });
  } while (explorer.advance());
  return { ends, runs };
}

for (const name of ["one value", "two writers"]) {
  Deno.test(`runs cut short in known states miss no end of the operations: ${name}`, async () => {
    const scenario = scenarioOf(name);
    const some = await ends(scenario, 1, true), all = await ends(scenario, 1, false);
    assert.deepEqual(some.ends, all.ends);
    assert(all.ends.size < all.runs);
  });
}

Deno.test("nodes that have restarted read their items from disk", async () => {
  const scenario = scenarioOf("a new version of an item on disk");
  const explorer = new Explorer({ deviations: 1 });
  let failedReads = 0;
  do {
    const world = new World(scenario, explorer);
    await world.within(async () => {
      await world.start();
      await world.operate(scenario.operations);
    });
    failedReads += world.log.filter((line) => line.endsWith("can't read from its disk")).length;
  } while (explorer.advance());
  assert(failedReads > 0);
});

/** Replaces a method while one scenario is searched for a violation. Returns the first one found. */
async function planted<T extends object, K extends keyof T>(
  scenarioName: string,
  { prototype, name, bug }: { prototype: T; name: K; bug: (original: T[K]) => T[K] },
): Promise<string | undefined> {
  const original = prototype[name];
  prototype[name] = bug(original);
  try {
    return await firstViolation(scenarioOf(scenarioName));
  } finally {
    prototype[name] = original;
  }
}

Deno.test("found: items are acknowledged before they are on disk", async () => {
  const found = await planted("one value", {
    prototype: DurableItemStore.prototype,
    name: "put",
    bug: (put) =>
      function (this: DurableItemStore, given, now, committed) {
        committed("kept");
        put.call(this, given, now, () => {});
      },
  });
  assert.match(`${found}`, /^kept: node \d has lost/);
});

Deno.test("found: own values are acknowledged before they are on disk", async () => {
  const found = await planted("one value", {
    prototype: DurablePublishedStore.prototype,
    name: "save",
    bug: (save) =>
      function (this: DurablePublishedStore, published, saved) {
        saved?.(true);
        save.call(this, published);
      },
  });
  assert.match(`${found}`, /^kept: node \d has lost/);
});

Deno.test("found: a put reports nodes that acknowledged nothing", async () => {
  const found = await planted("one value", {
    prototype: ItemOperations.prototype,
    name: "write",
    bug: (write) =>
      function (this: ItemOperations, given, now, done) {
        const stored = given.nodes.map(({ id }) => id);
        write.call(this, given, now, (result, at) => done({ ...result, stored }, at));
      },
  });
  assert.match(`${found}`, /^told: node \d never acknowledged/);
});

Deno.test("found: holders don't repair an item whose owner is gone", async () => {
  const found = await planted("a holder leaves", {
    prototype: Upkeep.prototype,
    name: "complete",
    bug: () => (_item, now, done) => done({ copies: 0, cost: { packets: 0, bytes: 0 } }, now),
  });
  assert.match(`${found}`, /^copies: node \d has no copy of/);
});

Deno.test("found: items expire before their time", async () => {
  const HOUR = 3_600_000;
  const found = await planted("one value", {
    prototype: DurableItemStore.prototype,
    name: "expire",
    bug: (expire) =>
      function (this: DurableItemStore, now): Id[] {
        return expire.call(this, now + 23 * HOUR);
      },
  });
  assert.match(`${found}`, /^(kept|copies): node \d has/);
});

Deno.test("found: a withdrawn value stays on disk", async () => {
  const found = await planted("a value is withdrawn", {
    prototype: DurablePublishedStore.prototype,
    name: "remove",
    bug: () =>
      function (this: DurablePublishedStore, target) {
        PublishedStore.prototype.remove.call(this, target);
      },
  });
  assert.match(`${found}`, /^withdrawn: node \d publishes/);
});

Deno.test("found: a pinned value is not published again", async () => {
  const found = await planted("a pin outlives the owner", {
    prototype: PublishedStore.prototype,
    name: "entries",
    bug: (entries) =>
      function (this: PublishedStore) {
        return [...entries.call(this)].filter(({ pin }) => pin === undefined);
      },
  });
  assert.match(`${found}`, /^copies: node \d has no copy of/);
});
