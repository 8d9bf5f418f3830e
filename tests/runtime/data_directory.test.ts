// DATA_DIR and its files are closed to other users, or the node refuses them.

import assert from "node:assert/strict";
import { prepareDataDir } from "../../src/runtime/data_directory.ts";
import { files } from "../../src/runtime/files.ts";
import { Database } from "../../src/storage/database.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";

const ignore = Deno.build.os === "windows";

/** Prepares a directory and returns the warnings. */
function prepare(dataDir: string): string[] {
  const warnings: string[] = [];
  prepareDataDir(dataDir, (warning) => warnings.push(warning));
  return warnings;
}

function modeOf(path: string): string {
  return (Deno.statSync(path).mode! & 0o7777).toString(8);
}

/** Creates a directory with exactly this mode: mkdir would subtract the umask. */
function makeDirectory(path: string, mode: number): void {
  Deno.mkdirSync(path);
  Deno.chmodSync(path, mode);
}

Deno.test({
  name: "a new DATA_DIR and its database are closed to other users",
  ignore,
  fn: () =>
    inTemporaryDirectory((path) => {
      assert.deepEqual(prepare(path("a/b")), []);
      assert.deepEqual([modeOf(path("a")), modeOf(path("a/b"))], ["700", "700"]);
      const database = new Database(path("a/b/dmnode.sqlite"), { files, mayBeEmpty: true });
      const modes = [...Deno.readDirSync(path("a/b"))].map(({ name }) =>
        modeOf(path(`a/b/${name}`))
      );
      database.close();
      assert.deepEqual([...new Set(modes)], ["600"]);
    }),
});

Deno.test({
  name: "a DATA_DIR and files that others could read are closed, with a warning for each",
  ignore,
  fn: () =>
    inTemporaryDirectory((path) => {
      for (const mode of [0o755, 0o750, 0o777, 0o2775]) {
        const dataDir = path(mode.toString(8));
        makeDirectory(dataDir, mode);
        for (const name of ["identity.pem", "dmnode.sqlite", "large.sqlite-wal", "other.txt"]) {
          Deno.writeTextFileSync(`${dataDir}/${name}`, "", { mode: 0o644 });
        }
        const warnings = prepare(dataDir);
        assert.match(
          warnings[0],
          new RegExp(`mode ${mode.toString(8).padStart(4, "0")}.*0700 now`),
        );
        assert.equal(warnings.length, 4);
        assert.equal(modeOf(dataDir).slice(-3), "700");
        for (const name of ["identity.pem", "dmnode.sqlite", "large.sqlite-wal"]) {
          assert.equal(modeOf(`${dataDir}/${name}`), "600");
        }
        assert.equal(modeOf(`${dataDir}/other.txt`), "644");
        assert.deepEqual(prepare(dataDir), []);
      }
    }),
});

Deno.test({
  name: "a directory that other programs use is left as it is, with a warning",
  ignore,
  fn: () =>
    inTemporaryDirectory((path) => {
      makeDirectory(path("sticky"), 0o1777);
      makeDirectory(path("lib"), 0o755);
      Deno.mkdirSync(path("lib/other"));
      for (const name of ["sticky", "lib"]) {
        const before = modeOf(path(name));
        assert.match(prepare(path(name)).join(), /give a directory of its own$/);
        assert.equal(modeOf(path(name)), before);
      }
    }),
});

Deno.test("a symbolic link in place of a file is refused, and its target stays as it was", () =>
  inTemporaryDirectory((path) => {
    Deno.writeTextFileSync(path("target"), "x", { mode: 0o644 });
    const names = ["identity.pem", "dmnode.sqlite", "dmnode.sqlite-wal", "dmnode.sqlite.new"];
    for (const name of [...names, "large.sqlite"]) {
      const dataDir = path(`with ${name}`);
      Deno.mkdirSync(dataDir, { mode: 0o700 });
      Deno.symlinkSync(path("target"), `${dataDir}/${name}`);
      assert.throws(() => prepare(dataDir), /is a symbolic link: replace it/);
      Deno.removeSync(`${dataDir}/${name}`);
      Deno.symlinkSync(path("nowhere"), `${dataDir}/${name}`);
      assert.throws(() => prepare(dataDir), /is a symbolic link: replace it/);
    }
    if (!ignore) assert.equal(modeOf(path("target")), "644");
  }));

Deno.test("a directory in place of a file is refused", () =>
  inTemporaryDirectory((path) => {
    Deno.mkdirSync(path("data/identity.pem"), { recursive: true, mode: 0o700 });
    assert.throws(() => prepare(path("data")), /is not a regular file: move it away/);
  }));

Deno.test({
  name: "DATA_DIR may be a link, unless every user can replace it",
  ignore,
  fn: () =>
    inTemporaryDirectory((path) => {
      makeDirectory(path("disk"), 0o755);
      for (const [mode, isAccepted] of [[0o755, true], [0o1777, true], [0o777, false]] as const) {
        const parent = path(mode.toString(8));
        makeDirectory(parent, mode);
        Deno.symlinkSync(path("disk"), `${parent}/data`);
        const check = () => prepare(`${parent}/data/`);
        if (isAccepted) check();
        else assert.throws(check, /every user can replace, as .*777 is writable for all: give the/);
      }
      assert.equal(modeOf(path("disk")), "700");
    }),
});

/** Whether this process may act as another user. */
const isRoot = !ignore && Deno.uid() === 0;

const USER = 65_534, OTHER_USER = 65_533;

/** Prepares a directory as USER, and returns the warnings and the error. */
async function prepareAsUser(dataDir: string): Promise<string> {
  const module = new URL("../../src/runtime/data_directory.ts", import.meta.url);
  const code = `const { prepareDataDir } = await import("${module}");
    prepareDataDir(Deno.args[0], console.log);`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "--no-lock",
      "-A",
      "data:text/javascript," + encodeURIComponent(code),
      dataDir,
    ],
    env: { DENO_DIR: `${dataDir}.cache`, NO_COLOR: "1" },
    uid: USER,
    gid: USER,
  }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

for (
  const [what, { owner, linkOwner, mode, file, expected }] of Object.entries({
    "a DATA_DIR of another user is refused": {
      owner: OTHER_USER,
      mode: 0o777,
      expected: /StorageError: DATA_DIR .*belongs to another user: run chown/,
    },
    "a DATA_DIR of root, as a volume's root, draws a warning": {
      owner: 0,
      mode: 0o777,
      expected: /^DATA_DIR .* belongs to root: give a directory inside it\n$/,
    },
    "a file of another user is refused": {
      owner: USER,
      mode: 0o700,
      file: OTHER_USER,
      expected: /StorageError: .*identity\.pem is open to other users.*belongs to another user/,
    },
    "a link of another user is refused": {
      owner: USER,
      linkOwner: OTHER_USER,
      mode: 0o700,
      expected: /StorageError: .* is a symbolic link of another user/,
    },
    "a link of root is accepted": { owner: USER, linkOwner: 0, mode: 0o700, expected: /^$/ },
  } as Record<
    string,
    { owner: number; linkOwner?: number; mode: number; file?: number; expected: RegExp }
  >)
) {
  Deno.test({
    name: what,
    ignore: !isRoot,
    fn: () =>
      inTemporaryDirectory(async (path) => {
        Deno.chmodSync(path(""), 0o755);
        makeDirectory(path("data"), mode);
        Deno.chownSync(path("data"), owner, owner);
        if (file !== undefined) {
          Deno.writeTextFileSync(path("data/identity.pem"), "", { mode: 0o644 });
          Deno.chownSync(path("data/identity.pem"), file, file);
        }
        makeDirectory(path("link.cache"), 0o777);
        makeDirectory(path("data.cache"), 0o777);
        if (linkOwner !== undefined) {
          Deno.symlinkSync(path("data"), path("link"));
          await new Deno.Command("chown", { args: ["-h", `${linkOwner}`, path("link")] }).output();
        }
        const output = await prepareAsUser(path(linkOwner === undefined ? "data" : "link"));
        assert.match(output, expected);
      }),
  });
}
