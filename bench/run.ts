// `make bench`: the codec and the core in this process, then the node under load over UDP, and with 1,000 clients that
// listen to its events.
//
// deno run --allow-all bench/run.ts [--only codec|core|load|seal|events] [--seconds S] [--rounds N] [--window W]

import { parseArgs } from "node:util";
import { benchCodec } from "./codec.ts";
import { benchCore } from "./core.ts";
import { benchEvents } from "./events.ts";
import { benchLoad } from "./load.ts";
import { benchSeal } from "./seal.ts";

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    // Measure many short rounds, so that some are undisturbed even on a busy machine.
    seconds: { type: "string", default: "0.5" },
    rounds: { type: "string", default: "11" },
    window: { type: "string", default: "32" },
  },
});

/** Each round takes 20 s. */
const MOST_EVENT_ROUNDS = 5;

const parts: Record<string, () => void | Promise<void>> = {
  codec: benchCodec,
  core: benchCore,
  load: () =>
    benchLoad({
      seconds: positive("seconds", options.seconds),
      rounds: positive("rounds", options.rounds),
      window: positive("window", options.window),
    }),
  seal: () =>
    benchSeal({
      seconds: positive("seconds", options.seconds),
      rounds: positive("rounds", options.rounds),
      window: positive("window", options.window),
    }),
  // Measure fewer and longer rounds, because each one begins with connecting all listeners.
  events: () =>
    benchEvents({
      listeners: 1_000,
      events: 100,
      seconds: 2,
      rounds: Math.min(MOST_EVENT_ROUNDS, positive("rounds", options.rounds)),
      window: positive("window", options.window),
    }),
};
if (options.only !== undefined && !(options.only in parts)) {
  usage(`--only ${options.only}: allowed are ${Object.keys(parts).join(", ")}`);
}

const { deno, v8 } = Deno.version;
console.log(`Deno ${deno}, V8 ${v8}, ${Deno.build.target}, ${navigator.hardwareConcurrency} cores`);
for (const [name, run] of Object.entries(parts)) {
  if (options.only === undefined || options.only === name) await run();
}

function positive(name: string, text: string): number {
  const value = Number(text);
  return value > 0 && Number.isFinite(value) ? value : usage(`--${name} ${text}: not above 0`);
}

function usage(message: string): never {
  console.error(message);
  Deno.exit(2);
}
