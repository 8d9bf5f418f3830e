// Tests the format of sealed values: what other programs can read, and what a reader must notice.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import {
  CONTENT_BYTES,
  HEADER_BYTES,
  isSealed,
  isSealKey,
  newSealKey,
  open,
  openedSize,
  openerOf,
  openRange,
  parseSealLink,
  RECORD_BYTES,
  seal,
  sealedSize,
  SealError,
  sealLink,
} from "../../src/web/seal.js";
import { decodeRfc8188 } from "./rfc8188.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const KEY = "mCkqSyjXUhFcSUVzTClL1A";

/** Bytes that differ from record to record. */
function sample(size: number): Bytes {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = i * 31 + (i >> 8) * 7 + (i >> 16);
  return bytes;
}

/** A source of these bytes in pieces of `size`. */
async function* pieces(bytes: Uint8Array, size = 10_007) {
  await Promise.resolve();
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Bytes> {
  return new Uint8Array(Buffer.concat(await Array.fromAsync(source)));
}

const sealed = (content: Uint8Array, key = KEY) => collect(seal(pieces(content), key));

/** Opens a value. Returns what was yielded, and the code of the error if there was one. */
async function opening(value: Uint8Array, key = KEY) {
  const parts: Uint8Array[] = [];
  try {
    for await (const part of open(pieces(value), key)) parts.push(part);
  } catch (error) {
    if (!(error instanceof SealError)) throw error;
    return { content: Buffer.concat(parts), code: error.code };
  }
  return { content: Buffer.concat(parts), code: null };
}

const SIZES = [
  0,
  1,
  952,
  CONTENT_BYTES - 1,
  CONTENT_BYTES,
  CONTENT_BYTES + 1,
  2 * CONTENT_BYTES,
  3 * CONTENT_BYTES + 5,
];

Deno.test("the decoder of these tests reads the examples of RFC 8188", () => {
  const decode = (message: string, key: string) =>
    new TextDecoder().decode(
      decodeRfc8188(Buffer.from(message, "base64url"), Buffer.from(key, "base64url")),
    );
  const single = "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg";
  assert.equal(decode(single, "yqdlZ-tYemfogSmv7Ws5PQ"), "I am the walrus");
  const several =
    "uNCkWiNYzKTnBN9ji3-qWAAAABkCYTHOG8chz_gnvgOqdGYovxyjuqRyJFjEDyoF1Fvkj6hQPdPHI51OEUKEpgz3" +
    "SsLWIqS_uA";
  assert.equal(decode(several, "BO3ZVPxUlnLORbVGMpbT1Q"), "I am the walrus");
});

Deno.test("a sealed value of any size is a message of RFC 8188", async () => {
  for (const size of SIZES) {
    const content = sample(size), value = await sealed(content);
    assert.equal(value.length, sealedSize(size));
    assert.equal(openedSize(value.length), size);
    assert.ok(isSealed(value));
    assert.deepEqual(
      decodeRfc8188(value, Buffer.from(KEY, "base64url")),
      Buffer.from(content),
      `${size} bytes`,
    );
    assert.deepEqual(await opening(value), { content: Buffer.from(content), code: null });
  }
});

Deno.test("the test vectors in docs/protocol.md hold", async () => {
  const text = await Deno.readTextFile(new URL("../../docs/protocol.md", import.meta.url));
  const salt = Uint8Array.from({ length: 16 }, (_, i) => i);
  const short = await collect(seal(pieces(new TextEncoder().encode("Hello World!")), KEY, salt));
  assert.ok(text.includes(Buffer.from(short).toString("hex")), Buffer.from(short).toString("hex"));
  const long = await collect(seal(pieces(new Uint8Array(100_000)), KEY, salt));
  const digest = createHash("sha256").update(long).digest("hex");
  assert.ok(text.includes(digest), digest);
  assert.ok(text.includes(KEY));
});

Deno.test("each version under a key has a new salt, so its bytes tell nothing about the other", async () => {
  const content = sample(1_000), [one, other] = [await sealed(content), await sealed(content)];
  let equal = 0;
  for (let i = HEADER_BYTES; i < one.length; i++) if (one[i] === other[i]) equal++;
  assert.ok(equal < 30, `${equal} of ${one.length} bytes are equal`);
});

Deno.test("a changed record is detected, and nothing from there on is yielded", async () => {
  const content = sample(3 * CONTENT_BYTES + 5), value = await sealed(content);
  for (let record = 0; record < 4; record++) {
    const start = HEADER_BYTES + record * RECORD_BYTES;
    const end = Math.min(start + RECORD_BYTES, value.length);
    for (const at of [start, end - 1, end - 17]) {
      const changed = value.slice();
      changed[at] ^= 1;
      const { content: yielded, code } = await opening(changed);
      assert.equal(code, record === 0 ? "wrong_key" : "changed", `byte ${at}`);
      assert.deepEqual(yielded, Buffer.from(content.subarray(0, record * CONTENT_BYTES)));
    }
  }
});

Deno.test("records that are swapped, repeated, removed or appended are detected", async () => {
  const value = await sealed(sample(3 * CONTENT_BYTES + 5)), other = await sealed(sample(70_000));
  const head = value.subarray(0, HEADER_BYTES);
  const record = (number: number, of = value) =>
    of.subarray(HEADER_BYTES + number * RECORD_BYTES, HEADER_BYTES + (number + 1) * RECORD_BYTES);
  const cases = {
    swapped: [record(0), record(2), record(1), record(3)],
    repeated: [record(0), record(1), record(1), record(3)],
    removed: [record(0), record(1), record(3)],
    "from another version": [record(0), record(1, other)],
    appended: [record(0), record(1), record(2), record(3), record(3)],
  };
  for (const [name, records] of Object.entries(cases)) {
    const { code } = await opening(Buffer.concat([head, ...records]));
    assert.equal(code, "changed", name);
  }
});

Deno.test("a truncated value is detected, wherever it ends", async () => {
  const value = await sealed(sample(CONTENT_BYTES + 100));
  const first = HEADER_BYTES + RECORD_BYTES;
  for (const length of [first, first + 1, first + 16]) {
    assert.equal((await opening(value.subarray(0, length))).code, "cut", `${length} bytes`);
  }
  for (const length of [first + 17, value.length - 1]) {
    assert.equal((await opening(value.subarray(0, length))).code, "changed", `${length} bytes`);
  }
  assert.equal((await opening(value.subarray(0, HEADER_BYTES))).code, "cut");
});

Deno.test("other headers, other keys and values that are not sealed are refused", async () => {
  const value = await sealed(sample(100));
  for (let at = 16; at < HEADER_BYTES; at++) {
    const changed = value.slice();
    changed[at] ^= 1;
    assert.equal((await opening(changed)).code, "not_sealed", `byte ${at}`);
  }
  for (const bytes of [sample(0), sample(20), sample(1_000)]) {
    assert.equal((await opening(bytes)).code, "not_sealed");
  }
  assert.equal((await opening(value, newSealKey())).code, "wrong_key");
});

Deno.test("a range is opened from its records only", async () => {
  const content = sample(3 * CONTENT_BYTES + 5), value = await sealed(content);
  const opener = await openerOf(value, KEY);
  const ranges = [[0, 1], [0, content.length], [CONTENT_BYTES - 1, CONTENT_BYTES + 1]];
  ranges.push([CONTENT_BYTES, 2 * CONTENT_BYTES], [content.length - 1, content.length], [7, 7]);
  for (const [start, end] of ranges) {
    let read = 0;
    const source = {
      size: value.length,
      read(from: number, to: number) {
        read += to - from;
        return pieces(value.subarray(from, to));
      },
    };
    const part = await collect(openRange(opener, source, { start, end }));
    assert.deepEqual(part, content.slice(start, end), `${start} to ${end}`);
    const records = start === end
      ? 0
      : Math.ceil(end / CONTENT_BYTES) - Math.floor(start / CONTENT_BYTES);
    assert.ok(read <= records * RECORD_BYTES, `${read} bytes for ${start} to ${end}`);
  }
});

Deno.test("a reader that stops early stops the source", async () => {
  const value = await sealed(sample(3 * CONTENT_BYTES));
  let isClosed = false;
  async function* source() {
    try {
      yield* pieces(value);
    } finally {
      isClosed = true;
    }
  }
  for await (const _ of open(source(), KEY)) break;
  assert.ok(isClosed);
});

Deno.test("a link consists of the hash and the key, and other texts are not links", () => {
  const hash = "e5f96f6f38320f0f33959cb4d3d656452117aadb", key = newSealKey();
  assert.ok(isSealKey(key));
  assert.equal(sealLink(hash, key), `dm:${hash}#${key}`);
  assert.deepEqual(parseSealLink(` ${sealLink(hash, key)}\n`), { hash, key });
  assert.deepEqual(parseSealLink(sealLink(hash.toUpperCase(), key)), { hash, key });
  assert.deepEqual(parseSealLink(`${hash}#${key}`), { hash, key }, "without dm:");
  const wrong = ["", hash, `dm:${hash}`, `dm:${hash}#`, `dm:${hash}#${key}a`];
  wrong.push(`dm:${hash}#${key.slice(1)}`, `dm:${hash.slice(1)}#${key}`, `dmm:${hash}#${key}`);
  for (const text of wrong) assert.equal(parseSealLink(text), null, text);
  assert.ok(!isSealKey(`${KEY.slice(0, 21)}B`), "the last digit has two bits");
});
