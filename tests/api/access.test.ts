// Tests the access control on every route: tokens, hosts, origins and rates.

import assert from "node:assert/strict";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { Access, type TokenState } from "../../src/api/access.ts";
import { createApi } from "../../src/api/app.ts";
import { apiDocument, operationsOf } from "../../src/api/docs/document.ts";
import { BURST_S, noRefusals, type Refusals } from "../../src/api/limits.ts";
import { SCOPES } from "../../src/config/api_tokens.ts";
import { digestHex } from "../../src/digest.ts";
import { loadConfig } from "../../src/config.ts";
import { PAGE_FILES } from "../../src/web/page.ts";
import { FakeService, PEER_A } from "./fake_service.ts";

const TOKEN = "correct-horse-battery";
const AUTHORIZED = { authorization: `Bearer ${TOKEN}` };
/** Settings of an API that other machines can reach. */
const EXPOSED = { API_HOST: "0.0.0.0", API_TOKEN: TOKEN };

type Route = readonly [method: string, path: string];

/** Requests that never need a token. */
const OPEN: Route[] = [
  ["GET", "/healthz"],
  ["GET", "/readyz"],
  ["GET", "/openapi.json"],
  ...Object.keys(PAGE_FILES).map((path) => ["GET", path] as const),
];

/** Requests that read what the node knows, without sending packets. */
const READS: Route[] = [
  ["GET", "/network/peers"],
  ["GET", `/network/peers/${PEER_A}`],
  ["GET", "/network/stats"],
  ["HEAD", "/network/stats"],
];

/** Requests that send packets. */
const SENDS: Route[] = [
  ["GET", `/network/ping/${PEER_A}`],
  ["GET", "/network/ping?address=127.0.0.1:1"],
  ["GET", `/network/find/${PEER_A}`],
  ["HEAD", `/network/find/${PEER_A}`],
  ["POST", "/network/store"],
  ["PUT", `/data/${PEER_A}`],
  ["POST", "/network/peers?address=127.0.0.1:1"],
  ["POST", `/network/published/${PEER_A}`],
  ["GET", `/data/${PEER_A}`],
  ["HEAD", `/data/${PEER_A}`],
];

/** Requests that change something or read private data. */
const PRIVATE: Route[] = [
  ["DELETE", `/data/${PEER_A}`],
  ["GET", "/network/published"],
  ["GET", "/network/transfers"],
  ["GET", "/network/denied"],
  ["GET", "/network/held"],
  ["POST", "/network/denied?entry=203.0.113.7"],
  ["DELETE", "/network/denied?entry=203.0.113.7"],
  ["GET", "/network/diagnostics"],
  ["GET", "/network/events"],
  ["GET", "/ws"],
];

const ALL = [...OPEN, ...READS, ...SENDS, ...PRIVATE];

/** The origin of a request, if it is not a program on this machine. */
interface From {
  readonly address?: string;
  /** The name or address in the URL and in the Host header. */
  readonly host?: string;
}

function setup(env: Record<string, string> = {}, apiTokens?: string) {
  const service = new FakeService();
  const refusals = noRefusals();
  const config = loadConfig({ env, readApiTokens: () => apiTokens });
  const app = createApi({ service, config, refusals });
  const ask = async (
    [method, path]: Route,
    headers: Record<string, string> = {},
    { address, host = "127.0.0.1:8080" }: From = {},
  ) => {
    const body = method === "POST" ? "value" : undefined;
    const caller = address === undefined ? undefined : { remoteAddr: { hostname: address } };
    const url = `http://${host}${path}`;
    const response = await app.request(url, { method, headers, body }, caller);
    if (response.status >= 400 && method !== "HEAD") {
      assert.equal(response.headers.get("content-type"), "application/problem+json");
      assert.equal((await response.json()).status, response.status);
    } else await response.body?.cancel();
    return response;
  };
  const status = async (...args: Parameters<typeof ask>) => (await ask(...args)).status;
  return { service, ask, status, refusals, app };
}

const isRefusal = (status: number) => [401, 403, 429].includes(status);

Deno.test("on loopback, no route needs a token if none is configured", async () => {
  const { status } = setup();
  for (const route of ALL) {
    assert.ok(!isRefusal(await status(route)), route.join(" "));
  }
});

Deno.test("on loopback only changes and sending need the token, and elsewhere reads need it too", async () => {
  const cases = [
    { env: { API_TOKEN: TOKEN }, free: [...OPEN, ...READS], closed: [...SENDS, ...PRIVATE] },
    { env: EXPOSED, free: OPEN, closed: [...READS, ...SENDS, ...PRIVATE] },
    {
      env: { ...EXPOSED, API_OPEN_READS: "true" },
      free: [...OPEN, ...READS],
      closed: [...SENDS, ...PRIVATE],
    },
  ];
  for (const { env, free, closed } of cases) {
    const { service, ask, status, refusals } = setup(env);
    for (const route of free) assert.equal(await status(route), 200, route.join(" "));
    assert.deepEqual(refusals, noRefusals());
    service.calls.length = 0;
    let missing = 0, wrong = 0;
    for (const route of closed) {
      const refused = await ask(route);
      missing++;
      assert.equal(refused.status, 401, route.join(" "));
      assert.equal(refused.headers.get("www-authenticate"), 'Bearer realm="dmnode"');
      const tokens = [
        `Bearer ${TOKEN}x`,
        `Bearer ${TOKEN.slice(1)}`,
        `Bearer ${TOKEN.toUpperCase()}`,
        "Bearer",
        "Bearer ",
        TOKEN,
        `Basic ${btoa(`user:${TOKEN}`)}`,
        `Bearer x ${TOKEN}`,
        `Bearer ${TOKEN}, Bearer ${TOKEN}`,
      ];
      for (const authorization of tokens) {
        const refused = await ask(route, { authorization });
        wrong++;
        assert.equal(refused.status, 401, authorization);
        assert.match(refused.headers.get("www-authenticate") ?? "", /error="invalid_token"/);
      }
    }
    assert.deepEqual(service.calls, [], "nothing was sent");
    assert.deepEqual([refusals.missing_token, refusals.wrong_token], [missing, wrong]);
    for (const route of closed) {
      for (const authorization of [`Bearer ${TOKEN}`, `bearer  ${TOKEN}`]) {
        assert.ok(!isRefusal(await status(route, { authorization })), route.join(" "));
      }
    }
  }
});

Deno.test("if other machines can reach the API, an unknown path needs the token", async () => {
  const { status } = setup(EXPOSED);
  for (const path of ["/nope", "/network", "/healthz/", "//healthz", "/metrics2"]) {
    assert.equal(await status(["GET", path]), 401, path);
    assert.equal(await status(["GET", path], AUTHORIZED), 404, path);
  }
});

Deno.test("a request without the token is refused before its body is read", async () => {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig({ env: { API_TOKEN: TOKEN } }) });
  const body = new ReadableStream({
    pull: () => assert.fail("read"),
  }, { highWaterMark: 0 });
  assert.equal((await app.request("/network/store", { method: "POST", body })).status, 401);
});

Deno.test("the token may be in Authorization or in a WebSocket's subprotocol, and only one token per request counts", async () => {
  const access = new Access(loadConfig({ env: { API_TOKEN: TOKEN } }), []);
  const stateOf = async (headers: Record<string, string>) =>
    (await access.askerOf(new Request("http://127.0.0.1/ws", { headers }))).state;
  const protocol = (text: string) => ({ "sec-websocket-protocol": text });
  const encoded = Buffer.from(TOKEN).toString("base64url");
  const expected: [Record<string, string>, TokenState][] = [
    [{}, "none"],
    [AUTHORIZED, "right"],
    [{ authorization: "Bearer x" }, "wrong"],
    [protocol("dmnode"), "none"],
    [protocol(`bearer.${encoded}`), "right"],
    [protocol(`dmnode, bearer.${encoded}`), "right"],
    [protocol(`bearer.${encoded},dmnode`), "right"],
    [protocol(`bearer.${encoded}x`), "wrong"],
    [protocol("bearer."), "wrong"],
    [protocol("bearer.%%%"), "wrong"],
    [protocol(`bearer.${btoa("other")}`), "wrong"],
    [protocol(`bearer.x, bearer.${encoded}`), "wrong"],
    [{ ...protocol(`bearer.${encoded}`), authorization: "Bearer x" }, "wrong"],
  ];
  for (const [headers, state] of expected) {
    assert.equal(await stateOf(headers), state, JSON.stringify(headers));
  }
  const open = new Access(loadConfig(), []);
  assert.equal(
    (await open.askerOf(new Request("http://127.0.0.1/"))).state,
    "right",
    "if no token is configured",
  );
  await fc.assert(fc.asyncProperty(fc.string({ minLength: 1, maxLength: 40 }), async (text) => {
    fc.pre(/^[!-~]+$/.test(text));
    const access = new Access(loadConfig({ env: { API_TOKEN: `t${text}` } }), []);
    const encoded = Buffer.from(`t${text}`).toString("base64url");
    const request = new Request("http://a/", { headers: protocol(`dmnode, bearer.${encoded}`) });
    assert.equal((await access.askerOf(request)).state, "right");
  }));
});

/** A file of tokens, each named after its scopes. The name is also the secret. */
async function tokensOf(...scopes: readonly string[]): Promise<string> {
  const lines = scopes.map(async (scope) =>
    `${scope.replaceAll(",", "-")} ${scope} 0 never sha256:${await digestHex("SHA-256", scope)}`
  );
  return (await Promise.all(lines)).join("\n");
}

const bearing = (token: string) => ({ authorization: `Bearer ${token}` });

Deno.test("each operation permits the tokens with the scope that the OpenAPI document names", async () => {
  const { status, app, service } = setup({ API_HOST: "0.0.0.0" }, await tokensOf(...SCOPES));
  const document = apiDocument(app);
  let needing = 0;
  for (const { name, method, path, operation } of operationsOf(document)) {
    const scope = operation.security?.[0].bearer[0];
    if (scope === undefined) continue;
    needing++;
    const route = [method.toUpperCase(), path.replace(/\{\w+\}/, PEER_A)] as const;
    assert.equal(await status(route), 401, name);
    for (const given of SCOPES) {
      service.calls.length = 0;
      const answer = await status(route, bearing(given));
      if (given === scope || given === "admin") assert.ok(!isRefusal(answer), `${name} ${given}`);
      else {
        assert.equal(answer, 403, `${name} with ${given}`);
        assert.deepEqual(service.calls, []);
      }
    }
  }
  assert.ok(needing > 20);
  const watch = ["GET", `/ws?watch=${PEER_A}`] as const;
  assert.equal(await status(watch, bearing("read")), 403);
});

Deno.test("a refusal names the token and the scope that it lacks", async () => {
  const { app, refusals } = setup({}, await tokensOf("read,store"));
  const response = await app.request("http://127.0.0.1/data/" + PEER_A, {
    headers: bearing("read,store"),
  });
  assert.equal(response.status, 403);
  assert.equal((await response.json()).detail, "The token read-store lacks the scope fetch.");
  assert.equal(
    response.headers.get("www-authenticate"),
    'Bearer realm="dmnode", error="insufficient_scope", scope="fetch"',
  );
  assert.equal(refusals.missing_scope, 1);
});

Deno.test("API_TOKEN may do everything beside other tokens, and an empty file opens nothing", async () => {
  const both = setup({ API_TOKEN: TOKEN }, await tokensOf("read"));
  const none = setup({}, "# no tokens\n");
  for (const route of [...SENDS, ...PRIVATE]) {
    assert.ok(!isRefusal(await both.status(route, AUTHORIZED)), route.join(" "));
    assert.equal(await none.status(route), 401, route.join(" "));
    assert.equal(await none.status(route, AUTHORIZED), 401, route.join(" "));
  }
  for (const route of READS) assert.equal(await none.status(route), 200, "reads on loopback");
});

Deno.test("an expired token is refused, and so are the requests beyond a token's rate", async () => {
  const hash = await digestHex("SHA-256", "secret");
  const expired = setup({}, `old read 0 2001-01-01T00:00:00.000Z sha256:${hash}`);
  const route = PRIVATE[1];
  const refused = await expired.app.request(`http://127.0.0.1${route[1]}`, {
    headers: bearing("secret"),
  });
  assert.equal(refused.status, 401);
  assert.equal((await refused.json()).detail, "The token old has expired.");

  const limited = setup({}, `slow read 1 never sha256:${hash}`);
  const statuses: number[] = [];
  for (let i = 0; i <= BURST_S; i++) statuses.push(await limited.status(route, bearing("secret")));
  assert.deepEqual(statuses, [...Array(BURST_S).fill(200), 429]);
  assert.equal(limited.refusals.scoped_rate, 1);
});

Deno.test("the log names the token of each request", async () => {
  const lines: Record<string, unknown>[] = [];
  const log = {
    error: () => {},
    debug: (_: string, line: Record<string, unknown>) => void lines.push(line),
  };
  const text = await tokensOf("read");
  const env = { LOG_LEVEL: "debug" };
  const config = loadConfig({ env, readApiTokens: () => text });
  const app = createApi({ service: new FakeService(), config, log });
  await app.request("http://127.0.0.1/network/published", { headers: bearing("read") });
  await app.request("http://127.0.0.1/network/published");
  assert.deepEqual(lines.map(({ status, token }) => [status, token]), [[200, "read"], [401, null]]);
});

const OWN_HOSTS = [
  "127.0.0.1",
  "127.0.0.1:1",
  "localhost",
  "LOCALHOST:8080",
  "localhost.:8080",
  "[::1]:8080",
  "[::ffff:127.0.0.1]",
  "127.1.2.3",
];
const FOREIGN_NAMES = [
  "evil.example",
  "evil.example:8080",
  "localhost.evil.example",
  "127.0.0.1.evil.example",
  "localhost-x",
];
const FOREIGN_ADDRESSES = ["192.168.1.10:8080", "[2001:db8::1]", "0.0.0.0:8080", "[::]:8080"];

Deno.test("every route, also of static files, refuses a Host that is not this machine (DNS rebinding)", async () => {
  const { service, status, refusals } = setup();
  for (const route of ALL) {
    for (const host of OWN_HOSTS) {
      assert.ok(!isRefusal(await status(route, {}, { host })), `${route.join(" ")} ${host}`);
      assert.ok(!isRefusal(await status(route, { host }, { host })), host);
    }
  }
  service.calls.length = 0;
  let asked = 0;
  for (const route of [...ALL, ["GET", "/nope"] as const]) {
    for (const host of [...FOREIGN_NAMES, ...FOREIGN_ADDRESSES]) {
      asked++;
      assert.equal(await status(route, { host }, { host }), 403, `${route.join(" ")} ${host}`);
    }
  }
  assert.deepEqual(service.calls, []);
  assert.deepEqual(refusals, { ...noRefusals(), foreign_host: asked });
});

Deno.test("a page is refused after DNS rebinding, also for reads on loopback if a token is configured", async () => {
  const { status } = setup({ API_TOKEN: TOKEN });
  const host = "evil.example:8080";
  const headers = { host, origin: `http://${host}`, "sec-fetch-site": "same-origin" };
  for (const route of ALL) assert.equal(await status(route, headers, { host }), 403);
});

Deno.test("if other machines can reach the API, it accepts any address and the configured names as Host", async () => {
  const { status } = setup({
    ...EXPOSED,
    API_OPEN_READS: "true",
    API_ALLOWED_HOSTS: "node.example.org,node_1",
  });
  const read = READS[0];
  const own = [
    ...OWN_HOSTS,
    ...FOREIGN_ADDRESSES,
    "node.example.org",
    "NODE.example.org.",
    "node_1:80",
  ];
  for (const host of own) assert.equal(await status(read, { host }, { host }), 200, host);
  for (const host of [...FOREIGN_NAMES, "x.node.example.org", "example.org"]) {
    assert.equal(await status(read, { host }, { host }), 403, host);
    assert.equal(await status(OPEN[0], { host }, { host }), 403, host);
  }
  const named = setup({ API_HOST: "node.lan", API_TOKEN: TOKEN });
  assert.equal(await named.status(OPEN[0], {}, { host: "node.lan:8080" }), 200);
  assert.equal(await named.status(OPEN[0], {}, { host: "other.lan:8080" }), 403);
});

Deno.test("with the token, any Host is accepted, because proxies forward the client's", async () => {
  for (const env of [EXPOSED, { API_TOKEN: TOKEN }]) {
    const { status } = setup(env);
    const host = "node.example.org";
    for (const route of ALL) {
      assert.ok(!isRefusal(await status(route, AUTHORIZED, { host })), route.join(" "));
      assert.equal(await status(route, { authorization: "Bearer x" }, { host }), 403);
    }
  }
  const { status } = setup();
  const host = "evil.example";
  assert.equal(await status(READS[0], AUTHORIZED, { host }), 403, "if no token is configured");
});

Deno.test("behind a proxy on this machine, reads need the token too", async () => {
  const env = { API_TOKEN: TOKEN, API_ALLOWED_HOSTS: "node.example.org" };
  const named = setup(env), forwarded = setup({ ...env, API_TRUSTED_PROXIES: "127.0.0.1" });
  const host = "node.example.org", address = "127.0.0.1";
  const from = { "x-forwarded-for": "203.0.113.5" };
  for (const route of READS) {
    assert.equal(await named.status(route, {}, { host, address }), 401, "by its name");
    assert.equal(await named.status(route, AUTHORIZED, { host, address }), 200);
    assert.equal(await named.status(route, {}, { address }), 200, "no proxy");
    assert.equal(await forwarded.status(route, from, { address }), 401, "by its address");
    assert.equal(await forwarded.status(route, { ...from, ...AUTHORIZED }, { address }), 200);
    assert.equal(await forwarded.status(route, {}, { address }), 200, "the proxy's machine itself");
  }
  for (const route of OPEN) assert.equal(await named.status(route, {}, { host, address }), 200);
  const open = setup({ ...env, API_OPEN_READS: "true" });
  for (const route of READS) assert.equal(await open.status(route, {}, { host, address }), 200);
  const without = setup({ API_ALLOWED_HOSTS: host });
  for (const route of ALL) assert.ok(!isRefusal(await without.status(route, {}, { host })));
});

Deno.test("a Host that is malformed, or differs from the URL, is refused with the reason", async () => {
  const { service, status, refusals } = setup({ API_TOKEN: TOKEN });
  const malformed = [
    "127.0.0.1@evil.example",
    "evil.example@127.0.0.1",
    "127.0.0.1, 127.0.0.1",
    "127.0.0.1/",
    "127.0.0.1#",
    "127.0.0.1?",
    "127.0.0.1\\",
    "127.0.0.1:",
    "127.0.0.1:80:80",
    "127.0.0.1:999999",
    "::1",
    "[::1",
    "[127.0.0.1]",
    "[",
    "%31%32%37.0.0.1",
    "http://127.0.0.1",
    "*",
    "256.1.1.1",
    "..",
  ];
  for (const host of malformed) {
    assert.equal(await status(SENDS[0], { host, ...AUTHORIZED }), 400, host);
  }
  // Send an absolute URL, as a client of a proxy does. Its host has precedence over the header.
  for (const host of ["evil.example", "127.0.0.1:81"]) {
    assert.equal(await status(SENDS[0], { host: "127.0.0.1", ...AUTHORIZED }, { host }), 400, host);
  }
  assert.deepEqual(service.calls, []);
  assert.equal(refusals.bad_host, malformed.length + 2);
});

/** The headers by which browsers mark the requests of a page of another origin. */
const FOREIGN_PAGES: Record<string, Record<string, string>> = {
  "a page elsewhere": { origin: "https://evil.example" },
  "a sandboxed page, or a file": { origin: "null" },
  "another port": { origin: "http://127.0.0.1:3000" },
  "another name of this machine": { origin: "http://localhost:8080" },
  "another port of http": { origin: "http://127.0.0.1" },
  "a name that begins alike": { origin: "http://127.0.0.1:8080.evil.example" },
  "user information": { origin: "http://127.0.0.1:8080@evil.example" },
  "an extension": { origin: "chrome-extension://127.0.0.1:8080" },
  "no URL": { origin: "garbage" },
  "nothing": { origin: "" },
  "<img>": {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "no-cors",
    "sec-fetch-dest": "image",
  },
  "<script>": {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "no-cors",
    "sec-fetch-dest": "script",
  },
  "<iframe>": {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "iframe",
  },
  "another port, without an Origin": {
    "sec-fetch-site": "same-site",
    "sec-fetch-mode": "cors",
    "sec-fetch-dest": "empty",
  },
  "<link rel=prefetch>": {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "no-cors",
    "sec-fetch-dest": "empty",
    "sec-purpose": "prefetch",
  },
  "a page that is loaded ahead": {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "sec-purpose": "prefetch;prerender",
  },
  "what is not known yet": { "sec-fetch-site": "cross-universe" },
};

/** The headers of a request after the user followed a link on another site. */
const LINK = {
  "sec-fetch-site": "cross-site",
  "sec-fetch-mode": "navigate",
  "sec-fetch-dest": "document",
  "sec-fetch-user": "?1",
};

Deno.test("every route refuses pages of other origins, even with the token", async () => {
  for (const env of [{}, { API_TOKEN: TOKEN }, EXPOSED] as Record<string, string>[]) {
    const { service, status, refusals } = setup(env);
    let asked = 0;
    for (const route of ALL) {
      for (const [what, headers] of Object.entries(FOREIGN_PAGES)) {
        asked++;
        assert.equal(await status(route, { ...AUTHORIZED, ...headers }), 403, what);
      }
    }
    // A form's POST is also a navigation.
    assert.equal(await status(["POST", "/network/store"], { ...AUTHORIZED, ...LINK }), 403);
    const form = { origin: "null", "content-type": "text/plain", ...LINK };
    assert.equal(await status(["POST", "/network/store"], { ...AUTHORIZED, ...form }), 403);
    assert.deepEqual(service.calls, []);
    assert.equal(refusals.foreign_origin, asked + 2);
  }
});

Deno.test("the API's own pages, addresses that users type, and programs are accepted", async () => {
  const own: Record<string, string>[] = [
    { origin: "http://127.0.0.1:8080" },
    { origin: "https://127.0.0.1:8080" },
    { "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty" },
    { "sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" },
    {},
  ];
  for (const env of [{}, { API_TOKEN: TOKEN }, EXPOSED] as Record<string, string>[]) {
    const { status } = setup(env);
    for (const route of ALL) {
      for (const headers of own) {
        const code = await status(route, { ...AUTHORIZED, ...headers });
        assert.ok(!isRefusal(code), `${route.join(" ")} ${JSON.stringify(headers)}`);
      }
    }
  }
  const proxied = setup({ ...EXPOSED, API_ALLOWED_HOSTS: "node.example.org" });
  const page = { ...AUTHORIZED, origin: "https://node.example.org" };
  const host = "node.example.org";
  assert.equal(await proxied.status(["POST", "/network/store"], page, { host }), 201);
});

Deno.test("links on other sites may open pages, reads and values, but no other route that sends packets", async () => {
  const { service, status } = setup();
  for (const route of [...OPEN, ...READS]) assert.equal(await status(route, LINK), 200);
  for (const method of ["GET", "HEAD"]) {
    assert.equal(await status([method, `/data/${PEER_A}`], LINK), 404, "the header was read");
  }
  service.calls.length = 0;
  for (const path of [`/network/ping/${PEER_A}`, `/network/find/${PEER_A}`, "/ws"]) {
    assert.equal(await status(["GET", path], LINK), 403, path);
  }
  assert.deepEqual(service.calls, []);
});

/** Returns an API and its clock. */
function limited(env: Record<string, string>) {
  const config = loadConfig({ env: { ...EXPOSED, ...env } });
  const refusals = noRefusals();
  const clock = { now: 1e6 };
  const access = new Access(config, ["/healthz"], refusals, () => clock.now);
  const app = createApi({ service: new FakeService(), config, refusals, access });
  const ask = (path: string, headers: Record<string, string>, hostname: string) =>
    app.request(`http://192.0.2.1${path}`, { headers }, { remoteAddr: { hostname } });
  const count = async (times: number, ...args: Parameters<typeof ask>) => {
    const codes: Record<number, number> = {};
    for (let i = 0; i < times; i++) {
      const { status, body } = await ask(...args);
      codes[status] = (codes[status] ?? 0) + 1;
      await body?.cancel();
    }
    return codes;
  };
  return { ask, count, clock, refusals };
}

const A = "198.51.100.7", B = "198.51.100.8";

Deno.test("a client over its rate is told when to retry, and other clients are not affected", async () => {
  const { ask, count, clock, refusals } = limited({ API_RATE_LIMIT: "2" });
  assert.deepEqual(await count(25, "/healthz", {}, A), { 200: 20, 429: 5 });
  const refused = await ask("/healthz", {}, A);
  assert.equal(refused.headers.get("content-type"), "application/problem+json");
  assert.equal(refused.headers.get("retry-after"), "1");
  assert.match((await refused.json()).detail, /^Too many requests from your address/);
  assert.deepEqual(await count(5, "/healthz", {}, B), { 200: 5 });
  clock.now += 1000;
  assert.deepEqual(await count(5, "/healthz", {}, A), { 200: 2, 429: 3 });
  clock.now += 1e9;
  assert.deepEqual(await count(25, "/healthz", {}, A), { 200: 20, 429: 5 }, "no more than a burst");
  assert.equal(refusals.request_rate, 14);
  assert.deepEqual(await count(500, "/healthz", {}, "127.0.0.1"), { 200: 500 }, "this machine");
  assert.deepEqual(await count(500, "/healthz", {}, "::1"), { 200: 500 });
});

Deno.test("requests that send packets have a lower limit, which other requests do not use up", async () => {
  const { count, clock, refusals } = limited({ API_RATE_LIMIT: "100", API_SEND_RATE_LIMIT: "1" });
  const find = `/network/find/${PEER_A}`;
  assert.deepEqual(
    await count(30, find, {}, A),
    { 401: 30 },
    "without the token, no Host is accepted",
  );
  assert.deepEqual(await count(30, "/network/stats", AUTHORIZED, A), { 200: 30 });
  assert.deepEqual(await count(30, find, AUTHORIZED, A), { 200: 10, 429: 20 });
  assert.deepEqual(await count(30, "/network/stats", AUTHORIZED, A), { 200: 30 });
  clock.now += 3000;
  assert.deepEqual(await count(5, `/data/${PEER_A}`, AUTHORIZED, A), { 404: 3, 429: 2 });
  assert.deepEqual([refusals.send_rate, refusals.request_rate], [22, 0]);
});

Deno.test("a limit of 0 means no limit", async () => {
  const { count } = limited({ API_RATE_LIMIT: "0", API_SEND_RATE_LIMIT: "0" });
  assert.deepEqual(await count(3000, "/healthz", {}, A), { 200: 3000 });
  assert.deepEqual(await count(1000, `/network/find/${PEER_A}`, AUTHORIZED, A), { 200: 1000 });
});

Deno.test("after many wrong tokens, a client gets no answer about tokens, not even about the right one", async () => {
  const { count, clock, refusals } = limited({});
  const guess = { authorization: "Bearer guess" };
  assert.deepEqual(await count(70, "/network/stats", guess, A), { 401: 60, 429: 10 });
  assert.deepEqual(await count(1, "/network/stats", AUTHORIZED, A), { 429: 1 });
  assert.deepEqual(await count(1, "/healthz", AUTHORIZED, A), { 429: 1 }, "not on any path");
  assert.deepEqual(
    await count(1, "/healthz", {}, A),
    { 200: 1 },
    "without a configured token, nothing is limited",
  );
  assert.deepEqual(await count(1, "/network/stats", AUTHORIZED, B), { 200: 1 });
  clock.now += 1000;
  assert.deepEqual(await count(100, "/network/stats", AUTHORIZED, A), { 200: 100 });
  assert.deepEqual(await count(2, "/network/stats", guess, A), { 401: 1, 429: 1 });
  assert.equal(refusals.token_rate, 13);
});

Deno.test("all addresses of an IPv6 /64 are one client", async () => {
  const { count } = limited({ API_RATE_LIMIT: "1" });
  let served = 0;
  for (let i = 0; i < 50; i++) {
    served += (await count(1, "/healthz", {}, `2001:db8:1:2::${i.toString(16)}`))[200] ?? 0;
  }
  assert.equal(served, 10);
  assert.deepEqual(await count(1, "/healthz", {}, "2001:db8:1:3::1"), { 200: 1 });
  assert.deepEqual(await count(11, "/healthz", {}, "::ffff:203.0.113.1"), { 200: 10, 429: 1 });
  assert.deepEqual(await count(1, "/healthz", {}, "203.0.113.1"), { 429: 1 });
});

Deno.test("X-Forwarded-For is ignored unless it comes from a trusted proxy", async () => {
  const untrusted = limited({ API_RATE_LIMIT: "1" });
  let served = 0;
  for (let i = 0; i < 50; i++) {
    const headers = { "x-forwarded-for": `203.0.113.${i}` };
    served += (await untrusted.count(1, "/healthz", headers, A))[200] ?? 0;
  }
  assert.equal(served, 10, "invented by the client");

  const trusted = limited({ API_RATE_LIMIT: "1", API_TRUSTED_PROXIES: "127.0.0.1,10.0.0.0/8" });
  const by = (chain: string, proxy = "127.0.0.1") =>
    trusted.count(11, "/healthz", { "x-forwarded-for": chain }, proxy);
  assert.deepEqual(await by(A), { 200: 10, 429: 1 });
  assert.deepEqual(
    await by(`1.2.3.4, ${A}`),
    { 429: 11 },
    "an invented address does not count",
  );
  assert.deepEqual(await by(`${A}, 10.1.2.3`, "10.9.9.9"), { 429: 11 }, "through two proxies");
  assert.deepEqual(await by(B), { 200: 10, 429: 1 });
});

Deno.test("a URL that is too long is refused before it is parsed", async () => {
  const { status } = setup();
  assert.equal(await status(["GET", `/network/find/${"a".repeat(9000)}`]), 414);
  assert.equal(await status(["GET", `/network/stats?${"a".repeat(9000)}`]), 414);
  assert.equal(await status(["GET", `/network/stats?${"a".repeat(7000)}`]), 400);
});

Deno.test("refusals are counted by reason, starting at 0", () => {
  const refusals: Refusals = noRefusals();
  assert.ok(Object.values(refusals).every((count) => count === 0));
  assert.notEqual(noRefusals(), refusals);
});
