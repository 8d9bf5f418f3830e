// After the start of the program, returns unused memory to the system.

/** The largest heap to compact, in bytes. Compacting takes about 13 ms per MB, so larger heaps are not compacted. */
const MAX_COMPACTED_BYTES = 32 << 20;

/**
 * Collects the garbage of this thread, forgets compiled code that can be compiled again, and returns the free memory to
 * the system. V8 would keep the garbage of the start for hours, as an idle node rarely needs new memory. Blocks the
 * thread for about 0.15 s. Does nothing if the heap is large, or V8 runs without `--expose-gc`.
 */
export function compactHeap(): void {
  const { gc } = globalThis as { gc?: (options: Record<string, string>) => void };
  if (gc === undefined || Deno.memoryUsage().heapUsed > MAX_COMPACTED_BYTES) return;
  gc({ type: "major", execution: "sync", flavor: "last-resort" });
}
