// Tests reaching nodes behind NATs: directly, through punched holes, through relays, and under attack.

import assert from "node:assert/strict";
import { Bursts, TRIED_PORTS } from "../../../src/dht/nat/burst.ts";
import { Deadlines } from "../../../src/dht/deadlines.ts";
import {
  immutableItem,
  isItemError,
  type Item,
  mutableItem,
  signedBytes,
} from "../../../src/dht/items/item.ts";
import { ItemReader } from "../../../src/dht/items/item_reader.ts";
import type { ReachResult } from "../../../src/dht/nat/reaching.ts";
import { Outbox } from "../../../src/dht/outbox.ts";
import { Random } from "../../../src/dht/random.ts";
import { Self } from "../../../src/dht/self.ts";
import { Traffic } from "../../../src/dht/traffic.ts";
import type { Transport } from "../../../src/dht/transport.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import type { Endpoint } from "../../../src/krpc/endpoint.ts";
import type { Id } from "../../../src/krpc/id.ts";
import { Identity, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import {
  compact,
  decodeAny,
  type Decoded,
  endpoint,
  id,
  latin1,
  query,
  text,
  type Value,
} from "../../packets.ts";
import {
  ADDRESS_RESTRICTED,
  FULL_CONE,
  type NatBehaviour,
  PORT_RESTRICTED,
  SYMMETRIC,
  VirtualNat,
} from "../virtual_nat.ts";
import {
  SlowStore,
  Stranger,
  VirtualNetwork,
  type VirtualNode,
  type VirtualNodeOptions,
} from "../virtual_network.ts";

const MINUTE = 60_000;

/** A network of nodes at public addresses, each in a subnet of its own. */
function internet(count = 12, options: VirtualNodeOptions = {}): VirtualNetwork {
  const network = new VirtualNetwork(20);
  for (let i = 0; i < count; i++) {
    const node = network.add({ at: `5.5.${i}.1:6881`, ...options });
    if (i > 0) node.node.membership.join([network.nodes[0].endpoint], [], network.now);
    network.run(1_000);
  }
  network.run(3 * MINUTE);
  return network;
}

/** Returns a node behind a NAT that has detected its NAT. */
function behind(
  network: VirtualNetwork,
  behaviour: NatBehaviour,
  options: VirtualNodeOptions = {},
): VirtualNode {
  const nat = new VirtualNat(network, `9.9.${network.nodes.length}.9`, behaviour);
  const node = nat.add(options);
  node.node.membership.join([network.nodes[0].endpoint], [], network.now);
  // By then, the node also has an id that fits its address.
  network.run(3 * MINUTE);
  return node;
}

interface Reached {
  readonly result: ReachResult;
  readonly ms: number;
}

function reach(network: VirtualNetwork, from: VirtualNode, to: VirtualNode): Reached {
  const begun = network.now;
  let ms = NaN;
  const result = network.complete<ReachResult>((now, done) =>
    from.node.hidden.cross().reaching.reach(to.node.id, now, (result, at) => {
      ms = at - begun;
      done(result);
    })
  );
  return { result, ms };
}

const way = ({ result }: Reached) => result.kind === "reached" ? result.way : result.kind;

const KINDS = {
  public: undefined,
  "full cone": FULL_CONE,
  "address-restricted": ADDRESS_RESTRICTED,
  "port-restricted": PORT_RESTRICTED,
  symmetric: SYMMETRIC,
} as const;
type Kind = keyof typeof KINDS;

for (
  const [from, to, expected] of [
    ["public", "public", "direct"],
    ["port-restricted", "public", "direct"],
    ["symmetric", "public", "direct"],
    ["port-restricted", "full cone", "direct"],
    ["symmetric", "full cone", "direct"],
    ["public", "port-restricted", "punched"],
    ["public", "symmetric", "punched"],
    ["port-restricted", "port-restricted", "punched"],
    ["address-restricted", "port-restricted", "punched"],
    ["port-restricted", "address-restricted", "punched"],
    ["symmetric", "address-restricted", "punched"],
    ["address-restricted", "symmetric", "punched"],
    ["symmetric", "port-restricted", "punched"],
    ["port-restricted", "symmetric", "punched"],
    ["symmetric", "symmetric", "relayed"],
  ] as readonly [Kind, Kind, string][]
) {
  Deno.test(`${from} to ${to}: ${expected}`, () => {
    const network = internet(40, { k: 4 });
    const [x, y] = [from, to].map((kind, i) => {
      const behaviour = KINDS[kind];
      if (behaviour !== undefined) return behind(network, behaviour, { k: 4 });
      return network.nodes[20 + 10 * i];
    });
    const reached = reach(network, x, y);
    assert.equal(way(reached), expected);
    assert.ok(reached.ms < 2_000, `${reached.ms} ms`);
    // The way is still open, so no other node is asked the next time.
    const again = reach(network, x, y);
    assert.equal(way(again), expected);
    assert.ok(again.ms <= 160, `${again.ms} ms`);
  });
}

Deno.test("holes of earlier attempts don't keep a node behind a symmetric NAT from meeting others", () => {
  const network = internet(40, { k: 4 });
  const timeoutMs = 10 * MINUTE;
  const symmetric = behind(network, { ...SYMMETRIC, timeoutMs }, { k: 4 });
  const other = behind(network, { ...PORT_RESTRICTED, timeoutMs }, { k: 4 });
  for (let i = 0; i < 6; i++) {
    const [from, to] = i % 2 === 0 ? [other, symmetric] : [symmetric, other];
    assert.equal(way(reach(network, from, to)), "punched", `attempt ${i}`);
    network.run(2.5 * MINUTE);
  }
});

Deno.test("after a burst to one node behind a symmetric NAT has succeeded, the next node can use a burst", () => {
  const cases: readonly [what: string, isLate: (packet: Decoded) => boolean, ms: number][] = [
    ["no burst", ({ y }) => text(y) === "r", 50],
    ["an ended burst", ({ q }) => q !== undefined && text(q) === "dm_punch", 120],
  ];
  for (const [what, isLate, ms] of cases) {
    const network = internet(40, { k: 4 });
    const symmetric = behind(network, SYMMETRIC, { k: 4 });
    const open = behind(network, ADDRESS_RESTRICTED, { k: 4 });
    const closed = [0, 1].map(() => behind(network, PORT_RESTRICTED, { k: 4 }));
    const { host } = symmetric.node.nats[4]!.state.external!;
    let late: Decoded;
    network.link = (datagram, from, to) => {
      if (from.host !== host || to.host !== open.node.nats[4]!.state.external!.host) {
        return datagram;
      }
      const packet = decodeAny(datagram);
      if (!isLate(packet)) return datagram;
      // The first packet is late, and the same packets from the other ports are lost.
      if (late === undefined) {
        late = packet;
        network.after(ms, () => open.node.receive(datagram, from, network.now));
      }
      return undefined;
    };
    assert.equal(way(reach(network, open, symmetric)), "punched", what);
    assert.ok(late !== undefined, what);
    network.link = (datagram) => datagram;
    for (const next of closed) assert.equal(way(reach(network, next, symmetric)), "punched", what);
  }
});

Deno.test("late timers don't keep a burst from trying all ports in time", () => {
  const deadlines = new Deadlines(), ports = new Set<number>();
  const transport: Transport = {
    send: (_datagram, { port }) => void ports.add(port),
    isLocal: () => false,
    openSockets: () => undefined,
  };
  const outbox = new Outbox({ self: new Self(id("aa"), 0), traffic: new Traffic(), transport });
  const random = new Random((length) => new Uint8Array(length).fill(7));
  const bursts = new Bursts({ outbox, deadlines, random, onDatagram: () => {} });
  bursts.start({ other: id("bb"), to: endpoint("9.9.9.9:1"), isSymmetric: false }, 0);
  let now = 0, largestStep = 0;
  while (bursts.isRunning) {
    const before = ports.size;
    deadlines.run(now += 17);
    largestStep = Math.max(largestStep, ports.size - before);
  }
  assert.equal(ports.size, TRIED_PORTS);
  assert.ok(now <= 1_417, `${now} ms`);
  assert.ok(largestStep <= 20, `${largestStep} ports in one step`);
});

// ---- registration

/** A node at which the hidden node is not registered. */
function notIntroducing(network: VirtualNetwork, hidden: VirtualNode): VirtualNode {
  return network.nodes.find((node) =>
    node !== hidden &&
    node.node.responder.peers.peers(hidden.node.id, 4, network.now).length === 0
  )!;
}

Deno.test("an introducer reaches a hidden node without an introduction", () => {
  const network = internet();
  const hidden = behind(network, PORT_RESTRICTED);
  const introducer = network.nodes.find(({ node }) =>
    node.responder.peers.peers(hidden.node.id, 4, network.now).length > 0
  )!;
  assert.equal(way(reach(network, introducer, hidden)), "direct");
  assert.equal(introducer.node.tables.find(hidden.node.id), undefined, "it is still in no table");
});

Deno.test("a hidden node is found by its id until it is gone", () => {
  const network = internet();
  const hidden = behind(network, PORT_RESTRICTED);
  const asker = notIntroducing(network, hidden);
  assert.equal(asker.node.tables.find(hidden.node.id), undefined);
  assert.equal(way(reach(network, asker, hidden)), "punched");
  assert.equal(asker.node.tables.find(hidden.node.id), undefined, "it is still in no table");
  hidden.isDown = true;
  network.run(MINUTE);
  assert.equal(way(reach(network, asker, hidden)), "timeout");
  network.run(50 * MINUTE);
  assert.equal(way(reach(network, asker, hidden)), "unknown");
});

Deno.test("no node is found under an id that no node has", () => {
  const network = internet();
  const nobody = { node: { id: network.randomId() } } as VirtualNode;
  assert.equal(way(reach(network, network.nodes[1], nobody)), "unknown");
});

Deno.test("one introducer is enough", () => {
  const network = internet(20);
  const hidden = behind(network, PORT_RESTRICTED);
  assert.ok(hidden.node.introducers >= 4, `${hidden.node.introducers}`);
  const holders = network.nodes.filter(({ node }) =>
    node.responder.peers.peers(hidden.node.id, 4, network.now).length > 0
  );
  assert.equal(holders.length, hidden.node.introducers);
  for (const holder of holders.slice(1)) holder.isDown = true;
  const asker = notIntroducing(network, hidden);
  assert.equal(way(reach(network, asker, hidden)), "punched");
});

Deno.test("lost introducers are replaced, and registrations last for hours", () => {
  const network = internet(20);
  const hidden = behind(network, { ...PORT_RESTRICTED, timeoutMs: 30_000 });
  for (let i = 0; i < 3; i++) {
    for (const { node, isDown } of network.nodes) {
      if (isDown || node.responder.peers.peers(hidden.node.id, 4, network.now).length === 0) {
        continue;
      }
      network.nodes.find((one) => one.node === node)!.isDown = true;
      break;
    }
    network.run(4 * MINUTE);
    assert.ok(hidden.node.introducers >= 5, `${hidden.node.introducers}`);
  }
  const asker = network.nodes.find(({ isDown, node }) => !isDown && node !== hidden.node)!;
  for (let hour = 0; hour < 3; hour++) {
    network.run(60 * MINUTE);
    assert.equal(way(reach(network, asker, hidden)), "punched");
  }
});

Deno.test("a hidden node registers again within three minutes after an outage of hours", () => {
  const network = internet();
  const hidden = behind(network, PORT_RESTRICTED);
  hidden.isDown = true;
  network.run(145 * MINUTE);
  assert.equal(hidden.node.introducers, 0);
  hidden.isDown = false;
  network.run(3 * MINUTE);
  assert.ok(hidden.node.introducers >= 4, `${hidden.node.introducers}`);
});

Deno.test("a hidden node is found within a minute after its router restarted", () => {
  const network = internet();
  const nat = new VirtualNat(network, "9.9.9.9", PORT_RESTRICTED);
  const hidden = nat.add();
  hidden.node.membership.join([network.nodes[0].endpoint], [], network.now);
  network.run(MINUTE);
  for (let i = 0; i < 3; i++) {
    nat.restart();
    network.run(MINUTE);
    const { result } = reach(network, network.nodes[3], hidden);
    assert.ok(result.kind === "reached");
    assert.ok(result.endpoint.equals(hidden.node.nats[4]!.state.external!));
    network.run(5 * MINUTE);
  }
});

Deno.test("a node that can be reached again leaves its introducers", () => {
  const network = internet();
  const nat = new VirtualNat(network, "9.9.9.9", PORT_RESTRICTED);
  const hidden = nat.add();
  hidden.node.membership.join([network.nodes[0].endpoint], [], network.now);
  network.run(MINUTE);
  assert.ok(hidden.node.introducers > 0);
  nat.forward(6881, hidden.endpoint);
  hidden.node.nats[4]!.noteMapping(endpoint(`${nat.address}:6881`), network.now);
  network.run(2 * MINUTE);
  assert.equal(hidden.node.introducers, 0);
  network.run(5 * MINUTE);
  assert.equal(way(reach(network, network.nodes[3], hidden)), "direct");
});

Deno.test("staying reachable costs less than one packet in two seconds", () => {
  const network = internet(30, { k: 4 });
  const hidden = behind(network, PORT_RESTRICTED, { k: 4 });
  network.run(5 * MINUTE);
  const { messages } = hidden.node.traffic.out;
  network.run(60 * MINUTE);
  const perSecond = (hidden.node.traffic.out.messages - messages) / 3_600;
  assert.ok(perSecond < 0.5, `${perSecond}`);
});

// ---- relayed messages

/** Fetches an item of node `y` through node `x`. */
function getFrom(
  { network, x, y, target }: {
    network: VirtualNetwork;
    x: VirtualNode;
    y: VirtualNode;
    target: Id;
  },
): Item | undefined {
  const query = { target: y.node.id, method: "get", args: { target, wantSalt: true } } as const;
  return network.complete<Item | undefined>((now, done) =>
    x.node.hidden.cross().reaching.ask(query, now, (answer) => {
      const reader = new ItemReader(itemCrypto, { target });
      if (answer !== undefined) reader.read(answer);
      done(reader.newest);
    })
  );
}

Deno.test("an item is fetched from a hidden node through a hole or a relay", () => {
  for (const [behaviour, size] of [[PORT_RESTRICTED, 900], [SYMMETRIC, 990]] as const) {
    const network = internet();
    const [x, y] = [behind(network, behaviour), behind(network, behaviour)];
    const item = immutableItem(itemCrypto, bencodeBytes(new Uint8Array(size).fill(65)));
    y.items.put({ item }, network.now, () => {});
    const get = (target: Id) => getFrom({ network, x, y, target });
    assert.deepEqual(get(item.target)?.value, item.value);
    assert.equal(get(network.randomId()), undefined);
  }
});

Deno.test("an item that a hidden node must read from disk is fetched through a relay too", () => {
  const network = internet();
  const item = immutableItem(itemCrypto, bencodeBytes(latin1("from disk")));
  const published = new SlowStore(item);
  const [x, y] = [behind(network, SYMMETRIC), behind(network, SYMMETRIC, { published })];
  const readAll = () => {
    for (const read of published.reads.splice(0)) read();
    network.after(500, readAll);
  };
  readAll();
  assert.deepEqual(getFrom({ network, x, y, target: item.target })?.value, item.value);
});

Deno.test("a mutable item is fetched through a relay too, with its salt", () => {
  const network = internet();
  const [x, y] = [behind(network, SYMMETRIC), behind(network, SYMMETRIC)];
  const owner = new Identity(new Uint8Array(32).fill(3)), salt = latin1("s".repeat(64));
  const value = bencodeBytes(new Uint8Array(900).fill(66));
  const signature = owner.sign(signedBytes(salt, 4, value));
  const signed = { publicKey: owner.publicKey, signature, salt, seq: 4 };
  const item = mutableItem(itemCrypto, value, signed);
  assert.ok(!isItemError(item));
  y.items.put({ item }, network.now, () => {});
  const got = getFrom({ network, x, y, target: item.target });
  assert.deepEqual(got?.value, value);
});

Deno.test("RELAY=0: without relays, two nodes behind symmetric NATs don't meet", () => {
  const network = internet(12, { relayRate: 0 });
  const [x, y] = [behind(network, SYMMETRIC), behind(network, SYMMETRIC)];
  assert.equal(way(reach(network, x, y)), "timeout");
  const z = behind(network, PORT_RESTRICTED);
  assert.equal(way(reach(network, x, z)), "punched", "introductions are still made");
});

Deno.test("a hidden node answers nodes it has met, names no other nodes, and says that it is read-only", () => {
  const network = internet();
  const hidden = behind(network, PORT_RESTRICTED);
  const stranger = new Stranger(network, "6.6.6.6:6000");
  const asker = notIntroducing(network, hidden);
  const external = hidden.node.nats[4]!.state.external!;
  assert.equal(stranger.askRaw(query("ping", id("aa")), external), undefined);
  reach(network, asker, hidden);
  const replies: Decoded[] = [];
  network.link = (datagram, from) => {
    if (from.equals(external)) replies.push(decodeAny(datagram));
    return datagram;
  };
  asker.node.ping(external, network.now, () => {});
  network.run(200);
  const pong = replies.find(({ y }) => text(y) === "r");
  assert.equal(pong.ro, 1);
  assert.equal(stranger.askRaw(query("ping", id("aa")), external), undefined, "and nobody else");
  replies.length = 0;
  network.run(3 * MINUTE);
  asker.node.ping(external, network.now, () => {});
  network.run(200);
  assert.equal(replies.find(({ y }) => text(y) === "r"), undefined, "and not forever");
});

// ---- attacks

/** A hidden node and one of its introducers. The test plays the introducer. */
class Played {
  readonly network = internet();
  readonly hidden: VirtualNode;
  readonly introducer: VirtualNode;
  readonly external: Endpoint;
  /** The packets that the hidden node sends to unused addresses. */
  readonly sent: { readonly to: Endpoint; readonly bytes: number }[] = [];

  constructor(behaviour: NatBehaviour = PORT_RESTRICTED) {
    this.hidden = behind(this.network, behaviour);
    this.introducer = this.network.nodes.find(({ node }) =>
      node.responder.peers.peers(this.hidden.node.id, 4, this.network.now).length > 0
    )!;
    this.external =
      this.introducer.node.responder.peers.peers(this.hidden.node.id, 4, this.network.now)[0];
    this.network.link = (datagram, from, to) => {
      const isVictim = to.host.startsWith("66.");
      if (isVictim && from.host === this.external.host) {
        this.sent.push({ to, bytes: datagram.length });
      }
      return datagram;
    };
  }

  /** Delivers a message of `sender` as its introducer or another node would. Returns what the node sent because of it. */
  deliver(
    sender: string,
    inner: Uint8Array,
    { from = this.introducer.endpoint, rt = "12345678", ms = 3_000 } = {},
  ): { count: number; bytes: number; size: number } {
    this.sent.length = 0;
    const args = { values: [compact(endpoint(sender))], v: inner, rt };
    const packet = query("dm_pass", this.introducer.node.id, args);
    // Bypass the NAT, which might drop the packet.
    this.hidden.node.receive(packet.slice(), from, this.network.now);
    this.network.run(ms);
    const sent = this.sent.filter(({ to }) => to.host === endpoint(sender).host);
    const bytes = sent.reduce((sum, one) => sum + one.bytes, 0);
    return { count: sent.length, bytes, size: packet.length };
  }
}

const PUNCH = query("dm_punch", id("a5c3"), { nt: 2 });

Deno.test("an introduction makes a node send one packet that is smaller than the introduction", () => {
  const scene = new Played();
  const { count, bytes, size } = scene.deliver("66.1.1.1:1", PUNCH);
  assert.equal(count, 1);
  assert.ok(bytes < size, `${bytes} for ${size}`);
});

Deno.test("introductions by nodes at which it has not registered are dropped", () => {
  const scene = new Played();
  const stranger = endpoint("6.6.6.6:6");
  assert.equal(scene.deliver("66.1.1.1:1", PUNCH).count, 1);
  for (
    const from of [
      stranger,
      scene.introducer.endpoint.withPort(7),
      endpoint("5.5.200.1:6881"),
    ]
  ) {
    assert.equal(scene.deliver("66.1.1.1:1", PUNCH, { from }).count, 0);
  }
  assert.ok(scene.hidden.node.traffic.dropped.not_introduced! >= 3);
});

Deno.test("introductions are limited by a rate, and few introduced nodes are remembered", () => {
  const scene = new Played();
  let count = 0;
  for (let i = 0; i < 300; i++) {
    count += scene.deliver(`66.1.${i >> 8}.${i & 255}:1`, PUNCH, { ms: 10 }).count;
  }
  assert.ok(count >= 16 && count <= 16 + 4 * 4, `${count}`);
  assert.ok(scene.hidden.node.traffic.dropped.over_budget! >= 260);
});

Deno.test("no introduction leads a node to its own network, its own machine, or no address", () => {
  const scene = new Played();
  const { hidden, network } = scene;
  for (
    const sender of ["192.168.1.1:80", "10.0.0.1:80", "127.0.0.1:80", "66.1.1.1:0", "224.0.0.1:1"]
  ) {
    const before = hidden.node.traffic.out.byType()["dm_punch.query"]?.messages ?? 0;
    scene.deliver(sender, PUNCH);
    assert.equal(hidden.node.traffic.out.byType()["dm_punch.query"]?.messages ?? 0, before, sender);
  }
  assert.ok(network.now > 0);
});

Deno.test("a lying introducer can't make a node send many packets", () => {
  for (const [behaviour, claimed] of [[PORT_RESTRICTED, 3], [SYMMETRIC, 2]] as const) {
    const scene = new Played(behaviour);
    const tokens = [
      undefined,
      "12345678",
      "",
      // The token that the node returns if it answers a request for one.
      scene.hidden.node.responder.tokens.issue(endpoint("66.1.1.1:1"), scene.network.now).slice(),
      // A proof for another address, and for another witness.
      scene.hidden.node.responder.tokens.issueReturn(
        endpoint("66.1.1.2:0"),
        scene.introducer.endpoint,
        scene.network.now,
      ).slice(),
      scene.hidden.node.responder.tokens.issueReturn(
        endpoint("66.1.1.1:0"),
        endpoint("5.5.99.1:6881"),
        scene.network.now,
      ).slice(),
    ];
    for (const token of tokens) {
      const args: { [key: string]: Value } = { nt: claimed };
      if (token !== undefined) args.token = token;
      const { count, bytes, size } = scene.deliver(
        "66.1.1.1:1",
        query("dm_punch", id("a5c3"), args),
      );
      assert.equal(count, 1);
      assert.ok(bytes < size);
    }
  }
});

Deno.test("even with the proof, bursts run one at a time, are bounded, and are limited per minute", () => {
  const scene = new Played(PORT_RESTRICTED);
  const { hidden, network, introducer } = scene;
  const burst = (host: string, of: string) => {
    const at = endpoint(`${host}:0`);
    const token = hidden.node.responder.tokens.issueReturn(at, introducer.endpoint, network.now)
      .slice();
    const inner = query("dm_punch", id(of), { nt: 3, token });
    return scene.deliver(`${host}:1`, inner, { ms: 20 }).count;
  };
  assert.ok(burst("66.1.1.1", "a1") > 10);
  assert.equal(burst("66.1.1.2", "a2"), 1, "the second one has nothing to wait for");
  network.run(10_000);
  assert.ok(scene.sent.length <= TRIED_PORTS + 2, `${scene.sent.length}`);
  const targets = new Set(scene.sent.map(({ to }) => to.host));
  assert.ok(targets.size <= 2);
  const granted = Array.from({ length: 10 }, (_, i) => {
    const count = burst(`66.1.2.${i}`, `b${i}`);
    network.run(5_000);
    return count > 10;
  });
  assert.ok(granted.filter(Boolean).length <= 5, `${granted}`);
});
