// Standard output and standard error: whether they are terminals, how wide they are, and whether to use colors.

import { styleText } from "node:util";
import { jsonText } from "../../web/json.js";
import { OutputClosed, reason, UserError } from "./errors.ts";

export const COLOR_CHOICES = ["auto", "always", "never"] as const;
type ColorChoice = typeof COLOR_CHOICES[number];

export type Style = Parameters<typeof styleText>[0];

/** The assumed size of a terminal that does not report its size. */
const DEFAULT_COLUMNS = 80, DEFAULT_ROWS = 24;

/**
 * The number of digits in a shortened id. Their 48 bits distinguish all nodes of any realistic
 * network.
 */
export const SHORT_ID_DIGITS = 12;

let choice: ColorChoice = "auto";

export const chooseColor = (chosen: ColorChoice) => void (choice = chosen);

/** Whether to use colors, as decided by `--color`, FORCE_COLOR (force-color.org), NO_COLOR (no-color.org) and TERM. */
export function wantsColor(
  chosen: ColorChoice,
  env: (name: string) => string | undefined,
  isTerminal: boolean,
): boolean {
  if (chosen !== "auto") return chosen === "always";
  const force = env("FORCE_COLOR");
  // By convention, these two values turn colors off.
  if (force === "0" || force === "false") return false;
  if (force !== undefined && force !== "") return true;
  return (env("NO_COLOR") ?? "") === "" && isTerminal && env("TERM") !== "dumb";
}

export function terminalSize(): { readonly columns: number; readonly rows: number } {
  try {
    const { columns, rows } = Deno.consoleSize();
    // Ignore a size of 0 by 0 cells, which some terminals report.
    if (columns > 0 && rows > 0) return { columns, rows };
  } catch {
    // The stream is no terminal, so use the default size.
  }
  return { columns: DEFAULT_COLUMNS, rows: DEFAULT_ROWS };
}

class OutputStream {
  readonly #stream: typeof Deno.stdout;
  readonly #isCritical: boolean;
  readonly isTerminal: boolean;

  /** `isCritical` means that a failed write throws an error, which ends the command. */
  constructor(stream: typeof Deno.stdout, isCritical: boolean) {
    this.#stream = stream;
    this.#isCritical = isCritical;
    this.isTerminal = stream.isTerminal();
  }

  /** The maximum number of cells per line; null if lines may have any length. */
  get columns(): number | null {
    return this.isTerminal ? terminalSize().columns : null;
  }

  get hasColor(): boolean {
    return wantsColor(choice, (name) => Deno.env.get(name), this.isTerminal);
  }

  /** Returns the text with a style, or unchanged if the stream should have no colors. */
  paint(style: Style, text: string): string {
    return this.hasColor ? styleText(style, text, { validateStream: false }) : text;
  }

  /** Writes text. For standard output, throws OutputClosed if the pipe is closed, or a UserError if writing fails. */
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

export function print(line = ""): void {
  stdout.write(`${line}\n`);
}

/** Prints a value as JSON, for `--json`. */
export function printJson(value: unknown): void {
  print(jsonText(value, 2));
}

/** Replaces control characters in text from strangers. They could move the cursor or change colors. */
export function printable(text: string): string {
  return text.replace(/\p{C}/gu, "?");
}
