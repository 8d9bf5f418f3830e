// The commit queue: groups of changes, one commit at a time, one result per change, and limited failure reports.

import assert from "node:assert/strict";
import { type Changes, CommitQueue } from "../../src/storage/commit_queue.ts";

/** The numbers of a commit's changes in order. */
const numbers = ({ deletedItems }: Changes) => deletedItems.map(([n]) => n);

const change = (n: number) => (changes: Changes) =>
  void changes.deletedItems.push(Uint8Array.of(n));

interface Given {
  readonly queue: CommitQueue;
  /** The changes of each attempted commit. */
  readonly tried: number[][];
  readonly told: string[];
  /** The error with which commits fail from now on. */
  fail(error: string | undefined): void;
}

async function withQueue(run: (given: Given) => Promise<void>): Promise<void> {
  const tried: number[][] = [], told: string[] = [];
  let failure: string | undefined;
  let isRunning = false;
  const queue = new CommitQueue(async (changes) => {
    assert.equal(isRunning, false, "one at a time");
    isRunning = true;
    tried.push(numbers(changes));
    await new Promise((resolve) => setTimeout(resolve, 1));
    isRunning = false;
    if (failure !== undefined) throw new Error(failure);
  }, {
    failed: (error) => told.push((error as Error).message),
    recovered: () => told.push("recovered"),
  });
  try {
    await run({ queue, tried, told, fail: (error) => failure = error });
  } finally {
    failure = undefined;
    await queue.close();
  }
}

Deno.test("many changes become several commits, so that no commit is large", () =>
  withQueue(async ({ queue, tried }) => {
    const count = 1_000, answers: boolean[] = [];
    for (let n = 0; n < count; n++) {
      queue.add(change(n), (isCommitted) => answers.push(isCommitted));
    }
    assert.equal(queue.waiting, count);
    await queue.flush();
    assert.ok(tried.every((numbers) => numbers.length <= 256));
    assert.deepEqual(tried.flat(), Array.from({ length: count }, (_, n) => n % 256));
    assert.deepEqual([answers.length, queue.waiting], [count, 0]);
  }));

Deno.test("changes that arrive during a commit go into the next one", () =>
  withQueue(async ({ queue, tried }) => {
    const answers: [number, boolean][] = [];
    const add = (n: number) =>
      queue.add(change(n), (isCommitted) => answers.push([n, isCommitted]));
    add(1);
    add(2);
    const flushed = queue.flush();
    add(3);
    await flushed;
    assert.deepEqual(tried, [[1, 2]]);
    await queue.flush();
    assert.deepEqual(tried, [[1, 2], [3]]);
    assert.deepEqual(answers, [[1, true], [2, true], [3, true]]);
    await queue.flush();
    assert.equal(tried.length, 2, "nothing is no commit");
  }));

Deno.test("commits start automatically, a few milliseconds apart", () =>
  withQueue(async ({ queue, tried }) => {
    const begun = performance.now();
    for (let n = 0; n < 20; n++) {
      await new Promise<void>((resolve) => queue.add(change(n), () => resolve()));
    }
    assert.equal(tried.length, 20);
    const elapsed = performance.now() - begun;
    assert.ok(elapsed > 70, `${elapsed} ms`);
  }));

Deno.test("a wanted change is retried until it is committed, and its first result is reported", () =>
  withQueue(async ({ queue, tried, fail }) => {
    const first: boolean[] = [];
    let isWanted = true;
    fail("full");
    queue.addUntilCommitted(change(1), () => true, (isCommitted) => first.push(isCommitted));
    queue.addUntilCommitted(change(2), () => isWanted);
    await queue.flush();
    isWanted = false;
    await queue.flush();
    fail(undefined);
    await queue.flush();
    await queue.flush();
    assert.deepEqual(tried, [[1, 2], [1, 2], [1]]);
    assert.deepEqual(first, [false]);
  }));

Deno.test("commits pause after a failure", () =>
  withQueue(async ({ queue, tried, fail }) => {
    fail("full");
    queue.addUntilCommitted(change(1), () => true);
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.ok(tried.length >= 1 && tried.length <= 4, `${tried.length} commits`);
  }));

Deno.test("a series of failures is reported once, and so is its end", () =>
  withQueue(async ({ queue, told, fail }) => {
    const commit = () => {
      queue.add(change(1));
      return queue.flush();
    };
    await commit();
    fail("full");
    for (let i = 0; i < 5; i++) await commit();
    assert.deepEqual(told, ["full"]);
    fail(undefined);
    await commit();
    await commit();
    assert.deepEqual(told, ["full", "recovered"]);
    fail("gone");
    await commit();
    assert.deepEqual(told, ["full", "recovered", "gone"]);
  }));

Deno.test("a closed queue refuses changes at once, and leaves no timer", () =>
  withQueue(async ({ queue, tried, fail }) => {
    fail("full");
    queue.addUntilCommitted(change(1), () => true);
    await queue.close();
    assert.deepEqual(tried, [[1]]);
    const answers: boolean[] = [];
    queue.add(change(2), (isCommitted) => answers.push(isCommitted));
    queue.addUntilCommitted(change(3), () => true, (isCommitted) => answers.push(isCommitted));
    assert.deepEqual(answers, [false, false]);
    await queue.flush();
    assert.equal(tried.length, 1);
  }));

Deno.test("commits, failures and waiting changes are counted", () =>
  withQueue(async ({ queue, fail }) => {
    const counts = () => [
      queue.durations.counts.reduce((sum, n) => sum + n, 0),
      queue.failures,
      queue.waiting,
    ];
    assert.deepEqual(counts(), [0, 0, 0]);
    queue.add(change(1));
    queue.add(change(2));
    assert.deepEqual(counts(), [0, 0, 2]);
    const flushed = queue.flush();
    queue.add(change(3));
    assert.deepEqual(counts(), [0, 0, 3], "those of the commit that runs wait as well");
    await flushed;
    assert.deepEqual(counts(), [1, 0, 1]);
    fail("full");
    await queue.flush();
    assert.deepEqual(counts(), [2, 1, 0]);
    assert.ok(queue.durations.sum > 0);
  }));
