// `dmnode network`: creates network keys, and replaces the key in a file step by step, so that the
// nodes stay connected.

import { NetworkKey } from "../config/network_key.ts";
import { writeSecret } from "../runtime/identity/identity.ts";
import { exists } from "./identity.ts";
import { readSecretFile } from "./settings.ts";
import { explaining, UserError } from "./terminal/errors.ts";
import { print } from "./terminal/terminal.ts";

/** Prints a new network key, or writes it to a file that only its owner can read. */
export function newKey(file: string | undefined): void {
  const text = NetworkKey.random().secretText();
  if (file === undefined) return print(text);
  if (exists(file)) {
    throw new UserError(`${file} exists: give another name, or replace its key: network rotate`);
  }
  explaining(`${file} can't be written`, () => writeSecret(file, `${text}\n`));
  print(`Wrote a new network key to ${file}. Copy the file to every node of the network`);
}

/**
 * The steps of replacing a key, in order. All nodes must have done one step before any node does
 * the next.
 */
export type RotateStep = "add" | "use" | "finish";

/** Does one step of replacing the key in a file, and prints what to do next. */
export function rotateKey(step: RotateStep, file: string): void {
  const keys = readKeys(file);
  print(STEPS[step](file, keys));
}

const STEPS: Readonly<Record<RotateStep, (file: string, keys: readonly NetworkKey[]) => string>> = {
  add(file, [current, other]) {
    if (other !== undefined) {
      throw new UserError(`${file} has two keys already: dmnode network rotate use, or finish`);
    }
    writeKeys(file, [current, NetworkKey.random()]);
    return `Added a new key to ${file}, which still sends with the old one. ${COPY}, then run: ` +
      `dmnode network rotate use ${file}`;
  },
  use(file, [current, other]) {
    if (other === undefined) throw onlyOne(file);
    writeKeys(file, [other, current]);
    return `${file} now sends with the other key, and still accepts both. ${COPY}, then run: ` +
      `dmnode network rotate finish ${file}`;
  },
  finish(file, [current, other]) {
    if (other === undefined) throw onlyOne(file);
    writeKeys(file, [current]);
    return `Removed the old key from ${file}. ${COPY}`;
  },
};

const COPY =
  "Copy the file to every node, and let each read it again (SIGHUP, or a restart for a systemd credential)";

function onlyOne(file: string): UserError {
  return new UserError(`${file} has only one key: begin with dmnode network rotate add ${file}`);
}

/** The lines of the file that are not empty. */
function readLines(file: string): string[] {
  const { text } = explaining(`${file} can't be read`, () => readSecretFile(file));
  return text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "");
}

function readKeys(file: string): NetworkKey[] {
  const words = readLines(file).filter((line) => !line.startsWith("#"));
  if (words.length === 0) throw new UserError(`${file} has no network key`);
  return words.map((word) => {
    const key = NetworkKey.parse(word);
    if (typeof key === "string") throw new UserError(`${file}: ${key}`);
    return key;
  });
}

/**
 * Writes the keys after the comments of the file. Overwrites the file instead of replacing it,
 * because a running node has it open and reads it again at SIGHUP.
 */
function writeKeys(file: string, keys: readonly NetworkKey[]): void {
  const comments = readLines(file).filter((line) => line.startsWith("#"));
  const lines = [...comments, ...keys.map((key) => key.secretText())];
  const text = lines.map((line) => `${line}\n`).join("");
  explaining(`${file} can't be written`, () => {
    using open = Deno.openSync(file, { write: true });
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += open.writeSync(bytes.subarray(at));
    open.truncateSync(bytes.length);
    open.syncSync();
  });
}
