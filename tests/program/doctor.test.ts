// `dmnode doctor` with and without a running node, and how it judges what it sees.

import assert from "node:assert/strict";
import { join } from "node:path";
import {
  type Finding,
  judgeNode,
  judgeSettings,
  type MappingStats,
  type NodeStats,
} from "../../src/cli/doctor.ts";
import { parseAllowNet } from "../../src/config.ts";
import { VERSION } from "../../src/version.ts";
import { run, withNodes } from "./program.ts";

/** Where nobody listens. */
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

async function diagnose(args: readonly string[], cwd: string): Promise<Diagnosis> {
  const { code, stdout, stderr } = await run(["doctor", "--json", ...args], { cwd });
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
  "without a node it looks at the machine and the settings, one line each, and leaves nothing",
  withNodes(async (_, directory) => {
    const { code, stdout, stderr } = await run(["doctor", ...NOBODY, ...FREE], { cwd: directory });
    assert.equal(code, 0, stdout + stderr);
    for (const line of stdout.trimEnd().split("\n")) {
      assert.match(line, /^(ok|warn|fail|unknown) +[^:]+: ./);
    }
    assert.match(stdout, /^unknown running node: no node answers at http:\/\/127\.0\.0\.1:1/m);
    assert.match(stdout, /^ok +UDP over IPv4: there and back/m);
    assert.deepEqual([...Deno.readDirSync(directory)], []);
  }),
);

Deno.test({
  name: "it tells of the permission that batches take, where there is one",
  ignore: Deno.build.os !== "linux",
  fn: withNodes(async (_, cwd) => {
    for (const inBatches of [true, false]) {
      const { stdout } = await run(["doctor", ...NOBODY, ...FREE], { cwd, inBatches });
      assert.equal(/may use .*ffi \(the C library\)/.test(stdout), inBatches, stdout);
    }
  }),
});

Deno.test(
  "with a node it tells who has the ports and the database, and whether it is ready",
  withNodes(async (start, directory) => {
    const node = await start("data");
    const other = await start("other", ["--bootstrap", node.udp]);
    await other.line((line) => line.message.startsWith("Joined"));
    const with_ = await diagnose(["--api", node.api, "--data-dir", "data"], directory);
    assert.equal(with_.node, (await (await fetch(`${node.api}/network/stats`)).json()).node_id);
    assert.equal(with_.ok, true, JSON.stringify(with_));
    assert.match(of(with_.findings, "P2P port").found, new RegExp(node.udp));
    assert.match(of(with_.findings, "database").found, /held by the running node/);
    assert.equal(of(with_.findings, "ready").verdict, "ok");
    assert.match(of(with_.findings, "peers").found, /1 healthy/);

    const own = await diagnose(["--api", other.api], directory);
    assert.match(of(own.findings, "DATA_DIR").check, /other$/);
    assert.match(of(own.findings, "database").found, /held by the running node/);

    // The same machine, asked as if nothing were known of the node.
    const port = node.udp.split(":").pop()!, apiPort = new URL(node.api).port;
    const taken = ["--p2p-port", port, "--api-port", apiPort, "--data-dir", "data"];
    const blind = await diagnose([...NOBODY, ...taken], directory);
    assert.equal(blind.ok, false);
    assert.equal(of(blind.findings, "P2P port").verdict, "fail");
    assert.equal(of(blind.findings, "API port").verdict, "fail");
    assert.match(
      of(blind.findings, "database").found,
      /held by a process, which .* does not answer/,
    );
    // Whether one could start so has nothing to do with the node that runs.
    const start_ = await diagnose([...taken, "--allow-net"], directory);
    assert.equal(start_.node, null);
    assert.equal(of(start_.findings, "P2P port").verdict, "fail");
    assert.match(of(start_.findings, "running node").found, /^not asked/);
    const painted = await diagnose(["--color", "never"], directory);
    assert.doesNotMatch(of(painted.findings, "running node").found, /^not asked/);
    await node.stop();
    const rest = await diagnose([...NOBODY, ...FREE, "--data-dir", "data"], directory);
    assert.match(of(rest.findings, "database").found, /can be read; nobody holds it/);
    assert.equal(rest.ok, true);
  }),
);

Deno.test(
  "what would keep a node from starting is a failure",
  withNodes(async (_, directory) => {
    const verdict = async (check: string, args: string[]) =>
      of((await diagnose([...NOBODY, ...FREE, ...args], directory)).findings, check);
    const settings = await verdict("settings", ["--k", "0"]);
    assert.equal(settings.verdict, "fail");
    assert.match(settings.found, /K_BUCKET_SIZE/);
    const open = await verdict("settings", ["--api-host", "0.0.0.0"]);
    assert.match(open.found, /API_TOKEN/);
    await Deno.writeTextFile(join(directory, "file"), "");
    assert.equal((await verdict("DATA_DIR", ["--data-dir", "file"])).verdict, "fail");
    await Deno.mkdir(join(directory, "broken"), { mode: 0o700 });
    await Deno.writeTextFile(join(directory, "broken/dmnode.sqlite"), "no database ".repeat(100));
    assert.equal((await verdict("database", ["--data-dir", "broken"])).verdict, "fail");
    await Deno.writeTextFile(join(directory, "broken/identity.pem"), "no key");
    assert.equal((await verdict("identity", ["--data-dir", "broken"])).verdict, "fail");
    if (Deno.build.os === "windows") return;
    await Deno.mkdir(join(directory, "shared"));
    await Deno.chmod(join(directory, "shared"), 0o755);
    assert.match((await verdict("DATA_DIR", ["--data-dir", "shared"])).advice!, /chmod 700/);
  }),
);

Deno.test(
  "dmnode peers NODE_ID explains one peer",
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

Deno.test("settings that don't fit each other are found", () => {
  const judge = (allowNet: boolean | string, ...bootstrapNodes: string[]) => {
    const scope = parseAllowNet(allowNet);
    return judgeSettings({ p2pHost: "0.0.0.0", p2pPort: 8000, bootstrapNodes, scope })[0].verdict;
  };
  assert.equal(judge(false), "warn");
  assert.equal(judge(false, "127.0.0.1:8001", "localhost:8002"), "warn");
  assert.equal(judge(false, "10.0.0.1:8000"), "fail");
  assert.equal(judge(false, "seed.example.org:8000"), "warn", "it may be this machine's name");
  assert.equal(judge(true, "10.0.0.1:8000", "seed.example.org:8000"), "ok");
  assert.equal(judge("10.0.0.0/8", "10.0.0.1:8000"), "ok");
  assert.equal(judge("10.0.0.0/8", "10.0.0.1:8000", "[2001:db8::1]:8000"), "fail");
  assert.equal(judge("seed.example.org", "192.0.2.1:8000"), "ok", "it may be that name's address");
});

const STATS: NodeStats = {
  version: VERSION,
  node_id: "a1".repeat(20),
  started_at: "2026-04-14T08:00:00Z",
  uptime_s: 900,
  addresses: ["0.0.0.0:8000"],
  readiness: { ready: true, reason: "30 peers answer", queries: 400, answers: 390, over_s: 300 },
  peers: { healthy: 30, degraded: 1, unhealthy: 0 },
  network_size_estimate: 1000,
  traffic: { dropped: {} },
  lookups: { count: 50, success: 50, hops_mean: 3, latency_ms: { p50: 200, p95: 500 } },
  storage: { bytes: 10, limit_bytes: 1000 },
  nat: {
    external_address: "192.0.2.1:8000",
    votes: 12,
    introducers: 0,
    families: [{
      family: 4,
      external_address: "192.0.2.1:8000",
      type: "none",
      reachable: true,
      evidence: { votes: 12, voters: 12, reason: "queries arrive" },
    }],
  },
  config: {
    p2p_host: "0.0.0.0",
    p2p_port: 8000,
    bootstrap_nodes: [],
    allow_net: true,
    data_dir: "data",
  },
};

Deno.test("what the router does for the port is judged, each in words", () => {
  const mapped: MappingStats = {
    status: "mapped",
    protocol: "upnp",
    gateway: "192.168.1.1",
    external_address: "192.0.2.1:8000",
    problem: null,
  };
  const judge = (change: Partial<MappingStats>, reachable: boolean | null = null) => {
    const nat = { ...STATS.nat, reachable, mapping: { ...mapped, ...change } };
    const { verdict, found, advice } = of(judgeNode({ ...STATS, nat }, 40), "port mapping");
    return `${verdict} ${found} ${advice ?? ""}`.trim();
  };
  assert.equal(judge({}), "ok 192.0.2.1:8000 by the router 192.168.1.1 (upnp)");
  assert.match(judge({}, true), /^ok /);
  assert.match(judge({}, false), /^warn .* strangers can't reach .* beyond the router/);
  const none = { status: "none", protocol: null, gateway: null, external_address: null };
  const silent = { ...mapped, ...none, problem: "no router answers to PCP, NAT-PMP or UPnP" };
  assert.match(judge(silent), /^warn none: no router answers .* turn on UPnP/);
  assert.match(judge(silent, true), /^ok none/);
  assert.match(
    judge({ status: "behind_another_nat", problem: "100.64.0.2 is a private one" }),
    /^warn .*private one.* bridge mode/,
  );
  assert.match(judge({ status: "not_needed" }), /^ok not needed/);
  assert.match(judge({ status: "searching" }), /^unknown /);
  const pinhole: MappingStats = { ...mapped, external_address: "[2001:db8::1]:8000" };
  const both = judgeNode({ ...STATS, nat: { ...STATS.nat, mapping: null, pinhole } }, 40);
  assert.match(of(both, "IPv6 firewall").found, /^192\.168\.1\.1 lets UDP in/);
  assert.ok(!both.some(({ check }) => check === "port mapping"));
});

Deno.test("a node's figures are judged, each in words", () => {
  const judge = (check: string, changes: Partial<NodeStats>, rtt: number | null = 40) => {
    const { verdict, advice } = of(judgeNode({ ...STATS, ...changes }, rtt), check);
    return `${verdict} ${advice ?? ""}`.trim();
  };
  for (const { check, verdict } of judgeNode(STATS, 40)) assert.equal(verdict, "ok", check);

  const few = { healthy: 2, degraded: 0, unhealthy: 0 };
  assert.match(judge("peers", { peers: few }), /^warn too few/);
  assert.equal(judge("peers", { peers: few, network_size_estimate: 3 }), "ok");
  assert.match(judge("peers", { peers: { ...few, degraded: 5 } }), /^warn most don't answer/);
  assert.match(judge("peers", { peers: { ...few, healthy: 0 } }), /^warn it is alone/);
  const lost = { ...STATS.readiness!, ready: false, reason: "no peer has answered for 34 s" };
  assert.match(judge("peers", { peers: { ...few, healthy: 0 }, readiness: lost }), /^fail/);
  assert.match(judge("ready", { readiness: lost }), /^fail .*firewall/);

  const rate = (answers: number, queries: number) =>
    judge("answers", { readiness: { ...STATS.readiness!, answers, queries } });
  assert.match(rate(40, 100), /^warn packets are lost/);
  assert.match(rate(1, 10), /^unknown/);

  const lookups = (p50: number, p95: number, rtt: number | null, success = 50) =>
    judge(
      "lookups",
      { lookups: { count: 50, success, hops_mean: 3, latency_ms: { p50, p95 } } },
      rtt,
    );
  assert.match(lookups(200, 500, 40, 30), /^warn nobody answered/);
  assert.match(lookups(300, 4000, 40), /^warn slow now and then/);
  assert.match(lookups(3000, 4000, 40), /^warn slow: most of the time it waits/);
  assert.match(lookups(2500, 4000, 700), /^warn slow: its peers are far/);
  assert.match(lookups(1500, 4000, 250), /^warn slow: 3\.0 hops/);

  assert.match(judge("dropped", { traffic: { dropped: { send_queue_full: 3 } } }), /^warn/);
  assert.equal(judge("dropped", { traffic: { dropped: { not_allowed: 3 } } }), "ok");
  assert.match(judge("values", { storage: { bytes: 990, limit_bytes: 1000 } }), /^warn/);
  const seen = (introducers: number, reachable: boolean | null) => {
    const [family] = STATS.nat.families!;
    const type = "symmetric";
    const nat = { ...STATS.nat, introducers, families: [{ ...family, type, reachable }] };
    const { verdict, found } = of(judgeNode({ ...STATS, nat }, 40), "seen");
    return `${verdict} ${found}`;
  };
  assert.match(seen(0, true), /^ok 192\.0\.2\.1:8000, by 12 of 12 .*another port.*can reach it/);
  assert.match(seen(6, false), /^warn .*can't reach it.*6 nodes introduce others/);
  assert.match(seen(0, false), /^warn .*nobody introduces others/);
  assert.match(seen(0, null), /^unknown/);
  assert.match(judge("seen", { nat: { external_address: null, votes: 0 } }), /^unknown/);
  assert.match(judge("running", { version: "0.0.1" }), /^warn/);
  // A node from before this version.
  assert.ok(judgeNode({ ...STATS, readiness: undefined }, null).length > 4);
});
