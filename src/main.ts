// The program: command line in, exit status out.

import { runCommandLine } from "./cli/program.ts";

Deno.exit(await runCommandLine(Deno.args));
