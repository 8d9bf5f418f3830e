// Compares how fast versions of the node store a large value beside other nodes of the same version. Usage:
// deno run --allow-all bench/store_rate.ts [--rounds N] [--nodes N] [--bytes N] CHECKOUT...
//
// The versions take turns. Each round starts a new network of each, and another node that joins it and stores a value.
// The first node of the network then reads the value.

import { parseArgs } from "node:util";
import { median, printTable, randomBytes } from "./measure.ts";
import { commandOf, Program } from "./program.ts";
import { cpuSeconds } from "./running.ts";

const { values: options, positionals: versions } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    nodes: { type: "string", default: "100" },
    bytes: { type: "string", default: `${2 ** 24}` },
  },
  allowPositionals: true,
});
const bytes = Number(options.bytes);

interface Result {
  readonly storeS: number;
  readonly fetchS: number;
  /** Processor time during the store. */
  readonly nodeCpuS: number;
  readonly networkCpuS: number;
  readonly puts: number;
  readonly gets: number;
}

const statsOf = async (api: string) => await (await fetch(`${api}/network/stats`)).json();

async function measure(version: string): Promise<Result> {
  const directory = await Deno.makeTempDir(), command = commandOf(version);
  try {
    const swarm = ["swarm", "--nodes", options.nodes, "--stores=0", "--rest=0", "--api-port=0"];
    await using network = new Program([...command, ...swarm], version);
    const [, first] = await network.output(/API of the first node: (http:\S+)/);
    await network.output(/^Memory: /m);
    const { addresses: [bootstrap] } = await statsOf(first);
    const own = ["--p2p-port=0", "--api-port=0", "--bootstrap", bootstrap];
    await using node = new Program([...command, ...own, "--data-dir", directory], version);
    const [, api] = await node.output(/"(?:Listening|Ready): .*API (http:[^"]+)"/);
    await node.output(/Joined the network/);
    return await transfer({ node, network, api, first });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Stores a value through a node, and reads it through the first node of the network. */
async function transfer(
  { node, network, api, first }: {
    readonly node: Program;
    readonly network: Program;
    readonly api: string;
    readonly first: string;
  },
): Promise<Result> {
  const value = randomBytes(bytes);
  const cpu = () => Promise.all([cpuSeconds(node), cpuSeconds(network)]);
  const before = await cpu(), begunAt = performance.now();
  const headers = { "content-type": "application/octet-stream" };
  const response = await fetch(`${api}/network/store`, { method: "POST", body: value, headers });
  const storedAt = performance.now(), after = await cpu();
  const answer = await response.json();
  if (response.status !== 201) throw new Error(JSON.stringify(answer));
  const { traffic: { out } } = await statsOf(api);
  const sent = (type: string): number => out.by_type[type]?.messages ?? 0;
  const readAt = performance.now();
  const found = new Uint8Array(await (await fetch(`${first}/data/${answer.hash}`)).arrayBuffer());
  const fetchS = (performance.now() - readAt) / 1000;
  if (found.length !== bytes || found.some((byte, i) => byte !== value[i])) {
    throw new Error("The value that was read is not the value that was stored.");
  }
  return {
    storeS: (storedAt - begunAt) / 1000,
    fetchS,
    nodeCpuS: after[0] - before[0],
    networkCpuS: after[1] - before[1],
    puts: sent("put.query"),
    gets: sent("get.query"),
  };
}

const results = new Map<string, Result[]>(versions.map((version) => [version, []]));
for (let round = 1; round <= Number(options.rounds); round++) {
  for (const version of versions) {
    const result = await measure(version);
    results.get(version)!.push(result);
    console.error(`round ${round}, ${version}: ${JSON.stringify(result)}`);
  }
}

const COLUMNS: readonly (readonly [keyof Result, string, number])[] = [
  ["storeS", "store, s", 2],
  ["fetchS", "fetch, s", 2],
  ["nodeCpuS", "cpu of the node, s", 1],
  ["networkCpuS", "cpu of the network, s", 1],
  ["puts", "put queries", 0],
  ["gets", "get queries", 0],
];
const medianOf = (version: string, key: keyof Result) =>
  median(results.get(version)!.map((result) => result[key]));
printTable(
  `${options.rounds} values of ${bytes} bytes beside ${options.nodes} nodes, medians`,
  ["version", ...COLUMNS.map(([, name]) => name), "rate, MB/s", "rate, to the last"],
  versions.map((version) => {
    const seconds = medianOf(version, "storeS");
    return [
      version,
      ...COLUMNS.map(([key, , digits]) => medianOf(version, key).toFixed(digits)),
      (bytes / seconds / 1e6).toFixed(2),
      (medianOf(versions.at(-1)!, "storeS") / seconds).toFixed(2),
    ];
  }),
);
