// The packed records of a store, compared with an ordinary map.

import assert from "node:assert/strict";
import { type ItemRecord, ItemTable } from "../../../src/dht/items/item_table.ts";
import { Id } from "../../../src/krpc/id.ts";
import { randomSource } from "../virtual_network.ts";

/** Enough for several chunks. */
const TARGETS = 5_000;

function setUp() {
  const random = randomSource(1), word = () => new DataView(random(4).buffer).getInt32(0);
  const targets = Array.from({ length: TARGETS }, () => Id.read(random(20)));
  const below = (limit: number) => (word() >>> 0) % limit;
  const record = (target: Id): ItemRecord => ({
    target,
    storedAt: below(1e9) + 0.5,
    expiresAt: below(1e9) + 0.25,
    by: below(3) === 0 ? undefined : `${below(50)}/${below(50)}`,
    copies: below(2) === 0 ? undefined : 1 + below(20),
    valueBytes: below(1000),
    keyedBytes: below(161),
    signer: word(),
  });
  return { targets, record, below, table: new ItemTable(7) };
}

Deno.test("records are added, replaced, found and removed like those of a map", () => {
  const { targets, record, below, table } = setUp(), expected = new Map<string, ItemRecord>();
  for (let step = 0; step < 6 * TARGETS; step++) {
    const target = targets[below(TARGETS)], slot = table.find(target);
    assert.equal(slot >= 0, expected.has(`${target}`));
    if (slot >= 0 && below(2) === 0) {
      table.remove(slot);
      expected.delete(`${target}`);
    } else {
      const one = record(target);
      table.set(one);
      expected.set(`${target}`, one);
    }
  }
  assert.equal(table.size, expected.size);
  for (const target of targets) {
    const slot = table.find(target), wanted = expected.get(`${target}`);
    assert.deepEqual(slot < 0 ? undefined : table.get(slot), wanted);
  }
  const found = Array.from(table.slots(), (slot) => `${table.target(slot)}`).sort();
  assert.deepEqual(found, [...expected.keys()].sort());
  for (const slot of table.slots()) table.remove(slot);
  assert.equal(table.size, 0);
  assert.ok(targets.every((target) => table.find(target) === -1));
});

Deno.test("a removed record's slot is used again, without its former turn and spare state", () => {
  const { targets: [x, y], record, table } = setUp();
  const slot = table.set(record(x)), turn = { at: 5, changes: 6, deferrals: 7, by: -8 };
  table.setTurn(slot, turn);
  table.setSpareSince(slot, 9);
  assert.deepEqual([table.turn(slot), table.spareSince(slot), table.spares], [turn, 9, 1]);
  table.remove(slot);
  assert.deepEqual([table.isFree(slot), table.spares], [true, 0]);
  assert.equal(table.set(record(y)), slot);
  assert.deepEqual([table.turn(slot), table.spareSince(slot), table.end], [undefined, NaN, 1]);
});
