// The program: command line in, exit status out. A worker of `dmnode swarm` starts here as well: in an executable this
// is the only module that has an address.

import process from "node:process";

// What Node has deprecated of what libraries or the runtime use is nothing that a user could mend.
Object.assign(process, { noDeprecation: true });

if ("WorkerGlobalScope" in globalThis) (await import("./runtime/swarm.ts")).serveSwarm();
else Deno.exit(await (await import("./cli/program.ts")).runCommandLine(Deno.args));
