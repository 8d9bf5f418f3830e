// Collects the garbage of a thread.

import { compactHeap } from "../../src/runtime/process/memory.ts";

/** A collection takes about 0.15 s. */
const COLLECT_INTERVAL_MS = 60_000;

/** Collects the garbage of this thread once a minute. */
export function collectRegularly(): void {
  Deno.unrefTimer(setInterval(compactHeap, COLLECT_INTERVAL_MS));
}
