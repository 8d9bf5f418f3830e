// Watched values in virtual time: one poller a value, its pace, notices, bounds, and slow or leaving clients.

import assert from "node:assert/strict";
import {
  FIRST_POLL_MS,
  LAST_POLL_MS,
  MAX_TARGETS,
  MAX_WATCHERS,
  POLL_GAP_MS,
  type SeenVersion,
  type Version,
  type Watch,
  Watches,
} from "../../src/runtime/watch.ts";

const version = (seq: number | null, size = 5): Version => ({ seq, size, publicKey: "ab" });

/** A network with one value, and a clock that a test turns. */
class World {
  now = 0;
  current: Version | undefined;
  /** With this key alone it can be read. */
  key: string | null = null;
  fails = false;
  readonly reads: [at: number, key: string | null][] = [];
  #timers: { at: number; run: () => void }[] = [];
  readonly watches = new Watches({
    read: (_hash, key, seen) => {
      this.reads.push([this.now, key]);
      if (this.fails) return Promise.reject(new Error("no network"));
      const isOld = seen !== null && (this.current?.seq ?? 0) <= seen;
      return Promise.resolve(
        this.key !== null && key !== this.key || isOld ? undefined : this.current,
      );
    },
    now: () => this.now,
    random: () => 0.5,
    later: (ms, run) => {
      const timer = { at: this.now + ms, run };
      this.#timers.push(timer);
      return () => this.#timers = this.#timers.filter((other) => other !== timer);
    },
  });

  get timers(): number {
    return this.#timers.length;
  }

  async pass(ms: number): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      await settle();
      const next = this.#timers.toSorted((x, y) => x.at - y.at)[0];
      if (next === undefined || next.at > end) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.now = next.at;
      next.run();
    }
    this.now = end;
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

/** Seq of what the watch has to tell now. */
async function told(watch: Watch | undefined): Promise<number | null | string | undefined> {
  const next = await watch!.next(0);
  return typeof next === "object" ? (next as SeenVersion).seq : next;
}

Deno.test("the version at the start is told, then each newer one, once", async () => {
  const world = new World();
  world.current = version(3);
  const watch = world.watches.open("a", null, null);
  await world.pass(0);
  assert.deepEqual(await watch!.next(0), { ...version(3), at: 0 });
  assert.equal(await told(watch), "quiet");
  world.current = version(4, 9);
  await world.pass(FIRST_POLL_MS);
  assert.deepEqual(await watch!.next(0), { ...version(4, 9), at: FIRST_POLL_MS });
  world.current = version(2);
  await world.pass(LAST_POLL_MS);
  assert.equal(await told(watch), "quiet", "an older one is nothing new");
});

Deno.test("many clients of a value share one poller; each is told what it has not seen", async () => {
  const world = new World();
  world.current = version(3);
  const first = world.watches.open("a", null, null);
  await world.pass(0);
  const more = [2, 3, 4].map((after) => world.watches.open("a", null, after));
  assert.equal(world.reads.length, 1, "what is known is told at once");
  assert.deepEqual(await Promise.all([first, ...more].map(told)), [3, 3, "quiet", "quiet"]);
  world.current = version(5);
  await world.pass(FIRST_POLL_MS);
  assert.deepEqual(await Promise.all([first, ...more].map(told)), [5, 5, 5, 5]);
  assert.equal(world.reads.length, 2);
});

Deno.test("polls come ever more slowly while nothing changes, and soon after a change", async () => {
  const world = new World();
  world.current = version(1);
  world.watches.open("a", null, null);
  await world.pass(3_600_000);
  const gaps = world.reads.map(([at], i) => at - (world.reads[i - 1]?.[0] ?? 0));
  assert.deepEqual(gaps.slice(0, 8), [
    0,
    5_000,
    7_500,
    11_250,
    16_875,
    25_312.5,
    37_968.75,
    56_953.125,
  ]);
  assert.ok(gaps.slice(8).every((gap) => gap === LAST_POLL_MS));
  assert.ok(world.reads.length >= 60 && world.reads.length <= 68, `${world.reads.length} polls`);
  world.current = version(2);
  await world.pass(LAST_POLL_MS);
  const before = world.reads.length;
  await world.pass(LAST_POLL_MS);
  assert.ok(world.reads.length >= before + 3);
});

Deno.test("jitter moves polls by up to a fifth", async () => {
  for (const [random, expected] of [[0, 4_000], [1, 6_000]]) {
    const waits: number[] = [];
    const watches = new Watches({
      read: () => Promise.resolve(version(1)),
      now: () => 0,
      random: () => random,
      later: (ms, run) => {
        if (waits.push(ms) === 1) run();
        return () => {};
      },
    });
    watches.open("a", null, null);
    await settle();
    assert.deepEqual(waits.slice(0, 2).map(Math.round), [0, expected]);
  }
});

Deno.test("a notice leads to a poll at once, but not to a flood of them", async () => {
  const world = new World();
  world.current = version(1);
  const watch = world.watches.open("a", null, null);
  await world.pass(60_000);
  await told(watch);
  const before = world.reads.length;
  world.current = version(2);
  world.watches.noteNewer("a");
  await world.pass(0);
  assert.equal(await told(watch), 2);
  for (let i = 0; i < 100; i++) {
    world.watches.noteNewer("a");
    await world.pass(10);
  }
  assert.ok(world.reads.length <= before + 3, `${world.reads.length - before} polls in a second`);
  world.watches.noteNewer("unknown");
  world.watches.noteVersion("unknown", version(1));
  assert.equal(POLL_GAP_MS, 1_000);
});

Deno.test("a version that is verified here is told without a poll", async () => {
  const world = new World();
  const watch = world.watches.open("a", null, 1);
  await world.pass(0);
  world.watches.noteVersion("a", version(1));
  assert.equal(await told(watch), "quiet");
  world.watches.noteVersion("a", version(2));
  world.watches.noteVersion("a", version(3));
  assert.equal(await told(watch), 3, "who is slow gets the newest");
  assert.equal(await told(watch), "quiet");
  assert.equal(world.reads.length, 1);
});

Deno.test("an immutable value is told once, and polled no more", async () => {
  const world = new World();
  const watch = world.watches.open("a", null, 0);
  await world.pass(60_000);
  assert.equal(await told(watch), "quiet", "it is waited for");
  world.current = version(null);
  await world.pass(LAST_POLL_MS * 2);
  assert.equal(await told(watch), null);
  const before = world.reads.length;
  world.watches.noteNewer("a");
  await world.pass(3_600_000);
  assert.deepEqual([world.reads.length, world.timers], [before, 0]);
});

Deno.test("a wrong key of one client does not blind the others", async () => {
  const world = new World();
  world.current = version(1);
  world.key = "right";
  const watches = ["wrong", null, "right"].map((key) => world.watches.open("a", key, null));
  await world.pass(60_000);
  assert.deepEqual(await Promise.all(watches.map(told)), [1, 1, 1]);
  world.reads.length = 0;
  await world.pass(300_000);
  assert.ok(world.reads.every(([, key]) => key === "right"));
});

Deno.test("polls that fail are made up for", async () => {
  const world = new World();
  world.fails = true;
  const watch = world.watches.open("a", null, null);
  await world.pass(30_000);
  world.fails = false;
  world.current = version(1);
  await world.pass(LAST_POLL_MS * 2);
  assert.equal(await told(watch), 1);
});

Deno.test("nothing is polled once nobody watches; closing ends every watch", async () => {
  const world = new World();
  world.current = version(1);
  const [one, two] = [1, 2].map(() => world.watches.open("a", null, null)!);
  await world.pass(0);
  one.close();
  one.close();
  assert.equal(world.watches.size, 1);
  two.close();
  assert.deepEqual([world.watches.size, world.timers], [0, 0]);
  const waiting = world.watches.open("a", null, 5)!;
  const next = waiting.next(60_000);
  world.watches.close();
  assert.equal(await next, undefined);
  assert.equal(world.watches.open("a", null, null), undefined);
  await world.pass(3_600_000);
  assert.equal(world.timers, 0);
});

Deno.test("values and clients are bounded", () => {
  const world = new World();
  for (let i = 0; i < MAX_TARGETS; i++) assert.ok(world.watches.open(`${i}`, null, null));
  assert.equal(world.watches.open("one more", null, null), undefined);
  const last: Watch[] = [];
  for (let i = MAX_TARGETS; i < MAX_WATCHERS; i++) last.push(world.watches.open("0", null, null)!);
  assert.equal(world.watches.open("0", null, null), undefined);
  last[0].close();
  assert.ok(world.watches.open("0", null, null));
  world.watches.close();
});
