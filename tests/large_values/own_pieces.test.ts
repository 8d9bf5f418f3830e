// The pieces of this node's own large values, and publishing them again.

import assert from "node:assert/strict";
import { Id, ID_BYTES } from "../../src/krpc/id.ts";
import type { Clock } from "../../src/large_values/item_network.ts";
import { Layout } from "../../src/large_values/layout.ts";
import { OwnPieces } from "../../src/large_values/own_pieces.ts";
import { Republisher, ROUND_INTERVAL_MS } from "../../src/large_values/republisher.ts";
import { dataCrypto } from "../../src/runtime/identity/crypto.ts";
import { sampleBytes } from "./memory_network.ts";
import { setup } from "./setup.ts";

const SIZE = 100_000;

/** Stores a value with a network of `nodes`, and adds it to this node's own values. */
async function publish(nodes = 100) {
  const { network, blobs, hold } = setup(nodes);
  const { tree } = await hold(sampleBytes(SIZE));
  const own = new OwnPieces({ blobs, crypto: dataCrypto });
  own.add(tree.root, tree.blobs);
  await own.loaded();
  return { network, blobs, own, tree };
}

Deno.test("every piece that was stored can be cut from the value again", async () => {
  const { network, own, tree } = await publish();
  assert.equal(own.count, new Layout(SIZE).pieces);
  for (const item of network.items.values()) {
    if (item.target.equals(tree.root.target)) continue;
    assert.ok(own.mayHave(item.target));
    assert.deepEqual(await own.read(item.target), item);
  }
});

Deno.test("unknown pieces, and those of a removed value, are not found", async () => {
  const { network, own, tree } = await publish();
  const [target] = [...network.items.values()].map((item) => item.target);
  const similar = new Id(target.a, target.b, target.c, target.d, target.e ^ 1);
  assert.equal(await own.read(similar), undefined);
  assert.equal(own.mayHave(new Id(1, 2, 3, 4, 5)), false);
  own.remove(tree.root.target);
  assert.deepEqual([own.count, own.mayHave(target)], [0, false]);
  assert.equal(await own.read(target), undefined);
});

Deno.test("a value that can't be read from disk has no pieces, and the others still do", async () => {
  const { network, blobs, own, tree } = await publish();
  const targets = [...network.items.values()].map(({ target }) => target).slice(0, 5);
  blobs.remove(tree.blobs.value);
  for (const target of targets) assert.equal(await own.read(target), undefined);
  const again = new OwnPieces({ blobs, crypto: dataCrypto });
  blobs.remove(tree.blobs.ids);
  again.add(tree.root, tree.blobs);
  await again.loaded();
  assert.equal(again.mayHave(targets[0]), false);
});

Deno.test("strangers can't make a node read many pieces at a time", async () => {
  const { network, blobs, own } = await publish();
  const read = blobs.read.bind(blobs);
  let active = 0, most = 0;
  blobs.read = async (...part) => {
    most = Math.max(most, ++active);
    await new Promise((resolve) => setTimeout(resolve, 1));
    active--;
    return await read(...part);
  };
  const targets = [...network.items.values()].map(({ target }) => target);
  const found = await Promise.all(targets.map((target) => own.read(target)));
  assert.ok(most <= 32, `${most}`);
  assert.ok(found.some((item) => item === undefined));
});

/** A clock whose sleeps end when the test lets time pass. */
class ManualClock implements Clock {
  time = 0;
  #sleepers: { at: number; wake: () => void }[] = [];

  now(): number {
    return this.time;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#sleepers.push({ at: this.time + ms, wake: resolve });
      signal.addEventListener("abort", () => resolve());
    });
  }

  async pass(ms: number): Promise<void> {
    const until = this.time + ms;
    for (;;) {
      for (let i = 0; i < 50; i++) await Promise.resolve();
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#sleepers.sort((x, y) => x.at - y.at);
      const next = this.#sleepers[0];
      if (next === undefined || next.at > until) break;
      this.#sleepers.shift();
      this.time = Math.max(this.time, next.at);
      next.wake();
    }
    this.time = until;
  }
}

async function republish(nodes: number, position = 0) {
  const { network, own, tree } = await publish(nodes);
  const saved = new Map([[`${tree.root.target}`, position]]);
  const clock = new ManualClock();
  network.items.clear();
  network.held.clear();
  network.puts = 0;
  const start = () =>
    new Republisher({
      network,
      own,
      crypto: dataCrypto,
      clock,
      random: () => 0.5,
      position: (root) => saved.get(`${root}`) ?? 0,
      savePosition: (root, at) => void saved.set(`${root}`, at),
      lifeMs: () => undefined,
    });
  return { network, own, tree, clock, start, position: () => saved.get(`${tree.root.target}`) };
}

const PIECES = new Layout(SIZE).pieces;

Deno.test("all pieces are put again soon after a start, and then every four hours", async () => {
  const { network, clock, start, position } = await republish(100);
  const republisher = start();
  await clock.pass(20 * 60_000);
  assert.deepEqual([network.puts, position()], [PIECES, 0]);
  await clock.pass(ROUND_INTERVAL_MS - 30 * 60_000);
  assert.equal(network.puts, PIECES);
  await clock.pass(60 * 60_000);
  assert.equal(network.puts, 2 * PIECES);
  republisher.close();
});

Deno.test("publishing stays within 128 KiB per second", async () => {
  const { network, clock, start } = await republish(100, 1);
  const republisher = start();
  await clock.pass(3_000);
  assert.ok(network.puts * 2 * 1_000 < 6 * 131_072, `${network.puts} puts`);
  assert.ok(network.puts < PIECES);
  republisher.close();
});

Deno.test("after a restart, an interrupted round continues where it stopped", async () => {
  const { network, clock, start } = await republish(100, 1 + 2);
  const republisher = start();
  await clock.pass(60_000);
  const [level] = new Layout(SIZE).levels;
  const skipped = [0, 1].map((i) => level.stripe(i))
    .reduce((sum, { columns, parity }) => sum + columns + parity, 0);
  assert.equal(network.puts, PIECES - skipped);
  republisher.close();
});

Deno.test("a node that was alone publishes all pieces as soon as it finds other nodes", async () => {
  const { network, clock, start, position } = await republish(0, 1);
  const republisher = start();
  await clock.pass(3_600_000);
  assert.deepEqual([network.puts, position()], [0, 1]);
  network.resize(3);
  await clock.pass(60_000);
  const data = new Layout(SIZE).levels.reduce((sum, level) => sum + level.data, 0);
  assert.deepEqual([network.puts, position()], [data, 0]);
  assert.ok([...network.held.values()].every((targets) => targets.size === data));
  republisher.close();
});

Deno.test("if pieces are acknowledged by no node, the next round begins soon", async () => {
  const { network, clock, start } = await republish(100, 1);
  network.replicasOf = () => 0;
  const republisher = start();
  await clock.pass(60_000);
  assert.equal(network.puts, PIECES);
  network.replicasOf = (_item, _put, copies) => copies;
  await clock.pass(15 * 60_000);
  assert.equal(network.puts, 2 * PIECES);
  republisher.close();
});

Deno.test("a value that is withdrawn, or a node that closes, ends the round", async () => {
  for (const isWithdrawn of [true, false]) {
    const { network, own, tree, clock, start } = await republish(100, 1);
    const republisher = start();
    await clock.pass(1_000);
    if (isWithdrawn) own.remove(tree.root.target);
    else republisher.close();
    const { puts } = network;
    await clock.pass(3_600_000);
    assert.ok(network.puts < puts + 100, `${network.puts}`);
    republisher.close();
  }
});

Deno.test("ids of a value take 20 bytes per piece", async () => {
  const { blobs, tree } = await publish();
  assert.equal((await blobs.read(tree.blobs.ids, 0, Infinity)).length, PIECES * ID_BYTES);
});
