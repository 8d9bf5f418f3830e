// The node: joining, the life of its contacts, and its operations, in virtual time.

import assert from "node:assert/strict";
import type { NodeEvent } from "../../src/dht/host.ts";
import { immutableItem, type Item, type ItemError, signedBytes } from "../../src/dht/item.ts";
import { mutableTarget } from "../../src/dht/item.ts";
import type { GetResult, PeersResult, PingResult, PutResult } from "../../src/dht/node.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { compareDistance, type Id } from "../../src/krpc/id.ts";
import { isSecureId } from "../../src/dht/secure_id.ts";
import { Identity, itemCrypto } from "../../src/runtime/crypto.ts";
import { decodeAny, encode, endpoint, id, latin1, query, text, type Value } from "../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "./virtual_network.ts";

const MINUTE = 60_000;

/** A stranger that answers queries under an id. */
function peer(network: VirtualNetwork, of: Id, at: string, more: { [key: string]: Value } = {}) {
  const stranger = new Stranger(network, at);
  stranger.answer = (packet) => {
    const { t, y } = decodeAny(packet);
    return text(y) === "q" ? encode({ t, y: "r", r: { id: of.toBytes(), ...more } }) : undefined;
  };
  return stranger;
}

/** Makes a node a contact of another. */
function introduce(network: VirtualNetwork, to: VirtualNode, stranger: Stranger): void {
  to.node.ping(stranger.at, network.now, () => {});
  network.run(100);
}

/** What happened, in short: `join 80`, `health 80 healthy degraded`, `leave 80`. */
function history(events: readonly NodeEvent[]): string[] {
  return events.flatMap((event) => {
    if (!("contact" in event)) return [];
    const what = event.type.slice(5), who = `${event.contact.id}`.slice(0, 2);
    return [
      event.type === "peer.health" ? `${what} ${who} ${event.from} ${event.to}` : `${what} ${who}`,
    ];
  });
}

/** The methods that a stranger was asked. */
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
    assert.ok(neighbours.every((of) => node.contact(of)), "the nearest at least");
    assert.ok(node.contactCount >= 20);
    const { type } = events.find((event) => event.type === "bootstrap") ?? {};
    assert.equal(type, node === nodes[0].node ? undefined : "bootstrap");
  }
});

Deno.test("a node remembers contacts of an earlier run: it joins without a bootstrap node", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const late = network.add();
  const dead = { id: id("dd"), endpoint: endpoint("10.5.5.5:1") };
  const seeds = [
    dead,
    ...nodes.slice(3, 6).map(({ node, endpoint }) => ({ id: node.id, endpoint })),
  ];
  late.node.join([], seeds, network.now);
  network.run(30_000);
  assert.equal(late.node.contactCount, 10);
  assert.deepEqual(
    late.events.flatMap((event) => event.type === "bootstrap" ? [event.state] : []),
    ["joined"],
    "and does not report a failure before they could answer",
  );
  assert.equal(late.node.contact(dead.id), undefined, "who does not answer gets no place");
});

Deno.test("joining is tried again, ever more slowly, up to every 20 s, and never in more than one series", () => {
  const network = new VirtualNetwork();
  const { node, events } = network.add();
  const bootstrap = new Stranger(network, "10.5.5.5:1");
  node.join([bootstrap.at], [], network.now);
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

Deno.test("a node whose bootstrap node comes up late joins, and finds others again after an outage", () => {
  const network = new VirtualNetwork();
  const first = network.add(), second = network.add();
  first.isDown = true;
  second.node.join([first.endpoint], [], network.now);
  network.run(5 * MINUTE);
  assert.equal(second.node.contactCount, 0);
  first.isDown = false;
  network.run(2 * MINUTE);
  assert.equal(second.node.contactCount, 1);
  first.isDown = true;
  network.run(30 * MINUTE);
  assert.equal(second.node.contactCount, 0);
  first.isDown = false;
  network.run(3 * MINUTE);
  assert.equal(second.node.contactCount, 1);
});

Deno.test("BEP 32: IPv4 and IPv6 are two tables of one node, the second found through the first", () => {
  const network = new VirtualNetwork();
  for (let i = 1; i <= 6; i++) {
    const at = [`10.0.0.${i}:1`, `[fd00::${i}]:1`];
    const added = network.add({ at });
    const [first] = network.nodes;
    // Of the later ones nobody knows an IPv6 address but by answers over IPv4.
    if (i > 1) added.node.join(i === 2 ? first.endpoints : [first.endpoint], [], network.now);
    network.run(10_000);
  }
  network.run(20 * MINUTE);
  for (const { node } of network.nodes) {
    assert.equal(node.tables[4]!.size, 5);
    assert.equal(node.tables[6]!.size, 5);
  }
  const one = network.nodes[3];
  const { closest } = network.complete<{ closest: readonly { id: Id }[] }>((now, done) =>
    one.node.find(network.nodes[5].node.id, now, done)
  );
  assert.equal(closest.length, 5, "each node once, whatever its families");
});

// ---- who becomes a contact

Deno.test("a contact enters the table after it answered, not because it asked or was told of", () => {
  const network = new VirtualNetwork();
  const { node, endpoint: at } = network.add();
  const silent = new Stranger(network, "10.9.9.9:1");
  silent.send(query("ping", id("80")), at);
  network.run(10_000);
  assert.deepEqual(asked(silent), ["ping", "ping"], "it was asked, and once more");
  assert.equal(node.contactCount, 0);
  const alive = peer(network, id("90"), "10.9.9.8:1");
  alive.send(query("ping", id("90")), at);
  network.run(1_000);
  assert.ok(node.contact(id("90"))?.isGood(network.now));
});

Deno.test("strangers that ask are not all asked back at once", () => {
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

Deno.test("a healthy contact keeps its id: nobody takes it over from another address", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const owner = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, owner);
  const thief = peer(network, id("80"), "10.9.9.2:1");
  introduce(network, server, thief);
  thief.send(query("ping", id("80")), server.endpoint);
  network.run(1_000);
  assert.ok(server.node.contact(id("80"))!.endpoint.equals(owner.at));
});

Deno.test("a contact that is not healthy any more may come back from another address", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const before = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, before);
  before.answer = undefined;
  network.run(64_000);
  assert.notEqual(server.node.contact(id("80"))?.health, "healthy");
  introduce(network, server, peer(network, id("80"), "10.9.9.2:1"));
  assert.equal(`${server.node.contact(id("80"))?.endpoint}`, "10.9.9.2:1");
});

Deno.test("a contact that answers under another id is not the one we knew", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  introduce(network, server, peer(network, id("80"), "10.9.9.1:1"));
  peer(network, id("90"), "10.9.9.1:1");
  network.run(2 * MINUTE);
  assert.equal(server.node.contact(id("80")), undefined);
  assert.ok(server.node.contact(id("90")));
  assert.ok(history(server.events).includes("leave 80"));
});

Deno.test("a contact that has moved to another id takes the place of its former one at once", () => {
  const network = new VirtualNetwork();
  const server = network.add({ at: "5.5.5.5:1" });
  introduce(network, server, peer(network, id("80"), "6.6.6.6:1"));
  introduce(network, server, peer(network, id("90"), "6.6.6.6:2"));
  assert.deepEqual(history(server.events), ["join 80"], "of one address there is one");
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
    if ("reason" in event) assert.equal(event.reason, "no answer to ping");
  }
  assert.equal(server.node.contactCount, 1);
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
  assert.equal(server.node.contactCount, 0);
});

Deno.test("a degraded contact that answers again is healthy", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const stranger = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, stranger);
  const { answer } = stranger;
  stranger.answer = undefined;
  for (let s = 0; s < 90 && server.node.contact(id("80"))?.health === "healthy"; s++) {
    network.run(1_000);
  }
  assert.equal(server.node.contact(id("80"))?.health, "degraded");
  stranger.answer = answer;
  network.run(20_000);
  assert.deepEqual(history(server.events), [
    "join 80",
    "health 80 healthy degraded",
    "health 80 degraded healthy",
  ]);
});

Deno.test("a removed contact's place goes to a replacement, which is then checked too", () => {
  const network = new VirtualNetwork();
  const server = network.add({ id: id("00"), k: 1 });
  const first = peer(network, id("80"), "10.9.9.1:1");
  const second = peer(network, id("90"), "10.9.9.2:1");
  introduce(network, server, peer(network, id("10"), "10.9.9.3:1"));
  introduce(network, server, first);
  introduce(network, server, second);
  assert.equal(server.node.contact(id("90")), undefined, "it waits");
  first.answer = undefined;
  network.run(2 * MINUTE);
  assert.deepEqual(history(server.events).slice(-2), ["leave 80", "join 90"]);
  assert.ok(server.node.contact(id("90")));
  second.answer = undefined;
  network.run(3 * MINUTE);
  assert.deepEqual(history(server.events).slice(-1), ["leave 90"]);
});

Deno.test("a full bucket's unhealthy contact gives way to a newcomer that answers", () => {
  const network = new VirtualNetwork();
  const server = network.add({ id: id("00"), k: 1 });
  const old = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, peer(network, id("10"), "10.9.9.3:1"));
  introduce(network, server, old);
  old.answer = undefined;
  for (let s = 0; s < 120 && server.node.contact(id("80"))?.health !== "unhealthy"; s++) {
    network.run(1_000);
  }
  introduce(network, server, peer(network, id("90"), "10.9.9.2:1"));
  assert.ok(server.node.contact(id("90")));
  assert.equal(server.node.contact(id("80")), undefined);
  assert.deepEqual(history(server.events).slice(-2), ["leave 80", "join 90"]);
});

Deno.test("health checks come about once an interval, spread over it", () => {
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

Deno.test("health checks are merged with traffic: who shows that it lives is not asked", () => {
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
  assert.equal(server.node.contact(id("80"))?.health, "healthy");
  // Its last query was a third of a minute ago.
  talker.answer = undefined;
  network.run(MINUTE / 3);
  assert.equal(server.node.contact(id("80"))?.health, "healthy");
  network.run(MINUTE / 3 + 5_000);
  assert.equal(server.node.contact(id("80"))?.health, "degraded");
});

Deno.test("who asks is told whether it is kept, or will be once it answers", () => {
  const network = new VirtualNetwork();
  const server = network.add({ k: 1 });
  const near = server.node.id.flip(0), far = near.flip(9), elsewhere = server.node.id.flip(1);
  const kept = peer(network, near, "10.9.9.1:1");
  introduce(network, server, kept);
  // Fills the place of its own half, so that the bucket of the others no longer splits.
  introduce(network, server, peer(network, elsewhere, "10.9.9.2:1"));
  const nc = new Uint8Array(9);
  nc.set([0, 4], 6); // at our own place, one millisecond above it
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
  assert.equal(told(near, kept), undefined, "who does not say where it is does not care");
  // In the same bucket, and farther away than who is there: it is not wanted.
  const other = peer(network, far, "10.9.9.3:1", { kp: 1 });
  const distant = nc.slice();
  distant.set([0x20, 0], 0);
  assert.equal(told(far, other, { nc: distant, kp: 1 }), 0);
  assert.deepEqual(asked(other), []);
  // At the same distance it is, for it keeps us, which the other does not.
  assert.equal(told(far, other, { nc, kp: 1 }), 1);
  assert.deepEqual(asked(other), ["ping"]);
  assert.ok(server.node.contact(far));
  assert.equal(server.node.contact(near), undefined);
});

Deno.test("queries of several lookups lost in one outage count as one miss", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const stranger = peer(network, id("80"), "10.9.9.1:1");
  introduce(network, server, stranger);
  stranger.answer = undefined;
  for (let i = 0; i < 5; i++) server.node.find(id("80"), network.now, () => {});
  network.run(3_000);
  assert.equal(server.node.contact(id("80"))?.misses, 1);
});

Deno.test("BEP 5: buckets with room in which nothing happened are refreshed after 15 minutes", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: 4 });
  network.run(2 * MINUTE);
  const { lookups } = nodes[7].node;
  const before = lookups.count;
  network.run(12 * MINUTE);
  assert.equal(lookups.count, before);
  network.run(20 * MINUTE);
  assert.ok(lookups.count > before);
});

// ---- queries and replies

Deno.test("a reply counts once, with its transaction id, from the address that was asked", () => {
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

Deno.test("a query that is not answered is sent once more, then given up", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const silent = new Stranger(network, "10.9.9.1:1");
  const result = network.complete<PingResult>((now, done) =>
    server.node.ping(silent.at, now, done)
  );
  assert.equal(result.kind, "timeout");
  assert.equal(silent.received.length, 2);
  const [first, second] = silent.received.map(({ packet }) => text(packet));
  assert.equal(first, second, "under the same transaction id: either answer counts");
});

Deno.test("BEP 42: addresses are voted on by those who answer us, not by strangers", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const { votes } = nodes[5].node;
  assert.ok(votes.leader()!.endpoint.equals(nodes[5].endpoint));
  const voters = votes.leader()!.voters;
  const liar = new Stranger(network, "10.9.9.1:1");
  const ip = new Uint8Array(6).fill(9);
  liar.send(encode({ t: "abcd", y: "r", r: { id: id("80").toBytes() }, ip }), nodes[5].endpoint);
  network.run(100);
  assert.equal(votes.leader()!.voters, voters);
});

Deno.test("BEP 43: a read-only node answers nothing, says ro, and enters nobody's table", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const reader = network.add({ readOnly: true });
  const sent: Uint8Array[] = [];
  network.link = (datagram, from) => {
    if (from.equals(reader.endpoint)) sent.push(datagram.slice());
    return datagram;
  };
  reader.node.join([nodes[0].endpoint], [], network.now);
  network.run(5 * MINUTE);
  assert.equal(reader.node.contactCount, 10);
  for (const { node } of nodes) assert.equal(node.contact(reader.node.id), undefined);
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
    at.node.put(item.target, undefined, undefined, () => item, now, done)
  );
}

function get(network: VirtualNetwork, at: VirtualNode, target: Id, salt?: string): GetResult {
  return network.complete<GetResult>((now, done) =>
    at.node.get(target, salt === undefined ? undefined : latin1(salt), now, done)
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
    at.node.put(target, latin1(salt), cas, make, now, done)
  );
}

const valueOf = ({ item }: GetResult) => item && text(item.value).replace(/^\d+:/, "");

Deno.test("BEP 44: an immutable value is stored on the k closest nodes, and found by all", () => {
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

Deno.test("a value stored on a network of one is kept here", () => {
  const network = new VirtualNetwork();
  const alone = network.add();
  const { stored, item } = storeImmutable(network, alone, "hello");
  assert.deepEqual(stored.map(String), [`${alone.node.id}`]);
  assert.equal(valueOf(get(network, alone, item!.target)), "hello");
});

Deno.test("a value that nobody has is not found", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const result = get(network, nodes[4], id("77"));
  assert.deepEqual([result.item, result.saltUnknown], [undefined, false]);
});

Deno.test("BEP 44: of a mutable value the highest seq is found, whoever still holds an older one", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30, { k: 8 });
  assert.equal(storeSigned(network, nodes[1], () => signed("one", 1)).stored.length, 8);
  const newest = signed("two", 2);
  const holder = nodes.find(({ items }) => items.get(newest.target, network.now))!;
  holder.items.put(newest, network.now, () => {});
  const asker = nodes.find(({ items }) => !items.get(newest.target, network.now))!;
  assert.equal(valueOf(get(network, asker, newest.target)), "two");
  const { stored } = storeSigned(network, asker, (known) => {
    assert.equal(known?.signed?.seq, 2);
    return signed("three", 3);
  });
  assert.equal(stored.length, 8);
  assert.equal(valueOf(get(network, asker, newest.target)), "three");
});

Deno.test("ss: a salted value is found without its salt, among nodes that tell it", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20, { k: 8 });
  const { item } = storeSigned(network, nodes[1], () => signed("salted", 1, "pepper"), {
    salt: "pepper",
  });
  const asker = nodes.find(({ items }) => !items.get(item!.target, network.now))!;
  assert.equal(valueOf(get(network, asker, item!.target)), "salted");
  assert.equal(valueOf(get(network, asker, item!.target, "pepper")), "salted");
});

Deno.test("a salted value that nobody tells the salt of is said to be there, not returned", () => {
  const network = new VirtualNetwork();
  const asker = network.add();
  const item = signed("salted", 1, "pepper");
  const { publicKey, signature, seq } = item.signed!;
  const holder = peer(network, id("80"), "10.9.9.1:1", {
    token: "token",
    v: "salted",
    k: publicKey,
    sig: signature,
    seq,
  });
  introduce(network, asker, holder);
  const unknown = get(network, asker, item.target);
  assert.deepEqual([unknown.item, unknown.saltUnknown], [undefined, true]);
  assert.equal(valueOf(get(network, asker, item.target, "pepper")), "salted");
  assert.equal(get(network, asker, item.target, "wrong").item, undefined);
});

Deno.test("BEP 44: values are verified after a get: forged ones are passed over", () => {
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

Deno.test("a put that its maker calls off is sent to nobody", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  const refused = { code: 302, text: "seq is less than current 5" };
  const { stored, refusals, item } = storeSigned(network, nodes[1], () => refused);
  assert.deepEqual([stored, refusals, item], [[], [refused], undefined]);
  assert.ok(nodes.every(({ items }) => items.count === 0));
});

Deno.test("BEP 44: a put that others refuse comes back with their codes", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(10);
  storeSigned(network, nodes[1], () => signed("five", 5));
  const { refusals } = storeSigned(network, nodes[2], () => signed("six", 6), { cas: 4 });
  assert.ok(refusals.length > 0 && refusals.every(({ code }) => code === 301));
});

Deno.test("our own store obeys the rules of others': seq is not lowered and cas is checked", () => {
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

Deno.test("a write that fails is made up for by the next node", () => {
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

Deno.test("BEP 5: peers that were announced are found, with and without implied_port", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30, { k: 8 });
  const announce = (at: VirtualNode, port: number | undefined) =>
    network.complete<{ announced: readonly Id[] }>((now, done) =>
      at.node.announce(id("77"), port, now, done)
    );
  assert.equal(announce(nodes[1], 51413).announced.length, 8);
  announce(nodes[2], undefined);
  const { peers } = network.complete<PeersResult>((now, done) =>
    nodes[9].node.getPeers(id("77"), now, done)
  );
  assert.deepEqual(
    peers.map(String).sort(),
    [`${nodes[1].endpoint.withPort(51413)}`, `${nodes[2].endpoint}`].sort(),
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

Deno.test("nothing is left over: after a day of quiet a node holds only its contacts' checks", () => {
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
    assert.equal(node.contactCount, 9);
    assert.equal(items.count, 0);
    assert.equal(node.lookups.active, 0);
    assert.equal(node.pending.queries, 0);
    assert.equal(node.pending.deadlines, 9 + 3, "and its own rounds");
  }
});

Deno.test("BEP 42: a node takes an id that fits the address that ten peers agree on, and is found under it", () => {
  const network = new VirtualNetwork();
  const nodes = Array.from({ length: 16 }, (_, i) => {
    const added = network.add({ k: 8, at: `7.${i}.1.1:6881` });
    if (i > 0) added.node.join(network.nodes[0].endpoints, [], network.now);
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

Deno.test("who returns a value that was not asked for loses score, and in the end its place", () => {
  const network = new VirtualNetwork();
  const reader = network.add();
  const liar = peer(network, id("80"), "10.9.9.1:1", { v: "something else", token: "t" });
  introduce(network, reader, liar);
  const contact = reader.node.contact(id("80"))!;
  const before = contact.score;
  const target = immutableItem(itemCrypto, bencodeBytes(latin1("wanted"))).target;
  assert.equal(get(network, reader, target).item, undefined);
  assert.ok(contact.faults > 0.9 && contact.score < 0.6 * before);
  get(network, reader, target);
  assert.equal(contact.isReliable, false);
  for (let i = 0; i < 8; i++) get(network, reader, target);
  assert.equal(reader.node.contact(id("80")), undefined);
});

Deno.test("BEP 44: a get with another salt than the item's blames nobody who holds it", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(30);
  network.run(MINUTE);
  const owner = Identity.generate(), salt = latin1("right"), value = bencodeBytes(latin1("v"));
  const target = mutableTarget(itemCrypto, owner.publicKey, salt);
  const signature = owner.sign(signedBytes(salt, 1, value));
  const item = { target, value, signed: { publicKey: owner.publicKey, signature, salt, seq: 1 } };
  const put = network.complete<PutResult>((now, done) =>
    nodes[5].node.put(target, salt, undefined, () => item, now, done)
  );
  const { node } = nodes.find(({ node: { id } }) => !put.stored.some((one) => one.equals(id)))!;
  const before = node.contactCount;
  for (let i = 0; i < 8; i++) {
    const got = network.complete<GetResult>((now, done) =>
      node.get(target, latin1("wrong"), now, done)
    );
    assert.equal(got.item, undefined);
  }
  assert.equal(node.contactCount, before);
  assert.ok([...node.contacts()].every(({ isReliable }) => isReliable));
});
