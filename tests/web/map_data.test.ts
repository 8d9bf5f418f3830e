// The contents of the map: the range of this node, clusters of addresses, earlier peers, and the way of a lookup.

import assert from "node:assert/strict";
import type { Peer, TraceStep } from "../../src/reports/peers.ts";
import { layoutPeers, placeOnMap } from "../../src/web/map_layout.js";
import { clustersOf, networkOf, peersAt, responsibility, wayOf } from "../../src/web/map_data.js";

const OWN = "0".repeat(40);
const id = (start: string) => start.padEnd(40, "0");
const peer = (start: string, rest: Partial<Peer> = {}): Peer => ({
  node_id: id(start),
  address: "192.0.2.1:8000",
  distance: 1,
  last_seen: "2026-04-14T10:29:55Z",
  health: "healthy",
  rtt_ms: 1,
  score: 1,
  first_seen: "2026-04-14T09:00:00Z",
  client: null,
  public_key: null,
  ...rest,
});

Deno.test("a node is responsible for the ids that share as many bits as its k-th closest peer", () => {
  const peers = [peer("8"), peer("4"), peer("1"), peer("01"), peer("001", { health: "unhealthy" })];
  assert.deepEqual(responsibility(OWN, peers, 2), { bits: 3, share: 1 / 8 });
  assert.deepEqual(responsibility(OWN, peers, 5), { bits: 0, share: 1 });
});

Deno.test("addresses of a /24 or a /48 are a cluster", () => {
  assert.equal(networkOf("203.0.113.7:8000"), "203.0.113.0/24");
  assert.equal(networkOf("[2001:db8:5::1]:8000"), "2001:db8:5::/48");
  assert.equal(networkOf("[::1]:8000"), "0:0:0::/48");
  const peers = [
    peer("1", { address: "203.0.113.7:1" }),
    peer("2", { address: "203.0.113.8:1" }),
    peer("3", { address: "203.0.112.8:1" }),
  ];
  assert.deepEqual(clustersOf(peers).map(({ network, peers }) => [network, peers.length]), [
    ["203.0.113.0/24", 2],
  ]);
});

Deno.test("undoing events gives the peers of an earlier time", () => {
  const at = (minute: number) => `2026-04-14T10:${minute}:00Z`;
  const events = [
    { type: "peer.join", at: at(50), data: peer("1") },
    {
      type: "peer.leave",
      at: at(40),
      data: { node_id: id("2"), address: "192.0.2.2:1", reason: "" },
    },
    {
      type: "peer.health",
      at: at(30),
      data: { node_id: id("3"), from: "healthy", to: "degraded" },
    },
  ];
  const now = [peer("1"), peer("3", { health: "degraded" })];
  const summary = (minute: number) =>
    peersAt(now, events, Date.parse(at(minute))).map(({ node_id, health }) =>
      `${node_id[0]} ${health}`
    );
  assert.deepEqual(summary(55), ["1 healthy", "3 degraded"]);
  assert.deepEqual(summary(45), ["3 degraded"]);
  assert.deepEqual(summary(35), ["3 degraded", "2 unhealthy"]);
  assert.deepEqual(summary(25), ["3 healthy", "2 unhealthy"]);
});

Deno.test("the way of a lookup has only nodes that brought it closer", () => {
  const step = (
    start: string,
    started_ms: number,
    outcome: TraceStep["outcome"] = "responded",
  ) => ({
    node_id: id(start),
    address: "192.0.2.1:1",
    hop: 1,
    started_ms,
    rtt_ms: outcome === "responded" ? 10 : null,
    outcome,
  });
  const trace = [step("8", 0), step("c", 1), step("4", 2), step("01", 3, "timeout"), step("1", 4)];
  assert.deepEqual(wayOf(OWN, trace), [id("8"), id("4"), id("1")]);
});

Deno.test("a value has the same place as a peer with the same id", () => {
  const { dots, rings } = layoutPeers(OWN, [peer("8"), peer("25")]);
  const { x, y, bucket } = placeOnMap(OWN, id("25"), rings);
  assert.deepEqual({ x, y, bucket }, { x: dots[1].x, y: dots[1].y, bucket: dots[1].bucket });
});
