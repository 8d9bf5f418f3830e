// The headline of the dashboard and the list of what needs attention: green and empty only if nothing is wrong.

import assert from "node:assert/strict";
import { exampleOf } from "../../src/reports/fields.ts";
import { Stats } from "../../src/reports/stats.ts";
import { conditionOf, isLoopback, medianRttOf } from "../../src/web/findings.js";

const EXAMPLE = exampleOf(Stats);

/** A node with answering peers that needs no attention. */
const WELL: Stats = {
  ...EXAMPLE,
  clones: [],
  lookups: { ...EXAMPLE.lookups, crowded: 0, latest_crowded: null },
  left_out: { nodes: 0, subnets: 0, largest: null },
  nat: { ...EXAMPLE.nat, mapping: null },
};

const NEAR_RTT = 40;

function nat(reachable: boolean): Stats["nat"] {
  const families = WELL.nat.families.map((family) => ({ ...family, reachable }));
  return { ...WELL.nat, reachable, families };
}

Deno.test("a node that needs no attention is ready", () => {
  assert.deepEqual(conditionOf(WELL, NEAR_RTT), { tone: "ok", title: "Ready", findings: [] });
});

Deno.test("each thing that needs attention makes the headline a warning", () => {
  const { storage, traffic } = WELL;
  const cases: [Partial<Stats>, RegExp][] = [
    [{ peers: { healthy: 26, degraded: 30, unhealthy: 0 } }, /^peers: 26 healthy, 30 degraded/],
    [{ nat: nat(false) }, /can't reach it.* forward UDP/],
    [{ storage: { ...storage, bytes: 990, limit_bytes: 1000 } }, /^values of others: 990 B of/],
    [{ traffic: { ...traffic, dropped: { rate_limited: 1e6 } } }, /1,000,000 rate_limited.*flood/],
    [{ storage: { ...storage, published_short: 1 } }, /^published values: .*1 short of copies/],
  ];
  for (const [change, expected] of cases) {
    const { tone, title, findings } = conditionOf({ ...WELL, ...change }, NEAR_RTT);
    assert.equal(tone, "warn");
    assert.equal(title, "Needs attention");
    assert.equal(findings.length, 1);
    const [{ check, found, advice }] = findings;
    assert.match(`${check}: ${found}: ${advice}`, expected);
  }
});

Deno.test("failures come before warnings", () => {
  const storage = { ...WELL.storage, published: 9, published_ending: 1 };
  const peers = { healthy: 26, degraded: 30, unhealthy: 0 };
  const { findings } = conditionOf({ ...WELL, storage, peers }, NEAR_RTT);
  assert.deepEqual(findings.map(({ verdict }) => verdict), ["fail", "warn"]);
});

Deno.test("for a node without peers, the page says that its values have no other copy", () => {
  const peers = { healthy: 0, degraded: 0, unhealthy: 0 };
  const { tone, findings } = conditionOf({ ...WELL, peers }, NEAR_RTT);
  assert.equal(tone, "warn");
  assert.match(findings[0].advice ?? "", /no other copy/);
});

Deno.test("a node that is not ready is red", () => {
  const readiness = { ...WELL.readiness, ready: false };
  assert.equal(conditionOf({ ...WELL, readiness }, NEAR_RTT).tone, "bad");
});

Deno.test("some late answers, refusals and silent peers are no problem", () => {
  const dropped = { unmatched: 22_344, rate_limited: 900 };
  const peers = { healthy: 50, degraded: 6, unhealthy: 0 };
  const traffic = { ...WELL.traffic, dropped };
  assert.equal(conditionOf({ ...WELL, peers, traffic }, NEAR_RTT).tone, "ok");
});

Deno.test("a node on loopback is not blamed for being unreachable", () => {
  const addresses = ["127.0.0.1:8000", "[::1]:8000"];
  assert.ok(isLoopback(addresses));
  assert.ok(!isLoopback([...addresses, "192.168.1.2:8000"]));
  assert.ok(!isLoopback([]));
  assert.equal(conditionOf({ ...WELL, addresses, nat: nat(false) }, NEAR_RTT).tone, "ok");
});

Deno.test("the median of the round trips leaves out peers without one", () => {
  const rtts = [30, null, 10, 20];
  assert.equal(medianRttOf(rtts.map((rtt_ms) => ({ rtt_ms }))), 20);
  assert.equal(medianRttOf([]), null);
});
