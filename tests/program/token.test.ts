// `dmnode token`: tokens of the API that a running node accepts from the next SIGHUP on, and refuses once revoked.

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Ended, type NodeProcess, run, withNodes } from "./program.ts";

function assertDone({ code, stdout, stderr }: Ended): string {
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

async function status(node: NodeProcess, path: string, token?: string): Promise<number> {
  const headers = token === undefined ? undefined : { authorization: `Bearer ${token}` };
  const response = await fetch(`${node.api}${path}`, { headers });
  await response.body?.cancel();
  return response.status;
}

/** Sends SIGHUP, and waits until the node has read its settings again. */
async function reload(node: NodeProcess): Promise<void> {
  const before = node.lines.filter(({ message }) => message.startsWith("SIGHUP")).length;
  node.signal("SIGHUP");
  await node.line((line) =>
    line.message.startsWith("SIGHUP") &&
    node.lines.filter(({ message }) => message.startsWith("SIGHUP")).length > before
  );
}

/** Waits until the API's thread, which gets the settings a moment after the log line, answers with this status. */
async function becomes(expected: number, ask: () => Promise<number>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (await ask() !== expected) assert.ok(Date.now() < deadline, `no answer ${expected}`);
}

Deno.test({
  name: "a token works from the next SIGHUP on, until it is revoked",
  ignore: Deno.build.os === "windows",
  fn: withNodes(async (start, directory) => {
    const at = { cwd: directory };
    const token = (...args: string[]) => run(["token", ...args, "--data-dir", "data"], at);
    await Deno.mkdir(join(directory, "data"), { mode: 0o700 });
    const reader = assertDone(await token("add", "reader"));
    assert.match(reader, /^dmt_[\w-]{43}$/);
    const path = join(directory, "data", "api_tokens");
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    assert.ok(!(await Deno.readTextFile(path)).includes(reader), "only its hash is kept");
    const again = await token("add", "reader");
    assert.match(again.stderr, /there is a token reader: revoke it first/);

    const node = await start("data", [], { env: { LOG_LEVEL: "debug" } });
    assert.equal(await status(node, "/network/published"), 401);
    assert.equal(await status(node, "/network/published", reader), 200);
    const admin = assertDone(
      await token("add", "ops", "--scope", "admin", "--rate", "5", "--expires", "1d"),
    );
    assert.equal(await status(node, "/network/published", admin), 401);
    await reload(node);
    await becomes(200, () => status(node, "/network/published", admin));
    await node.line((line) => line.token === "ops" && line.status === 200);

    const listed = JSON.parse(assertDone(await token("list", "--json"))).tokens;
    assert.deepEqual(
      listed.map(({ name, scopes, rate }: Record<string, unknown>) => [name, scopes, rate]),
      [["reader", ["read"], 0], ["ops", ["admin"], 5]],
    );
    assertDone(await token("revoke", "reader", "ops"));
    assert.match((await token("revoke", "ops")).stderr, /has no token "ops"/);
    await reload(node);
    for (const former of [reader, admin]) {
      await becomes(401, () => status(node, "/network/published", former));
    }
    assert.equal(await status(node, "/network/published"), 401, "an empty file opens nothing");
  }),
});

Deno.test("wrong names, scopes, rates and dates are refused", async () => {
  const directory = await Deno.makeTempDir();
  try {
    for (
      const args of [
        ["-x"],
        ["a b"],
        ["API_TOKEN"],
        ["a", "--scope", "write"],
        ["a", "--scope", ""],
        ["a", "--rate", "-1"],
        ["a", "--expires", "2001-01-01"],
        ["a", "--expires", "soon"],
      ]
    ) {
      const { code, stdout } = await run(["token", "add", ...args], { cwd: directory });
      assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    }
    assert.deepEqual([...Deno.readDirSync(directory)], []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
