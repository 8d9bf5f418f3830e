// No packet of a stranger makes a node send third parties more bytes than it received.

import assert from "node:assert/strict";
import fc from "fast-check";
import type { Endpoint } from "../../src/krpc/endpoint.ts";
import { compact, encode, endpoint, id, latin1, query, type Value } from "../packets.ts";
import { PORT_RESTRICTED, SYMMETRIC, VirtualNat } from "./virtual_nat.ts";
import { VirtualNetwork, type VirtualNode } from "./virtual_network.ts";

type Arguments = { [key: string]: Value };

const MINUTE = 60_000;

/** Long enough for all consequences of a packet. A burst lasts 1.4 s. */
const AFTER_MS = 2_500;

const PACKETS_PER_WORLD = 400;

/** Public nodes, some of them introducers, and hidden nodes of both kinds. */
class World {
  readonly network = new VirtualNetwork();
  readonly open: VirtualNode;
  readonly hidden: VirtualNode[];
  /** The endpoints of the hidden nodes, as the open node sees them. */
  readonly external: readonly Endpoint[];
  /** Bytes sent to unused addresses. */
  bytes = 0;

  constructor() {
    const { network } = this;
    for (let i = 0; i < 10; i++) {
      const node = network.add({ at: `5.5.${i}.1:6881` });
      if (i > 0) node.node.membership.join([network.nodes[0].endpoint], [], network.now);
      network.run(1_000);
    }
    this.hidden = [PORT_RESTRICTED, SYMMETRIC].map((behaviour, i) => {
      const node = new VirtualNat(network, `9.9.${i}.9`, behaviour).add();
      node.node.membership.join([network.nodes[0].endpoint], [], network.now);
      network.run(3 * MINUTE);
      return node;
    });
    this.open = network.nodes.find((node) => this.#knows(node, 0) && this.#knows(node, 1))!;
    this.external = this.hidden.map(({ node }) =>
      this.open.node.responder.peers.peers(node.id, 4, network.now)[0]
    );
    network.link = (datagram, _, to) => {
      if (to.host.startsWith("66.")) this.bytes += datagram.length;
      return datagram;
    };
  }

  #knows({ node }: VirtualNode, hidden: number): boolean {
    return node.responder.peers.peers(this.hidden[hidden].node.id, 4, this.network.now) !==
      undefined;
  }
}

const VICTIMS = ["66.1.1.1:1", "66.1.1.1:65535", "66.2.2.2:53", "66.3.3.3:6881"];

const plans = fc.record({
  /** The receiver: the open node or one of the hidden nodes. */
  to: fc.constantFrom("open" as const, 0 as const, 1 as const),
  from: fc.constantFrom("stranger", "introducer", "contact"),
  method: fc.constantFrom(
    "dm_pass",
    "dm_pass",
    "dm_probe",
    "dm_punch",
    "announce_peer",
    "get_peers",
  ),
  token: fc.constantFrom("none", "valid", "way back", "random"),
  target: fc.constantFrom("none", "hidden", "other hidden", "random"),
  endpoint: fc.constantFrom<string | undefined>(...VICTIMS, ...VICTIMS, "hidden", undefined),
  inner: fc.constantFrom("none", "punch", "proof", "ping", "get", "response", "long", "garbage"),
  natType: fc.constantFrom(0, 1, 2, 3, 99),
  hasReturnToken: fc.boolean(),
  /** Packets of other implementations may be shorter or longer. */
  isTerse: fc.boolean(),
});

type Plan = typeof plans extends fc.Arbitrary<infer T> ? T : never;

function build(world: World, plan: Plan): { packet: Uint8Array; from: Endpoint; to: VirtualNode } {
  const { open, hidden, network, external } = world;
  const to = plan.to === "open" ? open : hidden[plan.to];
  const other = network.nodes.find((node) => node !== open && open.node.tables.find(node.node.id))!;
  const [from, sender] = plan.from === "stranger"
    ? [endpoint("6.6.6.6:6666"), id("a5c3")]
    : plan.from === "introducer"
    ? [open.endpoint, open.node.id]
    : [other.endpoint, other.node.id];
  const hiddenAt = external[plan.to === 1 ? 1 : 0];
  const args: Arguments = {};
  const named = plan.endpoint === undefined
    ? undefined
    : plan.endpoint === "hidden"
    ? hiddenAt
    : endpoint(plan.endpoint);
  if (named !== undefined) args.values = [compact(named)];
  const { tokens } = to.node.responder;
  if (plan.token === "valid") args.token = tokens.issue(from, network.now).slice();
  if (plan.token === "way back" && named !== undefined) {
    args.token = tokens.issueReturn(named, from, network.now).slice();
  }
  if (plan.token === "random") args.token = "12345678";
  if (plan.target === "hidden") args.target = hidden[0].node.id.toBytes();
  if (plan.target === "other hidden") args.target = hidden[1].node.id.toBytes();
  if (plan.target === "random") args.target = id("77").toBytes();
  if (plan.hasReturnToken) args.rt = "12345678";
  if (plan.method === "announce_peer" || plan.method === "get_peers") {
    args.info_hash = args.target ?? id("77").toBytes();
    args.implied_port = 1;
  }
  const nt = plan.natType;
  const inner: Record<Plan["inner"], Uint8Array | undefined> = {
    none: undefined,
    punch: query("dm_punch", sender, { nt }),
    // The node must not accept a proof that it could have made up itself.
    proof: query("dm_punch", sender, { nt, token: "12345678" }),
    ping: query("ping", sender),
    get: query("get", sender, { target: id("77").toBytes() }),
    response: encode({ t: "aa", y: "r", r: { id: sender.toBytes(), nt } }),
    long: query("ping", sender, { x: new Uint8Array(1_000) }),
    garbage: latin1("d1:ad2:id"),
  };
  const payload = inner[plan.inner];
  if (payload !== undefined) args.v = payload;
  const more: Arguments = plan.isTerse ? { t: "" } : { v: "XX\x01\x02", ro: 1, x: "padding" };
  return { packet: query(plan.method, sender, args, more), from, to };
}

Deno.test("no packet makes a node send more bytes to third parties than the packet itself has", () => {
  let world = new World();
  let sent = 0;
  let reached = 0;
  fc.assert(
    fc.property(plans, (plan) => {
      // Unlike real NATs, this one lets in packets of strangers. After a while, a hidden node takes itself for a
      // reachable one.
      if (++sent % PACKETS_PER_WORLD === 0) world = new World();
      const { network } = world;
      const { packet, from, to } = build(world, plan);
      world.bytes = 0;
      to.node.receive(packet.slice(), from, network.now);
      network.run(AFTER_MS);
      if (world.bytes > 0) reached++;
      assert.ok(world.bytes <= packet.length, `${world.bytes} for ${packet.length} bytes`);
    }),
    { numRuns: 4_000 },
  );
  // Otherwise, the test would prove nothing: the node acts on some introductions.
  assert.ok(reached >= 5, `${reached}`);
});
