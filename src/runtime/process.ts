// What the process itself costs, for monitoring.

import process from "node:process";

/** How late the event loop runs a timer is measured this often. */
export const LAG_EVERY_MS = 1_000;

/** The process since its start; sizes in bytes, times in seconds. */
export interface ProcessReport {
  /** Unix time. */
  readonly startedAtS: number;
  readonly cpuUserS: number;
  readonly cpuSystemS: number;
  readonly residentBytes: number;
  readonly heapBytes: number;
  readonly heapUsedBytes: number;
  /** What runs it, and its version. */
  readonly runtime: string;
}

/** Asks the system; it takes some microseconds, and no permission. */
export function processReport(): ProcessReport {
  const { user, system } = process.cpuUsage();
  const { rss, heapTotal, heapUsed } = Deno.memoryUsage();
  return {
    startedAtS: performance.timeOrigin / 1000,
    cpuUserS: user / 1e6,
    cpuSystemS: system / 1e6,
    residentBytes: rss,
    heapBytes: heapTotal,
    heapUsedBytes: heapUsed,
    runtime: `deno ${Deno.version.deno}`,
  };
}
