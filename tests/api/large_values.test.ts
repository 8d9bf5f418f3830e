// Tests large values over HTTP: streaming, ranges, and failures in the middle of a transfer.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { Stored, Transfers } from "../../src/reports/values.ts";
import { type ApiServer, serveApi } from "../../src/api/server.ts";
import { loadConfig } from "../../src/config.ts";
import { Layout, MAX_SIZE, PIECE_BYTES } from "../../src/large_values/layout.ts";
import { encodeRoot } from "../../src/large_values/manifest.ts";
import { TRANSFERS, WINDOW } from "../../src/large_values/transfers.ts";
import { immutableItem, type Item } from "../../src/dht/items/item.ts";
import { dataCrypto } from "../../src/runtime/identity/crypto.ts";
import { sampleBytes } from "../large_values/memory_network.ts";
import { plantZeros } from "../large_values/setup.ts";
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
    return Stored.parse(await response.json());
  };
  return { app, service, logged, request, store };
}

async function withServer(
  use: (server: ApiServer, it: ReturnType<typeof setup>) => Promise<void>,
): Promise<void> {
  const it = setup();
  const server = await serveApi(it.app, { hostnames: ["127.0.0.1"], port: 0 });
  try {
    await use(server, it);
  } finally {
    await server.close();
  }
}

async function bytesOf(response: Response): Promise<Uint8Array> {
  return new Uint8Array(await response.arrayBuffer());
}

/** The items of a large value except its root, in the order in which they were stored. */
const piecesOf = (service: LargeService): Item[] =>
  [...service.network.items.values()].filter(({ value }) => value[0] !== 0x64);

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, `in vain: ${holds}`);
    await pause(5);
  }
}

Deno.test("a raw body is stored as a tree of items, and fetched byte for byte", async () => {
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
      ttl: undefined,
    });
    const response = await request(`/data/${body.hash}`);
    assert.deepEqual(Object.fromEntries(response.headers), {
      "accept-ranges": "bytes",
      "cache-control": "max-age=31536000, immutable, no-transform",
      "content-length": String(size),
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
      vary: "accept, x-seal-key",
      "content-type": "application/octet-stream",
      "cross-origin-resource-policy": "same-origin",
      "etag": `"${body.hash}"`,
      "x-content-type-options": "nosniff",
    });
    assert.deepEqual(await bytesOf(response), bytes);
  }
  assert.equal(service.network.open, 0);
});

Deno.test("the content type is detected while the value is stored", async () => {
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

Deno.test("a range of a large value fetches only the parts that it needs", async () => {
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
    assert.ok(service.network.gets.length <= Math.ceil((end - start) / PIECE_BYTES) + 4, range);
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

Deno.test("HEAD and matching ETags fetch only the root", async () => {
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

Deno.test("a large value under a key has its seq and owner, and still an ETag and ranges", async () => {
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

Deno.test("a body over the limit is 413 while it is streamed, and its memory is released", async () => {
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
  const { network, blobs } = service;
  assert.deepEqual([network.open, network.puts, blobs.bytes.size], [0, 0, 0], "nothing was sent");
});

Deno.test("a body is not read faster than the disk stores it", async () => {
  const { service, request } = setup();
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const create = service.blobs.create.bind(service.blobs);
  service.blobs.create = () => {
    const writer = create();
    const append = async (bytes: Uint8Array) => {
      await gate;
      await writer.append(bytes);
    };
    return { ...writer, append };
  };
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
  assert.ok(taken <= 50_000, `${taken} bytes taken`);
  open();
  assert.equal((await (await answer).json()).size, 500_000);
});

Deno.test("a body whose announced length is over the limit is refused before it is read", async () => {
  const { service, request } = setup();
  let isRead = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      isRead = true;
      controller.close();
    },
  }, { highWaterMark: 0 });
  const headers = { "x-transfer-length": `${LIMIT + 1}` };
  const response = await request("/network/store", { method: "POST", body, headers });
  assert.deepEqual([response.status, isRead], [413, false]);
  assert.deepEqual([service.announced, service.blobs.bytes.size], [[], 0]);
  for (const length of ["", "-1", "1e3", "x"]) {
    const headers = { "x-transfer-length": length };
    const refused = await request("/network/store", { method: "POST", body: "x", headers });
    assert.equal(refused.status, 400, length);
  }
});

Deno.test("a body's announced length is its total in progress reports", async () => {
  const { service, request } = setup();
  const body = new Blob([sampleBytes(5_000)]).stream();
  const headers = { "x-transfer-length": "5000" };
  const response = await request("/network/store", { method: "POST", body, headers });
  assert.equal(response.status, 201);
  assert.equal(service.announced[0].totalBytes, 5_000);
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
  await pause(20);
  const { network, blobs } = service;
  assert.deepEqual([network.open, await service.transfers()], [0, []]);
  assert.deepEqual([network.puts, blobs.bytes.size], [0, 0]);
});

Deno.test("parts that no node stores, missing parts and invalid trees each have their status", async () => {
  const { service, request, store } = setup();
  const { network } = service;
  const problem = async (response: Response, status: number) => {
    assert.equal(response.status, status);
    assert.equal(response.headers.get("content-type"), "application/problem+json");
    assert.equal(response.headers.get("etag"), null);
    return (await response.json()).detail;
  };
  const { hash } = await store(sampleBytes(50_000));
  const pieces = piecesOf(service), [first] = pieces;
  const { stripes, data } = new Layout(50_000).levels[0],
    { columns } = new Layout(50_000).levels[0].stripe(0);
  assert.equal(stripes, 2);
  // Of the first stripe, only parity pieces are left, and one too few.
  const gone = [...pieces.slice(0, columns), ...pieces.slice(columns, columns + data)];
  for (const { target } of gone) network.items.delete(`${target}`);
  assert.match(
    await problem(await request(`/data/${hash}`), 404),
    /^Part [0-9a-f]{40} .*not found/,
  );
  for (const piece of gone) network.items.set(`${piece.target}`, piece);
  network.items.set(`${first.target}`, { ...first, value: first.value.slice(1) });
  assert.match(await problem(await request(`/data/${hash}`), 502), /not what it should be/);
  network.items.set(`${first.target}`, first);
  await problem(await request(`/data/${first.target}`), 502);

  network.replicasOf = () => 0;
  const refused = await request("/network/store", { method: "POST", body: sampleBytes(5000) });
  assert.match(await problem(refused, 503), /No node acknowledged/);
  network.replicasOf = (_item, _put, copies) => copies;

  const responses = await Promise.all(
    Array.from({ length: TRANSFERS }, () => request(`/data/${hash}`)),
  );
  const busy = await request(`/data/${hash}`);
  assert.equal(busy.headers.get("retry-after"), "1");
  await problem(busy, 503);
  const body = sampleBytes(5000);
  await problem(await request("/network/store", { method: "POST", body }), 503);
  await responses[0].body!.cancel();
  assert.equal((await bytesOf(await request(`/data/${hash}`))).length, 50_000);
  await Promise.all(responses.slice(1).map((response) => response.body!.cancel()));
  assert.equal(network.open, 0);
});

Deno.test("over a connection, a download that fails does not end like a complete one", async () => {
  await withServer(async (server, { service, store }) => {
    const { hash } = await store(sampleBytes(400_000));
    const chunks = piecesOf(service);
    const read = async () => {
      const response = await fetch(`${server.url}/data/${hash}`);
      let size = 0;
      // The node may know before the first byte that pieces are missing. It then answers 404.
      for await (const piece of response.body!) size += piece.length;
      assert.equal(response.status, 200);
      return size;
    };
    assert.equal(await read(), 400_000);
    const lost = chunks.slice(500);
    for (const { target } of lost) service.network.items.delete(`${target}`);
    await assert.rejects(read());
    for (const piece of lost) service.network.items.set(`${piece.target}`, piece);
    assert.equal(await read(), 400_000);
    const gone = chunks[0];
    // A piece of the right length with other bytes. Only the SHA-256 reveals it.
    const other = gone.value.slice();
    other[500] ^= 1;
    service.network.items.set(`${gone.target}`, { ...gone, value: other });
    await assert.rejects(read());
    assert.equal(service.network.open, 0);
  });
});

/** Creates a value of 4 GB. Returns its hash. */
function plantEndless({ network }: LargeService): string {
  const root = immutableItem(dataCrypto, encodeRoot(plantZeros(network, MAX_SIZE)));
  network.items.set(`${root.target}`, root);
  return `${root.target}`;
}

Deno.test("over a connection, fetching pauses while the client does not read, and ends when it leaves", async () => {
  await withServer(async (server, { service }) => {
    const hash = plantEndless(service);
    const { network } = service;
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
    const ask = `GET /data/${hash} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
    await connection.write(new TextEncoder().encode(ask));
    await until(() => network.gets.length > WINDOW);
    for (let before = -1; before !== network.gets.length;) {
      before = network.gets.length;
      await pause(150);
    }
    // The buffers of the system hold some megabytes.
    assert.ok(network.gets.length < 40_000, `${network.gets.length} gets`);
    assert.equal(network.open, 1);
    connection.close();
    await until(() => network.open === 0);
    const after = network.gets.length;
    await pause(50);
    assert.equal(network.gets.length, after);
  });
});

Deno.test("GET /network/transfers lists the running transfers with their clients' labels", async () => {
  const { service, request } = setup();
  service.underWay = [{
    transfer: 4,
    label: "mine",
    direction: "store",
    hash: null,
    state: "receiving",
    done_bytes: 5,
    total_bytes: null,
  }];
  const response = await request("/network/transfers");
  assert.deepEqual(Transfers.parse(await response.json()), {
    transfers: [{
      transfer: 4,
      label: "mine",
      direction: "store",
      hash: null,
      state: "receiving",
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
