// The findings about settings and about the statistics of a node.

import assert from "node:assert/strict";
import { exampleOf } from "../../../src/reports/fields.ts";
import { Stats } from "../../../src/reports/stats.ts";
import { judgeSettings, version } from "../../../src/cli/doctor/doctor.ts";
import { parseAllowNet } from "../../../src/config/addresses.ts";
import { VERSION } from "../../../src/version.ts";
import { type Finding, judgeNode } from "../../../src/web/findings.js";

const EXAMPLE = exampleOf(Stats);

const NEAR_RTT = 40, FAR_RTT = 700;

/** A node with which everything is fine. */
const HEALTHY: Stats = {
  ...EXAMPLE,
  version: VERSION,
  readiness: { ready: true, reason: "30 peers answer", queries: 400, answers: 390, over_s: 300 },
  peers: { healthy: 30, degraded: 1, unhealthy: 0 },
  network_size_estimate: 1_000,
  clones: [],
  traffic: { ...EXAMPLE.traffic, dropped: {}, unsent: null },
  lookups: {
    count: 50,
    success: 50,
    active: 0,
    hops_mean: 3,
    latency_ms: { mean: 250, p50: 200, p95: 500 },
    crowded: 0,
    latest_crowded: null,
  },
  storage: { ...EXAMPLE.storage, bytes: 10, limit_bytes: 1_000 },
  nat: {
    ...EXAMPLE.nat,
    introducers: 0,
    families: [{
      ...EXAMPLE.nat.families[0],
      external_address: "192.0.2.1:8000",
      type: "none",
      reachable: true,
      evidence: {
        ...EXAMPLE.nat.families[0].evidence,
        votes: 12,
        voters: 12,
        reason: "queries arrive",
      },
    }],
    mapping: null,
    pinhole: null,
  },
};

function findingOf(findings: readonly Finding[], check: string): Finding {
  const found = findings.find((finding) => finding.check.startsWith(check));
  return found ?? assert.fail(`no ${check} among ${JSON.stringify(findings, null, 1)}`);
}

/** Verdict and advice of one check of the healthy node with these changes. */
function judge(check: string, changes: Partial<Stats>, medianRtt: number | null = NEAR_RTT) {
  const findings = judgeNode({ ...HEALTHY, ...changes }, medianRtt);
  const { verdict, advice } = findingOf(findings, check);
  return `${verdict} ${advice ?? ""}`.trim();
}

Deno.test("a healthy node gets only the verdict ok", () => {
  for (const { check, verdict } of judgeNode(HEALTHY, NEAR_RTT)) assert.equal(verdict, "ok", check);
});

Deno.test("a node that has just started gets no advice", () => {
  const stats = { ...HEALTHY, uptime_s: 9, peers: { healthy: 0, degraded: 0, unhealthy: 0 } };
  assert.ok(
    judgeNode(stats, null).every(({ verdict }) => verdict === "ok" || verdict === "unknown"),
  );
});

Deno.test("too few, silent or no peers are reported", () => {
  const few = { healthy: 2, degraded: 0, unhealthy: 0 };
  const none = { ...few, healthy: 0 };
  const notReady = { ...HEALTHY.readiness, ready: false, reason: "no peer has answered for 34 s" };
  assert.match(judge("peers", { peers: few }), /^warn too few/);
  assert.equal(judge("peers", { peers: few, network_size_estimate: 3 }), "ok");
  assert.match(judge("peers", { peers: { ...few, degraded: 5 } }), /^warn many missed/);
  assert.match(judge("peers", { peers: none }), /^warn no other node has joined/);
  assert.match(judge("peers", { peers: none, readiness: notReady }), /^fail/);
  assert.match(judge("ready", { readiness: notReady }), /^fail .*firewall/);
});

Deno.test("a low share of answers is reported once there are enough queries", () => {
  const answers = (answers: number, queries: number) =>
    judge("answers", { readiness: { ...HEALTHY.readiness, answers, queries } });
  assert.match(answers(40, 100), /^warn packets are lost/);
  assert.match(answers(1, 10), /^unknown/);
});

Deno.test("slow or failing lookups are explained", () => {
  const lookups = (p50: number, p95: number, options: { rtt?: number; success?: number } = {}) => {
    const { rtt = NEAR_RTT, success = HEALTHY.lookups.count } = options;
    const latency_ms = { mean: p50, p50, p95 };
    return judge("lookups", { lookups: { ...HEALTHY.lookups, success, latency_ms } }, rtt);
  };
  assert.match(lookups(200, 500, { success: 30 }), /^warn the others got no answer/);
  assert.match(lookups(300, 4_000), /^warn slow now and then/);
  assert.match(lookups(3_000, 4_000), /^warn slow: they mostly wait/);
  assert.match(lookups(2_500, 4_000, { rtt: FAR_RTT }), /^warn slow: .*the peers are far away/);
  assert.match(lookups(1_500, 4_000, { rtt: 250 }), /^warn slow: 3\.0 hops/);
});

Deno.test("lookups of a node without peers are not called too few", () => {
  const text = (count: number) => {
    const latency_ms = { mean: null, p50: null, p95: null };
    const lookups = { ...HEALTHY.lookups, count, success: 0, latency_ms };
    return findingOf(judgeNode({ ...HEALTHY, lookups }, null), "lookups").found;
  };
  assert.equal(text(1), "1 so far: too few to judge");
  assert.equal(text(3_000), "3000 so far, and none found another node");
});

Deno.test("nodes without a place because of MAX_PER_SUBNET are a warning if there are as many of them as peers", () => {
  const left_out = { nodes: 9, subnets: 1, largest: "198.51.100.0/24" };
  assert.match(judge("left out", { left_out, routing_table_size: 2 }), /^warn .*BOOTSTRAP_NODES/);
  assert.equal(judge("left out", { left_out, routing_table_size: 150 }), "ok");
  const none = { nodes: 0, subnets: 0, largest: null };
  const findings = judgeNode({ ...HEALTHY, left_out: none }, NEAR_RTT);
  assert.ok(!findings.some(({ check }) => check === "left out"));
});

Deno.test("nodes with one id are a warning that says whether this node is one of them", () => {
  const text = (is_own: boolean) => {
    const clones = [{ ...EXAMPLE.clones[0], is_own, addresses: ["192.0.2.1:8000"] }];
    assert.match(judge("clone", { clones }), /^warn .*empty DATA_DIR/);
    return findingOf(judgeNode({ ...HEALTHY, clones }, NEAR_RTT), "clone").found;
  };
  const id = EXAMPLE.clones[0].node_id;
  assert.equal(text(true), `another node, at 192.0.2.1:8000, uses this node's id ${id} too`);
  assert.equal(text(false), `the nodes at 192.0.2.1:8000 use one id, ${id}`);
});

Deno.test("a key with too many nodes around it is reported", () => {
  const latest_crowded = EXAMPLE.lookups.latest_crowded!;
  const lookups = { ...HEALTHY.lookups, crowded: 2, latest_crowded };
  const { verdict, found } = findingOf(judgeNode({ ...HEALTHY, lookups }, NEAR_RTT), "Sybils");
  assert.equal(verdict, "warn");
  assert.ok(found.startsWith("2 keys") && found.includes(latest_crowded.target), found);
  assert.equal(judge("Sybils", {}), "ok");
});

Deno.test("dropped packets, full storage and another version are reported", () => {
  const dropped = (dropped: Record<string, number>) =>
    judge("dropped", { traffic: { ...HEALTHY.traffic, dropped } });
  assert.match(dropped({ send_queue_full: 3 }), /^warn/);
  assert.equal(dropped({ not_allowed: 3 }), "ok");
  const storage = { ...HEALTHY.storage, bytes: 990, limit_bytes: 1_000 };
  assert.match(judge("values", { storage }), /^warn/);
  assert.equal(dropped({ rate_limited: 900 }), "ok", "one busy neighbour");
  assert.match(dropped({ rate_limited: 1e6 }), /^warn .*flooding/);
  assert.equal(version({ ...HEALTHY, version: "0.0.1" }).verdict, "warn");
});

Deno.test("packets that the system refuses to send are a failure if no peer answers", () => {
  const unsent = "192.0.2.9:6881: this machine has no route to it";
  const traffic = { ...HEALTHY.traffic, unsent, dropped: { not_sent: 12 } };
  assert.equal(judge("sending", { traffic }), "ok", "IPv6 may have no route");
  const peers = { healthy: 0, degraded: 0, unhealthy: 0 };
  assert.match(judge("sending", { traffic, peers }), /^fail .*routes/);
  const { found } = findingOf(judgeNode({ ...HEALTHY, traffic }, NEAR_RTT), "sending");
  assert.equal(found, `the system refused 12 packets, the latest to ${unsent}`);
});

Deno.test("a node without peers is not blamed for clients that answer no queries", () => {
  const readiness = { ...HEALTHY.readiness, queries: 40, answers: 0 };
  assert.match(judge("answers", { readiness }), /^warn/);
  assert.equal(judge("answers", { readiness, routing_table_size: 0 }), "unknown");
});

Deno.test("a log that nobody reads is reported", () => {
  assert.match(judge("log", { log: { dropped: 3, stalled_s: 0 } }), /^warn .*standard output/);
  assert.match(judge("log", { log: { dropped: 0, stalled_s: 60 } }), /^warn/);
  const findings = judgeNode({ ...HEALTHY, log: { dropped: 0, stalled_s: 0.1 } }, NEAR_RTT);
  assert.ok(!findings.some(({ check }) => check === "log"));
});

Deno.test("nodes that keep changing their ids are reported, and named if they are all that there is", () => {
  const changing_ids = { addresses: 1, worst: "[2001:db8::1]:6881", changes: 12 };
  assert.equal(judge("changing ids", { changing_ids }), "ok");
  const small = { changing_ids, routing_table_size: 1 };
  assert.match(judge("changing ids", small), /^warn .*dmnode deny 2001:db8::1$/);
});

Deno.test("published values that are not safe are reported", () => {
  const published = (changes: Partial<Stats["storage"]>) => {
    const storage = { ...HEALTHY.storage, published: 9, ...changes };
    const { verdict, found } = findingOf(
      judgeNode({ ...HEALTHY, storage }, NEAR_RTT),
      "published values",
    );
    return `${verdict} ${found}`;
  };
  assert.equal(published({}), "ok 9 values");
  assert.equal(published({ published_short: 2 }), "warn 9 values, 2 short of copies");
  assert.match(published({ published_failing: 3 }), /^warn 9 values, 3 on this node only/);
  assert.match(
    published({ published_ending: 1, published_short: 2 }),
    /^fail 9 values, 1 that other nodes will soon drop, 2 short/,
  );
  const storage = { ...HEALTHY.storage, published: 0 };
  assert.ok(
    judgeNode({ ...HEALTHY, storage }, NEAR_RTT).every(({ check }) => check !== "published values"),
  );
});

Deno.test("for a node that strangers can't reach, the report says how to change that", () => {
  const [family] = HEALTHY.nat.families;
  const seen = (reachable: boolean | null, introducers = 0) => {
    const families = [{ ...family, type: "symmetric" as const, reachable }];
    const nat = { ...HEALTHY.nat, introducers, families };
    const { verdict, found } = findingOf(judgeNode({ ...HEALTHY, nat }, NEAR_RTT), "seen");
    return `${verdict} ${found}`;
  };
  assert.match(
    seen(true),
    /^ok 192\.0\.2\.1:8000, reported by 12 of 12 peers .*symmetric NAT.*can reach it/,
  );
  assert.match(seen(false, 6), /^warn .*can't reach it.*6 nodes introduce others/);
  assert.match(seen(false), /^warn .*no node introduces others/);
  assert.match(seen(null), /^unknown/);
  const unseen = { ...HEALTHY.nat, families: [{ ...family, external_address: null }] };
  assert.match(judge("seen", { nat: unseen }), /^unknown/);
});

Deno.test("each state of the port mapping has a verdict", () => {
  type Mapping = NonNullable<Stats["nat"]["mapping"]>;
  const mapped: Mapping = {
    ...EXAMPLE.nat.mapping!,
    status: "mapped",
    protocol: "upnp",
    gateway: "192.168.1.1",
    external_address: "192.0.2.1:8000",
    problem: null,
  };
  const judge = (changes: Partial<Mapping>, reachable: boolean | null = null) => {
    const nat = { ...HEALTHY.nat, reachable, mapping: { ...mapped, ...changes } };
    const findings = judgeNode({ ...HEALTHY, nat }, NEAR_RTT);
    const { verdict, found, advice } = findingOf(findings, "port mapping");
    return `${verdict} ${found} ${advice ?? ""}`.trim();
  };
  const none = {
    status: "none",
    protocol: null,
    gateway: null,
    external_address: null,
    problem: "no router answers to PCP, NAT-PMP or UPnP",
  } as const;
  assert.equal(judge({}), "ok 192.0.2.1:8000 by the router 192.168.1.1 (upnp)");
  assert.match(judge({}, true), /^ok /);
  assert.match(judge({}, false), /^warn .* strangers can't reach .* beyond the router/);
  assert.match(judge(none), /^unknown none: no router answers .* turn on UPnP/);
  assert.match(judge(none, false), /^warn none: no router answers .* turn on UPnP/);
  assert.match(judge(none, true), /^ok none/);
  assert.match(
    judge({ status: "behind_another_nat", problem: "100.64.0.2 is a private one" }),
    /^warn .*private one.* bridge mode/,
  );
  assert.match(judge({ status: "not_needed" }), /^ok not needed/);
  assert.match(judge({ status: "searching" }), /^unknown /);
});

Deno.test("an IPv6 firewall is reported if it was opened", () => {
  const pinhole = {
    ...EXAMPLE.nat.mapping!,
    status: "mapped" as const,
    gateway: "192.168.1.1",
    external_address: "[2001:db8::1]:8000",
  };
  const findings = judgeNode({ ...HEALTHY, nat: { ...HEALTHY.nat, pinhole } }, NEAR_RTT);
  assert.match(findingOf(findings, "IPv6 firewall").found, /^192\.168\.1\.1 lets UDP in/);
  assert.ok(!findings.some(({ check }) => check === "port mapping"));
});

Deno.test("bootstrap nodes that --allow-net excludes are a failure", () => {
  const verdict = (allowNet: boolean | string, ...bootstrapNodes: string[]) => {
    const scope = parseAllowNet(allowNet);
    return judgeSettings({ p2pPort: 8000, bootstrapNodes, scope })[0].verdict;
  };
  assert.equal(verdict(false), "warn");
  assert.equal(verdict(false, "127.0.0.1:8001", "localhost:8002"), "warn");
  assert.equal(verdict(false, "10.0.0.1:8000"), "fail");
  assert.equal(verdict(false, "seed.example.org:8000"), "warn", "it may be this machine's name");
  assert.equal(verdict(true, "10.0.0.1:8000", "seed.example.org:8000"), "ok");
  assert.equal(verdict("10.0.0.0/8", "10.0.0.1:8000"), "ok");
  assert.equal(verdict("10.0.0.0/8", "10.0.0.1:8000", "[2001:db8::1]:8000"), "fail");
  assert.equal(
    verdict("seed.example.org", "192.0.2.1:8000"),
    "ok",
    "it may be that name's address",
  );
});
