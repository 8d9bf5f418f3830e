// Records that are saved in a map instead of on disk.

import { Records } from "../../src/runtime/records.ts";

/** Records without content, whose changes go into `saved`. */
export function recordsInto(
  saved: Map<string, Uint8Array>,
  before: ReadonlyMap<string, Uint8Array> = new Map(),
): Records {
  return new Records(before, (name, bytes) => {
    if (bytes === null) saved.delete(name);
    else saved.set(name, bytes);
    return Promise.resolve(true);
  });
}
