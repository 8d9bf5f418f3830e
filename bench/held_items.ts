// Measures the memory and the start of a node that holds other nodes' items. Reads Linux's /proc.
//
// deno run --allow-all bench/held_items.ts [--items 100000] [--bytes 1000] [--rounds 3] [--version PATH]
//
// Each round starts an empty node and a node with the items. Both start twice, because the first start writes the
// files of the runtime's caches. The table shows the medians. `--version`: another checkout, or an executable.

import { join } from "node:path";
import { parseArgs } from "node:util";
import { files } from "../src/runtime/files.ts";
import { itemCrypto } from "../src/runtime/identity/crypto.ts";
import { immutableItem, ITEM_LIFE_MS } from "../src/dht/items/item.ts";
import { bencodeBytes } from "../src/krpc/bencode.ts";
import { Database } from "../src/storage/database.ts";
import { itemRow } from "../src/storage/rows.ts";
import { median, printTable, randomBytes } from "./measure.ts";
import { commandOf, Program } from "./program.ts";

const { values: options } = parseArgs({
  options: {
    items: { type: "string", default: "100000" },
    /** The size of an item's value in bencoded form. */
    bytes: { type: "string", default: "1000" },
    rounds: { type: "string", default: "3" },
    version: { type: "string", default: "." },
  },
});
const count = Number(options.items), bytes = Number(options.bytes);

/** Rows of one commit. */
const COMMIT_ITEMS = 10_000;

/** How long a node is left alone before its memory is measured. */
const REST_MS = 10_000;

interface Sample {
  readonly readyMs: number;
  readonly cpuMs: number;
  /** Resident memory without the pages of files. */
  readonly restBytes: number;
  /** The highest resident memory since the start. */
  readonly peakBytes: number;
}

/** Writes a database with the items. */
async function fill(dataDir: string): Promise<void> {
  await Deno.mkdir(dataDir, { recursive: true, mode: 0o700 });
  const database = new Database(join(dataDir, "dmnode.sqlite"), { files, mayBeEmpty: true });
  const now = Date.now(), contentBytes = bytes - `${bytes}:`.length;
  for (let done = 0; done < count; done += COMMIT_ITEMS) {
    const items = Array.from({ length: Math.min(COMMIT_ITEMS, count - done) }, (_, i) => {
      const item = immutableItem(itemCrypto, bencodeBytes(randomBytes(contentBytes)));
      const by = `10.${i & 255}/10.${i & 255}.1`;
      return itemRow({ ...item, storedAt: now, expiresAt: now + ITEM_LIFE_MS, by });
    });
    database.commit({ deletedItems: [], items, published: [], contacts: undefined });
  }
  database.close();
}

async function sample(dataDir: string): Promise<Sample> {
  const args = ["--p2p-port=0", "--api-port=0", "--data-dir", dataDir];
  const begunAt = performance.now();
  await using program = new Program([...commandOf(options.version), ...args], options.version, {
    LOG_FORMAT: "json",
  });
  await program.output(/"message":"Ready/);
  const readyMs = performance.now() - begunAt;
  const stat = Deno.readTextFileSync(`/proc/${program.pid}/stat`).replace(/^.*\) /, "").split(" ");
  const cpuMs = 10 * (Number(stat[11]) + Number(stat[12]));
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  const status = Deno.readTextFileSync(`/proc/${program.pid}/status`);
  const kB = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)![1]);
  return {
    readyMs,
    cpuMs,
    restBytes: 1024 * kB("RssAnon"),
    peakBytes: 1024 * (kB("VmHWM") - kB("RssFile")),
  };
}

const directory = await Deno.makeTempDir();
try {
  const empty = join(directory, "empty"), full = join(directory, "full");
  await fill(full);
  for (const dataDir of [empty, full]) await sample(dataDir);
  const samples: [Sample, Sample][] = [];
  for (let round = 0; round < Number(options.rounds); round++) {
    samples.push([await sample(empty), await sample(full)]);
  }
  const row = (name: string, key: keyof Sample, unit: number, suffix: string) => {
    const [without, held] = [0, 1].map((i) => median(samples.map((pair) => pair[i as 0 | 1][key])));
    const perItem = key.endsWith("Bytes") ? ((held - without) / count).toFixed(0) : "";
    const text = (value: number) => `${(value / unit).toFixed(0)} ${suffix}`;
    return [name, text(without), text(held), perItem];
  };
  printTable(
    `A node that holds ${count} items of ${bytes} bytes`,
    ["", "no items", "with items", "bytes per item"],
    [
      row("start to Ready", "readyMs", 1, "ms"),
      row("processor time", "cpuMs", 1, "ms"),
      row("anonymous memory at rest", "restBytes", 1e6, "MB"),
      row("highest memory", "peakBytes", 1e6, "MB"),
    ],
  );
} finally {
  await Deno.remove(directory, { recursive: true });
}
