// Measures a node that owns a large value in a small network: memory, write-ahead logs, start and stop. Usage:
// deno run --allow-all bench/large_value.ts [--nodes N] [--bytes N] [--speed N]
//
// The node stores the value, another node fetches it, and the owner publishes it again. The owner is stopped in the middle of
// a store, and in the middle of publishing. While it publishes, its clock runs `speed` times faster (libfaketime). Reads
// Linux's /proc.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { accelerated } from "../tests/clock/faketime.ts";
import { randomBytes } from "./measure.ts";
import { commandOf, Program } from "./program.ts";
import { cpuSeconds } from "./running.ts";

const { values: options } = parseArgs({
  options: {
    /** The number of nodes, the owner included. */
    nodes: { type: "string", default: "3" },
    bytes: { type: "string", default: `${2 ** 28}` },
    speed: { type: "string", default: "60" },
  },
});
const bytes = Number(options.bytes), speed = Number(options.speed);

/** How often memory and logs are looked at. */
const SAMPLE_MS = 50;

/** How long a node is left alone before its memory at rest is measured. */
const REST_MS = 10_000;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const ms = (elapsed: number) => `${elapsed.toFixed(0)} ms`;

const directory = await Deno.makeTempDir();
const command = commandOf(".");

/** A node, and the highest values of what was measured since `reset`. */
class Node implements AsyncDisposable {
  #program: Program | undefined;
  #restMb = 0;
  #peakMb = 0;
  #logMb = 0;
  readonly #timer = setInterval(() => this.#sample(), SAMPLE_MS);
  api = "";
  udp = "";

  constructor(private readonly name: string) {}

  get #data(): string {
    return join(directory, this.name);
  }

  /** Starts the node. Returns how long it took until its API listened. */
  async start(bootstrap: string, env: Record<string, string> = {}): Promise<string> {
    const begunAt = performance.now();
    const args = ["--p2p-port=0", "--api-port=0", "--bootstrap", bootstrap, "--data-dir"];
    const program = new Program([...command, ...args, this.#data], ".", {
      MAX_VALUE_SIZE: `${2 ** 28}`,
      ...env,
    });
    const ready = await program.output(/UDP ([\d.:]+), API (http:[^"]+)"/);
    const elapsed = `${ms(performance.now() - begunAt)} (${await cpuSeconds(
      program,
    )} s of processor)`;
    [, this.udp, this.api] = ready;
    if (bootstrap !== "") await program.output(/Joined the network/);
    this.#program = program;
    return elapsed;
  }

  /** Stops the node with SIGTERM. Returns how long it took. */
  async stop(): Promise<string> {
    const program = this.#program!, begunAt = performance.now();
    this.#program = undefined;
    await program.stop();
    return ms(performance.now() - begunAt);
  }

  #sample(): void {
    if (this.#program === undefined) return;
    this.#peakMb = Math.max(this.#peakMb, this.#residentMb());
    for (const { name } of Deno.readDirSync(this.#data)) {
      if (!name.endsWith("-wal")) continue;
      try {
        this.#logMb = Math.max(this.#logMb, Deno.statSync(join(this.#data, name)).size / 1e6);
      } catch {
        // The node has just removed it.
      }
    }
  }

  #residentMb(): number {
    try {
      const status = Deno.readTextFileSync(`/proc/${this.#program!.pid}/status`);
      return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024 / 1e6;
    } catch {
      // It has just ended.
      return 0;
    }
  }

  get diskMb(): number {
    const files = [...Deno.readDirSync(this.#data)];
    return files.reduce((sum, { name }) => sum + Deno.statSync(join(this.#data, name)).size, 0) /
      1e6;
  }

  /** Measures from now on. */
  async reset(): Promise<void> {
    await sleep(REST_MS);
    this.#restMb = this.#peakMb = this.#residentMb();
    this.#logMb = 0;
  }

  get memory(): string {
    const [rest, added] = [this.#restMb, this.#peakMb - this.#restMb].map((mb) => mb.toFixed(0));
    return `memory at rest ${rest} MB, peak + ${added} MB, log at most ${
      this.#logMb.toFixed(1)
    } MB`;
  }

  /** The answer to a GET request. Asks again while the node is too busy to answer. */
  async get(path: string) {
    for (;;) {
      const response = await fetch(`${this.api}${path}`), answer = await response.json();
      if (response.ok) return answer;
      if (response.status !== 503 && response.status !== 429) {
        throw new Error(JSON.stringify(answer));
      }
      await sleep(POLL_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#program?.stop();
  }
}

/** Listens to the node's progress reports, until it is disposed. */
class Reports implements Disposable {
  readonly #closing = new AbortController();
  #lastAt = performance.now();
  #count = 0;
  #longestMs = 0;
  #movedBytes = 0;
  #wake = () => {};

  constructor(api: string) {
    void this.#listen(api).catch(() => {});
  }

  async #listen(api: string): Promise<void> {
    const { signal } = this.#closing;
    const response = await fetch(`${api}/events?types=data.progress`, { signal });
    for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
      for (const [, done, state] of text.matchAll(/"done_bytes":(\d+).*?"state":"(\w+)"/g)) {
        const now = performance.now();
        if (this.#count++ > 0) this.#longestMs = Math.max(this.#longestMs, now - this.#lastAt);
        this.#lastAt = now;
        if (state === "moving") this.#movedBytes = Number(done);
        this.#wake();
      }
    }
  }

  /** Resolves when nodes have acknowledged at least so many bytes. */
  async reach(movedBytes: number): Promise<void> {
    while (this.#movedBytes < movedBytes) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  get text(): string {
    return `${this.#count} progress reports, at most ${this.#longestMs.toFixed(0)} ms apart`;
  }

  [Symbol.dispose](): void {
    this.#closing.abort();
  }
}

/** Bytes of a file that are written at a time. */
const PART_BYTES = 2 ** 20;

/** Writes a random file. Returns its SHA-256. */
function writeValue(path: string): string {
  const hash = createHash("sha256");
  using file = Deno.openSync(path, { write: true, createNew: true });
  for (let left = bytes; left > 0; left -= PART_BYTES) {
    const part = randomBytes(Math.min(PART_BYTES, left));
    hash.update(part);
    for (let at = 0; at < part.length;) at += file.writeSync(part.subarray(at));
  }
  return hash.digest("hex");
}

/** Runs a command of the program. Returns its output. */
async function run(...args: readonly string[]): Promise<string> {
  const [path, ...first] = command;
  const { stdout, stderr } = await new Deno.Command(path, { args: [...first, ...args] }).output();
  const decoder = new TextDecoder();
  return decoder.decode(stdout) || decoder.decode(stderr);
}

const print = (step: string, text: string) => console.log(`${step.padEnd(20)} ${text}`);

/** How often the number of sent puts is looked at. */
const POLL_MS = 1_000;

/** Publishing has ended if no puts were sent for this time. */
const QUIET_MS = 30_000;

/** A node publishes a large value every four hours. Give up if it has sent no put after this time on its own clock. */
const MAX_WAIT_MS = 6 * 3_600_000;

/** Waits until the node has sent `count` puts since its start, or sends no more. Returns their number. */
async function publish(node: Node, count = Infinity): Promise<number> {
  const begunAt = performance.now();
  for (let puts = 0, changedAt = begunAt;;) {
    const { traffic } = await node.get("/network/stats");
    const sent: number = traffic.out.by_type["put.query"]?.messages ?? 0;
    const now = performance.now();
    if (sent > puts) puts = sent, changedAt = now;
    if (puts >= count || (puts > 0 && now - changedAt > QUIET_MS)) return puts;
    if (puts === 0 && now - begunAt > MAX_WAIT_MS / speed) {
      throw new Error("The owner has published nothing.");
    }
    await sleep(POLL_MS);
  }
}

await using stack = new AsyncDisposableStack();
stack.defer(() => Deno.remove(directory, { recursive: true }));
const others = Array.from(
  { length: Number(options.nodes) - 1 },
  (_, i) => stack.use(new Node(`other-${i}`)),
);
for (const other of others) await other.start(others[0].udp);
const [first] = others, owner = stack.use(new Node("owner"));
await owner.start(first.udp);

const path = join(directory, "value"), sha256 = writeValue(path);
await Promise.all([owner, first].map((node) => node.reset()));
let hash: string, puts: number;
{
  using reports = new Reports(owner.api);
  const startedAt = performance.now();
  hash = (await run("put", path, "--api", owner.api)).trim();
  if (!/^[0-9a-f]{40}$/m.test(hash)) throw new Error(hash);
  const elapsedS = (performance.now() - startedAt) / 1000;
  print("store", `${owner.memory}; ${elapsedS.toFixed(0)} s; ${reports.text}`);
  print("", `another node: ${first.memory}`);
  print("", `${(owner.diskMb * 1e6 / bytes).toFixed(3)} times the value on the owner's disk`);
  const { traffic } = await owner.get("/network/stats");
  puts = traffic.out.by_type["put.query"].messages;
}

await first.reset();
{
  using reports = new Reports(first.api);
  const copy = join(directory, "copy"), startedAt = performance.now();
  await run("get", hash.match(/[0-9a-f]{40}/)![0], "-o", copy, "--api", first.api);
  const elapsedS = (performance.now() - startedAt) / 1000;
  const found = createHash("sha256");
  for await (const part of (await Deno.open(copy)).readable) found.update(part);
  const isSame = found.digest("hex") === sha256;
  await Deno.remove(copy);
  print("fetch", `${first.memory}; ${elapsedS.toFixed(0)} s; ${reports.text}; intact: ${isSame}`);
}

print("stop and start", `${await owner.stop()}, ${await owner.start(first.udp)}`);
await owner.stop();
await owner.start(first.udp, accelerated(speed));
await owner.reset();
print("publish, first half", `${await publish(owner, puts / 2)} puts; ${owner.memory}`);
print("stop and start", `${await owner.stop()}, ${await owner.start(first.udp)}`);
await owner.stop();
await owner.start(first.udp, accelerated(speed));
await owner.reset();
print("publish, the rest", `${await publish(owner)} puts; ${owner.memory}`);
await owner.stop();

await Deno.remove(path);
writeValue(path);
await owner.start(first.udp);
const diskBefore = owner.diskMb;
{
  using reports = new Reports(owner.api);
  const put = run("put", path, "--api", owner.api);
  await reports.reach(bytes / 2);
  const stop = await owner.stop(), start = await owner.start(first.udp);
  await put;
  print("in mid-store", `stop ${stop}, start ${start}`);
  await owner.reset();
  print(
    "",
    `the owner's disk: ${diskBefore.toFixed(0)} MB before, ${owner.diskMb.toFixed(0)} after`,
  );
}
