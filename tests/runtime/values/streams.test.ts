// Uploads and downloads that stay open between calls.

import assert from "node:assert/strict";
import { wholeOrStream } from "../../../src/large_values/large_values.ts";
import { TransferError } from "../../../src/large_values/transfers.ts";
import type { DownloadPiece } from "../../../src/node_service.ts";
import { Streams } from "../../../src/runtime/values/streams.ts";

Deno.test("an upload whose outcome is known early accepts no more bytes, and does not wait forever", async () => {
  for (const delayMs of [0, 1, 5]) {
    const streams = new Streams();
    const upload = streams.openUpload(async (bytes) => {
      await wholeOrStream(bytes);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      return { outcome: "no_room", room: null };
    });
    const piece = new Uint8Array(16_000);
    let writes = 0;
    while (await streams.write(upload, piece)) assert.ok(++writes < 10);
    assert.deepEqual(await streams.finishUpload(upload), { outcome: "no_room", room: null });
    assert.equal(await streams.write(upload, piece), false);
  }
});

const PIECES = Array.from({ length: 100 }, (_, i) => new Uint8Array(1_000).fill(i));
const LOST = new TransferError("missing", "A part was not found.");

/** Reads a download until it has ended or failed. */
async function readAll(pieces: () => AsyncGenerator<Uint8Array>): Promise<DownloadPiece[]> {
  const streams = new Streams(), download = streams.openDownload(pieces);
  const read: DownloadPiece[] = [];
  do read.push(await streams.readDownload(download)); while (read.at(-1)!.outcome === "bytes");
  return read;
}

function bytesOf(read: readonly DownloadPiece[]): number[] {
  return read.flatMap((piece) => piece.outcome === "bytes" ? [...piece.bytes] : []);
}

async function* small(): AsyncGenerator<Uint8Array> {
  for (const piece of PIECES) yield await Promise.resolve(piece);
}

Deno.test("a download of small pieces needs few reads", async () => {
  const read = await readAll(small);
  assert.ok(read.length < PIECES.length / 10, `${read.length}`);
});

Deno.test("a download of small pieces returns their bytes in order", async () => {
  assert.deepEqual(bytesOf(await readAll(small)), PIECES.flatMap((piece) => [...piece]));
});

Deno.test("a download of large pieces returns each of them in one read", async () => {
  const large = new Uint8Array(65_536).fill(7);
  const read = await readAll(async function* () {
    yield await Promise.resolve(large);
    yield large;
  });
  assert.deepEqual(read.map((piece) => piece.outcome === "bytes" && piece.bytes.length), [
    large.length,
    large.length,
    false,
  ]);
});

Deno.test("a download that fails first returns the bytes before the failure", async () => {
  const read = await readAll(async function* () {
    yield await Promise.resolve(PIECES[1]);
    throw LOST;
  });
  assert.deepEqual(bytesOf(read), [...PIECES[1]]);
  assert.deepEqual(read.at(-1), { outcome: "failed", failure: "missing", detail: LOST.message });
});

Deno.test("the bytes of a download can move to another thread while the node keeps its pieces", async () => {
  const [first] = await readAll(small);
  assert.ok(first.outcome === "bytes");
  structuredClone(first.bytes, { transfer: [first.bytes.buffer as ArrayBuffer] });
  assert.equal(PIECES[0].length, 1_000);
});
