// The files beside the database, by Deno's own functions: to load node:fs takes the storage thread 20 ms.

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
  read: (path) => Deno.readFileSync(path),
  remove: (path) => Deno.removeSync(path),
};
