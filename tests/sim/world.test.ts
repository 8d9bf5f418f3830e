// The virtual Internet: the effect of links and machines on packets.

import assert from "node:assert/strict";
import type { PingResult } from "../../src/dht/node.ts";
import { flatLatency, type LatencyMatrix } from "../../src/sim/latency.ts";
import { type LinkOptions, type SimNode, type Traits, World } from "../../src/sim/world.ts";

const FLAT = flatLatency(100);
/** Nodes that query regardless of what they learn about their NAT. */
const OPTIONS = {
  k: 8,
  alpha: 3,
  healthCheckIntervalMs: 1e9,
  readOnly: false,
  nat: false,
  client: 0,
};

/** Long enough for a ping and its repetition. */
const PING_MS = 10_000;

function world(links: Partial<LinkOptions> = {}): World {
  const still = { latency: FLAT, loss: 0, duplication: 0, reordering: 0 };
  return new World({ ...still, ...links }, 1);
}

function add(world: World, traits: Traits = {}): SimNode {
  return world.add(OPTIONS, traits);
}

/** The round trip in milliseconds, or the lack of an answer. */
function ping(world: World, from: SimNode, to: SimNode): number | "timeout" {
  const results: PingResult[] = [];
  world.act(from, (node, now) => node.ping(to.endpoint, now, (result) => results.push(result)));
  world.run(world.now + PING_MS);
  assert.equal(results.length, 1);
  return results[0].kind === "pong" ? results[0].rtt : "timeout";
}

/** Sends a ping every 100 ms, without waiting for the answers. */
function stream(world: World, from: SimNode, to: SimNode, count: number): PingResult[] {
  const results: PingResult[] = [];
  for (let i = 0; i < count; i++) {
    world.at(world.now + i * 100, () => {
      world.act(from, (node, now) => node.ping(to.endpoint, now, (result) => results.push(result)));
    });
  }
  world.run(world.now + count * 100 + PING_MS);
  return results;
}

const near = (actual: number, expected: number, by: number) =>
  assert.ok(Math.abs(actual - expected) <= by, `${actual} is not ${expected} by ${by}`);

Deno.test("a round trip takes the matrix's time, each access line twice, and a little jitter", () => {
  const latency: LatencyMatrix = {
    name: "two",
    regions: ["a", "b"],
    rtt: [[2, 250], [250, 2]],
  };
  const w = world({ latency });
  const [a, b, c] = [add(w), add(w), add(w)];
  for (const [from, to, region] of [[a, b, 250], [b, a, 250], [a, c, 2]] as const) {
    const rtt = ping(w, from, to);
    assert.ok(typeof rtt === "number");
    const path = region + 2 * (from.accessMs + to.accessMs);
    assert.ok(rtt >= path && rtt < 1.3 * path + 1, `${rtt} for ${path}`);
  }
});

Deno.test("access lines have a median of 4 ms, and a long tail", () => {
  const w = world();
  const lines = Array.from({ length: 1_001 }, () => add(w).accessMs).sort((x, y) => x - y);
  near(lines[500], 4, 0.5);
  near(lines[990], 20, 5);
});

Deno.test("links lose the given share of packets", () => {
  const w = world({ loss: 0.2 });
  stream(w, add(w), add(w), 2_000);
  near(w.packets / w.packetsSent, 0.8, 0.03);
});

Deno.test("links duplicate the given share of packets", () => {
  const w = world({ duplication: 0.3 });
  const results = stream(w, add(w), add(w), 2_000);
  near(w.packets / w.packetsSent, 1.3, 0.03);
  assert.ok(results.every((result) => result.kind === "pong"));
});

Deno.test("delayed packets arrive late, and others overtake them", () => {
  const slow = (reordering: number) => {
    const w = world({ reordering });
    const [a, b] = [add(w), add(w)];
    const path = 100 + 2 * (a.accessMs + b.accessMs);
    const late = stream(w, a, b, 500).filter((r) => r.kind === "pong" && r.rtt > 1.25 * path);
    return late.length / 500;
  };
  assert.ok(slow(0) < 0.01);
  // Both directions together: more than half of the delayed packets.
  near(slow(0.4), 0.4, 0.15);
});

Deno.test("a slow machine adds its delay, and a bad line its loss", () => {
  const w = world();
  const [a, slow, bad] = [add(w), add(w, { extraDelayMs: 200 }), add(w, { extraLoss: 0.5 })];
  const rtt = ping(w, a, slow);
  assert.ok(typeof rtt === "number" && rtt > 500 && rtt < 700, `${rtt}`);
  const { packets, packetsSent } = w;
  stream(w, a, bad, 1_000);
  near((w.packets - packets) / (w.packetsSent - packetsSent), 0.5, 0.05);
});

Deno.test("a NAT lets in only endpoints that were sent to, and only for a while", () => {
  const w = world();
  const nat = { kind: "port_restricted", timeoutMs: 60_000 } as const;
  const [inside, friend, stranger] = [add(w, { nat }), add(w), add(w)];
  assert.equal(ping(w, friend, inside), "timeout");
  assert.notEqual(ping(w, inside, friend), "timeout");
  assert.notEqual(ping(w, friend, inside), "timeout");
  assert.equal(ping(w, stranger, inside), "timeout");
  w.run(w.now + 120_000);
  assert.equal(ping(w, friend, inside), "timeout");
});

Deno.test("a silent node neither answers nor sends, and a departed one is gone", () => {
  const w = world();
  const [a, silent, gone] = [add(w), add(w), add(w)];
  assert.notEqual(ping(w, a, silent), "timeout");
  w.silence(silent);
  assert.equal(ping(w, a, silent), "timeout");
  const { packetsSent } = silent;
  w.act(silent, (node, now) => node.ping(a.endpoint, now, () => {}));
  assert.equal(silent.packetsSent, packetsSent);
  assert.notEqual(ping(w, a, gone), "timeout");
  w.depart(gone);
  assert.equal(ping(w, a, gone), "timeout");
  assert.deepEqual(w.nodes, [a, silent]);
  const before = w.nodeMs;
  w.run(w.now + 1_000);
  assert.equal(w.nodeMs, before + 2_000);
});

Deno.test("no packet crosses a partition until it heals", () => {
  const w = world();
  const [a, b, c] = [add(w), add(w), add(w)];
  w.partition((sim) => sim === c ? 1 : 0);
  assert.notEqual(ping(w, a, b), "timeout");
  assert.equal(ping(w, a, c), "timeout");
  assert.equal(ping(w, c, a), "timeout");
  w.partition();
  assert.notEqual(ping(w, a, c), "timeout");
});
