// The program together with hostile code: once the node is ready, code in the same process tries forbidden operations.
// permissions.test.ts compiles and runs it. Arguments: an API port, DATA_DIR, and a directory outside of DATA_DIR.

import { runCommandLine } from "../../src/cli/program.ts";

/** Outcome of an attempt: done, refused by Deno, or failed for another reason. */
type Outcome = "done" | "refused" | string;

async function attempt(act: () => unknown): Promise<Outcome> {
  try {
    await act();
    return "done";
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return "refused";
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}

async function attempts(dataDir: string, outside: string): Promise<Record<string, Outcome>> {
  const acts: Record<string, () => unknown> = {
    "read a file elsewhere": () => Deno.readTextFileSync(`${outside}/secret`),
    "read a directory elsewhere": () => [...Deno.readDirSync(outside)],
    "look for a file elsewhere": () => Deno.statSync(`${outside}/secret`),
    "write a file elsewhere": () => Deno.writeTextFileSync(`${outside}/new`, ""),
    "remove a file elsewhere": () => Deno.removeSync(`${outside}/new`),
    "open a database elsewhere": async () => {
      const { DatabaseSync } = await import("node:sqlite");
      new DatabaseSync(`${outside}/other.sqlite`).close();
    },
    "read by node:fs": async () => (await import("node:fs")).readFileSync(`${outside}/secret`),
    "read the identity": () => Deno.readTextFileSync(`${dataDir}/identity.pem`),
    "write in DATA_DIR": () => Deno.writeTextFileSync(`${dataDir}/new`, ""),
    "write to the service manager": () => {
      const path = "/run/systemd/notify";
      if (Deno.permissions.querySync({ name: "write", path }).state !== "granted") {
        throw new Deno.errors.NotCapable();
      }
    },
    "leave DATA_DIR by ..": () => Deno.readTextFileSync(`${dataDir}/../outside/secret`),
    "leave DATA_DIR by a link": () => Deno.readTextFileSync(`${dataDir}/link/secret`),
    "read a variable": () => Deno.env.get("API_TOKEN"),
    "read another variable": () => Deno.env.get("PATH"),
    "start a process": () => new Deno.Command(Deno.execPath()).outputSync(),
    "start a process by node:child_process": async () => {
      const { error } = (await import("node:child_process")).spawnSync("true");
      if (error !== undefined) throw error;
    },
    "load a library": () => Deno.dlopen(`${outside}/secret`, {}),
    "ask for the host's name": () => Deno.hostname(),
    "import code from the network": () => import(`http://127.0.0.1:1/${"x"}.ts`),
    "ask for more": async () => {
      const states = await Promise.all((["read", "write", "env", "run", "ffi", "sys"] as const)
        .map(async (name) => (await Deno.permissions.request({ name })).state));
      if (!states.includes("granted")) throw new Deno.errors.NotCapable();
    },
  };
  const outcomes: Record<string, Outcome> = {};
  for (const [name, act] of Object.entries(acts)) outcomes[name] = await attempt(act);
  return outcomes;
}

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
