// The program's entry point. Workers of `dmnode swarm` start here too, since every compiled executable contains it.

import { openLibrary } from "./runtime/net/message_batch.ts";
import process from "node:process";
import { keepInspectorClosed } from "./runtime/process/inspector.ts";

// Open the C library before any code of npm packages runs. After that, no code can open a library.
// The rest of the program, with its packages, is imported below.
openLibrary();

// Hide deprecation warnings: users can't fix libraries that use deprecated Node APIs.
Object.assign(process, { noDeprecation: true });

if ("WorkerGlobalScope" in globalThis) (await import("./runtime/swarm/thread.ts")).serveSwarm();
else {
  keepInspectorClosed(() => {
    console.error("dmnode: SIGUSR1 has opened Deno's inspector to all users: start dmnode again");
    Deno.exit(1);
  });
  Deno.exit(await (await import("./cli/program.ts")).runCommandLine(Deno.args));
}
