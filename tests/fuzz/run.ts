// Fuzzes for long: `make fuzz`. Fails at the first input that reveals a defect, and keeps that input in corpus/.
// Options: --packets N --requests N --inputs N --files N --seed N --only NAME,...

import { parseArgs } from "node:util";
import { ENV } from "./env.ts";
import { DATA_FILES } from "./files.ts";
import { FRAMES } from "./frames.ts";
import { IDENTITY } from "./identity.ts";
import { FuzzedApi } from "./requests.ts";
import { SEQUENCES, total } from "./sequences.ts";
import { fuzz, replay, type Subject } from "./subject.ts";

/** The JavaScript heap may grow by this much after a tenth of the runs: the event log of a node alone has 4 MiB. */
const MAX_GROWTH_BYTES = 16 << 20;

const PROGRESS_INTERVAL_MS = 15_000;

const { values: options } = parseArgs({
  options: {
    /** Packets to live nodes, in sequences. */
    packets: { type: "string", default: "10000000" },
    /** Requests and connections to the API of a live node. */
    requests: { type: "string", default: "100000" },
    /** WebSocket streams, identity files and .env files, of each. */
    inputs: { type: "string", default: "100000" },
    /** Starts with changed databases. */
    files: { type: "string", default: "1000" },
    /** Repeats the run with this seed. */
    seed: { type: "string", default: `${Math.floor(Math.random() * 2 ** 30)}` },
    /** The subjects to fuzz; all by default. */
    only: { type: "string" },
  },
});

const seed = Number(options.seed);
console.log(`Seed ${seed}. To repeat: make fuzz ARGS="--seed ${seed}"`);

const api = await FuzzedApi.start();
let inputs = 0;
const inputCount = () => inputs;
const jobs = [
  { subject: SEQUENCES, unit: "packets", goal: options.packets, count: () => total.packets },
  { subject: api.subject, unit: "requests", goal: options.requests, count: () => api.sent },
  { subject: FRAMES, unit: "streams", goal: options.inputs, count: inputCount },
  { subject: IDENTITY, unit: "files", goal: options.inputs, count: inputCount },
  { subject: ENV, unit: "files", goal: options.inputs, count: inputCount },
  { subject: DATA_FILES, unit: "starts", goal: options.files, count: inputCount },
] as { subject: Subject<unknown>; unit: string; goal: string; count: () => number }[];

/** The bytes of the JavaScript heap that are in use. */
function heapBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
  return Deno.memoryUsage().heapUsed;
}

const summary: string[] = [];
try {
  for (const { subject, unit, goal, count } of jobs) {
    if (options.only !== undefined && !options.only.split(",").includes(subject.name)) continue;
    inputs = 0;
    const target = Number(goal), begun = performance.now(), before = count();
    const kept = await replay(subject);
    let reportedAt = begun, early: number | undefined;
    const onRun = () => {
      inputs++;
      const done = count() - before, now = performance.now();
      if (early === undefined && done > target / 10) early = heapBytes();
      if (now - reportedAt < PROGRESS_INTERVAL_MS) return;
      reportedAt = now;
      console.log(
        `${subject.name}: ${done} of ${target} ${unit}, ${
          (done * 1000 / (now - begun)).toFixed(0)
        } a second`,
      );
    };
    // Rounds of a fixed size, so that the seed alone decides about the inputs.
    for (let round = 0; count() - before < target; round++) {
      await fuzz(subject, { runs: 20, seed: seed + round, onRun });
    }
    const grown = heapBytes() - (early ?? Infinity);
    const text = `${count() - before} ${unit} (${subject.name}, ${kept} kept inputs)`;
    console.log(
      `${text} in ${((performance.now() - begun) / 1000).toFixed(0)} s; the heap has grown by ` +
        `${(grown / 1e6).toFixed(1)} MB`,
    );
    if (grown > MAX_GROWTH_BYTES) throw new Error(`${subject.name}: the heap grows`);
    summary.push(text);
  }
  console.log(`No defect in ${summary.join(", ")}. Seed ${seed}.`);
} catch (error) {
  console.log(error);
  console.log(`A defect. Seed ${seed}.`);
  Deno.exitCode = 1;
} finally {
  await api.close();
}
Deno.exit();
