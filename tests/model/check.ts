// Explores all schedules of all scenarios on two cores, and prints the violations: `make check-model`.

import { SCENARIOS } from "./scenarios.ts";
import type { PartReport } from "./check_worker.ts";

const PARTS = 2;

/** Cap on the violations that are printed for one scenario. */
const PRINTED = 5;

const begun = performance.now();
let schedules = 0, violations = 0;
for (const [index, { name, deviations }] of SCENARIOS.entries()) {
  const scenarioBegun = performance.now();
  const reports = await Promise.all(
    Array.from({ length: PARTS }, (_, part) => explore(index, part)),
  );
  // Each part runs the schedule without deviations.
  const count = reports.reduce((sum, report) => sum + report.schedules, 1 - PARTS);
  const found = reports.flatMap((report) => report.violations);
  schedules += count;
  violations += reports.reduce((sum, report) => sum + report.violating, 0);
  const seconds = (performance.now() - scenarioBegun) / 1000;
  console.log(
    `${name}: ${count} schedules of up to ${deviations} deviations in ${seconds.toFixed(0)} s`,
  );
  for (const text of found.slice(0, PRINTED)) console.log(text);
}
const minutes = (performance.now() - begun) / 60_000;
console.log(`${schedules} schedules in ${minutes.toFixed(1)} min, ${violations} with violations`);
Deno.exit(violations === 0 ? 0 : 1);

function explore(scenario: number, part: number): Promise<PartReport> {
  const worker = new Worker(new URL("./check_worker.ts", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<PartReport>) => {
      worker.terminate();
      resolve(data);
    };
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage({ scenario, part, parts: PARTS });
  });
}
