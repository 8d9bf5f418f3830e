// File access for the database through Deno's own functions. Node's modules would cost the storage
// thread 20 ms and 3 MB.

import type { Files } from "../storage/database.ts";

export const files: Files = {
  size(path) {
    try {
      return Deno.statSync(path).size;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  },
  create: (path) => Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close(),
  read: (path) => Deno.readFileSync(path),
  remove: (path) => Deno.removeSync(path),
  rename: (from, to) => {
    Deno.renameSync(from, to);
    syncDirectory(to.replace(/[^/]*$/, "") || ".");
  },
};

/** Flushes a directory to disk, so that a rename in it survives a crash. Windows does not support this. */
export function syncDirectory(path: string): void {
  if (Deno.build.os === "windows") return;
  using directory = Deno.openSync(path);
  directory.syncSync();
}
