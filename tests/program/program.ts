// Runs the program as its users do: as a process, from source, or as the executable that DMNODE names.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LIBC_PATHS } from "../../src/runtime/net/message_batch.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const PERMISSIONS = [
  ...["net", "env", "read", "write", "sys=networkInterfaces"].map((name) => `--allow-${name}`),
  `--allow-ffi=${LIBC_PATHS}`,
];

/** A log record of the program in JSON form. */
export type LogLine = Record<string, unknown> & { level: string; message: string };

/** How a process ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly stdin?: Uint8Array<ArrayBuffer>;
  /** A command that starts the program, such as one that enters a network namespace. */
  readonly before?: readonly string[];
  /** Limit of file descriptors; not on Windows. */
  readonly descriptors?: number;
  /** Flags of Deno, if the program runs from source. */
  readonly denoFlags?: readonly string[];
}

/** The path, arguments and options that start the program, for `Deno.Command`. */
export function invocation(
  args: readonly string[],
  { env = {}, cwd, before = [], descriptors, denoFlags = [] }: RunOptions,
) {
  const executable = Deno.env.get("DMNODE");
  const limited = descriptors === undefined
    ? []
    : ["sh", "-c", `ulimit -n ${descriptors}; exec "$0" "$@"`];
  const source = [Deno.execPath(), "run", "-q", "--no-prompt", ...PERMISSIONS, ...denoFlags, MAIN];
  const [path, ...rest] = [
    ...before,
    ...limited,
    ...(executable ? [executable] : source),
    ...args,
  ];
  return {
    path,
    args: rest,
    // The test must not depend on variables of the developer's shell.
    clearEnv: true,
    env: {
      PATH: Deno.env.get("PATH") ?? "",
      HOME: Deno.env.get("HOME") ?? "",
      ...denoVariables(),
      ...env,
    },
    cwd,
  };
}

/** The command that starts the program. */
export function command(
  args: readonly string[],
  options: RunOptions,
  stdin: "piped" | "null",
): Deno.Command {
  const { path, ...rest } = invocation(args, options);
  return new Deno.Command(path, { ...rest, stdin, stdout: "piped", stderr: "piped" });
}

function denoVariables(): Record<string, string> {
  const names = ["DENO_DIR", "DENO_TLS_CA_STORE", "DENO_NO_UPDATE_CHECK"];
  return Object.fromEntries(names.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  }));
}

/** Runs the program to its end. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const child = command(args, options, options.stdin ? "piped" : "null").spawn();
  if (options.stdin !== undefined) {
    const writer = child.stdin.getWriter();
    await writer.write(options.stdin);
    await writer.close();
  }
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** A node that runs as a process of its own. */
export class NodeProcess {
  readonly lines: LogLine[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #stderr: Promise<string>;
  #waiting: (() => void)[] = [];

  constructor(args: readonly string[], options: RunOptions = {}) {
    const env = { LOG_FORMAT: "json", ...options.env };
    this.#child = command(args, { ...options, env }, "null").spawn();
    this.#reading = this.#read();
    this.#stderr = new Response(this.#child.stderr).text();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Starts a node on free ports with its own data directory; resolves once it is ready. */
  static async start(
    dataDir: string,
    args: readonly string[] = [],
    options: RunOptions = {},
  ): Promise<NodeProcess> {
    const node = new NodeProcess(
      ["--p2p-port", "0", "--api-port", "0", "--data-dir", dataDir, ...args],
      options,
    );
    await node.line((line) => line.message.startsWith("Listening"));
    return node;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop()!;
      this.lines.push(...parts.map((part) => JSON.parse(part) as LogLine));
      for (const wake of this.#waiting.splice(0)) wake();
    }
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** The first log line for which `matches` holds, now or later. */
  async line(matches: (line: LogLine) => boolean, withinMs = 30_000): Promise<LogLine> {
    const deadline = Date.now() + withinMs;
    for (;;) {
      const found = this.lines.find(matches);
      if (found !== undefined) return found;
      let timer: ReturnType<typeof setTimeout> | undefined;
      await Promise.race([
        new Promise<void>((resolve) => this.#waiting.push(resolve)),
        new Promise<void>((resolve) => timer = setTimeout(resolve, 200)),
        this.#child.status,
      ]);
      clearTimeout(timer);
      if (this.lines.some(matches)) continue;
      assert.ok(
        Date.now() < deadline,
        `no such log line among ${JSON.stringify(this.lines, null, 1)}`,
      );
      const ended = await Promise.race([this.#child.status, Promise.resolve(undefined)]);
      if (ended !== undefined) {
        await this.#reading;
        if (this.lines.some(matches)) continue;
        assert.fail(`the node ended with ${ended.code}: ${await this.#stderr}`);
      }
    }
  }

  #ready(): LogLine {
    return this.lines.find((line) => line.message.startsWith("Listening"))!;
  }

  /** The URL of its API. */
  get api(): string {
    return this.#ready().api as string;
  }

  /** Its UDP address. */
  get udp(): string {
    return this.#ready().udp as string;
  }

  /** Sends a signal, such as one that pauses it. */
  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Resolves when the program has ended by itself. */
  async ended(): Promise<{ code: number; stderr: string }> {
    const { code } = await this.#child.status;
    return { code, stderr: await this.#stderr };
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<Deno.CommandStatus & { stderr: string }> {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended already.
    }
    const status = await this.#child.status;
    await this.#reading;
    return { ...status, stderr: await this.#stderr };
  }
}

/** Runs a test in a directory of its own, and stops its nodes at the end. */
export function withNodes(
  body: (
    start: (name: string, args?: readonly string[], options?: RunOptions) => Promise<NodeProcess>,
    directory: string,
  ) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const directory = await Deno.makeTempDir({ prefix: "dmnode-test-" });
    const nodes: NodeProcess[] = [];
    try {
      await body(async (name, args, options) => {
        const node = await NodeProcess.start(join(directory, name), args, {
          cwd: directory,
          ...options,
        });
        nodes.push(node);
        return node;
      }, directory);
    } finally {
      await Promise.all(nodes.map((node) => node.stop("SIGKILL")));
      await Deno.remove(directory, { recursive: true });
    }
  };
}
