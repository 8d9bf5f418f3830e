// The thread in which `dmnode sim` runs a scenario, so that the main one is free to hear signals. An executable holds it as
// a module of its own (packaging/compile.ts).

import { Identity, itemCrypto } from "../runtime/crypto.ts";
import { type Progress, runScenario, type Scenario, type ScenarioResult } from "../sim/scenario.ts";
import type { SimCrypto } from "../sim/values.ts";

/** What it tells: how far it is, and at last what came of it. */
export type SimReport =
  | { readonly type: "progress"; readonly at: Parameters<Progress> }
  | { readonly type: "done"; readonly result: ScenarioResult };

const CRYPTO: SimCrypto = { ...itemCrypto, signer: (seed) => new Identity(seed) };

const thread = globalThis as unknown as {
  onmessage: (event: MessageEvent<Scenario>) => void;
  postMessage(report: SimReport): void;
};

thread.onmessage = ({ data: scenario }) => {
  const result = runScenario(
    scenario,
    CRYPTO,
    (...at) => thread.postMessage({ type: "progress", at }),
  );
  thread.postMessage({ type: "done", result });
};
