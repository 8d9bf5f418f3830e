// The worker thread for the database, so that sockets don't wait for the disk. packaging/compile.ts bundles this file.

import { serveDatabase } from "../storage/thread.ts";
import { files } from "./files.ts";
import { compactHeap } from "./process/memory.ts";

serveDatabase(globalThis as unknown as Parameters<typeof serveDatabase>[0], files, compactHeap);
