// `dmnode sim`: runs the simulator, tells its progress, and prints what came of it.

import {
  flatLatency,
  LatencyError,
  type LatencyMatrix,
  MAX_RTT_MS,
  parseLatencyCsv,
} from "../sim/latency.ts";
import { REGIONS } from "../sim/regions.ts";
import { report } from "../sim/report.ts";
import type { Measured, Scenario, ScenarioResult } from "../sim/scenario.ts";
import { type CompletedRun, conditions, hopsFit, summary } from "../sim/summary.ts";
import { ALL_TECHNIQUES, SCORING, type Techniques } from "../dht/techniques.ts";
import { VERSION } from "../version.ts";
import { reason, UserError } from "./errors.ts";
import { interruptible } from "./interrupt.ts";
import { openOutput, type Output } from "./output.ts";
import { ProgressBar } from "./progress.ts";
import type { SimFlags } from "./sim_options.ts";
import type { SimReport } from "./sim_worker.ts";
import { printTable } from "./table.ts";
import { print, printJson } from "./terminal.ts";
import { bytes, count, counted, duration, percent } from "./units.ts";

/** Runs one simulation for each size. */
export async function simulate(flags: SimFlags): Promise<void> {
  const latency = latencyOf(flags.latency);
  // Opened first: a report that can't be written must not cost an hour's run.
  const file = flags.report === undefined ? undefined : await create(flags.report);
  const runs: CompletedRun[] = [];
  try {
    await interruptible(async (signal) => {
      for (const nodes of flags.nodes) {
        runs.push(await run(scenarioOf(nodes, latency, flags), signal));
      }
    });
    await file?.write(new TextEncoder().encode(report(runs, `dmnode ${VERSION}`)));
    await file?.finish();
  } catch (error) {
    await file?.discard();
    throw error;
  }
  if (flags.json) printSummary(runs);
  else if (runs.length === 1) printOne(runs[0]);
  else printSeveral(runs);
}

function scenarioOf(nodes: number, latency: LatencyMatrix, flags: SimFlags): Scenario {
  return {
    nodes,
    lookups: flags.lookups,
    values: flags.values,
    mutable: flags.mutable,
    seed: flags.seed,
    latency,
    loss: flags.loss,
    duplication: flags.duplication,
    reordering: flags.reordering,
    silent: flags.silent,
    nat: flags.nat,
    flaky: flags.flaky,
    sybils: flags.sybils,
    kill: flags.kill,
    partitionMinutes: flags.partition,
    churnMinutes: flags.churn,
    calmMinutes: flags.calm,
    settleMinutes: flags.settle,
    hours: flags.hours,
    k: flags.k,
    alpha: flags.alpha,
    techniques: techniquesOf(flags),
    healthCheckIntervalMs: flags.healthCheckInterval * 1000,
  };
}

function techniquesOf({ scoring, without }: SimFlags): Techniques {
  const left = [...without, ...(scoring === "on" ? [] : SCORING)];
  return { ...ALL_TECHNIQUES, ...Object.fromEntries(left.map((name) => [name, false])) };
}

function latencyOf(name: string): LatencyMatrix {
  if (name === "regions") return REGIONS;
  if (/^-?\d+(\.\d+)?$/.test(name)) {
    const ms = Number(name);
    if (ms >= 0 && ms <= MAX_RTT_MS) return flatLatency(ms);
    throw new UserError(`--latency: ${name} is not from 0 to ${MAX_RTT_MS} ms`, true);
  }
  let text: string;
  try {
    text = Deno.readTextFileSync(name);
  } catch (error) {
    const allowed = "it takes a CSV file, a number of ms, or regions";
    throw new UserError(`--latency: ${name} can't be read: ${reason(error)} (${allowed})`, true);
  }
  try {
    return parseLatencyCsv(text, name.replace(/^.*[/\\]/, ""));
  } catch (error) {
    if (error instanceof LatencyError) throw new UserError(`--latency: ${error.message}`, true);
    throw error;
  }
}

async function create(path: string): Promise<Output> {
  try {
    return await openOutput(path);
  } catch (error) {
    throw new UserError(`--report: ${reason(error)}`, true);
  }
}

async function run(scenario: Scenario, signal: AbortSignal): Promise<CompletedRun> {
  const begun = performance.now();
  const bar = new ProgressBar("things", true);
  const worker = new Worker(new URL("./sim_worker.ts", import.meta.url), { type: "module" });
  const { promise, resolve, reject } = Promise.withResolvers<ScenarioResult>();
  worker.onmessage = ({ data }: MessageEvent<SimReport>) => {
    if (data.type === "done") return resolve(data.result);
    const [phase, done, total, now] = data.at;
    bar.phase(`${counted(scenario.nodes, "node")}: ${phase}`, total);
    bar.set(done, `${duration(now / 1000)} simulated`);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(`the simulation has failed: ${event.message}`));
  };
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  try {
    worker.postMessage(scenario);
    const result = await promise;
    const { rss } = Deno.memoryUsage();
    return { scenario, result, wallMs: performance.now() - begun, rssBytes: rss };
  } finally {
    bar.clear();
    worker.terminate();
  }
}

function printSummary(runs: readonly CompletedRun[]): void {
  const line = hopsFit(runs);
  const all = runs.map(summary);
  const printed = runs.length === 1
    ? all[0]
    : { runs: all, hops_per_log2_nodes: line?.slope, hops_intercept: line?.intercept };
  printJson(printed);
}

function printOne({ scenario, result, wallMs, rssBytes }: CompletedRun): void {
  const { lookups, fetches, idle, load } = result;
  print(`${counted(scenario.nodes, "node")}: ${conditions(scenario).join(", ")}\n`);
  const row = (name: string, { count: all, success, hops, queries, latency }: Measured) => [
    name,
    count(all),
    percent(success, 2),
    hops.mean.toFixed(2),
    count(hops.p95),
    count(hops.max),
    queries.mean.toFixed(1),
    count(queries.p95),
    ...[latency.mean, latency.p50, latency.p95, latency.p99].map(count),
  ];
  figures(
    ["", "count", "found", "hops", "p95", "max", "queries", "p95", "ms", "p50", "p95", "p99"],
    [row("lookups", lookups), ...(fetches === undefined ? [] : [row("fetches", fetches)])],
  );
  const kept = result.replicas === undefined
    ? ""
    : `, ${result.replicas.toFixed(1)} replicas a value`;
  print(
    `\n${count(result.contactsPerNode)} contacts a node${kept}; at rest ` +
      `${idle.packetsPerSecond.toFixed(2)} packets/s and ${bytes(idle.bytesPerSecond)}/s ` +
      `sent by a node, then ${load.packetsPerSecond.toFixed(2)} packets/s and ` +
      `${bytes(load.bytesPerSecond)}/s${keeping(result)}\n` +
      `${count(result.virtualMs / 1000)} s simulated in ${(wallMs / 1000).toFixed(1)} s, ` +
      `${bytes(rssBytes)} of memory; digest ${result.digest}`,
  );
}

/** What became of the values, and what keeping them took. */
function keeping({ fetchedValues, copies, replication }: ScenarioResult): string {
  if (copies === undefined) return "";
  const { published, completed, copies: made } = replication;
  return `\n${count(fetchedValues.missed)} of ${
    counted(fetchedValues.count, "value")
  } not always ` +
    `found, ${count(copies.lost)} lost; ${copies.mean.toFixed(1)} copies of a value, ` +
    `${copies.least} at least, ${count(copies.stale)} of all out of date\n` +
    `published again ${counted(published, "time")}, seen to ${counted(completed, "time")}, ` +
    `${counted(made, "copy", "copies")} made`;
}

function printSeveral(runs: readonly CompletedRun[]): void {
  const { values } = runs[0].scenario;
  print(`${conditions(runs[0].scenario).join(", ")}\n`);
  const head = [
    ["nodes", "found", "hops", "p95", "max", "queries", "p95", "ms", "p95"],
    values > 0 ? ["fetched", "queries", "ms", "p50", "p95", "p99"] : [],
    ["packets/s", "MiB", "wall s"],
  ].flat();
  const rows = runs.map(({ scenario, result, wallMs, rssBytes }) => {
    const { lookups: l, fetches: f, idle } = result;
    return [
      count(scenario.nodes),
      percent(l.success, 2),
      l.hops.mean.toFixed(2),
      count(l.hops.p95),
      count(l.hops.max),
      l.queries.mean.toFixed(1),
      count(l.queries.p95),
      count(l.latency.mean),
      count(l.latency.p95),
      ...(values === 0 ? [] : f === undefined ? new Array<string>(6).fill("-") : [
        percent(f.success, 2),
        f.queries.mean.toFixed(1),
        ...[f.latency.mean, f.latency.p50, f.latency.p95, f.latency.p99].map(count),
      ]),
      idle.packetsPerSecond.toFixed(2),
      count(rssBytes / 2 ** 20),
      (wallMs / 1000).toFixed(1),
    ];
  });
  figures(head, rows);
  const line = hopsFit(runs);
  if (line !== undefined) {
    print(
      `\nMean hops = ${line.intercept.toFixed(2)} + ${line.slope.toFixed(3)} log2(nodes)`,
    );
  }
}

/** A table of figures; the first column names what they are of. */
function figures(head: readonly string[], rows: readonly (readonly string[])[]): void {
  printTable(head.map((name) => ({ head: name, align: "right" })), rows);
}
