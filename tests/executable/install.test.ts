// Runs packaging/install.sh against a local server, and checks what it installs and refuses.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { TARGETS } from "../../packaging/targets.ts";

const SCRIPT = fileURLToPath(new URL("../../packaging/install.sh", import.meta.url));
const MAKE_INSTALLER = fileURLToPath(new URL("../../packaging/make_installer.sh", import.meta.url));

const HERE = TARGETS.find(({ triple }) => triple === Deno.build.target)!;
const FILE = HERE.file;
const PROGRAM = "#!/bin/sh\necho dmnode 9.9.9\n";

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** Runs a command and returns its output. */
async function output(
  command: string,
  args: readonly string[],
  input = "",
): Promise<Uint8Array<ArrayBuffer>> {
  const child = new Deno.Command(command, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  assert.ok(success, `${command} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return stdout;
}

/** Creates a key as CONTRIBUTING.md describes. Returns the paths of the private and the public key. */
async function createKey(directory: string, name: string): Promise<readonly [string, string]> {
  const secret = join(directory, `${name}.pem`), open = join(directory, `${name}.pub.pem`);
  await output("openssl", ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", secret]);
  await output("openssl", ["ec", "-in", secret, "-pubout", "-out", open]);
  return [secret, open];
}

/** Signs a text as the release workflow does. */
function sign(key: string, text: string): Promise<Uint8Array<ArrayBuffer>> {
  return output("openssl", ["dgst", "-sha256", "-sign", key], text);
}

interface Machine {
  /** The files of the release, by name. The server signs SHA256SUMS, unless there is a SHA256SUMS.sig. */
  readonly files: Record<string, string | Uint8Array<ArrayBuffer>>;
  /** A directory for the test's own files. */
  readonly directory: string;
  readonly home: string;
  /** Runs the installer with additional environment variables. */
  install(env?: Record<string, string>): Promise<{ code: number; stdout: string; stderr: string }>;
  /** Puts a fake command first on the PATH. */
  fake(name: string, script: string): Promise<void>;
}

async function onMachine(body: (machine: Machine) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode install " });
  const home = join(directory, "home"), bin = join(directory, "bin");
  await Deno.mkdir(home);
  await Deno.mkdir(bin);
  const [key, publicKey] = await createKey(directory, "release");
  const script = join(directory, "install.sh");
  await Deno.writeFile(script, await output("sh", [MAKE_INSTALLER, "owner/name", publicKey]));
  const files: Machine["files"] = {
    [FILE]: PROGRAM,
    SHA256SUMS: `${"0".repeat(64)}  another\n${await sha256(PROGRAM)}  ${FILE}\n`,
  };
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      const name = new URL(request.url).pathname.slice("/v1/".length);
      const content = name === "SHA256SUMS.sig" && files[name] === undefined
        ? await sign(key, files.SHA256SUMS as string)
        : files[name];
      return content === undefined ? new Response(null, { status: 404 }) : new Response(content);
    },
  );
  try {
    await body({
      files,
      directory,
      home,
      async install(env = {}) {
        const { code, stdout, stderr } = await new Deno.Command("sh", {
          args: [script],
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

/** All names in a directory, including hidden files. Empty if the directory does not exist. */
function names(directory: string): string[] {
  try {
    return Array.from(Deno.readDirSync(directory), ({ name }) => name);
  } catch {
    return [];
  }
}

if (Deno.build.os !== "windows") {
  Deno.test("the installer installs the right file, and replaces an older one", () =>
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

  Deno.test("the installer uses another directory, and works with only wget and openssl", () =>
    onMachine(async ({ install, fake, home }) => {
      const elsewhere = join(home, "some where");
      const options = { DMNODE_INSTALL_DIR: elsewhere };
      assert.equal((await install(options)).code, 0);
      assert.deepEqual(names(elsewhere), ["dmnode"]);

      const bin = join(home, "few");
      await Deno.mkdir(bin);
      const commands = ["sh", "uname", "ls", "mkdir", "mktemp", "rm", "awk", "cut", "chmod", "mv"];
      for (const name of [...commands, "head", "sleep", "cat", "fold"]) {
        const { stdout } = await new Deno.Command("sh", { args: ["-c", `command -v ${name}`] })
          .output();
        await Deno.symlink(new TextDecoder().decode(stdout).trim(), join(bin, name));
      }
      const openssl = (await output("sh", ["-c", "command -v openssl"])).slice(0, -1);
      const few = { ...options, PATH: bin };
      assert.match((await install(few)).stderr, /curl or wget is needed/);
      const real = Deno.execPath();
      await fake(
        "wget",
        `exec '${real}' eval --no-lock 'const [, , to, url] = Deno.args;
        Deno.writeFileSync(to, await (await fetch(url)).bytes())' -- "$@"`,
      );
      const wget = { ...options, PATH: `${join(home, "..", "bin")}:${bin}` };
      assert.match((await install(wget)).stderr, /openssl is needed to verify the signature/);
      await Deno.symlink(new TextDecoder().decode(openssl), join(bin, "openssl"));
      const installed = await install(wget);
      assert.equal(installed.code, 0, installed.stderr);
    }));

  Deno.test("the installer changes nothing if a checksum is wrong or anything else fails", () =>
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
      const sums = files.SHA256SUMS as string;
      files.SHA256SUMS = sums.replace(await sha256(PROGRAM), await sha256("something else"));
      await refused(/checksum .* nothing was installed/);
      files.SHA256SUMS = sums.replace(FILE, "dmnode-other");
      await refused(/does not name dmnode-/);
      files.SHA256SUMS = sums;
      await refused(/contains dmnode 9\.9\.9, not 9\.9\.10/, { DMNODE_VERSION: "9.9.10" });
      delete files[FILE];
      await refused(new RegExp(`v1/${FILE} could not be downloaded`));
      const broken = "#!/bin/sh\necho 'GLIBC_2.99 not found'; exit 1\n";
      files[FILE] = broken;
      files.SHA256SUMS = `${await sha256(broken)}  ${FILE}\n`;
      await refused(/does not run on this system.*GLIBC_2\.99/);
      await refused(/http:\/\/mirror\.invalid\/v1 is not an https URL/, {
        DMNODE_URL: "http://mirror.invalid/v1",
      });
      await refused(/can't be created/, { DMNODE_INSTALL_DIR: "/proc/nowhere" });
      await fake("uname", '[ "$1" = -m ] && echo riscv64 || echo Linux');
      await refused(/no build for riscv64/);
      await fake("uname", '[ "$1" = -m ] && echo x86_64 || echo FreeBSD');
      await refused(/no build for FreeBSD/);
      await fake("uname", '[ "$1" = -m ] && echo x86_64 || echo MINGW64_NT-10.0');
      await refused(/dmnode-windows-amd64\.exe/);
    }));

  Deno.test("the installer installs nothing without the signature of the release's key", () =>
    onMachine(async ({ files, directory, install, home }) => {
      const refused = async (message: RegExp) => {
        const { code, stderr } = await install();
        assert.equal(code, 1, stderr);
        assert.match(stderr, message);
        assert.deepEqual(names(join(home, ".local/bin")), []);
      };
      const sums = files.SHA256SUMS as string;
      const [otherKey] = await createKey(directory, "other");
      const wrong = /the signature of .* is wrong, so somebody has changed the release/;
      files["SHA256SUMS.sig"] = await sign(otherKey, sums);
      await refused(wrong);
      files["SHA256SUMS.sig"] = await sign(join(directory, "release.pem"), sums);
      files.SHA256SUMS = sums + "\n";
      await refused(wrong);
      files["SHA256SUMS.sig"] = "";
      await refused(wrong);
      files["SHA256SUMS.sig"] = new Uint8Array(72);
      await refused(wrong);
    }));

  Deno.test("a copy of the installer without a repository or a key refuses to run", async () => {
    const run = async (env: Record<string, string>) => {
      const { stderr } = await new Deno.Command("sh", { args: [SCRIPT], env }).output();
      return new TextDecoder().decode(stderr);
    };
    assert.match(await run({}), /belongs to no release/);
    assert.match(await run({ DMNODE_URL: "https://mirror.invalid" }), /contains no key to verify/);
  });

  Deno.test("the installer of a release can't be made without a key", async () => {
    const { code, stderr } = await new Deno.Command("sh", {
      args: [MAKE_INSTALLER, "owner/name", "/no/such/key.pem"],
    }).output();
    assert.equal(code, 1);
    assert.match(new TextDecoder().decode(stderr), /key\.pem is missing: create the release key/);
  });

  Deno.test("an incomplete copy of the installer does nothing", async () => {
    const script = await Deno.readTextFile(SCRIPT);
    const { code, stdout } = await new Deno.Command("sh", {
      args: ["-c", script.slice(0, script.lastIndexOf("main"))],
    }).output();
    assert.equal(code, 0);
    assert.equal(stdout.length, 0);
  });
}
