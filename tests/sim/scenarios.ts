// Small simulations for tests: a scenario without disturbances, to which each test adds its own.

import { flatLatency } from "../../src/sim/latency.ts";
import { runScenario, type Scenario, type ScenarioResult } from "../../src/sim/scenario.ts";

export const CALM: Scenario = {
  nodes: 60,
  lookups: 40,
  values: 0,
  mutable: 0,
  seed: 1,
  latency: flatLatency(50),
  loss: 0,
  duplication: 0,
  reordering: 0,
  silent: 0,
  nat: 0,
  flaky: 0,
  sybils: 0,
  colluders: 0,
  eclipse: 0,
  eclipseNetworks: 5,
  kill: 0,
  partitionMinutes: 0,
  churnMinutes: 0,
  calmMinutes: 2,
  settleMinutes: 0,
  hours: 0,
  k: 8,
  alpha: 3,
  healthCheckIntervalMs: 60_000,
};

export function simulate(changes: Partial<Scenario> = {}): ScenarioResult {
  return runScenario({ ...CALM, ...changes });
}
