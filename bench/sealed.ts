// Measures how fast values are sealed and opened: deno run bench/sealed.ts [MEGABYTES]

import { newSealKey, open, seal } from "../src/web/seal.js";

const PIECE = 65_536;
const megabytes = Number(Deno.args[0] ?? 100), key = newSealKey();

async function* content() {
  const piece = new Uint8Array(PIECE);
  for (let left = megabytes * 1e6; left > 0; left -= PIECE) yield piece.subarray(0, left);
}

/** Reads a source to its end, and returns how many megabytes a second it yielded. */
async function speedOf(source: AsyncIterable<Uint8Array>): Promise<number> {
  const begun = performance.now();
  let size = 0;
  for await (const piece of source) size += piece.length;
  return size / 1e3 / (performance.now() - begun);
}

const alone = await speedOf(seal(content(), key));
const both = await speedOf(open(seal(content(), key), key));
console.log(`seal: ${alone.toFixed(0)} MB/s, seal and open: ${both.toFixed(0)} MB/s`);
