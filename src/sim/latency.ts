// Round-trip times between regions, as a matrix from a file or one figure for all.

/** A square matrix of round-trip milliseconds. */
export interface LatencyMatrix {
  readonly name: string;
  readonly regions: readonly string[];
  /** `rtt[i][j]`, with the diagonal filled in. */
  readonly rtt: readonly (readonly number[])[];
}

/** Round trip within a region, for which nothing is published: two data centres of one metropolitan area. */
export const WITHIN_REGION_MS = 2;

/** No path on Earth takes as long: more is a mistake of units. */
export const MAX_RTT_MS = 10_000;

/** A matrix can't be used. The message is one line for the user. */
export class LatencyError extends Error {
  override readonly name = "LatencyError";
}

/** The same round trip between any two nodes. */
export function flatLatency(ms: number): LatencyMatrix {
  return { name: `${ms} ms everywhere`, regions: ["everywhere"], rtt: [[ms]] };
}

/**
 * Reads a CSV with a header row and column of region names. Empty cells on the diagonal are taken as 2 ms.
 *
 * @throws {LatencyError} where it is not square, or a cell no round-trip time
 */
export function parseLatencyCsv(text: string, name: string): LatencyMatrix {
  const rows = text.trim().split(/\r?\n/).map((line) => line.split(",").map((cell) => cell.trim()));
  const regions = rows[0].slice(1);
  if (regions.length === 0 || rows.length !== regions.length + 1) {
    throw new LatencyError(
      `${name}: a square matrix with a header row and column is needed, ` +
        `this has ${regions.length} columns and ${rows.length - 1} rows`,
    );
  }
  const rtt = rows.slice(1).map((cells, i) => {
    if (cells.length !== regions.length + 1) {
      throw new LatencyError(
        `${name}: row ${i + 2} has ${cells.length - 1} figures, not ${regions.length}`,
      );
    }
    if (cells[0] !== regions[i]) {
      const [is, was] = [cells[0], regions[i]].map((region) => JSON.stringify(region));
      throw new LatencyError(`${name}: row ${i + 2} is ${is}, where the header has ${was}`);
    }
    return cells.slice(1).map((cell, j) => {
      if (cell === "" && i === j) return WITHIN_REGION_MS;
      const ms = cell === "" ? NaN : Number(cell);
      if (ms >= 0 && ms <= MAX_RTT_MS) return ms;
      throw new LatencyError(
        `${name}: ${regions[i]} to ${regions[j]}: ${JSON.stringify(cell)} is no time in ms`,
      );
    });
  });
  return { name, regions, rtt };
}
