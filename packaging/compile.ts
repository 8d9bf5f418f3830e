// Makes the executables: copies the sources, puts the commit in, bundles them, and has Deno put the bundle into its
// runtime. `make compile` and `make compile-all` run it; --help tells the rest.

import { basename, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import manifest from "../deno.json" with { type: "json" };
import { permissionFlags } from "../src/runtime/permissions.ts";
import { sbom } from "./sbom.ts";
import { machineOf, type Target, TARGETS } from "./targets.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DIST = join(ROOT, "dist");
const STAGE = join(DIST, "build");

/** Started by their URLs, not imported: bundles of their own beside the program's. */
const WORKERS = [
  "src/runtime/storage_worker.ts",
  "src/api/front_worker.ts",
  "src/cli/sim_worker.ts",
];

const HELP =
  `Usage: deno run --allow-all packaging/compile.ts [--batches] [--all | --target TRIPLE | --entry FILE]

Without options: dist/dmnode for this machine.
--all            dist/dmnode-SYSTEM-PROCESSOR for every target, and SHA256SUMS
--target TRIPLE  dist/dmnode-SYSTEM-PROCESSOR for one: ${TARGETS.map((t) => t.triple).join(", ")}
--entry FILE     another entry point below the repository, for tests: dist/NAME
--batches        with permission to call into Linux's C library, to serve more (docs/operations.md, Busy nodes)

DENORT_BIN       a file that holds Deno's runtime, instead of Deno's download host
DMNODE_COMMIT    the commit to embed, where the sources are no git repository`;

const BATCHES = "--batches";

/** The build can't go on. The message says what to do. */
class BuildError extends Error {}

async function main(args: readonly string[]): Promise<void> {
  const withBatches = args.includes(BATCHES);
  const [option, value, ...rest] = args.filter((arg) => arg !== BATCHES);
  if (option === "--help") return console.log(HELP);
  if (rest.length > 0 || (option === "--all" && value !== undefined)) throw new BuildError(HELP);
  const here = TARGETS.find(({ triple }) => triple === Deno.build.target);
  const one = (target: Target | undefined) => {
    if (target !== undefined) return target;
    throw new BuildError(`There is no target ${value ?? Deno.build.target}.\n${HELP}`);
  };
  if (option === undefined) {
    const target = one(here);
    await build([target], () => target.os === "windows" ? "dmnode.exe" : "dmnode", withBatches);
  } else if (option === "--all") {
    const files = await build(TARGETS, ({ file }) => file, withBatches);
    await writeChecksums([...files, "dmnode.cdx.json"]);
  } else if (option === "--target") {
    const target = one(TARGETS.find(({ triple }) => triple === value));
    await build([target], ({ file }) => file, withBatches);
  } else if (option === "--entry" && value !== undefined) {
    const name = value.replace(/^.*[\\/]|\.ts$/g, "");
    const nameOf = ({ os }: Target) => os === "windows" ? `${name}.exe` : name;
    await build([one(here)], nameOf, withBatches, resolve(value));
  } else {
    throw new BuildError(HELP);
  }
}

/** Builds for these targets; returns the files' names in dist. */
async function build(
  targets: readonly Target[],
  nameOf: (target: Target) => string,
  withBatches: boolean,
  entry = join(ROOT, "src", "main.ts"),
): Promise<string[]> {
  const other = targets.find(({ os }) => os !== "linux");
  if (withBatches && other !== undefined) {
    throw new BuildError(`${BATCHES} is for Linux, and can't make ${other.triple}`);
  }
  const runtime = Deno.env.get("DENORT_BIN");
  if (runtime !== undefined) await checkRuntime(resolve(runtime), targets);
  const commit = await commitOfSources();
  await stage(commit.id);
  const bundle = await bundled(relative(ROOT, entry), "dmnode.js");
  const workers: string[] = [];
  for (const source of WORKERS) {
    const name = basename(source, ".ts");
    workers.push(await bundled(source, `${name}.js`));
    await replaceIn(bundle, `./${name}.ts`, `./${name}.js`);
  }
  // The executable holds this time: the same sources give the same bytes.
  for (const file of [bundle, ...workers]) {
    await Deno.utime(file, new Date(commit.time), new Date(commit.time));
  }
  await Deno.writeTextFile(
    join(DIST, "dmnode.cdx.json"),
    `${JSON.stringify(await makeSbom(commit), null, 2)}\n`,
  );
  const names: string[] = [];
  for (const target of targets) {
    const name = nameOf(target), path = join(DIST, name);
    await compile(target, withBatches, bundle, workers, path);
    const { size } = await Deno.stat(path);
    console.log(`dist/${name}: ${target.machine}, ${(size / 1e6).toFixed(1)} MB`);
    names.push(name);
  }
  return names;
}

/** A runtime given by hand serves one machine: Deno would use it for every target. */
async function checkRuntime(path: string, targets: readonly Target[]): Promise<void> {
  const machine = await machineOfFile(path);
  const others = targets.filter((target) => target.machine !== machine);
  if (others.length === 0) return;
  throw new BuildError(
    `DENORT_BIN ${path} is for ${machine}, and can't make ` +
      `${
        others.map(({ triple }) => triple).join(", ")
      }: unset it to have Deno fetch a runtime for each, ` +
      "or make that one target alone",
  );
}

async function machineOfFile(path: string): Promise<string> {
  try {
    using file = await Deno.open(path);
    const head = new Uint8Array(1024);
    return machineOf(head.subarray(0, await file.read(head) ?? 0));
  } catch (error) {
    throw new BuildError(`${path} can't be read: ${(error as Error).message}`);
  }
}

interface Commit {
  readonly id: string;
  /** When it was made; the start of time where that is unknown, so that a build can be repeated. */
  readonly time: string;
}

async function commitOfSources(): Promise<Commit> {
  const given = Deno.env.get("DMNODE_COMMIT");
  if (given !== undefined && !/^[\w.+-]{1,64}$/.test(given)) {
    throw new BuildError(`DMNODE_COMMIT ${JSON.stringify(given)} is no commit`);
  }
  const log = await git("log", "-1", "--abbrev=12", "--format=%h %ct");
  if (log === undefined) return { id: given ?? "unknown", time: new Date(0).toISOString() };
  const [id, seconds] = log.split(" ");
  const changed = await git("status", "--porcelain", "--", "src", "deno.json", "deno.lock");
  return {
    id: given ?? (changed === "" ? id : `${id}-changed`),
    time: new Date(Number(seconds) * 1000).toISOString(),
  };
}

async function git(...args: string[]): Promise<string | undefined> {
  try {
    const { success, stdout } = await new Deno.Command("git", {
      args: ["-C", ROOT, ...args],
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout).trim() : undefined;
  } catch {
    return undefined; // no git here
  }
}

/** Copies what is built, so that the commit can be put in without touching the sources. */
async function stage(commit: string): Promise<void> {
  await Deno.remove(STAGE, { recursive: true }).catch(ignoreMissing);
  for (const directory of ["src", "tests/executable"]) await copy(directory);
  await Promise.all(["deno.json", "deno.lock"].map(copy));
  await replaceIn(join(STAGE, "src", "commit.ts"), '"dev"', JSON.stringify(commit));
}

/** Replaces what has to be in the file, once. */
async function replaceIn(file: string, from: string, to: string): Promise<void> {
  const parts = (await Deno.readTextFile(file)).split(from);
  if (parts.length !== 2) {
    throw new BuildError(
      `${relative(STAGE, file)} holds ${from} ${parts.length - 1} times, not once`,
    );
  }
  await Deno.writeTextFile(file, parts.join(to));
}

async function copy(path: string): Promise<void> {
  const from = join(ROOT, path), to = join(STAGE, path);
  const { isDirectory } = await Deno.stat(from);
  if (!isDirectory) return await Deno.copyFile(from, to);
  await Deno.mkdir(to, { recursive: true });
  for await (const { name } of Deno.readDir(from)) await copy(join(path, name));
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

/** One file of JavaScript with all that the program imports: it starts faster than modules, and holds no unused ones. */
async function bundled(entry: string, name: string): Promise<string> {
  const output = join(STAGE, name);
  const { success, stderr } = await deno(
    ["bundle", "--frozen", "--platform", "deno", "--output", output, join(STAGE, entry)],
  );
  if (!success) {
    throw new BuildError(
      "The sources could not be bundled. The packages, and esbuild for the bundle, are fetched from npm once: " +
        `let this machine reach it, or set NPM_CONFIG_REGISTRY to a mirror.\n${stderr}`,
    );
  }
  // The names of modules hold the way to Deno's cache, which differs between machines.
  const cache = relative(STAGE, await npmCache()).replaceAll("\\", "/");
  const prefix = new RegExp(`${RegExp.escape(cache)}/[^/\\s"]+/`, "g");
  const text = await Deno.readTextFile(output);
  await Deno.writeTextFile(output, text.replaceAll(prefix, "npm:"));
  return output;
}

async function npmCache(): Promise<string> {
  return JSON.parse((await deno(["info", "--json"])).stdout).npmCache;
}

async function makeSbom({ id, time }: Commit): Promise<Record<string, unknown>> {
  const info = await deno(["info", "--json", join(STAGE, "src", "main.ts")]);
  return await sbom({
    version: manifest.version,
    commit: id,
    denoVersion: Deno.version.deno,
    time,
    graph: JSON.parse(info.stdout),
    lock: JSON.parse(await Deno.readTextFile(join(STAGE, "deno.lock"))),
    npmCache: await npmCache(),
  });
}

async function compile(
  target: Target,
  withBatches: boolean,
  bundle: string,
  workers: readonly string[],
  path: string,
): Promise<void> {
  // Made aside: one that was made before stays until this one is known to be good.
  const made = join(STAGE, basename(path));
  const { success, stderr } = await deno([
    "compile",
    "--quiet",
    "--no-config",
    // Checking types would put the types of Node.js into the file.
    "--no-check",
    // Deno would keep compiled code under a name in /tmp that any user of the machine can put a file at.
    "--no-code-cache",
    ...manifest.unstable.map((feature) => `--unstable-${feature}`),
    ...permissionFlags(target.os, withBatches),
    "--target",
    target.triple,
    ...workers.flatMap((worker) => ["--include", worker]),
    "--output",
    made,
    bundle,
  ]);
  if (!success) throw new BuildError(explainFailure(target, stderr));
  const machine = await machineOfFile(made);
  if (machine !== target.machine) {
    throw new BuildError(
      `${target.triple} was asked for, but what Deno made is for ${machine}. ` +
        "DENORT_BIN has to be a runtime for this target.",
    );
  }
  if (target.triple === Deno.build.target) await checkThatItStarts(made);
  await Deno.rename(made, path);
}

function explainFailure({ triple }: Target, stderr: string): string {
  if (!/dl\.deno\.land|error sending request|base binary/.test(stderr)) {
    return `Deno could not make ${triple}:\n${stderr}`;
  }
  const { deno: version } = Deno.version;
  return [
    `Deno ${version} could not fetch its runtime (denort) for ${triple}:`,
    ...stderr.split("\n").filter((line) => /error sending|https:/.test(line)).slice(0, 1),
    "Either let this machine reach https://dl.deno.land once: it is kept in Deno's cache from then on.",
    `Or put the runtime of exactly Deno ${version} for ${triple} into a file and name it:`,
    "  make compile DENORT_BIN=/path/to/denort",
    "With a runtime of another version, use that Deno:",
    "  make compile DENO_VERSION=x.y.z DENORT_BIN=/path/to/denort",
  ].join("\n");
}

/** A runtime of another version than Deno's takes the program in, and then does not find it. */
async function checkThatItStarts(path: string): Promise<void> {
  const { success, stdout, stderr } = await output(path, ["--version"]);
  if (success && stdout.startsWith("dmnode ")) return;
  throw new BuildError(
    `What was made does not start, and is given up. ${stderr.split("\n")[0]}\n` +
      `DENORT_BIN, where it is set, has to be the runtime (denort) of Deno ${Deno.version.deno}. ` +
      "For one of another version: make compile DENO_VERSION=x.y.z",
  );
}

interface Ended {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

function deno(args: string[]): Promise<Ended> {
  const runtime = Deno.env.get("DENORT_BIN");
  return output(
    Deno.execPath(),
    args,
    runtime === undefined ? {} : { DENORT_BIN: resolve(runtime) },
  );
}

async function output(
  program: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<Ended> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    cwd: STAGE,
    env: { NO_COLOR: "1", RUST_BACKTRACE: "0", ...env },
  }).output();
  const decoder = new TextDecoder();
  return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** As `sha256sum` writes and reads them. */
async function writeChecksums(names: readonly string[]): Promise<void> {
  const lines = await Promise.all(names.map(async (name) => {
    const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(join(DIST, name)));
    const hex = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0"));
    return `${hex.join("")}  ${name}\n`;
  }));
  await Deno.writeTextFile(join(DIST, "SHA256SUMS"), lines.join(""));
  console.log(`dist/SHA256SUMS: ${names.length} files`);
}

try {
  await main(Deno.args);
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`compile: ${error.message.trimEnd()}`);
  Deno.exit(1);
}
