// Tests the routes that pin values.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { loadConfig } from "../../src/config.ts";
import { Pins, PublishedValue } from "../../src/reports/values.ts";
import { FakeService, PEER_A, STRANGER } from "./fake_service.ts";

const KEY = "5a".repeat(32);

function setup(env: Record<string, string> = {}) {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig({ env }) });
  const request = async (method: string, path: string, init: RequestInit = {}) => {
    const response = await app.fetch(new Request(`http://localhost${path}`, { method, ...init }));
    const text = await response.text();
    return { status: response.status, text, headers: response.headers };
  };
  const pin = async (body: unknown, status = 201) => {
    const headers = { "content-type": "application/json" };
    const answer = await request("POST", "/network/pin", { body: JSON.stringify(body), headers });
    assert.equal(answer.status, status, answer.text);
    return { ...JSON.parse(answer.text), location: answer.headers.get("location") };
  };
  return { service, request, pin };
}

Deno.test("POST /network/pin pins a value by its hash, or by its key and owner", async () => {
  const { service, pin } = setup();
  const hash = service.hold("value");
  const { location, ...report } = await pin({ hash: hash.toUpperCase(), ttl: 7200 });
  assert.deepEqual(PublishedValue.parse(report), report);
  assert.deepEqual([report.hash, report.pinned, location], [hash, true, `/data/${hash}`]);
  const byHash = { hash, key: null, publicKey: undefined, ttl: 7200 };
  assert.deepEqual(service.calls.at(-1), ["pin", byHash]);
  await pin({ hash }, 200);
  await pin({ key: "a b", public_key: KEY.toUpperCase() }, 404);
  const byKey = { hash: undefined, key: "a b", publicKey: KEY, ttl: undefined };
  assert.deepEqual(service.calls.at(-1), ["pin", byKey]);
  await pin({ public_key: KEY }, 404);
  await pin({ key: "own" }, 404);
  await pin({ hash, key: "hint" }, 200);
});

Deno.test("a pin is refused if it is malformed", async () => {
  const { service, request, pin } = setup();
  const wrong: [unknown, RegExp][] = [
    [{}, /Give a hash, or a key/],
    [[], /expected an object/],
    ["x", /expected an object/],
    [{ hash: "abc" }, /member hash: expected 40 hex digits/],
    [{ hash: 5 }, /member hash/],
    [{ key: "" }, /key is empty/],
    [{ key: "x".repeat(65) }, /65 bytes/],
    [{ key: "k", public_key: "5a" }, /member public_key: expected 64 hex digits/],
    [{ hash: PEER_A, public_key: KEY }, /either a hash or a public_key/],
    [{ hash: PEER_A, ttl: 3599 }, /member ttl/],
    [{ hash: PEER_A, ttl: "1h" }, /member ttl/],
    [{ hash: PEER_A, other: 1 }, /unknown: "other"/],
  ];
  for (const [body, message] of wrong) assert.match((await pin(body, 400)).detail, message);
  const raw = { body: "{", headers: { "content-type": "application/json" } };
  assert.equal((await request("POST", "/network/pin", raw)).status, 400);
  assert.equal((await request("POST", "/network/pin", { body: "{}" })).status, 415);
  assert.equal((await request("POST", "/network/pin")).status, 415);
  assert.deepEqual(service.calls, []);
});

Deno.test("the reason why a value can't be pinned has its own status", async () => {
  const { service, pin } = setup();
  const cases = [
    [404, { outcome: "not_found" }, /No value .* was found/],
    [404, { outcome: "key_needed" }, /without its key/],
    [413, { outcome: "too_large", size: 9, limit: 5 }, /9 bytes; at most 5/],
    [502, { outcome: "invalid", detail: "It is not valid." }, /not valid/],
    [503, { outcome: "busy", detail: "Try again." }, /Try again/],
    [503, { outcome: "unreachable", detail: "The node is stopping." }, /stopping/],
    [507, { outcome: "no_disk" }, /can't be written/],
  ] as const;
  for (const [status, outcome, message] of cases) {
    service.pinOutcome = outcome;
    assert.match((await pin({ hash: PEER_A }, status)).detail, message);
  }
});

Deno.test("GET /network/pins lists the pinned values, and DELETE /network/pin/{hash} unpins one", async () => {
  const { service, request, pin } = setup();
  const hashes = ["a", "b"].map((text) => service.hold(text));
  for (const hash of hashes) await pin({ hash });
  const list = JSON.parse((await request("GET", "/network/pins?offset=1&limit=1")).text);
  assert.deepEqual(Pins.parse(list), list);
  assert.deepEqual([list.total, list.offset, list.pins[0].hash], [2, 1, hashes[1]]);
  assert.equal((await request("GET", "/network/pins?limit=0")).status, 400);
  const unpin = (hash: string) => request("DELETE", `/network/pin/${hash}`);
  assert.equal((await unpin(hashes[0].toUpperCase())).status, 204);
  const again = await unpin(hashes[0]);
  assert.equal(again.status, 404);
  assert.match(JSON.parse(again.text).detail, /does not pin/);
  assert.equal((await unpin("abc")).status, 400);
  assert.equal((await unpin(STRANGER)).status, 404);
});

Deno.test("pins need the token", async () => {
  const { request } = setup({ API_TOKEN: "secret" });
  for (
    const [method, path] of [
      ["POST", "/network/pin"],
      ["GET", "/network/pins"],
      ["DELETE", `/network/pin/${PEER_A}`],
    ]
  ) {
    assert.equal((await request(method, path)).status, 401, path);
    const headers = { authorization: "Bearer secret" };
    assert.notEqual((await request(method, path, { headers })).status, 401, path);
  }
});
