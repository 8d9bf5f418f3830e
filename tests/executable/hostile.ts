// A hostile dependency of the program: forbidden operations, tried in the program's own process.

import { LIBC_PATHS } from "../../src/runtime/net/message_batch.ts";

/** Outcome of an attempt: done, refused by Deno, or failed for another reason. */
type Outcome = "done" | "refused" | string;

/** Tries all paths. Deno refuses a path without a permission before it looks for the file. */
function loadLibc(): void {
  for (const path of LIBC_PATHS) Deno.dlopen(path, {});
}

/** A bundler could evaluate this module before the program's first statement. */
const atImport = await attempt(loadLibc);

async function attempt(act: () => unknown): Promise<Outcome> {
  try {
    await act();
    return "done";
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return "refused";
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}

export async function attempts(dataDir: string, outside: string): Promise<Record<string, Outcome>> {
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
    "load the C library": loadLibc,
    "load the C library when imported": () => {
      if (atImport === "refused") throw new Deno.errors.NotCapable();
    },
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
