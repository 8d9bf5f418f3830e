// Tests the responses for values: content types, ETags, ranges, and headers that keep browsers from running values.

import assert from "node:assert/strict";
import { createApi } from "../../src/api/app.ts";
import { loadConfig } from "../../src/config.ts";
import { mediaType } from "../../src/web/media_type.js";
import { FakeService } from "./fake_service.ts";

function setup() {
  const service = new FakeService();
  const app = createApi({ service, config: loadConfig() });
  const get = (hash: string, headers: Record<string, string> = {}, method = "GET") =>
    app.request(`/data/${hash}`, { headers, method });
  return { service, get };
}

const TEN = "0123456789";

Deno.test("the content type depends only on the bytes", () => {
  const type = (bytes: string | Uint8Array) =>
    mediaType(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
  const json = [
    '{"a":1}',
    "[]",
    " \n[1]\t",
    "123",
    "-1.5e3",
    '"text"',
    "true",
    "null",
    '{"__proto__":1}',
  ];
  for (const text of json) assert.equal(type(text), "application/json", text);
  const texts = [
    "plain words",
    "",
    " ",
    "{",
    "[1,]",
    "tru",
    "nullx",
    "01",
    "1 2",
    "<html><script>alert(1)</script>",
    "<?xml version='1.0'?>",
    "grüße",
    "a\0b",
    "\uFEFF{}",
    "NaN",
    "[".repeat(100_000),
  ];
  for (const text of texts) {
    assert.equal(type(text), "text/plain; charset=utf-8", text.slice(0, 30));
  }
  const binary = [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0x22, 0x80, 0x22]];
  for (const bytes of binary) {
    assert.equal(type(new Uint8Array(bytes)), "application/octet-stream");
  }
  const deep = "[".repeat(1_000_000) + "]".repeat(1_000_000);
  assert.match(type(deep), /^(application\/json|text\/plain)/, "no stack is exhausted");
});

Deno.test("an immutable value has a strong ETag, and may be cached forever", async () => {
  const { service, get } = setup();
  const hash = service.hold(TEN);
  const response = await get(hash);
  assert.equal(response.status, 200);
  assert.deepEqual(Object.fromEntries(response.headers), {
    "accept-ranges": "bytes",
    "cache-control": "max-age=31536000, immutable, no-transform",
    "content-length": "10",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    vary: "accept, x-seal-key",
    "content-type": "text/plain; charset=utf-8",
    "cross-origin-resource-policy": "same-origin",
    "etag": `"${hash}"`,
    "x-content-type-options": "nosniff",
  });
  assert.equal(await response.text(), TEN);
});

Deno.test("a mutable value has its seq and public key, must be revalidated, and has no ranges", async () => {
  const { service, get } = setup();
  const hash = service.hold(TEN, true);
  const response = await get(hash, { range: "bytes=0-1", "if-none-match": "*" });
  assert.equal(response.status, 200);
  assert.equal(await response.text(), TEN);
  assert.deepEqual(Object.fromEntries(response.headers), {
    "cache-control": "no-cache, no-transform",
    "content-length": "10",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    vary: "accept, x-seal-key",
    "content-type": "text/plain; charset=utf-8",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-public-key": "ab".repeat(32),
    "x-seq": "7",
  });
});

Deno.test("bytes are returned as they were stored, also binary, empty and large ones", async () => {
  const { service, get } = setup();
  const large = Uint8Array.from({ length: 300_000 }, (_, i) => i * 31);
  for (const bytes of [new Uint8Array([0, 255, 13, 10]), new Uint8Array(), large]) {
    const response = await get(service.hold(bytes));
    assert.equal(response.headers.get("content-length"), String(bytes.length));
    assert.deepEqual(new Uint8Array(await response.arrayBuffer()), bytes);
  }
});

Deno.test("HEAD has the headers of GET and no body", async () => {
  const { service, get } = setup();
  for (const hash of [service.hold(TEN), service.hold("other", true)]) {
    const head = await get(hash, {}, "HEAD"), full = await get(hash);
    assert.deepEqual(Object.fromEntries(head.headers), Object.fromEntries(full.headers));
    assert.equal(head.status, 200);
    assert.equal(await head.text(), "");
  }
  const ranged = await get(service.hold(TEN), { range: "bytes=2-3" }, "HEAD");
  assert.deepEqual([ranged.status, ranged.headers.get("content-length")], [200, "10"]);
});

Deno.test("If-None-Match: 304 if it names the value", async () => {
  const { service, get } = setup();
  const hash = service.hold(TEN);
  const other = `"${"0".repeat(40)}"`;
  for (const tag of [`"${hash}"`, `W/"${hash}"`, "*", `${other}, "${hash}"`]) {
    const response = await get(hash, { "if-none-match": tag, range: "bytes=0-1" });
    assert.equal(response.status, 304, tag);
    assert.equal(response.headers.get("etag"), `"${hash}"`);
    assert.equal(response.headers.get("content-length"), null);
    assert.equal(await response.text(), "");
  }
  for (const tag of [other, hash, "", '"'.repeat(3)]) {
    assert.equal((await get(hash, { "if-none-match": tag })).status, 200, tag);
  }
  assert.equal((await get("0".repeat(40), { "if-none-match": "*" })).status, 404);
});

Deno.test("Range: one range is 206", async () => {
  const { service, get } = setup();
  const hash = service.hold(TEN);
  const ranges: [string, string, string][] = [
    ["bytes=0-0", "0", "0-0"],
    ["bytes=2-5", "2345", "2-5"],
    ["bytes=5-", "56789", "5-9"],
    ["bytes=5-99999999999999999999", "56789", "5-9"],
    ["bytes=0-9", TEN, "0-9"],
    ["bytes=-3", "789", "7-9"],
    ["bytes=-99", TEN, "0-9"],
    ["BYTES= 2-3 ", "23", "2-3"],
  ];
  for (const [range, text, span] of ranges) {
    const response = await get(hash, { range });
    assert.equal(response.status, 206, range);
    assert.equal(response.headers.get("content-range"), `bytes ${span}/10`);
    assert.equal(response.headers.get("content-length"), String(text.length));
    assert.equal(response.headers.get("etag"), `"${hash}"`);
    assert.equal(await response.text(), text);
  }
});

Deno.test("Range: anything but a single byte range gets the whole value", async () => {
  const { service, get } = setup();
  const hash = service.hold(TEN);
  const whole = [
    "bytes=0-1,3-4",
    "bytes=5-2",
    "bytes=-",
    "bytes=",
    "bytes=a-b",
    "lines=0-1",
    "bytes=1",
  ];
  for (const range of whole) {
    const response = await get(hash, { range });
    assert.equal(response.status, 200, range);
    assert.equal(await response.text(), TEN);
  }
});

Deno.test("Range: a range outside the value is 416 with the size", async () => {
  const { service, get } = setup();
  const outside: [string, string][] = [
    [service.hold(TEN), "bytes=10-"],
    [service.hold(TEN), "bytes=99999999999999999999-"],
    [service.hold(TEN), "bytes=-0"],
    [service.hold(""), "bytes=0-"],
    [service.hold(""), "bytes=-1"],
  ];
  for (const [hash, range] of outside) {
    const response = await get(hash, { range });
    assert.equal(response.status, 416, range);
    const { size } = await response.json();
    assert.equal(response.headers.get("content-range"), `bytes */${size}`);
    assert.equal(response.headers.get("content-type"), "application/problem+json");
  }
});

Deno.test("If-Range: the range if it names the value, otherwise the whole value", async () => {
  const { service, get } = setup();
  const hash = service.hold(TEN);
  const range = "bytes=0-1";
  assert.equal((await get(hash, { range, "if-range": `"${hash}"` })).status, 206);
  for (const tag of ['"x"', `W/"${hash}"`, "Wed, 21 Oct 2015 07:28:00 GMT"]) {
    assert.equal((await get(hash, { range, "if-range": tag })).status, 200, tag);
  }
});
