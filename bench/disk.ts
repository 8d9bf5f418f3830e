// Prints what items and a large value need on disk, and how large the write-ahead log becomes.
//
//   deno run --allow-all bench/disk.ts [--items 20000] [--mebibytes 256]

import { join } from "node:path";
import { parseArgs } from "node:util";
import type { StoredItem } from "../src/dht/items/item.ts";
import { itemCost } from "../src/dht/items/item_cost.ts";
import { Id } from "../src/krpc/id.ts";
import { files } from "../src/runtime/files.ts";
import { BlobDatabase } from "../src/storage/blob_database.ts";
import { SEGMENT_BYTES } from "../src/storage/blobs.ts";
import { Database } from "../src/storage/database.ts";
import { itemRow } from "../src/storage/rows.ts";

const { values } = parseArgs({
  options: {
    items: { type: "string", default: "20000" },
    mebibytes: { type: "string", default: "256" },
  },
});
const count = Number(values.items), mebibytes = Number(values.mebibytes);

/** Items per commit. */
const GROUP = 200;

const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));

function item(size: number, isSigned: boolean): StoredItem {
  const signed = { publicKey: random(32), signature: random(64), salt: random(20), seq: 1 };
  const at = Date.now() + 0.5;
  const value = random(size), target = Id.read(random(20));
  return { target, value, signed: isSigned ? signed : undefined, storedAt: at, expiresAt: at };
}

/** Stores items, replaces 1 % of them `rounds` times, and prints the bytes of the file per item. */
function measureItems(name: string, make: () => StoredItem, rounds = 0): void {
  const directory = Deno.makeTempDirSync(), path = join(directory, "items.sqlite");
  const database = new Database(path, { files, mayBeEmpty: true });
  let logBytes = 0;
  const live: StoredItem[] = [];
  const change = (added: StoredItem[], deleted: StoredItem[]) => {
    const deletedItems = deleted.map(({ target }) => target.toBytes());
    const items = added.map(itemRow);
    database.commit({ items, deletedItems, published: [], contacts: undefined });
    logBytes = Math.max(logBytes, Deno.statSync(`${path}-wal`).size);
    live.push(...added);
  };
  while (live.length < count) change(Array.from({ length: GROUP }, make), []);
  for (let round = 0; round < rounds; round++) {
    const some = Math.floor(count / 100);
    const deleted = Array.from(
      { length: some },
      () => live.splice(Math.floor(Math.random() * live.length), 1)[0],
    );
    change(Array.from({ length: some }, make), deleted);
  }
  database.close();
  const cost = live.reduce((sum, item) => sum + itemCost(item), 0);
  const perItem = (bytes: number) => `${(bytes / live.length).toFixed(0)} bytes`;
  console.log(
    `${name}: ${perItem(Deno.statSync(path).size)} an item, ${perItem(cost)} counted; log ${
      (logBytes / 1e6).toFixed(1)
    } MB`,
  );
  Deno.removeSync(directory, { recursive: true });
}

function measureBlob(): void {
  const directory = Deno.makeTempDirSync(), path = join(directory, "large.sqlite");
  const first = new BlobDatabase(path);
  let logBytes = 0;
  const segments = mebibytes * 2 ** 20 / SEGMENT_BYTES;
  for (let index = 0; index < segments; index++) {
    first.write({ blob: 1, index, bytes: random(SEGMENT_BYTES) });
    logBytes = Math.max(logBytes, Deno.statSync(`${path}-wal`).size);
  }
  first.sync();
  const size = Deno.statSync(path).size;
  first.close();
  const begun = performance.now();
  const second = new BlobDatabase(path);
  const openMs = performance.now() - begun;
  second.remove(1);
  while (second.tidy());
  second.sync();
  const tidyMs = performance.now() - begun - openMs;
  console.log(
    `a value of ${mebibytes} MiB: ${(size / 2 ** 20 / mebibytes).toFixed(3)} times its size, log ${
      (logBytes / 1e6).toFixed(1)
    } MB; opened in ${openMs.toFixed(0)} ms, freed in ${tidyMs.toFixed(0)} ms, then ${
      Deno.statSync(path).size
    } bytes`,
  );
  second.close();
  Deno.removeSync(directory, { recursive: true });
}

const anySize = () => item(1 + Math.floor(Math.random() * 1000), Math.random() < 0.3);
measureItems("996 B", () => item(1000, false));
measureItems("996 B, signed", () => item(1000, true));
measureItems("996 B, 300 times 1 % replaced", () => item(1000, false), 300);
measureItems("940 B", () => item(944, false));
measureItems("1 B", () => item(3, false));
measureItems("any size", anySize);
measureItems("any size, 300 times 1 % replaced", anySize, 300);
measureBlob();
