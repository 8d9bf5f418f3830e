// `dmnode identity`: shows a key, moves it under a passphrase, and never replaces one without --force. Nothing else that
// the program writes contains the secret.

import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { join } from "node:path";
import { type Ended, run, type RunOptions, withNodes } from "./program.ts";

const PASSPHRASE = "correct horse battery staple";

const withPassphrase = (cwd: string, passphrase = PASSPHRASE): RunOptions => ({
  cwd,
  env: { DMNODE_PASSPHRASE: passphrase },
});

function assertDone({ code, stdout, stderr }: Ended): string {
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
  return stdout;
}

function assertRefused({ code, stdout, stderr }: Ended, status: number, message: RegExp): void {
  assert.equal(code, status, stderr);
  assert.match(stderr, message);
  assert.match(stderr, /^dmnode: [^\n]+\n$/);
  assert.equal(stdout, "");
}

async function openssl(args: string[], input = ""): Promise<string> {
  const child = new Deno.Command("openssl", { args, stdin: "piped", stdout: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout } = await child.output();
  assert.ok(success, `openssl ${args.join(" ")}`);
  return new TextDecoder().decode(stdout);
}

function hasOpenssl(): boolean {
  try {
    return new Deno.Command("openssl", { args: ["version"], stdout: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

Deno.test(
  "identity shows the key of a node that runs, was killed or was stopped",
  withNodes(async (start, directory) => {
    const show = (...args: string[]) =>
      run(["identity", "--data-dir", "data", ...args], { cwd: directory });
    assertRefused(await show(), 1, /identity\.pem does not exist: start a node/);
    const node = await start("data");
    const { node_id, public_key } = await (await fetch(`${node.api}/network/stats`)).json();
    assert.equal(
      assertDone(await show()),
      `public key  ${public_key}\nnode id     in use by a node: dmnode stats shows it\n`,
    );
    await node.stop("SIGKILL");
    const files = () => [...Deno.readDirSync(join(directory, "data"))].map(({ name }) => name);
    const before = files().sort();
    const known = { public_key, node_id, data_dir: "data" };
    assert.deepEqual(JSON.parse(assertDone(await show("--json"))), known);
    assert.deepEqual(files().sort(), before);
    await (await start("data")).stop("SIGTERM");
    assert.match(assertDone(await show()), new RegExp(`node id     ${node_id}\n$`));
    assert.deepEqual(files().sort(), ["dmnode.sqlite", "identity.pem", "large.sqlite"]);
  }),
);

Deno.test(
  "export and import move a key to another node under a passphrase",
  withNodes(async (start, directory) => {
    const options = withPassphrase(directory), at = (name: string) => ["--data-dir", name];
    const node = await start("1");
    const { public_key } = await (await fetch(`${node.api}/network/stats`)).json();

    const exported = await run(["identity", "export", "key.pem", ...at("1")], options);
    assert.equal(assertDone(exported), `${public_key}\n`);
    if (Deno.build.os !== "windows") {
      assert.equal(Deno.statSync(join(directory, "key.pem")).mode! & 0o777, 0o600);
    }
    const written = await Deno.readTextFile(join(directory, "key.pem"));
    const again = await run(["identity", "export", "key.pem", ...at("1")], options);
    assertRefused(again, 1, /key\.pem exists/);
    assert.equal(await Deno.readTextFile(join(directory, "key.pem")), written);
    assertDone(await run(["identity", "export", "key.pem", "--force", ...at("1")], options));

    const into = (name: string, ...args: string[]) => ["identity", "import", ...args, ...at(name)];
    const wrong = withPassphrase(directory, "wrong");
    const wrongly = await run(into("2", "key.pem"), wrong);
    assertRefused(wrongly, 1, /key\.pem does not open with this passphrase/);
    await Deno.writeTextFile(join(directory, "passphrase"), `${PASSPHRASE}\nand more\n`);
    const imported = await run(into("2", "key.pem", "--passphrase-file", "passphrase"), wrong);
    assert.equal(assertDone(imported), `${public_key}\n`);
    const second = await start("2");
    const stats = await (await fetch(`${second.api}/network/stats`)).json();
    assert.equal(stats.public_key, public_key);

    const running = await run(into("2", "key.pem", "--force"), options);
    assertRefused(running, 1, /a node is running with 2: stop it first/);
    await second.stop("SIGTERM");
    assertDone(await run(into("2", "key.pem"), options)); // the same: nothing to lose

    await (await start("3")).stop("SIGTERM");
    const pem = await Deno.readTextFile(join(directory, "3", "identity.pem"));
    const other = await run(into("3", "key.pem"), options);
    assertRefused(other, 1, /holds another identity.*--force/);
    assert.equal(await Deno.readTextFile(join(directory, "3", "identity.pem")), pem);
    assertDone(await run(into("3", "key.pem", "--force"), options));
    const shown = await run(["identity", ...at("3")], { cwd: directory });
    assert.match(shown.stdout, new RegExp(public_key));
  }),
);

Deno.test(
  "wrong usage is refused in one line",
  withNodes(async (start, directory) => {
    await (await start("data")).stop("SIGTERM");
    const options = withPassphrase(directory);
    const text = (name: string, content: string) =>
      Deno.writeTextFile(join(directory, name), content);
    await text("garbage.pem", "garbage");
    await text("empty", "\n");
    await text(
      "broken.pem",
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    await Deno.mkdir(join(directory, "folder"));
    const cases: [string[], RunOptions, number, RegExp][] = [
      [["export"], options, 2, /file/],
      [["bogus"], options, 2, /bogus/],
      [["export", "new.pem"], { cwd: directory }, 2, /DMNODE_PASSPHRASE.*--passphrase-file/],
      [["export", "new.pem", "--passphrase-file", "empty"], options, 2, /passphrase is empty/],
      [["export", "new.pem", "--passphrase-file", "none"], options, 1, /none can't be read/],
      [["export", "folder", "--force"], options, 1, /folder can't be written/],
      [["export", "no/such/new.pem"], options, 1, /no\/such\/new\.pem can't be written/],
      [["import", "none.pem"], options, 1, /none\.pem can't be read/],
      [["import", "garbage.pem"], options, 1, /garbage\.pem holds no Ed25519 key/],
      [["import", "broken.pem"], options, 1, /broken\.pem does not open/],
    ];
    for (const [args, given, status, message] of cases) {
      const ended = await run(["identity", ...args, "--data-dir", "data"], given);
      assertRefused(ended, status, message);
      assert.doesNotMatch(ended.stderr, new RegExp(PASSPHRASE));
    }
    assert.deepEqual([...Deno.readDirSync(join(directory, "folder"))], []);
  }),
);

Deno.test({
  name: "openssl reads exported keys, and import reads keys of openssl",
  ignore: !hasOpenssl(),
  fn: withNodes(async (start, directory) => {
    await (await start("data")).stop("SIGTERM");
    const options = withPassphrase(directory);
    assertDone(await run(["identity", "export", "key.pem", "--data-dir", "data"], options));
    const plain = await openssl(
      ["pkey", "-in", join(directory, "key.pem"), "-passin", `pass:${PASSPHRASE}`],
    );
    assert.equal(plain, await Deno.readTextFile(join(directory, "data", "identity.pem")));

    const generated = await openssl(["genpkey", "-algorithm", "ed25519"]);
    const publicKey = (await openssl(["pkey", "-pubout", "-outform", "DER"], generated)).length;
    assert.ok(publicKey > 0);
    const kinds = [["-v2", "aes-256-cbc"], ["-scrypt"], ["-v2", "aes-128-cbc", "-iter", "5000"]];
    for (const [i, kind] of kinds.entries()) {
      const encrypted = await openssl(
        ["pkcs8", "-topk8", ...kind, "-passout", `pass:${PASSPHRASE}`],
        generated,
      );
      await Deno.writeTextFile(join(directory, `${i}.pem`), encrypted);
      assertDone(await run(["identity", "import", `${i}.pem`, "--data-dir", `${i}`], options));
      const held = await Deno.readTextFile(join(directory, `${i}`, "identity.pem"));
      assert.equal(held, generated);
    }
    await Deno.writeTextFile(join(directory, "plain.pem"), generated);
    const without = { cwd: directory };
    assertDone(await run(["identity", "import", "plain.pem", "--data-dir", "plain"], without));
    for (const algorithm of ["X25519", "ED448"]) {
      const other = await openssl(["genpkey", "-algorithm", algorithm]);
      await Deno.writeTextFile(join(directory, "other.pem"), other);
      const ended = await run(["identity", "import", "other.pem", "--data-dir", "other"], without);
      assertRefused(ended, 1, /other\.pem holds no Ed25519 key/);
    }
  }),
});

Deno.test(
  "no answer of the API and no log contains the secret, even at level trace",
  withNodes(async (start, directory) => {
    const node = await start("data", ["--log-level", "trace"]);
    const pem = await Deno.readTextFile(join(directory, "data", "identity.pem"));
    const seed = createPrivateKey(pem).export({ format: "der", type: "pkcs8" }).subarray(-32);
    const base64 = seed.toString("base64");
    const forms = [
      seed.toString("hex"),
      base64.slice(0, 40),
      seed.toString("base64url").slice(0, 40),
      // The base64 of a PEM file encodes the secret at another offset.
      pem.split("\n")[1].slice(24, 60),
      seed.toString("latin1"),
      JSON.stringify([...seed]).slice(1, -1),
    ];
    const held = (text: string) =>
      forms.filter((form) => text.toLowerCase().includes(form.toLowerCase()));
    assert.equal(held(pem).length, 1, "these are the texts to search for");

    const store = (query: string, body: string) =>
      fetch(`${node.api}/network/store${query}`, {
        method: "POST",
        body,
        headers: { "content-type": "text/plain" },
      });
    const { hash } = await (await store("?key=k", "a value")).json();
    const { paths } = await (await fetch(`${node.api}/openapi.json`)).json();
    const seen: string[] = [];
    for (const path of [...Object.keys(paths), "/", "/docs", "/identity", "/no/such/page"]) {
      for (const id of [hash, "0".repeat(40), "bad"]) {
        const url = node.api + path.replace(/\{[^}]*\}/, id);
        for (const method of ["GET", "PUT", "DELETE"]) {
          const response = await fetch(url, { method });
          const head = [...response.headers].join("\n");
          const body = await bodyOf(response);
          assert.deepEqual(held(`${head}\n${body}`), [], `${method} ${url}`);
          seen.push(path);
        }
      }
    }
    assert.ok(seen.length > 60);
    const shown = await run(["identity", "--json", "--data-dir", "data"], { cwd: directory });
    const options = withPassphrase(directory);
    const exported = await run(["identity", "export", "k.pem", "--data-dir", "data"], options);
    const { stderr } = await node.stop("SIGTERM");
    const all = [shown, exported].map((ended) => ended.stdout + ended.stderr).join("") + stderr +
      JSON.stringify(node.lines) + await Deno.readTextFile(join(directory, "k.pem"));
    assert.deepEqual(held(all), []);
    assert.ok(!all.includes(PASSPHRASE));
    assert.ok(node.lines.length > 2);
  }),
);

/** The body as text. A stream of events does not end, so only its first events are read. */
async function bodyOf(response: Response): Promise<string> {
  const decoder = new TextDecoder("latin1");
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    return decoder.decode(await response.arrayBuffer());
  }
  const reader = response.body!.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  return decoder.decode(value);
}

/** Types lines into a terminal, each after its prompt; returns the text that the terminal showed. */
async function typed(
  command: string,
  lines: readonly [string, string][],
  cwd: string,
): Promise<{ code: number; shown: string }> {
  const child = new Deno.Command("script", {
    args: ["--quiet", "--return", "--command", command, "/dev/null"],
    cwd,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  let shown = "";
  const waiting = [...lines];
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    shown += chunk;
    if (waiting.length > 0 && shown.includes(waiting[0][0])) {
      await writer.write(new TextEncoder().encode(waiting.shift()![1]));
    }
  }
  await writer.close().catch(() => {});
  return { code: (await child.status).code, shown };
}

if (Deno.build.os === "linux" && !Deno.env.get("DMNODE")) {
  Deno.test(
    "at a terminal the passphrase is asked for, and not shown",
    withNodes(async (start, directory) => {
      await (await start("data")).stop("SIGTERM");
      const main = new URL("../../src/main.ts", import.meta.url).pathname;
      const program = `'${Deno.execPath()}' run -q -A '${main}' identity`;
      const first = "Passphrase: ", second = "Repeat the passphrase: ";
      const secret = "Löwe";
      const exported = await typed(`${program} export key.pem --data-dir data`, [
        [first, `${secret}x\x7f\r`],
        [second, `Lö\x7föwe\r`],
      ], directory);
      assert.equal(exported.code, 0, exported.shown);
      assert.match(
        exported.shown,
        /^Passphrase: \r?\nRepeat the passphrase: \r?\n[0-9a-f]{64}\r?\n$/,
      );

      const imported = await typed(
        `${program} import key.pem --data-dir new`,
        [[first, `wrong\x15${secret}\n`]],
        directory,
      );
      assert.equal(imported.code, 0, imported.shown);
      assert.ok(!imported.shown.includes(secret) && !imported.shown.includes("wrong"));

      const pasted = await typed(`${program} export pasted.pem --data-dir data`, [
        [first, `${secret}\r\n${secret}\r\n`],
      ], directory);
      assert.equal(pasted.code, 0, pasted.shown);
      assert.ok(!pasted.shown.includes(secret));

      const differing = await typed(`${program} export other.pem --data-dir data`, [
        [first, "one\r"],
        [second, "two\r"],
      ], directory);
      assert.equal(differing.code, 1);
      assert.match(differing.shown, /the passphrases differ/);
      const cancelled = await typed(
        `${program} import key.pem --data-dir other`,
        [[first, "x\x03"]],
        directory,
      );
      assert.equal(cancelled.code, 130, "as programs that Ctrl-C ends");
      assert.doesNotMatch(cancelled.shown, /dmnode:/);
    }),
  );
}
