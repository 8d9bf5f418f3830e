// Tests the routes of swarms.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { loadConfig } from "../../src/config.ts";
import { exampleOf } from "../../src/reports/fields.ts";
import {
  AnnouncedSwarm,
  AnnouncedSwarms,
  SERVICE,
  SERVICE_HASH,
  SwarmPeers,
} from "../../src/reports/swarms.ts";
import { FakeService, PEER_A, STRANGER } from "./fake_service.ts";

function setup(env: Record<string, string> = {}) {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig({ env }) });
  const request = async (method: string, name?: string, init: RequestInit = {}) => {
    const url = `http://localhost/network/swarms${name === undefined ? "" : `/${name}`}`;
    const response = await app.fetch(new Request(url, { method, ...init }));
    return { status: response.status, text: await response.text(), headers: response.headers };
  };
  const announce = (name: string, body: unknown) =>
    request("POST", name, {
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
  return { service, request, announce };
}

Deno.test("GET finds the peers of an info-hash", async () => {
  const { service, request } = setup();
  const { status, text } = await request("GET", PEER_A.toUpperCase());
  assert.equal(status, 200);
  assert.deepEqual(SwarmPeers.parse(JSON.parse(text)), JSON.parse(text));
  const options = { noSeeds: false, scrapes: false };
  assert.deepEqual(service.calls, [["findPeers", { infoHash: PEER_A }, options]]);
});

Deno.test("the name of a service can stand for the info-hash, also with characters that must be encoded", async () => {
  for (const name of [SERVICE, "a/b c%ü", "é".repeat(32)]) {
    const { service, request } = setup();
    const { status } = await request("GET", `service:${encodeURIComponent(name)}`);
    assert.equal(status, 200, name);
    assert.deepEqual(service.calls[0][1], { service: name });
  }
});

Deno.test("?noseed=1 and ?scrape=1 reach the node", async () => {
  const { service, request } = setup();
  await request("GET", `${PEER_A}?noseed=1&scrape=1`);
  assert.deepEqual(service.calls[0][2], { noSeeds: true, scrapes: true });
});

Deno.test("anything but an info-hash or a service with a valid name is refused", async () => {
  const { service, request } = setup();
  const wrong: [string, RegExp][] = [
    [PEER_A.slice(1), /expected 40 hex digits, or service: and a name/],
    ["chat", /expected 40 hex digits, or service: and a name/],
    ["service:", /name of 1 to 64 bytes/],
    [`service:${"x".repeat(65)}`, /name of 1 to 64 bytes/],
    ["service:a%00b", /without control characters/],
    [`${PEER_A}?noseed=maybe`, /query parameter noseed/],
    [`${PEER_A}?seed=1`, /query parameter seed: unknown/],
  ];
  for (const [name, reason] of wrong) {
    for (const method of name.includes("?") ? ["GET"] : ["GET", "POST", "DELETE"]) {
      const { status, text } = await request(method, name);
      assert.equal(status, 400, `${method} ${name}`);
      assert.match(JSON.parse(text).detail, reason);
    }
  }
  assert.deepEqual(service.calls, []);
});

Deno.test("POST announces a port, and answers 201 for a new announcement and 200 for a known one", async () => {
  const { service, announce } = setup();
  const first = await announce(PEER_A, { port: 6881, seed: true });
  assert.equal(first.status, 201);
  assert.deepEqual(AnnouncedSwarm.parse(JSON.parse(first.text)), JSON.parse(first.text));
  const swarm = { infoHash: PEER_A };
  assert.deepEqual(service.calls, [["announce", swarm, { port: 6881, isSeed: true }]]);
  assert.equal((await announce(PEER_A, { port: 1 })).status, 200);
});

Deno.test("without a port or a body, the node's own port is announced", async () => {
  const { service, announce, request } = setup();
  await announce(PEER_A, {});
  await request("POST", PEER_A);
  for (const call of service.calls) assert.deepEqual(call[2], { port: null, isSeed: false });
});

Deno.test("a malformed announcement is refused", async () => {
  const { service, announce, request } = setup();
  const wrong: [unknown, RegExp][] = [
    [{ port: 0 }, /member port/],
    [{ port: 65_536 }, /member port/],
    [{ port: "6881" }, /member port/],
    [{ port: 1.5 }, /member port/],
    [{ seed: 1 }, /member seed/],
    [{ ports: 1 }, /unknown: "ports"/],
    [[], /expected an object/],
  ];
  for (const [body, reason] of wrong) {
    const { status, text } = await announce(PEER_A, body);
    assert.equal(status, 400);
    assert.match(JSON.parse(text).detail, reason);
  }
  assert.equal((await request("POST", PEER_A, { body: "port=1" })).status, 415);
  assert.equal((await announce(PEER_A, { port: 1, x: "x".repeat(2_000) })).status, 413);
  assert.deepEqual(service.calls, []);
});

Deno.test("an announcement that can't be kept is 507", async () => {
  const { service, announce } = setup();
  service.announceOutcome = { outcome: "full", limit: 1_000 };
  const full = await announce(PEER_A, {});
  assert.deepEqual([full.status, JSON.parse(full.text).limit], [507, 1_000]);
  service.announceOutcome = { outcome: "no_disk" };
  assert.equal((await announce(PEER_A, {})).status, 507);
});

Deno.test("GET /network/swarms lists the announcements", async () => {
  const { announce, request } = setup();
  await announce(PEER_A, { port: 6881 });
  await announce(`service:${SERVICE}`, {});
  const { text } = await request("GET");
  const { total, swarms } = AnnouncedSwarms.parse(JSON.parse(text));
  assert.equal(total, 2);
  assert.deepEqual(swarms.map(({ info_hash }) => info_hash), [PEER_A, SERVICE_HASH]);
});

Deno.test("DELETE ends an announcement, which the service or its info-hash names", async () => {
  const { announce, request } = setup();
  await announce(`service:${SERVICE}`, {});
  assert.equal((await request("DELETE", SERVICE_HASH)).status, 204);
  assert.equal((await request("DELETE", `service:${SERVICE}`)).status, 404);
});

Deno.test("a stream sends peers as they are found, then the result, and then ends", async () => {
  const { service, request } = setup();
  const report = exampleOf(SwarmPeers);
  service.foundParts = [
    { kind: "peers", peers: ["192.0.2.7:6881"] },
    { kind: "quiet" },
    { kind: "result", report },
  ];
  const { text, headers } = await request("GET", STRANGER, {
    headers: { accept: "text/event-stream" },
  });
  assert.equal(headers.get("content-type"), "text/event-stream");
  assert.equal(
    text,
    'event: peers\ndata: {"peers":["192.0.2.7:6881"]}\n\n' +
      ":\n\n" +
      `event: result\ndata: ${JSON.stringify(report)}\n\n`,
  );
  assert.deepEqual(service.calls.at(-1), ["closePeerSearch", 1]);
});

Deno.test("a client that leaves a stream ends its search", async () => {
  const { service } = setup();
  const app = createApi({ service, config: loadConfig({ env: {} }) });
  service.foundParts = [{ kind: "quiet" }, { kind: "quiet" }];
  const response = await app.fetch(
    new Request(`http://localhost/network/swarms/${STRANGER}`, {
      headers: { accept: "text/event-stream" },
    }),
  );
  const reader = response.body!.getReader();
  await reader.read();
  await reader.cancel();
  assert.deepEqual(service.calls.at(-1), ["closePeerSearch", 1]);
});

Deno.test("searching and announcing need the token, and so does the list", async () => {
  const { service, request } = setup({ API_TOKEN: "a-token-of-some-length" });
  for (const method of ["GET", "POST", "DELETE"]) {
    assert.equal((await request(method, PEER_A)).status, 401);
  }
  assert.equal((await request("GET")).status, 401);
  assert.deepEqual(service.calls, []);
});
