// Tests slow bodies, and the extraction of one member of a JSON text, compared with JSON.parse.

import assert from "node:assert/strict";
import fc from "fast-check";
import { Problem } from "../../src/api/problems.ts";
import { BodyReader, memberText } from "../../src/api/requests.ts";
import { decodeBase64 } from "../../src/api/schemas.ts";

const cut = (json: string) =>
  new TextDecoder().decode(memberText(new TextEncoder().encode(json), "value"));

Deno.test("memberText finds any value between any other members, in any formatting", () => {
  fc.assert(fc.property(
    fc.jsonValue({ noUnicodeString: false }),
    fc.dictionary(fc.string(), fc.jsonValue()),
    fc.constantFrom(undefined, 1, "\t"),
    (value, others, indent) => {
      delete others.value;
      for (const object of [{ ...others, value }, { value, ...others }]) {
        assert.equal(cut(JSON.stringify(object, null, indent)), JSON.stringify(value));
      }
    },
  ));
});

Deno.test("memberText handles escaped names, repeated members, and inner members of the same name", () => {
  assert.equal(cut(String.raw`{"v\u0061lue": 1}`), "1");
  assert.equal(cut('{"value":1,"value":[2]}'), "[2]");
  assert.equal(cut('{"a":{"value":1},"value":2,"b":["value",{"value":3}]}'), "2");
  assert.equal(cut(String.raw`{"a":"\"value\":9","value":"\\"}`), String.raw`"\\"`);
  assert.equal(cut('\uFEFF{"value":"\uFEFF"}'), '"\uFEFF"');
  assert.equal(cut('{"value":1.50e+10}'), "1.50e+10");
});

Deno.test("decodeBase64 accepts only text that encodes back to the same text", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => {
    const text = btoa(String.fromCharCode(...bytes));
    assert.deepEqual(decodeBase64(text), bytes);
    assert.deepEqual(decodeBase64(text.replace(/=+$/, "")), bytes);
    assert.equal(decodeBase64(text + "!"), undefined);
    assert.equal(decodeBase64(" " + text), undefined);
  }));
  for (const text of ["A", "A=", "AA=", "AB==", "AAA==", "====", "=", "A\nAA"]) {
    assert.equal(decodeBase64(text), undefined, text);
  }
});

/** Reads a body whose chunks of `bytes` arrive after `afterMs` each. Only these waits advance the clock. */
async function readSlowly(chunks: readonly { afterMs: number; bytes: number }[]) {
  let now = 0, sent = 0;
  const reader = new BodyReader(1e9, 30_000, () => now);
  const coming = chunks.values();
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const { done, value } = coming.next();
      if (done) return controller.close();
      now += value.afterMs;
      sent += value.bytes;
      controller.enqueue(new Uint8Array(value.bytes));
    },
  }, { highWaterMark: 0 });
  const request = new Request("http://a/", { method: "POST", body });
  let got = 0;
  try {
    for await (const chunk of reader.stream(request, 1e9)) got += chunk.length;
  } catch (error) {
    assert.ok(error instanceof Problem && error.status === 408, String(error));
    return { got, sent, now, isCut: true };
  }
  return { got, sent, now, isCut: false };
}

const repeat = (times: number, afterMs: number, bytes: number) =>
  Array.from({ length: times }, () => ({ afterMs, bytes }));

Deno.test("a body that arrives too slowly is cut off after 30 s, even if it began fast", async () => {
  const trickle = repeat(10_000, 5000, 1);
  const alone = await readSlowly(trickle);
  assert.deepEqual([alone.isCut, alone.now, alone.got], [true, 35_000, 6]);
  const after = await readSlowly([...repeat(100, 0, 65_536), ...trickle]);
  assert.deepEqual([after.isCut, after.now], [true, 35_000]);
  const nearly = await readSlowly(repeat(1000, 1000, 900));
  assert.equal(nearly.isCut, true);
});

Deno.test("a body that arrives in bursts, or slowly but steadily, is read to its end", async () => {
  for (
    const chunks of [repeat(1000, 1000, 1000), repeat(50, 29_000, 29_000), repeat(9, 9e3, 9e4)]
  ) {
    const { isCut, got, sent } = await readSlowly(chunks);
    assert.deepEqual([isCut, got], [false, sent]);
  }
});

Deno.test("a client is not too slow while the node itself does not read", async () => {
  let now = 0;
  const reader = new BodyReader(1e9, 30_000, () => now);
  let left = 20;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => left-- > 0 ? controller.enqueue(new Uint8Array(9)) : controller.close(),
  }, { highWaterMark: 0 });
  const request = new Request("http://a/", { method: "POST", body });
  let got = 0;
  for await (const chunk of reader.stream(request, 1e9)) {
    now += 60_000;
    got += chunk.length;
  }
  assert.equal(got, 180);
});

Deno.test("a body that ends early is the client's fault, unless the node is stopping", async () => {
  const reader = new BodyReader(1e9, 30_000);
  const read = async () => {
    const body = new ReadableStream({
      pull: (controller) => controller.error(new TypeError("connection closed")),
    });
    const request = new Request("http://localhost/", { method: "POST", body });
    return await reader.read(request, 1_000, () => "whole").catch(({ status }) => status);
  };
  assert.equal(await read(), 400);
  reader.stop();
  assert.equal(await read(), 503);
});

Deno.test("the large buffer of each chunk of a body is freed at once", async () => {
  const buffers = Array.from({ length: 3 }, () => new ArrayBuffer(65_536));
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const buffer of buffers) controller.enqueue(new Uint8Array(buffer, 0, 9).fill(7));
      controller.close();
    },
  });
  const request = new Request("http://localhost/", { method: "POST", body });
  const sizes = [];
  for await (const chunk of new BodyReader(1e9, 30_000).stream(request, 1e9)) {
    sizes.push(chunk.buffer.byteLength);
    assert.deepEqual(chunk, new Uint8Array(9).fill(7));
  }
  assert.deepEqual([sizes, buffers.map(({ byteLength }) => byteLength)], [[9, 9, 9], [0, 0, 0]]);
});
