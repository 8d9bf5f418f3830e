// Distances and map positions, compared with the node's own arithmetic.

import assert from "node:assert/strict";
import fc from "fast-check";
import { distanceBits, Id } from "../../src/krpc/id.ts";
import { countBuckets } from "../../src/web/buckets.js";
import { distanceLog, isId, placeInBucket, randomId, sharedBits } from "../../src/web/ids.js";
import { dotAt, layoutPeers } from "../../src/web/map_layout.js";

const id = fc.stringMatching(/^[0-9a-f]{40}$/);
const peer = (node_id: string, health = "healthy") => ({ node_id, health }) as never;

Deno.test("the page computes the same distances as the node", () => {
  fc.assert(fc.property(id, id, (a, b) => {
    const bits = distanceBits(Id.parse(a)!, Id.parse(b)!);
    assert.equal(160 - sharedBits(a, b), bits);
    const log = distanceLog(a, b);
    if (a === b) assert.equal(log, 0);
    else assert.ok(log >= bits - 1 && log <= bits, `${log} of ${bits}`);
  }));
  assert.equal(distanceLog("0".repeat(40), `c${"0".repeat(39)}`), 159 + Math.log2(1.5));
  assert.equal(distanceLog("0".repeat(40), `${"0".repeat(39)}1`), 0);
  assert.equal(sharedBits("f".repeat(40), "f".repeat(40)), 160);
});

Deno.test("a peer's position in its bucket comes from the bits after the shared ones", () => {
  const own = "0".repeat(40);
  assert.equal(placeInBucket(own, `8${"0".repeat(39)}`), 0);
  assert.equal(placeInBucket(own, `c${"0".repeat(39)}`), 0.5);
  assert.equal(placeInBucket(own, `4${"0".repeat(39)}`), 0);
  assert.equal(placeInBucket(own, `7${"0".repeat(39)}`), 0.75);
  fc.assert(fc.property(id, id, (a, b) => {
    const place = placeInBucket(a, b);
    assert.ok(place >= 0 && place < 1);
  }));
});

Deno.test("the map has a ring for each bucket, with nearer buckets inside", () => {
  fc.assert(fc.property(id, fc.uniqueArray(id, { minLength: 1, maxLength: 60 }), (own, ids) => {
    const { dots, rings } = layoutPeers(own, ids.map((id) => peer(id)));
    assert.equal(dots.length, ids.length);
    assert.equal(rings.reduce((sum, { peers }) => sum + peers, 0), ids.length);
    assert.ok(rings.length >= 5 && rings.length <= 20);
    for (const [i, ring] of rings.entries()) {
      assert.ok(
        ring.radius > 0 && (i === 0 ? ring.radius === 1 : ring.radius < rings[i - 1].radius),
      );
    }
    for (const dot of dots) {
      assert.ok(Math.abs(Math.hypot(dot.x, dot.y) - rings[dot.bucket].radius) < 1e-9);
      const found = dotAt(dots, dot, 0.01)!;
      assert.ok(Math.hypot(found.x - dot.x, found.y - dot.y) < 0.01);
    }
  }));
  assert.deepEqual(layoutPeers("0".repeat(40), []).dots, []);
  assert.equal(dotAt([], { x: 0, y: 0 }, 1), null);
});

Deno.test("peers are counted by bucket and health, down to the nearest bucket with peers", () => {
  const own = "0".repeat(40);
  const buckets = countBuckets(own, [
    peer(`8${"0".repeat(39)}`),
    peer(`9${"0".repeat(39)}`, "degraded"),
    peer(`2${"0".repeat(39)}`, "unhealthy"),
    peer(`${"0".repeat(39)}1`),
  ]);
  assert.equal(buckets.length, 20, "nearer buckets are merged into the last");
  assert.deepEqual(buckets.map(({ all }) => all), [2, 0, 1, ...Array(16).fill(0), 1]);
  assert.deepEqual(buckets[0].by, { healthy: 1, degraded: 1, unhealthy: 0 });
});

Deno.test("isId accepts only ids, and randomId makes different ones", () => {
  assert.ok(isId("AB".repeat(20)) && isId(randomId()));
  assert.notEqual(randomId(), randomId());
  for (const bad of ["", "ab", "g".repeat(40), "a".repeat(41), ` ${"a".repeat(39)}`]) {
    assert.equal(isId(bad), false, bad);
  }
});
