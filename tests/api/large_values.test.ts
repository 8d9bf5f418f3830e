// Values of many items over HTTP: streamed in and out, in ranges, and broken off where they can't be had whole.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import * as schemas from "../../src/api/schemas.ts";
import { type ApiServer, serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { capacity, encodeManifest, MAX_LEVEL, MAX_SIZE } from "../../src/data/manifest.ts";
import { TRANSFERS, WINDOW } from "../../src/data/transfers.ts";
import { immutableItem, type Item } from "../../src/dht/item.ts";
import { dataCrypto } from "../../src/runtime/crypto.ts";
import { sampleBytes } from "../data/memory_network.ts";
import { LargeService } from "./large_service.ts";

const LIMIT = 600_000;

function setup(service = new LargeService(), stallMs?: number) {
  const logged: unknown[][] = [];
  const app = createApi({
    service,
    config: loadConfig({ env: { MAX_VALUE_SIZE: String(LIMIT) } }),
    log: { error: (...entry) => void logged.push(entry) },
    stallMs,
  });
  const request = async (path: string, init?: RequestInit): Promise<Response> =>
    await app.fetch(new Request(`http://localhost${path}`, init));
  const store = async (body: BodyInit, headers: HeadersInit = {}) => {
    const response = await request("/network/store", { method: "POST", body, headers });
    assert.equal(response.status, 201, await response.clone().text());
    return schemas.StoreResponse.parse(await response.json());
  };
  return { app, service, logged, request, store };
}

async function withServer(
  use: (server: ApiServer, it: ReturnType<typeof setup>) => Promise<void>,
): Promise<void> {
  const it = setup();
  const server = await serveApi(it.app, { hostname: "127.0.0.1", port: 0 });
  try {
    await use(server, it);
  } finally {
    await server.close();
  }
}

async function bytesOf(response: Response): Promise<Uint8Array> {
  return new Uint8Array(await response.arrayBuffer());
}

const chunksOf = (service: LargeService): Item[] =>
  [...service.network.items.values()].filter(({ value }) => value[0] !== 0x64);

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, `in vain: ${holds}`);
    await pause(5);
  }
}

Deno.test("a raw body is streamed into a tree, and comes back byte for byte", async () => {
  const { service, request, store } = setup();
  for (const size of [997, 44_821, LIMIT]) {
    const bytes = sampleBytes(size);
    const body = await store(bytes, { "content-length": String(size), "x-transfer-label": "a" });
    assert.deepEqual(
      [body.kind, body.size, body.replicas, body.nodes.length, body.key],
      ["chunked", size, 20, 20, null],
    );
    assert.deepEqual(service.announced.pop(), {
      totalBytes: size,
      label: "a",
      minReplicas: 1,
      cas: undefined,
    });
    const response = await request(`/data/${body.hash}`);
    assert.deepEqual(Object.fromEntries(response.headers), {
      "accept-ranges": "bytes",
      "cache-control": "max-age=31536000, immutable, no-transform",
      "content-length": String(size),
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
      "content-type": "application/octet-stream",
      "cross-origin-resource-policy": "same-origin",
      "etag": `"${body.hash}"`,
      "x-content-type-options": "nosniff",
    });
    assert.deepEqual(await bytesOf(response), bytes);
  }
  assert.equal(service.network.open, 0);
});

Deno.test("the content type is what was seen while the value was stored", async () => {
  const { request, store } = setup();
  const typeOf = async (body: BodyInit) => {
    const response = await request(`/data/${(await store(body)).hash}`, { method: "HEAD" });
    return response.headers.get("content-type");
  };
  const list = JSON.stringify(Array.from({ length: 2000 }, (_, i) => ({ i, text: "größe" })));
  assert.equal(await typeOf(list), "application/json");
  assert.equal(await typeOf(list.slice(1)), "text/plain; charset=utf-8");
  assert.equal(await typeOf("<html>".repeat(500)), "text/plain; charset=utf-8");
  assert.equal(await typeOf(new Uint8Array(2000).fill(0xff)), "application/octet-stream");
});

Deno.test("ranges of a large value, by the needed parts alone", async () => {
  const { service, request, store } = setup();
  const bytes = sampleBytes(300_000);
  const { hash } = await store(bytes);
  const ranges: [string, number, number][] = [
    ["bytes=0-0", 0, 1],
    ["bytes=995-996", 995, 997],
    ["bytes=150000-150999", 150_000, 151_000],
    ["bytes=299000-", 299_000, 300_000],
    ["bytes=-1", 299_999, 300_000],
    ["bytes=-5000", 295_000, 300_000],
    ["bytes=299999-999999999", 299_999, 300_000],
  ];
  for (const [range, start, end] of ranges) {
    service.network.gets.length = 0;
    const response = await request(`/data/${hash}`, { headers: { range } });
    assert.equal(response.status, 206, range);
    assert.equal(response.headers.get("content-range"), `bytes ${start}-${end - 1}/300000`);
    assert.equal(response.headers.get("content-length"), String(end - start));
    assert.deepEqual(await bytesOf(response), bytes.slice(start, end));
    assert.ok(service.network.gets.length <= Math.ceil((end - start) / 996) + 3, range);
  }
  for (let i = 0; i < 30; i++) {
    const start = Math.floor(Math.random() * 300_000);
    const last = start + Math.floor(Math.random() * (300_000 - start));
    const response = await request(`/data/${hash}`, {
      headers: { range: `bytes=${start}-${last}` },
    });
    assert.deepEqual(await bytesOf(response), bytes.slice(start, last + 1), `${start}-${last}`);
  }
  service.network.gets.length = 0;
  for (const range of ["bytes=300000-", "bytes=-0"]) {
    const response = await request(`/data/${hash}`, { headers: { range } });
    assert.deepEqual(
      [response.status, response.headers.get("content-range")],
      [416, "bytes */300000"],
    );
  }
  const several = await request(`/data/${hash}`, { headers: { range: "bytes=0-1,5-6" } });
  assert.equal(several.status, 200);
  await several.body!.cancel();
});

Deno.test("HEAD, and validators that match, fetch nothing but the root", async () => {
  const { service, request, store } = setup();
  const { hash } = await store(sampleBytes(300_000));
  service.network.gets.length = 0;
  const head = await request(`/data/${hash}`, { method: "HEAD" });
  assert.deepEqual(
    [head.status, head.headers.get("content-length"), head.headers.get("accept-ranges")],
    [200, "300000", "bytes"],
  );
  assert.equal(await head.text(), "");
  const same = await request(`/data/${hash}`, { headers: { "if-none-match": `"${hash}"` } });
  assert.equal(same.status, 304);
  assert.deepEqual([service.network.gets, service.network.open], [[], 0]);
});

Deno.test("under a key a large value tells seq and owner, and keeps ETag and ranges", async () => {
  const { service, request, store } = setup();
  const bytes = sampleBytes(5000);
  service.seq = 3;
  const { hash, key, seq, kind } = await store(bytes);
  assert.deepEqual([kind, key, seq], ["chunked", null, 3]);
  const response = await request(`/data/${hash}`, { headers: { range: "bytes=1-2" } });
  assert.equal(response.status, 206);
  const { headers } = response;
  assert.equal(headers.get("x-seq"), "3");
  assert.equal(headers.get("x-public-key"), "ab".repeat(32));
  assert.equal(headers.get("cache-control"), "no-cache, no-transform");
  assert.equal(headers.get("etag"), `"${hash}"`, "that of the root, which names the bytes");
  assert.deepEqual(await bytesOf(response), bytes.slice(1, 3));
});

Deno.test("a body over the limit is 413 while it streams, and nothing of it is kept in hand", async () => {
  const { service, request } = setup();
  let taken = 0, isCancelled = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      taken += 10_000;
      controller.enqueue(new Uint8Array(10_000).fill(taken / 10_000));
    },
    cancel: () => void (isCancelled = true),
  });
  const response = await request("/network/store", { method: "POST", body });
  assert.equal(response.status, 413);
  assert.equal((await response.json()).limit, LIMIT);
  assert.ok(taken <= LIMIT + 30_000 && isCancelled, `${taken} bytes taken`);
  assert.equal(service.network.open, 0);
  const roots = [...service.network.items.values()].filter(({ value }) => value.length > 976);
  assert.ok(roots.every(({ value }) => value[0] !== 0x64), "no root was put");
});

Deno.test("a body is read no faster than the network takes it", async () => {
  const { service, request } = setup();
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  service.network.delay = () => gate;
  let taken = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (taken === 500_000) return controller.close();
      taken += 10_000;
      controller.enqueue(sampleBytes(10_000));
    },
  });
  const answer = request("/network/store", { method: "POST", body });
  await pause(20);
  assert.ok(taken <= WINDOW * 996 + 30_000, `${taken} bytes taken`);
  open();
  assert.equal((await (await answer).json()).size, 500_000);
});

Deno.test("a large body that stalls or breaks off leaves nothing behind", async () => {
  const { service, request } = setup(undefined, 50);
  const start = (controller: ReadableStreamDefaultController) => {
    controller.enqueue(sampleBytes(20_000));
  };
  const stalled = new ReadableStream({ start });
  const late = await request("/network/store", { method: "POST", body: stalled });
  assert.equal(late.status, 408);
  const broken = new ReadableStream({ start, pull: (c) => c.error(new Error("reset")) });
  const cut = await request("/network/store", { method: "POST", body: broken });
  assert.equal(cut.status, 400);
  assert.deepEqual([service.network.open, service.transfers()], [0, []]);
});

Deno.test("parts that nobody took or has, and trees that don't fit, have their statuses", async () => {
  const { service, request, store } = setup();
  const { network } = service;
  const problem = async (response: Response, status: number) => {
    assert.equal(response.status, status);
    assert.equal(response.headers.get("content-type"), "application/problem+json");
    assert.equal(response.headers.get("etag"), null);
    return (await response.json()).detail;
  };
  const { hash } = await store(sampleBytes(50_000));
  const [first] = chunksOf(service);
  network.items.delete(`${first.target}`);
  assert.match(
    await problem(await request(`/data/${hash}`), 404),
    /^Part [0-9a-f]{40} .*not found/,
  );
  network.items.set(`${first.target}`, { ...first, value: first.value.slice(1) });
  assert.match(await problem(await request(`/data/${hash}`), 502), /not what it should be/);
  network.items.set(`${first.target}`, first);
  const inner = [...network.items].find(([h, { value }]) => value[0] === 0x64 && h !== hash)![0];
  await problem(await request(`/data/${inner}`), 502);

  network.replicasOf = () => 0;
  const refused = await request("/network/store", { method: "POST", body: sampleBytes(5000) });
  assert.match(await problem(refused, 503), /No node acknowledged/);
  network.replicasOf = () => 20;

  const responses = await Promise.all(
    Array.from({ length: TRANSFERS }, () => request(`/data/${hash}`)),
  );
  const busy = await request(`/data/${hash}`);
  assert.equal(busy.headers.get("retry-after"), "1");
  await problem(busy, 503);
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(sampleBytes(5000)),
  });
  await problem(await request("/network/store", { method: "POST", body }), 503);
  await responses[0].body!.cancel();
  assert.equal((await bytesOf(await request(`/data/${hash}`))).length, 50_000);
  await Promise.all(responses.slice(1).map((response) => response.body!.cancel()));
  assert.equal(network.open, 0);
});

Deno.test("over a connection: what breaks on the way does not end as if whole", async () => {
  await withServer(async (server, { service, store }) => {
    const { hash } = await store(sampleBytes(400_000));
    const chunks = chunksOf(service);
    const read = async () => {
      const response = await fetch(`${server.url}/data/${hash}`);
      assert.equal(response.status, 200);
      let size = 0;
      for await (const piece of response.body!) size += piece.length;
      return size;
    };
    assert.equal(await read(), 400_000);
    const gone = chunks[300];
    service.network.items.delete(`${gone.target}`);
    await assert.rejects(read());
    service.network.items.set(`${gone.target}`, gone);
    assert.equal(await read(), 400_000);
    // A chunk of the right length with other bytes: all fits but the SHA-256.
    const other = gone.value.slice();
    other[500] ^= 1;
    service.network.items.set(`${gone.target}`, { ...gone, value: other });
    await assert.rejects(read());
    assert.equal(service.network.open, 0);
  });
});

/** A value of 4 GB in five items. */
function plantEndless({ network }: LargeService): string {
  const plant = (value: Uint8Array) => {
    const item = immutableItem(dataCrypto, value);
    network.items.set(`${item.target}`, item);
    return item.target.toBytes();
  };
  const many = (target: Uint8Array) => new Uint8Array(45 * 20).map((_, i) => target[i % 20]);
  let child = plant(bencodeBytes(sampleBytes(996)));
  for (let level = 1; level < MAX_LEVEL; level++) {
    child = plant(encodeManifest(level, capacity(level), many(child)));
  }
  const whole = { sha256: new Uint8Array(32), hint: "binary" } as const;
  plant(encodeManifest(MAX_LEVEL, MAX_SIZE, many(child), whole));
  return [...network.items.keys()].at(-1)!;
}

Deno.test("over a connection: fetching waits for a client that does not read, and ends when it leaves", async () => {
  await withServer(async (server, { service }) => {
    const hash = plantEndless(service);
    const { network } = service;
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
    const ask = `GET /data/${hash} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
    await connection.write(new TextEncoder().encode(ask));
    for (let before = -1; before !== network.gets.length;) {
      before = network.gets.length;
      await pause(150);
    }
    // Some megabytes are in the buffers of the system.
    assert.ok(network.gets.length > WINDOW && network.gets.length < 40_000);
    assert.equal(network.open, 1);
    connection.close();
    await until(() => network.open === 0);
    const after = network.gets.length;
    await pause(50);
    assert.equal(network.gets.length, after);
  });
});

Deno.test("GET /network/transfers shows what is under way, under the client's label", async () => {
  const { service, request } = setup();
  service.underWay = [{
    transfer: 4,
    label: "mine",
    direction: "store",
    hash: null,
    doneBytes: 5,
    totalBytes: null,
    state: "moving",
  }];
  const response = await request("/network/transfers");
  assert.deepEqual(schemas.TransfersResponse.parse(await response.json()), {
    transfers: [{
      transfer: 4,
      label: "mine",
      direction: "store",
      hash: null,
      done_bytes: 5,
      total_bytes: null,
    }],
  });
  for (const label of ["", "a b", "\u00fc", "x".repeat(65)]) {
    const headers = { "x-transfer-label": label };
    const refused = await request("/network/store", { method: "POST", body: "x", headers });
    assert.equal(refused.status, 400, label);
  }
});
