// Why strangers can't reach a node: each case has its own evidence and its own remedy.

import assert from "node:assert/strict";
import type { NodeStats } from "../../src/reports/stats.ts";
import { reachCases, worksAnyway } from "../../src/web/reach_case.js";
import { FakeService } from "../api/fake_service.ts";

const STATS = await new FakeService().stats();
const OUTSIDE = ["192.168.1.5:8000"];
type Nat = NodeStats["nat"];
type Mapping = NonNullable<Nat["mapping"]>;

const MAPPING: Mapping = {
  ...STATS.nat.mapping!,
  status: "none",
  external_address: null,
  gateway: null,
  protocol: null,
  problem: "192.168.1.1 does not answer",
};

/** The first case of a node with these differences from one behind a NAT. */
function caseOf(
  { nat = {}, family = {}, addresses = OUTSIDE, config }: {
    readonly nat?: Partial<Nat>;
    readonly family?: Partial<Nat["families"][number]>;
    readonly addresses?: string[];
    readonly config?: Record<string, unknown>;
  },
) {
  const families = [{ ...STATS.nat.families[0], ...family }];
  return reachCases({
    ...STATS,
    addresses,
    nat: { ...STATS.nat, mapping: MAPPING, pinhole: null, ...nat, families },
    config: config as never,
  })[0];
}

const all = (steps: ReturnType<typeof caseOf>["remedy"]) => JSON.stringify(steps);

Deno.test("a node on loopback is told to start with --allow-net", () => {
  const { title, remedy } = caseOf({ addresses: ["127.0.0.1:8000"] });
  assert.match(title, /^Only programs on this machine/);
  assert.match(all(remedy), /dmnode --allow-net"/);
});

Deno.test("a node that strangers reach needs no remedy", () => {
  assert.deepEqual(caseOf({ family: { reachable: true } }).remedy, []);
});

Deno.test("each cause has its own title and remedy", () => {
  const mapped: Mapping = {
    ...MAPPING,
    status: "mapped",
    external_address: "203.0.113.9:8000",
    gateway: "192.168.1.1",
    protocol: "pcp",
    problem: null,
  };
  const cases = [
    [{ family: { type: "none" } }, /firewall drops/, /ufw allow 8000\/udp/],
    [{}, /no router opens the port/, /P2P_EXTERNAL=203\.0\.113\.9:8000/],
    [{ family: { type: "symmetric" } }, /a port for each peer/, /forward UDP port 8000/],
    [{ nat: { mode: "off" } }, /may not ask the router/, /NAT=auto/],
    [{ nat: { mapping: mapped } }, /says that the port is open/, /ufw allow/],
    [
      { nat: { mapping: { ...mapped, external_address: "100.70.1.2:8000" } } },
      /provider's own NAT/,
      /public IPv4 address/,
    ],
    [
      { nat: { mapping: { ...mapped, external_address: "10.0.0.2:8000" } } },
      /Two routers/,
      /bridge mode/,
    ],
    [{ nat: { mapping: { ...MAPPING, status: "searching" } } }, /still looking/, /Wait/],
    [{ config: { read_only: true, p2p_external: [] } }, /read-only/, /READ_ONLY/],
    [
      { config: { read_only: false, p2p_external: ["203.0.113.9:8000"] } },
      /P2P_EXTERNAL names does not work/,
      /as UDP, not only as TCP/,
    ],
  ] as const;
  const titles = cases.map(([given, title, remedy]) => {
    const found = caseOf(given as Parameters<typeof caseOf>[0]);
    assert.match(found.title, title);
    assert.match(all(found.remedy), remedy);
    assert.equal(found.tone, "warn");
    return found.title;
  });
  assert.equal(new Set(titles).size, cases.length);
});

Deno.test("without peers, the node is told to join a network", () => {
  const peers = { healthy: 0, degraded: 0, unhealthy: 0 };
  const [{ remedy }] = reachCases({
    ...STATS,
    peers,
    addresses: OUTSIDE,
    nat: { ...STATS.nat, families: [] },
  });
  assert.match(all(remedy), /--bootstrap/);
});

Deno.test("each address family has its own case", () => {
  const [four] = STATS.nat.families;
  const six = {
    ...four,
    family: 6 as const,
    external_address: "[2001:db8::5]:8000",
    type: "none" as const,
  };
  const found = reachCases({
    ...STATS,
    addresses: OUTSIDE,
    nat: { ...STATS.nat, families: [four, six] },
  });
  assert.deepEqual(found.map(({ family }) => family), [4, 6]);
  assert.match(all(found[1].remedy), /IPv6 firewall/);
  assert.match(worksAnyway(STATS.nat).join(), /6 nodes introduce/);
});
