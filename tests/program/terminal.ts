// Runs a program in a pseudo-terminal, and reads the screen from a terminal emulator.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import xterm from "@xterm/headless";
import { invocation, type RunOptions } from "./program.ts";

const PTY = fileURLToPath(new URL("./pseudo_terminal.py", import.meta.url));

export interface TerminalOptions extends RunOptions {
  readonly columns?: number;
  readonly rows?: number;
}

/** A terminal that runs dmnode or another program. */
export class TestTerminal {
  readonly #emulator;
  readonly #child: Deno.ChildProcess;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reading: Promise<void>;
  /** The whole output of the program, with control sequences. */
  raw = "";

  /** `args` are the arguments of dmnode, or of `program`. */
  constructor(
    args: readonly string[],
    { columns = 80, rows = 24, ...options }: TerminalOptions = {},
    program?: string,
  ) {
    this.#emulator = new xterm.Terminal({ cols: columns, rows, allowProposedApi: true });
    const env = { TERM: "xterm-256color", ...options.env };
    const { path, args: all, ...rest } = invocation(args, { ...options, env });
    this.#child = new Deno.Command("python3", {
      ...rest,
      args: [
        PTY,
        `${columns}`,
        `${rows}`,
        ...(program === undefined ? [path, ...all] : [program, ...args]),
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#orders = this.#child.stdin.getWriter();
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of this.#child.stdout) {
      this.raw += decoder.decode(bytes, { stream: true });
      await new Promise<void>((resolve) => this.#emulator.write(bytes, resolve));
    }
  }

  /** The lines of the screen without trailing white space. */
  get screen(): string[] {
    const { active } = this.#emulator.buffer;
    return Array.from(
      { length: this.#emulator.rows },
      (_, i) => active.getLine(active.viewportY + i)?.translateToString(true).trimEnd() ?? "",
    );
  }

  /** The whole output of the program, without control sequences. */
  get plain(): string {
    return stripVTControlCharacters(this.raw);
  }

  get text(): string {
    return this.screen.join("\n").trimEnd();
  }

  /** Whether the terminal shows its normal screen with a cursor and line wrapping, as before the program. */
  get isRestored(): boolean {
    const isHidden = this.raw.lastIndexOf("\x1b[?25l") > this.raw.lastIndexOf("\x1b[?25h");
    const isUnwrapped = this.raw.lastIndexOf("\x1b[?7l") > this.raw.lastIndexOf("\x1b[?7h");
    return this.#emulator.buffer.active.type === "normal" && !isHidden && !isUnwrapped;
  }

  async #order(order: Record<string, unknown>): Promise<void> {
    await this.#orders.write(new TextEncoder().encode(`${JSON.stringify(order)}\n`));
  }

  async type(keys: string): Promise<void> {
    await this.#order({ keys });
  }

  async resize(columns: number, rows: number): Promise<void> {
    this.#emulator.resize(columns, rows);
    await this.#order({ size: [columns, rows] });
  }

  /** Sends the program a signal by its number. */
  async signal(signal: number): Promise<void> {
    await this.#order({ signal });
  }

  async hangUp(): Promise<void> {
    await this.#order({ hangup: true });
  }

  /** Waits until the text of the screen matches. */
  async until(wanted: RegExp | ((text: string) => boolean), withinMs = 30_000): Promise<string> {
    const isWanted = typeof wanted === "function" ? wanted : (text: string) => wanted.test(text);
    for (const deadline = Date.now() + withinMs;;) {
      const { text } = this;
      if (isWanted(text)) return text;
      assert.ok(Date.now() < deadline, `waited for ${wanted} in vain:\n${text}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Waits for the program's end; resolves to its exit status. */
  async ended(): Promise<number> {
    const { code } = await this.#child.status;
    await this.#reading;
    await this.#child.stderr.cancel();
    await this.#orders.close().catch(() => {});
    return code;
  }

  /** Kills the program if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    // pseudo_terminal.py kills the program at the end of its input.
    await this.#orders.close().catch(() => {});
    await this.#child.status;
    await this.#reading;
    await this.#child.stderr.cancel().catch(() => {});
    this.#emulator.dispose();
  }
}
