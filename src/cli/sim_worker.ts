// The worker in which `dmnode sim` runs a scenario. packaging/compile.ts adds this module to the executable.

import {
  type Progress,
  type ProgressListener,
  runScenario,
  type Scenario,
  type ScenarioResult,
} from "../sim/scenario.ts";
import { runWatchScenario, type WatchResult, type WatchScenario } from "../sim/watching.ts";

export type SimMessage<R> =
  | { readonly type: "progress"; readonly progress: Progress }
  | { readonly type: "done"; readonly result: R };

/** A scenario with lookups and fetches, or one with watched values. */
export type SimRequest = Scenario | WatchScenario;

const worker = globalThis as unknown as {
  onmessage: (event: MessageEvent<SimRequest>) => void;
  postMessage(message: SimMessage<ScenarioResult | WatchResult>): void;
};

worker.onmessage = async ({ data: scenario }) => {
  const onProgress: ProgressListener = (progress) =>
    worker.postMessage({ type: "progress", progress });
  const result = "watch" in scenario
    ? await runWatchScenario(scenario, onProgress)
    : runScenario(scenario, onProgress);
  worker.postMessage({ type: "done", result });
};
