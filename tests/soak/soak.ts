// Runs real nodes for hours under load, churn and a light attack, and fails if they keep growing: `make soak`.
// Options: --nodes N --minutes M --warm-up MINUTES --every SECONDS --load OPERATIONS_PER_SECOND --seed N
//
// A slope fails if the lower end of its 95 % confidence interval is above the growth that MEASURES in nodes.ts allows.

import { join } from "node:path";
import { parseArgs } from "node:util";
import { median, printTable } from "../../bench/measure.ts";
import { SeededRandom } from "../../src/sim/random.ts";
import { type Line, page } from "./chart.ts";
import { Attack, Load } from "./load.ts";
import { type Measure, MEASURES, type Role, type Sample, SoakNode } from "./nodes.ts";
import { type Point, slopeOf } from "./slopes.ts";

/** One of this number of nodes is killed now and then. It is not measured. */
const ONE_KILLED_OF = 5;

/** The time between two kills, and the time that a killed node stays down. */
const KILL_INTERVAL_MS = 60_000, DOWN_MS = 15_000;

/** How often the attacker sends to a node. */
const ATTACK_INTERVAL_MS = 250;

/** How often a pause checks whether the soak is over. */
const STEP_MS = 1_000;

/** Operations of the load at a time. */
const MAX_RUNNING = 16;

const CHART = "artifacts/soak.html";

const { values: options } = parseArgs({
  options: {
    nodes: { type: "string", default: "50" },
    minutes: { type: "string", default: "120" },
    /** Minutes until the measurements begin; half of the whole time by default. */
    "warm-up": { type: "string" },
    /** Seconds between two measurements of a node. */
    every: { type: "string", default: "20" },
    /** Operations per second of the load; one for every five nodes by default. */
    load: { type: "string" },
    seed: { type: "string", default: "1" },
  },
});
const count = Number(options.nodes), seed = Number(options.seed);
const totalMs = Number(options.minutes) * 60_000;
const warmUpMs = options["warm-up"] === undefined
  ? totalMs / 2
  : Number(options["warm-up"]) * 60_000;
const operationMs = 1000 / Number(options.load ?? count / 5);

const random = new SeededRandom(seed, 2);
const directory = await Deno.makeTempDir({ prefix: "dmnode-soak-" });
const nodes: SoakNode[] = [];
const samples = new Map<SoakNode, { hours: number; sample: Sample }[]>();
let isOver = false, kills = 0;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => isOver = true);
}

function roleOf(index: number): Role {
  if (index % ONE_KILLED_OF === ONE_KILLED_OF - 1) return "killed";
  return index % 2 === 0 ? "usual" : "collected";
}

/** Runs `job` again and again until the soak is over. */
async function repeat(intervalMs: number, job: () => Promise<unknown>): Promise<void> {
  while (!isOver) {
    for (let left = intervalMs; left > 0 && !isOver; left -= STEP_MS) {
      await new Promise((resolve) => setTimeout(resolve, Math.min(left, STEP_MS)));
    }
    if (!isOver) await job();
  }
}

/** Kills a node and restarts it. */
async function churn(): Promise<void> {
  const victims = nodes.filter(({ role }) => role === "killed");
  if (victims.length === 0) return;
  const victim = victims[random.below(victims.length)];
  await victim.kill();
  kills++;
  await new Promise((resolve) => setTimeout(resolve, DOWN_MS));
  if (!isOver) await victim.restart(nodes[0].udp);
}

function pointsOf(node: SoakNode, measure: Measure, fromHours: number): Point[] {
  return (samples.get(node) ?? []).filter(({ hours }) => hours >= fromHours)
    .map(({ hours, sample }) => ({ hours, value: sample[measure] }));
}

const COLORS = { usual: "#1f77b4", collected: "#2ca02c", killed: "#d62728" };

/** Prints the slopes, draws the chart, and returns whether a slope is too steep. */
async function report(fromHours: number): Promise<boolean> {
  let hasGrown = false;
  const rows: string[][] = [], pictures = [];
  for (const [name, { title, unit, allowedPerHour }] of Object.entries(MEASURES)) {
    const measure = name as Measure;
    const verdicts: string[] = [];
    for (const role of ["usual", "collected"] as const) {
      const group = nodes.filter((node) => node.role === role);
      const series = group.map((node) => pointsOf(node, measure, fromHours));
      if (series.every(({ length }) => length < 2)) continue;
      const { perHour, low, high } = slopeOf(series);
      // The memory of the others contains more garbage.
      const isJudged = allowedPerHour !== null &&
        (role === "collected" || (measure !== "memory" && measure !== "heap"));
      const isSteep = isJudged && low > allowedPerHour;
      hasGrown ||= isSteep;
      const last = median(series.filter(({ length }) => length > 0).map((s) => s.at(-1)!.value));
      const interval = `${low.toFixed(2)} to ${high.toFixed(2)}`;
      const verdict = !isJudged ? "not judged" : isSteep ? "GROWS" : "ok";
      rows.push(
        [
          measure,
          role,
          `${group.length}`,
          `${last.toFixed(1)} ${unit}`,
          perHour.toFixed(2),
          interval,
          `${allowedPerHour ?? ""}`,
          verdict,
        ],
      );
      verdicts.push(`${role}: ${perHour.toFixed(2)} ${unit} an hour (${interval})`);
    }
    const lines: Line[] = nodes.filter(({ role }) => role !== "killed").map((node) => ({
      color: COLORS[node.role],
      label: `${node.name}, ${node.role}`,
      points: pointsOf(node, measure, 0),
    }));
    pictures.push({ title, unit, verdict: verdicts.join("; "), lines, fromHours });
  }
  printTable(
    "Slopes after the warm-up",
    ["measure", "nodes", "number", "last", "per hour", "95 % interval", "allowed", ""],
    rows,
  );
  await Deno.mkdir("artifacts", { recursive: true });
  await Deno.writeTextFile(CHART, page(`Soak of ${count} nodes`, pictures));
  console.log(`\nChart: ${CHART}`);
  return hasGrown;
}

try {
  for (let i = 0; i < count; i++) {
    const bootstrap = nodes[0]?.udp ?? "";
    const node = await SoakNode.start({ name: `node${i}`, role: roleOf(i), directory, bootstrap });
    nodes.push(node);
    samples.set(node, []);
  }
  console.log(`${count} nodes run. Seed ${seed}.`);
  const load = new Load(nodes, seed), attack = new Attack(nodes, seed);
  const startedAt = performance.now();
  const hours = () => (performance.now() - startedAt) / 3_600_000;
  let running = 0;
  const sampleAll = async () => {
    for (const node of nodes) {
      if (node.role === "killed" || isOver) continue;
      samples.get(node)!.push({ hours: hours(), sample: await node.sample() });
    }
  };
  const progress = () => {
    const latest = nodes.flatMap((node) => samples.get(node)!.slice(-1));
    const memory = median(latest.map(({ sample }) => sample.memory));
    const { statuses, found, fetches } = load.outcomes;
    const requests = [...statuses.values()].reduce((sum, n) => sum + n, 0);
    console.log(
      `${
        (hours() * 60).toFixed(0)
      } min: ${requests} requests, ${found} of ${fetches} values found, ` +
        `${attack.packets} hostile packets, ${kills} kills, ${memory.toFixed(1)} MB a node`,
    );
  };
  setTimeout(() => isOver = true, totalMs);
  await Promise.all([
    repeat(operationMs, () => {
      if (running < MAX_RUNNING) {
        running++;
        void load.step().finally(() => running--);
      }
      return Promise.resolve();
    }),
    repeat(ATTACK_INTERVAL_MS, () => attack.step()),
    repeat(KILL_INTERVAL_MS, churn),
    repeat(Number(options.every) * 1000, sampleAll),
    repeat(60_000, () => Promise.resolve(progress())),
  ]);
  attack.close();
  const { statuses, failures, found, fetches } = load.outcomes;
  printTable(
    "Requests",
    ["request and status", "number"],
    [...statuses].sort().map(([name, n]) => [name, `${n}`]),
  );
  const hasGrown = await report(warmUpMs / 3_600_000);
  await Promise.all(nodes.map((node) => node.close()));
  const errors = nodes.flatMap((node) => node.errors);
  for (const line of errors.slice(0, 10)) console.log(line);
  console.log(
    `${found} of ${fetches} values found, ${attack.packets} hostile packets, ${kills} kills, ` +
      `${failures.length} answers 500, ${errors.length} errors logged: ${
        hasGrown ? "a measure grows" : "no measure grows"
      }`,
  );
  Deno.exitCode = hasGrown || failures.length > 0 || errors.length > 0 ? 1 : 0;
} finally {
  isOver = true;
  await Promise.all(nodes.map((node) => node.close()));
  await Deno.remove(join(directory), { recursive: true });
}
Deno.exit();
