// packaging/install.sh against a server of this test's own: what it installs, and what it refuses.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { TARGETS } from "../../packaging/targets.ts";

const SCRIPT = fileURLToPath(new URL("../../packaging/install.sh", import.meta.url));

const HERE = TARGETS.find(({ triple }) => triple === Deno.build.target)!;
const FILE = HERE.file;
const PROGRAM = "#!/bin/sh\necho dmnode 9.9.9\n";

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}

interface Machine {
  /** The files of the release, by name. */
  readonly files: Record<string, string>;
  readonly home: string;
  /** Runs the installer; variables are added to the environment. */
  install(env?: Record<string, string>): Promise<{ code: number; stdout: string; stderr: string }>;
  /** Puts a command before all others. */
  fake(name: string, script: string): Promise<void>;
}

async function onMachine(body: (machine: Machine) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode install " });
  const home = join(directory, "home"), bin = join(directory, "bin");
  await Deno.mkdir(home);
  await Deno.mkdir(bin);
  const files: Record<string, string> = {
    [FILE]: PROGRAM,
    SHA256SUMS: `${"0".repeat(64)}  another\n${await sha256(PROGRAM)}  ${FILE}\n`,
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const content = files[new URL(request.url).pathname.slice("/v1/".length)];
    return content === undefined ? new Response(null, { status: 404 }) : new Response(content);
  });
  try {
    await body({
      files,
      home,
      async install(env = {}) {
        const { code, stdout, stderr } = await new Deno.Command("sh", {
          args: [SCRIPT],
          clearEnv: true,
          env: {
            PATH: `${bin}:${Deno.env.get("PATH")}`,
            HOME: home,
            DMNODE_URL: `http://127.0.0.1:${server.addr.port}/v1/`,
            ...env,
          },
        }).output();
        const decoder = new TextDecoder();
        return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
      },
      async fake(name, script) {
        await Deno.writeTextFile(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      },
    });
  } finally {
    await server.shutdown();
    await Deno.remove(directory, { recursive: true });
  }
}

/** Names in a directory, hidden ones too; none where it does not exist. */
function names(directory: string): string[] {
  try {
    return Array.from(Deno.readDirSync(directory), ({ name }) => name);
  } catch {
    return [];
  }
}

if (Deno.build.os !== "windows") {
  Deno.test("the installer puts the right file in place, and replaces an older one", () =>
    onMachine(async ({ install, home }) => {
      const first = await install();
      assert.equal(first.code, 0, first.stderr);
      assert.match(first.stdout, /installed dmnode 9\.9\.9 as .*\/\.local\/bin\/dmnode/);
      assert.match(first.stdout, /is not on your PATH/);
      const path = join(home, ".local/bin/dmnode");
      assert.equal(await Deno.readTextFile(path), PROGRAM);
      assert.equal((await Deno.stat(path)).mode! & 0o777, 0o755);
      assert.deepEqual(names(join(home, ".local/bin")), ["dmnode"]);

      await Deno.writeTextFile(path, "an older one");
      const again = await install({ PATH: `${Deno.env.get("PATH")}:${home}/.local/bin` });
      assert.equal(again.code, 0, again.stderr);
      assert.doesNotMatch(again.stdout, /PATH/);
      assert.equal(await Deno.readTextFile(path), PROGRAM);
    }));

  Deno.test("it installs elsewhere when told to, and works with wget and shasum alone", () =>
    onMachine(async ({ install, fake, home }) => {
      const elsewhere = join(home, "some where");
      const options = { DMNODE_INSTALL_DIR: elsewhere };
      assert.equal((await install(options)).code, 0);
      assert.deepEqual(names(elsewhere), ["dmnode"]);

      const bin = join(home, "few");
      await Deno.mkdir(bin);
      const commands = ["sh", "uname", "ls", "mkdir", "mktemp", "rm", "awk", "cut", "chmod", "mv"];
      for (const name of [...commands, "head", "sleep", "cat"]) {
        const { stdout } = await new Deno.Command("sh", { args: ["-c", `command -v ${name}`] })
          .output();
        await Deno.symlink(new TextDecoder().decode(stdout).trim(), join(bin, name));
      }
      const few = { ...options, PATH: bin };
      assert.match((await install(few)).stderr, /curl or wget is needed/);
      const real = Deno.execPath();
      await fake(
        "wget",
        `exec '${real}' eval --no-lock 'const [, , to, url] = Deno.args;
        Deno.writeFileSync(to, await (await fetch(url)).bytes())' -- "$@"`,
      );
      const wget = { ...options, PATH: `${join(home, "..", "bin")}:${bin}` };
      assert.match((await install(wget)).stderr, /sha256sum, shasum or openssl is needed/);
      await fake("shasum", `[ "$1 $2" = "-a 256" ] && echo "${await sha256(PROGRAM)}  -"`);
      assert.equal((await install(wget)).code, 0);
    }));

  Deno.test("a wrong checksum, and every other failure, changes nothing", () =>
    onMachine(async ({ files, install, fake, home }) => {
      const target = join(home, ".local/bin");
      await Deno.mkdir(target, { recursive: true });
      await Deno.writeTextFile(join(target, "dmnode"), "the one before");
      const refused = async (message: RegExp, env: Record<string, string> = {}) => {
        const { code, stderr } = await install(env);
        assert.equal(code, 1, stderr);
        assert.match(stderr, message);
        assert.equal(stderr.trim().split("\n").at(-1)!.match(/^dmnode: /)?.length, 1, stderr);
        assert.deepEqual(names(target), ["dmnode"]);
        assert.equal(await Deno.readTextFile(join(target, "dmnode")), "the one before");
      };
      const sums = files.SHA256SUMS;
      files.SHA256SUMS = sums.replace(await sha256(PROGRAM), await sha256("something else"));
      await refused(/checksum .* nothing was installed/);
      files.SHA256SUMS = sums.replace(FILE, "dmnode-other");
      await refused(/does not name dmnode-/);
      files.SHA256SUMS = sums;
      delete files[FILE];
      await refused(new RegExp(`v1/${FILE} could not be fetched`));
      files[FILE] = "#!/bin/sh\necho 'GLIBC_2.99 not found'; exit 1\n";
      files.SHA256SUMS = `${await sha256(files[FILE])}  ${FILE}\n`;
      await refused(/does not run on this system.*GLIBC_2\.99/);
      await refused(/belongs to no release/, { DMNODE_URL: "" });
      await refused(/can't be made/, { DMNODE_INSTALL_DIR: "/proc/nowhere" });
      await fake("uname", '[ "$1" = -m ] && echo riscv64 || echo Linux');
      await refused(/no build for riscv64/);
      await fake("uname", '[ "$1" = -m ] && echo x86_64 || echo FreeBSD');
      await refused(/no build for FreeBSD/);
      await fake("uname", '[ "$1" = -m ] && echo x86_64 || echo MINGW64_NT-10.0');
      await refused(/dmnode-windows-amd64\.exe/);
    }));

  Deno.test("half of the script does nothing", async () => {
    const script = await Deno.readTextFile(SCRIPT);
    const { code, stdout } = await new Deno.Command("sh", {
      args: ["-c", script.slice(0, script.lastIndexOf("main"))],
    }).output();
    assert.equal(code, 0);
    assert.equal(stdout.length, 0);
  });
}
