// Makes a node collect the garbage of all its threads regularly. Deno runs this module before the program (--preload).

import { collectRegularly } from "./collect.ts";

/** By the module of each of the program's threads, the one that starts it here. */
const THREADS: Readonly<Record<string, string>> = {
  "worker.ts": "collecting_api.ts",
  "storage_worker.ts": "collecting_storage.ts",
};

globalThis.Worker = class extends Worker {
  constructor(module: string | URL, options?: WorkerOptions) {
    const name = new URL(module).pathname.split("/").at(-1)!;
    super(new URL(THREADS[name], import.meta.url), options);
  }
};

collectRegularly();
