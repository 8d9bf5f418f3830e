// Servers as processes on one core of this machine, or on two, and the load generator on another.

import { LIBC_PATHS } from "../src/runtime/message_batch.ts";

/** Left out of each measurement: the queries of the server before may still be in flight. */
const WARM_UP_SECONDS = 0.1;

/** How often Linux counts a process's time a second (USER_HZ, the same on every platform that Deno runs on). */
const TICKS_PER_SECOND = 100;

export type Query = "ping" | "find_node" | "get_peers" | "get";

export interface LoadOptions {
  /** Of each measurement. */
  readonly seconds: number;
  /** Measurements of each server and query; the medians are reported. */
  readonly rounds: number;
  /** Queries outstanding. */
  readonly window: number;
}

/** The generator's line of output. */
interface Load {
  readonly answered: number;
  readonly timeouts: number;
  readonly bad: number;
  readonly qps: number;
  /** Processor time of the generator itself, in cores. */
  readonly cpu_share: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly reply_bytes: number;
  readonly nodes_per_reply: number;
}

export interface Sample extends Load {
  /** Processor time that the server took for an answer. */
  readonly cpuMicros: number;
}

/** By the server's name, in the order of the table. */
export type Samples = ReadonlyMap<string, Sample[]>;

export interface Server {
  readonly process: Deno.ChildProcess;
  readonly port: number;
  /** Where a node of ours is bound. */
  readonly host: string;
  /** The item to ask it for. */
  readonly item: string;
  /** KRPC where it is not given. */
  readonly protocol?: "dht-rpc";
  /** The port of its API, where it was told to serve that. */
  readonly api?: number;
  /** How the npm peer's program tells where it is. */
  readonly nodes?: readonly { address: string }[];
}

/** The path of a file, given from this folder. */
export function here(file: string): string {
  return new URL(file, import.meta.url).pathname;
}

/** Whether the program is there and ends well. */
export async function succeeds(program: string, args: string[]): Promise<boolean> {
  try {
    const command = new Deno.Command(program, { args, stdout: "null", stderr: "null" });
    return (await command.output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Builds a load generator, or tells why that is not possible. */
export async function buildGenerator(
  directory: string,
  name = "krpc_load",
): Promise<string | { skipped: string }> {
  if (Deno.build.os !== "linux") return { skipped: "the load generator is for Linux" };
  if (navigator.hardwareConcurrency < 2) {
    return { skipped: "it takes two cores, one for the server and one for the load generator" };
  }
  const output = `${directory}/${name}`;
  const args = ["-O2", "-o", output, here(`load/${name}.c`)];
  try {
    const { success, stderr } = await new Deno.Command("cc", { args }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { skipped: "the load generator needs a C compiler and there is no cc: install gcc" };
  }
  return output;
}

/** Two cores that this process may use; undefined where it can't choose. */
export async function twoCores(): Promise<[number, number] | undefined> {
  if (!await succeeds("taskset", ["--version"])) return undefined;
  const status = await Deno.readTextFile("/proc/self/status");
  const cores = status.match(/^Cpus_allowed_list:\s*(.*)$/m)![1].split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  return cores.length >= 2 ? [cores[0], cores[1]] : undefined;
}

/** Starts servers, loads them in turn, and ends them when it is disposed of. */
export class Running implements AsyncDisposable {
  readonly #processes: Deno.ChildProcess[] = [];

  constructor(
    readonly generator: string,
    readonly cores: [number, number] | undefined,
    readonly options: LoadOptions,
    /** The cores that servers may use: the first, unless they have threads that are to be measured too. */
    readonly serverCores: readonly (0 | 1)[] = [0],
  ) {}

  async [Symbol.asyncDispose](): Promise<void> {
    for (const process of this.#processes) {
      try {
        process.kill("SIGKILL");
      } catch {
        // it has ended by itself
      }
      await process.status;
    }
  }

  /** Starts a server of this folder. */
  startOwn(script: string, ...args: string[]): Promise<Server> {
    return this.#startOwn([], script, args);
  }

  /** Starts one that takes and sends its datagrams in batches, where the machine lets it. */
  startInBatches(script: string, ...args: string[]): Promise<Server> {
    return this.#startOwn([`--allow-ffi=${LIBC_PATHS.join()}`], script, args);
  }

  #startOwn(permissions: string[], script: string, args: string[]): Promise<Server> {
    const run = ["run", "--no-prompt", "--allow-net", "--allow-read", ...permissions];
    return this.start(Deno.execPath(), [...run, here(script), ...args]);
  }

  /** Starts a server and waits for the line that says it is ready. `request` goes to its standard input. */
  async start(program: string, args: string[], request = ""): Promise<Server> {
    const process = this.command(this.serverCores, program, args, "piped").spawn();
    this.#processes.push(process);
    // Left open: a program that is driven through it ends with it.
    await process.stdin.getWriter().write(new TextEncoder().encode(request));
    let text = "";
    for await (const chunk of process.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (text.includes("\n")) break;
    }
    if (text === "") throw new Error(`${program} ${args.join(" ")} did not start`);
    return { host: "", item: "", ...JSON.parse(text), process };
  }

  /**
   * Loads the servers in turn, round after round; the first round only warms them up. A round in which the busy machine
   * let one of them answer nothing at all says nothing, and is repeated.
   */
  async load(query: Query, servers: Record<string, Server>): Promise<Samples> {
    const { rounds } = this.options;
    const samples: Samples = new Map(Object.keys(servers).map((name) => [name, []]));
    for (let round = 0, idle = 0; round <= rounds;) {
      const results: [string, Sample][] = [];
      for (const [name, server] of Object.entries(servers)) {
        const sample = await this.#sample(server, query, [
          ...(query === "get" ? ["--target", server.item] : []),
          ...(name === "echo" ? ["--echo"] : []),
          ...(server.protocol === "dht-rpc" ? ["--dht-rpc"] : []),
        ]);
        results.push([name, sample]);
      }
      const silent = results.find(([, sample]) => sample.answered === 0);
      if (silent === undefined) {
        if (round++ > 0) results.forEach(([name, sample]) => samples.get(name)!.push(sample));
      } else if (++idle > rounds) throw new Error(`${silent[0]} does not answer ${query}`);
    }
    return samples;
  }

  async #sample({ process, port }: Server, query: Query, more: string[]): Promise<Sample> {
    const { seconds, window } = this.options;
    const before = await cpuSeconds(process);
    const { success, stdout } = await this.command([1], this.generator, [
      ...["--port", `${port}`, "--query", query, "--window", `${window}`],
      ...["--seconds", `${seconds}`, "--warmup", `${WARM_UP_SECONDS}`],
      ...more,
    ]).output();
    if (!success) throw new Error("the load generator failed");
    const load: Load = JSON.parse(new TextDecoder().decode(stdout));
    // The processor time is that of the warm-up too.
    const served = load.answered * (seconds + WARM_UP_SECONDS) / seconds;
    const cpuMicros = (await cpuSeconds(process) - before) * 1e6 / served;
    return { ...load, cpuMicros };
  }

  /** A program on these of the two cores. */
  command(
    which: readonly (0 | 1)[],
    program: string,
    args: string[],
    stdin?: "piped",
  ): Deno.Command {
    const { cores } = this;
    const pinned = cores && ["-c", which.map((core) => cores[core]).join(), program, ...args];
    return new Deno.Command(pinned ? "taskset" : program, {
      args: pinned ?? args,
      stdin,
      stdout: "piped",
      stderr: "inherit",
    });
  }
}

/** Processor time that a process has used, or its main thread alone. */
export async function cpuSeconds(
  { pid }: Deno.ChildProcess,
  of: "process" | "main thread" = "process",
): Promise<number> {
  const stat = await Deno.readTextFile(
    of === "process" ? `/proc/${pid}/stat` : `/proc/${pid}/task/${pid}/stat`,
  );
  // Fields 14 and 15, counted from the end of the name, which may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
