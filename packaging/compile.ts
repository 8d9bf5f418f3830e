// Makes the executables: copies the sources, inserts the commit, bundles the modules, and lets Deno add its runtime to
// the bundle. `make compile` and `make compile-all` run this program. See --help for its options.

import { basename, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import manifest from "../deno.json" with { type: "json" };
import { permissionFlags } from "../src/runtime/process/permissions.ts";
import { sbom } from "./sbom.ts";
import { machineOf, type Target, TARGETS } from "./targets.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DIST = join(ROOT, "dist");
const STAGE = join(DIST, "build");

/** Modules that the program starts as workers, by their URLs. Each becomes its own bundle. */
const WORKERS = [
  "src/runtime/storage_worker.ts",
  "src/api/thread/worker.ts",
  "src/cli/sim_worker.ts",
];

const HELP =
  `Usage: deno run --allow-all packaging/compile.ts [--no-batches] [--all | --target TRIPLE | --entry FILE]

Without options: dist/dmnode for this machine.
--all            dist/dmnode-SYSTEM-PROCESSOR for every target, and SHA256SUMS
--target TRIPLE  dist/dmnode-SYSTEM-PROCESSOR for one: ${TARGETS.map((t) => t.triple).join(", ")}
--entry FILE     another entry point below the repository, for tests: dist/NAME
--no-batches     without permission to open Linux's C library: one system call for each packet (docs/security.md)

DENORT_BIN       a file with Deno's runtime (denort), which is otherwise downloaded
DMNODE_COMMIT    the commit to embed, if the sources are not a git repository`;

const NO_BATCHES = "--no-batches";

/** The build failed. The message says what to do. */
class BuildError extends Error {}

async function main(args: readonly string[]): Promise<void> {
  const withBatches = !args.includes(NO_BATCHES);
  const [option, value, ...rest] = args.filter((arg) => arg !== NO_BATCHES);
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

/** Builds the executables for these targets. Returns their file names in dist. */
async function build(
  targets: readonly Target[],
  nameOf: (target: Target) => string,
  withBatches: boolean,
  entry = join(ROOT, "src", "main.ts"),
): Promise<string[]> {
  const runtime = Deno.env.get("DENORT_BIN");
  if (runtime !== undefined) await checkRuntime(resolve(runtime), targets);
  const commit = await commitOfSources();
  await stage(commit.id);
  await bundlePage();
  const bundle = await bundled(relative(ROOT, entry), "dmnode.js");
  const workers: string[] = [];
  for (const source of WORKERS) {
    const name = basename(source, ".ts");
    workers.push(await bundled(source, `${name}.js`));
    await replaceIn(bundle, `./${name}.ts`, `./${name}.js`);
  }
  // The executable contains the time of its files. With the time of the commit, equal sources produce equal bytes.
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

/** Throws if the runtime in DENORT_BIN does not fit every target: Deno would use it for all of them. */
async function checkRuntime(path: string, targets: readonly Target[]): Promise<void> {
  const machine = await machineOfFile(path);
  const others = targets.filter((target) => target.machine !== machine);
  if (others.length === 0) return;
  throw new BuildError(
    `DENORT_BIN ${path} is for ${machine}, not for ` +
      `${
        others.map(({ triple }) => triple).join(", ")
      }: unset it, so that Deno downloads a runtime ` +
      "for each target, or build only the target of this runtime",
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
  /** The time of the commit or, if unknown, the start of 1970, so that builds are reproducible. */
  readonly time: string;
}

async function commitOfSources(): Promise<Commit> {
  const given = Deno.env.get("DMNODE_COMMIT");
  if (given !== undefined && !/^[\w.+-]{1,64}$/.test(given)) {
    throw new BuildError(
      `DMNODE_COMMIT ${
        JSON.stringify(given)
      } is not a commit: use 1 to 64 letters, digits or . _ + -`,
    );
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
    return undefined; // git is not installed
  }
}

/** Copies the sources, so that the commit can be inserted without changing the originals. */
async function stage(commit: string): Promise<void> {
  await Deno.remove(STAGE, { recursive: true }).catch(ignoreMissing);
  for (const directory of ["src", "tests/executable"]) await copy(directory);
  await Promise.all(["deno.json", "deno.lock"].map(copy));
  await replaceIn(join(STAGE, "src", "commit.ts"), '"dev"', JSON.stringify(commit));
}

/** Replaces text that must occur exactly once in the file. */
async function replaceIn(file: string, from: string, to: string): Promise<void> {
  const parts = (await Deno.readTextFile(file)).split(from);
  if (parts.length !== 2) {
    throw new BuildError(
      `${relative(STAGE, file)} contains ${from} ${parts.length - 1} times, not once`,
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

/**
 * Bundles and shortens the modules of the dashboard, because each file costs a browser a request. In the copy of the
 * sources, the bundles replace the modules: one for the start of the page, one for each module that is imported later,
 * and those that these share.
 */
async function bundlePage(): Promise<void> {
  const web = join(STAGE, "src", "web"), pages = join(web, "bundles");
  const options = ["--platform", "browser", "--minify", "--code-splitting", "--outdir", pages];
  await bundle("src/web/main.js", options);
  // The API's reference page has a bundle of its own, so that it shares no file with the dashboard.
  await bundle("src/web/docs.js", [
    "--platform",
    "browser",
    "--minify",
    "--output",
    join(pages, "docs.js"),
  ]);
  const names = Array.from(Deno.readDirSync(pages), ({ name }) => name).sort();
  const imports = names.map((name, i) =>
    `import file${i} from "./bundles/${name}" with { type: "text" };`
  );
  const entries = names.map((name, i) => `${JSON.stringify(name)}: file${i}`);
  await Promise.all(names.map((name) => clean(join(pages, name))));
  await Deno.writeTextFile(
    join(web, "scripts.ts"),
    `import firstPaint from "./first_paint.js" with { type: "text" };
${imports.join("\n")}

export const SCRIPTS = { "first_paint.js": firstPaint, ${entries.join(", ")} };
export const FIRST = ${JSON.stringify(await importedBy("main.js", pages))};
export const IMPORTS = {};
`,
  );
}

/** Returns a bundle and all bundles that it imports at its start. */
async function importedBy(name: string, folder: string): Promise<string[]> {
  const names = new Set([name]);
  for (const each of names) {
    const text = await Deno.readTextFile(join(folder, each));
    for (const [, imported] of text.matchAll(/\b(?:from|import)\s*"\.\/([^"]+)"/g)) {
      names.add(imported);
    }
  }
  return [...names];
}

/** Bundles a program into one file of JavaScript. It starts faster than separate modules, and has no unused ones. */
async function bundled(entry: string, name: string): Promise<string> {
  const output = join(STAGE, name);
  await bundle(entry, ["--platform", "deno", "--output", output]);
  await clean(output);
  return output;
}

async function bundle(entry: string, options: readonly string[]): Promise<void> {
  const { success, stderr } = await deno(["bundle", "--frozen", ...options, join(STAGE, entry)]);
  if (!success) {
    throw new BuildError(
      "The sources could not be bundled. Deno downloads the packages and esbuild from npm once: " +
        `let this machine reach npm, or set NPM_CONFIG_REGISTRY to a mirror.\n${stderr}`,
    );
  }
}

/** Makes a bundle independent of this machine. */
async function clean(output: string): Promise<void> {
  // Module names contain the path of Deno's cache, which differs between machines.
  const cache = relative(STAGE, await npmCache()).replaceAll("\\", "/");
  const prefix = new RegExp(`${RegExp.escape(cache)}/[^/\\s"]+/`, "g");
  const text = (await Deno.readTextFile(output)).replaceAll(prefix, "npm:");
  await Deno.writeTextFile(output, inAscii(text));
}

/** Escapes the other characters, which are left in comments and regular expressions: V8 needs twice the memory for them. */
function inAscii(text: string): string {
  return text.replace(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
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
  // Write to a temporary path, so that an existing executable stays until the new one has passed the checks.
  const made = join(STAGE, basename(path));
  const { success, stderr } = await deno([
    "compile",
    "--quiet",
    "--no-config",
    // Type checking would add the types of Node.js to the file.
    "--no-check",
    // Deno would cache compiled code in /tmp under a name that any user of the machine could have created before.
    "--no-code-cache",
    // Like the task `start`: each of three threads would keep up to 48 MB for young objects, and much garbage.
    "--v8-flags=--max-semi-space-size=2,--heap-growing-percent=30,--expose-gc",
    ...manifest.unstable.map((feature) => `--unstable-${feature}`),
    ...permissionFlags(target.os, withBatches && target.os === "linux"),
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
      `Deno made an executable for ${machine}, not for ${target.triple}. ` +
        "DENORT_BIN must be a runtime for this target.",
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
    `Deno ${version} could not download its runtime (denort) for ${triple}:`,
    ...stderr.split("\n").filter((line) => /error sending|https:/.test(line)).slice(0, 1),
    "Let this machine reach https://dl.deno.land once: Deno then keeps the runtime in its cache.",
    `Or save the runtime of exactly Deno ${version} for ${triple} in a file, and give its path:`,
    "  make compile DENORT_BIN=/path/to/denort",
    "For a runtime of another version, use the Deno of that version:",
    "  make compile DENO_VERSION=x.y.z DENORT_BIN=/path/to/denort",
  ].join("\n");
}

/** Checks that the executable starts. With a runtime of another version than Deno's, it would not find its program. */
async function checkThatItStarts(path: string): Promise<void> {
  const { success, stdout, stderr } = await output(path, ["--version"]);
  if (success && stdout.startsWith("dmnode ")) return;
  throw new BuildError(
    `The new executable does not start, and was discarded. ${stderr.split("\n")[0]}\n` +
      `If DENORT_BIN is set, it must be the runtime (denort) of Deno ${Deno.version.deno}. ` +
      "For a runtime of another version: make compile DENO_VERSION=x.y.z",
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

/** Writes SHA256SUMS in the format of `sha256sum`. */
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
