// Tests published values, the required and counted copies, and watched values.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { isEventStream, watchResponse } from "../../src/api/events/stream.ts";
import { exampleOf } from "../../src/reports/fields.ts";
import { Published, PublishedValue, Replicas, ValueEvent } from "../../src/reports/values.ts";
import { serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { MAX_TARGETS } from "../../src/runtime/values/watch.ts";
import { FakeService, NODE_ID, PEER_A, STRANGER } from "./fake_service.ts";

function setup(env: Record<string, string> = {}) {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig({ env }) });
  const request = async (path: string, init?: RequestInit): Promise<Response> =>
    await app.fetch(new Request(`http://localhost${path}`, init));
  const json = async (path: string, init?: RequestInit, status = 200) => {
    const response = await request(path, init);
    const text = await response.text();
    assert.equal(response.status, status, text);
    return JSON.parse(text);
  };
  return { service, request, json };
}

const postJson = (body: unknown): RequestInit => ({
  method: "POST",
  body: JSON.stringify(body),
  headers: { "content-type": "application/json" },
});
const postRaw = (): RequestInit => ({ method: "POST", body: "raw" });
const base64 = (length: number) => btoa("\x01".repeat(length));
const SIGNED = { k: base64(32), sig: base64(64), seq: 3, v: btoa("mine") };

const published = (next_at: string, rest: Partial<PublishedValue> = {}): PublishedValue => ({
  ...exampleOf(PublishedValue),
  hash: PEER_A,
  kind: "immutable",
  key: null,
  seq: null,
  size: 5,
  items: 1,
  first_at: "2026-04-14T09:00:00Z",
  last_at: "2026-04-14T10:00:00Z",
  next_at,
  replicas: 20,
  failures: 0,
  ...rest,
});

Deno.test("GET /network/published returns a page of the published values", async () => {
  const { service, json } = setup();
  service.publishedValues = [
    published("2026-04-14T11:00:00Z"),
    published("2026-04-14T11:00:01Z", {
      kind: "chunked",
      key: "k",
      seq: 3,
      size: null,
      last_at: null,
      ttl: 7200,
      lives_until: null,
      this_node_only: true,
      state: "failing",
      pinned: true,
    }),
    published("2026-04-14T11:00:02Z"),
  ];
  const body = await json("/network/published?offset=1&limit=1");
  assert.deepEqual(Published.parse(body), body);
  assert.deepEqual(body, {
    total: 3,
    offset: 1,
    published: [{
      hash: PEER_A,
      kind: "chunked",
      key: "k",
      seq: 3,
      size: null,
      items: 1,
      first_at: "2026-04-14T09:00:00Z",
      last_at: null,
      next_at: "2026-04-14T11:00:01Z",
      replicas: 20,
      failures: 0,
      ttl: 7200,
      lives_until: null,
      this_node_only: true,
      state: "failing",
      pinned: true,
    }],
  });
  assert.equal((await json("/network/published")).published.length, 3);
  assert.deepEqual(service.calls.at(-1), ["published", 0, 100]);
  const found = await json("/network/published?q=k&limit=10");
  assert.deepEqual([found.total, found.published.length], [1, 1]);
  for (
    const query of ["limit=0", "limit=1001", "limit=x", "offset=-1", "offset=99999999999999999"]
  ) {
    const { detail } = await json(`/network/published?${query}`, {}, 400);
    assert.match(detail, /^query parameter (limit|offset): /);
  }
});

Deno.test("DELETE /data/{hash} stops publishing a value, and is 404 if the value is not published", async () => {
  const { service, request, json } = setup();
  const hash = service.hold("value");
  const response = await request(`/data/${hash.toUpperCase()}`, { method: "DELETE" });
  assert.deepEqual([response.status, await response.text()], [204, ""]);
  const { detail } = await json(`/data/${hash}`, { method: "DELETE" }, 404);
  assert.match(detail, new RegExp(`does not publish ${hash}`));
  await json("/data/abc", { method: "DELETE" }, 400);
});

Deno.test("ttl may be in the query or the body, and must be from one hour to seven days", async () => {
  const { service, json } = setup();
  const store = (query: string, init: RequestInit, status = 201) =>
    json(`/network/store${query}`, init, status);
  await store("?ttl=3600", postRaw());
  assert.equal(service.options.pop()?.ttl, 3600);
  const report = await store("", postJson({ value: 1, ttl: 604_800 }));
  assert.equal(service.options.pop()?.ttl, 604_800);
  assert.deepEqual([report.lives_until, report.this_node_only], ["2026-04-15T10:29:55Z", false]);
  await json(`/data/${PEER_A}`, { ...postJson({ ...SIGNED, ttl: 7200 }), method: "PUT" });
  assert.equal(service.options.pop()?.ttl, 7200);
  await store("", postRaw());
  assert.equal(service.options.pop()?.ttl, undefined);
  for (const ttl of ["3599", "604801", "-1", "1h", "", "7200.5"]) {
    const { detail } = await store(`?ttl=${ttl}`, postRaw(), 400);
    assert.match(detail, /^query parameter ttl: expected a whole number from 3600 to 604800/);
  }
  for (const ttl of [3599, 604_801, "7200", null, 7200.5]) {
    const { detail } = await store("", postJson({ value: 1, ttl }), 400);
    assert.match(detail, /^body member ttl: /);
  }
  await store("?ttl=7200", postJson({ value: 1, ttl: 7200 }), 400);
  assert.deepEqual(service.options, []);
});

Deno.test("min_replicas and cas may be in the query or the body, and min_replicas has a default", async () => {
  const { service, json } = setup({ MIN_REPLICAS: "3" });
  const asked = () => {
    const { minReplicas, cas } = service.options.pop() ?? {};
    return [minReplicas, cas];
  };
  const store = (query: string, init: RequestInit) => json(`/network/store${query}`, init, 201);
  await store("", postRaw());
  assert.deepEqual(asked(), [3, undefined]);
  await store("?min_replicas=20&key=k&cas=0", postRaw());
  assert.deepEqual(asked(), [20, 0]);
  await store("?cas=7", postJson({ value: 1, key: "k", min_replicas: 2 }));
  assert.deepEqual(asked(), [2, 7]);
  await store("?key=k", postJson({ value: 1, cas: 4 }));
  assert.deepEqual(asked(), [3, 4]);
  const put = { ...postJson({ ...SIGNED, min_replicas: 5 }), method: "PUT" };
  await json(`/data/${PEER_A}`, put);
  assert.deepEqual(asked(), [5, undefined]);
  await json(`/data/${PEER_A}?min_replicas=6`, { ...postJson(SIGNED), method: "PUT" });
  assert.deepEqual(asked(), [6, undefined]);
});

Deno.test("an invalid min_replicas or cas is 400, and nothing is stored", async () => {
  const { service, json } = setup({ K_BUCKET_SIZE: "8" });
  const wrong: [string, unknown][] = [
    ["min_replicas=0", { value: 1 }],
    ["min_replicas=9", { value: 1 }],
    ["min_replicas=129", { value: 1 }],
    ["min_replicas=1.5", { value: 1 }],
    ["min_replicas=", { value: 1 }],
    ["min_replicas=1&min_replicas=2", { value: 1 }],
    ["min_replicas=1", { value: 1, min_replicas: 1 }],
    ["", { value: 1, min_replicas: "2" }],
    ["", { value: 1, min_replicas: 9 }],
    ["", { value: 1, cas: 1 }],
    ["cas=1", { value: 1 }],
    ["cas=-1", { value: 1, key: "k" }],
    ["cas=9223372036854775808", { value: 1, key: "k" }],
    ["cas=01", { value: 1, key: "k" }],
    ["", { value: 1, key: "k", cas: -1 }],
    ["", { value: 1, key: "k", cas: 0.5 }],
    ["", { value: 1, key: "k", cas: 2 ** 63 }],
    ["", { value: 1, key: "k", cas: "1e3" }],
    ["cas=1", { value: 1, key: "k", cas: 1 }],
    ["cas=1&cas=1", { value: 1, key: "k" }],
  ];
  for (const [query, body] of wrong) {
    const { detail } = await json(`/network/store?${query}`, postJson(body), 400);
    assert.match(detail, /min_replicas|cas/, `${query} ${JSON.stringify(body)}`);
  }
  await json("/network/store?min_replicas=9", postRaw(), 400);
  const put = { ...postJson(SIGNED), method: "PUT" };
  await json(`/data/${PEER_A}?min_replicas=9`, put, 400);
  assert.deepEqual(service.calls, []);
});

Deno.test("too few copies are 503 with the refusals, a lost race is 409, and a wrong cas 412", async () => {
  const { service, json } = setup();
  service.storeOutcome = {
    outcome: "too_few",
    isFull: false,
    acknowledged: 2,
    wanted: 5,
    refusals: [{ code: 205, text: "v is too big", nodes: 3 }],
    isPublished: false,
  };
  const few = await json("/network/store", postRaw(), 503);
  assert.deepEqual(
    [few.acknowledged, few.min_replicas, few.refusals, few.kept_published],
    [2, 5, [{ code: 205, text: "v is too big", nodes: 3 }], false],
  );
  assert.match(few.detail, /^2 of the 5 required nodes .*3 × 205 v is too big.* expire.* not keep/);
  service.storeOutcome = { ...service.storeOutcome, isPublished: true };
  const before = await json("/network/store", postRaw(), 503);
  assert.equal(before.kept_published, true);
  assert.match(before.detail, /Earlier versions stay published/);
  service.storeOutcome = { outcome: "overtaken", seq: 8 };
  assert.equal((await json("/network/store?key=k&cas=7", postRaw(), 409)).seq, 8);
  service.storeOutcome = { outcome: "cas_mismatch", seq: 9 };
  assert.equal((await json("/network/store?key=k&cas=7", postRaw(), 412)).seq, 9);
});

Deno.test("GET /data/{hash}?replicas=1 returns the holders", async () => {
  const { service, json } = setup();
  const hash = service.hold("value", true);
  const body = await json(`/data/${hash}?replicas=1&key=k`);
  assert.deepEqual(Replicas.parse(body), body);
  assert.deepEqual(body, {
    hash,
    kind: "mutable",
    seq: 7,
    holders: [
      { node_id: NODE_ID, address: null, seq: 7, age_s: 12.5 },
      { node_id: PEER_A, address: "192.168.1.10:8000", seq: 7, age_s: null },
    ],
    count: 2,
    wanted: 20,
    parts: null,
  });
  assert.deepEqual(service.calls.at(-1), ["replicas", hash, "k"]);
  const parts = { pieces: 359, wanted: 2, counted: 40, lost: 1, mean: 1.95 };
  service.replicasOutcome = {
    outcome: "found",
    report: {
      hash,
      kind: "chunked",
      seq: null,
      holders: [],
      count: 0,
      wanted: 20,
      parts,
    },
  };
  const chunked = await json(`/data/${hash}?replicas=true`);
  assert.deepEqual(chunked.parts, parts);
  await json(`/data/${hash}?replicas=2`, {}, 400);
  service.replicasOutcome = null;
  await json(`/data/${STRANGER}?replicas=1`, {}, 404);
  service.replicasOutcome = { outcome: "key_needed" };
  assert.equal((await json(`/data/${hash}?replicas=1`, {}, 404)).key_needed, true);
  service.replicasOutcome = { outcome: "busy" };
  await json(`/data/${hash}?replicas=1`, {}, 503);
});

/** Reads a stream of events block by block. */
function blocks(response: Response) {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  return {
    next: async () => (await reader.read()).value,
    cancel: () => reader.cancel(),
  };
}

const WATCH = { headers: { accept: "text/html, text/event-stream;q=0.9" } };
const version = (seq: number | null) => ({
  seq,
  size: 5,
  public_key: seq === null ? null : "ab",
  value: new Uint8Array(),
});

Deno.test("a watched value sends an event at the start and for each newer version", async () => {
  const { service, request } = setup();
  const hash = "0b".repeat(20);
  service.versions.set(hash, version(3));
  const response = await request(`/data/${hash}?key=k`, WATCH);
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  assert.equal(response.headers.get("cache-control"), "no-store");
  assert.deepEqual(service.calls.at(-1), ["watch", hash, "k", null]);
  const events = blocks(response);
  assert.equal(await events.next(), ": watching\n\n");
  const text = await events.next();
  const match = /^event: value\nid: 3\ndata: (.*)\n\n$/.exec(text!);
  const data = JSON.parse(match![1]);
  assert.deepEqual(ValueEvent.parse(data), data);
  assert.deepEqual(data, {
    hash,
    seq: 3,
    size: 5,
    public_key: "ab",
    at: "2026-04-14T12:00:00Z",
  });
  service.watches.noteVersion(hash, version(3));
  service.watches.noteVersion(hash, version(2));
  service.watches.noteVersion(hash, version(4));
  assert.match((await events.next())!, /^event: value\nid: 4\n/);
  service.watches.close();
  assert.equal(await events.next(), undefined, "the stream ends with the node");
});

Deno.test("with Last-Event-ID only a newer version is sent, and the watch ends with its client", async () => {
  const { service, request, json } = setup();
  const hash = "0c".repeat(20);
  service.versions.set(hash, version(3));
  const headers = { ...WATCH.headers, "last-event-id": "3" };
  const events = blocks(await request(`/data/${hash}`, { headers }));
  await events.next();
  service.watches.noteVersion(hash, version(4));
  assert.match((await events.next())!, /id: 4/);
  await events.cancel();
  assert.equal(service.watches.size, 0);
  for (const id of ["x", "-1", "1.5", "01", "9223372036854775808"]) {
    await json(`/data/${hash}`, { headers: { ...headers, "last-event-id": id } }, 400);
  }
});

Deno.test("over a connection, events arrive one by one, and the watch ends with the connection", async () => {
  const service = new FakeService();
  const api = createApi({ service, config: loadConfig() });
  const server = await serveApi(api, { hostnames: ["127.0.0.1"], port: 0 });
  const hash = "0d".repeat(20);
  service.versions.set(hash, version(1));
  const controller = new AbortController();
  const { signal } = controller;
  const events = blocks(await fetch(`${server.url}/data/${hash}`, { ...WATCH, signal }));
  let text = "";
  while (!text.includes("id: 1")) text += await events.next();
  service.watches.noteVersion(hash, version(2));
  while (!text.includes("id: 2")) text += await events.next();
  controller.abort();
  await assert.rejects(events.next());
  const deadline = Date.now() + 10_000;
  while (service.watches.size > 0) {
    assert.ok(Date.now() < deadline, "still watched");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await server.close();
});

Deno.test("an immutable value sends one event without an id, and then comments", async () => {
  const { service } = setup();
  const hash = service.hold("value");
  service.versions.set(hash, version(null));
  const request = new Request(`http://localhost/data/${hash}`, WATCH);
  const events = blocks(
    await watchResponse(service, request, {
      hash,
      key: null,
      stopping: new AbortController().signal,
      heartbeatMs: 5,
    }),
  );
  await events.next();
  assert.match((await events.next())!, /^event: value\ndata: .*"seq":null/);
  assert.equal(await events.next(), ":\n\n");
  assert.equal(await events.next(), ":\n\n");
  await events.cancel();
});

Deno.test("too many watched values are 503, and HEAD or another Accept header starts no watch", async () => {
  const { service, request, json } = setup();
  for (let i = 0; i < MAX_TARGETS; i++) service.watches.open(`${i}`, null, null);
  const { detail } = await json(`/data/${STRANGER}`, WATCH, 503);
  assert.match(detail, /Too many/);
  assert.equal((await request(`/data/${STRANGER}`, { ...WATCH, method: "HEAD" })).status, 404);
  const accepts = (accept: string) =>
    isEventStream(new Request("http://localhost", { headers: { accept } }));
  assert.ok(accepts("TEXT/Event-Stream"));
  assert.ok(!accepts("*/*") && !accepts("text/plain") && !accepts("text/event-streams"));
  assert.ok(!accepts("text/event-stream;q=0") && !accepts("text/event-stream; q=0.0, text/html"));
});
