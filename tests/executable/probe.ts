// The program together with hostile code: before the program starts and once the node is ready, a module that stands for
// a hostile dependency tries forbidden operations.
// permissions.test.ts compiles and runs it. Arguments: an API port, DATA_DIR, and a directory outside of DATA_DIR.

import { openLibrary } from "../../src/runtime/net/message_batch.ts";

// Like main.ts. The other modules are imported below.
openLibrary();
const { attempts } = await import("./hostile.ts");
const { runCommandLine } = await import("../../src/cli/program.ts");

async function untilReady(api: string): Promise<void> {
  for (;;) {
    try {
      if ((await fetch(`${api}/readyz`)).ok) return;
    } catch {
      // The API is not listening yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

if (Deno.args[0] === "--version") Deno.exit(await runCommandLine(Deno.args));

const [port, dataDir, outside] = Deno.args;
const api = `http://127.0.0.1:${port}`;
const before = await attempts(dataDir, outside);
const ended = runCommandLine(["--p2p-port", "0", "--api-port", port, "--data-dir", dataDir]);
await Promise.race([untilReady(api), ended]);
const after = await attempts(dataDir, outside);
const stored = await fetch(`${api}/network/store`, {
  method: "POST",
  body: "still works",
  headers: { "content-type": "text/plain" },
});
const { hash } = await stored.json();
const fetched = await (await fetch(`${api}/data/${hash}`)).text();
console.error(JSON.stringify({ before, after, fetched }));
Deno.exit(0);
