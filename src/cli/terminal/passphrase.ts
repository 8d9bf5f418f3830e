// Reads a passphrase from a file, a variable or the terminal. Other users of the machine could see it in an option.

import { PASSPHRASE_VARIABLE } from "../../runtime/process/permissions.ts";
import { explaining, Interrupted, UserError } from "./errors.ts";
import { stderr } from "./terminal.ts";

const LINE_FEED = 0x0a, ENTER = [LINE_FEED, 0x0d], BACKSPACE = [0x08, 0x7f];
const CTRL_C = 0x03, CTRL_D = 0x04, CTRL_U = 0x15;

/** The exit status that shells report after Ctrl-C. */
const INTERRUPTED = 130;

/** Reads the passphrase from `file`, DMNODE_PASSPHRASE or the terminal, where a new one must be typed twice. */
export function readPassphrase(file: string | undefined, isNew: boolean): string {
  const given = file === undefined
    ? Deno.env.get(PASSPHRASE_VARIABLE)
    : explaining(`${file} can't be read`, () => Deno.readTextFileSync(file).split(/\r?\n/)[0]);
  if (given !== undefined) return notEmpty(given);
  if (!Deno.stdin.isTerminal()) {
    throw new UserError(
      `a passphrase is required: set ${PASSPHRASE_VARIABLE}, give --passphrase-file, or use a terminal`,
      true,
    );
  }
  const typed = notEmpty(ask("Passphrase: "));
  if (isNew && ask("Repeat the passphrase: ") !== typed) {
    throw new UserError("the passphrases differ");
  }
  return typed;
}

function notEmpty(passphrase: string): string {
  if (passphrase === "") throw new UserError("the passphrase is empty", true);
  return passphrase;
}

/** Bytes read past the end of a line, which belong to the next line: two pasted lines can arrive together. */
let ahead: Uint8Array = new Uint8Array(0);

function ask(prompt: string): string {
  const typed: number[] = [], buffer = new Uint8Array(64);
  // Enter raw mode before the prompt appears, so that the terminal never shows what the user types.
  Deno.stdin.setRaw(true);
  stderr.write(prompt);
  try {
    for (;;) {
      const count = ahead.length > 0 ? ahead.length : Deno.stdin.readSync(buffer);
      if (count === null) throw new UserError("no passphrase was given");
      const bytes = ahead.length > 0 ? ahead : buffer.subarray(0, count);
      ahead = ahead.subarray(ahead.length);
      for (const [place, byte] of bytes.entries()) {
        if (ENTER.includes(byte)) {
          const isPair = byte !== LINE_FEED && bytes[place + 1] === LINE_FEED;
          ahead = bytes.slice(place + (isPair ? 2 : 1));
          return new TextDecoder().decode(Uint8Array.from(typed));
        }
        if (byte === CTRL_C) throw new Interrupted(INTERRUPTED);
        if (byte === CTRL_D) throw new UserError("no passphrase was given");
        if (byte === CTRL_U) typed.length = 0;
        else if (BACKSPACE.includes(byte)) {
          // Remove a whole character, which may be several bytes of UTF-8.
          while ((typed.pop()! & 0xc0) === 0x80);
        } else typed.push(byte);
      }
    }
  } finally {
    Deno.stdin.setRaw(false);
    stderr.write("\n");
  }
}
