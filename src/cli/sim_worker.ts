// The worker in which `dmnode sim` runs a scenario. packaging/compile.ts adds this module to the executable.

import {
  type Progress,
  type ProgressListener,
  runScenario,
  type Scenario,
  type ScenarioResult,
} from "../sim/scenario.ts";

export type SimMessage =
  | { readonly type: "progress"; readonly progress: Progress }
  | { readonly type: "done"; readonly result: ScenarioResult };

const worker = globalThis as unknown as {
  onmessage: (event: MessageEvent<Scenario>) => void;
  postMessage(message: SimMessage): void;
};

worker.onmessage = ({ data: scenario }) => {
  const onProgress: ProgressListener = (progress) =>
    worker.postMessage({ type: "progress", progress });
  worker.postMessage({ type: "done", result: runScenario(scenario, onProgress) });
};
