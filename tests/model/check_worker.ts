// Explores the schedules of one scenario after another in a thread of its own.

import { Explorer } from "./explorer.ts";
import { SCENARIOS, violations } from "./scenarios.ts";

/** What one thread has found in a scenario. */
export interface ScenarioReport {
  readonly scenario: number;
  /** How many schedules were run, each of them once. */
  readonly schedules: number;
  /** How many of them ended early, in a state that an earlier one had reached. */
  readonly covered: number;
  /** How many schedules violate a guarantee. */
  readonly violating: number;
  /** Descriptions of the first of them. */
  readonly violations: readonly string[];
  readonly seconds: number;
}

/** What a thread sends: its progress in a scenario now and then, and at last its report. */
export type Message =
  | { readonly kind: "progress"; readonly schedules: number }
  | { readonly kind: "report"; readonly report: ScenarioReport };

/** How many schedules a thread runs between two messages about its progress. */
const PROGRESS_SCHEDULES = 1_000;

const KEPT = 5;

declare const self: {
  onmessage: (event: MessageEvent<number>) => void;
  postMessage(message: Message): void;
};

self.onmessage = async ({ data: index }) => {
  const scenario = SCENARIOS[index], begun = performance.now();
  const explorer = new Explorer({ deviations: scenario.deviations });
  const found: string[] = [];
  let schedules = 0, covered = 0, violating = 0;
  do {
    const broken = await violations(scenario, explorer);
    schedules++;
    if (schedules % PROGRESS_SCHEDULES === 0) {
      self.postMessage({ kind: "progress", schedules: PROGRESS_SCHEDULES });
    }
    if (broken === undefined) covered++;
    else if (broken.length > 0) {
      violating++;
      if (found.length < KEPT) {
        found.push(`${broken.join("\n")}\n  schedule ${JSON.stringify(explorer.schedule)}`);
      }
    }
  } while (explorer.advance());
  const seconds = (performance.now() - begun) / 1000;
  self.postMessage({
    kind: "report",
    report: { scenario: index, schedules, covered, violating, violations: found, seconds },
  });
};
