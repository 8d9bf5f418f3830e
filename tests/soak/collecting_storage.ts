// Runs the thread of the database, and collects its garbage.

import { collectRegularly } from "./collect.ts";

collectRegularly();
await import("../../src/runtime/storage_worker.ts");
