// Runs a version of the program, given as a checkout or as an executable.

import { join } from "node:path";

/** The command that runs a version of the program, with the permissions of the task `start`. */
export function commandOf(version: string): string[] {
  if (isExecutable(version)) return [Deno.realPathSync(version)];
  const { tasks } = JSON.parse(Deno.readTextFileSync(join(version, "deno.json")));
  return [Deno.execPath(), ...tasks.start.split(" ").slice(1)];
}

export function isExecutable(version: string): boolean {
  return Deno.statSync(version).isFile;
}

/** A running program, whose output is searched. */
export class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  #output = "";
  #hasEnded = false;
  #wake: () => void = () => {};

  constructor([path, ...args]: readonly string[], cwd: string, env: Record<string, string> = {}) {
    const options = { args, cwd, env, stdout: "piped", stderr: "piped" } as const;
    this.#child = new Deno.Command(path, options).spawn();
    this.#reading = Promise.all([this.#child.stdout, this.#child.stderr].map(async (stream) => {
      for await (const text of stream.pipeThrough(new TextDecoderStream())) {
        this.#output += text;
        this.#wake();
      }
    })).then(() => {
      this.#hasEnded = true;
      this.#wake();
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The first match in the output, now or later. */
  async output(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.#output);
      if (match !== null) return match;
      if (this.#hasEnded) throw new Error(`The program has ended: ${this.#output}`);
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  async stop(): Promise<void> {
    if (!this.#hasEnded) this.#child.kill("SIGTERM");
    await this.#reading;
    await this.#child.status;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
