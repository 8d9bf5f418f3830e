// Simulates large values while 60 % of all nodes vanish at once: `make sim-large`. Prints one JSON object.
// Options: --nodes N --values N --bytes N --networks N --kill SHARE --sets N --seed N
//
// Storing and reading a value of 16 MiB takes minutes. The values of a network are therefore first judged for many random
// sets of nodes, by the pieces that the other nodes hold. Then one more set really vanishes, and the values are read.

import { parseArgs } from "node:util";
import { flatLatency } from "../src/sim/latency.ts";
import { type LargeResult, runLargeScenario } from "../src/sim/large_values.ts";

const { values: options } = parseArgs({
  options: {
    nodes: { type: "string", default: "1000" },
    /** The number of values in each network. Each value of 16 MiB needs 150 MB of memory. */
    values: { type: "string", default: "5" },
    bytes: { type: "string", default: `${2 ** 24}` },
    /** The number of networks, which are simulated one after the other. In each of them, other nodes vanish. */
    networks: { type: "string", default: "1" },
    kill: { type: "string", default: "0.6" },
    /** The number of random sets of vanished nodes for which the values of each network are judged. */
    sets: { type: "string", default: "40" },
    seed: { type: "string", default: "1" },
  },
});

const startedAt = performance.now();
const results: LargeResult[] = [];
for (let i = 0; i < Number(options.networks); i++) {
  let phase = "";
  results.push(
    await runLargeScenario({
      nodes: Number(options.nodes),
      values: Number(options.values),
      bytes: Number(options.bytes),
      kill: Number(options.kill),
      sets: Number(options.sets),
      seed: Number(options.seed) + i,
      k: 20,
      alpha: 3,
      // A short round trip and rare health checks leave less idle traffic to simulate.
      healthCheckIntervalMs: 600_000,
      latency: flatLatency(5),
      loss: 0,
      duplication: 0,
      reordering: 0,
    }, (name, done, total) => {
      const text = `network ${i + 1}: ${name} ${done} of ${total}`;
      if (phase !== text) console.error(`${seconds().toFixed(0)} s  ${phase = text}`);
    }),
  );
}

function seconds(): number {
  return (performance.now() - startedAt) / 1000;
}

const sum = (of: (result: LargeResult) => number) =>
  results.reduce((total, result) => total + of(result), 0);
const values = Number(options.values) * results.length;
console.log(JSON.stringify({
  nodes: Number(options.nodes),
  bytes: Number(options.bytes),
  judged: values * Number(options.sets),
  judged_intact: sum(({ judgedIntact }) => judgedIntact),
  read: values,
  read_intact: sum(({ readIntact }) => readIntact),
  failures: results.flatMap(({ failures }) => failures),
  multiple: sum(({ multiple }) => multiple) / results.length,
  least_replicas: Math.min(...results.map(({ replicas }) => replicas)),
  wall_s: seconds(),
}));
