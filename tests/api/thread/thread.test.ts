// Tests the API in its own thread: calls, events, streams and failures between the threads.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { ApiThreadError, ListenError } from "../../../src/api/errors.ts";
import {
  configOf,
  type FromApi,
  settingsOf,
  type ToApi,
} from "../../../src/api/thread/messages.ts";
import { ApiThread, type ApiWorker } from "../../../src/api/thread/thread.ts";
import { loadConfig } from "../../../src/config.ts";
import { FakeService, NODE_ID, PEER_A } from "../fake_service.ts";

interface Setup {
  readonly service: FakeService;
  readonly thread: ApiThread;
  readonly url: string;
  /** The log messages of the API. */
  readonly logged: unknown[];
}

async function withThread(use: (setup: Setup) => Promise<void>): Promise<void> {
  const service = new FakeService(), thread = new ApiThread(), logged: unknown[] = [];
  const config = loadConfig({ env: { API_PORT: "0" } });
  const log = { error: (...given: unknown[]) => logged.push(given) };
  const { urls: [url] } = await thread.serve({ service, config, log });
  try {
    await use({ service, thread, url, logged });
  } finally {
    await thread.close();
  }
}

Deno.test("requests reach the service in the other thread", async () => {
  await withThread(async ({ service, url }) => {
    const stats = await (await fetch(`${url}/network/stats`)).json();
    assert.equal(stats.node_id, NODE_ID);
    const ping = await (await fetch(`${url}/network/ping/${PEER_A}`)).json();
    assert.equal(ping.rtt_ms, 12.4);
    assert.deepEqual(service.calls.map(([name]) => name), ["stats", "ping"]);
  });
});

Deno.test("a body reaches the other thread in pieces, and the value returns unchanged", async () => {
  await withThread(async ({ service, url }) => {
    const value = crypto.getRandomValues(new Uint8Array(60_000));
    const body = new Blob([value, value, value]).stream();
    const stored = await (await fetch(`${url}/network/store`, { method: "POST", body })).json();
    const expected = new Uint8Array([...value, ...value, ...value]);
    assert.deepEqual(service.values.get(stored.hash)!.bytes, expected);
    const fetched = await (await fetch(`${url}/data/${stored.hash}`)).bytes();
    assert.deepEqual(digest(fetched), digest(expected));
  });
});

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

Deno.test("if a value is part of a larger buffer, the rest of the buffer is not sent", async () => {
  await withThread(async ({ service, url }) => {
    const buffer = new Uint8Array(1 << 20);
    const hash = service.hold(buffer.subarray(10, 20));
    const response = await fetch(`${url}/data/${hash}`);
    assert.equal((await response.bytes()).length, 10);
  });
});

Deno.test("events and versions of a watched value reach their listeners", async () => {
  await withThread(async ({ service, url }) => {
    service.versions.set(PEER_A, { seq: 3, size: 5, public_key: null, value: new Uint8Array() });
    const query = `types=data.expire&watch=${PEER_A}&key=k`;
    const socket = new WebSocket(`${url.replace("http", "ws")}/ws?${query}`);
    const types: string[] = [];
    const watched = Promise.withResolvers<void>(), expired = Promise.withResolvers<void>();
    socket.onmessage = ({ data }) => {
      const { type } = JSON.parse(data);
      types.push(type);
      if (type === "watch") watched.resolve();
      if (type === "data.expire") expired.resolve();
    };
    await watched.promise;
    service.events.tell({ type: "data.expire", data: { hash: PEER_A, reason: "expired" } }, 0);
    await expired.promise;
    assert.deepEqual(types, ["hello", "watch", "data.expire"]);
    const closed = new Promise((resolve) => socket.onclose = resolve);
    socket.close();
    await closed;
  });
});

Deno.test("events before the first request are in the log", async () => {
  await withThread(async ({ service, url }) => {
    service.events.tell({ type: "data.expire", data: { hash: PEER_A, reason: "expired" } }, 0);
    const headers = { accept: "text/event-stream", "last-event-id": "0" };
    const { body } = await fetch(`${url}/events?types=data.expire`, { headers });
    let text = "";
    for await (const part of body!.pipeThrough(new TextDecoderStream())) {
      text += part;
      if (text.includes("data.expire")) break;
    }
    assert.match(text, new RegExp(PEER_A));
  });
});

Deno.test("settings that change before the first request are in force", async () => {
  await withThread(async ({ thread, url }) => {
    thread.reconfigure(loadConfig({ env: { API_PORT: "0", API_TOKEN: "a-token-of-the-test" } }));
    const response = await fetch(`${url}/network/store`, { method: "POST", body: "x" });
    await response.body?.cancel();
    assert.equal(response.status, 401);
  });
});

Deno.test("a failure of the service is logged with its cause, which is not in the response", async () => {
  await withThread(async ({ service, url, logged }) => {
    service.failure = new Error("planted");
    const response = await fetch(`${url}/network/peers`);
    assert.equal(response.status, 500);
    assert.doesNotMatch(await response.text(), /planted/);
    assert.match(JSON.stringify(logged), /\{method\} \{path\} failed.*planted/);
  });
});

Deno.test("a port in use is reported as a port in use", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const thread = new ApiThread();
  const config = loadConfig({ env: { API_PORT: String(taken.addr.port) } });
  await assert.rejects(
    thread.serve({ service: new FakeService(), config }),
    (error: Error) => error instanceof ListenError && /in use/.test(error.message),
  );
});

Deno.test("the configuration arrives unchanged in the other thread", () => {
  const configs = [
    loadConfig({}),
    loadConfig({ flags: { allowNet: true } }),
    loadConfig({
      flags: { allowNet: "10.0.0.0/8,boot.example,[2001:db8::]/32" },
      env: { API_TRUSTED_PROXIES: "192.0.2.0/24,2001:db8::1" },
    }),
  ];
  for (const config of configs) {
    assert.deepEqual(configOf(structuredClone(settingsOf(config))), config);
  }
});

/** A thread that loads normally, and runs `code` at its first message. */
function threadThat(code: string): ApiThread {
  const source = `postMessage([{ type: "ready" }]); onmessage = () => { ${code} };`;
  const url = `data:application/javascript,${encodeURIComponent(source)}`;
  return new ApiThread(new Worker(url, { type: "module" }) as ApiWorker);
}

const FAIL = 'throw new Error("planted");';

Deno.test("a thread that fails at the start is reported", async () => {
  const thread = threadThat(FAIL), service = new FakeService();
  await thread.ready;
  await assert.rejects(
    thread.serve({ service, config: loadConfig({}) }),
    (error: Error) => error instanceof ApiThreadError && /planted/.test(error.message),
  );
  thread.terminate();
});

Deno.test("a thread that fails later is reported, and can be closed", async () => {
  const listening = JSON.stringify([{ type: "listening", url: "", port: 1 }]);
  const thread = threadThat(`postMessage(${listening}); onmessage = () => { ${FAIL} }`);
  const service = new FakeService();
  await thread.serve({ service, config: loadConfig({}) });
  service.events.tell({ type: "data.expire", data: { hash: PEER_A, reason: "expired" } }, 0);
  assert.match((await thread.failed).message, /^the API's thread has failed: .*planted/);
  await thread.close();
});

Deno.test("a thread whose code does not load is reported", async () => {
  const thread = new ApiThread(new Worker("data:,throw", { type: "module" }) as ApiWorker);
  await assert.rejects(thread.ready, ApiThreadError);
  thread.terminate();
});

Deno.test("messages of one turn are sent together", async () => {
  const sent: (readonly ToApi[])[] = [];
  const worker: ApiWorker = {
    onmessage: null,
    onerror: null,
    postMessage: (messages) => sent.push(messages),
    terminate() {},
  };
  const thread = new ApiThread(worker), service = new FakeService();
  void thread.serve({ service, config: loadConfig({}) });
  for (const hash of ["a", "b"]) {
    service.events.tell({ type: "data.expire", data: { hash, reason: "expired" } }, 0);
  }
  await Promise.resolve();
  assert.deepEqual(sent.map((messages) => messages.map(({ type }) => type)), [
    ["serve", "event", "event"],
  ]);
  const call = (call: number): FromApi => ({ type: "call", call, method: "peers", args: [] });
  worker.onmessage!(new MessageEvent("message", { data: [call(1), call(2)] }));
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.deepEqual(sent[1].map(({ type }) => type), ["result", "result"]);
});
