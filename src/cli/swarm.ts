// `dmnode swarm`: runs many real nodes in several threads, connected over loopback, and tests and measures them.

import { getLogger } from "logtape";
import process from "node:process";
import { ListenError } from "../api/errors.ts";
import { ApiThread } from "../api/thread/thread.ts";
import { type Config, loadConfig } from "../config.ts";
import { LocalNode } from "../runtime/local_node.ts";
import type { Operation } from "../runtime/swarm/node.ts";
import type { SwarmTotals } from "../runtime/swarm/swarm.ts";
import type { SwarmCalls, SwarmMessage } from "../runtime/swarm/thread.ts";
import { distribution } from "../sim/measures.ts";
import { asUserError, Interrupted, UserError } from "./terminal/errors.ts";
import { interruptible, sleep } from "./terminal/interrupt.ts";
import { ProgressBar } from "./terminal/progress.ts";
import { print as printLine, printJson } from "./terminal/terminal.ts";
import { bytes, plural } from "../web/format.js";

/** By default, each thread runs at least this many nodes. A thread with fewer nodes would cost more than it gains. */
const NODES_PER_THREAD = 100;

/**
 * If a thread runs more nodes than this, each node checks its peers less often than usual. At the usual interval,
 * this many nodes use half a core.
 */
const NODES_AT_USUAL_INTERVAL = 1_250;

/**
 * About this many nodes join first, and all other nodes join through them. A smaller number of nodes could not receive
 * all queries of the joining nodes.
 */
const BOOTSTRAP_NODES = 8;

/** The options as parsed by commander. `apiPort`, `k`, `alpha` and `healthCheckInterval` become settings of nodes. */
interface SwarmFlags {
  readonly nodes: number;
  readonly threads?: number;
  readonly stores: number;
  readonly rest: number;
  readonly json?: boolean;
  readonly exit?: boolean;
  readonly apiPort: string;
  readonly k?: string;
  readonly alpha?: string;
  readonly healthCheckInterval?: string;
}

/** Runs a swarm until a signal arrives. With `exit` or `json`, ends as soon as the measurements are complete. */
export async function swarm(
  { nodes, threads, stores, rest, exit, json, ...settings }: SwarmFlags,
): Promise<void> {
  const byDefault = Math.min(navigator.hardwareConcurrency, Math.ceil(nodes / NODES_PER_THREAD));
  const swarm = new ThreadedSwarm(nodes, threads ?? byDefault, settings);
  const bar = new ProgressBar("things", !json);
  const isMeasurement = exit || json;
  const print = (line: string) => {
    bar.clear();
    if (!json) printLine(line);
  };
  try {
    await interruptible(async (signal) => {
      const report = await measure({ swarm, bar, signal, print }, stores, rest);
      if (json) printJson(report);
      if (isMeasurement) {
        const { count, found } = report.fetch;
        if (found === count) return;
        throw new UserError(`only ${found} of ${plural(count, "value")} were found`);
      }
      print(`The swarm stays up: dmnode stats --api ${report.api}; Ctrl-C ends it.`);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    });
  } catch (error) {
    // A signal is an error only with --exit or --json. Otherwise, it is the normal way to end the swarm.
    if (!(error instanceof Interrupted) || isMeasurement) throw error;
  } finally {
    bar.clear();
    await swarm.close();
  }
}

interface Run {
  readonly swarm: ThreadedSwarm;
  readonly bar: ProgressBar;
  readonly signal: AbortSignal;
  print(line: string): void;
}

/** Makes the nodes join, and runs all measurements. Returns the report that `--json` prints. */
async function measure(run: Run, stores: number, restSeconds: number) {
  const { swarm, print } = run;
  const api = await swarm.open();
  print(`API of the first node: ${api}`);
  const interval_s = swarm.config.healthCheckIntervalMs / 1000;
  print(`${plural(swarm.threads.length, "thread")}; each peer is checked every ${interval_s} s`);

  const emptyBytes = Deno.memoryUsage().rss;
  const join = await measureJoin(run);
  print(
    `Joined: ${plural(swarm.nodes, "node")} in ${join.seconds} s, ${join.per_second} per second, ` +
      `${join.contacts_per_node} contacts each`,
  );
  const { store, fetch } = await measureValues(run, stores);
  if (stores > 0) {
    print(
      `Stored: ${store.stored} of ${stores} on ${store.replicas} nodes each, ${summary(store)}`,
    );
    print(`Found: ${fetch.found} of ${stores} by ${readers(fetch)}, ${summary(fetch)}`);
  }
  const rest = restSeconds === 0 ? null : await measureRest(run, restSeconds);
  if (rest !== null) {
    print(
      `At rest for ${restSeconds} s: each node sends ${rest.packets_per_second_per_node} packets ` +
        `per second, all send ${rest.packets_per_second}, on ${rest.cpu_cores} cores`,
    );
    for (const [type, rate] of Object.entries(rest.by_type)) print(`  ${type} ${rate}`);
  }
  const { rss } = Deno.memoryUsage();
  const memory = { rss_bytes: rss, bytes_per_node: Math.round((rss - emptyBytes) / swarm.light) };
  print(`Memory: ${bytes(rss)}, ${bytes(memory.bytes_per_node)} per node`);
  return {
    nodes: swarm.nodes,
    threads: swarm.threads.length,
    health_check_interval_s: interval_s,
    join,
    store,
    fetch,
    rest,
    memory,
    dropped: (await swarm.totals()).dropped,
    api,
  };
}

async function measureJoin({ swarm, bar, signal }: Run) {
  const begun = performance.now();
  bar.phase("joining", swarm.nodes);
  await swarm.join((joined) => bar.set(joined, `${bytes(Deno.memoryUsage().rss)} of memory`));
  signal.throwIfAborted();
  const seconds = (performance.now() - begun) / 1000;
  const { contacts } = await swarm.totals();
  return {
    seconds: round(seconds),
    per_second: round(swarm.nodes / seconds),
    contacts_per_node: round(contacts / swarm.light),
  };
}

/** Stores values one by one, each through a random node, then fetches each through one that has no copy. */
async function measureValues({ swarm, bar, signal }: Run, count: number) {
  const { light } = swarm;
  const values = Array.from({ length: count }, (_, i) => ({
    bytes: new TextEncoder().encode(`value ${i} ${crypto.randomUUID()}`),
    from: Math.floor(Math.random() * light),
  }));
  const forEach = async <T>(
    phase: string,
    run: (value: typeof values[number], i: number) => Promise<T>,
  ) => {
    bar.phase(phase, count);
    const results: T[] = [];
    for (const [i, value] of values.entries()) {
      signal.throwIfAborted();
      bar.set(results.push(await run(value, i)));
    }
    return results;
  };
  const stored = await forEach("storing", ({ bytes, from }) => {
    const { thread, index } = swarm.place(from);
    return thread.ask("store", index, bytes);
  });
  // The reader must not be the node that stored the value, and must not hold a copy. Otherwise, it would not need
  // the network.
  const readerOf = async (from: number, hash: string) => {
    const start = 1 + Math.floor(Math.random() * (light - 1));
    for (let i = 0; i < light - 1; i++) {
      const place = swarm.place((from + 1 + (start + i) % (light - 1)) % light);
      if (!await place.thread.ask("holds", place.index, hash)) return { place, isHolder: false };
    }
    return { place: swarm.place((from + 1) % light), isHolder: true };
  };
  let local = 0;
  const fetched = await forEach("fetching", async ({ bytes, from }, i) => {
    const { hash } = stored[i];
    const { place: { thread, index }, isHolder } = await readerOf(from, hash);
    if (isHolder) local++;
    return thread.ask("fetch", index, hash, bytes);
  });
  const replicas = stored.reduce((sum, { replicas }) => sum + replicas, 0) / count;
  const succeeded = (operations: readonly Operation[]) => operations.filter(({ ok }) => ok).length;
  return {
    store: {
      count,
      stored: succeeded(stored),
      replicas: count === 0 ? null : round(replicas),
      ...distributions(stored),
    },
    fetch: { count, found: succeeded(fetched), local, ...distributions(fetched) },
  };
}

/** Describes which nodes fetched. A node that holds the value needs no network, so its fetch measures little. */
function readers({ count, local }: { count: number; local: number }): string {
  if (local === 0) return "nodes without a copy";
  return local === count
    ? "holders, because every node has a copy of every value"
    : `nodes without a copy, but ${local} by holders, because every node has a copy`;
}

/** Measures the traffic and the CPU time of an idle swarm. */
async function measureRest({ swarm, bar, signal }: Run, seconds: number) {
  const before = await swarm.totals(), cpuBefore = process.cpuUsage();
  const begun = performance.now();
  bar.phase("at rest", seconds);
  for (let passed = 0; passed < seconds; passed++) {
    bar.set(passed);
    await sleep(1000, signal);
  }
  const after = await swarm.totals(), cpu = process.cpuUsage(cpuBefore);
  const elapsed = (performance.now() - begun) / 1000;
  const perSecond = (valueOf: (totals: SwarmTotals) => number) =>
    (valueOf(after) - valueOf(before)) / elapsed;
  const packets = perSecond((totals) => totals.packetsOut);
  const rates = Object.keys(after.byType)
    .map((type) => [type, perSecond(({ byType }) => byType[type] ?? 0) / swarm.nodes] as const)
    .filter(([, rate]) => rate > 0)
    .sort(([, x], [, y]) => y - x);
  return {
    seconds: round(elapsed),
    packets_per_second: round(packets),
    packets_per_second_per_node: round(packets / swarm.light),
    bytes_per_second_per_node: round(perSecond((totals) => totals.bytesOut) / swarm.light),
    by_type: Object.fromEntries(rates.map(([type, rate]) => [type, round(rate)])),
    cpu_cores: round((cpu.user + cpu.system) / 1e6 / elapsed),
  };
}

/** Returns the seconds between a node's health checks, given the nodes per thread. `usual` is the default interval. */
export function healthCheckInterval(usual: number, nodesPerThread: number): number {
  return Math.ceil(usual * Math.max(1, nodesPerThread / NODES_AT_USUAL_INTERVAL));
}

/** A swarm. This thread runs the first node and its API; workers run all other nodes. */
class ThreadedSwarm {
  readonly nodes: number;
  /** The number of measured nodes: all but the first, which has an API. */
  readonly light: number;
  readonly config: Config;
  readonly threads: readonly Thread[];
  readonly #counts: readonly number[];
  #first: LocalNode | undefined;
  #api: ApiThread | undefined;

  /** `settings` contains a node's options by name, in the form that `loadConfig` expects. */
  constructor(nodes: number, threads: number, settings: Readonly<Record<string, unknown>>) {
    this.nodes = nodes;
    this.light = nodes - 1;
    const used = Math.min(threads, this.light);
    const fixed = { p2pPort: "0", bootstrap: "", nat: "off" };
    const load = (flags: object) => loadConfig({ flags: { ...flags, ...fixed }, env: {} });
    const usual = load({}).healthCheckIntervalMs / 1000;
    const interval = healthCheckInterval(usual, this.light / used);
    this.config = load({ healthCheckInterval: `${interval}`, ...settings });
    this.#counts = Array.from({ length: used }, (_, i) => Math.ceil((this.light - i) / used));
    this.threads = this.#counts.map(() => new Thread());
  }

  /** Starts the first node, its API and the threads. Returns the API's URL. */
  async open(): Promise<string> {
    const { config } = this;
    const log = getLogger(["dmnode", "api"]);
    this.#first = await LocalNode.start(config, { persistent: false });
    this.#api = new ApiThread();
    void this.#api.failed.then(({ message }) => log.error("{message}", { message }));
    const { urls: [url] } = await this.#api.serve({ service: this.#first, config, log }).catch(
      (error) => {
        throw asUserError(error, ListenError);
      },
    );
    const { bucketSize, alpha, healthCheckIntervalMs } = config;
    const options = { bucketSize, alpha, healthCheckIntervalMs };
    await Promise.all(this.threads.map((thread) => thread.ask("open", options)));
    return url;
  }

  /** Makes a few nodes join through the first node, and then all others join through these few. */
  async join(onProgress: (joined: number) => void): Promise<void> {
    let joined = 1;
    for (const thread of this.threads) thread.onJoined = () => onProgress(++joined);
    const first = [this.#first!.address];
    const each = Math.ceil(BOOTSTRAP_NODES / this.threads.length);
    const few = this.#counts.map((count) => Math.min(count, each));
    await Promise.all(this.threads.map((thread, i) => thread.ask("grow", few[i], first)));
    const known = await Promise.all(this.threads.map((thread) => thread.ask("addresses", each)));
    await Promise.all(this.threads.map((thread, i) => {
      const others = known[(i + 1) % known.length];
      const bootstrap = [...first, ...known[i].slice(0, 1), ...others.slice(-1)];
      return thread.ask("grow", this.#counts[i] - few[i], bootstrap);
    }));
  }

  /** Returns the thread that runs a measured node, and the node's index in that thread. */
  place(node: number): { thread: Thread; index: number } {
    const { threads } = this;
    return { thread: threads[node % threads.length], index: Math.floor(node / threads.length) };
  }

  async totals(): Promise<SwarmTotals> {
    const parts = await Promise.all(this.threads.map((thread) => thread.ask("totals")));
    return parts.reduce((x, y) => ({
      nodes: x.nodes + y.nodes,
      contacts: x.contacts + y.contacts,
      packetsIn: x.packetsIn + y.packetsIn,
      packetsOut: x.packetsOut + y.packetsOut,
      bytesOut: x.bytesOut + y.bytesOut,
      byType: added(x.byType, y.byType),
      dropped: added(x.dropped, y.dropped),
    }));
  }

  async close(): Promise<void> {
    for (const thread of this.threads) thread.worker.terminate();
    await this.#api?.close();
    await this.#first?.close();
  }
}

class Thread {
  onJoined: () => void = () => {};
  readonly worker = new Worker(Deno.mainModule, { type: "module" });
  readonly #ready = Promise.withResolvers<void>();
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #asked = 0;

  constructor() {
    // If the thread fails, callers of `ask` get the error. If nobody has called `ask`, the rejection must not end the
    // program.
    this.#ready.promise.catch(() => {});
    this.worker.onmessage = ({ data }: MessageEvent<SwarmMessage>) => this.#receive(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      const error = new UserError(`a thread of the swarm failed: ${event.message}`);
      for (const { reject } of [this.#ready, ...this.#waiting.values()]) reject(error);
      this.#waiting.clear();
    };
  }

  async ask<M extends keyof SwarmCalls>(
    method: M,
    ...given: Parameters<SwarmCalls[M]>
  ): Promise<Awaited<ReturnType<SwarmCalls[M]>>> {
    await this.#ready.promise;
    const id = this.#asked++, reply = Promise.withResolvers<unknown>();
    this.#waiting.set(id, reply);
    this.worker.postMessage({ id, method, given });
    return await reply.promise as Awaited<ReturnType<SwarmCalls[M]>>;
  }

  #receive(message: SwarmMessage): void {
    if (message.type === "ready") return this.#ready.resolve();
    if (message.type === "joined") return this.onJoined();
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === "reply") waiting?.resolve(message.reply);
    else waiting?.reject(new UserError(message.error));
  }
}

function distributions(operations: readonly Operation[]) {
  const rounded = (values: readonly number[]) => {
    const { mean, p50, p95, p99, max } = distribution(values);
    const figure = (value: number) => values.length === 0 ? null : round(value);
    return {
      mean: figure(mean),
      p50: figure(p50),
      p95: figure(p95),
      p99: figure(p99),
      max: figure(max),
    };
  };
  return {
    latency_ms: rounded(operations.map(({ ms }) => ms)),
    queries: rounded(operations.map(({ queries }) => queries)),
  };
}

function summary({ latency_ms: { p50, p95, p99 }, queries }: ReturnType<typeof distributions>) {
  return `p50 ${p50} ms, p95 ${p95} ms, p99 ${p99} ms, ${queries.mean} queries`;
}

function added(x: Record<string, number>, y: Record<string, number>): Record<string, number> {
  const names = Object.keys({ ...x, ...y });
  return Object.fromEntries(names.map((name) => [name, (x[name] ?? 0) + (y[name] ?? 0)]));
}

/** Rounds to three decimals; further decimals are noise. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
