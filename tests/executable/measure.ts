// Prints the size of an executable, its start-up time, and its use of memory, processor, network and disk: for a single
// node, for a node in a network, and for a node with many values. docs/operations.md shows the results (Linux).
//
//   deno run --allow-all tests/executable/measure.ts dist/dmnode [--nodes 20] [--seconds 120] [--items 100000] [--bytes 900]

import { join } from "node:path";
import { parseArgs } from "node:util";
import { immutableItem } from "../../src/dht/items/item.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { files } from "../../src/runtime/files.ts";
import { Database } from "../../src/storage/database.ts";
import { itemRow } from "../../src/storage/rows.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    nodes: { type: "string", default: "20" },
    seconds: { type: "string", default: "120" },
    items: { type: "string", default: "100000" },
    bytes: { type: "string", default: "900" },
  },
});
const executable = await Deno.realPath(positionals[0]);
const nodes = Number(values.nodes), seconds = Number(values.seconds);
const items = Number(values.items), valueBytes = Number(values.bytes);

const TICKS_PER_SECOND = 100;

interface Running {
  readonly child: Deno.ChildProcess;
  readonly api: string;
  readonly udp: string;
  readonly readyMs: number;
  readonly dataDir: string;
}

/** Reads the log until the node is ready, then discards the rest. */
async function start(dataDir: string, args: string[] = []): Promise<Running> {
  const begun = performance.now();
  const child = new Deno.Command(executable, {
    args: ["--p2p-port", "0", "--api-port", "0", "--data-dir", dataDir, ...args],
    env: { LOG_FORMAT: "json" },
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const log = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await log.read();
    if (done) throw new Error(`the node did not start: ${text}`);
    text += value;
    const line = text.split("\n").find((line) => line.includes('"message":"Ready'));
    if (line === undefined) continue;
    const readyMs = performance.now() - begun;
    void (async () => {
      while (!(await log.read()).done);
    })();
    const { api, udp } = JSON.parse(line);
    return { child, api, udp, readyMs, dataDir };
  }
}

async function stop({ child }: Running): Promise<void> {
  child.kill("SIGTERM");
  await child.status;
}

/** Resident memory in bytes. */
function memory({ child }: Running): number {
  const status = Deno.readTextFileSync(`/proc/${child.pid}/status`);
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

/** Processor time in milliseconds since the start. */
function cpuMs({ child }: Running): number {
  const fields = Deno.readTextFileSync(`/proc/${child.pid}/stat`).replace(/^.*\) /, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 1000 / TICKS_PER_SECOND;
}

function diskBytes(dataDir: string): number {
  return [...Deno.readDirSync(dataDir)]
    .reduce((sum, { name }) => sum + Deno.statSync(join(dataDir, name)).size, 0);
}

async function traffic({ api }: Running): Promise<{ bytes: number; messages: number }> {
  const { traffic } = await (await fetch(`${api}/network/stats`)).json();
  return {
    bytes: traffic.in.bytes + traffic.out.bytes,
    messages: traffic.in.messages + traffic.out.messages,
  };
}

const sleep = (s: number) => new Promise((resolve) => setTimeout(resolve, s * 1000));
const median = (list: number[]) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const mb = (bytes: number) =>
  bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** Measures idle nodes. */
async function observe(label: string, running: Running[]): Promise<void> {
  const before = { cpu: running.map(cpuMs), traffic: await Promise.all(running.map(traffic)) };
  const begun = performance.now();
  await sleep(seconds);
  const elapsed = (performance.now() - begun) / 1000;
  const cpu = running.map((node, i) => (cpuMs(node) - before.cpu[i]) / elapsed);
  const after = await Promise.all(running.map(traffic));
  const bytes = after.map((t, i) => (t.bytes - before.traffic[i].bytes) / elapsed);
  const messages = after.map((t, i) => (t.messages - before.traffic[i].messages) / elapsed);
  console.log(
    `${label}: ${mb(median(running.map(memory)))} resident, ${median(cpu).toFixed(1)} ms of ` +
      `processor a second, ${median(messages).toFixed(1)} packets and ` +
      `${median(bytes).toFixed(0)} bytes a second in and out, ` +
      `${mb(median(running.map(({ dataDir }) => diskBytes(dataDir))))} in DATA_DIR`,
  );
}

const directory = await Deno.makeTempDir({ prefix: "dmnode-measure-" });
try {
  console.log(`size: ${mb((await Deno.stat(executable)).size)}`);
  const times: number[] = [];
  for (let i = 0; i < 10; i++) {
    const node = await start(join(directory, "start"));
    times.push(node.readyMs);
    await stop(node);
  }
  const sorted = times.toSorted((a, b) => a - b).map((ms) => ms.toFixed(0));
  console.log(`ready after ${sorted[0]} to ${sorted[9]} ms, median ${median(times).toFixed(0)} ms`);

  const alone = await start(join(directory, "alone"));
  await observe(`one node, ${seconds} s`, [alone]);
  const network = [alone];
  for (let i = 1; i < nodes; i++) {
    network.push(await start(join(directory, `${i}`), ["--bootstrap", alone.udp]));
  }
  await sleep(20);
  await observe(`each of ${nodes} nodes, ${seconds} s`, network);
  await Promise.all(network.map(stop));

  const full = join(directory, "full");
  await Deno.mkdir(full);
  const database = new Database(join(full, "dmnode.sqlite"), { files, mayBeEmpty: true });
  const now = Date.now(), text = new TextEncoder();
  const values = Array.from({ length: items }, (_, i) => {
    const value = text.encode(`${valueBytes}:${String(i).padStart(valueBytes, "0")}`);
    const item = immutableItem(itemCrypto, value);
    return itemRow({ ...item, storedAt: now, expiresAt: now + 7_200_000 });
  });
  database.commit({ deletedItems: [], items: values, published: [], contacts: undefined });
  database.close();
  const holder = await start(full);
  console.log(
    `${items} values of ${valueBytes} bytes: ready after ${holder.readyMs.toFixed(0)} ms`,
  );
  await observe("the node that holds them", [holder]);
  await stop(holder);
} finally {
  await Deno.remove(directory, { recursive: true });
}
