// Tests that a thread gives the garbage of its start back.

import assert from "node:assert/strict";

const MEMORY = new URL("../../../src/runtime/process/memory.ts", import.meta.url);

/** Runs a program that makes `megabytes` of garbage or, if `isKept`, of data in use. Returns how many MB were freed. */
async function freed(megabytes: number, isKept: boolean, ...flags: string[]): Promise<number> {
  const program = `
    import { compactHeap } from ${JSON.stringify(MEMORY.href)};
    let arrays = Array.from({ length: ${megabytes * 4} }, () => new Array(32_768).fill(0.5));
    if (!${isKept}) arrays = [];
    const before = Deno.memoryUsage().heapTotal;
    compactHeap();
    console.log((before - Deno.memoryUsage().heapTotal) / 2 ** 20, arrays.length > 1);
    Deno.exit();`;
  const args = [
    "run",
    "--no-check",
    ...flags,
    `data:application/typescript,${encodeURIComponent(program)}`,
  ];
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  const text = new TextDecoder().decode(stdout);
  assert.notEqual(text, "", new TextDecoder().decode(stderr));
  return parseFloat(text);
}

Deno.test("compacting a heap returns the memory of garbage", async () => {
  assert.ok(await freed(20, false, "--v8-flags=--expose-gc") > 15);
});

Deno.test("without V8's flag, a heap is not compacted", async () => {
  assert.equal(await freed(20, false), 0);
});

Deno.test("a large heap is not compacted", async () => {
  assert.equal(await freed(50, true, "--v8-flags=--expose-gc"), 0);
});
