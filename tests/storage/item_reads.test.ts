// Reading items from disk: requests, their callbacks, and callbacks that fail.

import assert from "node:assert/strict";
import { immutableItem, type Item } from "../../src/dht/items/item.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { ItemReads, type ReadResult, type RowResult } from "../../src/storage/item_reads.ts";
import { itemRow } from "../../src/storage/rows.ts";
import { latin1 } from "../packets.ts";

const ITEMS = Array.from(
  { length: 4 },
  (_, n) => immutableItem(itemCrypto, bencodeBytes(latin1(`value ${n}`))),
);

/** A file that answers each request when the test says so. */
class SlowFile {
  readonly requests: { targets: readonly Uint8Array[]; answer: () => void }[] = [];

  readItems(targets: readonly Uint8Array[]): Promise<readonly RowResult[]> {
    const rows = targets.map((target): RowResult => {
      const item = ITEMS.find((one) => `${one.target.toBytes()}` === `${target}`);
      return item === undefined ? "missing" : itemRow({ ...item, storedAt: 0, expiresAt: 1 });
    });
    return new Promise((resolve) => this.requests.push({ targets, answer: () => resolve(rows) }));
  }
}

const settled = () => new Promise((resolve) => setTimeout(resolve));

function valueOf(result: ReadResult): Uint8Array | undefined {
  return typeof result === "string" ? undefined : result.value;
}

Deno.test("one request is under way at a time, and the next one has all reads of the meantime", async () => {
  const file = new SlowFile(), reads = new ItemReads(file, 1), read: string[] = [];
  let calls = 0;
  reads.onSettled = () => calls++;
  const start = ({ target, value }: Item) =>
    reads.read(target, (result) => {
      assert.deepEqual(valueOf(result), value);
      read.push(`${target}`);
    });
  start(ITEMS[0]);
  await settled();
  for (const item of [ITEMS[1], ITEMS[2], ITEMS[1]]) start(item);
  await settled();
  assert.equal(file.requests.length, 1);
  file.requests[0].answer();
  await settled();
  assert.deepEqual([read.length, calls, file.requests.length], [1, 1, 2]);
  assert.equal(file.requests[1].targets.length, 2);
  start(ITEMS[3]);
  file.requests[1].answer();
  await settled();
  file.requests[2].answer();
  await settled();
  assert.deepEqual([read.length, calls, file.requests.length], [5, 3, 3]);
});

Deno.test("a callback that fails does not keep the others from being called", async () => {
  const errors: unknown[] = [];
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    errors.push(event.reason);
  };
  addEventListener("unhandledrejection", onRejection);
  try {
    const file = new SlowFile(), reads = new ItemReads(file, 1), bug = new Error("a bug");
    const values: (Uint8Array | undefined)[] = [];
    const { target, value } = ITEMS[0];
    reads.read(target, () => {
      throw bug;
    });
    reads.read(target, (result) => values.push(valueOf(result)));
    await settled();
    file.requests[0].answer();
    await settled();
    assert.deepEqual([values, errors], [[value], [bug]]);
    reads.read(target, () => {});
    await settled();
    assert.equal(file.requests.length, 2);
  } finally {
    removeEventListener("unhandledrejection", onRejection);
  }
});
