// Large values of this node: written in order, read in parts, and gone without a trace if they are not published.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { sameBytes } from "../../src/dht/items/item.ts";
import { BlobDatabase } from "../../src/storage/blob_database.ts";
import {
  type BlobFile,
  type BlobStore,
  DiskBlobs,
  MemoryBlobs,
  type Segment,
  SEGMENT_BYTES,
} from "../../src/storage/blobs.ts";
import { type Changes, CommitQueue } from "../../src/storage/commit_queue.ts";
import { StorageError } from "../../src/storage/sqlite.ts";
import { openDisk } from "./open_disk.ts";
import { inTemporaryDirectory } from "./temporary.ts";

const MIB = 1 << 20;

/** Bytes that differ everywhere, so that a wrong position shows. */
function content(length: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 2654435761);
  return new Uint8Array(words.buffer).slice(0, length);
}

async function write(blobs: BlobStore, bytes: Uint8Array, parts: number): Promise<number> {
  const writer = blobs.create();
  for (let at = 0; at < bytes.length; at += parts) {
    await writer.append(bytes.subarray(at, at + parts));
  }
  assert.equal(await writer.finish(), bytes.length);
  return writer.id;
}

/** Runs a test on disk and in memory. */
function both(name: string, run: (blobs: BlobStore) => Promise<void>): void {
  Deno.test(`${name}, in memory`, () => run(new MemoryBlobs()));
  Deno.test(`${name}, on disk`, () =>
    inTemporaryDirectory(async (path) => {
      const disk = await openDisk(path("db"));
      try {
        await run(disk.blobs);
      } finally {
        await disk.close();
      }
    }));
}

both("a blob is read in any part, however it was written", async (blobs) => {
  for (const length of [0, 1, SEGMENT_BYTES, 3 * SEGMENT_BYTES + 5]) {
    const bytes = content(length);
    for (const parts of [997, SEGMENT_BYTES, MIB]) {
      const id = await write(blobs, bytes, parts);
      const read = async (offset: number, length: number) => {
        const found = await blobs.read(id, offset, length);
        assert.ok(sameBytes(found, bytes.subarray(offset, offset + length)), `${offset} ${length}`);
      };
      await read(0, length);
      for (const at of [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, 2 * SEGMENT_BYTES - 500]) {
        if (at + 1000 <= length) await read(at, 1000);
      }
      await assert.rejects(blobs.read(id, 0, length + 1), StorageError);
      await assert.rejects(blobs.read(id, length, 1), StorageError);
    }
  }
});

both(
  "the caller may change the bytes that it appended, and write several blobs at a time",
  async (blobs) => {
    const writers = [blobs.create(), blobs.create()], buffer = new Uint8Array(1000);
    for (let n = 0; n < 200; n++) {
      for (const [i, writer] of writers.entries()) {
        buffer.fill(n ^ (i << 7));
        await writer.append(buffer);
      }
    }
    await Promise.all(writers.map((writer) => writer.finish()));
    for (const [i, { id }] of writers.entries()) {
      for (let n = 0; n < 200; n++) {
        const found = await blobs.read(id, n * 1000, 1000);
        assert.ok(found.every((byte) => byte === (n ^ (i << 7))));
      }
    }
  },
);

both("a blob that was removed or abandoned can't be read, and others can", async (blobs) => {
  const bytes = content(MIB);
  const [kept, removed] = [await write(blobs, bytes, MIB), await write(blobs, bytes, MIB)];
  const abandoned = blobs.create();
  await abandoned.append(bytes);
  abandoned.abandon();
  blobs.remove(removed);
  for (const id of [removed, abandoned.id]) {
    const deadline = performance.now() + 5000;
    while (await blobs.read(id, 0, 1).then(() => true, () => false)) {
      assert.ok(performance.now() < deadline, "removed in the background");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  assert.ok(sameBytes(await blobs.read(kept, 0, MIB), bytes));
});

/** A file that is as slow as the test wants it to be. */
class SlowFile implements BlobFile {
  readonly segments: Segment[] = [];
  readonly removed: number[] = [];
  readonly #waiting: PromiseWithResolvers<void>[] = [];

  writeSegment(segment: Segment): Promise<void> {
    const written = Promise.withResolvers<void>();
    this.segments.push(segment);
    this.#waiting.push(written);
    return written.promise;
  }

  syncBlobs = () => Promise.resolve();
  readBlob = () => Promise.reject(new StorageError("not here"));
  removeBlob = (id: number) => void this.removed.push(id);

  /** Ends the oldest write. */
  settle(error?: StorageError): void {
    const { resolve, reject } = this.#waiting.shift()!;
    if (error === undefined) resolve();
    else reject(error);
  }
}

const onSlowFile = (file: BlobFile) => {
  const observer = { failed: () => {}, recovered: () => {} };
  return new DiskBlobs(file, new CommitQueue(() => Promise.resolve(), observer), 0);
};

const soon = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("an append waits while 1 MiB is in flight", async () => {
  const file = new SlowFile(), writer = onSlowFile(file).create();
  let isDone = false;
  const writing = writer.append(content(4 * MIB)).then(() => isDone = true);
  for (let expected = 1; !isDone; expected++) {
    await soon();
    if (isDone) break;
    const waiting = file.segments.length - (expected - 1);
    assert.ok(waiting * SEGMENT_BYTES <= MIB && waiting > 10, `${waiting} segments wait`);
    file.settle();
  }
  await writing;
  assert.equal(file.segments.length, 4 * MIB / SEGMENT_BYTES);
});

Deno.test("a blob that can't be written is removed, and all later calls fail with the reason", async () => {
  const file = new SlowFile(), writer = onSlowFile(file).create();
  await writer.append(content(SEGMENT_BYTES));
  const finished = assert.rejects(writer.finish(), /the disk is full/);
  file.settle(new StorageError("the disk is full"));
  await finished;
  assert.deepEqual(file.removed, [writer.id]);
  await assert.rejects(writer.append(content(1)), /the disk is full/);
  await assert.rejects(writer.finish(), /the disk is full/);
  assert.equal(file.segments.length, 1);
});

Deno.test("the removal of a blob is repeated until a commit succeeds", async () => {
  const removed: number[] = [];
  let isFull = true;
  const commit = ({ removedBlobs }: Changes) => {
    if (isFull) return Promise.reject(new StorageError("the disk is full"));
    removed.push(...removedBlobs);
    return Promise.resolve();
  };
  const queue = new CommitQueue(commit, { failed: () => {}, recovered: () => {} });
  new DiskBlobs(new SlowFile(), queue, 0).remove(7);
  await queue.flush();
  assert.deepEqual(removed, []);
  isFull = false;
  await queue.flush();
  assert.deepEqual(removed, [7]);
  await queue.close();
});

Deno.test("a file with one blob takes at most 2 % more than the blob, and the log at most 4 MiB", () =>
  inTemporaryDirectory((path) => {
    const blobs = new BlobDatabase(path("large"));
    let maxLog = 0;
    for (let index = 0; index < 256; index++) {
      blobs.write({ blob: 1, index, bytes: content(SEGMENT_BYTES) });
      maxLog = Math.max(maxLog, Deno.statSync(path("large-wal")).size);
    }
    blobs.sync();
    assert.ok(Deno.statSync(path("large")).size < 1.02 * 16 * MIB);
    assert.ok(maxLog <= 4.1 * MIB, `${maxLog}`);
    blobs.close();
  }));

Deno.test("a blob that is being freed does not count as there", () =>
  inTemporaryDirectory((path) => {
    const blobs = new BlobDatabase(path("large"));
    for (const blob of [1, 2]) {
      for (let index = 0; index < 64; index++) {
        blobs.write({ blob, index, bytes: content(SEGMENT_BYTES) });
      }
    }
    assert.deepEqual([1, 2, 3].map((id) => blobs.has(id)), [true, true, false]);
    blobs.remove(1);
    blobs.tidy();
    const last = { id: 1, offset: 63 * SEGMENT_BYTES, length: 9 };
    assert.equal(blobs.read(last).length, 9, "its end is still there");
    assert.deepEqual([1, 2].map((id) => blobs.has(id)), [false, true]);
    blobs.close();
  }));

Deno.test("removed blobs are freed in small steps, and the file shrinks", () =>
  inTemporaryDirectory((path) => {
    const blobs = new BlobDatabase(path("large"));
    for (const blob of [1, 2, 3]) {
      for (let index = 0; index < 160; index++) {
        blobs.write({ blob, index, bytes: content(SEGMENT_BYTES) });
      }
    }
    blobs.sync();
    const before = Deno.statSync(path("large")).size;
    for (const id of [1, 3]) blobs.remove(id);
    let steps = 0, maxLog = 0;
    while (blobs.tidy()) {
      steps++;
      maxLog = Math.max(maxLog, Deno.statSync(path("large-wal")).size);
    }
    assert.ok(steps > 30, `${steps} steps`);
    assert.ok(maxLog <= 6 * MIB, `${maxLog}`);
    assert.ok(Deno.statSync(path("large")).size < before / 2.5);
    assert.equal(blobs.read({ id: 2, offset: 159 * SEGMENT_BYTES, length: 9 }).length, 9);
    blobs.close();
  }));

Deno.test("after a restart, blobs without a published value are removed, and ids are not reused", () =>
  inTemporaryDirectory((path) => {
    const first = new BlobDatabase(path("large"));
    for (const blob of [1, 2, 7]) first.write({ blob, index: 0, bytes: content(100) });
    first.sync();
    first.close();
    const second = new BlobDatabase(path("large"));
    assert.equal(second.lastId, 7);
    second.write({ blob: 8, index: 0, bytes: content(100) });
    second.removeOthers(new Set([2]));
    while (second.tidy());
    for (const id of [1, 7]) {
      assert.throws(() => second.read({ id, offset: 0, length: 1 }), StorageError);
    }
    for (const id of [2, 8]) second.read({ id, offset: 0, length: 100 });
    second.close();
  }));

Deno.test("damaged bytes are never returned", () =>
  inTemporaryDirectory((path) => {
    const first = new BlobDatabase(path("large"));
    const bytes = content(2 * SEGMENT_BYTES);
    for (const index of [0, 1]) {
      const segment = bytes.slice(index * SEGMENT_BYTES, (index + 1) * SEGMENT_BYTES);
      first.write({ blob: 1, index, bytes: segment });
    }
    first.close();
    const file = Deno.readFileSync(path("large"));
    const at = new TextDecoder("latin1").decode(file).indexOf(
      new TextDecoder("latin1").decode(bytes.subarray(20_000, 20_100)),
    );
    assert.ok(at > 0);
    file[at] ^= 1;
    Deno.writeFileSync(path("large"), file);
    const second = new BlobDatabase(path("large"));
    assert.throws(() => second.read({ id: 1, offset: 0, length: 10 }), /damaged/);
    assert.ok(sameBytes(
      second.read({ id: 1, offset: SEGMENT_BYTES, length: 10 }),
      bytes.subarray(SEGMENT_BYTES, SEGMENT_BYTES + 10),
    ));
    second.close();
  }));

Deno.test("a file of another program or a newer version is refused", () =>
  inTemporaryDirectory((path) => {
    Deno.writeFileSync(path("other"), content(10_000));
    assert.throws(() => new BlobDatabase(path("other")), StorageError);
    const held = new BlobDatabase(path("held"));
    assert.throws(() => new BlobDatabase(path("held")), /in use by another process/);
    held.close();
  }));

Deno.test("a file without its table is refused", () =>
  inTemporaryDirectory((path) => {
    new BlobDatabase(path("large")).close();
    const db = new DatabaseSync(path("large"));
    db.exec("DROP TABLE segments");
    db.close();
    assert.throws(() => new BlobDatabase(path("large")), /its table segments is missing/);
  }));

Deno.test("a file with a trigger is refused", () =>
  inTemporaryDirectory((path) => {
    new BlobDatabase(path("large")).close();
    const db = new DatabaseSync(path("large"));
    db.exec("CREATE TRIGGER t AFTER INSERT ON segments BEGIN DELETE FROM segments; END");
    db.close();
    assert.throws(() => new BlobDatabase(path("large")), /dmnode has not made its trigger "t"/);
  }));
