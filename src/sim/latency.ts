// Round-trip times between regions: a built-in matrix, a matrix from a file, or one fixed time for all pairs of nodes.

/** A square matrix of round-trip times in milliseconds. */
export interface LatencyMatrix {
  readonly name: string;
  readonly regions: readonly string[];
  /** `rtt[i][j]` is the round-trip time from region i to region j. */
  readonly rtt: readonly (readonly number[])[];
}

/** The round-trip time within a region: an estimate for two data centres in one metropolitan area. */
export const WITHIN_REGION_MS = 2;

/** A larger round-trip time in a file must be a mistake: no path on Earth takes that long. */
export const MAX_RTT_MS = 10_000;

/** Creates a matrix with the same round-trip time between any two nodes. */
export function flatLatency(ms: number): LatencyMatrix {
  return { name: `${ms} ms everywhere`, regions: ["everywhere"], rtt: [[ms]] };
}

/** Parses a CSV whose first row and column name the regions. Empty diagonal cells mean 2 ms. Throws if malformed. */
export function parseLatencyCsv(text: string, name: string): LatencyMatrix {
  const rows = text.trim().split(/\r?\n/).map((line) => line.split(",").map((cell) => cell.trim()));
  const regions = rows[0].slice(1);
  if (regions.length === 0 || rows.length !== regions.length + 1) {
    throw new Error(
      `${name}: a square matrix with a header row and column is needed, ` +
        `this has ${regions.length} columns and ${rows.length - 1} rows`,
    );
  }
  const rtt = rows.slice(1).map((cells, i) => {
    if (cells.length !== regions.length + 1) {
      throw new Error(
        `${name}: row ${i + 2} has ${cells.length - 1} figures, not ${regions.length}`,
      );
    }
    if (cells[0] !== regions[i]) {
      const [is, was] = [cells[0], regions[i]].map((region) => JSON.stringify(region));
      throw new Error(`${name}: row ${i + 2} is ${is}, where the header has ${was}`);
    }
    return cells.slice(1).map((cell, j) => {
      if (cell === "" && i === j) return WITHIN_REGION_MS;
      const ms = cell === "" ? NaN : Number(cell);
      if (ms >= 0 && ms <= MAX_RTT_MS) return ms;
      throw new Error(
        `${name}: ${regions[i]} to ${regions[j]}: ${JSON.stringify(cell)} is no time in ms`,
      );
    });
  });
  return { name, regions, rtt };
}

/**
 * Round-trip times in ms between Azure regions, as Microsoft publishes them in "Azure network round-trip latency
 * statistics" (monthly figures of 2026, documentation under CC BY 4.0), averaged over both directions. The 18 regions
 * are the ones closest to where most people live. The mean over all pairs of different regions is 159 ms.
 */
export const REGIONS = parseLatencyCsv(
  `\
,East US,West US,Central US,Canada Central,Brazil South,UK South,France Central,Germany West Central,Sweden Central,Poland Central,UAE North,Central India,Southeast Asia,East Asia,Japan East,Korea Central,Australia East,South Africa North
East US,,72,28.5,20.5,118,78.5,87,93.5,112,101.5,183.5,234.5,223,215,163.5,186,198.5,217.5
West US,72,,41.5,64.5,176,147,153,159,179.5,170,252,227.5,171,159,107.5,130,140.5,273.5
Central US,28.5,41.5,,27.5,150.5,111,119,124,142.5,133,215.5,239.5,198.5,187,135.5,157.5,175.5,246.5
Canada Central,20.5,64.5,27.5,,130.5,91.5,99.5,106,126,114.5,195.5,244,222,211,159,181,201,231
Brazil South,118,176,150.5,130.5,,180,190,195,216,202,284.5,330,332,320.5,270.5,294,298.5,319
UK South,78.5,147,111,91.5,180,,11,17,37.5,29,119.5,129,155,187,230.5,218,247,161
France Central,87,153,119,99.5,190,11,,12,40.5,29,114,123,148,182,214,212.5,241,156
Germany West Central,93.5,159,124,106,195,17,12,,34,22,119,130.5,157,187,219,217.5,247,162
Sweden Central,112,179.5,142.5,126,216,37.5,40.5,34,,30,167.5,203,201.5,224,277.5,271.5,295.5,198
Poland Central,101.5,170,133,114.5,202,29,29,22,30,,134.5,154.5,173,202,249,233,263,178
UAE North,183.5,252,215.5,195.5,284.5,119.5,114,119,167.5,134.5,,39.5,82,111.5,151.5,142,172,102.5
Central India,234.5,227.5,239.5,244,330,129,123,130.5,203,154.5,39.5,,56,89.5,127,124.5,152.5,205
Southeast Asia,223,171,198.5,222,332,155,148,157,201.5,173,82,56,,36,73,65,94,180
East Asia,215,159,187,211,320.5,187,182,187,224,202,111.5,89.5,36,,53,41,122.5,209
Japan East,163.5,107.5,135.5,159,270.5,230.5,214,219,277.5,249,151.5,127,73,53,,29,103.5,249
Korea Central,186,130,157.5,181,294,218,212.5,217.5,271.5,233,142,124.5,65,41,29,,126,240
Australia East,198.5,140.5,175.5,201,298.5,247,241,247,295.5,263,172,152.5,94,122.5,103.5,126,,269.5
South Africa North,217.5,273.5,246.5,231,319,161,156,162,198,178,102.5,205,180,209,249,240,269.5,
`,
  "18 Azure regions",
);
