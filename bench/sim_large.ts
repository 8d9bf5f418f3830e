// Simulates large values while 60 % of all nodes vanish at once: `make sim-large`. Prints one JSON object.
// Options: --nodes N --values N --bytes N --reads N --kill SHARE --sets N --seed N
//
// Each value is judged by the pieces that the nodes hold, for the set of nodes that vanish and for further random sets. A few
// values are read after the nodes have vanished.

import { parseArgs } from "node:util";
import { flatLatency } from "../src/sim/latency.ts";
import { runLargeScenario } from "../src/sim/large_values.ts";

const { values: options } = parseArgs({
  options: {
    nodes: { type: "string", default: "1000" },
    values: { type: "string", default: "200" },
    bytes: { type: "string", default: `${2 ** 24}` },
    /** How many of the values are read. Each of 16 MiB needs 150 MB of memory, and a minute or two. */
    reads: { type: "string", default: "2" },
    kill: { type: "string", default: "0.6" },
    /** The number of random sets of nodes for which each value is judged. The first of them vanishes. */
    sets: { type: "string", default: "10" },
    seed: { type: "string", default: "1" },
  },
});

const startedAt = performance.now();
const seconds = () => (performance.now() - startedAt) / 1000;
const values = Number(options.values), reads = Math.min(values, Number(options.reads));
const result = await runLargeScenario({
  nodes: Number(options.nodes),
  values,
  bytes: Number(options.bytes),
  reads,
  kill: Number(options.kill),
  sets: Number(options.sets),
  seed: Number(options.seed),
  k: 20,
  alpha: 3,
  // A short round trip and rare health checks leave less idle traffic to simulate.
  healthCheckIntervalMs: 600_000,
  latency: flatLatency(5),
  loss: 0,
  duplication: 0,
  reordering: 0,
}, ({ phase, done, total, intact }) => {
  console.error(`${seconds().toFixed(0)} s  ${phase} ${done} of ${total}, ${intact} intact`);
});
console.log(JSON.stringify({
  nodes: Number(options.nodes),
  bytes: Number(options.bytes),
  values,
  intact: result.intact[0],
  intact_in_all_sets: result.intact.reduce((sum, count) => sum + count, 0),
  sets: result.intact.length,
  read: reads,
  read_intact: result.readIntact,
  failures: result.failures,
  multiple: result.multiple,
  fullest_node_bytes: result.fullestBytes,
  least_replicas: result.replicas,
  store_ms: result.storeMs,
  read_ms: result.readMs,
  wall_s: seconds(),
}));
