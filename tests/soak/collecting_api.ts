// Runs the API's thread, and collects its garbage.

import { collectRegularly } from "./collect.ts";

collectRegularly();
await import("../../src/api/thread/worker.ts");
