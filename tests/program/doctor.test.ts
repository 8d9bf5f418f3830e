// `dmnode doctor` as a process, with and without a running node.

import assert from "node:assert/strict";
import { join } from "node:path";
import type { Finding } from "../../src/web/findings.js";
import { run, withNodes } from "./program.ts";

/** An API at which no node answers. */
const NOBODY = ["--api", "http://127.0.0.1:1"];
const FREE = ["--p2p-port", "0", "--api-port", "0"];

const of = (findings: readonly Finding[], check: string) => {
  const found = findings.find((finding) => finding.check.startsWith(check));
  return found ?? assert.fail(`no ${check} among ${JSON.stringify(findings, null, 1)}`);
};

interface Diagnosis {
  readonly ok: boolean;
  readonly node: string | null;
  readonly findings: Finding[];
}

async function diagnose(
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): Promise<Diagnosis> {
  const { code, stdout, stderr } = await run(["doctor", "--json", ...args], { cwd, env });
  const diagnosis: Diagnosis = JSON.parse(stdout);
  assert.equal(code, diagnosis.ok ? 0 : 1, stderr);
  assert.equal(diagnosis.ok, diagnosis.findings.every(({ verdict }) => verdict !== "fail"));
  for (const { check, verdict, found, advice } of diagnosis.findings) {
    assert.ok(check !== "" && found !== "", check);
    if (verdict === "warn" || verdict === "fail") assert.ok(advice, `${check}: no advice`);
  }
  return diagnosis;
}

Deno.test(
  "without a node it prints one line for each check, and leaves no files",
  withNodes(async (_, directory) => {
    const { code, stdout, stderr } = await run(["doctor", ...NOBODY, ...FREE], { cwd: directory });
    assert.equal(code, 0, stdout + stderr);
    for (const line of stdout.trimEnd().split("\n")) {
      assert.match(line, /^(ok|warn|fail|unknown) +[^:]+: ./);
    }
    assert.match(stdout, /^unknown running node: no node answers at http:\/\/127\.0\.0\.1:1/m);
    assert.match(stdout, /^ok +UDP over IPv4: a datagram to itself/m);
    // Kubernetes sets such variables.
    const env = { API_PORT: "tcp://192.0.2.1:1", P2P_PORT: "tcp://192.0.2.1:2" };
    const unusual = await run(["doctor", ...NOBODY], { cwd: directory, env });
    assert.deepEqual(unusual.stdout.match(/Correct it|see the advice above/g), [
      "Correct it",
      "see the advice above",
    ]);
    assert.deepEqual([...Deno.readDirSync(directory)], []);
  }),
);

Deno.test({
  name: "it reports that the node can send in batches",
  ignore: Deno.build.os !== "linux",
  fn: withNodes(async (_, cwd) => {
    const { stdout } = await run(["doctor", ...NOBODY, ...FREE], { cwd });
    assert.match(stdout, /may use .*the C library's calls for batches of datagrams/);
  }),
});

Deno.test(
  "with a node it reports who uses the ports and the database, and whether the node is ready",
  withNodes(async (start, directory) => {
    const node = await start("data");
    const other = await start("other", ["--bootstrap", node.udp]);
    await other.line((line) => line.message.startsWith("Joined"));
    const with_ = await diagnose(["--api", node.api, "--data-dir", "data"], directory);
    assert.equal(with_.node, (await (await fetch(`${node.api}/network/stats`)).json()).node_id);
    assert.equal(with_.ok, true, JSON.stringify(with_));
    assert.match(of(with_.findings, "P2P port").found, new RegExp(node.udp));
    assert.match(of(with_.findings, "database").found, /in use by the running node/);
    assert.equal(of(with_.findings, "ready").verdict, "ok");
    assert.match(of(with_.findings, "peers").found, /1 healthy/);

    const own = await diagnose(["--api", other.api], directory);
    assert.match(of(own.findings, "DATA_DIR").check, /other$/);
    assert.match(of(own.findings, "database").found, /in use by the running node/);

    // Options of a start, and an API at which no node answers.
    const port = node.udp.split(":").pop()!, apiPort = new URL(node.api).port;
    const taken = ["--p2p-port", port, "--api-port", apiPort, "--data-dir", "data"];
    const blind = await diagnose([...NOBODY, ...taken], directory);
    assert.equal(blind.ok, false);
    assert.equal(of(blind.findings, "P2P port").verdict, "fail");
    assert.equal(of(blind.findings, "API port").verdict, "fail");
    assert.match(
      of(blind.findings, "database").found,
      /in use by a process that .* does not answer/,
    );
    // Options of a start without --api: the running node is not asked.
    const start_ = await diagnose([...taken, "--allow-net"], directory);
    assert.equal(start_.node, null);
    assert.equal(of(start_.findings, "P2P port").verdict, "fail");
    assert.match(of(start_.findings, "running node").found, /^not checked/);
    const painted = await diagnose(["--color", "never"], directory);
    assert.doesNotMatch(of(painted.findings, "running node").found, /^not checked/);
    await node.stop();
    const rest = await diagnose([...NOBODY, ...FREE, "--data-dir", "data"], directory);
    assert.match(of(rest.findings, "database").found, /is readable; no process uses it/);
    assert.equal(rest.ok, true);
  }),
);

Deno.test(
  "everything that would keep a node from starting is a failure",
  withNodes(async (_, directory) => {
    const verdict = async (check: string, args: string[]) =>
      of((await diagnose([...NOBODY, ...FREE, ...args], directory)).findings, check);
    const settings = await verdict("settings", ["--k", "0"]);
    assert.equal(settings.verdict, "fail");
    assert.match(settings.found, /K_BUCKET_SIZE/);
    const open = await verdict("settings", ["--api-host", "0.0.0.0"]);
    assert.match(open.found, /API_TOKEN/);
    const { findings } = await diagnose([], directory, { API_HOST: "http://127.0.0.1" });
    assert.match(of(findings, "settings").found, /API_HOST.*"http:\/\/127\.0\.0\.1"/);
    assert.match(of(findings, "running node").found, /is not a URL/);
    await Deno.writeTextFile(join(directory, "file"), "");
    assert.equal((await verdict("DATA_DIR", ["--data-dir", "file"])).verdict, "fail");
    await Deno.mkdir(join(directory, "broken"), { mode: 0o700 });
    await Deno.writeTextFile(join(directory, "broken/dmnode.sqlite"), "no database ".repeat(100));
    assert.equal((await verdict("database", ["--data-dir", "broken"])).verdict, "fail");
    await Deno.writeTextFile(join(directory, "broken/identity.pem"), "no key");
    assert.equal((await verdict("identity", ["--data-dir", "broken"])).verdict, "fail");
    await Deno.mkdir(join(directory, "keyless"), { mode: 0o700 });
    assert.equal((await verdict("identity", ["--data-dir", "keyless"])).verdict, "ok");
    await Deno.writeTextFile(join(directory, "keyless/dmnode.sqlite"), "a database");
    assert.equal((await verdict("identity", ["--data-dir", "keyless"])).verdict, "warn");
    if (Deno.build.os === "windows") return;
    await Deno.mkdir(join(directory, "shared"));
    await Deno.chmod(join(directory, "shared"), 0o755);
    assert.match((await verdict("DATA_DIR", ["--data-dir", "shared"])).advice!, /chmod 700/);
  }),
);

Deno.test(
  "dmnode peers NODE_ID shows one peer in detail",
  withNodes(async (start, directory) => {
    const node = await start("1");
    const other = await start("2", ["--bootstrap", node.udp]);
    await other.line((line) => line.message.startsWith("Joined"));
    const list = await (await fetch(`${other.api}/network/peers`)).json();
    const id = list.peers[0].node_id;
    const text = await run(["peers", id, "--api", other.api], { cwd: directory });
    assert.equal(text.code, 0, text.stderr);
    assert.match(text.stdout, /^score +0\.\d\d = answers [01]\.\d\d × speed/m);
    assert.match(text.stdout, /^\S+Z {2}joined +-$/m);
    const json = await run(["peers", id, "--json", "--api", other.api], { cwd: directory });
    assert.equal(JSON.parse(json.stdout).history[0].what, "joined");
    const wrong = await run(["peers", id, "--sort", "rtt"], { cwd: directory });
    assert.deepEqual([wrong.code, wrong.stderr.trim().split("\n").length], [2, 1]);
    const stranger = await run(["peers", "7".repeat(40), "--api", other.api], { cwd: directory });
    assert.match(stranger.stderr, /HTTP 404/);
  }),
);
