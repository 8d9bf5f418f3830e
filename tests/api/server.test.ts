// Tests the API on a real socket: ports, raw HTTP, and stopping.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { ListenError } from "../../src/api/errors.ts";
import { type ApiServer, serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { FakeService } from "./fake_service.ts";

const LOOPBACK = { hostnames: ["127.0.0.1"], port: 0 };

async function withServer(use: (server: ApiServer, service: FakeService) => Promise<void>) {
  const service = new FakeService();
  const config = loadConfig({ env: { MAX_VALUE_SIZE: "100000" } });
  const server = await serveApi(createApi({ service, config }), LOOPBACK);
  try {
    await use(server, service);
  } finally {
    await server.close();
  }
}

/** Sends raw bytes, and returns the head of the response. */
async function exchange(port: number, ...parts: string[]): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  for (const part of parts) await connection.write(new TextEncoder().encode(part));
  let text = "";
  const buffer = new Uint8Array(65536);
  while (!text.includes("\r\n\r\n")) {
    const length = await connection.read(buffer).catch(() => null);
    if (length === null) break;
    text += new TextDecoder().decode(buffer.subarray(0, length));
  }
  return text;
}

Deno.test("the server uses a free port, and reports its URL", async () => {
  await withServer(async (server) => {
    assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.ok(server.port > 0);
    const response = await fetch(`${server.url}/healthz`);
    assert.deepEqual([response.status, await response.json()], [200, { status: "ok" }]);
  });
});

const TEXT = "word ".repeat(2000);

/** Runs a test against a server on which {@link TEXT} is stored. `fetchText` fetches it. */
async function withStoredText(
  test: (fetchText: (options?: RequestInit) => Promise<Response>, hash: string) => Promise<void>,
): Promise<void> {
  await withServer(async ({ url }) => {
    const stored = await fetch(`${url}/network/store`, { method: "POST", body: TEXT });
    const { hash } = await stored.json();
    await test((options) => fetch(`${url}/data/${hash}`, options), hash);
  });
}

Deno.test("a value stored over HTTP is fetched unchanged", async () => {
  await withStoredText(async (fetchText) => {
    const fetched = await fetchText();
    assert.equal(await fetched.text(), TEXT);
  });
});

Deno.test("a value that could be compressed keeps its strong ETag", async () => {
  await withStoredText(async (fetchText, hash) => {
    const fetched = await fetchText({ headers: { "accept-encoding": "gzip, br" } });
    assert.equal(fetched.headers.get("etag"), `"${hash}"`);
    await fetched.body?.cancel();
  });
});

Deno.test("HEAD returns the length of a value", async () => {
  await withStoredText(async (fetchText) => {
    const head = await fetchText({ method: "HEAD" });
    assert.equal(head.headers.get("content-length"), `${TEXT.length}`);
  });
});

Deno.test("a range of a value is returned with status 206", async () => {
  await withStoredText(async (fetchText) => {
    const start = TEXT.indexOf("word", 1), end = start + "word".length;
    const part = await fetchText({ headers: { range: `bytes=${start}-${end - 1}` } });
    assert.equal(part.status, 206);
    assert.equal(await part.text(), "word");
  });
});

Deno.test("a chunked body over the limit is cut off", async () => {
  await withServer(async (server, service) => {
    const chunk = `10000\r\n${"a".repeat(65536)}\r\n`;
    const answer = await exchange(
      server.port,
      "POST /network/store HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n" +
        "Connection: close\r\n\r\n",
      chunk,
      chunk,
    );
    assert.match(answer, /^HTTP\/1\.1 413 /);
    assert.deepEqual(service.calls, []);
  });
});

/** Returns the status of the response to these bytes. */
async function statusOf(port: number, head: string): Promise<number> {
  return Number((await exchange(port, `${head}Connection: close\r\n\r\n`)).slice(9, 12));
}

const FIND = `/network/find/${"0d".repeat(20)}`;

/** Returns the status of a GET request with these Host headers. */
function hostStatus(port: number, target: string, hosts: readonly string[]): Promise<number> {
  const headers = hosts.map((host) => `Host: ${host}\r\n`).join("");
  return statusOf(port, `GET ${target} HTTP/1.1\r\n${headers}`);
}

Deno.test("a Host header with another name is refused at every path", async () => {
  await withServer(async ({ port }, service) => {
    for (const host of ["evil.example", `evil.example:${port}`, "0.0.0.0", "[2001:db8::1]"]) {
      for (const target of ["/healthz", "/", FIND, "/ws", "/nope"]) {
        assert.equal(await hostStatus(port, target, [host]), 403, host);
      }
    }
    assert.deepEqual(service.calls, [], "nothing was sent");
  });
});

Deno.test("a malformed Host header is refused", async () => {
  await withServer(async ({ port }, service) => {
    const malformed = [
      "[",
      "a/b",
      "127.0.0.1@evil.example",
      "evil.example@127.0.0.1",
      "?",
      "#",
      "",
      "127.0.0.1, 127.0.0.1",
      "::1",
      "l\u00f6calhost",
    ];
    for (const host of malformed) assert.equal(await hostStatus(port, FIND, [host]), 400, host);
    assert.deepEqual(service.calls, [], "nothing was sent");
  });
});

Deno.test("a second Host header is refused", async () => {
  await withServer(async ({ port }, service) => {
    assert.equal(await hostStatus(port, FIND, ["127.0.0.1", "evil.example"]), 400);
    assert.equal(await hostStatus(port, FIND, ["evil.example", "127.0.0.1"]), 400);
    assert.deepEqual(service.calls, [], "nothing was sent");
  });
});

Deno.test("an absolute URL that names another host than the Host header is refused", async () => {
  await withServer(async ({ port }, service) => {
    for (
      const [url, host, status] of [
        ["http://evil.example", "127.0.0.1", 400],
        ["http://127.0.0.1", "evil.example", 400],
        ["http://127.0.0.1@evil.example", "127.0.0.1", 400],
        ["ftp://127.0.0.1", "127.0.0.1", 400],
        ["http://evil.example", "evil.example", 403],
      ] as const
    ) {
      assert.equal(await hostStatus(port, `${url}${FIND}`, [host]), status, `${url}, ${host}`);
    }
    assert.deepEqual(service.calls, [], "nothing was sent");
  });
});

Deno.test("a malformed URL is refused", async () => {
  await withServer(async ({ port }, service) => {
    for (const target of ["//evil.example/healthz", "/\\evil", "/%", "/data/%ff%"]) {
      assert.ok([400, 404].includes(await hostStatus(port, target, ["127.0.0.1"])), target);
    }
    assert.deepEqual(service.calls, [], "nothing was sent");
  });
});

Deno.test("each name of this machine is accepted in the Host header", async () => {
  await withServer(async ({ port }) => {
    for (const host of ["127.0.0.1", `127.0.0.1:${port}`, "LOCALHOST.", "[::1]:1", "127.9.9.9"]) {
      assert.equal(await hostStatus(port, "/healthz", [host]), 200, host);
    }
    const host = `127.0.0.1:${port}`;
    assert.equal(await hostStatus(port, `http://${host}/healthz`, [host]), 200);
  });
});

Deno.test("HTTP/1.0 without a Host header is accepted, because no browser leaves it out", async () => {
  await withServer(async ({ port }) => {
    assert.equal(await statusOf(port, "GET /healthz HTTP/1.0\r\n"), 200);
  });
});

Deno.test("every request that a page of another site can cause is refused", async () => {
  await withServer(async ({ port }, service) => {
    const find = `/network/find/${"0d".repeat(20)}`;
    const status = (line: string, headers: string) =>
      statusOf(port, `${line} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${headers}`);
    const site = (site: string, mode: string, dest: string) =>
      `Sec-Fetch-Site: ${site}\r\nSec-Fetch-Mode: ${mode}\r\nSec-Fetch-Dest: ${dest}\r\n`;
    const form = `Content-Type: text/plain\r\nContent-Length: 0\r\n`;
    const store = "POST /network/store";
    for (
      const origin of ["null", "https://evil.example", "http://127.0.0.1:1", "http://localhost"]
    ) {
      for (const line of [store, `GET ${find}`, "GET /network/peers", "GET /"]) {
        assert.equal(await status(line, `Origin: ${origin}\r\n${form}`), 403, origin);
      }
    }
    assert.equal(await status(store, site("cross-site", "navigate", "document") + form), 403);
    assert.equal(await status(store, `Origin: null\r\nOrigin: null\r\n${form}`), 403);
    for (const dest of ["image", "script", "iframe", "empty"]) {
      for (const from of ["cross-site", "same-site"]) {
        assert.equal(await status(`GET ${find}`, site(from, "no-cors", dest)), 403, dest);
        assert.equal(await status("GET /network/stats", site(from, "no-cors", dest)), 403, dest);
      }
    }
    assert.equal(await status(`GET ${find}`, site("cross-site", "navigate", "document")), 403);
    assert.equal(await status("OPTIONS /network/store", "Origin: https://evil.example\r\n"), 403);
    assert.deepEqual(service.calls, [], "nothing was sent");
    assert.equal(await status("GET /", site("cross-site", "navigate", "document")), 200);
    assert.equal(await status(`GET ${find}`, `Origin: http://127.0.0.1:${port}\r\n`), 200);
  });
});

Deno.test("a port in use, or an address of another machine, is reported in one line", async () => {
  await withServer(({ port }) => {
    const app = { fetch: () => new Response() };
    assert.throws(
      () => serveApi(app, { hostnames: ["127.0.0.1"], port }),
      (error: Error) =>
        error instanceof ListenError &&
        new RegExp(`^API_HOST 127\\.0\\.0\\.1, API_PORT ${port}: the port is in use.*--api-port$`)
          .test(error.message),
    );
    for (const hostname of ["192.0.2.1", "no.such.host.invalid"]) {
      assert.throws(
        () => serveApi(app, { hostnames: [hostname], port: 0 }),
        (error: Error) => error instanceof ListenError && !error.message.includes("\n"),
      );
    }
    return Promise.resolve();
  });
});

Deno.test("closing waits for the requests in progress", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const app = {
    fetch: async () => {
      started.resolve();
      await promise;
      return new Response("done");
    },
  };
  const server = await serveApi(app, LOOPBACK);
  const response = fetch(server.url);
  await started.promise;
  const closed = server.close(5000);
  resolve();
  assert.equal(await (await response).text(), "done");
  await closed;
  await assert.rejects(fetch(server.url), "no new connection is taken");
});

Deno.test("closing answers requests that take too long with 503", async () => {
  const started = Promise.withResolvers<void>();
  const app = {
    fetch: () => {
      started.resolve();
      return new Promise<Response>(() => {});
    },
  };
  const server = await serveApi(app, LOOPBACK);
  const response = fetch(server.url);
  await started.promise;
  await server.close(10);
  const problem = await (await response).json();
  assert.deepEqual([problem.status, problem.detail], [503, "The node is stopping."]);
});

Deno.test("an error outside the app is also a problem document", async () => {
  const app = {
    fetch(): Response {
      throw new Error("secret");
    },
  };
  const server = await serveApi(app, LOOPBACK);
  const response = await fetch(server.url);
  assert.equal(response.status, 500);
  assert.doesNotMatch(await response.text(), /secret/);
  await server.close();
});

/** Returns a function that returns the next message of a socket, or the close code at its end. */
function messagesOf(socket: WebSocket): () => Promise<Record<string, unknown> | number> {
  const waiting: (Record<string, unknown> | number)[] = [];
  let wake = () => {};
  const add = (message: Record<string, unknown> | number) => {
    waiting.push(message);
    wake();
  };
  socket.onmessage = ({ data }) => add(JSON.parse(data));
  socket.onclose = ({ code }) => add(code);
  return async () => {
    while (waiting.length === 0) await new Promise<void>((resolve) => wake = resolve);
    return waiting.shift()!;
  };
}

Deno.test("a WebSocket that watches a value gets hello, the present version and each newer one", async () => {
  await withServer(async (server, service) => {
    const hash = "0d".repeat(20);
    const version = (seq: number) => ({ seq, size: 5, public_key: "ab", value: new Uint8Array() });
    service.versions.set(hash, version(3));
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws?watch=${hash}&key=k`);
    const next = messagesOf(socket);
    const hello = await next() as { type: string; data: { node_id: string; peers: number } };
    assert.equal(hello.type, "hello");
    assert.equal(hello.data.node_id, service.nodeId);
    const at = (seq: number) => ({
      id: null,
      type: "watch",
      at: "2026-04-14T12:00:00.000Z",
      data: { hash, seq, size: 5, public_key: "ab" },
    });
    assert.deepEqual(await next(), at(3));
    service.watches.noteVersion(hash, version(4));
    assert.deepEqual(await next(), at(4));
    service.watches.close();
    assert.equal(await next(), 1001, "the node stops");
  });
});

Deno.test("/ws refuses a bad hash, a plain request, and pages of other origins", async () => {
  await withServer(async ({ port }) => {
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const ask = (path: string, headers: string, host = `127.0.0.1:${port}`) =>
      exchange(port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${headers}\r\n`);
    const good = `/ws?watch=${"0d".repeat(20)}`;
    assert.match(await ask("/ws?watch=xyz", upgrade), /^HTTP\/1.1 400 /);
    assert.match(await ask(good, ""), /^HTTP\/1.1 400 /);
    const origins = [
      "https://evil.example",
      "null",
      `http://localhost:${port}`,
      "http://127.0.0.1",
    ];
    for (const origin of origins) {
      assert.match(await ask(good, `${upgrade}Origin: ${origin}\r\n`), /^HTTP\/1.1 403 /, origin);
    }
    assert.match(await ask(good, upgrade, "evil.example"), /^HTTP\/1.1 403 /);
    const rebound = `${upgrade}Origin: http://evil.example:${port}\r\n`;
    assert.match(await ask(good, rebound, `evil.example:${port}`), /^HTTP\/1.1 403 /);
    assert.match(await ask(good, upgrade), /^HTTP\/1.1 101 /);
    const own = `${upgrade}Origin: http://127.0.0.1:${port}\r\n`;
    assert.match(await ask(good, own), /^HTTP\/1.1 101 /);
  });
});

Deno.test("a WebSocket may send the token as a subprotocol", async () => {
  const config = loadConfig({ env: { API_TOKEN: "secret/token+0123456789" } });
  const server = await serveApi(createApi({ service: new FakeService(), config }), LOOPBACK);
  const encoded = btoa("secret/token+0123456789").replaceAll("/", "_").replaceAll("+", "-")
    .replaceAll("=", "");
  const open = (...protocols: string[]) =>
    new Promise<string | undefined>((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws`, protocols);
      socket.onopen = () => {
        resolve(socket.protocol);
        socket.close();
      };
      socket.onerror = () => resolve(undefined);
    });
  try {
    assert.equal(await open("dmnode", `bearer.${encoded}`), "dmnode");
    assert.equal(await open("dmnode", "bearer.d3Jvbmc"), undefined);
    assert.equal(await open("dmnode"), undefined);
  } finally {
    await server.close();
  }
});
