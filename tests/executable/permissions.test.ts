// A running node can only touch the files that it has open, and can't start a process. This also holds for hostile code
// inside of the program. The tests run from source with the flags of packaging/compile.ts, and run the executables if
// DMNODE_PROBE and DMNODE name them.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { permissionFlags } from "../../src/runtime/process/permissions.ts";

const PROBE = fileURLToPath(new URL("probe.ts", import.meta.url));
const CONFIG = fileURLToPath(new URL("../../deno.json", import.meta.url));

const isLinux = Deno.build.os === "linux";

type Outcomes = Record<string, string>;

/** Attempts that must always fail, even while the program starts. */
const NEVER = [
  "read another variable",
  "start a process",
  "start a process by node:child_process",
  "load a library",
  "load the C library",
  "load the C library when imported",
  "ask for the host's name",
];
/** The only attempt for which Deno throws another kind of error. */
const IMPORT = "import code from the network";

async function probe(program: string, before: string[]): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-probe-" });
  const dataDir = join(directory, "data"), outside = join(directory, "outside");
  await Deno.mkdir(dataDir, { mode: 0o700 });
  await Deno.mkdir(outside);
  await Deno.writeTextFile(join(outside, "secret"), "secret");
  if (Deno.build.os !== "windows") await Deno.symlink(outside, join(dataDir, "link"));
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  try {
    const { stdout, stderr } = await new Deno.Command(program, {
      args: [...before, String(port), dataDir, outside],
      // Another test sets NOTIFY_SOCKET in this process. As a service, the program keeps a permission.
      env: { NO_COLOR: "1", API_TOKEN: "", NOTIFY_SOCKET: "" },
      cwd: directory,
    }).output();
    const text = new TextDecoder().decode(stderr).trim().split("\n").at(-1)!;
    assert.match(text, /^\{"before"/, new TextDecoder().decode(stderr));
    const result = JSON.parse(text) as { before: Outcomes; after: Outcomes; fetched: string };
    for (const [name, outcome] of Object.entries(result.before)) {
      // The attempts work if they are permitted. Otherwise a refusal would prove nothing.
      if (name === IMPORT || (Deno.build.os === "windows" && name.endsWith("by a link"))) continue;
      if (name === "read the identity") assert.match(outcome, /^NotFound/);
      else assert.equal(outcome, NEVER.includes(name) ? "refused" : "done", name);
    }
    for (const [name, outcome] of Object.entries(result.after)) {
      if (name === IMPORT) assert.match(outcome, /Requires import access|Module not found/);
      else assert.equal(outcome, "refused", name);
    }
    assert.equal(result.fetched, "still works");
    const log = new TextDecoder().decode(stdout);
    assert.doesNotMatch(log, /NotCapable|"level":"(warning|error)"/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

for (const withBatches of isLinux ? [true, false] : [false]) {
  const how = withBatches ? "as shipped" : "without batches";
  Deno.test(
    `from source under the executable's flags, a running node has no way to files and processes: ${how}`,
    () =>
      probe(Deno.execPath(), [
        "run",
        "--quiet",
        "--config",
        CONFIG,
        ...permissionFlags(Deno.build.os, withBatches),
        PROBE,
      ]),
  );
}

const probeExecutable = Deno.env.get("DMNODE_PROBE");
if (probeExecutable) {
  Deno.test(
    "a running executable can't reach files or processes",
    () => probe(probeExecutable, []),
  );
}

for (const variable of ["DMNODE", "DMNODE_PLAIN"]) {
  const executable = Deno.env.get(variable);
  if (!executable) continue;
  Deno.test(`the executable of ${variable} holds these permissions and no others`, async () => {
    const text = new TextDecoder("latin1").decode(await Deno.readFile(executable));
    const start = text.indexOf('"permissions":{"allow_');
    assert.ok(start > 0, "no permissions found in the file");
    const held = JSON.parse(
      text.slice(start + '"permissions":'.length, text.indexOf("}", start) + 1),
    );
    const flags = permissionFlags(Deno.build.os, isLinux && variable === "DMNODE");
    const list = (flag: string) => {
      const found = flags.find((given) => given === flag || given.startsWith(`${flag}=`));
      return found === undefined ? null : found.split("=")[1]?.split(",") ?? [];
    };
    assert.notEqual(held.allow_all, true); // older versions of Deno have this member
    assert.deepEqual([held.ignore_env ?? null, held.ignore_read ?? null], [null, null]);
    assert.equal(held.prompt, false);
    for (const name of ["net", "env", "read", "write", "run", "ffi", "sys"]) {
      assert.deepEqual(held[`allow_${name}`], list(`--allow-${name}`), `allow ${name}`);
      assert.deepEqual(held[`deny_${name}`], list(`--deny-${name}`), `deny ${name}`);
    }
    assert.deepEqual(held.deny_import, list("--deny-import"));
  });
}
