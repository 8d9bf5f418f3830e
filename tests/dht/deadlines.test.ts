// Tests the priority queue and the deadlines, compared with sorted arrays.

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  Agenda,
  type Deadline,
  Deadlines,
  type Millis,
  NO_SLOT,
  type Slot,
} from "../../src/dht/deadlines.ts";

interface Named {
  readonly name: number;
  slot: Slot;
  /** When the entry is due, and when it was added, counted over all entries. */
  at: Millis;
  order: number;
}

function named(name: number): Named {
  return { name, slot: NO_SLOT, at: NaN, order: NaN };
}

Deno.test("an agenda yields the earliest entry after any postponements, advances and removals", () => {
  const step = fc.record({
    kind: fc.constantFrom("set", "set", "set", "remove", "take"),
    name: fc.nat(11),
    at: fc.nat(60),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
    const agenda = new Agenda<Named>();
    const entries = Array.from({ length: 12 }, (_, name) => named(name));
    let expected: Named[] = [];
    let added = 0;
    for (const { kind, name, at } of steps) {
      const entry = entries[name];
      if (kind === "set") {
        entry.slot = agenda.set(entry, entry.slot, at);
        entry.at = at;
        if (!expected.includes(entry)) {
          entry.order = added++;
          expected.push(entry);
        }
      } else if (kind === "remove") {
        agenda.remove(entry, entry.slot);
        expected = expected.filter((other) => other !== entry);
      } else {
        const isDue = expected.length > 0 && expected[0].at <= at;
        assert.equal(agenda.take(at), isDue ? expected.shift() : undefined);
      }
      expected.sort((x, y) => x.at - y.at || x.order - y.order);
      for (const each of entries) {
        assert.equal(agenda.has(each, each.slot), expected.includes(each));
      }
      assert.equal(agenda.size, expected.length);
      assert.equal(agenda.first, expected[0]);
      assert.equal(agenda.next, expected[0]?.at ?? Infinity);
    }
  }));
});

Deno.test("entries with equal times come out in the order in which they were added", () => {
  const agenda = new Agenda<Named>();
  for (const name of [0, 1, 2, 3, 4, 5]) agenda.set(named(name), NO_SLOT, name % 2);
  const names = Array.from({ length: 6 }, () => agenda.take(1)?.name);
  assert.deepEqual(names, [0, 2, 4, 1, 3, 5]);
});

Deno.test("deadlines run in order of their times, and equal ones in the order in which they were made", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("schedule" as const), at: fc.nat(50) }),
    fc.record({ kind: fc.constant("cancel" as const), at: fc.nat(1000) }),
    fc.record({ kind: fc.constant("run" as const), at: fc.nat(50) }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
    const deadlines = new Deadlines();
    const made: Deadline[] = [];
    const ran: number[] = [], expected: number[] = [];
    let model: { at: number; order: number }[] = [];
    for (const { kind, at } of steps) {
      if (kind === "schedule") {
        const order = made.length;
        made.push(deadlines.schedule(at, () => ran.push(order)));
        model.push({ at, order });
        model.sort((x, y) => x.at - y.at || x.order - y.order);
      } else if (kind === "cancel" && made.length > 0) {
        const order = at % made.length; // often an entry that was removed before
        deadlines.cancel(made[order]);
        model = model.filter((deadline) => deadline.order !== order);
      } else if (kind === "run") {
        deadlines.run(at);
        expected.push(...model.filter((deadline) => deadline.at <= at).map(({ order }) => order));
        model = model.filter((deadline) => deadline.at > at);
      }
      assert.equal(deadlines.size, model.length);
      assert.equal(deadlines.next, model[0]?.at ?? Infinity);
    }
    assert.deepEqual(ran, expected);
  }));
});

Deno.test("a deadline that another one schedules for now waits for the next call", () => {
  const deadlines = new Deadlines();
  let runs = 0;
  const again = () => {
    runs++;
    deadlines.schedule(0, again);
  };
  deadlines.schedule(0, again);
  deadlines.run(10);
  assert.equal(runs, 1);
  deadlines.run(10);
  assert.equal(runs, 2);
  assert.equal(deadlines.size, 1);
});

Deno.test("a deadline does not run if an earlier one cancels it", () => {
  const deadlines = new Deadlines();
  const ran: string[] = [];
  deadlines.schedule(1, () => {
    ran.push("first");
    deadlines.cancel(second);
  });
  const second = deadlines.schedule(1, () => ran.push("second"));
  deadlines.schedule(2, () => ran.push("third"));
  deadlines.run(5);
  assert.deepEqual(ran, ["first", "third"]);
  deadlines.cancel(second);
  assert.equal(deadlines.size, 0);
});

Deno.test("cancelling nothing, or twice, changes nothing", () => {
  const deadlines = new Deadlines();
  deadlines.cancel(undefined);
  const first = deadlines.schedule(1, () => {});
  deadlines.schedule(2, () => {});
  deadlines.cancel(first);
  deadlines.cancel(first);
  assert.equal(deadlines.size, 1);
  assert.equal(deadlines.next, 2);
});
