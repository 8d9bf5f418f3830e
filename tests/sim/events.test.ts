// The simulation's queue.

import assert from "node:assert/strict";
import { EventQueue } from "../../src/sim/events.ts";
import { SeededRandom } from "../../src/sim/random.ts";

Deno.test("events come out by time, and in the order of their adding at equal times", () => {
  const queue = new EventQueue<[at: number, order: number]>();
  const random = new SeededRandom(1);
  const expected: [number, number][] = [];
  const taken: [number, number][] = [];
  for (let i = 0; i < 5_000; i++) {
    const event: [number, number] = [random.below(300), i];
    expected.push(event);
    queue.add(event[0], event);
  }
  while (queue.size > 0) {
    const at = queue.next;
    const event = queue.take();
    assert.equal(event[0], at);
    taken.push(event);
  }
  assert.equal(queue.next, Infinity);
  assert.deepEqual(taken, expected.sort(([x, i], [y, j]) => x - y || i - j));
});

Deno.test("the queue stays in order while events are taken and added in turns", () => {
  const queue = new EventQueue<number>();
  const random = new SeededRandom(2);
  let now = 0;
  for (let i = 0; i < 20_000; i++) {
    if (queue.size === 0 || random.fraction() < 0.51) queue.add(now + random.below(50), 0);
    else {
      assert.ok(queue.next >= now);
      now = queue.next;
      queue.take();
    }
  }
});
