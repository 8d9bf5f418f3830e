// Writes large values into a database until it is killed. Prints what was confirmed, one line each.
// Usage: deno run blob_writer.ts DATABASE ROUND

import { immutableItem } from "../../src/dht/items/item.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { openDisk } from "../storage/open_disk.ts";

/** The content of a value: up to 500 kB. */
export function contentOf(seed: number): Uint8Array<ArrayBuffer> {
  const length = 1_000 + (seed * 7_919) % 499_000;
  return Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 17 + (i >> 8)) & 255);
}

async function main(path: string, round: number): Promise<void> {
  const disk = await openDisk(path);
  const write = async (bytes: Uint8Array) => {
    const writer = disk.blobs.create();
    for (let at = 0; at < bytes.length; at += 50_000) {
      await writer.append(bytes.subarray(at, at + 50_000));
    }
    await writer.finish();
    return writer.id;
  };
  for (let n = 0;; n++) {
    const seed = round * 1_000 + n, content = contentOf(seed);
    const large = {
      value: await write(content),
      ids: await write(content.subarray(0, 1000)),
      next: 0,
    };
    const item = immutableItem(itemCrypto, bencodeBytes(new TextEncoder().encode(`${seed}`)));
    const times = { firstAt: 1, nextAt: 2, lastAt: 3, replicas: 1, failures: 0 };
    const isSaved = await new Promise((resolve) => {
      disk.published.save({ item, ...times, large }, resolve);
    });
    if (!isSaved) throw new Error("not saved");
    console.log(`published ${item.target} ${seed}`);
    // Every third value is removed again.
    if (n % 3 !== 2) continue;
    console.log(`removed ${item.target}`);
    disk.published.remove(item.target);
    for (const id of [large.value, large.ids]) disk.blobs.remove(id);
  }
}

if (import.meta.main) await main(Deno.args[0], Number(Deno.args[1]));
