// Tests the details of one peer, and the readiness in the statistics.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { Peer, PeerDetail } from "../../src/reports/peers.ts";
import { loadConfig } from "../../src/config.ts";
import { FakeService, PEER_A, PEER_B, PEER_C, STRANGER } from "./fake_service.ts";

async function get(path: string, service = new FakeService()) {
  const app = createApi({ service, config: loadConfig() });
  const response = await app.fetch(new Request(`http://localhost${path}`));
  return { status: response.status, body: await response.json() };
}

Deno.test("GET /network/peers/{node_id} describes one peer, with the id in upper or lower case", async () => {
  const { status, body } = await get(`/network/peers/${PEER_A.toUpperCase()}`);
  assert.equal(status, 200);
  assert.deepEqual(PeerDetail.strict().parse(body), body);
  assert.deepEqual(body, {
    node_id: PEER_A,
    address: "192.168.1.10:8000",
    distance: 155,
    last_seen: "2026-04-14T10:29:55Z",
    health: "healthy",
    rtt_ms: 12.4,
    score: 0.97,
    first_seen: "2026-04-14T09:00:00Z",
    client: "dmnode/0.1.0",
    public_key: null,
    score_parts: { answers: 1, speed: 0.98, honesty: 1, tenure: 0.99 },
    rtt_variation_ms: 2.5,
    misses: 1,
    faults: 0.5,
    keeps_us: null,
    last_query: null,
    last_response: "2026-04-14T10:29:55Z",
    next_check: "2026-04-14T10:30:55Z",
    bucket: 3,
    history: [
      { at: "2026-04-14T09:00:00Z", what: "joined", reason: null },
      { at: "2026-04-14T10:29:55Z", what: "degraded", reason: "no answer to ping" },
    ],
  });
  const unmeasured = (await get(`/network/peers/${PEER_B}`)).body;
  assert.deepEqual([unmeasured.rtt_ms, unmeasured.rtt_variation_ms], [null, null]);
});

Deno.test("a peer that has left is marked as gone but still described, and an unknown peer is 404", async () => {
  const { body } = await get(`/network/peers/${PEER_C}`);
  assert.deepEqual([body.health, body.next_check, body.bucket], ["gone", null, null]);
  assert.deepEqual(PeerDetail.parse(body), body);
  const { status, body: problem } = await get(`/network/peers/${STRANGER}`);
  assert.equal(status, 404);
  assert.match(problem.detail, new RegExp(STRANGER));
  for (const bad of ["abc", "g".repeat(40), "a".repeat(41), "%00", "..%2fstats"]) {
    assert.equal((await get(`/network/peers/${bad}`)).status, 400, bad);
  }
});

Deno.test("the list of peers contains none of the details", async () => {
  const { body } = await get("/network/peers");
  assert.deepEqual(Peer.strict().parse(body.peers[0]), body.peers[0]);
});

Deno.test("the statistics contain readiness, its reason, and the number of answered queries", async () => {
  const service = new FakeService();
  service.ready = { ready: false, reason: "no peer has answered for 34 s" };
  const { body } = await get("/network/stats", service);
  assert.deepEqual(body.readiness, {
    ready: false,
    reason: "no peer has answered for 34 s",
    queries: 40,
    answers: 38,
    over_s: 300,
  });
});
