// Standard output and standard error: whether they are a terminal, how wide, and whether colors are wanted there.

import { styleText } from "node:util";
import { OutputClosed, reason, UserError } from "./errors.ts";

/** What `--color` takes. */
export const COLOR_CHOICES = ["auto", "always", "never"] as const;
export type ColorChoice = typeof COLOR_CHOICES[number];

/** How text is painted, as `node:util` names it. */
export type Style = Parameters<typeof styleText>[0];

/** Where nothing tells how wide lines may be. */
const DEFAULT_COLUMNS = 80, DEFAULT_ROWS = 24;

let choice: ColorChoice = "auto";

/** Overrides what the environment says of colors. */
export function chooseColor(chosen: ColorChoice): void {
  choice = chosen;
}

/**
 * Whether colors are wanted: `--color` decides, then FORCE_COLOR (force-color.org), then NO_COLOR (no-color.org), and
 * else a terminal that has them.
 */
export function wantsColor(
  chosen: ColorChoice,
  env: (name: string) => string | undefined,
  isTerminal: boolean,
): boolean {
  if (chosen !== "auto") return chosen === "always";
  const force = env("FORCE_COLOR");
  // Programs that read it agree on these two as a refusal.
  if (force === "0" || force === "false") return false;
  if (force !== undefined && force !== "") return true;
  return (env("NO_COLOR") ?? "") === "" && isTerminal && env("TERM") !== "dumb";
}

/** Width and height of the terminal, in cells. */
export function terminalSize(): { readonly columns: number; readonly rows: number } {
  try {
    const { columns, rows } = Deno.consoleSize();
    // A terminal that was never told its size reports none.
    if (columns > 0 && rows > 0) return { columns, rows };
  } catch {
    // No terminal.
  }
  return { columns: DEFAULT_COLUMNS, rows: DEFAULT_ROWS };
}

class OutputStream {
  readonly #stream: typeof Deno.stdout;
  readonly #isCritical: boolean;
  readonly isTerminal: boolean;

  /** `isCritical`: what can't be written there ends the program. */
  constructor(stream: typeof Deno.stdout, isCritical: boolean) {
    this.#stream = stream;
    this.#isCritical = isCritical;
    this.isTerminal = stream.isTerminal();
  }

  /** Cells of a line; null where lines may have any length. */
  get columns(): number | null {
    return this.isTerminal ? terminalSize().columns : null;
  }

  get hasColor(): boolean {
    return wantsColor(choice, (name) => Deno.env.get(name), this.isTerminal);
  }

  /** The text with its style, where colors are wanted. */
  paint(style: Style, text: string): string {
    return this.hasColor ? styleText(style, text, { validateStream: false }) : text;
  }

  /**
   * @throws {OutputClosed} where nobody reads standard output any more
   * @throws {UserError} where standard output can't be written
   */
  write(text: string): void {
    const bytes = new TextEncoder().encode(text);
    try {
      for (let at = 0; at < bytes.length;) at += this.#stream.writeSync(bytes.subarray(at));
    } catch (error) {
      if (!this.#isCritical) return;
      if (error instanceof Deno.errors.BrokenPipe) throw new OutputClosed();
      throw new UserError(`standard output can't be written: ${reason(error)}`);
    }
  }
}

export const stdout = new OutputStream(Deno.stdout, true);
export const stderr = new OutputStream(Deno.stderr, false);

/** Writes a line to standard output. */
export function print(line = ""): void {
  stdout.write(`${line}\n`);
}

/** As `--json` prints it. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** Text of others, a stranger's or a node's, as one line: what would move the cursor or change colors is replaced. */
export function printable(text: string): string {
  return text.replace(/\p{C}/gu, "?");
}
