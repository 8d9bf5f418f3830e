// This node's own values, which are kept until they are removed, even while the disk fails.

import assert from "node:assert/strict";
import { immutableItem } from "../../src/dht/items/item.ts";
import type { Published } from "../../src/dht/items/published.ts";
import type { Id } from "../../src/krpc/id.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { CommitQueue } from "../../src/storage/commit_queue.ts";
import { DurablePublishedStore } from "../../src/storage/published.ts";
import { latin1 } from "../packets.ts";
import { TestDisk } from "./test_disk.ts";

/** A value that has not been published yet. */
function published(text: string): Published {
  const item = immutableItem(itemCrypto, latin1(`${text.length}:${text}`));
  return { item, firstAt: 1, nextAt: 2, lastAt: -Infinity, replicas: 0, failures: 0 };
}

const summary = (entries: Iterable<Published>) =>
  Array.from(entries, ({ item, replicas }) => `${item.target} ${replicas}`).sort();

async function withStore(
  run: (store: DurablePublishedStore, disk: TestDisk, queue: CommitQueue) => Promise<void>,
): Promise<void> {
  const disk = new TestDisk();
  const observer = { failed: () => {}, recovered: () => {} };
  const queue = new CommitQueue((changes) => disk.commit(changes), observer);
  try {
    await run(
      new DurablePublishedStore({ queue, saved: disk.published(), seed: 1 }, 0),
      disk,
      queue,
    );
    // After a restart, the store has the same values.
    await queue.flush();
    await queue.flush();
  } finally {
    disk.isFull = false;
    await queue.close();
  }
}

Deno.test("values are saved, updated together, and removed", () =>
  withStore(async (store, disk, queue) => {
    const [a, b] = ["a", "b"].map(published);
    store.save(a);
    store.save(b);
    assert.equal(store.get(a.item.target), a, "at once");
    await queue.flush();
    assert.deepEqual(summary(disk.published()), summary([a, b]));
    const later = [a, b].map((one, i) => ({ ...one, replicas: 10 + i, lastAt: 5, nextAt: 6 }));
    for (const one of later) store.save(one);
    store.save(later[0]);
    await queue.flush();
    assert.equal(disk.commits, 2);
    assert.deepEqual(summary(disk.published()), summary(later));
    store.remove(a.item.target);
    store.remove(a.item.target);
    await queue.flush();
    assert.deepEqual([store.count, summary(store.entries())], [1, summary([later[1]])]);
    assert.deepEqual(summary(disk.published()), summary(store.entries()));
    const again = new DurablePublishedStore({ queue, saved: disk.published(), seed: 2 }, 0);
    assert.deepEqual(again.get(b.item.target), disk.published()[0]);
  }));

Deno.test("if an earlier run's clock was ahead, values are still republished within hours", () =>
  withStore((_, __, queue) => {
    const DAY = 24 * 3_600_000, NOW = 100 * DAY;
    const [a, b] = ["a", "b"].map(published);
    const saved = [{ ...a, nextAt: NOW + 30 * DAY }, { ...b, nextAt: NOW + 1_000 }];
    const store = new DurablePublishedStore({ queue, saved, seed: 1 }, NOW);
    assert.ok(store.get(a.item.target)!.nextAt < NOW + DAY / 12);
    assert.equal(store.get(b.item.target)!.nextAt, NOW + 1_000);
    return Promise.resolve();
  }));

Deno.test("a save reports whether the value is on disk, and is retried if it is not", () =>
  withStore(async (store, disk, queue) => {
    const [a, b, c] = ["a", "b", "c"].map(published);
    const answers: boolean[] = [];
    store.save(b);
    store.save(c);
    await queue.flush();
    disk.isFull = true;
    store.save(a, (isSaved) => answers.push(isSaved));
    store.save({ ...b, replicas: 1 });
    store.remove(c.item.target);
    await queue.flush();
    assert.deepEqual(answers, [false]);
    store.save({ ...b, replicas: 2 }, (isSaved) => answers.push(isSaved));
    disk.isFull = false;
    await queue.flush();
    await queue.flush();
    assert.deepEqual(answers, [false, true]);
    assert.deepEqual(summary(disk.published()), summary([a, { ...b, replicas: 2 }]));
    assert.deepEqual(summary(disk.published()), summary(store.entries()));
  }));

Deno.test("a sync ends after the removals before it are on disk, and reports if they are not", () =>
  withStore(async (store, disk, queue) => {
    const [a, b] = ["a", "b"].map(published);
    for (const one of [a, b]) store.save(one);
    await queue.flush();
    const answers: boolean[] = [];
    const removal = (target: Id) => {
      store.remove(target);
      store.sync((isSaved) => answers.push(isSaved));
    };
    disk.hold();
    removal(a.item.target);
    const flushed = queue.flush();
    await disk.asked;
    assert.deepEqual([answers, disk.published().length], [[], 2]);
    disk.release();
    await flushed;
    assert.deepEqual([answers, disk.published().length], [[true], 1]);
    disk.isFull = true;
    removal(b.item.target);
    await queue.flush();
    assert.deepEqual(answers, [true, false]);
    // It is repeated until it succeeds.
    disk.isFull = false;
    await queue.flush();
    assert.equal(disk.published().length, 0);
  }));

Deno.test("a value that is removed and saved again stays", () =>
  withStore(async (store, disk, queue) => {
    const a = published("a");
    store.save(a);
    await queue.flush();
    store.remove(a.item.target);
    store.save({ ...a, replicas: 7 });
    await queue.flush();
    assert.deepEqual(summary(disk.published()), summary(store.entries()));
    assert.equal(disk.published()[0].replicas, 7);
    store.save({ ...a, replicas: 8 });
    store.remove(a.item.target);
    await queue.flush();
    assert.deepEqual(disk.published(), []);
  }));
