// Watched values in virtual time: polls and their intervals, notices, limits, and slow or leaving clients.

import assert from "node:assert/strict";
import {
  isNewer,
  MAX_POLL_MS,
  MAX_TARGETS,
  MAX_WATCHERS,
  MIN_POLL_MS,
  POLL_GAP_MS,
  type Version,
  type Watch,
  Watches,
} from "../../../src/runtime/values/watch.ts";
import type { Seq } from "../../../src/krpc/seq.ts";
import { latin1 } from "../../packets.ts";
import type { SeenVersion } from "../../../src/node_service.ts";

const reported = (seq: number | null, size = 5) => ({ seq, size, public_key: "ab" });
const version = (seq: number | null, size = 5, value = "v"): Version => ({
  ...reported(seq, size),
  value: latin1(value),
});

/** A network with one value, and a clock that the test advances. */
class World {
  now = 0;
  current: Version | undefined;
  /** The key that is needed to read the value. */
  key: string | null = null;
  fails = false;
  readonly reads: [at: number, key: string | null][] = [];
  /** Whether the holders will report a new version. */
  isPushed = false;
  readonly started: string[] = [];
  readonly stopped: string[] = [];
  #timers: { at: number; run: () => void }[] = [];
  readonly watches = new Watches({
    read: (_hash, key, seen) => {
      this.reads.push([this.now, key]);
      if (this.fails) return Promise.reject(new Error("no network"));
      const isOld = this.current !== undefined && !isNewer(this.current, seen);
      return Promise.resolve(
        this.key !== null && key !== this.key || isOld ? undefined : this.current,
      );
    },
    holders: {
      start: (hash) => void this.started.push(hash),
      stop: (hash) => void this.stopped.push(hash),
      isPushed: () => this.isPushed,
    },
    random: () => 0.5,
    clock: {
      now: () => this.now,
      wall: (at) => at,
      sleep: (ms, signal) =>
        new Promise((run) => {
          const timer = { at: this.now + ms, run };
          this.#timers.push(timer);
          signal.addEventListener("abort", () => {
            this.#timers = this.#timers.filter((other) => other !== timer);
          });
        }),
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

/** The seq that the watch reports now. */
async function nextSeq(watch: Watch | undefined): Promise<Seq | null | string | undefined> {
  const next = await watch!.next(0);
  return typeof next === "object" ? (next as SeenVersion).seq : next;
}

Deno.test("a watch reports a greater value with the same seq, and no lesser one", async () => {
  const world = new World();
  world.current = version(3, 5, "b");
  const fresh = world.watches.open("a", null, null)!;
  const resumed = world.watches.open("a", null, 3)!;
  await world.pass(0);
  assert.equal(await nextSeq(fresh), 3);
  assert.equal(
    await nextSeq(resumed),
    "quiet",
    "the first version with the seq is the client's own",
  );
  world.watches.noteVersion("a", version(3, 6, "c"));
  for (const watch of [fresh, resumed]) {
    const next = await watch.next(0);
    assert.deepEqual(typeof next === "object" && [next.seq, next.size], [3, 6]);
  }
  world.watches.noteVersion("a", version(3, 5, "b"));
  world.watches.noteVersion("a", version(3, 6, "c"));
  for (const watch of [fresh, resumed]) assert.equal(await nextSeq(watch), "quiet");
  world.watches.close();
});

Deno.test("a watch reports the first version, then each newer one once", async () => {
  const world = new World();
  world.current = version(3);
  const watch = world.watches.open("a", null, null);
  await world.pass(0);
  assert.deepEqual(await watch!.next(0), { ...reported(3), at: 0 });
  assert.equal(await nextSeq(watch), "quiet");
  world.current = version(4, 9);
  await world.pass(MIN_POLL_MS);
  assert.deepEqual(await watch!.next(0), { ...reported(4, 9), at: MIN_POLL_MS });
  world.current = version(2);
  await world.pass(MAX_POLL_MS);
  assert.equal(await nextSeq(watch), "quiet", "an older version is not reported");
});

Deno.test("the clients of a value share one poller, and each gets the versions that are new to it", async () => {
  const world = new World();
  world.current = version(3);
  const first = world.watches.open("a", null, null);
  await world.pass(0);
  const more = [2, 3, 4].map((after) => world.watches.open("a", null, after));
  assert.equal(world.reads.length, 1, "a known version is reported at once");
  assert.deepEqual(await Promise.all([first, ...more].map(nextSeq)), [3, 3, "quiet", "quiet"]);
  world.current = version(5);
  await world.pass(MIN_POLL_MS);
  assert.deepEqual(await Promise.all([first, ...more].map(nextSeq)), [5, 5, 5, 5]);
  assert.equal(world.reads.length, 2);
});

Deno.test("the poll interval grows while nothing changes, and is short after a change", async () => {
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
  assert.ok(gaps.slice(8).every((gap) => gap === MAX_POLL_MS));
  assert.ok(world.reads.length >= 60 && world.reads.length <= 68, `${world.reads.length} polls`);
  world.current = version(2);
  await world.pass(MAX_POLL_MS);
  const before = world.reads.length;
  await world.pass(MAX_POLL_MS);
  assert.ok(world.reads.length >= before + 3);
});

Deno.test("jitter moves polls by up to a fifth of the interval", async () => {
  for (const [random, expected] of [[0, 4_000], [1, 6_000]]) {
    const waits: number[] = [];
    const watches = new Watches({
      read: () => Promise.resolve(version(1)),
      holders: { start: () => {}, stop: () => {}, isPushed: () => false },
      random: () => random,
      clock: {
        now: () => 0,
        wall: (at) => at,
        sleep: (ms) => waits.push(ms) === 1 ? Promise.resolve() : new Promise(() => {}),
      },
    });
    watches.open("a", null, null);
    await settle();
    assert.deepEqual(waits.slice(0, 2).map(Math.round), [0, expected]);
  }
});

Deno.test("a notice causes a poll at once, and many notices cause few polls", async () => {
  const world = new World();
  world.current = version(1);
  const watch = world.watches.open("a", null, null);
  await world.pass(60_000);
  await nextSeq(watch);
  const before = world.reads.length;
  world.current = version(2);
  world.watches.noteNewer("a");
  await world.pass(0);
  assert.equal(await nextSeq(watch), 2);
  for (let i = 0; i < 100; i++) {
    world.watches.noteNewer("a");
    await world.pass(10);
  }
  assert.ok(world.reads.length <= before + 3, `${world.reads.length - before} polls in a second`);
  world.watches.noteNewer("unknown");
  world.watches.noteVersion("unknown", version(1));
  assert.equal(POLL_GAP_MS, 1_000);
});

Deno.test("a version that was verified here is reported without a poll", async () => {
  const world = new World();
  const watch = world.watches.open("a", null, 1);
  await world.pass(0);
  world.watches.noteVersion("a", version(1));
  assert.equal(await nextSeq(watch), "quiet");
  world.watches.noteVersion("a", version(2));
  world.watches.noteVersion("a", version(3));
  assert.equal(await nextSeq(watch), 3, "a slow client gets the newest version");
  assert.equal(await nextSeq(watch), "quiet");
  assert.equal(world.reads.length, 1);
});

Deno.test("an immutable value is reported once, and no longer polled", async () => {
  const world = new World();
  const watch = world.watches.open("a", null, 0);
  await world.pass(60_000);
  assert.equal(await nextSeq(watch), "quiet", "the watch waits for the value");
  world.current = version(null);
  await world.pass(MAX_POLL_MS * 2);
  assert.equal(await nextSeq(watch), null);
  const before = world.reads.length;
  world.watches.noteNewer("a");
  await world.pass(3_600_000);
  assert.deepEqual([world.reads.length, world.timers], [before, 0]);
});

Deno.test("a client's wrong key does not affect the others", async () => {
  const world = new World();
  world.current = version(1);
  world.key = "right";
  const watches = ["wrong", null, "right"].map((key) => world.watches.open("a", key, null));
  await world.pass(60_000);
  assert.deepEqual(await Promise.all(watches.map(nextSeq)), [1, 1, 1]);
  world.reads.length = 0;
  await world.pass(300_000);
  assert.ok(world.reads.every(([, key]) => key === "right"));
});

Deno.test("failed polls are repeated", async () => {
  const world = new World();
  world.fails = true;
  const watch = world.watches.open("a", null, null);
  await world.pass(30_000);
  world.fails = false;
  world.current = version(1);
  await world.pass(MAX_POLL_MS * 2);
  assert.equal(await nextSeq(watch), 1);
});

Deno.test("a value is not polled while its holders report new versions", async () => {
  const world = new World();
  world.current = version(1);
  const watch = world.watches.open("a", null, null);
  assert.deepEqual(world.started, ["a"]);
  await world.pass(0);
  assert.equal(await nextSeq(watch), 1);
  world.isPushed = true;
  await world.pass(3_600_000);
  assert.equal(world.reads.length, 1, "only the first read");
  world.watches.noteVersion("a", version(2));
  assert.equal(await nextSeq(watch), 2);
  world.watches.noteNewer("a");
  await world.pass(0);
  assert.equal(world.reads.length, 2, "a read that the core asks for");
  world.isPushed = false;
  await world.pass(2 * MAX_POLL_MS);
  assert.ok(world.reads.length > 2, "polls go on without the holders");
  watch!.close();
  assert.deepEqual(world.stopped, ["a"]);
});

Deno.test("polling ends with the last client", async () => {
  const world = new World();
  world.current = version(1);
  const [one, two] = [1, 2].map(() => world.watches.open("a", null, null)!);
  await world.pass(0);
  one.close();
  one.close();
  assert.equal(world.watches.size, 1);
  two.close();
  assert.deepEqual([world.watches.size, world.timers], [0, 0]);
});

Deno.test("closing ends every watch", async () => {
  const world = new World();
  world.current = version(1);
  const waiting = world.watches.open("a", null, 5)!;
  const next = waiting.next(60_000);
  world.watches.close();
  assert.equal(await next, undefined);
  assert.equal(world.watches.open("a", null, null), undefined);
  await world.pass(3_600_000);
  assert.equal(world.timers, 0);
});

Deno.test("the numbers of values and clients are limited", () => {
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
