// Records of former contacts.

import assert from "node:assert/strict";
import type { ContactRecord } from "../../../src/dht/routing/contact.ts";
import { Remembered } from "../../../src/dht/membership/remembered.ts";
import { Id } from "../../../src/krpc/id.ts";

const record = (n: number): ContactRecord => ({
  firstSeen: n,
  lastSeen: n + 0.5,
  rtt: n % 3 === 0 ? NaN : n / 7,
  rttVariation: n / 11,
  answerRate: 1 / (n + 1),
  faults: n / 13,
});

/** Pairs of ids with the same first word. */
const id = (n: number) => new Id(n >> 1, n, 0, 0, 0);

Deno.test("the latest two hundred nodes are remembered with their latest records", () => {
  const remembered = new Remembered();
  for (let n = 0; n < 500; n++) {
    remembered.set(id(n), record(0));
    remembered.set(id(n), record(n));
    for (let other = Math.max(0, n - 205); other <= n; other++) {
      const kept = other > n - 200 ? record(other) : undefined;
      assert.deepEqual(remembered.get(id(other)), kept, `${other} at ${n}`);
    }
  }
  assert.equal(remembered.get(id(1_000)), undefined);
});
