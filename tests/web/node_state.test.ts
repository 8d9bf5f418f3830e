// How the dashboard's state follows answers and events, and that it stays bounded.

import assert from "node:assert/strict";
import {
  MAX_FEED_EVENTS,
  MAX_HOUR_SAMPLES,
  MAX_LOOKUPS,
  MAX_STEPS,
  MAX_TRACED,
  NodeState,
} from "../../src/web/node_state.js";

const NOW = Date.UTC(2026, 3, 14, 10);
const idOf = (n: number) => n.toString(16).padStart(40, "0");

const peer = (n: number, rest = {}) => ({
  node_id: idOf(n),
  address: `127.0.0.1:${n}`,
  distance: 160,
  last_seen: "2026-04-14T10:00:00Z",
  first_seen: "2026-04-14T09:00:00Z",
  health: "healthy" as const,
  rtt_ms: 5,
  score: 0.9,
  client: null,
  public_key: null,
  ...rest,
});

let number = 0;
const event = (type: string, data: unknown) => ({
  id: ++number,
  type,
  at: "2026-04-14T10:00:00.500Z",
  data,
});

function lookup(n: number) {
  return event("lookup", {
    lookup: n,
    target: idOf(n),
    method: "get",
    hops: 2,
    queries: 9,
    elapsed_ms: 30,
    success: true,
  });
}

function step(lookup: number, address: string, state: string, rtt: number | null = null) {
  return {
    id: null,
    type: "lookup.step",
    at: "2026-04-14T10:00:01.000Z",
    data: {
      lookup,
      target: idOf(lookup),
      node_id: null,
      address,
      distance: null,
      hop: 1,
      state,
      rtt_ms: rtt,
    },
  };
}

Deno.test("events add, change and remove peers", () => {
  const state = new NodeState();
  let changes = 0;
  const stop = state.onChange(() => changes++);
  state.takePeers({ node_id: idOf(0), peers: [peer(1), peer(2)] } as never);
  assert.deepEqual([...state.peers.keys()], [idOf(1), idOf(2)]);
  state.takeEvent(event("peer.join", peer(3)), NOW);
  state.takeEvent(event("peer.health", { node_id: idOf(1), from: "healthy", to: "degraded" }), NOW);
  state.takeEvent(event("peer.health", { node_id: idOf(99), to: "degraded" }), NOW);
  state.takeEvent(event("peer.leave", { node_id: idOf(2) }), NOW);
  assert.deepEqual([...state.peers.values()].map(({ node_id, health }) => [node_id, health]), [
    [idOf(1), "degraded"],
    [idOf(3), "healthy"],
  ]);
  assert.equal(state.stirred.has(idOf(1)), true);
  assert.equal(state.last, number);
  assert.equal(changes, 5);
  stop();
  state.clearFeed();
  assert.equal(changes, 5);
});

Deno.test("statistics from events keep the configuration, which events omit", () => {
  const state = new NodeState();
  state.takeStats({ node_id: idOf(0), config: { k_bucket_size: 20 } } as never, NOW);
  state.takeEvent({ ...event("stats", { node_id: idOf(0), uptime_s: 5 }), id: null }, NOW + 1);
  assert.equal(state.stats!.config.k_bucket_size, 20);
  assert.equal(state.newsAt, NOW + 1);
  assert.equal(state.feed.length, 0, "statistics do not appear in the feed");
});

Deno.test("the feed, lookups, traces, transfers and samples are bounded", () => {
  const state = new NodeState();
  for (let i = 0; i < 5 * MAX_FEED_EVENTS; i++) {
    state.takeEvent(lookup(i), NOW);
    state.takeEvent(event("data.progress", { transfer: i, label: null, done_bytes: i }), NOW);
    state.takeEvent(event("peer.join", peer(i)), NOW);
    state.takeEvent(event("peer.leave", { node_id: idOf(i) }), NOW);
    for (const address of ["a", "b"]) state.takeStep(step(i, address, "asked"));
  }
  for (let i = 0; i < 2 * MAX_STEPS; i++) state.takeStep(step(1e9, `host:${i}`, "asked"));
  assert.ok(state.feed.length <= MAX_FEED_EVENTS * 1.1);
  assert.equal(state.feed.length + state.forgotten, 15 * MAX_FEED_EVENTS);
  assert.equal(state.lookups.length, MAX_LOOKUPS);
  assert.equal(state.lookups[0].lookup, 5 * MAX_FEED_EVENTS - 1, "the newest is first");
  assert.equal(state.traces.size, MAX_TRACED);
  assert.equal(state.traces.get(1e9)!.steps.length, MAX_STEPS);
  assert.equal(state.transfers.size, 50);
  assert.ok(state.stirred.size <= 64);
  assert.equal(state.peers.size, 0);
  for (let i = 0; i < 3; i++) {
    state.takeHour(Array.from({ length: 300 }, (_, n) => ({
      at: new Date(NOW + (300 * i + n) * 10_000).toISOString(),
    })) as never);
  }
  assert.equal(state.hour.length, MAX_HOUR_SAMPLES);
});

Deno.test("known samples are not added twice", () => {
  const state = new NodeState();
  const sample = (n: number) => ({ at: new Date(NOW + n * 10_000).toISOString() });
  state.takeHour([sample(1), sample(2)] as never);
  state.takeHour([sample(2), sample(3)] as never);
  assert.deepEqual(state.hour, [sample(1), sample(2), sample(3)]);
});

Deno.test("a trace follows the queries of a lookup until its final event", () => {
  const state = new NodeState();
  state.takeStep(step(7, "a:1", "asked"));
  state.takeStep(step(7, "b:1", "asked"));
  state.takeStep(step(7, "a:1", "late"));
  state.takeStep(step(7, "a:1", "responded", 12));
  state.takeStep(step(7, "b:1", "failed"));
  const trace = state.traces.get(7)!;
  assert.deepEqual(trace.steps.map(({ address, outcome, rtt_ms }) => [address, outcome, rtt_ms]), [
    ["a:1", "responded", 12],
    ["b:1", "timeout", null],
  ]);
  assert.equal(trace.elapsedMs, null);
  state.takeEvent(lookup(7), NOW);
  assert.equal(trace.elapsedMs, 30);
});

Deno.test("past events precede the live ones in the feed and change no peer", () => {
  const state = new NodeState();
  state.takeEvent(lookup(3), NOW);
  state.takePast([event("peer.join", peer(1)), lookup(2)]);
  assert.deepEqual(state.feed.map(({ type }) => type), ["peer.join", "lookup", "lookup"]);
  assert.equal(new Set(state.feed.map(({ serial }) => serial)).size, 3);
  assert.deepEqual(state.lookups.map(({ lookup }) => lookup), [3, 2]);
  assert.equal(state.peers.size, 0);
});

Deno.test("a restarted node clears the data of its earlier run", () => {
  const state = new NodeState();
  state.takeEvent(lookup(3), NOW);
  state.takeStep(step(7, "a:1", "asked"));
  state.takeHour([{ at: "2026-04-14T10:00:00.000Z" }] as never);
  state.forgetRun();
  assert.deepEqual([state.hour.length, state.traces.size, state.last], [0, 0, null]);
  assert.equal(state.feed.length, 1, "past events stay in the feed");
});

Deno.test("the page is stale only if it has data", () => {
  const state = new NodeState();
  state.become("lost", NOW);
  assert.equal(state.isStale, false);
  state.takeStats({ node_id: idOf(0) } as never, NOW);
  assert.equal(state.isStale, true);
  state.become("live");
  assert.deepEqual([state.isStale, state.retryAt], [false, null]);
});
