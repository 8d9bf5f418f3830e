// `make bench-peers`: compares this node with the DHT nodes of npm and Debian. First the queries that one node serves, then
// whole networks on loopback: idle, under load, and with a quarter of the nodes silent.
//
// deno run --allow-all bench/peers.ts [--nodes N] [--operations N] [--idle SECONDS] [--rounds N]
//                                     [--only load|networks] [--kinds dmnode,bittorrent-dht,...] [--json]

import { parseArgs } from "node:util";
import { againstPeers, printPeers } from "./load.ts";
import { printTable } from "./measure.ts";
import { buildGenerator, here, Running, succeeds, twoCores } from "./running.ts";

const { values: options } = parseArgs({
  options: {
    nodes: { type: "string", default: "500" },
    operations: { type: "string", default: "200" },
    // The longest interval at which any of the kinds checks its contacts.
    idle: { type: "string", default: "60" },
    // Rounds of serving: many short ones, so that some are undisturbed even on a busy machine.
    rounds: { type: "string", default: "11" },
    only: { type: "string" },
    kinds: { type: "string" },
    json: { type: "boolean", default: false },
  },
});

/** Nodes of the network with silent nodes, and of all libtorrent networks, whose nodes have several threads each. */
const FEWER_NODES = 300;

const SILENT_SHARE = 0.25;

/** Concurrent operations while nodes are silent: most of their time is waiting, in some peers for minutes. */
const SILENT_CONCURRENCY = 8;

const VALUE_BYTES = 100;

/** Nodes that exist before memory is measured, so that their code is loaded and compiled. */
const FIRST_SHARE = 0.1;

/** Debian's own interpreter, the only one that finds python3-libtorrent. */
const PYTHON = "/usr/bin/python3";

const PEERS = here("peers/");

interface Kind {
  readonly command: readonly string[];
  /** The default search parameters of this implementation. */
  readonly defaults: string;
  readonly most: number;
}

/**
 * Limits V8's young generation in all processes, because its default differs between them. The measured memory is then
 * mostly that of the nodes.
 */
const YOUNG = "--max-semi-space-size=2";

const KINDS: Record<string, Kind> = {
  dmnode: {
    command: [
      Deno.execPath(),
      ...["run", "--no-prompt", "--allow-all", `--v8-flags=--expose-gc,${YOUNG}`],
      here("network_server.ts"),
    ],
    defaults: "k 20, 3 at a time",
    most: Infinity,
  },
  "bittorrent-dht": {
    command: ["node", "--expose-gc", YOUNG, `${PEERS}bittorrent_dht.mjs`],
    defaults: "k 20, 16 at a time",
    most: Infinity,
  },
  hyperdht: {
    command: ["node", "--expose-gc", YOUNG, `${PEERS}hyperdht.mjs`],
    defaults: "k 20, 10 at a time",
    most: Infinity,
  },
  libtorrent: {
    command: [PYTHON, "-W", "ignore", `${PEERS}libtorrent_network.py`],
    defaults: "k 8, 5 at a time",
    most: FEWER_NODES,
  },
};

interface Operation {
  readonly ok: boolean;
  readonly ms: number;
  readonly queries: number;
}

interface Measured {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly queries: number;
  /** Share. */
  readonly found: number;
}

interface NetworkResult {
  readonly nodes: number;
  readonly joinSeconds: number;
  readonly bytesPerNode: number;
  /** Packets that a node sends per second; null if not measured. */
  readonly idle: number | null;
  readonly lookup: Measured;
  readonly put: Measured;
  readonly get: Measured;
}

/** A network of one kind in its own process. */
class Network implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #reading: Promise<void>;
  #asked = 0;

  constructor([program, ...args]: readonly string[]) {
    const command = new Deno.Command(program, { args, stdin: "piped", stdout: "piped" });
    this.#process = command.spawn();
    this.#writer = this.#process.stdin.getWriter();
    this.#reading = this.#read();
  }

  async ask<T>(name: string, request: Record<string, unknown> = {}): Promise<T> {
    const id = this.#asked++;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    const line = `${JSON.stringify({ id, do: name, ...request })}\n`;
    await this.#writer.write(new TextEncoder().encode(line));
    return await waiting.promise as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#reading;
    await this.#process.status;
  }

  async #read(): Promise<void> {
    let text = "";
    for await (const chunk of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (text + chunk).split("\n");
      text = lines.pop()!;
      for (const line of lines) {
        const { id, result, error } = JSON.parse(line);
        const waiting = this.#waiting.get(id);
        this.#waiting.delete(id);
        if (error === undefined) waiting?.resolve(result);
        else waiting?.reject(new Error(error));
      }
    }
    for (const { reject } of this.#waiting.values()) {
      reject(new Error("the network's process ended"));
    }
  }
}

async function main(): Promise<void> {
  const operations = positive("operations"), idleSeconds = positive("idle");
  const kinds = Object.keys(KINDS).filter((kind) =>
    options.kinds === undefined || options.kinds.split(",").includes(kind)
  );
  await requirePeers();
  if (options.only !== "networks") await benchServing();
  if (options.only === "load") return;
  const whole: Record<string, NetworkResult> = {}, quarter: Record<string, NetworkResult> = {};
  for (const kind of kinds) {
    const nodes = Math.min(positive("nodes"), KINDS[kind].most);
    console.error(`${kind}: ${nodes} nodes`);
    whole[kind] = await measure(kind, nodes, operations, idleSeconds, false);
  }
  for (const kind of kinds) {
    const nodes = Math.min(positive("nodes"), FEWER_NODES);
    console.error(`${kind}: ${nodes} nodes, a quarter silent`);
    quarter[kind] = await measure(kind, nodes, operations, idleSeconds, true);
  }
  if (options.json) console.log(JSON.stringify({ whole, quarter }));
  print(`Networks on loopback, each in one process, ${operations} operations of each sort`, whole);
  print(
    `A quarter of the nodes silent, ${SILENT_CONCURRENCY} operations at a time, at once after they fell silent`,
    quarter,
  );
}

/** Queries that one node serves. */
async function benchServing(): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-bench-" });
  try {
    const generator = await buildGenerator(directory);
    if (typeof generator !== "string") return console.log(`Served queries: ${generator.skipped}.`);
    const load = { seconds: 0.5, rounds: positive("rounds"), window: 32 };
    await using running = new Running(generator, await twoCores(), load);
    printPeers(
      `on one core, ${load.window} outstanding; medians of ${load.rounds} rounds of ${load.seconds} s`,
      await againstPeers(running),
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function measure(
  kind: string,
  nodes: number,
  operations: number,
  idleSeconds: number,
  fallSilent: boolean,
): Promise<NetworkResult> {
  await using network = new Network(KINDS[kind].command);
  const start = performance.now();
  const few = Math.ceil(nodes * FIRST_SHARE);
  await network.ask("start", { count: few });
  const ofFew = performance.now();
  const bytesOfFew = await network.ask<number>("memory");
  const measuring = performance.now() - ofFew;
  await network.ask("start", { count: nodes });
  const joinSeconds = (performance.now() - start - measuring) / 1000;
  // The tables keep filling for a while.
  await sleep(idleSeconds);
  const before = await network.ask<number>("packets");
  await sleep(fallSilent ? 0 : idleSeconds);
  const packets = await network.ask<number>("packets") - before;
  const bytesPerNode = (await network.ask<number>("memory") - bytesOfFew) / (nodes - few);

  const all = Array.from({ length: nodes }, (_, i) => i);
  const values = Array.from(
    { length: operations },
    (_, i) => `${i} ${crypto.randomUUID()}`.padEnd(VALUE_BYTES, "."),
  );
  const keys: string[] = [];
  const puts = await eachInTurn(values, 1, async (value, i) => {
    const put = await network.ask<Operation & { key: string }>("put", { node: pick(all), value });
    keys[i] = put.key;
    return put;
  });
  let awake = all;
  if (fallSilent) {
    const silent = new Set(shuffled(all).slice(0, Math.round(nodes * SILENT_SHARE)));
    awake = all.filter((i) => !silent.has(i));
    await network.ask("silence", { nodes: [...silent] });
  }
  const concurrency = fallSilent ? SILENT_CONCURRENCY : 1;
  const gets = await eachInTurn(
    values,
    concurrency,
    (value, i) => network.ask<Operation>("get", { node: pick(awake), key: keys[i], value }),
  );
  const lookups = await eachInTurn(
    values,
    concurrency,
    () => network.ask<Operation>("lookup", { node: pick(awake) }),
  );
  return {
    nodes,
    joinSeconds,
    bytesPerNode,
    idle: fallSilent ? null : packets / nodes / idleSeconds,
    lookup: measured(lookups),
    put: measured(puts),
    get: measured(gets),
  };
}

/** Runs a job for each value with limited concurrency. The results have the order of the values. */
async function eachInTurn<T, R>(
  values: readonly T[],
  concurrency: number,
  job: (value: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const work = async () => {
    while (next < values.length) {
      const i = next++;
      results[i] = await job(values[i], i);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  return results;
}

function measured(operations: readonly Operation[]): Measured {
  const sorted = operations.map(({ ms }) => ms).sort((x, y) => x - y);
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1];
  const sum = (value: (operation: Operation) => number) =>
    operations.reduce((total, operation) => total + value(operation), 0);
  return {
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    queries: sum(({ queries }) => queries) / operations.length,
    found: sum(({ ok }) => ok ? 1 : 0) / operations.length,
  };
}

function print(title: string, results: Record<string, NetworkResult>): void {
  const latency = ({ p50, p95, p99 }: Measured) => [p50, p95, p99].map(short).join(" / ");
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  printTable(title, [
    "kind",
    "nodes",
    "join s",
    "kB/node",
    "idle pkt/s",
    "get ms p50/p95/p99",
    "queries",
    "found",
    "lookup ms p50/p95/p99",
    "queries",
    "exact",
    "put ms p50/p95/p99",
    "queries",
  ], [
    ...Object.entries(results).map(([kind, { get, lookup, put, ...rest }]) => [
      `${kind} (${KINDS[kind].defaults})`,
      `${rest.nodes}`,
      rest.joinSeconds.toFixed(1),
      (rest.bytesPerNode / 1000).toFixed(0),
      rest.idle?.toFixed(2) ?? "",
      latency(get),
      get.queries.toFixed(1),
      percent(get.found),
      latency(lookup),
      lookup.queries.toFixed(1),
      // The lookups of libtorrent do not return ids.
      kind === "libtorrent" ? "?" : percent(lookup.found),
      latency(put),
      put.queries.toFixed(1),
    ]),
  ]);
}

/** Rounds to three digits. */
function short(ms: number): string {
  return ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2);
}

async function requirePeers(): Promise<void> {
  if (!await succeeds(PYTHON, ["-c", "import libtorrent"])) {
    fail("libtorrent is needed: apt-get install python3-libtorrent");
  }
  if (await succeeds("npm", ["ls", "--prefix", PEERS])) return;
  console.error("Installing the peers from npm into bench/peers/node_modules");
  // The install scripts would build what is prebuilt.
  const install = ["ci", "--prefix", PEERS, "--ignore-scripts", "--no-audit", "--no-fund"];
  if (!await succeeds("npm", install)) {
    fail("Node 20 or newer with npm is needed, and a registry that it reaches");
  }
}

function pick(list: readonly number[]): number {
  return list[Math.floor(Math.random() * list.length)];
}

function shuffled(list: readonly number[]): number[] {
  return list.map((value) => ({ value, order: Math.random() }))
    .sort((x, y) => x.order - y.order).map(({ value }) => value);
}

function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

function positive(name: "nodes" | "operations" | "idle" | "rounds"): number {
  const value = Number(options[name]);
  return Number.isInteger(value) && value > 0
    ? value
    : fail(`--${name} ${options[name]}: not above 0`);
}

function fail(message: string): never {
  console.error(message);
  Deno.exit(1);
}

await main();
