// The node: joining, the life of its contacts, and its operations, in virtual time.

import assert from "node:assert/strict";
import type { NodeEvent } from "../../src/dht/host.ts";
import { immutableItem, type Item, type ItemError, signedBytes } from "../../src/dht/items/item.ts";
import { mutableTarget } from "../../src/dht/items/item.ts";
import type { GetResult, PutResult } from "../../src/dht/items/item_operations.ts";
import type { PingResult } from "../../src/dht/node.ts";
import type { PeersResult } from "../../src/dht/serving/swarms.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { compareDistance, type Id } from "../../src/krpc/id.ts";
import { isSecureId } from "../../src/dht/routing/secure_id.ts";
import { Identity, itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { decodeAny, encode, endpoint, id, latin1, query, text, type Value } from "../packets.ts";
import { Answering, Stranger, VirtualNetwork, type VirtualNode } from "./virtual_network.ts";

const MINUTE = 60_000;

/** The client and version of this project, in a reply. */
const OURS = latin1("DM\x01\0");

/** A stranger that answers queries under an id. */
function peer(network: VirtualNetwork, of: Id, at: string, more: { [key: string]: Value } = {}) {
  const stranger = new Stranger(network, at);
  stranger.answer = (packet) => {
    const { t, y } = decodeAny(packet);
    return text(y) === "q"
      ? encode({ t, y: "r", r: { id: of.toBytes(), ...more }, v: OURS })
      : undefined;
  };
  return stranger;
}

/** Makes a node a contact of another. */
function introduce(network: VirtualNetwork, to: VirtualNode, stranger: Stranger): void {
  to.node.ping(stranger.at, network.now, () => {});
  network.run(100);
}

/** The events in short form: `join 80`, `health 80 healthy degraded`, `leave 80`. */
function history(events: readonly NodeEvent[]): string[] {
  return events.flatMap((event) => {
    if (!("contact" in event)) return [];
    const what = event.type.slice(5), who = `${event.contact.id}`.slice(0, 2);
    return [
      event.type === "peer.health" ? `${what} ${who} ${event.from} ${event.to}` : `${what} ${who}`,
    ];
  });
}

/** The methods of the queries that a stranger received. */
const asked = (stranger: Stranger) =>
  stranger.received.map(({ packet }) => decodeAny(packet)).filter(({ y }) => text(y) === "q")
    .map(({ q }) => text(q));

// ---- joining

Deno.test("nodes that join through one another know each other", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30);
  network.run(MINUTE);
  for (const { node, events } of nodes) {
    const others = nodes.map((other) => other.node.id).filter((of) => !of.equals(node.id));
    const neighbours = others.sort((x, y) => compareDistance(x, y, node.id)).slice(0, 8);
    assert.ok(neighbours.every((of) => node.tables.find(of)), "the nearest at least");
    assert.ok(node.tables.size >= 20);
    const { type } = events.find((event) => event.type === "bootstrap") ?? {};
    assert.equal(type, node === nodes[0].node ? undefined : "bootstrap");
  }
});

Deno.test("a node joins through contacts of an earlier run, without a bootstrap node", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const late = network.add();
  const dead = { id: id("dd"), endpoint: endpoint("10.5.5.5:1") };
  const seeds = [
    dead,
    ...nodes.slice(3, 6).map(({ node, endpoint }) => ({ id: node.id, endpoint })),
  ];
  late.node.membership.join([], seeds, network.now);
  network.run(30_000);
  assert.equal(late.node.tables.size, 10);
  assert.deepEqual(
    late.events.flatMap((event) => event.type === "bootstrap" ? [event.state] : []),
    ["joined"],
    "and does not report a failure before they could answer",
  );
  assert.equal(
    late.node.tables.find(dead.id),
    undefined,
    "a node that does not answer gets no place",
  );
});

Deno.test("a failed join is repeated after growing waits of up to 20 s, and never twice at the same time", () => {
  const network = new VirtualNetwork();
  const { node, events } = network.add();
  const bootstrap = new Stranger(network, "10.5.5.5:1");
  node.membership.join([bootstrap.at], [], network.now);
  network.run(10 * MINUTE);
  const failures = () =>
    events.filter((e) => e.type === "bootstrap" && e.state === "failed").length;
  assert.ok(failures() >= 25 && failures() <= 36, `${failures()} in 10 minutes`);
  for (let hour = 1; hour <= 3; hour++) {
    bootstrap.received.length = 0;
    network.run(60 * MINUTE);
    const queries = bootstrap.received.length;
    assert.ok(queries >= 100 && queries <= 380, `${queries} queries in hour ${hour}`);
  }
});

Deno.test("a node joins when its bootstrap node starts late, and finds other nodes again after an outage", () => {
  const network = new VirtualNetwork();
  const first = network.add(), second = network.add();
  first.isDown = true;
  second.node.membership.join([first.endpoint], [], network.now);
  network.run(5 * MINUTE);
  assert.equal(second.node.tables.size, 0);
  first.isDown = false;
  network.run(2 * MINUTE);
  assert.equal(second.node.tables.size, 1);
  first.isDown = true;
  network.run(30 * MINUTE);
  assert.equal(second.node.tables.size, 0);
  first.isDown = false;
  network.run(3 * MINUTE);
  assert.equal(second.node.tables.size, 1);
});

Deno.test("BEP 32: IPv4 and IPv6 are two tables of one node, and nodes of one family lead to the other", () => {
  const network = new VirtualNetwork();
  for (let i = 1; i <= 6; i++) {
    const at = [`10.0.0.${i}:1`, `[fd00::${i}]:1`];
    const added = network.add({ at });
    const [first] = network.nodes;
    // The IPv6 addresses of the later nodes are only known from answers over IPv4.
    if (i > 1) {
      added.node.membership.join(i === 2 ? first.endpoints : [first.endpoint], [], network.now);
    }
    network.run(10_000);
  }
  network.run(20 * MINUTE);
  for (const { node } of network.nodes) {
    assert.equal(node.tables.byFamily[4]!.size, 5);
    assert.equal(node.tables.byFamily[6]!.size, 5);
  }
  const one = network.nodes[3];
  const { closest } = network.complete<{ closest: readonly { id: Id }[] }>((now, done) =>
    one.node.find(network.nodes[5].node.id, now, done)
  );
  assert.equal(closest.length, 5, "each node once, whatever its families");
});

// ---- new contacts

Deno.test("a node enters the table when it answers, not when it queries us or is named", () => {
  const network = new VirtualNetwork();
  const { node, endpoint: at } = network.add();
  const silent = new Stranger(network, "10.9.9.9:1");
  silent.send(query("ping", id("80")), at);
  network.run(10_000);
  assert.deepEqual(asked(silent), ["ping", "ping"], "it was asked, and once more");
  assert.equal(node.tables.size, 0);
  const alive = peer(network, id("90"), "10.9.9.8:1");
  alive.send(query("ping", id("90")), at);
  network.run(1_000);
  assert.ok(node.tables.find(id("90"))?.isGood(network.now));
});

Deno.test("a node limits how many of the strangers that query it are pinged at once", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  let pings = 0;
  network.link = (datagram, from) => {
    if (from.equals(server.endpoint) && text(datagram).includes("1:q4:ping")) pings++;
    return datagram;
  };
  for (let i = 0; i < 250; i++) {
    const stranger = new Stranger(network, `10.9.9.${i}:1`);
    stranger.send(query("ping", network.randomId()), server.endpoint);
  }
  network.run(100);
  assert.ok(pings > 10 && pings <= 40, `${pings} pings for 250 strangers`);
});

Deno.test("no node takes over the id of a healthy contact from another address", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const owner = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, owner);
  const thief = peer(network, id("80"), "10.9.9.2:1");
  introduce(network, server, thief);
  thief.send(query("ping", id("80")), server.endpoint);
  network.run(1_000);
  assert.ok(server.node.tables.find(id("80"))!.endpoint.equals(owner.at));
});

Deno.test("a contact that is no longer healthy may return at another address", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const before = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, before);
  before.answer = undefined;
  network.run(64_000);
  assert.notEqual(server.node.tables.find(id("80"))?.health, "healthy");
  introduce(network, server, peer(network, id("80"), "10.9.9.2:1"));
  assert.equal(`${server.node.tables.find(id("80"))?.endpoint}`, "10.9.9.2:1");
});

Deno.test("a contact that answers under another id is replaced", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  introduce(network, server, peer(network, id("80"), "10.9.9.1:1"));
  peer(network, id("90"), "10.9.9.1:1");
  network.run(2 * MINUTE);
  assert.equal(server.node.tables.find(id("80")), undefined);
  assert.ok(server.node.tables.find(id("90")));
  assert.ok(history(server.events).includes("leave 80"));
});

Deno.test("a node that answers with another id each time is one contact", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const hopper = new Answering(network, "10.9.9.1:1");
  for (let i = 0; i < 5; i++) {
    hopper.id = network.randomId();
    hopper.meet(server);
    assert.equal(server.node.tables.size, 1);
    assert.ok(server.node.tables.find(hopper.id));
  }
});

Deno.test("a contact with a new id takes the place of its former id at once", () => {
  const network = new VirtualNetwork();
  const server = network.add({ at: "5.5.5.5:1" });
  introduce(network, server, peer(network, id("80"), "6.6.6.6:1"));
  introduce(network, server, peer(network, id("90"), "6.6.6.6:2"));
  assert.deepEqual(history(server.events), ["join 80"], "there is one contact per address");
  introduce(network, server, peer(network, id("a0"), "6.6.6.6:1"));
  assert.deepEqual(history(server.events), ["join 80", "leave 80", "join a0"]);
});

// ---- health

Deno.test("an unanswered contact is degraded, then unhealthy, then removed, with reasons", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const stranger = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, peer(network, id("70"), "10.9.9.2:1"));
  introduce(network, server, stranger);
  server.events.splice(0, server.events.findLastIndex((event) => event.type === "peer.join"));
  stranger.answer = undefined;
  network.run(2 * MINUTE);
  assert.deepEqual(history(server.events), [
    "join 80",
    "health 80 healthy degraded",
    "health 80 degraded unhealthy",
    "leave 80",
  ]);
  for (const event of server.events) {
    const isAboutPeer = event.type === "peer.leave" || event.type === "peer.health";
    if (isAboutPeer) assert.equal(event.reason.text, "no answer to ping");
  }
  assert.equal(server.node.tables.size, 1);
  const last = stranger.received.length;
  network.run(60 * MINUTE);
  const since = stranger.received.length - last;
  assert.ok(since > 0 && since <= 14, `the removed one is tried ever more rarely: ${since}`);
});

Deno.test("a contact that answers pings with errors, or without an id, does not stay", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const refusing = peer(network, id("80"), "10.9.9.1:1");
  const nameless = peer(network, id("90"), "10.9.9.2:1");
  introduce(network, server, refusing);
  introduce(network, server, nameless);
  refusing.answer = (packet) => encode({ t: decodeAny(packet).t, y: "e", e: [202, "no"] });
  nameless.answer = (packet) => encode({ t: decodeAny(packet).t, y: "r", r: { id: 5 } });
  network.run(3 * MINUTE);
  assert.equal(server.node.tables.size, 0);
});

Deno.test("a degraded contact that answers again is healthy", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const stranger = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, stranger);
  const { answer } = stranger;
  stranger.answer = undefined;
  for (let s = 0; s < 90 && server.node.tables.find(id("80"))?.health === "healthy"; s++) {
    network.run(1_000);
  }
  assert.equal(server.node.tables.find(id("80"))?.health, "degraded");
  stranger.answer = answer;
  network.run(20_000);
  assert.deepEqual(history(server.events), [
    "join 80",
    "health 80 healthy degraded",
    "health 80 degraded healthy",
  ]);
});

Deno.test("a replacement takes the place of a removed contact, and is checked", () => {
  const network = new VirtualNetwork();
  const server = network.add({ id: id("00"), k: 1 });
  const first = peer(network, id("80"), "10.9.9.1:1");
  const second = peer(network, id("90"), "10.9.9.2:1");
  introduce(network, server, peer(network, id("10"), "10.9.9.3:1"));
  introduce(network, server, first);
  introduce(network, server, second);
  assert.equal(server.node.tables.find(id("90")), undefined, "it waits");
  first.answer = undefined;
  network.run(2 * MINUTE);
  assert.deepEqual(history(server.events).slice(-2), ["leave 80", "join 90"]);
  assert.ok(server.node.tables.find(id("90")));
  second.answer = undefined;
  network.run(3 * MINUTE);
  assert.deepEqual(history(server.events).slice(-1), ["leave 90"]);
});

Deno.test("a newcomer that answers replaces an unhealthy contact of a full bucket", () => {
  const network = new VirtualNetwork();
  const server = network.add({ id: id("00"), k: 1 });
  const old = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, peer(network, id("10"), "10.9.9.3:1"));
  introduce(network, server, old);
  old.answer = undefined;
  for (let s = 0; s < 120 && server.node.tables.find(id("80"))?.health !== "unhealthy"; s++) {
    network.run(1_000);
  }
  introduce(network, server, peer(network, id("90"), "10.9.9.2:1"));
  assert.ok(server.node.tables.find(id("90")));
  assert.equal(server.node.tables.find(id("80")), undefined);
  assert.deepEqual(history(server.events).slice(-2), ["leave 80", "join 90"]);
});

Deno.test("health checks run about once an interval, spread over it", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const strangers = Array.from({ length: 16 }, (_, i) => {
    const stranger = peer(network, id((16 * i + 8).toString(16).padStart(2, "0")), `10.9.9.${i}:1`);
    server.node.ping(stranger.at, network.now, () => {});
    return stranger;
  });
  const times = new Set<number>();
  network.link = (datagram) => (times.add(network.now), datagram);
  network.run(10 * MINUTE);
  for (const stranger of strangers) {
    const pings = asked(stranger).filter((method) => method === "ping").length;
    assert.ok(pings >= 10 && pings <= 13, `${pings} in 10 minutes`);
  }
  assert.ok(times.size > 100, "not all at once");
});

Deno.test("a contact whose own traffic shows that it is alive is not pinged", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const talker = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, talker);
  const before = asked(talker).length;
  for (let i = 0; i < 40; i++) {
    talker.send(query("ping", id("80")), server.endpoint);
    network.run(MINUTE / 3);
  }
  assert.deepEqual(asked(talker).slice(before).filter((method) => method === "ping"), []);
  assert.equal(server.node.tables.find(id("80"))?.health, "healthy");
  // The contact sent its last query 20 s ago.
  talker.answer = undefined;
  network.run(MINUTE / 3);
  assert.equal(server.node.tables.find(id("80"))?.health, "healthy");
  network.run(MINUTE / 3 + 5_000);
  assert.equal(server.node.tables.find(id("80"))?.health, "degraded");
});

Deno.test("a reply says whether the asker is kept, or will be once it answers", () => {
  const network = new VirtualNetwork();
  const server = network.add({ k: 1 });
  const near = server.node.id.flip(0), far = near.flip(9), elsewhere = server.node.id.flip(1);
  const kept = peer(network, near, "10.9.9.1:1");
  introduce(network, server, kept);
  // Fills the half of the id space that contains the node's own id, so that the bucket of the others no longer splits.
  introduce(network, server, peer(network, elsewhere, "10.9.9.2:1"));
  const nc = new Uint8Array(9);
  nc.set([0, 4], 6); // at our own coordinate, one millisecond above it
  const told = (of: Id, from: Stranger, more: { [key: string]: Value } = {}) => {
    const tid = `t${from.received.length}`;
    from.send(
      encode({ t: tid, y: "q", q: "ping", a: { id: of.toBytes(), ...more } }),
      server.endpoint,
    );
    network.run(500);
    const replies = from.received.map(({ packet }) => decodeAny(packet));
    const reply = replies.find(({ t, y }) => text(y) === "r" && text(t) === tid);
    return (reply?.r as { [key: string]: Value }).kp;
  };
  assert.equal(told(near, kept, { nc, kp: 0 }), 1);
  assert.equal(
    told(near, kept),
    undefined,
    "a node that sends no coordinate gets no answer to this",
  );
  // The node is in the same bucket, but farther away than the contacts there, so it is not wanted.
  const other = peer(network, far, "10.9.9.3:1", { kp: 1 });
  const distant = nc.slice();
  distant.set([0x20, 0], 0);
  assert.equal(told(far, other, { nc: distant, kp: 1 }), 0);
  assert.deepEqual(asked(other), []);
  // At the same distance, the node is wanted, because it has us in its table and the contact does not.
  assert.equal(told(far, other, { nc, kp: 1 }), 1);
  assert.deepEqual(asked(other), ["ping"]);
  assert.ok(server.node.tables.find(far));
  assert.equal(server.node.tables.find(near), undefined);
});

Deno.test("queries of several lookups lost in one outage count as one miss", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const stranger = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, stranger);
  stranger.answer = undefined;
  for (let i = 0; i < 5; i++) server.node.find(id("80"), network.now, () => {});
  network.run(3_000);
  assert.equal(server.node.tables.find(id("80"))?.misses, 1);
});

Deno.test("BEP 5: buckets with room are refreshed after 15 minutes without a change", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: 4 });
  network.run(2 * MINUTE);
  const lookups = nodes[7].node.searches.statistics;
  const before = lookups.count;
  network.run(12 * MINUTE);
  assert.equal(lookups.count, before);
  network.run(20 * MINUTE);
  assert.ok(lookups.count > before);
});

// ---- queries and replies

Deno.test("a reply counts once, and only with the right transaction id and endpoint", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const victim = new Stranger(network, "10.9.9.1:1");
  const spoofer = new Stranger(network, "10.9.9.2:1");
  const results: PingResult[] = [];
  server.node.ping(victim.at, network.now, (result) => results.push(result));
  network.run(20);
  const { t } = decodeAny(victim.received[0].packet);
  const pong = encode({ t, y: "r", r: { id: id("80").toBytes() } });
  spoofer.send(pong, server.endpoint);
  victim.send(encode({ t: t.slice(1), y: "r", r: { id: id("80").toBytes() } }), server.endpoint);
  network.run(50);
  assert.deepEqual(results, []);
  victim.send(pong, server.endpoint);
  victim.send(pong, server.endpoint);
  network.run(50);
  assert.deepEqual(results, [{ kind: "pong", id: id("80"), rtt: 80 }]);
  assert.equal(server.node.traffic.dropped.unmatched, 3);
  assert.equal(server.node.traffic.in.byType()["unknown.response"].messages, 3);
  assert.equal(server.node.traffic.in.byType()["unknown.error"], undefined);
});

Deno.test("an unanswered query is repeated once, then given up", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const silent = new Stranger(network, "10.9.9.1:1");
  const result = network.complete<PingResult>((now, done) =>
    server.node.ping(silent.at, now, done)
  );
  assert.equal(result.kind, "timeout");
  assert.equal(silent.received.length, 2);
  const [first, second] = silent.received.map(({ packet }) => decodeAny(packet));
  assert.notDeepEqual(first.t, second.t, "an answer shows which packet it belongs to");
  assert.deepEqual({ ...first, t: undefined }, { ...second, t: undefined });
});

Deno.test("BEP 42: only nodes that answer us vote on our address", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const tally = () => nodes[5].node.nats[4]!.state.evidence.tally!;
  assert.ok(tally().endpoint.equals(nodes[5].endpoint));
  const { voters } = tally();
  const liar = new Stranger(network, "10.9.9.1:1");
  const ip = new Uint8Array(6).fill(9);
  liar.send(encode({ t: "abcd", y: "r", r: { id: id("80").toBytes() }, ip }), nodes[5].endpoint);
  network.run(100);
  assert.equal(tally().voters, voters);
});

Deno.test("BEP 43: a read-only node answers nothing, sends ro, and enters no table", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const reader = network.add({ readOnly: true });
  const sent: Uint8Array[] = [];
  network.link = (datagram, from) => {
    if (from.equals(reader.endpoint)) sent.push(datagram.slice());
    return datagram;
  };
  reader.node.membership.join([nodes[0].endpoint], [], network.now);
  network.run(5 * MINUTE);
  assert.equal(reader.node.tables.size, 10);
  for (const { node } of nodes) assert.equal(node.tables.find(reader.node.id), undefined);
  assert.ok(sent.length > 0 && sent.every((packet) => decodeAny(packet).ro === 1));
  const stranger = new Stranger(network, "10.9.9.1:1");
  assert.equal(stranger.ask(query("ping", id("80")), reader.endpoint), undefined);
  assert.equal(reader.node.traffic.dropped.read_only, 1);
  const put = storeImmutable(network, reader, "by a reader");
  assert.ok(put.stored.length > 0 && !put.stored.some((one) => one.equals(reader.node.id)));
});

// ---- operations

function storeImmutable(network: VirtualNetwork, at: VirtualNode, value: string): PutResult {
  const item = immutableItem(itemCrypto, bencodeBytes(latin1(value)));
  return network.complete<PutResult>((now, done) =>
    at.node.items.put({ target: item.target, make: () => item }, now, done)
  );
}

function get(network: VirtualNetwork, at: VirtualNode, target: Id, salt?: string): GetResult {
  return network.complete<GetResult>((now, done) =>
    at.node.items.get({ target, salt: salt === undefined ? undefined : latin1(salt) }, now, done)
  );
}

const OWNER = new Identity(new Uint8Array(32).fill(5));

function signed(value: string, seq: number, salt = ""): Item {
  const bytes = bencodeBytes(latin1(value)), saltBytes = latin1(salt);
  const signature = OWNER.sign(signedBytes(saltBytes, seq, bytes));
  return {
    target: mutableTarget(itemCrypto, OWNER.publicKey, saltBytes),
    value: bytes,
    signed: { publicKey: OWNER.publicKey, signature, salt: saltBytes, seq },
  };
}

function storeSigned(
  network: VirtualNetwork,
  at: VirtualNode,
  make: (newest: Item | undefined) => Item | ItemError,
  { salt = "", cas }: { salt?: string; cas?: number } = {},
): PutResult {
  const target = mutableTarget(itemCrypto, OWNER.publicKey, latin1(salt));
  return network.complete<PutResult>((now, done) =>
    at.node.items.put({ target, salt: latin1(salt), cas, make }, now, done)
  );
}

const valueOf = ({ item }: GetResult) => item && text(item.value).replace(/^\d+:/, "");

Deno.test("BEP 44: an immutable value is stored on the k closest nodes, and all nodes find it", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(40, { k: 8 });
  const { stored, item } = storeImmutable(network, nodes[3], "hello");
  assert.equal(stored.length, 8);
  const holders = nodes.filter(({ items }) => items.get(item!.target, network.now));
  assert.deepEqual(
    holders.map(({ node }) => `${node.id}`).sort(),
    stored.map(String).sort(),
  );
  for (const node of nodes) assert.equal(valueOf(get(network, node, item!.target)), "hello");
});

Deno.test("an immutable value goes to each of the closest nodes as soon as the node has given a token", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(40, { k: 8 });
  const item = immutableItem(itemCrypto, bencodeBytes(latin1("hello"))), { target } = item;
  const [silent, ...others] = nodes.toSorted((x, y) =>
    compareDistance(x.node.id, y.node.id, target)
  );
  const from = others.at(-1)!;
  silent.isDown = true;
  const startedAt = network.now, puts: number[] = [], counts: number[] = [];
  network.link = (datagram) => {
    if (text(datagram).includes("1:q3:put")) puts.push(network.now - startedAt);
    return datagram;
  };
  const { stored, elapsed } = network.complete<PutResult>((now, done) =>
    from.node.items.put(
      { target, item, make: () => item, onAcknowledged: (count) => void counts.push(count) },
      now,
      done,
    )
  );
  const closest = others.slice(0, 8).map(({ node }) => `${node.id}`);
  assert.deepEqual(stored.map(String).sort(), closest.sort());
  // The search waits for the silent node, but the first puts do not.
  assert.ok(puts[5] < 10 * network.delayMs && puts[5] < elapsed / 2, `${puts}, ${elapsed}`);
  assert.ok(puts.length <= 10, `${puts.length} puts`);
  assert.deepEqual(counts, [1, 2, 3, 4, 5, 6, 7, 8]);
});

Deno.test("a value stored on a network of one node is kept by that node", () => {
  const network = new VirtualNetwork();
  const alone = network.add();
  const { stored, item } = storeImmutable(network, alone, "hello");
  assert.deepEqual(stored.map(String), [`${alone.node.id}`]);
  assert.equal(valueOf(get(network, alone, item!.target)), "hello");
});

Deno.test("a value that no node has is not found", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const result = get(network, nodes[4], id("77"));
  assert.deepEqual([result.item, result.saltUnknown], [undefined, false]);
});

Deno.test("BEP 44: a get finds the highest seq of a mutable value, though some nodes hold an older one", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30, { k: 8 });
  assert.equal(storeSigned(network, nodes[1], () => signed("one", 1)).stored.length, 8);
  const newest = signed("two", 2);
  const holder = nodes.find(({ items }) => items.get(newest.target, network.now))!;
  holder.items.put({ item: newest }, network.now, () => {});
  const asker = nodes.find(({ items }) => !items.get(newest.target, network.now))!;
  assert.equal(valueOf(get(network, asker, newest.target)), "two");
  const { stored } = storeSigned(network, asker, (known) => {
    assert.equal(known?.signed?.seq, 2);
    return signed("three", 3);
  });
  assert.equal(stored.length, 8);
  assert.equal(valueOf(get(network, asker, newest.target)), "three");
});

Deno.test("ss: a salted value is found without its salt if nodes return it", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: 8 });
  const { item } = storeSigned(network, nodes[1], () => signed("salted", 1, "pepper"), {
    salt: "pepper",
  });
  const asker = nodes.find(({ items }) => !items.get(item!.target, network.now))!;
  assert.equal(valueOf(get(network, asker, item!.target)), "salted");
  assert.equal(valueOf(get(network, asker, item!.target, "pepper")), "salted");
});

Deno.test("a salted value whose salt no node returns is reported, but not returned", () => {
  const network = new VirtualNetwork();
  const asker = network.add();
  const item = signed("salted", 1, "pepper");
  const { publicKey, signature, seq } = item.signed!;
  const holder = peer(network, id("80"), "10.9.9.1:1", {
    token: "token",
    v: "salted",
    k: publicKey,
    sig: signature,
    seq: Number(seq),
  });
  introduce(network, asker, holder);
  const unknown = get(network, asker, item.target);
  assert.deepEqual([unknown.item, unknown.saltUnknown], [undefined, true]);
  assert.equal(valueOf(get(network, asker, item.target, "pepper")), "salted");
  assert.equal(get(network, asker, item.target, "wrong").item, undefined);
});

Deno.test("BEP 44: a get verifies values and skips forged ones", () => {
  const network = new VirtualNetwork();
  const asker = network.add();
  const immutable = immutableItem(itemCrypto, bencodeBytes(latin1("true")));
  const mutable = signed("true", 2);
  const { publicKey, signature } = mutable.signed!;
  const forged: { [key: string]: Value }[] = [
    { v: "false" },
    { v: "false", k: publicKey, sig: signature, seq: 3 },
    { v: "true", k: publicKey, sig: signature, seq: 3 },
    { v: "true", k: new Uint8Array(32), sig: new Uint8Array(64), seq: 3 },
    { v: "true", k: publicKey, sig: new Uint8Array(64), seq: 2 },
    { v: "true", k: 5, sig: 5, seq: "3" },
    { v: "x".repeat(1_100), k: publicKey, sig: signature, seq: 3 },
  ];
  forged.forEach((values, i) =>
    introduce(network, asker, peer(network, id(`${i + 1}0`), `10.9.9.${i + 1}:1`, values))
  );
  assert.equal(get(network, asker, mutable.target).item, undefined);
  const honest = { v: "true", k: publicKey, sig: signature, seq: 2 };
  introduce(network, asker, peer(network, id("f0"), "10.9.9.99:1", honest));
  assert.equal(valueOf(get(network, asker, mutable.target)), "true");
  assert.equal(valueOf(get(network, asker, immutable.target)), "true", "by its hash alone");
});

Deno.test("a put is sent to no node if `make` returns an error", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const refused = { code: 302, text: "seq is less than current 5" };
  const { stored, refusals, item } = storeSigned(network, nodes[1], () => refused);
  assert.deepEqual([stored, refusals, item], [[], [refused], undefined]);
  assert.ok(nodes.every(({ items }) => items.count === 0));
});

Deno.test("BEP 44: a refused put returns the codes of the nodes", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  storeSigned(network, nodes[1], () => signed("five", 5));
  const { refusals } = storeSigned(network, nodes[2], () => signed("six", 6), { cas: 4 });
  assert.ok(refusals.length > 0 && refusals.every(({ code }) => code === 301));
});

Deno.test("our own store also refuses a lower seq and a wrong cas", () => {
  const network = new VirtualNetwork();
  const { items, ...alone } = network.add();
  const here = { items, ...alone };
  storeSigned(network, here, () => signed("five", 5));
  const lower = storeSigned(network, here, () => signed("four", 4));
  assert.deepEqual([lower.stored.length, lower.refusals[0]?.code], [0, 302]);
  const wrongCas = storeSigned(network, here, () => signed("six", 6), { cas: 4 });
  assert.deepEqual([wrongCas.stored.length, wrongCas.refusals[0]?.code], [0, 301]);
  assert.equal(items.get(signed("", 1).target, network.now)?.signed?.seq, 5);
});

Deno.test("if a write fails, the next node gets it", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30, { k: 8 });
  let refused = 0;
  network.link = (datagram) => {
    if (!text(datagram).includes("1:q3:put")) return datagram;
    return ++refused <= 6 ? undefined : datagram; // three puts, each sent twice
  };
  const { stored } = storeImmutable(network, nodes[3], "hello");
  assert.ok(stored.length >= 7, `${stored.length} stored`);
});

Deno.test("BEP 5: announced peers are found, with and without implied_port", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30, { k: 8 });
  const announce = (at: VirtualNode, port: number | undefined) =>
    network.complete<{ announced: readonly Id[] }>((now, done) =>
      at.node.swarms.announce({ infoHash: id("77"), port }, now, done)
    );
  assert.equal(announce(nodes[1], 51413).announced.length, 8);
  announce(nodes[2], undefined);
  const { peers } = network.complete<PeersResult>((now, done) =>
    nodes[9].node.swarms.getPeers({ infoHash: id("77") }, now, done)
  );
  assert.deepEqual(
    peers.map(String).sort(),
    [`${nodes[1].endpoint.withPort(51413)}`, `${nodes[2].endpoint}`].sort(),
  );
});

Deno.test("an external port that the user has set is announced, unless the announcement has one", () => {
  const network = new VirtualNetwork(), infoHash = id("77"), externalPort = 9_000;
  const nodes = network.addJoined(10, { k: 8, externalPort });
  for (const [node, port] of [[nodes[1], undefined], [nodes[2], 51413]] as const) {
    network.complete((now, done) => node.node.swarms.announce({ infoHash, port }, now, done));
  }
  const { peers } = network.complete<PeersResult>((now, done) =>
    nodes[9].node.swarms.getPeers({ infoHash }, now, done)
  );
  assert.deepEqual(
    peers.map(String).sort(),
    [nodes[1].endpoint.withPort(externalPort), nodes[2].endpoint.withPort(51413)].map(String)
      .sort(),
  );
});

Deno.test("the same network, seeds and operations lead to the same packets", () => {
  const digest = () => {
    const network = new VirtualNetwork(10, 42);
    let hash = itemCrypto.sha1(new Uint8Array(0));
    network.link = (datagram) => {
      hash = itemCrypto.sha1(Uint8Array.from([...hash, ...datagram]));
      return datagram;
    };
    const nodes = network.addJoined(10);
    storeImmutable(network, nodes[3], "hello");
    network.run(5 * MINUTE);
    return text(hash);
  };
  assert.equal(digest(), digest());
});

Deno.test("after a quiet day, a node has nothing scheduled but its contacts' checks", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  storeImmutable(network, nodes[3], "hello");
  const stranger = new Stranger(network, "10.9.9.1:1");
  for (let i = 0; i < 50; i++) {
    stranger.send(
      query("find_node", network.randomId(), { target: id("12").toBytes() }),
      nodes[0].endpoint,
    );
  }
  network.run(26 * 60 * MINUTE);
  for (const { node, items } of nodes) {
    assert.equal(node.tables.size, 9);
    assert.equal(items.count, 0);
    assert.equal(node.searches.statistics.active, 0);
    assert.equal(node.pending.queries, 0);
    assert.equal(node.pending.deadlines, 9 + 3, "and its own rounds");
  }
});

Deno.test("BEP 42: a node takes an id that fits the address on which ten peers agree, and is found under it", () => {
  const network = new VirtualNetwork();
  const nodes = Array.from({ length: 16 }, (_, i) => {
    const added = network.add({ k: 8, at: `7.${i}.1.1:6881` });
    if (i > 0) added.node.membership.join(network.nodes[0].endpoints, [], network.now);
    network.run(2_000);
    return added;
  });
  network.run(10 * MINUTE);
  for (const { node, endpoint, events } of nodes) {
    assert.ok(isSecureId(node.id, endpoint));
    assert.ok(events.filter(({ type }) => type === "id").length <= 1, "once");
  }
  network.run(20 * MINUTE);
  for (const { node } of nodes.slice(1)) {
    const { closest } = network.complete<{ closest: readonly { id: Id }[] }>((now, done) =>
      nodes[0].node.find(node.id, now, done)
    );
    assert.ok(closest[0].id.equals(node.id));
  }
});

Deno.test("a contact that returns wrong values loses score, and finally its place", () => {
  const network = new VirtualNetwork();
  const reader = network.add();
  const liar = peer(network, id("80"), "10.9.9.1:1", { v: "something else", token: "t" });
  introduce(network, reader, liar);
  const contact = reader.node.tables.find(id("80"))!;
  const before = contact.score;
  const target = immutableItem(itemCrypto, bencodeBytes(latin1("wanted"))).target;
  assert.equal(get(network, reader, target).item, undefined);
  assert.ok(contact.faults > 0.9 && contact.score < 0.6 * before);
  get(network, reader, target);
  assert.equal(contact.isReliable, false);
  for (let i = 0; i < 8; i++) get(network, reader, target);
  assert.equal(reader.node.tables.find(id("80")), undefined);
});

Deno.test("BEP 44: a get with a wrong salt does not count against the holders", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30);
  network.run(MINUTE);
  const owner = Identity.generate(), salt = latin1("right"), value = bencodeBytes(latin1("v"));
  const target = mutableTarget(itemCrypto, owner.publicKey, salt);
  const signature = owner.sign(signedBytes(salt, 1, value));
  const item = { target, value, signed: { publicKey: owner.publicKey, signature, salt, seq: 1 } };
  const put = network.complete<PutResult>((now, done) =>
    nodes[5].node.items.put({ target, salt, make: () => item }, now, done)
  );
  const { node } = nodes.find(({ node: { id } }) => !put.stored.some((one) => one.equals(id)))!;
  const before = node.tables.size;
  for (let i = 0; i < 8; i++) {
    const got = network.complete<GetResult>((now, done) =>
      node.items.get({ target, salt: latin1("wrong") }, now, done)
    );
    assert.equal(got.item, undefined);
  }
  assert.equal(node.tables.size, before);
  assert.ok([...node.tables.contacts()].every(({ isReliable }) => isReliable));
});
