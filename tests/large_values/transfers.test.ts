// Limits on transfers, and the pace of puts.

import assert from "node:assert/strict";
import { SeededRandom } from "../../src/sim/random.ts";
import {
  IDLE_MS,
  Pace,
  PUTS,
  Slots,
  TransferError,
  TRANSFERS,
  Transfers,
} from "../../src/large_values/transfers.ts";
import { Id } from "../../src/krpc/id.ts";
import { InstantClock, MemoryNetwork } from "./memory_network.ts";

const soon = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

Deno.test("slots are given in order of requests, and never more than there are", async () => {
  const slots = new Slots(2);
  const order: number[] = [];
  const takers = [1, 2, 3, 4].map(async (n) => {
    await slots.take();
    order.push(n);
  });
  await soon();
  assert.deepEqual(order, [1, 2]);
  slots.release();
  await soon();
  assert.deepEqual(order, [1, 2, 3]);
  slots.release();
  await Promise.all(takers);
  slots.release();
  slots.release();
  assert.ok(slots.isIdle);
});

/** Runs puts whose duration depends on their number at a time. Returns the largest number at a time. */
async function runPuts(
  count: number,
  { elapsed, isWhole = () => true }: {
    elapsed: (active: number) => number;
    isWhole?: (active: number) => boolean;
  },
): Promise<number[]> {
  const pace = new Pace();
  const seen: number[] = [];
  let active = 0, begun = 0;
  const work = async () => {
    while (begun < count) {
      begun++;
      await pace.take();
      seen.push(++active);
      // Puts with a slot finish in order of arrival.
      await soon();
      const now = active--;
      pace.learn(elapsed(now), isWhole(now));
      pace.release();
    }
  };
  await Promise.all(Array.from({ length: 2 * PUTS }, work));
  return seen;
}

Deno.test("the pace of puts rises if more puts at a time are not slower", async () => {
  const seen = await runPuts(3_000, { elapsed: () => 100 });
  assert.equal(seen[0], 1);
  assert.equal(Math.max(...seen), PUTS);
});

Deno.test("the pace of puts rises although some nodes are nearer than others", async () => {
  const random = new SeededRandom(1);
  const seen = await runPuts(5_000, { elapsed: () => 200 * random.fraction() });
  const last = seen.slice(-1_000).toSorted((x, y) => x - y);
  assert.ok(last[500] > PUTS / 2, `${last[500]} at a time`);
});

Deno.test("the pace of puts stays low if more puts at a time are slower", async () => {
  const seen = (await runPuts(600, { elapsed: (active) => 10 * active })).slice(100);
  assert.ok(Math.max(...seen) <= 5, `${Math.max(...seen)} at a time`);
});

Deno.test("the pace of puts falls if puts are lost", async () => {
  const seen = (await runPuts(600, { elapsed: () => 100, isWhole: (active) => active < 5 }))
    .slice(100);
  assert.ok(Math.max(...seen) <= 6, `${Math.max(...seen)} at a time`);
});

Deno.test("the number of transfers is limited, and a stalled one is aborted for a new one", async () => {
  const clock = new InstantClock(), network = new MemoryNetwork();
  const transfers = new Transfers(clock);
  const all = Array.from({ length: TRANSFERS }, () => transfers.open(network));
  const isBusy = (error: unknown) => error instanceof TransferError && error.failure === "busy";
  assert.throws(() => transfers.open(network), isBusy);
  assert.equal(network.open, TRANSFERS, "a refused transfer opened no batch");
  all[3].close();
  all[3] = transfers.open(network);
  clock.time += IDLE_MS - 1;
  assert.throws(() => transfers.open(network), isBusy);
  clock.time += 1;
  for (const transfer of all) if (transfer !== all[5]) transfer.move();
  transfers.open(network);
  assert.throws(() => all[5].check(), /stood still/);
  assert.throws(() => transfers.open(network), isBusy, "the others have moved");
  transfers.close();
  assert.throws(() => all[7].check(), /the node stops/);
  assert.equal(network.open, 0);
  await assert.rejects(all[7].get(new Id(0, 0, 0, 0, 0)), /the node stops/);
});
