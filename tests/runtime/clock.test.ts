// The times of a node, while the system's clock is set, the machine sleeps, and the process is stopped and restarted.

import assert from "node:assert/strict";
import { NodeClock } from "../../src/runtime/clock.ts";

const SECOND = 1_000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, YEAR = 365 * 24 * HOUR;

const NOON = Date.UTC(2026, 3, 14, 12);

/** A machine whose clocks a test moves. */
class Machine {
  uptime = 5 * MINUTE;
  time = NOON;
  readonly system = { monotonic: () => this.uptime, wall: () => this.time };

  start(saved?: Uint8Array): NodeClock {
    return new NodeClock({ saved, system: this.system });
  }

  /** Lets time pass while the node runs, with a check each second. Returns the jumps that it noticed. */
  run(clock: NodeClock, ms: number): number[] {
    const jumps: number[] = [];
    for (let passed = 0; passed < ms; passed += SECOND) {
      this.uptime += SECOND;
      this.time += SECOND;
      const jump = clock.check();
      if (jump !== undefined) jumps.push(jump);
    }
    return jumps;
  }

  sleep(ms: number): void {
    this.time += ms;
  }
}

Deno.test("while node time and the system's clock advance together, no jump is reported", () => {
  const machine = new Machine(), clock = machine.start(), start = clock.now();
  assert.deepEqual(machine.run(clock, HOUR), []);
  assert.equal(clock.now() - start, HOUR);
  assert.equal(clock.wall(start), NOON);
  assert.equal(clock.wall(clock.now()), machine.time);
});

Deno.test("if a clock that was years behind is set, node time continues, and times of this run are shown correctly", () => {
  const machine = new Machine();
  machine.time -= 2 * YEAR;
  const clock = machine.start(), start = clock.now();
  machine.run(clock, MINUTE);
  machine.time += 2 * YEAR;
  assert.deepEqual(machine.run(clock, SECOND), [2 * YEAR]);
  assert.equal(clock.now() - start, MINUTE + SECOND);
  assert.equal(clock.wall(start), NOON);
  assert.equal(clock.wall(clock.now()), machine.time);
});

Deno.test("if the clock is set back, node time continues, and times of this run are shown correctly", () => {
  const machine = new Machine();
  machine.time += YEAR;
  const clock = machine.start(), start = clock.now();
  machine.run(clock, MINUTE);
  machine.time -= YEAR;
  assert.deepEqual(machine.run(clock, SECOND), [-YEAR]);
  assert.equal(clock.now() - start, MINUTE + SECOND);
  assert.equal(clock.wall(start), NOON);
});

Deno.test("a sleep of 8 hours is noticed once, does not count, and earlier times are still shown right", () => {
  const machine = new Machine(), clock = machine.start(), start = clock.now();
  machine.run(clock, MINUTE);
  machine.sleep(8 * HOUR);
  assert.deepEqual(machine.run(clock, MINUTE), [8 * HOUR]);
  assert.equal(clock.now() - start, 2 * MINUTE);
  assert.equal(clock.wall(start), NOON);
  assert.equal(clock.wall(start + 2 * MINUTE), machine.time);
});

Deno.test("a pause during which the monotonic clock advanced is detected, and does not count", () => {
  const machine = new Machine(), clock = machine.start(), start = clock.now();
  machine.uptime += 30 * HOUR;
  machine.time += 30 * HOUR;
  assert.equal(clock.now(), start);
  assert.equal(clock.check(), 30 * HOUR);
  assert.deepEqual(machine.run(clock, MINUTE), []);
  assert.equal(clock.now() - start, MINUTE);
  assert.equal(clock.wall(start - 1), NOON - 1);
});

Deno.test("node time never runs backwards", () => {
  const machine = new Machine(), clock = machine.start(), start = clock.now();
  machine.uptime -= MINUTE;
  assert.equal(clock.now(), start);
  machine.uptime += SECOND;
  assert.equal(clock.now(), start + SECOND);
});

Deno.test("small changes of the system's clock are applied, and are not jumps", () => {
  const machine = new Machine(), clock = machine.start();
  for (let i = 0; i < 100; i++) {
    machine.time += 300;
    assert.deepEqual(machine.run(clock, MINUTE), []);
  }
  assert.ok(Math.abs(clock.wall(clock.now()) - machine.time) <= SECOND);
});

Deno.test("after a restart, node time continues from the saved time, whatever the system's clock shows", () => {
  const machine = new Machine();
  let clock = machine.start();
  for (const change of [-2 * YEAR, 3 * YEAR, -YEAR, HOUR, 0]) {
    machine.run(clock, 3 * MINUTE);
    const end = clock.now(), saved = clock.saved();
    machine.time += change;
    machine.uptime = 1; // the machine was started again
    clock = machine.start(saved);
    assert.equal(clock.now(), end);
    assert.equal(clock.wall(end), machine.time);
  }
});

Deno.test("times of earlier runs are shown as they were, without the time in which the node was off", () => {
  const machine = new Machine(), first = machine.start(), at = first.now();
  machine.run(first, HOUR);
  const saved = first.saved();
  machine.time += 12 * HOUR;
  const clock = machine.start(saved);
  assert.equal(clock.wall(at), NOON);
  assert.equal(clock.wall(at + 30 * MINUTE), NOON + 30 * MINUTE);
  assert.equal(clock.wall(at + HOUR), NOON + 13 * HOUR);
});

Deno.test("only a stop of a few minutes is short, and only if no jump was left to catch up with", () => {
  const afterStop = (change: number, before = (_: Machine, __: NodeClock) => {}) => {
    const machine = new Machine(), clock = machine.start();
    machine.run(clock, 10 * MINUTE);
    before(machine, clock);
    const saved = clock.saved();
    machine.time += change;
    return machine.start(saved).isShortStop;
  };
  assert.equal(afterStop(MINUTE), true);
  assert.equal(afterStop(HOUR), false);
  assert.equal(afterStop(-MINUTE), false, "the clock was set, so nobody knows");
  const sleep = (machine: Machine, clock: NodeClock) => {
    machine.sleep(8 * HOUR);
    machine.run(clock, SECOND);
  };
  assert.equal(afterStop(MINUTE, sleep), false);
});

Deno.test("data from before node time keeps its times", () => {
  const machine = new Machine(), latest = NOON - 3 * HOUR;
  const clock = new NodeClock({ latest, system: machine.system });
  assert.equal(clock.now(), latest);
  assert.equal(clock.wall(latest - HOUR), latest - HOUR);
  assert.equal(clock.wall(latest), NOON);
  assert.equal(clock.isShortStop, false);
});

Deno.test("a damaged state counts as none", () => {
  const machine = new Machine();
  const texts = ["", "{", "null", "[]", `{"node":1}`, `{"node":"1","wall":2,"stretches":[]}`];
  for (const text of [...texts, `{"node":1,"wall":2,"stretches":[[1]]}`]) {
    const saved = new TextEncoder().encode(text);
    const clock = new NodeClock({ saved, latest: 7, system: machine.system });
    assert.equal(clock.now(), 7, text);
  }
});

Deno.test("the saved state stays small even if the machine sleeps often", () => {
  const machine = new Machine();
  let clock = machine.start();
  const start = clock.now();
  for (let day = 0; day < 1_000; day++) {
    machine.run(clock, 2 * SECOND);
    machine.sleep(8 * HOUR);
    if (day % 10 === 0) clock = machine.start(clock.saved());
  }
  machine.run(clock, SECOND);
  assert.ok(clock.saved().length < 10_000);
  assert.equal(clock.now() - start, 2_001 * SECOND);
  assert.equal(clock.wall(clock.now()), machine.time);
});
