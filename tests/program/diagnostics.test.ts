// `dmnode diagnostics` saves a report that helps to find problems, and that contains no secret.

import assert from "node:assert/strict";
import { join } from "node:path";
import { run, type RunOptions, withNodes } from "./program.ts";

const TOKEN = "the-token-of-the-operator";

/** Runs a command that must succeed, and returns what it printed. */
async function printed(args: readonly string[], options: RunOptions): Promise<string> {
  const { code, stdout, stderr } = await run(args, options);
  assert.equal(code, 0, stderr);
  return stdout;
}

Deno.test(
  "the report has settings, findings, statistics and events, and none of the node's secrets",
  withNodes(async (start, directory) => {
    const at = { cwd: directory };
    await Deno.mkdir(join(directory, "data"), { mode: 0o700 });
    const networkKey = (await run(["network", "new"])).stdout.trim();
    const scoped =
      (await run(["token", "add", "ops", "--scope", "admin", "--data-dir", "data"], at))
        .stdout.trim();
    const node = await start("data", [], { env: { API_TOKEN: TOKEN, NETWORK_KEY: networkKey } });
    const options = { cwd: directory, env: { API_TOKEN: TOKEN, DMNODE_API: node.api } };
    const input = (text: string) => ({ ...options, stdin: new TextEncoder().encode(text) });
    const link = (await printed(["put", "--seal", "--timeout", "60"], input("x"))).trim();
    assert.match(link, /^dm:[0-9a-f]{40}#/);
    await printed(
      ["put", "--key", "a telling key", "--timeout", "60"],
      input("the content of a value"),
    );

    await printed(["diagnostics", "report.json", "--timeout", "60"], options);
    const file = join(directory, "report.json"), text = await Deno.readTextFile(file);
    const report = JSON.parse(text);
    assert.equal(report.stats.config.api_token, true);
    assert.ok(report.findings.some(({ check }: { check: string }) => check === "ready"));
    assert.ok(report.events.some(({ type }: { type: string }) => type === "data.publish"));
    if (Deno.build.os !== "windows") assert.equal((await Deno.stat(file)).mode! & 0o777, 0o600);

    const identity = await Deno.readTextFile(join(directory, "data", "identity.pem"));
    const [, pem] = /-----\n([\s\S]+)\n-----END/.exec(identity)!;
    const privateKey = Uint8Array.from(atob(pem.replaceAll(/\s/g, "")), (c) => c.charCodeAt(0));
    const hex = Array.from(privateKey.slice(-32), (byte) => byte.toString(16).padStart(2, "0"));
    const tokenFile = await Deno.readTextFile(join(directory, "data", "api_tokens"));
    const [tokenHash] = /[0-9a-f]{64}/.exec(tokenFile)!;
    const secrets = {
      TOKEN,
      scoped,
      tokenHash,
      networkKey,
      pem: pem.slice(0, 40),
      hex: hex.join(""),
      sealKey: link.split("#")[1],
      key: "a telling key",
      content: "the content of a value",
    };
    for (const [name, secret] of Object.entries(secrets)) {
      assert.ok(secret.length > 10, name);
      assert.ok(!text.includes(secret), `the report contains the secret ${name}`);
    }

    const again = await run(["diagnostics", "report.json"], options);
    assert.match(again.stderr, /report\.json can't be written: it exists/);
    const refused = await run(["diagnostics", "-"], {
      cwd: directory,
      env: { DMNODE_API: node.api },
    });
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /token/i);

    const deny = ["deny", "203.0.113.7", "--api", node.api];
    assert.equal(await printed(deny, options), "203.0.113.7\n");
    assert.equal(await printed([...deny, "--remove"], options), "");
    const published = await printed(
      ["publish", "--key", "a telling key", "--timeout", "60"],
      options,
    );
    assert.match(published, /will be published next/);
    const nobody = await run(["connect", "127.0.0.1:9"], options);
    assert.match(nobody.stderr, /nobody answered at 127\.0\.0\.1:9/);
  }),
);
