// Measures the memory of an idle node, and of the parts that Deno needs for any program. Reads it from Linux. Usage:
// deno run --allow-all bench/rest.ts [--rounds N] [--seconds S] [CHECKOUT|EXECUTABLE...]
// deno run --allow-all --v8-flags=--expose-gc bench/rest.ts --modules node,api
//
// Each round starts every program once, so that versions of the node alternate. A node runs as by the task `start`.
// With --modules, it loads the modules of a thread one after another, and shows how much each adds.

import { join } from "node:path";
import { parseArgs } from "node:util";
import { compactHeap } from "../src/runtime/process/memory.ts";
import { commandOf, isExecutable } from "./program.ts";

const { values: { rounds, seconds, modules }, positionals } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    /** How long a program is at rest before it is measured. */
    seconds: { type: "string", default: "10" },
    modules: { type: "string" },
  },
  allowPositionals: true,
});

/** Resident memory in MB. Anonymous memory is the program's own; the rest are pages of files. */
interface Memory {
  readonly resident: number;
  readonly anonymous: number;
}

function memoryOf(pid: number): Memory {
  const rollup = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
  const mb = (name: string) => Number(new RegExp(`^${name}: +(\\d+)`, "m").exec(rollup)![1]) / 1024;
  return { resident: mb("Rss"), anonymous: mb("Anonymous") };
}

const rest = (s = Number(seconds)) => new Promise((resolve) => setTimeout(resolve, s * 1000));

/** Starts a program, waits until it prints what `ready` matches, and measures it. */
async function measure(
  [program, ...args]: readonly string[],
  cwd: string,
  ready: RegExp,
  use: (pid: number, match: RegExpExecArray) => Promise<void>,
): Promise<void> {
  const child = new Deno.Command(program, { args, cwd, stdout: "piped", stderr: "piped" }).spawn();
  let log = "";
  const listen = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, resolve?: () => void) => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      log += text;
      if (ready.test(log)) resolve?.();
    }
  };
  const isReady = new Promise<void>((resolve, reject) => {
    listen(child.stderr, resolve);
    listen(child.stdout, resolve).then(() => reject(new Error(`${program} has ended: ${log}`)));
  });
  try {
    await isReady;
    await use(child.pid, ready.exec(log)!);
  } finally {
    child.kill("SIGTERM");
    await child.status;
  }
}

/** The modules of a thread, in the order in which they are loaded. */
const MODULES: Record<string, readonly string[]> = {
  node: [
    "node:crypto",
    "commander",
    "logtape",
    "../src/config.ts",
    "../src/dht/node.ts",
    "../src/runtime/local_node.ts",
    "../src/cli/start.ts",
    "../src/cli/program.ts",
  ],
  api: [
    "../src/api/server.ts",
    "hono",
    "zod",
    "@hono/zod-openapi",
    "../src/reports/events.ts",
    "../src/api/schemas.ts",
    "../src/web/page.ts",
    "../src/api/docs/page.ts",
    "../src/api/app.ts",
  ],
};

if (modules !== undefined) {
  const heap = () => Deno.memoryUsage().heapTotal / 2 ** 20;
  for (const name of modules.split(",").flatMap((thread) => MODULES[thread])) {
    compactHeap();
    const before = { ...memoryOf(Deno.pid), heap: heap() };
    await import(name);
    compactHeap();
    const after = { ...memoryOf(Deno.pid), heap: heap() };
    const added = (member: keyof typeof after) => (after[member] - before[member]).toFixed(1);
    console.log(
      `${name.padEnd(32)} resident + ${added("resident")}, without files + ${
        added("anonymous")
      }, ` +
        `heap + ${added("heap")} MB`,
    );
  }
  Deno.exit();
}

const directory = await Deno.makeTempDir();
const results = new Map<string, Memory[]>();
const note = (name: string, memory: Memory) =>
  results.set(name, [...results.get(name) ?? [], memory]);

/** Measures a program that starts `threads` workers which do nothing. */
async function measureEmpty(name: string, threads: number): Promise<void> {
  const path = join(directory, "empty.js");
  Deno.writeTextFileSync(
    path,
    `for (let i = 0; i < ${threads}; i++) {
      new Worker("data:application/javascript,onmessage = () => {};", { type: "module" });
    }
    setTimeout(() => console.log("ready"), 500);
    setInterval(() => {}, 1e6);`,
  );
  const command = [Deno.execPath(), "run", "--v8-flags=--max-semi-space-size=2", path];
  await measure(command, directory, /ready/, async (pid) => {
    await rest();
    note(name, memoryOf(pid));
  });
}

async function measureNode(version: string): Promise<void> {
  const data = await Deno.makeTempDir({ dir: directory });
  const own = ["--p2p-port=0", "--api-port=0", `--data-dir=${data}`];
  const command = [...commandOf(version), "start", ...own];
  const cwd = isExecutable(version) ? directory : version;
  await measure(command, cwd, /"(?:Listening|Ready): .*API (http:[^"]+)"/, async (pid, [, api]) => {
    await rest();
    note(version, memoryOf(pid));
    await (await fetch(`${api}/network/stats`)).body?.cancel();
    await rest();
    note(`${version}, after a request`, memoryOf(pid));
  });
}

const versions = positionals.length > 0 ? positionals : ["."];
// The first round does not count: Deno compiles changed sources in it.
for (let round = 0; round <= Number(rounds); round++) {
  if (round === 1) results.clear();
  await measureEmpty("Deno with an empty program", 0);
  await measureEmpty("Deno with two empty threads", 2);
  for (const version of versions) await measureNode(version);
}
await Deno.remove(directory, { recursive: true });

const range = (values: readonly number[]) => {
  const sorted = values.toSorted((a, b) => a - b);
  const [least, median, most] = [0, sorted.length >> 1, sorted.length - 1].map((i) =>
    sorted[i].toFixed(1)
  );
  return `${median} (${least} to ${most})`.padEnd(22);
};
console.log(`${"MB".padEnd(50)}  ${"resident".padEnd(22)}  without files`);
for (const [name, memories] of results) {
  const of = (member: keyof Memory) => range(memories.map((memory) => memory[member]));
  console.log(`${name.padEnd(50)}  ${of("resident")}  ${of("anonymous")}`);
}
