// The thread that owns the database: it waits for the disk, so that the thread with the sockets need not. An executable
// holds it as a module of its own (packaging/compile.ts).

import { serveDatabase } from "../storage/thread.ts";
import { files } from "./files.ts";

serveDatabase(globalThis as unknown as Parameters<typeof serveDatabase>[0], files);
