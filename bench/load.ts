// The node under load: answered queries per second over UDP. It is compared with two minimal servers on the same socket
// API, an echo and a stub that sends fixed bytes of the same length, and with the DHT nodes of npm and Debian. The servers
// of a table take turns in one run, and their ratios are the result.

import { putItems } from "./full_node.ts";
import { median, printTable } from "./measure.ts";
import {
  buildGenerator,
  here,
  type LoadOptions,
  type Query,
  Running,
  type Sample,
  type Samples,
  type Server,
  succeeds,
  twoCores,
} from "./running.ts";
import { Swarm } from "./swarm.ts";

/** The addresses to which servers are bound: first one IPv4 address, then all addresses as with --allow-net. */
const SCENARIOS: readonly { readonly bind: string; readonly queries: readonly Query[] }[] = [
  { bind: "127.0.0.1", queries: ["ping", "find_node", "get_peers", "get"] },
  { bind: "0.0.0.0", queries: ["find_node"] },
];

/** On an otherwise idle machine, the stub's best and worst round differ by less than this factor. */
const QUIET = 1.2;

/** The name of this project's node in the table of peers. */
const OURS = "dmnode";

/** The first port of the swarms that fill the peers' tables. */
const PEER_SWARM_PORT = 6882;

/** Debian's own interpreter, the only one that finds python3-libtorrent. */
const PYTHON = "/usr/bin/python3";

/** The interoperability tests install the npm peer and its program here. */
const NPM_PEER = here("../tests/interop/peers/");

/** The benchmark of networks installs its peers here. */
const NETWORK_PEERS = here("peers/");

interface Peer {
  readonly install: string;
  /** The queries that it supports. */
  readonly queries?: readonly Query[];
  isInstalled(): Promise<boolean>;
  /** Starts a server that has joined a swarm: the one from `openSwarm`, or one of its own kind. */
  start(running: Running, openSwarm: () => Swarm): Promise<Server>;
}

const PEERS: Record<string, Peer> = {
  "bittorrent-dht": {
    install: "it needs Node and `npm ci` in tests/interop/peers",
    isInstalled: () =>
      succeeds("node", ["-e", `require.resolve("${NPM_PEER}node_modules/bittorrent-dht")`]),
    async start(running, openSwarm) {
      const { bootstrap: { host, port } } = openSwarm();
      const request = JSON.stringify({ id: 1, cmd: "start", bootstrap: [`${host}:${port}`] });
      const server = await running.start("node", [`${NPM_PEER}bittorrent_dht.mjs`], `${request}\n`);
      return { ...server, port: Number(server.nodes![0].address.split(":")[1]) };
    },
  },
  libtorrent: {
    install: "it needs `apt-get install python3-libtorrent`",
    isInstalled: () => succeeds(PYTHON, ["-c", "import libtorrent"]),
    start: (running, openSwarm) => {
      const { bootstrap: { host, port } } = openSwarm();
      const script = here("load/libtorrent_server.py");
      return running.start(PYTHON, ["-W", "ignore", script, host, `${port}`]);
    },
  },
  hyperdht: {
    install: "it needs Node and `npm ci` in bench/peers",
    queries: ["ping", "find_node"],
    isInstalled: () =>
      succeeds("node", ["-e", `require.resolve("${NETWORK_PEERS}node_modules/hyperdht")`]),
    start: async (running) => {
      const server = await running.start("node", [here("load/hyperdht_server.mjs")]);
      return { ...server, protocol: "dht-rpc" };
    },
  },
};

/** Runs the comparisons and prints them, or prints why this machine can't. */
export async function benchLoad(options: LoadOptions): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-bench-" });
  try {
    const generator = await buildGenerator(directory);
    if (typeof generator !== "string") {
      return console.log(`\nThe node under load: skipped, ${generator.skipped}.`);
    }
    const cores = await twoCores();
    const how = `on one core, ${options.window} outstanding; medians of ${options.rounds} ` +
      `rounds of ${options.seconds} s` + (cores ? "" : " (not pinned to cores: no taskset)");
    const compared = [];
    for (const { bind, queries } of SCENARIOS) {
      await using running = new Running(generator, cores, options);
      compared.push(...await againstBounds(running, bind, queries));
    }
    printBounds(how, compared);
    await using running = new Running(generator, cores, options);
    printPeers(how, await againstPeers(running));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** The results for one kind of query. */
interface Comparison {
  readonly title: string;
  readonly samples: Samples;
}

/** Compares the node with minimal servers on the same socket API. */
async function againstBounds(
  running: Running,
  bind: string,
  queries: readonly Query[],
): Promise<Comparison[]> {
  const node = await running.startOwn("node_server.ts", bind);
  const echo = await running.startOwn("servers.ts", node.host, "echo");
  const compared: Comparison[] = [];
  for (const query of queries) {
    const reply = btoa(String.fromCharCode(...await askOnce(node, queryLike(node, query))));
    const stub = await running.startOwn("servers.ts", node.host, "stub", reply);
    // The stub and the echo get the same queries.
    const { item } = node;
    const servers = { echo: { ...echo, item }, stub: { ...stub, item }, node };
    const samples = await running.load(query, servers);
    compared.push({ title: bind === "0.0.0.0" ? `${query} on ${node.host}` : query, samples });
  }
  return compared;
}

/** Compares the node with other published DHT nodes, each filled by its own swarm. */
export async function againstPeers(running: Running): Promise<Comparison[]> {
  const servers: Record<string, Server> = {
    [OURS]: await running.startOwn("node_server.ts", "127.0.0.1", "batches"),
    "dmnode, UDP_BATCHES=off": await running.startOwn("node_server.ts", "127.0.0.1"),
  };
  const ours = Object.keys(servers).length;
  const compared: Comparison[] = [];
  await using swarms = new AsyncDisposableStack();
  for (const [i, [name, peer]] of Object.entries(PEERS).entries()) {
    if (!await peer.isInstalled()) {
      console.log(`\n${name}: skipped, ${peer.install}`);
      continue;
    }
    const openSwarm = () => swarms.use(new Swarm(PEER_SWARM_PORT + i));
    const server = await peer.start(running, openSwarm);
    const item = peer.queries === undefined && await putItems((query) => askOnce(server, query));
    servers[name] = item ? { ...server, item: `${item}` } : server;
  }
  if (Object.keys(servers).length === ours) return [];
  for (const query of ["ping", "find_node", "get_peers", "get"] as const) {
    const answering = Object.entries(servers).filter(([name]) =>
      PEERS[name]?.queries?.includes(query) ?? true
    );
    compared.push({
      title: query,
      samples: await running.load(query, Object.fromEntries(answering)),
    });
  }
  return compared;
}

/** Returns a query like those of the generator. */
function queryLike({ item }: Server, query: Query): Uint8Array {
  const text = (text: string) => Array.from(text, (c) => c.charCodeAt(0));
  const target = item.match(/../g)!.map((hex) => parseInt(hex, 16));
  const key = query === "get_peers" ? "9:info_hash20:" : "6:target20:";
  return Uint8Array.from([
    ...text(`d1:ad2:id20:${"A".repeat(20)}`),
    ...(query === "ping" ? [] : [...text(key), ...target]),
    ...(query === "get" ? text(`1:z200:${"0".repeat(200)}`) : []),
    ...text(`e1:q${query.length}:${query}2:roi1e1:t4:tid01:v4:LT011:y1:qe`),
  ]);
}

/** Sends a server one query and waits for the reply. */
async function askOnce({ port }: Server, query: Uint8Array): Promise<Uint8Array> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  try {
    await socket.send(query, { transport: "udp", hostname: "127.0.0.1", port });
    const [reply] = await socket.receive();
    return reply;
  } finally {
    socket.close();
  }
}

// ---- tables

const SAMPLE_HEADER = ["CPU µs", "p50 µs", "p99 µs", "bytes", "nodes", "lost", "bad", "load"];

function printBounds(how: string, compared: readonly Comparison[]): void {
  const rows = compared.flatMap(({ title, samples }) =>
    Array.from(samples.keys(), (name) => [
      `${title}, ${name}`,
      rate(samples, name),
      name === "echo" ? "" : ratios(samples, name, "echo")[0],
      ...(name === "node" ? ratios(samples, name, "stub") : ["", "", ""]),
      ...sampleColumns(samples.get(name)!),
    ])
  );
  const header = ["query, server", "queries/s", "of echo", "of stub", "at best", "by CPU"];
  printTable(`Answered queries a second ${how}`, [...header, ...SAMPLE_HEADER], rows);
  console.log(`
The bar: find_node at 75 % or more of the stub. What else runs on the machine can only slow a round, hence two more
ratios to the stub: of the best rounds, and of the processor time that an answer took. \`load\` is the most that the
load generator took of its core: below 100 % it is not the limit.`);
  const unrest = Math.max(...compared.map(({ samples }) => {
    const rates = samples.get("stub")!.map((sample) => sample.qps);
    return Math.max(...rates) / Math.min(...rates);
  }));
  if (unrest > QUIET) {
    console.log(
      `The machine was busy: rounds of the stub differ up to ${unrest.toFixed(1)} times. ` +
        "Repeat this when it is quiet.",
    );
  }
}

export function printPeers(how: string, compared: readonly Comparison[]): void {
  if (compared.length === 0) return;
  const rows = compared.flatMap(({ title, samples }) =>
    Array.from(samples.keys(), (name) => [
      `${title}, ${name}`,
      rate(samples, name),
      ...(name === OURS ? ["", "", ""] : ratios(samples, name, OURS)),
      ...sampleColumns(samples.get(name)!),
    ])
  );
  const header = ["query, server", "queries/s", "of dmnode", "at best", "by CPU"];
  printTable(
    `Against the peers of npm and Debian, answered queries a second ${how}`,
    [...header, ...SAMPLE_HEADER],
    rows,
  );
  if (compared.some(({ samples }) => samples.has("hyperdht"))) {
    console.log(
      "\nhyperdht is asked in its own protocol, dht-rpc; of its queries these two are like KRPC's.",
    );
  }
}

function sampleColumns(samples: readonly Sample[]): string[] {
  const middle = (value: (sample: Sample) => number) => median(samples.map(value));
  const sum = (value: (sample: Sample) => number) =>
    samples.reduce((total, sample) => total + value(sample), 0);
  return [
    middle((s) => s.cpuMicros).toFixed(2),
    middle((s) => s.p50_us).toFixed(0),
    middle((s) => s.p99_us).toFixed(0),
    middle((s) => s.reply_bytes).toFixed(0),
    middle((s) => s.nodes_per_reply).toFixed(1),
    `${sum((s) => s.timeouts)}`,
    `${sum((s) => s.bad)}`,
    percent(Math.max(...samples.map((s) => s.cpu_share))),
  ];
}

function rate(samples: Samples, name: string): string {
  return median(samples.get(name)!.map((s) => s.qps)).toFixed(0);
}

/** Compares the rates of two servers: round by round, in their best rounds, and by processor time. */
function ratios(samples: Samples, name: string, to: string): [string, string, string] {
  const ours = samples.get(name)!, theirs = samples.get(to)!;
  const best = (list: readonly Sample[]) => Math.max(...list.map((s) => s.qps));
  return [
    // A disturbance usually affects all servers of a round.
    percent(median(ours.map((s, i) => s.qps / theirs[i].qps))),
    percent(best(ours) / best(theirs)),
    percent(median(ours.map((s, i) => theirs[i].cpuMicros / s.cpuMicros))),
  ];
}

function percent(ratio: number): string {
  return `${(100 * ratio).toFixed(0)} %`;
}
