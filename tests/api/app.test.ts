// Every route of the API through app.request(): shapes, statuses, and every wrong request.

import assert from "node:assert/strict";
import { z } from "zod";
import { refuses, weightOf } from "../../src/api/accept.ts";
import { createApi } from "../../src/api/app.ts";
import { ProblemDocument } from "../../src/reports/problem.ts";
import { exampleOf } from "../../src/reports/fields.ts";
import { BucketDistribution, Lookup, Peers, PeerSort, Ping } from "../../src/reports/peers.ts";
import { Stats } from "../../src/reports/stats.ts";
import { Stored } from "../../src/reports/values.ts";
import { loadConfig } from "../../src/config.ts";
import { MAX_SEQ, type Seq } from "../../src/krpc/seq.ts";
import type { SignedItem, StoreOutcome } from "../../src/node_service.ts";
import { FakeService, NODE_ID, PEER_A, PEER_B, PEER_C, STRANGER } from "./fake_service.ts";

function setup(env: Record<string, string> = {}, stallMs?: number) {
  const service = new FakeService();
  const logged: unknown[][] = [];
  const log = { error: (...entry: unknown[]) => void logged.push(entry) };
  const app = createApi({ service, config: loadConfig({ env }), log, stallMs });
  // Not app.request(): Deno versions disagree on the type of its RequestInit.
  const request = async (path: string, init?: RequestInit): Promise<Response> =>
    await app.fetch(new Request(`http://localhost${path}`, init));
  return { service, logged, request };
}

/** The JSON body, which has to be of the schema and have no member beyond it. */
async function jsonOf<T extends z.ZodType>(
  response: Response | Promise<Response>,
  status: number,
  schema: T,
): Promise<z.output<T>> {
  response = await response;
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.equal(response.headers.get("content-type"), "application/json");
  const body = JSON.parse(text);
  assert.deepEqual(schema.parse(body), body);
  return body as z.output<T>;
}

/** The problem document, whose status has to be the response's own. */
async function problemOf(response: Response | Promise<Response>, status: number) {
  response = await response;
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  const document = ProblemDocument.parse(JSON.parse(text));
  assert.equal(document.status, status);
  assert.ok(document.title !== "" && document.detail !== "");
  const members: Record<string, unknown> = document;
  return { detail: document.detail, members, headers: response.headers };
}

const post = (body: BodyInit | null, contentType?: string): RequestInit => ({
  method: "POST",
  body,
  headers: contentType === undefined ? {} : { "content-type": contentType },
});
const postJson = (body: unknown) =>
  post(typeof body === "string" ? body : JSON.stringify(body), "application/json");
const bytes = (text: string) => new TextEncoder().encode(text);

const base64 = (length: number, fill = 1) => btoa(String.fromCharCode(fill).repeat(length));
const SIGNED = { k: base64(32, 0xab), sig: base64(64), seq: 3, v: btoa("mine") };
const putJson = (body: unknown): RequestInit => ({ ...postJson(body), method: "PUT" });

Deno.test("GET /network/peers lists peers, table size and distribution", async () => {
  const { request } = setup();
  const body = await jsonOf(request("/network/peers"), 200, Peers);
  assert.equal(body.node_id, NODE_ID);
  assert.deepEqual(body.peers[0], {
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
  });
  assert.deepEqual(Object.entries(body.bucket_distribution), [
    ["0-20", 2],
    ["21-40", 1],
    ["41-60", 0],
    ["61-80", 0],
    ["81-100", 0],
    ["101-120", 0],
    ["121-140", 2],
    ["141-160", 7],
  ]);
  assert.equal(body.routing_table_size, 12);
});

Deno.test("GET /network/peers passes sort, health and limit to the node", async () => {
  const { service, request } = setup();
  const selectionOf = async (query: string) => {
    service.calls.length = 0;
    await jsonOf(request(`/network/peers${query}`), 200, Peers);
    return service.calls[0][1];
  };
  assert.deepEqual(await selectionOf(""), { sort: "score" });
  for (const sort of PeerSort.options) {
    assert.deepEqual(await selectionOf(`?sort=${sort}`), { sort });
  }
  assert.deepEqual(await selectionOf("?health=degraded"), { health: "degraded", sort: "score" });
  assert.deepEqual(await selectionOf("?limit=2&sort=distance"), { limit: 2, sort: "distance" });
  assert.deepEqual(await selectionOf("?limit=10000"), { limit: 10_000, sort: "score" });
});

Deno.test("an unknown query parameter is 400, and changes nothing", async () => {
  const { service, request } = setup();
  const store = { method: "POST", body: "text", headers: { "content-type": "text/plain" } };
  const unknown: [string, string, RequestInit?][] = [
    ["/network/store?key=here&cass=99", "cass", store],
    ["/network/peers?limit=1&sorted=score", "sorted"],
    ["/network/stats?verbose", "verbose"],
    [`/data/${PEER_A}?keys=here`, "keys"],
    [`/network/pin/${PEER_A}?key=here`, "key", { method: "DELETE" }],
    ["/ws?wach=1", "wach"],
  ];
  for (const [path, name, init] of unknown) {
    const response = await request(path, init);
    assert.equal(response.status, 400, path);
    const { detail } = await response.json();
    assert.ok(detail.startsWith(`query parameter ${name}: unknown`), detail);
  }
  assert.deepEqual(service.calls, []);
});

Deno.test("GET /network/peers refuses bad parameters", async () => {
  const { request } = setup();
  for (
    const query of [
      "health=well",
      "health=",
      "health=healthy&health=degraded",
      "sort=name",
      "sort=__proto__",
      "limit=0",
      "limit=-1",
      "limit=10001",
      "limit=1.5",
      "limit=1e2",
      "limit=",
      "limit=1&limit=2",
    ]
  ) {
    const { detail } = await problemOf(request(`/network/peers?${query}`), 400);
    assert.ok(detail.startsWith(`query parameter ${query.split("=")[0]}: `), detail);
    if (query.includes("&")) assert.match(detail, /: given twice\.$/);
  }
});

Deno.test("an empty routing table is a valid answer", async () => {
  const { service, request } = setup();
  service.peerList = [];
  service.distribution = exampleOf(BucketDistribution);
  service.distribution = { ...service.distribution, "141-160": 0 };
  const body = await jsonOf(request("/network/peers"), 200, Peers);
  assert.deepEqual([body.peers, body.routing_table_size], [[], 0]);
});

Deno.test("GET /network/ping?address=: pong, no address, not allowed, timeout, no address at all", async () => {
  const { service, request } = setup();
  const at = (address: string) => request(`/network/ping?address=${encodeURIComponent(address)}`);
  const pong = await jsonOf(at("192.168.1.10:8000"), 200, Ping);
  assert.deepEqual([pong.node_id, pong.address], [PEER_A, "192.168.1.10:8000"]);
  await jsonOf(at("[2001:DB8::1]:80"), 200, Ping);
  assert.deepEqual(service.calls.at(-1), ["pingAddress", "2001:db8::1:80"]);
  assert.match((await problemOf(at("nowhere.example:1"), 404)).detail, /no address/);
  assert.match((await problemOf(at("[2001:db8::2]:1"), 404)).detail, /does not use IPv6/);
  assert.match((await problemOf(at("192.0.2.1:1"), 403)).detail, /192\.0\.2\.1:1 .*--allow-net/);
  assert.match((await problemOf(at("192.0.2.2:1"), 504)).detail, /192\.0\.2\.2:1/);
  for (const wrong of ["", "x", "x:0", "x:65536", "1.2.3:80", "a b:80", "x:".repeat(500)]) {
    assert.match((await problemOf(at(wrong), 400)).detail, /address/, wrong.slice(0, 20));
  }
  await problemOf(request("/network/ping"), 400);
});

Deno.test("GET /network/ping/{node_id}: pong, unknown, timeout", async () => {
  const { service, request } = setup();
  assert.deepEqual(await jsonOf(request(`/network/ping/${PEER_A}`), 200, Ping), {
    node_id: PEER_A,
    address: "192.168.1.10:8000",
    rtt_ms: 12.4,
    health: "healthy",
    via: "punched",
  });
  await jsonOf(request(`/network/ping/${PEER_A.toUpperCase()}`), 200, Ping);
  assert.deepEqual(service.calls.at(-1), ["ping", PEER_A], "ids are passed on in lower case");
  assert.match((await problemOf(request(`/network/ping/${STRANGER}`), 404)).detail, /eeee/);
  assert.match((await problemOf(request(`/network/ping/${PEER_B}`), 504)).detail, /192\.168/);
});

Deno.test("GET /network/find/{node_id} returns the lookup, and its queries with ?trace=1", async () => {
  const { request } = setup();
  const path = `/network/find/${PEER_A}`;
  const plain = await jsonOf(request(path), 200, Lookup);
  assert.deepEqual(Object.keys(plain), [
    "target",
    "found",
    "nodes",
    "hops",
    "queries",
    "elapsed_ms",
  ]);
  assert.deepEqual([plain.target, plain.found, plain.nodes.length], [PEER_A, true, 3]);
  const traced = await jsonOf(request(`${path}?trace=1`), 200, Lookup);
  assert.deepEqual(traced.trace?.[1], {
    node_id: null,
    address: "boot.example.org:8000",
    hop: 2,
    started_ms: 13,
    rtt_ms: null,
    outcome: "timeout",
  });
  assert.deepEqual(await jsonOf(request(`${path}?trace=0`), 200, Lookup), plain);
  for (const trace of ["2", "", "yes", "1&trace=1"]) {
    await problemOf(request(`${path}?trace=${trace}`), 400);
  }
});

Deno.test("an id or hash that is not 40 hex digits is 400 everywhere", async () => {
  const { service, request } = setup();
  const bad = ["abc", "g".repeat(40), "a".repeat(39), "a".repeat(41), "%00".repeat(40), "%ff%zz"];
  for (const id of bad) {
    for (const path of ["/network/ping/", "/network/find/", "/data/"]) {
      assert.match((await problemOf(request(path + id), 400)).detail, /40 hex digits/);
    }
    await problemOf(request(`/data/${id}`, putJson(SIGNED)), 400);
    assert.equal((await request(`/data/${id}`, { method: "HEAD" })).status, 400);
  }
  assert.deepEqual(service.calls, []);
});

Deno.test("GET /network/stats has every group of figures, and does not show the token", async () => {
  const { request } = setup({ API_TOKEN: "hunter2", BOOTSTRAP_NODES: "a:1,[::1]:2" });
  const response = await request("/network/stats");
  assert.doesNotMatch(await response.clone().text(), /hunter2/);
  const body = await jsonOf(response, 200, Stats);
  assert.deepEqual(body.config, {
    p2p_port: 8000,
    p2p_host: "0.0.0.0",
    bootstrap_nodes: ["a:1", "[::1]:2"],
    k_bucket_size: 20,
    min_replicas: 1,
    max_per_subnet: 2,
    deny_list: null,
    denied: 0,
    alpha: 3,
    health_check_interval: 60,
    api_host: "127.0.0.1",
    api_port: 8080,
    p2p_interface: null,
    p2p_external: [],
    p2p_up_limit: null,
    p2p_down_limit: null,
    p2p_monthly_budget: null,
    api_socket: null,
    api_socket_mode: "0600",
    api_socket_group: null,
    api_token: true,
    api_tokens: null,
    api_open_reads: false,
    api_allowed_hosts: [],
    api_trusted_proxies: [],
    api_rate_limit: 200,
    api_send_rate_limit: 50,
    api_max_connections: 1000,
    data_dir: "./data",
    log_level: "info",
    log_format: null,
    max_value_size: 16777216,
    storage_limit: 1073741824,
    nat: "auto",
    beacons: "auto",
    read_only: false,
    relay: 2048,
    allow_net: false,
  });
  const { families, mapping, pinhole, ...nat } = body.nat;
  assert.deepEqual(nat, {
    mode: "auto",
    external_address: "203.0.113.9:41000",
    votes: 12,
    type: "endpoint_independent",
    reachable: false,
    read_only: true,
    introducers: 6,
  });
  assert.deepEqual([mapping?.status, pinhole], ["mapped", null]);
  assert.equal(families[0].evidence.voted_at, "2026-04-14T10:29:00Z");
  assert.deepEqual([families[0].evidence.probes, families[0].evidence.missed], [3, 3]);
  assert.deepEqual(body.traffic.in.by_type["ping.query"], { messages: 4, bytes: 300 });
  assert.deepEqual(body.lookups.latency_ms, { mean: 40, p50: 38, p95: null });
  assert.equal(body.started_at, "2026-04-14T08:00:00Z");
});

Deno.test("GET /healthz and /readyz", async () => {
  const { service, request } = setup();
  assert.deepEqual(
    await jsonOf(request("/healthz"), 200, z.strictObject({ status: z.literal("ok") })),
    {
      status: "ok",
    },
  );
  await jsonOf(
    request("/readyz"),
    200,
    z.strictObject({ ready: z.literal(true), reason: z.string() }),
  );
  service.ready = { ready: false, reason: "No peer has answered yet." };
  const problem = await problemOf(request("/readyz"), 503);
  assert.deepEqual([problem.members.ready, problem.detail], [false, "No peer has answered yet."]);
  await jsonOf(request("/healthz"), 200, z.strictObject({ status: z.literal("ok") }));
});

Deno.test("POST /network/store: a JSON string is stored as its bytes", async () => {
  const { service, request } = setup();
  const response = await request("/network/store", postJson({ value: "grüße" }));
  const location = response.headers.get("location");
  const body = await jsonOf(response, 201, Stored);
  assert.deepEqual(body, {
    hash: body.hash,
    kind: "immutable",
    key: null,
    seq: null,
    size: 7,
    replicas: 2,
    nodes: [NODE_ID, PEER_A],
    lives_until: "2026-04-15T10:29:55Z",
    this_node_only: false,
    elapsed_ms: 80.25,
  });
  assert.equal(location, `/data/${body.hash}`);
  assert.deepEqual(service.calls, [["store", bytes("grüße"), null]]);
});

Deno.test("POST /network/store: any other JSON value is stored as its text", async () => {
  const { service, request } = setup();
  const texts: [string, string][] = [
    ['{"value": {"b": [1, 2], "a": null}}', '{"b":[1,2],"a":null}'],
    ['{"value":12345678901234567890.10}', "12345678901234567890.10"],
    ['{"value":true}', "true"],
    ['{"value":null}', "null"],
    ['{"value":{"__proto__":{"x":1}}}', '{"__proto__":{"x":1}}'],
    ['\n{"encoding":"utf8" ,"value" :[ "a b\\"] " ] }', '["a b\\"] "]'],
    [
      '{"value":' + "[".repeat(50_000) + "]".repeat(50_000) + "}",
      "[".repeat(50_000) + "]".repeat(50_000),
    ],
  ];
  for (const [body, stored] of texts) {
    await jsonOf(request("/network/store", postJson(body)), 201, Stored);
    assert.deepEqual(service.calls.pop(), ["store", bytes(stored), null]);
  }
});

Deno.test("POST /network/store: base64, with and without padding", async () => {
  const { service, request } = setup();
  for (const value of ["/+8=", "/+8"]) {
    const body = postJson({ value, encoding: "base64" });
    await jsonOf(request("/network/store", body), 201, Stored);
    assert.deepEqual(service.calls.pop(), ["store", new Uint8Array([0xff, 0xef]), null]);
  }
});

Deno.test("POST /network/store: any other content type is the raw bytes, with ?key=", async () => {
  const { service, request } = setup();
  const raw = new Uint8Array([0, 255, 10]);
  const types = [undefined, "application/octet-stream", "text/plain", "garbage", "application/xml"];
  for (const type of types) {
    await jsonOf(request("/network/store", post(raw, type)), 201, Stored);
    assert.deepEqual(service.calls.pop(), ["store", raw, null]);
  }
  const body = await jsonOf(
    request("/network/store?key=a%20b%2F%C3%BC+", post('{"value":1}', "text/plain")),
    201,
    Stored,
  );
  assert.deepEqual(service.calls.pop(), ["store", bytes('{"value":1}'), "a b/ü "]);
  assert.deepEqual([body.kind, body.key, body.seq], ["mutable", "a b/ü ", 1]);
  await jsonOf(request("/network/store", post(null)), 201, Stored);
  assert.deepEqual(service.calls.pop(), ["store", new Uint8Array(), null]);
});

Deno.test("POST /network/store: storing under the same key raises seq", async () => {
  const { request } = setup();
  for (const seq of [1, 2]) {
    const body = await jsonOf(
      request("/network/store", postJson({ value: "v", key: "k" })),
      201,
      Stored,
    );
    assert.deepEqual([body.seq, body.key, body.kind], [seq, "k", "mutable"]);
  }
  const { seq } = await jsonOf(
    request("/network/store?key=k", postJson({ value: "v" })),
    201,
    Stored,
  );
  assert.equal(seq, 3, "?key= goes with JSON as well");
});

Deno.test("POST /network/store: bodies of the wrong shape are 400", async () => {
  const { service, request } = setup();
  const wrong: [unknown, RegExp][] = [
    ["", /not JSON/],
    ["{", /not JSON/],
    ["{'value':1}", /not JSON/],
    ['{"value":1}x', /not JSON/],
    ['{"value":NaN}', /not JSON/],
    ["null", /^body: /],
    ["[]", /^body: /],
    ['"text"', /^body: /],
    [{}, /^body member value: is missing/],
    [{ key: "k" }, /^body member value: is missing/],
    [{ value: 1, keys: "k" }, /^body: .*keys/],
    ['{"value":1,"__proto__":{"key":"k"}}', /^body: .*__proto__/],
    [{ value: 1, key: 5 }, /^body member key: /],
    [{ value: 1, key: null }, /^body member key: /],
    [{ value: 1, key: "" }, /key is empty/],
    [{ value: 1, key: "ü".repeat(33) }, /66 bytes/],
    ['{"value":1,"key":"\\ud800"}', /surrogate/],
    [{ value: "a", encoding: "hex" }, /^body member encoding: /],
    [{ value: 5, encoding: "base64" }, /expected base64/],
    [{ value: "a b", encoding: "base64" }, /expected base64/],
    [{ value: "a", encoding: "base64" }, /expected base64/],
    [{ value: "YQ==YQ==", encoding: "base64" }, /expected base64/],
    [{ value: "YR==", encoding: "base64" }, /expected base64/],
    [{ value: "_-8=", encoding: "base64" }, /expected base64/],
    ['{"value":"\\udc00"}', /surrogate/],
  ];
  for (const [body, detail] of wrong) {
    assert.match((await problemOf(request("/network/store", postJson(body)), 400)).detail, detail);
  }
  const latin1 = post(new Uint8Array([...bytes('{"value":"'), 0xe9, ...bytes('"}')]));
  latin1.headers = { "content-type": "application/json" };
  assert.match((await problemOf(request("/network/store", latin1), 400)).detail, /UTF-8/);
  assert.deepEqual(service.calls, []);
});

Deno.test("POST /network/store: a key in body and query, twice, empty, long or garbled is 400", async () => {
  const { service, request } = setup();
  const both = request("/network/store?key=a", postJson({ value: 1, key: "a" }));
  assert.match((await problemOf(both, 400)).detail, /both/);
  const queries = [
    "key=",
    "key=a&key=b",
    `key=${"a".repeat(65)}`,
    "key=%ff",
    "key=%e0%a4",
    "key=%",
  ];
  for (const query of queries) {
    await problemOf(request(`/network/store?${query}`, post("raw")), 400);
  }
  assert.deepEqual(service.calls, []);
  const longest = "k".repeat(64);
  await jsonOf(request(`/network/store?key=${longest}`, post("raw")), 201, Stored);
});

Deno.test("POST /network/store: JSON in another charset, and compressed bodies, are 415", async () => {
  const { request } = setup();
  for (const type of ["application/json; charset=latin1", "application/json;charset=utf-16"]) {
    await problemOf(request("/network/store", post('{"value":1}', type)), 415);
  }
  for (
    const type of ["Application/JSON", 'application/json; charset="UTF-8"', "application/json;"]
  ) {
    await jsonOf(request("/network/store", post('{"value":1}', type)), 201, Stored);
  }
  const headers = { "content-encoding": "gzip" };
  await problemOf(request("/network/store", { method: "POST", body: "x", headers }), 415);
});

/** A body that never ends, of which `taken` counts the bytes that were asked for. */
function endless() {
  const counter = { taken: 0, cancelled: false };
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      counter.taken += 1000;
      controller.enqueue(new Uint8Array(1000).fill(0x61));
    },
    cancel: () => void (counter.cancelled = true),
  });
  return { body, counter };
}

Deno.test("POST /network/store: a form is 415, with advice", async () => {
  const { request } = setup();
  const body = new FormData();
  body.set("file", new File(["Hello World!"], "hello.txt"));
  const response = await request("/network/store", { method: "POST", body });
  assert.equal(response.status, 415);
  assert.match((await response.json()).detail, /--data-binary/);
});

Deno.test("a body over the limit is 413, and is not read further", async () => {
  const { service, request } = setup({ MAX_VALUE_SIZE: "2000" });
  const cut = async (path: string, method: string, type: string | undefined, limit: number) => {
    const { body, counter } = endless();
    const headers: HeadersInit = type === undefined ? {} : { "content-type": type };
    const problem = await problemOf(request(path, { method, body, headers }), 413);
    assert.equal(problem.members.limit, limit);
    assert.ok(counter.taken <= limit + 3000, `${counter.taken} bytes taken`);
    assert.ok(counter.cancelled);
  };
  await cut("/network/store", "POST", undefined, 2000);
  await cut("/network/store", "POST", "application/json", 2 * 2000 + 4096);
  await cut(`/data/${PEER_A}`, "PUT", "application/json", 8192);

  const declared = { method: "POST", body: "x", headers: { "content-length": "2001" } };
  await problemOf(request("/network/store", declared), 413);
  assert.deepEqual(service.calls, []);
});

Deno.test("a value over the limit is 413 in every encoding, and one at the limit is stored", async () => {
  const { service, request } = setup({ MAX_VALUE_SIZE: "30" });
  const sized = (n: number): RequestInit[] => [
    post("x".repeat(n)),
    postJson({ value: "x".repeat(n) }),
    postJson({ value: base64(n), encoding: "base64" }),
    postJson({ value: ["x".repeat(n - 4)] }),
  ];
  for (const init of sized(31)) {
    const { members } = await problemOf(request("/network/store", init), 413);
    assert.equal(members.limit, 30);
  }
  assert.deepEqual(service.calls, []);
  for (const init of sized(30)) {
    await jsonOf(request("/network/store", init), 201, Stored);
  }
});

Deno.test("a body that stalls is 408, one that breaks off is 400", async () => {
  const { request } = setup({}, 50);
  let cancelled = false;
  const stalled = new ReadableStream({ cancel: () => void (cancelled = true) });
  await problemOf(request("/network/store", post(stalled)), 408);
  assert.ok(cancelled);
  const broken = new ReadableStream({ pull: (c) => c.error(new Error("reset")) });
  assert.match((await problemOf(request("/network/store", post(broken)), 400)).detail, /ended/);
});

const OUTCOMES: [StoreOutcome, number, RegExp, Record<string, unknown>][] = [
  [{ outcome: "too_large", size: 1200, limit: 1000 }, 413, /1200 bytes, .*; at most 1000/, {
    size: 1200,
    limit: 1000,
  }],
  [{ outcome: "key_too_long", size: 70, limit: 64 }, 400, /70 bytes/, { limit: 64 }],
  [{ outcome: "seq_too_old", seq: 9 }, 409, /seq 9/, { seq: 9 }],
  [{ outcome: "cas_mismatch", seq: 8 }, 412, /seq is 8/, { seq: 8 }],
  [{ outcome: "seq_exhausted", seq: 9 }, 409, /seq 9, the largest/, { seq: 9 }],
  [{ outcome: "bad_signature" }, 400, /signature/, {}],
  [{ outcome: "wrong_target", hash: PEER_B }, 400, new RegExp(PEER_B), { hash: PEER_B }],
  [{ outcome: "unreachable", detail: "No node answered." }, 503, /^No node answered\.$/, {}],
  [{ outcome: "busy", detail: "Too many." }, 503, /^Too many\.$/, {}],
];

Deno.test("each way in which a store can fail has its status", async () => {
  const { service, request } = setup();
  for (const [outcome, status, detail, members] of OUTCOMES) {
    service.storeOutcome = outcome;
    const requests: [string, RequestInit][] = [
      ["/network/store", post("x")],
      [`/data/${PEER_A}`, putJson(SIGNED)],
    ];
    for (const [path, init] of requests) {
      const problem = await problemOf(request(path, init), status);
      assert.match(problem.detail, detail);
      for (const [name, value] of Object.entries(members)) {
        assert.deepEqual(problem.members[name], value);
      }
    }
  }
});

Deno.test("PUT /data/{hash} passes the signed item to the node", async () => {
  const { service, request } = setup();
  const body = await jsonOf(
    request(`/data/${PEER_C.toUpperCase()}`, putJson({ ...SIGNED, salt: btoa("s"), cas: 2 })),
    200,
    Stored,
  );
  assert.deepEqual([body.hash, body.kind, body.seq], [PEER_C, "mutable", 3]);
  assert.deepEqual(service.calls.pop(), ["storeSigned", PEER_C, {
    publicKey: new Uint8Array(32).fill(0xab),
    signature: new Uint8Array(64).fill(1),
    seq: 3,
    salt: bytes("s"),
    value: bytes("mine"),
    cas: 2,
  }]);
  await request(`/data/${PEER_C}`, putJson({ ...SIGNED, salt: "" }));
  const item = service.calls.pop()?.[2] as { salt: unknown; cas: unknown };
  assert.deepEqual([item.salt, item.cas], [null, null]);
});

Deno.test("PUT /data/{hash}: items of the wrong shape are 400", async () => {
  const { service, request } = setup();
  const { sig: _, ...unsigned } = SIGNED;
  const wrong: [unknown, RegExp][] = [
    ["{", /not JSON/],
    [[], /^body: /],
    [unsigned, /^body member sig: /],
    [{ ...SIGNED, k: base64(31) }, /^body member k: expected the base64 of 32 bytes/],
    [{ ...SIGNED, sig: base64(63) }, /^body member sig: .*64 bytes/],
    [{ ...SIGNED, k: "!" }, /^body member k: /],
    [{ ...SIGNED, salt: base64(65) }, /^body member salt: .*0 to 64 bytes/],
    [{ ...SIGNED, v: "not base64" }, /^body member v: expected base64/],
    [{ ...SIGNED, v: { a: 1 } }, /^body member v: /],
    [{ ...SIGNED, seq: -1 }, /^body member seq: /],
    [{ ...SIGNED, seq: 1.5 }, /^body member seq: /],
    [{ ...SIGNED, seq: "1" }, /^body member seq: /],
    [{ ...SIGNED, seq: "09007199254740993" }, /^body member seq: /],
    [{ ...SIGNED, seq: 2 ** 63 }, /^body member seq: expected a whole number from 0 to 2\^63 - 1/],
    [{ ...SIGNED, seq: "9223372036854775808" }, /^body member seq: /],
    [{ ...SIGNED, seq: 1e300 }, /^body member seq: /],
    [{ ...SIGNED, cas: null }, /^body member cas: /],
    [{ ...SIGNED, token: "x" }, /^body: .*token/],
  ];
  for (const [body, detail] of wrong) {
    assert.match((await problemOf(request(`/data/${PEER_A}`, putJson(body)), 400)).detail, detail);
  }
  assert.deepEqual(service.calls, []);
});

Deno.test("PUT /data/{hash}: seq and cas up to 2^63 - 1 are read exactly, as numbers and as strings", async () => {
  const { service, request } = setup();
  const body = (digits: string) =>
    JSON.stringify({ ...SIGNED, seq: 0, cas: 0 })
      .replace(/"(seq|cas)":0/g, `"$1":${digits}`);
  const cases: [string, Seq][] = [
    ["9007199254740991", 2 ** 53 - 1],
    ["9007199254740993", 2n ** 53n + 1n],
    ["9223372036854775807", MAX_SEQ],
    ['"9223372036854775807"', MAX_SEQ],
  ];
  for (const [digits, seq] of cases) {
    const init = { ...post(body(digits), "application/json"), method: "PUT" };
    const response = await request(`/data/${PEER_A}`, init);
    assert.equal(response.status, 200);
    assert.match(await response.text(), new RegExp(`"seq":${seq},`));
    const [, , item] = service.calls.at(-1) as [string, string, SignedItem];
    assert.deepEqual([item.seq, item.cas], [seq, seq]);
    const read = await request(`/data/${PEER_A}`);
    assert.equal(read.headers.get("x-seq"), `${seq}`);
    await read.body?.cancel();
  }
  const minus = { ...post(body("-0"), "application/json"), method: "PUT" };
  await problemOf(request(`/data/${PEER_A}`, minus), 400);
});

Deno.test("PUT /data/{hash} accepts only JSON", async () => {
  const { request } = setup();
  for (const type of ["text/plain", "application/octet-stream", "application/jsonx", undefined]) {
    const init = { ...post(JSON.stringify(SIGNED), type), method: "PUT" };
    await problemOf(request(`/data/${PEER_A}`, init), 415);
  }
});

Deno.test("GET /data/{hash} returns a stored value, and 404 for any other", async () => {
  const { request } = setup();
  const { hash } = await jsonOf(
    request("/network/store", postJson({ value: { a: [1, "ü"] } })),
    201,
    Stored,
  );
  const response = await request(`/data/${hash.toUpperCase()}`);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.equal(await response.text(), '{"a":[1,"ü"]}');
  assert.match((await problemOf(request(`/data/${STRANGER}`), 404)).detail, /^No value e/);
  const head = await request(`/data/${STRANGER}`, { method: "HEAD" });
  assert.deepEqual([head.status, await head.text()], [404, ""]);
});

Deno.test("the error for a bad request is a sentence, not a validator's message", async () => {
  const { request } = setup();
  const detail = async (path: string, init?: RequestInit) =>
    (await problemOf(request(path, init), 400)).detail;
  assert.equal(await detail("/network/ping"), "query parameter address: is missing.");
  assert.match(
    await detail("/network/peers?sort=x"),
    /^query parameter sort: expected one of \w+,/,
  );
  assert.equal(
    await detail("/network/store", postJson({ value: 1, min_replicas: 0 })),
    "body member min_replicas: expected 1 or more.",
  );
  assert.equal(await detail("/network/store", postJson([])), "body: expected an object.");
  assert.equal(
    await detail("/network/store", postJson({ value: 1, keys: "k" })),
    'body: unknown: "keys".',
  );
});

Deno.test("HEAD returns the length of the response to GET", async () => {
  const { request } = setup();
  for (const path of ["/", "/healthz", "/network/stats", "/docs"]) {
    const head = await request(path, { method: "HEAD" });
    const body = await (await request(path)).arrayBuffer();
    assert.equal(head.headers.get("content-length"), `${body.byteLength}`, path);
    assert.equal(await head.text(), "");
  }
});

Deno.test("GET /data/{hash}?key= passes the key to the node, and without a needed key the 404 says so", async () => {
  const { service, request } = setup();
  const hash = service.hold("mine", true);
  service.keyNeeded.add(hash);
  const problem = await problemOf(request(`/data/${hash}`), 404);
  assert.match(problem.detail, /add \?key=/);
  assert.equal(problem.members.key_needed, true);
  assert.equal(await (await request(`/data/${hash}?key=k%20`)).text(), "mine");
  assert.deepEqual(service.calls.pop(), ["fetch", hash, "k "]);
  for (const query of ["key=", "key=a&key=b", "key=%ff", `key=${"a".repeat(65)}`]) {
    await problemOf(request(`/data/${hash}?${query}`), 400);
  }
});

Deno.test("unknown paths are 404", async () => {
  const { request } = setup();
  for (
    const path of [
      "/nope",
      "/network",
      "/network/",
      "/network/peers/",
      "/network/ping/",
      `/network/ping/${PEER_A}/x`,
      "/data",
      "/data/",
      "//network/peers",
      "/NETWORK/PEERS",
      "/__proto__",
    ]
  ) {
    for (const method of ["GET", "POST", "DELETE"]) await problemOf(request(path, { method }), 404);
  }
});

Deno.test("a known path with another method is 405, with the allowed methods", async () => {
  const { service, request } = setup();
  const routes: [string, string[], string][] = [
    ["/network/peers", ["PUT", "DELETE", "PATCH", "OPTIONS"], "GET, HEAD, POST"],
    ["/network/denied", ["PUT", "PATCH"], "GET, HEAD, POST, DELETE"],
    [`/network/ping/${PEER_A}`, ["POST", "DELETE"], "GET, HEAD"],
    [`/network/find/${PEER_A}`, ["POST"], "GET, HEAD"],
    [`/network/peers/${PEER_A}`, ["POST", "DELETE"], "GET, HEAD"],
    ["/network/stats", ["POST"], "GET, HEAD"],
    ["/network/store", ["GET", "PUT", "DELETE"], "POST"],
    ["/network/transfers", ["POST"], "GET, HEAD"],
    [`/data/${PEER_A}`, ["POST", "PATCH"], "PUT, DELETE, GET, HEAD"],
    ["/network/published", ["POST", "DELETE"], "GET, HEAD"],
    ["/healthz", ["POST"], "GET, HEAD"],
    ["/readyz", ["POST"], "GET, HEAD"],
    ["/openapi.json", ["POST"], "GET, HEAD"],
  ];
  for (const [path, methods, allow] of routes) {
    for (const method of methods) {
      const { headers } = await problemOf(request(path, { method }), 405);
      assert.equal(headers.get("allow"), allow);
    }
  }
  assert.equal((await request("/network/store", { method: "HEAD" })).status, 405);
  assert.deepEqual(service.calls, []);
});

Deno.test("an error in the node is logged and answered with 500, without details", async () => {
  const { service, request, logged } = setup();
  service.failure = new Error("secret path /home/x\n    at somewhere");
  const requests: [string, RequestInit?][] = [
    ["/network/peers"],
    ["/network/stats"],
    [`/network/ping/${PEER_A}`],
    [`/network/find/${PEER_A}`],
    [`/data/${PEER_A}`],
    ["/network/store", post("x")],
    [`/data/${PEER_A}`, putJson(SIGNED)],
  ];
  for (const [path, init] of requests) {
    const problem = await problemOf(request(path, init), 500);
    assert.doesNotMatch(JSON.stringify(problem), /secret|at somewhere|\.ts/);
    const [message, properties] = logged.pop() as [string, Record<string, unknown>];
    assert.equal(message, "{method} {path} failed: {error}");
    assert.deepEqual([properties.path, properties.error], [path, service.failure]);
  }
  service.failure = null;
  assert.equal((await request("/network/peers")).status, 200);
});

Deno.test("too many bodies at a time are 503, and there is room again after they have been read", async () => {
  const { service, request } = setup({ MAX_VALUE_SIZE: "1000" });
  const budget = 4 * (2 * 1000 + 4096);
  const opened: ReadableStreamDefaultController<Uint8Array>[] = [];
  const open = () => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        opened.push(controller);
        controller.enqueue(bytes('{"value":1}'.padEnd(1000)));
      },
    });
    return request("/network/store", post(body, "application/json"));
  };
  const held = Array.from({ length: Math.floor(budget / 1000) }, open);
  await new Promise((resolve) => setTimeout(resolve, 0));
  const { headers } = await problemOf(open(), 503);
  assert.equal(headers.get("retry-after"), "1");
  opened.slice(0, held.length).forEach((controller) => controller.close());
  for (const response of await Promise.all(held)) assert.equal(response.status, 201);
  assert.equal((await request("/network/store", post("x"))).status, 201);
  assert.equal(service.calls.length, held.length + 1);
});

Deno.test("responses forbid caching, guessing of the type, and embedding in other sites", async () => {
  const { request } = setup();
  for (const path of ["/network/peers", "/nope", "/healthz"]) {
    const { headers } = await request(path);
    assert.equal(headers.get("cache-control"), "no-store");
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.equal(headers.get("cross-origin-resource-policy"), "same-origin");
    assert.equal(headers.get("access-control-allow-origin"), null);
  }
});

Deno.test("an answer of a type that the Accept header refuses is 406, and names the type", async () => {
  const { service, request } = setup();
  service.values.set(STRANGER, {
    bytes: bytes("text"),
    isBencoded: false,
    publicKey: null,
    seq: null,
  } as never);
  const refused: [path: string, type: string][] = [
    ["/network/stats", "application/json"],
    ["/openapi.json", "application/json"],
    ["/docs", "text/html"],
    ["/", "text/html"],
    [`/data/${STRANGER}`, "text/plain"],
  ];
  for (const accept of ["text/plain;q=0", "*/*;q=0"]) {
    await problemOf(request("/metrics", { headers: { accept } }), 406);
  }
  for (const [path, type] of refused) {
    const [main] = type.split("/");
    for (const accept of [`${type};q=0`, `${main}/*;q=0, */*`, "image/png, */*; q=0.000"]) {
      const { detail } = await problemOf(request(path, { headers: { accept } }), 406);
      assert.match(detail, new RegExp(`send Accept: ${type}\\.$`));
    }
    for (const accept of ["", "*/*", "image/png", BROWSER, `${type}, */*;q=0`, `${main}/*;q=0.1`]) {
      const response = await request(path, { headers: { accept } });
      await response.body?.cancel();
      assert.equal(response.status, 200, `${path} ${accept}`);
    }
  }
});

/** The Accept header of a browser that opens a page. */
const BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

Deno.test("a request that changes something is refused before it runs", async () => {
  const { service, request } = setup();
  const init = { ...postJson({ value: "x" }), headers: { accept: "application/json;q=0" } };
  await problemOf(request("/network/store", init), 406);
  assert.deepEqual(service.calls, []);
});

Deno.test("the most specific range of an Accept header decides", () => {
  const JSON_TYPE = "application/json";
  assert.equal(weightOf("*/*;q=0.1, application/*;q=0.2, application/json;q=0.3", JSON_TYPE), 0.3);
  assert.equal(weightOf("*/*;q=0.1, application/*;q=0.2", JSON_TYPE), 0.2);
  assert.equal(weightOf("text/html", JSON_TYPE), undefined);
  assert.ok(!refuses("application/json, application/*;q=0, */*;q=0", JSON_TYPE));
  assert.ok(refuses("APPLICATION/JSON ; Q=0", JSON_TYPE));
  // A malformed weight, or one of some other form of the type, refuses nothing.
  assert.ok(!refuses("application/json;q=-1, application/json;q=none", JSON_TYPE));
  assert.ok(!refuses("application/json;version=2;q=0", JSON_TYPE));
});
