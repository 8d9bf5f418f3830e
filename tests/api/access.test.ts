// Who may use the API: tokens, hosts and origins, on every route.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { loadConfig } from "../../src/config.ts";
import { FakeService, PEER_A } from "./fake_service.ts";

const TOKEN = "correct-horse-battery";

/** Requests that read what the node knows already. */
const READS: [method: string, path: string][] = [
  ["GET", "/network/peers"],
  ["GET", "/network/stats"],
  ["GET", "/healthz"],
  ["GET", "/readyz"],
  ["GET", "/openapi.json"],
];

/** Requests that change something or send packets. */
const SENDS: [method: string, path: string][] = [
  ["GET", `/network/ping/${PEER_A}`],
  ["GET", "/network/ping?address=127.0.0.1:1"],
  ["GET", `/network/find/${PEER_A}`],
  ["HEAD", `/network/find/${PEER_A}`],
  ["POST", "/network/store"],
  ["PUT", `/data/${PEER_A}`],
  ["DELETE", `/data/${PEER_A}`],
  ["GET", "/network/published"],
  ["GET", `/data/${PEER_A}`],
  ["HEAD", `/data/${PEER_A}`],
];

function setup(env: Record<string, string> = {}) {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig({ env }) });
  const status = async (
    [method, path]: [string, string],
    headers: Record<string, string>,
    host = "127.0.0.1:8080",
  ) => {
    const body = method === "POST" ? "value" : undefined;
    const response = await app.request(`http://${host}${path}`, { method, headers, body });
    if (response.status >= 400 && method !== "HEAD") {
      assert.equal(response.headers.get("content-type"), "application/problem+json");
      assert.equal((await response.json()).status, response.status);
    }
    return response;
  };
  return { service, status };
}

Deno.test("without a token nothing is asked for on loopback", async () => {
  const { status } = setup();
  for (const route of [...READS, ...SENDS]) {
    const { status: code } = await status(route, {});
    assert.ok(![401, 403].includes(code), `${route.join(" ")}: ${code}`);
  }
});

Deno.test("with a token every request that changes or sends needs it, and no other does", async () => {
  for (const host of ["127.0.0.1", "0.0.0.0"]) {
    const { service, status } = setup({ API_TOKEN: TOKEN, API_HOST: host });
    for (const route of READS) assert.equal((await status(route, {})).status, 200);
    service.calls.length = 0;
    for (const route of SENDS) {
      const missing = await status(route, {});
      assert.equal(missing.status, 401, route.join(" "));
      assert.equal(missing.headers.get("www-authenticate"), 'Bearer realm="dmnode"');
      const wrong = [
        `Bearer ${TOKEN}x`,
        `Bearer ${TOKEN.slice(1)}`,
        `Bearer ${TOKEN.toUpperCase()}`,
        "Bearer",
        "Bearer ",
        TOKEN,
        `Basic ${btoa(`user:${TOKEN}`)}`,
        `Bearer x ${TOKEN}`,
        `Bearer ${TOKEN}, Bearer x`,
      ];
      for (const authorization of wrong) {
        const refused = await status(route, { authorization });
        assert.equal(refused.status, 401, authorization);
        assert.match(refused.headers.get("www-authenticate") ?? "", /error="invalid_token"/);
      }
    }
    assert.deepEqual(service.calls, [], "nothing was sent");
    for (const route of SENDS) {
      for (const authorization of [`Bearer ${TOKEN}`, `bearer  ${TOKEN}`]) {
        assert.notEqual((await status(route, { authorization })).status, 401);
      }
    }
  }
});

Deno.test("the token is asked for before the body is read", async () => {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig({ env: { API_TOKEN: TOKEN } }) });
  const body = new ReadableStream({
    pull: () => assert.fail("read"),
  }, { highWaterMark: 0 });
  assert.equal((await app.request("/network/store", { method: "POST", body })).status, 401);
});

Deno.test("without a token the Host has to be this machine (DNS rebinding)", async () => {
  const { service, status } = setup();
  const own = [
    "127.0.0.1",
    "127.0.0.1:1",
    "localhost",
    "LOCALHOST:8080",
    "[::1]:8080",
    "127.1.2.3",
  ];
  const foreign = [
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "192.168.1.10:8080",
    "[2001:db8::1]",
    "0.0.0.0:8080",
    "",
    "[",
  ];
  for (const route of [...READS, ...SENDS]) {
    for (const host of own) {
      assert.notEqual((await status(route, { host })).status, 403, host);
      if (!host.includes("[")) assert.notEqual((await status(route, {}, host)).status, 403);
    }
  }
  service.calls.length = 0;
  for (const route of [...READS, ...SENDS, ["GET", "/nope"] as [string, string]]) {
    for (const host of foreign) assert.equal((await status(route, { host })).status, 403, host);
    assert.equal((await status(route, {}, "evil.example")).status, 403);
  }
  assert.deepEqual(service.calls, []);
});

Deno.test("with a token any Host will do: a proxy may pass its own on", async () => {
  const { status } = setup({ API_TOKEN: TOKEN });
  const headers = { host: "node.example.org", authorization: `Bearer ${TOKEN}` };
  for (const route of [...READS, ...SENDS]) {
    assert.notEqual((await status(route, headers)).status, 403);
  }
});

Deno.test("pages of other origins may not change or send anything", async () => {
  for (const env of [{}, { API_TOKEN: TOKEN }] as Record<string, string>[]) {
    const { service, status } = setup(env);
    const host = "127.0.0.1:8080";
    const authorization = `Bearer ${TOKEN}`;
    const foreign: Record<string, string>[] = [
      { origin: "https://evil.example" },
      { origin: "null" },
      { origin: "http://127.0.0.1:3000" },
      { origin: "http://localhost:8080" },
      { origin: "http://127.0.0.1" },
      { origin: "garbage" },
      { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" },
      { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" },
      { "sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty" },
    ];
    for (const route of SENDS) {
      for (const headers of foreign) {
        const { status: code } = await status(route, { host, authorization, ...headers });
        assert.equal(code, 403, JSON.stringify(headers));
      }
    }
    assert.deepEqual(service.calls, []);
    const own: Record<string, string>[] = [
      { origin: "http://127.0.0.1:8080" },
      { origin: "https://127.0.0.1:8080" },
      { "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty" },
      { "sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" },
      {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
      },
    ];
    for (const route of SENDS) {
      for (const headers of own) {
        const { status: code } = await status(route, { host, authorization, ...headers });
        assert.notEqual(code, 403, JSON.stringify(headers));
      }
    }
  }
});
