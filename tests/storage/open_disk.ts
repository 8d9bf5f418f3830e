// A node's storage in a temporary directory.

import { dirname, join } from "node:path";
import type { CommitObserver } from "../../src/storage/commit_queue.ts";
import { type DiskOptions, DiskStorage } from "../../src/storage/disk.ts";

const WORKER = new URL("../../src/runtime/storage_worker.ts", import.meta.url).href;

export interface DiskSettings {
  readonly worker?: string;
  readonly limitBytes?: number;
  readonly observer?: CommitObserver;
  readonly startClock?: DiskOptions["startClock"];
  readonly clock?: DiskOptions["clock"];
}

/** Opens the database at `path`, with its other file beside it. */
export function openDisk(path: string, settings: DiskSettings = {}): Promise<DiskStorage> {
  const { worker = WORKER, limitBytes = 1e8, startClock = () => 1000, clock = () => 1000 } =
    settings;
  return DiskStorage.open({
    worker: new Worker(worker, { type: "module" }),
    path,
    blobsPath: join(dirname(path), "large.sqlite"),
    mayBeEmpty: true,
    limitBytes,
    startClock,
    clock,
    randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
    observer: settings.observer ?? { failed: () => {}, recovered: () => {} },
  });
}
