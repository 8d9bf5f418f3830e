// The API on a real socket: ports, HTTP as other clients speak it, and stopping.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { ListenError } from "../../src/api/front_thread.ts";
import { type ApiServer, serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { FakeService } from "./fake_service.ts";

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

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

/** Sends bytes as they are and reads the head of the answer. */
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

Deno.test("serves on a free port, under the URL it reports", async () => {
  await withServer(async (server) => {
    assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.ok(server.port > 0);
    const response = await fetch(`${server.url}/healthz`);
    assert.deepEqual([response.status, await response.json()], [200, { status: "ok" }]);
  });
});

Deno.test("stores and fetches over HTTP; the strong ETag survives compression", async () => {
  await withServer(async (server) => {
    const value = "word ".repeat(2000);
    const stored = await fetch(`${server.url}/network/store`, { method: "POST", body: value });
    assert.equal(stored.status, 201);
    const { hash } = await stored.json();
    const headers = { "accept-encoding": "gzip, br" };
    const fetched = await fetch(`${server.url}/data/${hash}`, { headers });
    assert.equal(fetched.headers.get("etag"), `"${hash}"`);
    assert.equal(await fetched.text(), value);
    const head = await fetch(`${server.url}/data/${hash}`, { method: "HEAD" });
    assert.equal(head.headers.get("content-length"), String(value.length));
    const part = await fetch(`${server.url}/data/${hash}`, { headers: { range: "bytes=5-8" } });
    assert.deepEqual([part.status, await part.text()], [206, "word"]);
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

/** The status of the answer to these bytes. */
async function statusOf(port: number, head: string): Promise<number> {
  return Number((await exchange(port, `${head}Connection: close\r\n\r\n`)).slice(9, 12));
}

Deno.test("odd Host headers and targets are refused, and the server goes on", async () => {
  await withServer(async ({ port }, service) => {
    const find = `/network/find/${"0d".repeat(20)}`;
    const status = (target: string, ...hosts: string[]) =>
      statusOf(
        port,
        `GET ${target} HTTP/1.1\r\n${hosts.map((host) => `Host: ${host}\r\n`).join("")}`,
      );
    for (const host of ["evil.example", `evil.example:${port}`, "0.0.0.0", "[2001:db8::1]"]) {
      for (const target of ["/healthz", "/", find, "/ws", "/nope"]) {
        assert.equal(await status(target, host), 403, host);
      }
    }
    const malformed = [
      "[",
      "a/b",
      "127.0.0.1@evil.example",
      "evil.example@127.0.0.1",
      "?",
      "#",
      "",
    ];
    for (const host of [...malformed, "127.0.0.1, 127.0.0.1", "::1", "l\u00f6calhost"]) {
      assert.equal(await status(find, host), 400, host);
    }
    assert.equal(await status(find, "127.0.0.1", "evil.example"), 400, "two of them");
    assert.equal(await status(find, "evil.example", "127.0.0.1"), 400);
    assert.equal(await status(`http://evil.example${find}`, "127.0.0.1"), 400, "absolute form");
    assert.equal(await status(`http://127.0.0.1${find}`, "evil.example"), 400);
    assert.equal(await status(`http://127.0.0.1@evil.example${find}`, "127.0.0.1"), 400);
    assert.equal(await status(`ftp://127.0.0.1${find}`, "127.0.0.1"), 400);
    assert.equal(await status(`http://evil.example${find}`, "evil.example"), 403);
    for (const target of ["//evil.example/healthz", "/\\evil", "/%", "/data/%ff%"]) {
      assert.ok([400, 404].includes(await status(target, "127.0.0.1")), target);
    }
    assert.deepEqual(service.calls, [], "nothing was sent");
    for (const host of ["127.0.0.1", `127.0.0.1:${port}`, "LOCALHOST.", "[::1]:1", "127.9.9.9"]) {
      assert.equal(await status("/healthz", host), 200, host);
    }
    assert.equal(await status(`http://127.0.0.1:${port}/healthz`, `127.0.0.1:${port}`), 200);
    assert.equal(
      await statusOf(port, "GET /healthz HTTP/1.0\r\n"),
      200,
      "no browser leaves it out",
    );
  });
});

Deno.test("what pages elsewhere can make a browser send is refused", async () => {
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

Deno.test("a port in use, or an address of another machine, is one clear line", async () => {
  await withServer(async (server) => {
    const { port } = server;
    const app = { fetch: () => new Response() };
    await assert.rejects(
      serveApi(app, { hostname: "127.0.0.1", port }),
      (error: Error) =>
        error instanceof ListenError &&
        new RegExp(`^API_HOST 127\\.0\\.0\\.1, API_PORT ${port}: the port is in use.*--api-port$`)
          .test(error.message),
    );
    for (const hostname of ["192.0.2.1", "no.such.host.invalid"]) {
      await assert.rejects(
        serveApi(app, { hostname, port: 0 }),
        (error: Error) => error instanceof ListenError && !error.message.includes("\n"),
      );
    }
  });
});

Deno.test("close waits for the requests in hand", async () => {
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

Deno.test("close answers 503 to what takes too long", async () => {
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

Deno.test("an error outside the app is a problem document as well", async () => {
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

/** Messages of a socket, one after the other; ends with the close code. */
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

Deno.test("a WebSocket that watches a value hears hello, its version and each newer one", async () => {
  await withServer(async (server, service) => {
    const hash = "0d".repeat(20);
    const version = (seq: number) => ({ seq, size: 5, publicKey: "ab" });
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

Deno.test("a WebSocket's token comes in its subprotocol", async () => {
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
