// Explores all schedules of all scenarios on two cores, and prints the violations: `make check-model`.

import { SCENARIOS } from "./scenarios.ts";
import type { Message, ScenarioReport } from "./check_worker.ts";

const WORKERS = 2;

/** How many schedules are run between two lines about the progress. */
const PROGRESS_SCHEDULES = 100_000;

const begun = performance.now();
let progress = 0, schedules = 0, covered = 0, violating = 0;
const waiting = [...SCENARIOS.keys()];
await Promise.all(Array.from({ length: WORKERS }, work));
console.log(
  `${schedules} schedules in ${minutes()} min, ${covered} of them up to a known state, ` +
    `${violating} with violations`,
);
Deno.exit(violating === 0 ? 0 : 1);

/** Explores scenarios in a thread of its own until none is left. */
async function work(): Promise<void> {
  const worker = new Worker(new URL("./check_worker.ts", import.meta.url), { type: "module" });
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    print(await explore(worker, next));
  }
  worker.terminate();
}

function explore(worker: Worker, scenario: number): Promise<ScenarioReport> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<Message>) => {
      if (data.kind === "report") resolve(data.report);
      else showProgress(data.schedules);
    };
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(scenario);
  });
}

function showProgress(added: number): void {
  progress += added;
  if (progress % PROGRESS_SCHEDULES === 0) {
    console.log(`... ${progress} schedules after ${minutes()} min`);
  }
}

function minutes(): string {
  return ((performance.now() - begun) / 60_000).toFixed(1);
}

function print(report: ScenarioReport): void {
  const { name, deviations } = SCENARIOS[report.scenario];
  schedules += report.schedules;
  covered += report.covered;
  violating += report.violating;
  console.log(
    `${name}: ${report.schedules} schedules of up to ${deviations} deviations, ` +
      `${report.covered} of them up to a known state, in ${report.seconds.toFixed(0)} s`,
  );
  for (const text of report.violations) console.log(text);
}
