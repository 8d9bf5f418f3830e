// Puts that are repeated until enough nodes have acknowledged, and counts of a value's copies.

import assert from "node:assert/strict";
import { encodeManifest, encodeReference, linksOf } from "../../src/data/manifest.ts";
import { immutableItem, type Item, type ItemError } from "../../src/dht/item.ts";
import type { PutResult } from "../../src/dht/node.ts";
import { Id } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/crypto.ts";
import { hasMajority, putOften, summaryOf } from "../../src/runtime/puts.ts";
import { MAX_CHUNKS, MAX_MANIFESTS, survey } from "../../src/runtime/survey.ts";
import { InstantClock } from "../data/memory_network.ts";
import { latin1 } from "../packets.ts";

const id = (n: number) => new Id(n, 0, 0, 0, 0);
const item = immutableItem(itemCrypto, latin1("1:v"));

function result(stored: number[], refusals: ItemError[] = [], made: Item | undefined = item) {
  const closest = [1, 2, 3, 4].map((n) => ({ id: id(n) })) as unknown as PutResult["closest"];
  const nothing = { asked: [], startedAt: 0, hops: 1, elapsed: 10 };
  return { ...nothing, closest, item: made, stored: stored.map(id), refusals };
}

async function put(results: PutResult[], wanted: number) {
  const clock = new InstantClock();
  let puts = 0;
  const end = await putOften(
    () => Promise.resolve(results[Math.min(puts++, results.length - 1)]),
    wanted,
    clock,
    new AbortController().signal,
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

Deno.test("what no repetition changes is not repeated", async () => {
  const tooOld = { code: 302, text: "old" }, busy = { code: 202, text: "busy" };
  assert.equal((await put([result([], [tooOld])], 1)).puts, 1);
  assert.equal((await put([result([], [tooOld, busy])], 1)).puts, 4);
  assert.equal((await put([{ ...result([]), item: undefined }], 1)).puts, 1);
  const overtaken = await put([result([1]), { ...result([]), item: undefined }], 2);
  assert.deepEqual([overtaken.puts, overtaken.item], [2, undefined]);
});

Deno.test("a stopping node repeats nothing", async () => {
  const controller = new AbortController();
  controller.abort();
  let puts = 0;
  await putOften(
    () => {
      puts++;
      return Promise.resolve(result([]));
    },
    1,
    new InstantClock(),
    controller.signal,
  );
  assert.equal(puts, 1);
});

Deno.test("a majority is one of the closest nodes alone", () => {
  const majority = (stored: number[], own = 9, k = 4) =>
    hasMajority(result(stored), id(0), id(own), k);
  assert.ok(majority([1, 2, 3]));
  assert.ok(!majority([1, 2]), "half is none");
  assert.ok(!majority([1, 2, 7, 8]), "further nodes don't count");
  assert.ok(majority([1, 2, 0], 0), "this node counts where it is among them");
  assert.ok(majority([1, 2], 9, 3));
});

Deno.test("refusals are summed up, cut and cleaned", () => {
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

/** A tree of which only the manifests are there. */
function manifests(level: number, chunks: number) {
  const items = new Map<string, Uint8Array>();
  let targets = Array.from({ length: chunks }, (_, i) => new Id(1, 2, 3, 4, i));
  for (let at = 1; at <= level; at++) {
    const next: Id[] = [];
    for (let i = 0; i < targets.length; i += 45) {
      const children = new Uint8Array(20 * Math.min(45, targets.length - i));
      targets.slice(i, i + 45).forEach((child, n) => children.set(child.toBytes(), 20 * n));
      const made = immutableItem(itemCrypto, encodeManifest(at, 5_000 + i, children));
      items.set(`${made.target}`, made.value);
      next.push(made.target);
    }
    targets = next;
  }
  return { items, root: targets[0] };
}

async function surveyed(
  level: number,
  chunks: number,
  lost: (target: Id) => boolean = () => false,
) {
  const { items, root } = manifests(level, chunks);
  const counted: string[] = [];
  const network = {
    get: (target: Id) => {
      const value = items.get(`${target}`);
      return Promise.resolve(
        value && !lost(target) ? { target, value, signed: undefined } : undefined,
      );
    },
    copies: (target: Id) => {
      counted.push(`${target}`);
      return Promise.resolve({ count: lost(target) ? 0 : target.a === 1 ? 4 : 5, elapsed: 10 });
    },
  };
  const size = 996 * chunks;
  const report = await survey(root, { level, size }, items.get(`${root}`)!, network, () => 0.5);
  const found = counted.filter((hash) => !lost(Id.parse(hash)!));
  assert.equal(new Set(found).size, found.length, "nothing is counted twice that is there");
  return report;
}

Deno.test("a survey counts all manifests and some chunks, within its limits", async () => {
  assert.deepEqual(await surveyed(1, 5), {
    manifests: 1,
    manifestsCounted: 1,
    chunks: 5,
    chunksCounted: 5,
    least: 4,
    mean: 25 / 6,
  });
  const large = await surveyed(3, 16_845);
  assert.deepEqual([large.manifests, large.manifestsCounted], [375 + 9 + 1, 385]);
  assert.deepEqual([large.chunksCounted, large.least], [MAX_CHUNKS, 4]);
  const larger = await surveyed(3, 45 ** 3);
  assert.deepEqual([larger.manifests, larger.manifestsCounted], [2_071, MAX_MANIFESTS]);
});

Deno.test("a survey of what is lost says 0, and goes on with the rest", async () => {
  const report = await surveyed(2, 450, (target) => target.a !== 1 && (target.e & 1) === 1);
  assert.equal(report.least, 0);
  assert.equal(report.manifestsCounted, 11);
});

Deno.test("a survey asks for no more at a time than answers find room, and once more where some were lost", async () => {
  const { items, root } = manifests(2, 900);
  const counted: string[] = [];
  let active = 0, most = 0;
  const network = {
    get: (target: Id) =>
      Promise.resolve({ target, value: items.get(`${target}`)!, signed: undefined }),
    copies: async (target: Id) => {
      const now = ++active;
      most = Math.max(most, now);
      const isUnlucky = counted.length % 7 === 3 && !counted.includes(`${target}`);
      counted.push(`${target}`);
      await new Promise((resolve) => setTimeout(resolve, 0));
      active--;
      // Of twenty answers to each there is room for ninety together.
      return { count: isUnlucky ? 2 : Math.min(20, Math.floor(90 / now)), elapsed: 10 };
    },
  };
  const size = 996 * 900;
  const report = await survey(root, { level: 2, size }, items.get(`${root}`)!, network, () => 0.5);
  assert.deepEqual([report.manifestsCounted, report.chunksCounted], [21, MAX_CHUNKS]);
  assert.ok(report.least >= 15, `${report.least} copies at least, of 20`);
  assert.ok(most <= 6, `${most} at a time`);
  assert.ok(counted.length < 1.5 * 41, `${counted.length} times`);
});

Deno.test("linksOf: children, a root, or nothing", () => {
  const children = new Uint8Array(40).fill(7);
  assert.deepEqual(linksOf(encodeManifest(1, 2_000, children)), [
    Id.read(children),
    Id.read(children),
  ]);
  assert.deepEqual(linksOf(encodeReference(id(5))), [id(5)]);
  for (
    const other of ["1:v", "le", "de", "d1:c20:", "d2:dmi1e1:r1:xe", "d2:dmi1e1:ri1ee", "", "i1e"]
  ) {
    assert.deepEqual(linksOf(latin1(other)), [], other);
  }
});
