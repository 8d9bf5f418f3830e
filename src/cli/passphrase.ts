// Where a passphrase comes from: a file, a variable, or somebody at the terminal. Never the command line, which every
// user of the machine can see.

import { PASSPHRASE_VARIABLE } from "../runtime/permissions.ts";
import { Interrupted, reason, UserError } from "./errors.ts";
import { stderr } from "./terminal.ts";

const LINE_FEED = 0x0a,
  ENTER = [LINE_FEED, 0x0d],
  BACKSPACE = [0x08, 0x7f],
  CTRL_C = 0x03,
  CTRL_D = 0x04,
  CTRL_U = 0x15;

/** The status that shells report of a process that Ctrl-C ended. */
const INTERRUPTED = 130;

/**
 * The passphrase: the first line of `file`, or DMNODE_PASSPHRASE, or what is typed at the terminal; twice, where it is
 * a `isNew` one.
 *
 * @throws {UserError} where there is none
 */
export function readPassphrase(file: string | undefined, isNew: boolean): string {
  const given = file === undefined ? Deno.env.get(PASSPHRASE_VARIABLE) : firstLineOf(file);
  if (given !== undefined) return notEmpty(given);
  if (!Deno.stdin.isTerminal()) {
    throw new UserError(
      `a passphrase is needed: set ${PASSPHRASE_VARIABLE}, name a --passphrase-file, or type it at a terminal`,
      true,
    );
  }
  const typed = notEmpty(ask("Passphrase: "));
  if (isNew && ask("The same again: ") !== typed) throw new UserError("the passphrases differ");
  return typed;
}

function firstLineOf(file: string): string {
  try {
    return Deno.readTextFileSync(file).split(/\r?\n/)[0];
  } catch (error) {
    throw new UserError(`${file} can't be read: ${reason(error)}`);
  }
}

function notEmpty(passphrase: string): string {
  if (passphrase === "") throw new UserError("the passphrase is empty", true);
  return passphrase;
}

/** What was read behind the end of a line: two lines that are pasted come at once. */
let ahead: Uint8Array = new Uint8Array(0);

/** Reads a line that is not shown. */
function ask(prompt: string): string {
  const typed: number[] = [], buffer = new Uint8Array(64);
  // Before the prompt: what is typed at once would be shown otherwise.
  Deno.stdin.setRaw(true);
  stderr.write(prompt);
  try {
    for (;;) {
      const bytes = ahead.length > 0 ? ahead : read(buffer);
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
        else if (BACKSPACE.includes(byte)) removeLast(typed);
        else typed.push(byte);
      }
    }
  } finally {
    Deno.stdin.setRaw(false);
    stderr.write("\n");
  }
}

function read(buffer: Uint8Array): Uint8Array {
  const count = Deno.stdin.readSync(buffer);
  if (count === null) throw new UserError("no passphrase was given");
  return buffer.subarray(0, count);
}

/** Takes the last character, of however many bytes in UTF-8, off the end. */
function removeLast(bytes: number[]): void {
  while ((bytes.pop()! & 0xc0) === 0x80);
}
