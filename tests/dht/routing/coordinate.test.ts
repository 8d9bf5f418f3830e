// Network coordinates (Vivaldi): wire form, convergence, and the influence of liars.

import assert from "node:assert/strict";
import {
  COORDINATE_BYTES,
  expectedRtt,
  expectedRttAt,
  isContradicted,
  OWN_COORDINATE_BYTES,
  OwnCoordinate,
  readCoordinate,
  writeCoordinate,
} from "../../../src/dht/routing/coordinate.ts";
import { randomSource } from "../virtual_network.ts";

/** Numbers in [0, 1), the same in every run. */
function chances(seed: number): () => number {
  const source = randomSource(seed);
  return () => (source(1)[0] * 256 + source(1)[0]) / 65536;
}

function told(own: OwnCoordinate): Uint8Array {
  const bytes = new Uint8Array(OWN_COORDINATE_BYTES);
  own.write(bytes, 0);
  return bytes;
}

Deno.test("on the wire a coordinate has quarters of a millisecond", () => {
  const bytes = new Uint8Array(COORDINATE_BYTES);
  const given = { x: -123.25, y: 4000.5, z: 0, height: 7.75 };
  writeCoordinate(given, bytes, 0);
  assert.deepEqual(readCoordinate(bytes, 0), given);
});

Deno.test("on the wire a coordinate is cut to its range", () => {
  const bytes = new Uint8Array(COORDINATE_BYTES);
  writeCoordinate({ x: 1e9, y: -1e9, z: 0, height: -5 }, bytes, 0);
  const cut = readCoordinate(bytes, 0);
  assert.ok(cut.x > 8000 && cut.y < -8000 && cut.height > 0);
});

Deno.test("zeros, and entries beyond the end of a list, are unknown coordinates", () => {
  const list = new Uint8Array(2 * COORDINATE_BYTES);
  writeCoordinate({ x: 1, y: 2, z: 3, height: 4 }, list, COORDINATE_BYTES);
  const own = { x: 1, y: 2, z: 7, height: 10 };
  assert.equal(expectedRttAt(own, list, 0), NaN);
  assert.equal(expectedRttAt(own, list, 1), 4 + 10 + 4);
  assert.equal(expectedRttAt(own, list, 2), NaN);
  assert.equal(expectedRttAt(own, undefined, 0), NaN);
});

Deno.test("a coordinate in wire form predicts the same round trip", () => {
  const bytes = new Uint8Array(COORDINATE_BYTES);
  const own = { x: -12.5, y: 100, z: 0.25, height: 3 };
  for (
    const other of [{ x: 8000, y: -8000, z: 0, height: 1 }, { x: -1, y: -2, z: -3, height: 9 }]
  ) {
    writeCoordinate(other, bytes, 0);
    assert.equal(expectedRttAt(own, bytes, 0), expectedRtt(own, other));
  }
});

Deno.test("nodes learn to predict their round trips", () => {
  const chance = chances(1);
  const places = Array.from({ length: 40 }, () => ({
    x: chance() * 200,
    y: chance() * 200,
    z: 0,
    height: 2 + chance() * 10,
  }));
  const nodes = places.map(() => new OwnCoordinate());
  for (let i = 0; i < 200 * nodes.length; i++) {
    const a = Math.floor(chance() * nodes.length), b = Math.floor(chance() * nodes.length);
    if (a !== b) nodes[a].learn(told(nodes[b]), expectedRtt(places[a], places[b]), chance);
  }
  let error = 0, count = 0;
  for (let a = 0; a < nodes.length; a++) {
    for (let b = 0; b < a; b++) {
      const truth = expectedRtt(places[a], places[b]);
      error += Math.abs(expectedRtt(nodes[a], nodes[b]) - truth) / truth;
      count++;
    }
  }
  assert.ok(error / count < 0.15, `mean error ${error / count}`);
  assert.ok(nodes.every((node) => node.error < 0.5));
});

Deno.test("invalid coordinates and round trips change nothing", () => {
  const own = new OwnCoordinate();
  const other = told(new OwnCoordinate());
  for (
    const [bytes, rtt] of [
      [other.subarray(1), 50],
      [new Uint8Array(0), 50],
      [other, 0],
      [other, -1],
      [other, NaN],
      [other, 60_000],
    ] as const
  ) own.learn(bytes, rtt, () => 0.7);
  assert.deepEqual([own.x, own.y, own.z, own.error], [0, 0, 0, 1]);
});

Deno.test("a liar's sample moves us by at most a quarter of the difference", () => {
  const own = new OwnCoordinate();
  const lie = new Uint8Array(OWN_COORDINATE_BYTES).fill(0x7f);
  lie[COORDINATE_BYTES] = 0; // the sender claims to be certain
  const before = { x: own.x, y: own.y, z: own.z, height: own.height };
  const wrongBy = Math.abs(expectedRtt(own, readCoordinate(lie, 0)) - 50);
  own.learn(lie, 50, () => 0.5);
  const moved = Math.hypot(own.x - before.x, own.y - before.y, own.z - before.z);
  assert.ok(Number.isFinite(moved) && moved <= wrongBy / 4 + 1);
});

Deno.test("nodes that falsely claim to be near don't raise our height above our shortest round trip", () => {
  const own = new OwnCoordinate();
  const shortest = 5, lies = 20;
  own.learn(told(new OwnCoordinate()), shortest, () => 0.5);
  for (let i = 0; i < lies; i++) {
    const beside = new Uint8Array(OWN_COORDINATE_BYTES);
    writeCoordinate({ x: own.x, y: own.y, z: own.z, height: 0.5 }, beside, 0);
    own.learn(beside, 150, () => 0.5);
  }
  assert.ok(own.height < 2 * shortest, `${own.height} ms`);
});

Deno.test("a round trip contradicts a coordinate only if it is much longer than promised", () => {
  assert.ok(isContradicted(1, 50));
  assert.ok(isContradicted(50, 200));
  assert.ok(!isContradicted(1, 10) && !isContradicted(50, 70) && !isContradicted(50, 1));
  assert.ok(!isContradicted(NaN, 1_000), "an unknown coordinate promises nothing");
});
