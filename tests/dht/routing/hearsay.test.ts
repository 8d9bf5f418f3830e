// Nodes that others have named: which of them are kept, and for how long.

import assert from "node:assert/strict";
import { Hearsay } from "../../../src/dht/routing/hearsay.ts";
import { Endpoint } from "../../../src/krpc/endpoint.ts";
import { Id } from "../../../src/krpc/id.ts";

const MINUTE_MS = 60_000;

/** An id with the given first word. */
function idAt(first: number, rest = 1): Id {
  return new Id(first | 0, rest, 0, 0, 0);
}

function host(network: number, last = 1): Endpoint {
  return Endpoint.ofIpv4((20 << 24) | (network << 8) | last, 6881);
}

const TARGET = idAt(0);

Deno.test("a place keeps the nearest node that was named", () => {
  const hearsay = new Hearsay(4);
  hearsay.note(idAt(1), host(1), { expected: 80, now: 0 });
  hearsay.note(idAt(2), host(2), { expected: 20.25, now: 0 });
  hearsay.note(idAt(3), host(3), { expected: 50, now: 0 });
  const [node, ...others] = hearsay.near(TARGET, 8, 0);
  assert.deepEqual(others, []);
  assert.ok(node.id.equals(idAt(2)));
  assert.equal(`${node.endpoint}`, `${host(2)}`);
  assert.equal(node.expectedMs, 20.25);
});

Deno.test("the nodes near a target come from the places nearest to it", () => {
  const hearsay = new Hearsay(4);
  hearsay.grow(9);
  for (let i = 0; i < 1024; i++) {
    hearsay.note(idAt(i << 22), host(i), { expected: 50, now: 0 });
  }
  const target = idAt(700 << 22);
  const found = hearsay.near(target, 4, 0).map(({ id }) => id.a >>> 22);
  assert.deepEqual(found, [700, 701, 702, 703]);
});

Deno.test("a node is dropped if it is forgotten, and ignored if it was named long ago", () => {
  const hearsay = new Hearsay(4);
  hearsay.note(idAt(1), host(1), { expected: 10, now: 0 });
  assert.equal(hearsay.near(TARGET, 8, 30 * MINUTE_MS).length, 1);
  assert.equal(hearsay.near(TARGET, 8, 31 * MINUTE_MS).length, 0);
  // A farther node replaces one that is too old.
  hearsay.note(idAt(2), host(2), { expected: 90, now: 31 * MINUTE_MS });
  assert.equal(hearsay.near(TARGET, 8, 31 * MINUTE_MS).length, 1);
  hearsay.forget(idAt(1));
  assert.equal(hearsay.near(TARGET, 8, 31 * MINUTE_MS).length, 1);
  hearsay.forget(idAt(2));
  assert.equal(hearsay.near(TARGET, 8, 31 * MINUTE_MS).length, 0);
});

Deno.test("one network gets four places at most, also after the table has grown", () => {
  const hearsay = new Hearsay(4);
  for (let i = 0; i < 16; i++) {
    hearsay.note(idAt(i << 28), host(7, i + 1), { expected: 1, now: 0 });
    if (i === 3) hearsay.grow(6);
  }
  assert.equal(hearsay.near(TARGET, 64, 0).length, 4);
  // A place that is free again is available to the network.
  hearsay.forget(idAt(0));
  hearsay.note(idAt(0, 2), host(7, 99), { expected: 1, now: 0 });
  assert.equal(hearsay.near(TARGET, 64, 0).length, 4);
});

Deno.test("a full network can't evict the nodes of others", () => {
  const hearsay = new Hearsay(4);
  for (let i = 0; i < 4; i++) hearsay.note(idAt(i << 28), host(7, i), { expected: 1, now: 0 });
  hearsay.note(idAt(9 << 28), host(8), { expected: 50, now: 0 });
  hearsay.note(idAt(9 << 28, 2), host(7, 9), { expected: 1, now: 0 });
  assert.ok(hearsay.near(idAt(9 << 28), 1, 0)[0].endpoint.equals(host(8)));
});

Deno.test("IPv6 addresses are kept whole", () => {
  const hearsay = new Hearsay(6);
  const endpoint = Endpoint.ofIpv6(0x2a000001, 2, 3, -4, 6881);
  hearsay.note(idAt(-1, -2), endpoint, { expected: 10, now: 0 });
  hearsay.grow(5);
  const [node] = hearsay.near(idAt(-1), 8, 0);
  assert.ok(node.endpoint.equals(endpoint));
  assert.ok(node.id.equals(idAt(-1, -2)));
});
