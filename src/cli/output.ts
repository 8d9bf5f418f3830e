// Where a fetched value goes: standard output, or a file that is there whole or not at all.

import { UserError } from "./errors.ts";

/** Takes a value piece by piece; each failure is one line for the user. */
export interface Output {
  write(bytes: Uint8Array): Promise<void>;
  /** After the last byte. */
  finish(): Promise<void>;
  /** Instead of it: leaves nothing behind where that is possible. */
  discard(): Promise<void>;
}

export function standardOutput(): Output {
  return {
    write: (bytes) => told("standard output", () => writeAll(Deno.stdout, bytes)),
    finish: () => Promise.resolve(),
    discard: () => Promise.resolve(),
  };
}

/**
 * A file that takes its name once it is whole. Until then it lies beside it; a signal that ends the program removes it.
 * What is there and is no file, such as a device, is written to as it comes. `interruptedStatus` is what the program then
 * exits with.
 */
export async function openOutput(
  path: string,
  interruptedStatus = 130, // as shells report it
): Promise<Output> {
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
  const interrupted = () => {
    Deno.removeSync(part);
    Deno.exit(interruptedStatus);
  };
  Deno.addSignalListener("SIGINT", interrupted);
  const close = () => {
    Deno.removeSignalListener("SIGINT", interrupted);
    file.close();
  };
  return {
    write: (bytes) => told(path, () => writeAll(file, bytes)),
    async finish() {
      close();
      await told(path, () => Deno.rename(part, target.path));
    },
    async discard() {
      try {
        close();
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
    const reason = (error instanceof Error ? error.message : String(error)).split("\n")[0];
    throw new UserError(`${path} can't be written: ${reason}`, false, { cause: error });
  }
}
