// `dmnode swarm`: many real nodes over UDP on loopback, in as many threads as there are cores, joined, tried and measured.

import { getLogger } from "logtape";
import process from "node:process";
import { createApi } from "../api/app.ts";
import { ListenError } from "../api/front_thread.ts";
import { type ApiServer, serveApi, serveOptions } from "../api/server.ts";
import { loadConfig } from "../config.ts";
import { LocalNode } from "../runtime/local_node.ts";
import type {
  Operation,
  SwarmMessage,
  SwarmReplies,
  SwarmRequest,
  SwarmTotals,
} from "../runtime/swarm.ts";
import { Interrupted, UserError } from "./errors.ts";
import { interruptible } from "./interrupt.ts";
import { ProgressBar } from "./progress.ts";
import { sleep } from "./sleep.ts";
import type { SwarmFlags } from "./swarm_options.ts";
import { print, printJson } from "./terminal.ts";
import { bytes, counted } from "./units.ts";

/** A thread for fewer nodes than this costs more than it brings. */
const NODES_PER_THREAD = 100;

/**
 * Nodes of one thread that may check their peers as often as single ones do: that takes half of a core. Of more each
 * checks its own as much less often, or a machine would have time for nothing else.
 */
const NODES_AT_USUAL_INTERVAL = 1_250;

/** Bootstrap nodes are these many at most: their receive buffers take in all who join. */
const BOOTSTRAP_NODES = 8;

/** Runs a swarm until a signal, or with `exit` or `json` until it is measured. */
export async function swarm(
  { nodes, threads, stores, rest, exit, json, ...settings }: SwarmFlags,
): Promise<void> {
  const byDefault = Math.min(navigator.hardwareConcurrency, Math.ceil(nodes / NODES_PER_THREAD));
  const swarm = new ThreadedSwarm({ nodes, threads: threads ?? byDefault, settings });
  const bar = new ProgressBar("things", !json);
  try {
    await interruptible(async (signal) => {
      const plan = { stores, restSeconds: rest, isQuiet: json === true };
      const report = await measure(swarm, bar, plan, signal);
      if (json) printJson(report);
      if (exit || json) {
        const { count, found } = report.fetch;
        if (found === count) return;
        throw new UserError(`${found} of ${counted(count, "value")} were found`);
      }
      print(`The swarm stays up: dmnode stats --api ${report.api}; Ctrl-C ends it.`);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    });
  } catch (error) {
    // Without a report that is waited for, this is its end.
    if (!(error instanceof Interrupted) || exit || json) throw error;
  } finally {
    bar.clear();
    await swarm.close();
  }
}

/** What a run found out, as `--json` prints it. */
export type SwarmReport = Awaited<ReturnType<typeof measure>>;

interface Plan {
  readonly stores: number;
  readonly restSeconds: number;
  readonly isQuiet: boolean;
}

async function measure(
  swarm: ThreadedSwarm,
  bar: ProgressBar,
  { stores, restSeconds, isQuiet }: Plan,
  signal: AbortSignal,
) {
  const tell = (line: string) => {
    bar.clear();
    if (!isQuiet) print(line);
  };
  const api = await swarm.open();
  tell(`API of the first node: ${api}`);
  const interval = `${swarm.healthCheckIntervalMs / 1000} s`;
  tell(`${counted(swarm.threads, "thread")}; each peer is checked every ${interval}`);

  const empty = Deno.memoryUsage().rss;
  const started = performance.now();
  bar.phase("joining", swarm.nodes);
  await swarm.join((joined) => bar.set(joined, `${bytes(Deno.memoryUsage().rss)} of memory`));
  signal.throwIfAborted();
  const seconds = (performance.now() - started) / 1000;
  const { contacts } = await swarm.totals();
  const join = {
    seconds: round(seconds),
    per_second: round(swarm.nodes / seconds),
    contacts_per_node: round(contacts / swarm.light),
  };
  tell(
    `Joined: ${counted(swarm.nodes, "node")} in ${join.seconds} s, ${join.per_second} a second, ` +
      `${join.contacts_per_node} contacts each`,
  );

  const { store, fetch } = await storeAndFetch(swarm, stores, bar, signal);
  if (stores > 0) {
    tell(`Stored: ${store.stored} of ${stores} on ${store.replicas} nodes each, ${summary(store)}`);
    tell(`Found: ${fetch.found} of ${stores} from other nodes, ${summary(fetch)}`);
  }

  const atRest = await rest(swarm, restSeconds, bar, signal);
  if (atRest !== null) {
    tell(
      `At rest for ${restSeconds} s: ${atRest.packets_per_second_per_node} packets a second sent ` +
        `by a node, ${atRest.packets_per_second} by all, on ${atRest.cpu_cores} cores`,
    );
    for (const [type, rate] of Object.entries(atRest.by_type)) tell(`  ${type} ${rate}`);
  }
  const { rss } = Deno.memoryUsage();
  const memory = { rss_bytes: rss, bytes_per_node: Math.round((rss - empty) / swarm.light) };
  tell(`Memory: ${bytes(rss)}, ${bytes(memory.bytes_per_node)} a node`);
  const { dropped } = await swarm.totals();
  return {
    nodes: swarm.nodes,
    threads: swarm.threads,
    health_check_interval_s: swarm.healthCheckIntervalMs / 1000,
    join,
    store,
    fetch,
    rest: atRest,
    memory,
    dropped,
    api,
  };
}

/** Stores values one after the other from random nodes, then fetches each from another. */
async function storeAndFetch(
  swarm: ThreadedSwarm,
  count: number,
  bar: ProgressBar,
  signal: AbortSignal,
) {
  const values = Array.from(
    { length: count },
    (_, i) => new TextEncoder().encode(`value ${i} ${crypto.randomUUID()}`),
  );
  const { light } = swarm;
  const from = values.map(() => Math.floor(Math.random() * light));
  const stored: SwarmReplies["store"][] = [];
  bar.phase("storing", count);
  for (const [i, value] of values.entries()) {
    signal.throwIfAborted();
    stored.push(await swarm.store(from[i], value));
    bar.set(i + 1);
  }
  const fetched: Operation[] = [];
  bar.phase("fetching", count);
  for (const [i, value] of values.entries()) {
    signal.throwIfAborted();
    // Any but the one that stored it.
    const other = (from[i] + 1 + Math.floor(Math.random() * (light - 1))) % light;
    fetched.push(await swarm.fetch(other, stored[i].hash, value));
    bar.set(i + 1);
  }
  const replicas = stored.reduce((sum, { replicas }) => sum + replicas, 0) / count;
  const succeeded = (operations: readonly Operation[]) => operations.filter(({ ok }) => ok).length;
  return {
    store: {
      count,
      stored: succeeded(stored),
      replicas: count === 0 ? null : round(replicas),
      ...distributions(stored),
    },
    fetch: { count, found: succeeded(fetched), ...distributions(fetched) },
  };
}

/** Lets the swarm alone for a while, and tells what it did meanwhile. */
async function rest(
  swarm: ThreadedSwarm,
  seconds: number,
  bar: ProgressBar,
  signal: AbortSignal,
) {
  if (seconds === 0) return null;
  const before = await swarm.totals(), cpuBefore = process.cpuUsage();
  const start = performance.now();
  bar.phase("at rest", seconds);
  for (let passed = 0; passed < seconds; passed++) {
    bar.set(passed);
    await sleep(1000, signal);
  }
  const after = await swarm.totals(), cpu = process.cpuUsage(cpuBefore);
  const elapsed = (performance.now() - start) / 1000;
  const perSecond = (value: (totals: SwarmTotals) => number) =>
    (value(after) - value(before)) / elapsed;
  const packets = perSecond((totals) => totals.packetsOut);
  return {
    seconds: round(elapsed),
    packets_per_second: round(packets),
    packets_per_second_per_node: round(packets / swarm.light),
    bytes_per_second_per_node: round(perSecond((totals) => totals.bytesOut) / swarm.light),
    /** Packets a second and node. */
    by_type: Object.fromEntries(
      Object.keys(after.byType).map((type): [string, number] => [
        type,
        perSecond((totals) => totals.byType[type] ?? 0) / swarm.nodes,
      ]).filter(([, rate]) => rate > 0).sort(([, x], [, y]) => y - x)
        .map(([type, rate]) => [type, round(rate)]),
    ),
    cpu_cores: round((cpu.user + cpu.system) / 1e6 / elapsed),
  };
}

/** Seconds between health checks with so many nodes on a thread, where a single node has `usual`. */
export function bearableInterval(usual: number, nodesPerThread: number): number {
  return Math.ceil(usual * Math.max(1, nodesPerThread / NODES_AT_USUAL_INTERVAL));
}

interface SwarmPlan {
  readonly nodes: number;
  readonly threads: number;
  /** By flag, as `loadConfig` takes them. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** One node with an API in this thread, the others in workers. */
class ThreadedSwarm {
  readonly nodes: number;
  readonly #config;
  readonly #threads: Thread[];
  /** Of each thread. */
  readonly #counts: number[];
  #first: LocalNode | undefined;
  #server: ApiServer | undefined;

  constructor({ nodes, threads, settings }: SwarmPlan) {
    this.nodes = nodes;
    const used = Math.min(threads, this.light);
    const fixed = { p2pPort: "0", bootstrap: "", nat: "off" };
    const load = (given: object) => loadConfig({ flags: { ...given, ...fixed }, env: {} });
    const usual = load({}).healthCheckIntervalMs / 1000;
    const bearable = bearableInterval(usual, this.light / used);
    this.#config = load({ healthCheckInterval: `${bearable}`, ...settings });
    this.#counts = Array.from({ length: used }, (_, i) => Math.ceil((this.light - i) / used));
    this.#threads = this.#counts.map(() => new Thread());
  }

  /** Nodes without an API: all but the first. They are what is measured. */
  get light(): number {
    return this.nodes - 1;
  }

  get healthCheckIntervalMs(): number {
    return this.#config.healthCheckIntervalMs;
  }

  get threads(): number {
    return this.#threads.length;
  }

  /** Starts the first node and the threads; returns the API's URL. */
  async open(): Promise<string> {
    const config = this.#config;
    this.#first = await LocalNode.start(config, { persistent: false });
    const app = createApi({ service: this.#first, config, log: getLogger(["dmnode", "api"]) });
    try {
      this.#server = await serveApi(app, serveOptions(config));
    } catch (error) {
      if (error instanceof ListenError) throw new UserError(error.message, false, { cause: error });
      throw error;
    }
    void this.#server.failed.then(({ message }) =>
      getLogger(["dmnode", "api"]).error("{message}", { message })
    );
    const { bucketSize, alpha, healthCheckIntervalMs } = config;
    const options = { bucketSize, alpha, healthCheckIntervalMs };
    await Promise.all(this.#threads.map((thread) => thread.ask({ do: "open", options })));
    return this.#server.url;
  }

  /** A few nodes join through the first, and all others through those. */
  async join(onProgress: (joined: number) => void): Promise<void> {
    const first = [this.#first!.address];
    const each = Math.ceil(BOOTSTRAP_NODES / this.threads);
    const few = this.#counts.map((count) => Math.min(count, each));
    const joined = this.#counts.map(() => 0);
    const grow = (counts: readonly number[], bootstrap: (thread: number) => readonly string[]) =>
      Promise.all(this.#threads.map(async (thread, i) => {
        const before = joined[i];
        thread.onJoined = (nodes) => {
          joined[i] = before + nodes;
          onProgress(1 + joined.reduce((sum, nodes) => sum + nodes));
        };
        await thread.ask({ do: "grow", count: counts[i], bootstrap: bootstrap(i) });
      }));
    await grow(few, () => first);
    const known = await Promise.all(
      this.#threads.map((thread) => thread.ask({ do: "addresses", count: each })),
    );
    await grow(
      this.#counts.map((count, i) => count - few[i]),
      (i) => [...first, ...known[i].slice(0, 1), ...known[(i + 1) % known.length].slice(-1)],
    );
  }

  /** Stores a value from the light node of this number. */
  async store(node: number, value: Uint8Array): Promise<SwarmReplies["store"]> {
    const [thread, index] = this.#place(node);
    return await thread.ask({ do: "store", node: index, value });
  }

  /** Fetches a value at the light node of this number. */
  async fetch(node: number, hash: string, value: Uint8Array): Promise<Operation> {
    const [thread, index] = this.#place(node);
    return await thread.ask({ do: "fetch", node: index, hash, value });
  }

  async totals(): Promise<SwarmTotals> {
    const parts = await Promise.all(this.#threads.map((thread) => thread.ask({ do: "totals" })));
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
    for (const thread of this.#threads) thread.close();
    await this.#server?.close();
    await this.#first?.close();
  }

  #place(node: number): [Thread, number] {
    return [this.#threads[node % this.threads], Math.floor(node / this.threads)];
  }
}

type ReplyTo<R extends SwarmRequest> = SwarmReplies[R["do"]];

/** A worker that holds a part of the swarm. */
class Thread {
  onJoined: (nodes: number) => void = () => {};
  readonly #worker = new Worker(Deno.mainModule, { type: "module" });
  readonly #ready = Promise.withResolvers<void>();
  readonly #waiting = new Map<number, {
    readonly resolve: (reply: unknown) => void;
    readonly reject: (error: Error) => void;
  }>();
  #asked = 0;

  constructor() {
    // Whoever asks hears of it; a failure while nobody asks is told to the next.
    this.#ready.promise.catch(() => {});
    this.#worker.onmessage = ({ data }: MessageEvent<SwarmMessage>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const error = new UserError(`a thread of the swarm failed: ${event.message}`);
      this.#ready.reject(error);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
  }

  async ask<R extends SwarmRequest>(request: R): Promise<ReplyTo<R>> {
    await this.#ready.promise;
    const id = this.#asked++;
    return await new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (reply: unknown) => void, reject });
      this.#worker.postMessage({ id, request });
    });
  }

  close(): void {
    this.#worker.terminate();
  }

  #receive(message: SwarmMessage): void {
    if (message.type === "ready") return this.#ready.resolve();
    if (message.type === "joined") return this.onJoined(message.nodes);
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === "reply") waiting?.resolve(message.reply);
    else waiting?.reject(new UserError(message.error));
  }
}

function distributions(operations: readonly Operation[]) {
  return {
    latency_ms: distribution(operations.map(({ ms }) => ms)),
    queries: distribution(operations.map(({ queries }) => queries)),
  };
}

function distribution(values: readonly number[]) {
  const sorted = values.toSorted((x, y) => x - y);
  const at = (share: number) =>
    sorted.length === 0 ? null : round(sorted[Math.ceil(share * sorted.length) - 1]);
  const sum = sorted.reduce((total, value) => total + value, 0);
  return {
    mean: sorted.length === 0 ? null : round(sum / sorted.length),
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    max: at(1),
  };
}

function summary({ latency_ms: { p50, p95, p99 }, queries }: ReturnType<typeof distributions>) {
  return `p50 ${p50} ms, p95 ${p95} ms, p99 ${p99} ms, ${queries.mean} queries`;
}

function added(x: Record<string, number>, y: Record<string, number>): Record<string, number> {
  const names = Object.keys({ ...x, ...y });
  return Object.fromEntries(names.map((name) => [name, (x[name] ?? 0) + (y[name] ?? 0)]));
}

/** To three places behind the point: more is noise. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
