// Compares the times of small functions, makes random values, and prints tables.

/** The number of rounds of a comparison. The medians are reported. */
const ROUNDS = 7;

/** Milliseconds of one job in one round: far above the clock's resolution, but short enough for undisturbed rounds. */
const ROUND_MS = 40;

/** Receives all results, so that the compiler can't remove the work. */
const sink: unknown[] = [];

/** The median. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((x, y) => x - y);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median nanoseconds per call of each job. The jobs take turns, so that noise affects all of them. */
export function nanoseconds(jobs: readonly (() => unknown)[]): number[] {
  const calls = jobs.map((job) => {
    let n = 64;
    while (timed(job, n) < ROUND_MS) n *= 2;
    return n;
  });
  const samples: number[][] = jobs.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    jobs.forEach((job, i) => samples[i].push(timed(job, calls[i]) * 1e6 / calls[i]));
  }
  return samples.map(median);
}

function timed(job: () => unknown, calls: number): number {
  const start = performance.now();
  for (let i = 0; i < calls; i++) sink[0] = job();
  return performance.now() - start;
}

/** Prints a table. The first column is left-aligned, the others right-aligned. */
export function printTable(
  title: string,
  header: readonly string[],
  rows: readonly string[][],
): void {
  const all = [header, ...rows];
  const widths = header.map((_, c) => Math.max(...all.map((row) => row[c].length)));
  const line = (row: readonly string[]) =>
    row.map((cell, c) => c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c])).join("  ");
  console.log(`\n${title}\n`);
  console.log(line(header));
  console.log(widths.map((width) => "-".repeat(width)).join("  "));
  for (const row of rows) console.log(line(row));
}

/** `getRandomValues` fills at most this many bytes at a time. */
const RANDOM_BYTES = 65_536;

export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const value = new Uint8Array(length);
  for (let at = 0; at < length; at += RANDOM_BYTES) {
    crypto.getRandomValues(value.subarray(at, at + RANDOM_BYTES));
  }
  return value;
}
