// Tests the rate limits of clients, and which requests count for the same client.

import assert from "node:assert/strict";
import fc from "fast-check";
import { BURST_S, clientAddressOf, clientOf, RateLimiter } from "../../src/api/limits.ts";
import { loadConfig } from "../../src/config.ts";

Deno.test("a client always gets exactly its rate and one burst", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 50 }),
    fc.array(fc.tuple(fc.nat(2000), fc.integer({ min: 1, max: 40 })), { maxLength: 60 }),
    (perSecond, steps) => {
      const limiter = new RateLimiter(perSecond);
      const burst = perSecond * BURST_S;
      let now = 5000, taken = 0, level = burst;
      for (const [pause, wanted] of steps) {
        now += pause;
        level = Math.min(burst, level + pause * perSecond / 1000);
        for (let i = 0; i < wanted; i++) {
          const wait = limiter.take("a", now);
          // The test's own token bucket agrees except for rounding.
          if (wait === 0) {
            assert.ok(level > 1 - 1e-6, `${level}`);
            level -= 1;
            taken++;
          } else {
            assert.ok(level < 1 + 1e-6, `${level}`);
            assert.ok(Math.abs(wait - (1 - level) * 1000 / perSecond) < 1e-3);
          }
        }
      }
      assert.ok(taken <= burst + (now - 5000) * perSecond / 1000 + 1e-6);
    },
  ));
});

Deno.test("the next request is accepted after the reported wait", () => {
  const limiter = new RateLimiter(0.2, 3);
  for (let i = 0; i < 3; i++) assert.equal(limiter.take("a", 0), 0);
  const wait = limiter.take("a", 0);
  assert.equal(wait, 5000);
  assert.ok(limiter.take("a", wait - 1) > 0);
  assert.equal(limiter.waitOf("a", wait), 0, "asking counts nothing");
  assert.equal(limiter.take("a", wait), 0);
});

Deno.test("each client has its own limit, and the number of remembered clients is bounded", () => {
  const limiter = new RateLimiter(1);
  for (let i = 0; i < 1e5; i++) assert.equal(limiter.take(`client ${i}`, i / 1000), 0);
  assert.equal(limiter.size, 4096);
  // A client that sends often is not forgotten because of clients that send once.
  for (let i = 0; i < 1e4; i++) {
    limiter.take("often", 1e6);
    limiter.take(`other ${i}`, 1e6);
  }
  assert.ok(limiter.take("often", 1e6) > 0);
});

Deno.test("a limit of 0 means no limit, and remembers no clients", () => {
  const limiter = new RateLimiter(0);
  for (let i = 0; i < 1000; i++) assert.equal(limiter.take(`${i % 9}`, 0), 0);
  assert.deepEqual([limiter.size, limiter.waitOf("1", 0)], [0, 0]);
});

Deno.test("the addresses of an IPv6 /64 are one client, and each IPv4 address is its own", () => {
  assert.equal(clientOf("2001:db8:1:2::1"), clientOf("2001:DB8:1:2:ffff:ffff:ffff:ffff"));
  assert.notEqual(clientOf("2001:db8:1:2::1"), clientOf("2001:db8:1:3::1"));
  assert.equal(clientOf("::ffff:192.0.2.1"), clientOf("192.0.2.1"));
  assert.notEqual(clientOf("192.0.2.1"), clientOf("192.0.2.2"));
  assert.equal(clientOf("no address"), "no address");
});

Deno.test("X-Forwarded-For is followed back to the first address that is not a trusted proxy", () => {
  const env = { API_TRUSTED_PROXIES: "10.0.0.0/8,::1" };
  const proxies = loadConfig({ env }).apiTrustedProxies;
  const cases: [connection: string, header: string | undefined, asker: string][] = [
    ["192.0.2.1", undefined, "192.0.2.1"],
    ["192.0.2.1", "203.0.113.1", "192.0.2.1"],
    ["10.0.0.1", undefined, "10.0.0.1"],
    ["10.0.0.1", "", "10.0.0.1"],
    ["10.0.0.1", "203.0.113.1", "203.0.113.1"],
    ["::1", "2001:db8::1", "2001:db8::1"],
    ["10.0.0.1", "1.1.1.1, 203.0.113.1", "203.0.113.1"],
    ["10.0.0.1", "1.1.1.1,203.0.113.1 ,10.0.0.2", "203.0.113.1"],
    ["10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
    ["10.0.0.1", "203.0.113.1:5678", "203.0.113.1"],
    ["10.0.0.1", "[2001:db8::1]:5678", "2001:db8::1"],
    ["10.0.0.1", "unknown", "10.0.0.1"],
    ["10.0.0.1", "203.0.113.1, unknown", "10.0.0.1"],
    ["10.0.0.1", "203.0.113.1, nonsense, 10.0.0.2", "10.0.0.2"],
    ["10.0.0.1", ",,,", "10.0.0.1"],
  ];
  for (const [connection, header, address] of cases) {
    assert.equal(clientAddressOf(connection, header, proxies), address, `${connection} ${header}`);
  }
  fc.assert(fc.property(fc.string(), (header) => {
    assert.equal(clientAddressOf("192.0.2.1", header, proxies), "192.0.2.1");
  }));
});
