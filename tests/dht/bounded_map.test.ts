// Bounded maps, and names noted recently.

import assert from "node:assert/strict";
import { BoundedMap, Recent } from "../../src/dht/bounded_map.ts";

Deno.test("a full map evicts the entry that was set longest ago", () => {
  const map = new BoundedMap<string, number>(2);
  map.set("a", 1).set("b", 2);
  map.set("a", 3);
  map.set("c", 4);
  assert.deepEqual([...map], [["a", 3], ["c", 4]]);
});

Deno.test("a recent name is forgotten after its time", () => {
  const recent = new Recent(1000, 2);
  recent.add("a", 0);
  assert.ok(recent.has("a", 999));
  assert.ok(!recent.has("a", 1000));
});

Deno.test("if there are too many recent names, the oldest is forgotten", () => {
  const recent = new Recent(1000, 2);
  for (const name of ["a", "b", "c"]) recent.add(name, 0);
  assert.deepEqual(["a", "b", "c"].map((name) => recent.has(name, 1)), [false, true, true]);
});
