// Where the API listens: at several addresses, and at a Unix socket, which the commands use too.

import assert from "node:assert/strict";
import { join } from "node:path";
import { NodeProcess, run, withNodes } from "./program.ts";

const ignore = Deno.build.os === "windows";

function modeOf(path: string): number {
  return Deno.statSync(path).mode! & 0o777;
}

Deno.test({
  name: "commands reach a node through its Unix socket, which has the chosen mode and group",
  ignore,
  fn: withNodes(async (start, directory) => {
    const path = join(directory, "api.sock"), at = { cwd: directory };
    const group = `${Deno.gid()}`;
    const env = { API_SOCKET_MODE: "0660", API_SOCKET_GROUP: group, API_HOST: "none" };
    const node = await start("data", ["--api-socket", path], { env });
    assert.equal(node.api, `unix:${path}`);
    const { mode, gid, isSocket } = Deno.statSync(path);
    assert.deepEqual([mode! & 0o777, `${gid}`, isSocket], [0o660, group, true]);

    const named = await run(["stats", "--json", "--api", `unix:${path}`], at);
    const found = await run(["stats", "--json"], { ...at, env: { API_SOCKET: path } });
    assert.deepEqual([named.code, found.code], [0, 0], named.stderr + found.stderr);
    assert.equal(JSON.parse(named.stdout).node_id, JSON.parse(found.stdout).node_id);
    const stdin = new TextEncoder().encode("over a socket");
    const put = await run(["put", "--api", `unix:${path}`], { ...at, stdin });
    const got = await run(["get", put.stdout.trim(), "--api", `unix://${path}`], at);
    assert.equal(got.stdout, "over a socket");
    const doctor = await run(["doctor", "--json", "--api", `unix:${path}`], at);
    assert.ok(
      JSON.parse(doctor.stdout).findings.some(
        ({ check }: { check: string }) => check === "running node",
      ),
    );

    const taken = new NodeProcess(
      ["--p2p-port", "0", "--data-dir", "other", "--api-socket", path],
      { ...at, env },
    );
    const { code, stderr } = await taken.ended();
    assert.equal(code, 1);
    assert.match(stderr, /^dmnode: API_SOCKET .*: another program listens there/);

    await node.stop("SIGKILL");
    const gone = await run(["stats", "--api", `unix:${path}`], at);
    assert.match(gone.stderr, /^dmnode: no node answers at unix:.*api\.sock \(/);
    const again = await start("data", ["--api-socket", path], { env: { API_HOST: "none" } });
    assert.equal(again.api, `unix:${path}`);
    assert.equal(modeOf(path), 0o600);
    await Deno.writeTextFile(join(directory, "file"), "not a socket");
    const file = new NodeProcess(
      ["--p2p-port", "0", "--data-dir", "third", "--api-socket", "file"],
      at,
    );
    assert.match((await file.ended()).stderr, /there is another file/);
    assert.equal(await Deno.readTextFile(join(directory, "file")), "not a socket");
  }),
});

Deno.test(
  "API_HOST=localhost stands for both loopback addresses, and a list for all in it",
  withNodes(async (start) => {
    for (const env of [{ API_HOST: "localhost" }, { API_HOST: "127.0.0.1, ::1" }]) {
      const node = await start(env.API_HOST.length.toString(), [], { env });
      const urls = node.api.split(", ");
      assert.match(urls[0], /^http:\/\/127\.0\.0\.1:\d+$/);
      assert.equal(urls[1], urls[0].replace("127.0.0.1", "[::1]"));
      for (const url of urls) {
        assert.equal((await (await fetch(`${url}/healthz`)).json()).status, "ok");
      }
    }
  }),
);

Deno.test({
  name: "a token is needed beside a socket too, and no address without a socket is refused",
  ignore,
  fn: withNodes(async (start, directory) => {
    const path = join(directory, "s"), at = { cwd: directory };
    await start("data", ["--api-socket", path], { env: { API_TOKEN: "secret" } });
    const api = ["published", "--api", `unix:${path}`];
    assert.match((await run(api, at)).stderr, /requires a token/);
    assert.equal((await run(api, { ...at, env: { API_TOKEN: "secret" } })).code, 0);
    const none = await run(["--api-host", "none", "--data-dir", "x"], at);
    assert.equal(none.code, 2);
    assert.match(none.stderr, /API_HOST \(--api-host\): "none" .* needs an API_SOCKET/);
  }),
});
