// The destinations of a fetched value: standard output, a terminal, memory, or a file that appears only when complete.

import { Buffer } from "node:buffer";
import { OutputClosed, reason, UserError } from "./errors.ts";
import { stdout } from "./terminal.ts";

/** Receives a value piece by piece. If that fails, throws a UserError or, for a closed pipe, OutputClosed. */
export interface Output {
  /** Called before the first byte is written. */
  begin?(contentType: string): void;
  write(bytes: Uint8Array): Promise<void>;
  /** Called after the last byte is written. */
  finish(): Promise<void>;
  /** Called after a failure, even one of `finish`. Removes the written bytes if possible. */
  discard(): Promise<void>;
}

const noop = () => Promise.resolve();

export function standardOutput(): Output {
  return {
    write: (bytes) => reporting("standard output", () => writeAll(Deno.stdout, bytes)),
    finish: noop,
    discard: noop,
  };
}

/** Prints text on the terminal. Replaces control characters, since a stranger may have stored the value. */
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
      throw new UserError("the value is not text: give -o FILE, or use a pipe");
    },
    write: async (bytes) => await show(decoder.decode(bytes, { stream: true })),
    async finish() {
      await show(decoder.decode());
      if (last !== "\n") stdout.write("\n");
    },
    discard: noop,
  };
}

/** Keeps the value in memory. `text` returns it as text or, if it is not UTF-8, in base64, like the API's JSON. */
export function memoryOutput(): Output & {
  text(): { readonly encoding: "utf8" | "base64"; readonly value: string };
} {
  const pieces: Uint8Array[] = [];
  return {
    write: async (bytes) => void await pieces.push(bytes),
    finish: noop,
    discard: noop,
    text() {
      const all = Buffer.concat(pieces);
      try {
        // Without ignoreBOM, the decoder would remove a byte order mark and thus change the value.
        const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
        return { encoding: "utf8", value: decoder.decode(all) };
      } catch {
        return { encoding: "base64", value: all.toString("base64") };
      }
    },
  };
}

/** Writes a temporary file, and renames it to `path` when it is complete. Writes directly to devices and pipes. */
export async function openOutput(path: string): Promise<Output> {
  // Deno may open the file /dev/stdout only with all permissions, so use standard output instead.
  if (path === "-" || path === "/dev/stdout") return standardOutput();
  const target = await reporting(path, () => realPath(path));
  const { isSpecial, mode } = target;
  const part = isSpecial ? target.path : `${target.path}.${crypto.randomUUID().slice(0, 8)}.part`;
  const file = await reporting(path, () => Deno.open(part, { write: true, createNew: !isSpecial }));
  return {
    write: (bytes) => reporting(path, () => writeAll(file, bytes)),
    async finish() {
      file.close();
      if (isSpecial) return;
      // The value replaces an existing file, so give the new file the old permissions.
      if (mode !== null) await reporting(path, () => Deno.chmod(part, mode));
      await reporting(path, () => Deno.rename(part, target.path));
    },
    async discard() {
      try {
        file.close();
      } catch {
        // Ignore the error: `finish` has already closed the file.
      }
      if (!isSpecial) await Deno.remove(part).catch(() => {});
    },
  };
}

interface Target {
  readonly path: string;
  /** Whether the path names a device or a pipe. */
  readonly isSpecial: boolean;
  /** The permissions of the existing file; null if there is no file, or on Windows. */
  readonly mode: number | null;
}

/** Resolves symbolic links, so that the value replaces the target of a link, not the link itself. */
async function realPath(path: string): Promise<Target> {
  try {
    const real = await Deno.realPath(path);
    const { isFile, isDirectory, mode } = await Deno.stat(real);
    if (isDirectory) throw new Error("it is a directory");
    return { path: real, isSpecial: !isFile, mode: mode === null ? null : mode & 0o777 };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { path, isSpecial: false, mode: null };
    throw error;
  }
}

async function writeAll(
  file: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

/** Runs an operation on `path`. If it fails, throws a UserError or, for a closed pipe, OutputClosed. */
async function reporting<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) throw new OutputClosed();
    throw new UserError(`${path} can't be written: ${reason(error)}`, false, { cause: error });
  }
}
