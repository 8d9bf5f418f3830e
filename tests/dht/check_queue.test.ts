// The queue of health checks, against a list.

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Checked, CheckQueue, UNQUEUED } from "../../src/dht/check_queue.ts";

interface Item extends Checked {
  readonly name: number;
}

const newItem = (name: number): Item => ({ name, dueAt: 0, queuedAt: UNQUEUED });

Deno.test("items come out when they are due, however often they were put off, hurried or removed", () => {
  const step = fc.record({
    kind: fc.constantFrom("set", "set", "set", "remove", "take"),
    name: fc.nat(11),
    at: fc.nat(60),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
    const queue = new CheckQueue<Item>();
    const items = Array.from({ length: 12 }, (_, name) => newItem(name));
    const model = new Map<Item, number>();
    for (const { kind, name, at } of steps) {
      if (kind === "set") {
        queue.set(items[name], at);
        model.set(items[name], at);
      } else if (kind === "remove") {
        queue.remove(items[name]);
        model.delete(items[name]);
      } else {
        const earliest = Math.min(...model.values());
        const taken = queue.take(at);
        assert.equal(taken === undefined, earliest > at);
        if (taken !== undefined) {
          assert.equal(model.get(taken), earliest);
          model.delete(taken);
        }
      }
      assert.equal(queue.size, model.size);
      assert.equal(queue.next, Math.min(...model.values()));
      for (const [item, due] of model) assert.equal(item.dueAt, due);
    }
  }));
});

Deno.test("what left does not pile up, however far off its time is", () => {
  const queue = new CheckQueue<Item>();
  const stays = newItem(-1);
  queue.set(stays, 5_000_000);
  let entries = 0;
  for (let i = 0; i < 100_000; i++) {
    const passing = newItem(i);
    queue.set(passing, 10_000_000 + i);
    queue.remove(passing);
    entries = Math.max(entries, queue.entries);
  }
  assert.ok(entries < 100, `${entries} entries`);
  assert.equal(queue.size, 1);
  assert.equal(queue.take(4_999_999), undefined);
  assert.equal(queue.take(5_000_000), stays);
  assert.equal(queue.next, Infinity);
});
