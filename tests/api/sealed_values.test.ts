// Sealed values over HTTP: the node seals and opens them for clients that can't do it themselves.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { loadConfig } from "../../src/config.ts";
import type { Item } from "../../src/dht/items/item.ts";
import { StoredValue } from "../../src/reports/values.ts";
import {
  CONTENT_BYTES,
  isSealed,
  newSealKey,
  parseSealLink,
  sealedSize,
} from "../../src/web/seal.js";
import { sampleBytes } from "../large_values/memory_network.ts";
import { LargeService } from "./large_service.ts";

const LIMIT = 600_000;
const KEY_HEADER = "x-seal-key";

function setup() {
  const service = new LargeService();
  const env = { MAX_VALUE_SIZE: String(LIMIT) };
  const app = createApi({ service, config: loadConfig({ env }), log: { error() {} } });
  const request = async (path: string, init?: RequestInit): Promise<Response> =>
    await app.fetch(new Request(`http://localhost${path}`, init));
  const store = async (body: BodyInit, query = "?seal=1", headers: HeadersInit = {}) => {
    const response = await request(`/network/store${query}`, { method: "POST", body, headers });
    assert.equal(response.status, 201, await response.clone().text());
    const { link = "", ...stored } = StoredValue.parse(await response.json());
    const parsed = parseSealLink(link);
    assert.ok(parsed !== null, `no link: ${link}`);
    assert.equal(parsed.hash, stored.hash);
    return { ...stored, sealKey: parsed.key };
  };
  const fetchValue = (hash: string, sealKey: string, headers: Record<string, string> = {}) =>
    request(`/data/${hash}`, { headers: { [KEY_HEADER]: sealKey, ...headers } });
  return { service, request, store, fetchValue };
}

const JSON_HEADERS = { "content-type": "application/json" };

async function bytesOf(response: Response): Promise<Uint8Array> {
  return new Uint8Array(await response.arrayBuffer());
}

Deno.test("the node seals a body of any size, and opens it for a client with the key", async () => {
  const { request, store, fetchValue } = setup();
  for (const size of [997, CONTENT_BYTES, CONTENT_BYTES + 1, 200_000]) {
    const content = sampleBytes(size);
    const { hash, sealKey, size: storedSize } = await store(content);
    assert.equal(storedSize, sealedSize(size));
    const raw = await bytesOf(await request(`/data/${hash}`));
    assert.ok(isSealed(raw), "without the key, it is a sealed value");
    const opened = await fetchValue(hash, sealKey);
    assert.equal(opened.status, 200);
    assert.equal(opened.headers.get("content-length"), `${size}`);
    assert.equal(opened.headers.get("cache-control"), "no-store");
    assert.match(opened.headers.get("content-security-policy") ?? "", /sandbox/);
    assert.deepEqual(await bytesOf(opened), content, `${size} bytes`);
  }
});

Deno.test("a JSON body is sealed too, and its content has its own type", async () => {
  const { store, fetchValue } = setup();
  const { hash, sealKey } = await store(
    '{"value": {"temperature": 21.5}}',
    "?seal=1",
    JSON_HEADERS,
  );
  const opened = await fetchValue(hash, sealKey);
  assert.equal(opened.headers.get("content-type"), "application/json");
  assert.equal(await opened.text(), '{"temperature":21.5}');
  const empty = await store('{"value": ""}', "?seal=1", JSON_HEADERS);
  assert.equal(await (await fetchValue(empty.hash, empty.sealKey)).text(), "");
  const long = await store("ä".repeat(100_000));
  const text = await fetchValue(long.hash, long.sealKey);
  assert.equal(text.headers.get("content-type"), "text/plain; charset=utf-8");
  await text.body?.cancel();
});

Deno.test("versions of a value can share a link", async () => {
  const { request } = setup();
  const key = newSealKey(), seal = { [KEY_HEADER]: key };
  const init = { method: "POST", body: "first", headers: seal };
  const response = await request("/network/store?seal=1&key=notes", init);
  const first = StoredValue.parse(await response.json());
  assert.equal(parseSealLink(first.link ?? "")?.key, key);
  const second = await request("/network/store?seal=1&key=notes", { ...init, body: "second" });
  const { link } = StoredValue.parse(await second.json());
  assert.equal(parseSealLink(link ?? "")?.key, key);
});

Deno.test("a range of the content is answered from its records", async () => {
  const { store, fetchValue } = setup();
  const content = sampleBytes(200_000), { hash, sealKey } = await store(content);
  const ranges = [[0, 9], [CONTENT_BYTES - 1, CONTENT_BYTES], [150_000, 199_999], [0, 199_999]];
  for (const [first, last] of ranges) {
    const response = await fetchValue(hash, sealKey, { range: `bytes=${first}-${last}` });
    assert.equal(response.status, 206);
    assert.equal(response.headers.get("content-range"), `bytes ${first}-${last}/200000`);
    assert.deepEqual(await bytesOf(response), content.slice(first, last + 1), `${first}-${last}`);
  }
  const etag = (await fetchValue(hash, sealKey)).headers.get("etag") ?? "";
  assert.equal((await fetchValue(hash, sealKey, { "if-none-match": etag })).status, 304);
  assert.equal((await fetchValue(hash, sealKey, { range: "bytes=200000-" })).status, 416);
});

Deno.test("HEAD describes the content of a sealed value", async () => {
  const { request, store } = setup();
  const { hash, sealKey } = await store(sampleBytes(100_000));
  const response = await request(`/data/${hash}`, {
    method: "HEAD",
    headers: { [KEY_HEADER]: sealKey },
  });
  assert.equal(response.headers.get("content-length"), "100000");
  assert.equal((await bytesOf(response)).length, 0);
});

Deno.test("a wrong key, a value that is not sealed and a malformed key are refused", async () => {
  const { request, store, fetchValue } = setup();
  const { hash, sealKey } = await store(sampleBytes(100_000));
  assert.equal((await fetchValue(hash, newSealKey())).status, 403);
  const malformed = await fetchValue(hash, `${sealKey}x`);
  assert.equal(malformed.status, 400);
  assert.ok(!(await malformed.text()).includes(sealKey), "an error never quotes a key");
  const plain = await request("/network/store", { method: "POST", body: sampleBytes(2_000) });
  const { hash: other } = await plain.json();
  assert.equal((await fetchValue(other, sealKey)).status, 400);
});

Deno.test("a key without seal=1 is refused, because the value would be stored in plain", async () => {
  const { service, request } = setup();
  const headers = { [KEY_HEADER]: newSealKey() };
  const response = await request("/network/store", { method: "POST", body: "secret", headers });
  assert.equal(response.status, 400);
  assert.equal(service.options.length + service.announced.length, 0);
});

Deno.test("the limit applies to the sealed size", async () => {
  const { request } = setup();
  const fits = LIMIT - (sealedSize(LIMIT) - LIMIT);
  const post = async (size: number, headers: HeadersInit = {}) =>
    (await request("/network/store?seal=1", { method: "POST", body: sampleBytes(size), headers }))
      .status;
  assert.equal(await post(fits), 201);
  assert.equal(await post(fits + 1), 413);
  assert.equal(await post(fits + 1, { "content-length": `${fits + 1}` }), 413);
});

Deno.test("a large value that was changed breaks off before the wrong record", async () => {
  const { service, store, fetchValue } = setup();
  const content = sampleBytes(200_000), { hash, sealKey } = await store(content);
  // Change the answer of the node's own reader: pieces of immutable values are checked against their hashes before.
  const read = service.readDownload.bind(service);
  let received = 0;
  service.readDownload = async (download) => {
    const piece = await read(download);
    if (piece.outcome === "bytes") {
      received += piece.bytes.length;
      if (received > 140_000) piece.bytes[0] ^= 1;
    }
    return piece;
  };
  const response = await fetchValue(hash, sealKey);
  assert.equal(response.status, 200);
  const parts: Uint8Array[] = [];
  await assert.rejects(async () => {
    for await (const part of response.body ?? []) parts.push(part);
  });
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  assert.ok(length >= CONTENT_BYTES && length % CONTENT_BYTES === 0, `${length} bytes`);
  assert.deepEqual(
    await bytesOf(new Response(new Blob(parts as BlobPart[]))),
    content.slice(0, length),
  );
});

Deno.test("a sealed value with a lost piece breaks off, as others do", async () => {
  const { service, store, fetchValue } = setup();
  const { hash, sealKey } = await store(sampleBytes(200_000));
  const items = service.network.items as Map<string, Item>;
  for (const target of [...items.keys()]) if (target !== hash) items.delete(target);
  assert.equal((await fetchValue(hash, sealKey)).status, 404);
});
