// `dmnode sim`: runs the simulator, shows its progress, and prints the results.

import {
  flatLatency,
  type LatencyMatrix,
  MAX_RTT_MS,
  parseLatencyCsv,
  REGIONS,
} from "../sim/latency.ts";
import { report } from "../sim/report.ts";
import theme from "../web/theme.css" with { type: "text" };
import type { Measured } from "../sim/measures.ts";
import type { Scenario, ScenarioResult } from "../sim/scenario.ts";
import { type CompletedRun, conditions, hopsFit, milliseconds, summary } from "../sim/summary.ts";
import type { WatchResult, WatchScenario } from "../sim/watching.ts";
import { VERSION } from "../version.ts";
import { bytes, count, duration, plural } from "../web/format.js";
import type { SimMessage, SimRequest } from "./sim_worker.ts";
import { reason, UserError } from "./terminal/errors.ts";
import { interruptible } from "./terminal/interrupt.ts";
import { openOutput } from "./terminal/output.ts";
import { ProgressBar } from "./terminal/progress.ts";
import { printTable, right } from "./terminal/table.ts";
import { print, printJson } from "./terminal/terminal.ts";

/** The options as parsed by commander. Most have the same names as in `Scenario`. */
interface SimFlags
  extends Omit<Scenario, "nodes" | "latency" | `${string}Minutes` | "healthCheckIntervalMs"> {
  readonly nodes: readonly number[];
  readonly latency: string;
  /** The duration of the partition in minutes. `churn`, `calm` and `settle` are in minutes too. */
  readonly partition: number;
  readonly churn: number;
  readonly calm: number;
  readonly settle: number;
  /** The interval between health checks in seconds. */
  readonly healthCheckInterval: number;
  /** The number of watched values. If it is not 0, the run measures watches instead of lookups. */
  readonly watch: number;
  readonly foreign: number;
  readonly json?: boolean;
  readonly report?: string;
}

export async function simulate({ watch, foreign, ...flags }: SimFlags): Promise<void> {
  const latency = latencyOf(flags.latency);
  if (watch > 0) return await simulateWatches({ ...flags, watch, foreign }, latency);
  // Open the report file now, so that a bad path fails immediately, not after a run that may take
  // an hour.
  const file = flags.report === undefined
    ? undefined
    : await openOutput(flags.report).catch((error) => {
      throw new UserError(`--report: ${reason(error)}`, true);
    });
  const runs: CompletedRun[] = [];
  try {
    await interruptible(async (signal) => {
      for (const nodes of flags.nodes) {
        const scenario = {
          ...flags,
          nodes,
          latency,
          partitionMinutes: flags.partition,
          churnMinutes: flags.churn,
          calmMinutes: flags.calm,
          settleMinutes: flags.settle,
          healthCheckIntervalMs: flags.healthCheckInterval * 1000,
        };
        runs.push(await run(scenario, signal));
      }
    });
    await file?.write(new TextEncoder().encode(report(runs, { made: `dmnode ${VERSION}`, theme })));
    await file?.finish();
  } catch (error) {
    await file?.discard();
    throw error;
  }
  if (runs.length === 1) return flags.json ? printJson(summary(runs[0])) : printOne(runs[0]);
  if (!flags.json) return printSeveral(runs);
  const line = hopsFit(runs);
  printJson({
    runs: runs.map(summary),
    hops_per_log2_nodes: line?.slope,
    hops_intercept: line?.intercept,
  });
}

/** Measures watches, and prints the results. */
async function simulateWatches(flags: SimFlags, latency: LatencyMatrix): Promise<void> {
  if (flags.report !== undefined) throw new UserError("--report: not with --watch", true);
  const runs: object[] = [];
  await interruptible(async (signal) => {
    for (const nodes of flags.nodes) {
      const { watch, foreign, nat, kill, hours, seed, k, alpha } = flags;
      const { loss, duplication, reordering } = flags;
      const healthCheckIntervalMs = flags.healthCheckInterval * 1000;
      const links = { latency, loss, duplication, reordering };
      const scenario: WatchScenario = {
        ...{ nodes, watch, foreign, nat, kill, hours, seed, k, alpha, healthCheckIntervalMs },
        ...links,
      };
      const { result, wallMs } = await inWorker<WatchResult>(scenario, signal);
      if (flags.json) runs.push(watchSummary(scenario, result, wallMs));
      else printWatches(scenario, result, wallMs);
    }
  });
  if (flags.json) printJson(runs.length === 1 ? runs[0] : { runs });
}

function watchSummary({ nodes, watch, seed }: WatchScenario, result: WatchResult, wallMs: number) {
  const { rest, healthy, troubled, notices, virtualMs, digest } = result;
  const changes = ({ count, heard, afterPut, afterAck }: WatchResult["healthy"]) => ({
    count,
    heard,
    after_put_ms: { ...milliseconds(afterPut), max: afterPut.max },
    after_ack_ms: { ...milliseconds(afterAck), max: afterAck.max },
  });
  return {
    nodes,
    watched: watch,
    seed,
    per_value_hour: {
      queries: rest.queries,
      polls: rest.polls,
      renewals: rest.renewals,
      pings: rest.pings,
    },
    subscriptions: rest.subscriptions,
    pushed: rest.pushed,
    changes: changes(healthy),
    changes_after_loss: troubled === undefined ? null : changes(troubled),
    notices,
    virtual_s: virtualMs / 1000,
    wall_s: wallMs / 1000,
    digest,
  };
}

function printWatches(scenario: WatchScenario, result: WatchResult, wallMs: number): void {
  const { nodes, watch, latency, loss, foreign, nat, kill, seed } = scenario;
  const { rest, healthy, troubled, notices } = result;
  print(
    `${plural(nodes, "node")}, ${plural(watch, "watched value")}: latency ${latency.name}, ` +
      `${exactPercent(loss)} loss, ${exactPercent(foreign)} other software, ` +
      `${exactPercent(nat)} of watchers behind NATs, seed ${seed}\n`,
  );
  const row = (name: string, { count: all, heard, afterPut, afterAck }: typeof healthy) => [
    name,
    count(all),
    count(heard),
    ...[afterPut, afterAck].flatMap(({ p50, p95, max }) => [p50, p95, max].map(count)),
  ];
  printTable(
    ["", "changes", "heard", "after put p50", "p95", "max", "after ack p50", "p95", "max"]
      .map(right),
    [
      row("all up", healthy),
      ...(troubled === undefined ? [] : [row(`${exactPercent(kill)} gone`, troubled)]),
    ],
  );
  print(
    `\nAt rest, per value and hour: ${rest.queries.toFixed(1)} queries, of these ` +
      `${rest.renewals.toFixed(1)} renewals and ${
        rest.pings.toFixed(1)
      } pings to keep NATs open; ` +
      `${rest.polls.toFixed(1)} polls\n` +
      `${rest.subscriptions.toFixed(1)} subscriptions per value; ` +
      `${count(notices.sent)} notices sent, ${count(notices.acknowledged)} acknowledged, ` +
      `${count(notices.unknown)} unknown\n` +
      `${count(result.virtualMs / 1000)} s simulated in ${(wallMs / 1000).toFixed(1)} s; ` +
      `digest ${result.digest}`,
  );
}

function latencyOf(name: string): LatencyMatrix {
  if (name === "regions") return REGIONS;
  if (/^-?\d+(\.\d+)?$/.test(name)) {
    const ms = Number(name);
    if (ms >= 0 && ms <= MAX_RTT_MS) return flatLatency(ms);
    throw new UserError(`--latency: ${name} is not from 0 to ${MAX_RTT_MS} ms`, true);
  }
  let problem = `: ${name} can't be read (give a CSV file, a number of ms, or regions)`;
  try {
    const text = Deno.readTextFileSync(name);
    problem = "";
    return parseLatencyCsv(text, name.replace(/^.*[/\\]/, ""));
  } catch (error) {
    throw new UserError(`--latency${problem}: ${reason(error)}`, true);
  }
}

async function run(scenario: Scenario, signal: AbortSignal): Promise<CompletedRun> {
  return { scenario, ...await inWorker<ScenarioResult>(scenario, signal) };
}

/** Runs a scenario in a worker, so that this thread stays free to handle signals. */
async function inWorker<R>(
  scenario: SimRequest,
  signal: AbortSignal,
): Promise<{ result: R; wallMs: number; rssBytes: number }> {
  const begun = performance.now();
  const bar = new ProgressBar("things", true);
  const worker = new Worker(new URL("./sim_worker.ts", import.meta.url), { type: "module" });
  const { promise, resolve, reject } = Promise.withResolvers<R>();
  worker.onmessage = ({ data }: MessageEvent<SimMessage<R>>) => {
    if (data.type === "done") return resolve(data.result);
    const { phase, done, total, now } = data.progress;
    bar.phase(`${plural(scenario.nodes, "node")}: ${phase}`, total);
    bar.set(done, `${duration(now / 1000)} simulated`);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(`the simulation failed: ${event.message}`));
  };
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  try {
    worker.postMessage(scenario);
    const result = await promise;
    const { rss } = Deno.memoryUsage();
    return { result, wallMs: performance.now() - begun, rssBytes: rss };
  } finally {
    bar.clear();
    worker.terminate();
  }
}

/** Formats a percentage with two decimals: results of simulations may differ by less than one percentage point. */
function exactPercent(share: number): string {
  return `${(share * 100).toFixed(2)} %`;
}

function hopCells({ success, hops, queries }: Measured): string[] {
  return [
    exactPercent(success),
    hops.mean.toFixed(2),
    count(hops.p95),
    count(hops.max),
    queries.mean.toFixed(1),
    count(queries.p95),
  ];
}

function latencyCells({ latency: { mean, p50, p95, p99 } }: Measured): string[] {
  return [mean, p50, p95, p99].map(count);
}

function printOne({ scenario, result, wallMs, rssBytes }: CompletedRun): void {
  const { lookups, fetches, eclipse, idle, load } = result;
  print(`${plural(scenario.nodes, "node")}: ${conditions(scenario).join(", ")}\n`);
  const row = (name: string, measured: Measured) => [
    name,
    count(measured.count),
    ...hopCells(measured),
    ...latencyCells(measured),
  ];
  printTable(
    ["", "count", "found", "hops", "p95", "max", "queries", "p95", "ms", "p50", "p95", "p99"]
      .map(right),
    [
      row("lookups", lookups),
      ...(fetches === undefined ? [] : [row("fetches", fetches)]),
      ...(eclipse === undefined ? [] : [
        row("quiet", eclipse.quiet),
        row("stored before", eclipse.storedBefore),
        row("stored after", eclipse.storedAfter),
      ]),
    ],
  );
  const { replicas: mean, stores } = result;
  const replicas = mean === undefined ? "" : `, ${mean.toFixed(1)} replicas per value`;
  print(
    `\n${count(result.contactsPerNode)} contacts per node${replicas}; at rest a node sends ` +
      `${idle.packetsPerSecond.toFixed(2)} packets/s and ${bytes(idle.bytesPerSecond)}/s, ` +
      `then ${load.packetsPerSecond.toFixed(2)} packets/s and ` +
      `${bytes(load.bytesPerSecond)}/s${storesText(stores)}${retentionText(result)}\n` +
      `${alarmText(result)}\n` +
      `${count(result.virtualMs / 1000)} s simulated in ${(wallMs / 1000).toFixed(1)} s, ` +
      `${bytes(rssBytes)} of memory; digest ${result.digest}`,
  );
}

/**
 * Describes how many of the simulated attacks the nodes detected; without attacks, the number of false alarms.
 */
function alarmText({ alarms, eclipse }: ScenarioResult): string {
  if (eclipse === undefined) return `${plural(alarms, "false alarm")}`;
  return `${count(eclipse.noticed)} of ${plural(eclipse.values, "attack")} noticed`;
}

/** Describes how long stores took. Empty if there were none. */
function storesText(stores: ScenarioResult["stores"]): string {
  if (stores === undefined) return "";
  const { count: all, enough, latency, whole } = stores;
  return `\n${count(enough)} of ${plural(all, "store")} reached three quarters of k nodes, ` +
    `after ${count(latency.mean)} ms (p95 ${count(latency.p95)}), and all ended ` +
    `after ${count(whole.mean)} ms (p95 ${count(whole.p95)})`;
}

/** Describes how well values survived and how much replication ran. Empty if no values were stored. */
function retentionText({ fetchedValues, copies, replication }: ScenarioResult): string {
  if (copies === undefined) return "";
  const { published, completed, copies: made } = replication;
  return `\n${count(fetchedValues.missed)} of ${plural(fetchedValues.count, "value")} not always ` +
    `found, ${count(copies.lost)} lost; ${copies.mean.toFixed(1)} copies per value, ` +
    `at least ${copies.least}, ${count(copies.stale)} of all copies outdated\n` +
    `republished ${plural(published, "time")}, checked ${plural(completed, "time")}, ` +
    `${plural(made, "copy", "copies")} made`;
}

function printSeveral(runs: readonly CompletedRun[]): void {
  print(`${conditions(runs[0].scenario).join(", ")}\n`);
  const fetchHead = runs[0].scenario.values > 0
    ? ["fetched", "queries", "ms", "p50", "p95", "p99"]
    : [];
  const head = [
    ...["nodes", "found", "hops", "p95", "max", "queries", "p95", "ms", "p95"],
    ...fetchHead,
    ...["packets/s", "MiB", "wall s"],
  ];
  const rows = runs.map(({ scenario, result, wallMs, rssBytes }) => {
    const { lookups, fetches, idle } = result;
    return [
      count(scenario.nodes),
      ...hopCells(lookups),
      count(lookups.latency.mean),
      count(lookups.latency.p95),
      ...(fetches === undefined ? fetchHead.map(() => "-") : [
        exactPercent(fetches.success),
        fetches.queries.mean.toFixed(1),
        ...latencyCells(fetches),
      ]),
      idle.packetsPerSecond.toFixed(2),
      count(rssBytes / 2 ** 20),
      (wallMs / 1000).toFixed(1),
    ];
  });
  printTable(head.map(right), rows);
  const line = hopsFit(runs);
  if (line !== undefined) {
    print(`\nMean hops = ${line.intercept.toFixed(2)} + ${line.slope.toFixed(3)} log2(nodes)`);
  }
}
