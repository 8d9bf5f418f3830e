// Tests the routes of magnet links under a key (BEP 46).

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { loadConfig } from "../../src/config.ts";
import { hex } from "../../src/krpc/hex.ts";
import { MAGNET, PublishedMagnet, ResolvedMagnet } from "../../src/reports/magnets.ts";
import { FakeService, PEER_A } from "./fake_service.ts";

function setup(env: Record<string, string> = {}) {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig({ env }) });
  const request = async (path: string, init: RequestInit = {}) => {
    const url = `http://localhost/network/magnets${path}`;
    const response = await app.fetch(new Request(url, init));
    return { status: response.status, body: JSON.parse(await response.text()) };
  };
  const publish = (body: unknown) =>
    request("", {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
  return { service, request, publish };
}

Deno.test("POST publishes an info-hash under a key, with the terms of a store", async () => {
  const { service, publish } = setup();
  const terms = { min_replicas: 2, ttl: 7200, cas: 3 };
  const { status, body } = await publish({
    info_hash: PEER_A.toUpperCase(),
    key: "demo",
    ...terms,
  });
  assert.equal(status, 201);
  assert.deepEqual(PublishedMagnet.parse(body), body);
  const expected = { infoHash: PEER_A, key: "demo", minReplicas: 2, ttl: 7200, cas: 3 };
  assert.deepEqual(service.calls, [["publishMagnet", expected]]);
});

Deno.test("a malformed link is not published", async () => {
  const { service, publish } = setup();
  const wrong: [unknown, RegExp][] = [
    [{ key: "demo" }, /member info_hash/],
    [{ info_hash: "abc", key: "demo" }, /member info_hash: expected 40 hex digits/],
    [{ info_hash: PEER_A }, /member key/],
    [{ info_hash: PEER_A, key: "" }, /member key: is empty/],
    [{ info_hash: PEER_A, key: "x".repeat(65) }, /65 bytes/],
    [{ info_hash: PEER_A, key: "k", ttl: 1 }, /member ttl/],
    [{ info_hash: PEER_A, key: "k", other: 1 }, /unknown: "other"/],
  ];
  for (const [given, reason] of wrong) {
    const { status, body } = await publish(given);
    assert.equal(status, 400);
    assert.match(body.detail, reason);
  }
  assert.deepEqual(service.calls, []);
});

Deno.test("a link that is not stored is answered like a store", async () => {
  const { service, publish } = setup();
  service.magnetOutcome = { outcome: "cas_mismatch", seq: 7 };
  const { status, body } = await publish({ info_hash: PEER_A, key: "demo", cas: 3 });
  assert.deepEqual([status, body.seq], [412, 7]);
});

Deno.test("GET finds the torrent of a link", async () => {
  const { service, request } = setup();
  const { status, body } = await request(`?magnet=${encodeURIComponent(MAGNET)}`);
  assert.equal(status, 200);
  assert.deepEqual(ResolvedMagnet.parse(body), body);
  const [, magnet] = service.calls[0] as [string, { publicKey: Uint8Array; salt: Uint8Array }];
  assert.ok(MAGNET.includes(hex(magnet.publicKey)) && MAGNET.endsWith(`&s=${hex(magnet.salt)}`));
});

Deno.test("a link that leads nowhere is 404, one to another value 502, and a malformed one 400", async () => {
  const { service, request } = setup();
  const path = `?magnet=${encodeURIComponent(MAGNET)}`;
  service.resolved = { outcome: "not_found" };
  assert.equal((await request(path)).status, 404);
  service.resolved = { outcome: "invalid", hash: PEER_A };
  assert.equal((await request(path)).status, 502);
  assert.equal((await request("?magnet=magnet:?xt=urn:btih:00")).status, 400);
  assert.equal((await request("")).status, 400);
});

Deno.test("links need the token", async () => {
  const { request, publish } = setup({ API_TOKEN: "a-token-of-some-length" });
  assert.equal((await publish({ info_hash: PEER_A, key: "demo" })).status, 401);
  assert.equal((await request(`?magnet=${encodeURIComponent(MAGNET)}`)).status, 401);
});
