// Puts that are repeated until enough nodes acknowledge them, and surveys of a value's copies.

import assert from "node:assert/strict";
import { immutableItem, type Item, type ItemError } from "../../../src/dht/items/item.ts";
import type { PutResult } from "../../../src/dht/items/item_operations.ts";
import { Id } from "../../../src/krpc/id.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { hasMajority, putRepeatedly, summaryOf } from "../../../src/runtime/values/puts.ts";
import { survey } from "../../../src/runtime/values/replicas.ts";
import { InstantClock } from "../../large_values/memory_network.ts";
import { latin1 } from "../../packets.ts";

const id = (n: number) => new Id(n, 0, 0, 0, 0);
const item = immutableItem(itemCrypto, latin1("1:v"));

function result(stored: number[], refusals: ItemError[] = [], made: Item | undefined = item) {
  const closest = [1, 2, 3, 4].map((n) => ({ id: id(n) })) as unknown as PutResult["closest"];
  const nothing = { holders: 4, asked: [], startedAt: 0, hops: 1, elapsed: 10 };
  return { ...nothing, closest, item: made, stored: stored.map(id), refusals };
}

async function put(results: PutResult[], wanted: number) {
  const clock = new InstantClock();
  let puts = 0;
  const { signal } = new AbortController();
  const end = await putRepeatedly(
    { wanted, clock, signal },
    () => Promise.resolve(results[Math.min(puts++, results.length - 1)]),
  );
  return { ...end, puts, slept: clock.slept, count: end.stored.length };
}

Deno.test("a put is repeated after 1, 2 and 4 s until distinct nodes are enough", async () => {
  const once = await put([result([1, 2])], 2);
  assert.deepEqual([once.puts, once.count, once.slept], [1, 2, []]);
  const twice = await put([result([1, 2]), result([2, 3])], 3);
  assert.deepEqual([twice.puts, twice.count, twice.slept], [2, 3, [1_000]]);
  assert.equal(twice.elapsed, 1_020);
  const never = await put([result([1]), result([1])], 2);
  assert.deepEqual([never.puts, never.count, never.slept], [4, 1, [1_000, 2_000, 4_000]]);
});

Deno.test("a put with a final refusal is not repeated", async () => {
  const tooOld = { code: 302, text: "old" }, other = { code: 201, text: "busy" };
  assert.equal((await put([result([], [tooOld])], 1)).puts, 1);
  assert.equal((await put([result([], [{ code: 202, text: "full" }])], 1)).puts, 1);
  assert.equal((await put([result([], [tooOld, other])], 1)).puts, 4);
  assert.equal((await put([{ ...result([]), item: undefined }], 1)).puts, 1);
  const overtaken = await put([result([1]), { ...result([]), item: undefined }], 2);
  assert.deepEqual([overtaken.puts, overtaken.item], [2, undefined]);
});

Deno.test("a node that closes repeats no put", async () => {
  const controller = new AbortController();
  controller.abort();
  let puts = 0;
  const options = { wanted: 1, clock: new InstantClock(), signal: controller.signal };
  await putRepeatedly(options, () => {
    puts++;
    return Promise.resolve(result([]));
  });
  assert.equal(puts, 1);
});

Deno.test("only the closest nodes count for a majority", () => {
  const majority = (stored: number[], own = 9, k = 4) =>
    hasMajority(result(stored), { target: id(0), ownId: id(own), k });
  assert.ok(majority([1, 2, 3]));
  assert.ok(!majority([1, 2]), "half of the nodes are no majority");
  assert.ok(!majority([1, 2, 7, 8]), "further nodes don't count");
  assert.ok(majority([1, 2, 0], 0), "this node counts if it is among the closest");
  assert.ok(majority([1, 2], 9, 3));
});

Deno.test("refusals are grouped, shortened and cleaned", () => {
  const refusals = [
    { code: 202, text: "busy" },
    { code: 205, text: "line\nbreak\u001b[2J" },
    { code: 202, text: "busy" },
    { code: 201, text: "x".repeat(10_000) },
  ];
  assert.deepEqual(summaryOf(refusals), [
    { code: 202, text: "busy", nodes: 2 },
    { code: 205, text: "line?break?[2J", nodes: 1 },
    { code: 201, text: "x".repeat(120), nodes: 1 },
  ]);
  const many = Array.from({ length: 100 }, (_, i) => ({ code: i, text: `${i}` }));
  assert.equal(summaryOf(many).length, 8);
});

const targets = (count: number) => Array.from({ length: count }, (_, i) => new Id(1, 2, 3, 4, i));

Deno.test("a survey counts the copies of each piece, and the pieces without any", async () => {
  const copies = (target: Id) => Promise.resolve({ count: target.e % 3, elapsed: 10 });
  assert.deepEqual(await survey(targets(6), copies), { counted: 6, lost: 2, mean: 1 });
});

Deno.test("a survey limits its concurrent counts, and repeats a count that lost answers", async () => {
  const counted: string[] = [];
  let active = 0, most = 0;
  const copies = async (target: Id) => {
    const now = ++active;
    most = Math.max(most, now);
    const isUnlucky = counted.length % 7 === 3 && !counted.includes(`${target}`);
    counted.push(`${target}`);
    await new Promise((resolve) => setTimeout(resolve, 0));
    active--;
    // Each count causes twenty answers, and the buffer holds ninety.
    return { count: isUnlucky ? 2 : Math.min(20, Math.floor(90 / now)), elapsed: 10 };
  };
  const report = await survey(targets(40), copies);
  assert.deepEqual([report.counted, report.lost], [40, 0]);
  assert.ok(report.mean >= 17, `${report.mean} copies, of 20`);
  assert.ok(most <= 6, `${most} at a time`);
  assert.ok(counted.length < 1.5 * 40, `${counted.length} times`);
});
