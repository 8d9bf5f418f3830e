// Explores one part of a scenario's schedules in a thread of its own.

import { Explorer } from "./explorer.ts";
import { SCENARIOS, violations } from "./scenarios.ts";

/** What one thread has found. */
export interface PartReport {
  readonly schedules: number;
  /** How many schedules violate a guarantee. */
  readonly violating: number;
  /** Descriptions of the first of them. */
  readonly violations: readonly string[];
}

const KEPT = 5;

declare const self: {
  onmessage: (event: MessageEvent<{ scenario: number; part: number; parts: number }>) => void;
  postMessage(report: PartReport): void;
};

self.onmessage = async ({ data: { scenario: index, part, parts } }) => {
  const scenario = SCENARIOS[index];
  const explorer = new Explorer({ deviations: scenario.deviations, part, parts });
  const found: string[] = [];
  let schedules = 0, violating = 0;
  do {
    const broken = await violations(scenario, explorer);
    schedules++;
    if (broken.length === 0) continue;
    violating++;
    if (found.length < KEPT) {
      found.push(`${broken.join("\n")}\n  schedule ${JSON.stringify(explorer.schedule)}`);
    }
  } while (explorer.advance());
  self.postMessage({ schedules, violating, violations: found });
};
