// Runs servers as processes on one or two cores, and the load generator on another core.

import { LIBC_PATHS } from "../src/runtime/net/message_batch.ts";

/** The start of each measurement, which is not counted: queries to the previous server may still be in flight. */
const WARM_UP_SECONDS = 0.1;

/** Linux counts processor time in this fraction of a second (USER_HZ, the same on all of Deno's platforms). */
const TICKS_PER_SECOND = 100;

export type Query = "ping" | "find_node" | "get_peers" | "get";

export interface LoadOptions {
  /** The length of each measurement. */
  readonly seconds: number;
  /** Measurements of each server and query. The medians are reported. */
  readonly rounds: number;
  /** Queries in flight. */
  readonly window: number;
}

/** The generator's output. */
interface Load {
  readonly answered: number;
  readonly timeouts: number;
  readonly bad: number;
  readonly qps: number;
  /** The generator's own processor time, in cores. */
  readonly cpu_share: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly reply_bytes: number;
  readonly nodes_per_reply: number;
}

export interface Sample extends Load {
  /** The server's processor time per answer. */
  readonly cpuMicros: number;
}

/** Results by server, in the order of the table. */
export type Samples = ReadonlyMap<string, Sample[]>;

export interface Server {
  readonly process: Deno.ChildProcess;
  readonly port: number;
  /** The address a dmnode is bound to. */
  readonly host: string;
  /** An item that it holds. */
  readonly item: string;
  /** KRPC by default. */
  readonly protocol?: "dht-rpc";
  /** The port of its API, if it serves one. */
  readonly api?: number;
  /** Prepared packets, and the port from which they must come. The generator is then packet_load. */
  readonly packets?: { readonly file: string; readonly port: number };
  /** The endpoint that the npm peer's program reports. */
  readonly nodes?: readonly { address: string }[];
}

/** The absolute path of a file, given relative to this folder. */
export function here(file: string): string {
  return new URL(file, import.meta.url).pathname;
}

/** Whether the program exists and ends with success. */
export async function succeeds(program: string, args: string[]): Promise<boolean> {
  try {
    const command = new Deno.Command(program, { args, stdout: "null", stderr: "null" });
    return (await command.output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Builds a load generator, or returns why that is not possible. */
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

/** Returns two cores that this process may use; undefined if it can't choose. */
export async function twoCores(): Promise<[number, number] | undefined> {
  if (!await succeeds("taskset", ["--version"])) return undefined;
  const status = await Deno.readTextFile("/proc/self/status");
  const cores = status.match(/^Cpus_allowed_list:\s*(.*)$/m)![1].split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  return cores.length >= 2 ? [cores[0], cores[1]] : undefined;
}

/** Starts servers, loads them in turn, and ends them when disposed. */
export class Running implements AsyncDisposable {
  readonly #processes: Deno.ChildProcess[] = [];

  constructor(
    readonly generator: string,
    readonly cores: [number, number] | undefined,
    readonly options: LoadOptions,
    /** The cores for servers: the first one, unless further threads are measured too. */
    readonly serverCores: readonly (0 | 1)[] = [0],
  ) {}

  async [Symbol.asyncDispose](): Promise<void> {
    for (const process of this.#processes) {
      try {
        process.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
      await process.status;
    }
  }

  /** Starts a server of this folder. */
  startOwn(script: string, ...args: string[]): Promise<Server> {
    const run = ["run", "--no-prompt", "--allow-net", "--allow-read"];
    if (Deno.build.os === "linux") run.push(`--allow-ffi=${LIBC_PATHS.join()}`);
    return this.start(Deno.execPath(), [...run, here(script), ...args]);
  }

  /** Starts a server and waits until it prints that it is ready. `request` goes to its standard input. */
  async start(program: string, args: string[], request = ""): Promise<Server> {
    const process = this.command(this.serverCores, program, args, "piped").spawn();
    this.#processes.push(process);
    // Standard input stays open, because some programs end when it closes.
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
   * Loads the servers in turn, round after round. The first round only warms them up. A round in which a server answered
   * nothing, because the machine was busy, is repeated.
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

  async #sample({ process, port, packets }: Server, query: Query, more: string[]): Promise<Sample> {
    const { seconds, window } = this.options;
    const before = await cpuSeconds(process);
    const { success, stdout } = await this.command([1], this.generator, [
      ...["--port", `${port}`, "--query", query, "--window", `${window}`],
      ...["--seconds", `${seconds}`, "--warmup", `${WARM_UP_SECONDS}`],
      ...more,
      ...(packets ? ["--packets", packets.file, "--local-port", `${packets.port}`] : []),
    ]).output();
    if (!success) throw new Error("the load generator failed");
    const load: Load = JSON.parse(new TextDecoder().decode(stdout));
    // The processor time includes the warm-up.
    const served = load.answered * (seconds + WARM_UP_SECONDS) / seconds;
    const cpuMicros = (await cpuSeconds(process) - before) * 1e6 / served;
    return { ...load, cpuMicros };
  }

  /** A program on some of the two cores. */
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

/** The processor time of a process, or of its main thread. */
export async function cpuSeconds(
  { pid }: { readonly pid: number },
  of: "process" | "main thread" = "process",
): Promise<number> {
  const stat = await Deno.readTextFile(
    of === "process" ? `/proc/${pid}/stat` : `/proc/${pid}/task/${pid}/stat`,
  );
  // Fields 14 and 15. Count from the end of the name, which may contain spaces.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
