// Where a fetched value goes: standard output, a terminal, memory, or a file that is there whole or not at all.

import { Buffer } from "node:buffer";
import { OutputClosed, reason, UserError } from "./errors.ts";
import { stdout } from "./terminal.ts";

/** Takes a value piece by piece; each failure is one line for the user. */
export interface Output {
  /** Before the first byte: what the node says that the value is. */
  begin?(contentType: string): void;
  write(bytes: Uint8Array): Promise<void>;
  /** After the last byte. */
  finish(): Promise<void>;
  /** Instead of it: leaves nothing behind where that is possible. */
  discard(): Promise<void>;
}

const nothing = () => Promise.resolve();

/** Every byte as it is. */
export function standardOutput(): Output {
  return {
    write: (bytes) => told("standard output", () => writeAll(Deno.stdout, bytes)),
    finish: nothing,
    discard: nothing,
  };
}

/** Text for somebody to read: a stranger's control characters do nothing there. */
export function terminalOutput(): Output {
  const decoder = new TextDecoder();
  let last = "\n";
  const show = (text: string) => {
    if (text === "") return;
    stdout.write(text.replaceAll("\r\n", "\n").replace(/[^\P{Cc}\n\t]/gu, "?"));
    last = text.at(-1)!;
  };
  return {
    begin(contentType) {
      if (/^(text\/plain|application\/json)\b/.test(contentType)) return;
      throw new UserError("the value is no text: give -o FILE, or send it through a pipe");
    },
    write: async (bytes) => await show(decoder.decode(bytes, { stream: true })),
    async finish() {
      await show(decoder.decode());
      if (last !== "\n") stdout.write("\n");
    },
    discard: nothing,
  };
}

/** The value as a whole; `text` gives it as a store takes it in JSON. */
export function memoryOutput(): Output & {
  text(): { readonly encoding: "utf8" | "base64"; readonly value: string };
} {
  const pieces: Uint8Array[] = [];
  return {
    write: async (bytes) => void await pieces.push(bytes),
    finish: nothing,
    discard: nothing,
    text() {
      const all = Buffer.concat(pieces);
      try {
        // What is left out as a mark of the encoding would be missing from the value.
        const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
        return { encoding: "utf8", value: decoder.decode(all) };
      } catch {
        return { encoding: "base64", value: all.toString("base64") };
      }
    },
  };
}

/** A file that takes its name once it is whole; until then it lies beside it. What is there and is no file, such as a
 * device, is written to as it comes. */
export async function openOutput(path: string): Promise<Output> {
  // Deno opens no such names without all permissions there are.
  if (path === "-" || path === "/dev/stdout") return standardOutput();
  const target = await told(path, () => realPath(path));
  if (target.isSpecial) {
    const file = await told(path, () => Deno.open(target.path, { write: true }));
    const close = () => Promise.resolve(file.close());
    return {
      write: (bytes) => told(path, () => writeAll(file, bytes)),
      finish: close,
      discard: close,
    };
  }
  const part = `${target.path}.${crypto.randomUUID().slice(0, 8)}.part`;
  const file = await told(path, () => Deno.open(part, { write: true, createNew: true }));
  return {
    write: (bytes) => told(path, () => writeAll(file, bytes)),
    async finish() {
      file.close();
      await told(path, () => Deno.rename(part, target.path));
    },
    async discard() {
      try {
        file.close();
      } catch {
        // `finish` has closed it.
      }
      await Deno.remove(part).catch(() => {});
    },
  };
}

/** Where the name leads: a link's file is replaced, not the link. */
async function realPath(path: string): Promise<{ path: string; isSpecial: boolean }> {
  try {
    const real = await Deno.realPath(path);
    const { isFile, isDirectory } = await Deno.stat(real);
    if (isDirectory) throw new Error("it is a directory");
    return { path: real, isSpecial: !isFile };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { path, isSpecial: false };
    throw error;
  }
}

async function writeAll(
  file: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

async function told<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) throw new OutputClosed();
    throw new UserError(`${path} can't be written: ${reason(error)}`, false, { cause: error });
  }
}
