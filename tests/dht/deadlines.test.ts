// The deadline heap, against a sorted array.

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Deadline, Deadlines } from "../../src/dht/deadlines.ts";

Deno.test("deadlines run in the order of their times, equal ones in the order of their making", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("schedule" as const), at: fc.nat(50) }),
    fc.record({ kind: fc.constant("cancel" as const), at: fc.nat(1000) }),
    fc.record({ kind: fc.constant("run" as const), at: fc.nat(50) }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
    const heap = new Deadlines();
    const made: Deadline[] = [];
    const ran: number[] = [], expected: number[] = [];
    let model: { at: number; order: number }[] = [];
    for (const { kind, at } of steps) {
      if (kind === "schedule") {
        const order = made.length;
        made.push(heap.schedule(at, () => ran.push(order)));
        model.push({ at, order });
        model.sort((x, y) => x.at - y.at || x.order - y.order);
      } else if (kind === "cancel" && made.length > 0) {
        const order = at % made.length; // one that is gone already, as often as not
        heap.cancel(made[order]);
        model = model.filter((deadline) => deadline.order !== order);
      } else if (kind === "run") {
        heap.run(at);
        expected.push(...model.filter((deadline) => deadline.at <= at).map(({ order }) => order));
        model = model.filter((deadline) => deadline.at > at);
      }
      assert.equal(heap.size, model.length);
      assert.equal(heap.next, model[0]?.at ?? Infinity);
    }
    assert.deepEqual(ran, expected);
  }));
});

Deno.test("what a deadline schedules for now waits for the next call", () => {
  const heap = new Deadlines();
  let runs = 0;
  const again = () => {
    runs++;
    heap.schedule(0, again);
  };
  heap.schedule(0, again);
  heap.run(10);
  assert.equal(runs, 1);
  heap.run(10);
  assert.equal(runs, 2);
  assert.equal(heap.size, 1);
});

Deno.test("a deadline cancelled by one that is due at the same time does not run", () => {
  const heap = new Deadlines();
  const ran: string[] = [];
  heap.schedule(1, () => {
    ran.push("first");
    heap.cancel(second);
  });
  const second = heap.schedule(1, () => ran.push("second"));
  heap.schedule(2, () => ran.push("third"));
  heap.run(5);
  assert.deepEqual(ran, ["first", "third"]);
  heap.cancel(second);
  assert.equal(heap.size, 0);
});

Deno.test("cancelling nothing, or twice, changes nothing", () => {
  const heap = new Deadlines();
  heap.cancel(undefined);
  const one = heap.schedule(1, () => {});
  heap.schedule(2, () => {});
  heap.cancel(one);
  heap.cancel(one);
  assert.equal(heap.size, 1);
  assert.equal(heap.next, 2);
});
