// A temporary directory for one test.

import { join } from "node:path";

export function inTemporaryDirectory<T>(run: (path: (name: string) => string) => T): T {
  const directory = Deno.makeTempDirSync();
  const remove = () => Deno.removeSync(directory, { recursive: true });
  let result: T;
  try {
    result = run((name) => join(directory, name));
  } catch (error) {
    remove();
    throw error;
  }
  if (result instanceof Promise) return result.finally(remove) as T;
  remove();
  return result;
}
