// The rate limit of each address, which does not affect others.

import assert from "node:assert/strict";
import {
  PRIVATE_FACTOR,
  QUERIES_PER_SECOND,
  QUERY_BURST,
  RateLimiter,
  RESEED_INTERVAL_MS,
} from "../../../src/dht/serving/rate_limit.ts";
import { Random } from "../../../src/dht/random.ts";
import { endpoint } from "../../packets.ts";
import { randomSource } from "../virtual_network.ts";

function limiterOf(seed: number): RateLimiter {
  const random = new Random(randomSource(seed));
  return new RateLimiter(() => random.word());
}

/** Returns how many of `count` queries at once are allowed. */
function allowed(limiter: RateLimiter, from: string, count: number, now: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) if (limiter.allow(endpoint(from), now)) sum++;
  return sum;
}

const NOW = 1_700_000_000_000;

Deno.test("an address gets a burst of answers, then a steady rate", () => {
  const limiter = limiterOf(1);
  assert.equal(allowed(limiter, "1.2.3.4:1", 2 * QUERY_BURST, NOW), QUERY_BURST);
  assert.equal(allowed(limiter, "1.2.3.4:9", 10, NOW), 0, "its other ports share the limit");
  let sum = 0;
  for (let ms = 1; ms <= 10_000; ms++) sum += allowed(limiter, "1.2.3.4:1", 1, NOW + ms);
  assert.ok(Math.abs(sum - 10 * QUERIES_PER_SECOND) < 5, `${sum} in 10 s`);
  assert.equal(allowed(limiter, "1.2.3.4:1", 2 * QUERY_BURST, NOW + 60_000), QUERY_BURST);
});

Deno.test("a flood from one address leaves others their full share", () => {
  const limiter = limiterOf(1);
  allowed(limiter, "1.2.3.4:1", 10_000, NOW);
  let served = 0;
  for (let i = 0; i < 250; i++) {
    if (allowed(limiter, `5.6.7.${i}:1`, 20, NOW) === 20) served++;
  }
  // Some addresses may share one of the slots.
  assert.ok(served >= 246, `${served} of 250`);
});

Deno.test("IPv6 hosts are distinguished by their /64", () => {
  const limiter = limiterOf(1);
  assert.equal(allowed(limiter, "[2a01:db8:0:1::1]:1", QUERY_BURST, NOW), QUERY_BURST);
  assert.equal(allowed(limiter, "[2a01:db8:0:1:ffff::2]:1", 10, NOW), 0);
  assert.equal(allowed(limiter, "[2a01:db8:0:2::1]:1", 10, NOW), 10);
});

Deno.test("loopback is not limited", () => {
  const limiter = limiterOf(1);
  assert.equal(allowed(limiter, "127.0.0.1:1", 5 * QUERY_BURST, NOW), 5 * QUERY_BURST);
  assert.equal(allowed(limiter, "[::1]:1", 5 * QUERY_BURST, NOW), 5 * QUERY_BURST);
});

Deno.test("the seed decides which addresses share a slot, so strangers can't choose to share a victim's", () => {
  const sharing = (seed: number) => {
    const limiter = limiterOf(seed);
    allowed(limiter, "1.2.3.4:1", 10_000, NOW);
    const hosts = Array.from({ length: 20_000 }, (_, i) => `9.${i >> 8}.${i & 255}.1`);
    return hosts.filter((host) => allowed(limiter, `${host}:1`, 1, NOW) === 0);
  };
  const [one, other] = [sharing(1), sharing(123456789)];
  assert.ok(one.length > 0);
  assert.notDeepEqual(one, other);
});

Deno.test("an address that shares a slot with a flooder has half a burst left, and soon its own slot", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const limiter = limiterOf(seed);
    const others = Array.from({ length: 20 }, (_, i) => `5.6.7.${i}:1`);
    allowed(limiter, "1.2.3.4:1", 10_000, NOW);
    const served = others.filter((other) => allowed(limiter, other, 100, NOW) === 100);
    assert.ok(served.length >= 18, `${served.length} of 20 at once`);
    const later = others.filter((other) => {
      allowed(limiter, "1.2.3.4:1", 10_000, NOW + 5_000);
      return allowed(limiter, other, QUERY_BURST, NOW + 5_000) === QUERY_BURST;
    });
    assert.ok(later.length >= 18, `${later.length} of 20 five seconds later`);
  }
});

Deno.test("64 flooders starve few addresses, and each of them for at most a minute", () => {
  const limiter = limiterOf(1);
  const flooders = Array.from({ length: 64 }, (_, i) => `9.${i}.1.1:1`);
  const honest = Array.from({ length: 200 }, (_, i) => `5.6.7.${i}:1`);
  const starvedSince = new Map<string, number>();
  let longest = 0, most = 0;
  for (let ms = 0; ms < 5 * RESEED_INTERVAL_MS; ms += 1_000) {
    for (const flooder of flooders) {
      allowed(limiter, flooder, 3 * QUERIES_PER_SECOND, NOW + ms);
    }
    for (const address of honest) {
      if (allowed(limiter, address, 1, NOW + ms) === 1) starvedSince.delete(address);
      else if (!starvedSince.has(address)) starvedSince.set(address, ms);
      longest = Math.max(longest, ms - (starvedSince.get(address) ?? ms));
    }
    most = Math.max(most, starvedSince.size);
  }
  assert.ok(longest > 0 && longest <= RESEED_INTERVAL_MS, `${longest} ms`);
  assert.ok(most <= 10, `${most} of ${honest.length} at once`);
});

Deno.test("addresses that keep to the rate are all served, even if they share slots", () => {
  const limiter = limiterOf(1);
  let refused = 0;
  for (let ms = 0; ms < 30_000; ms += 100) {
    for (let i = 0; i < 50; i++) refused += 5 - allowed(limiter, `5.6.7.${i}:1`, 5, NOW + ms);
  }
  assert.equal(refused, 0);
});

Deno.test("an address in a private network may send more at once, such as for 300 torrents", () => {
  const limiter = limiterOf(1), burst = PRIVATE_FACTOR * QUERY_BURST;
  assert.equal(allowed(limiter, "10.0.0.5:1", 2 * 300, NOW), 2 * 300);
  assert.equal(allowed(limiter, "192.168.0.5:1", 2 * burst, NOW), burst);
});
