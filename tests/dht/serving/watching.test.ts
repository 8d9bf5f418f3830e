// Watching items by subscriptions at their holders: notices, renewals, limits, and nodes that lie or fall silent.

import assert from "node:assert/strict";
import type { NodeEvent } from "../../../src/dht/host.ts";
import type { GetResult } from "../../../src/dht/items/item_operations.ts";
import { type Item, mutableTarget, signedBytes } from "../../../src/dht/items/item.ts";
import { proofOf } from "../../../src/dht/items/proof.ts";
import {
  LEASE_MS,
  MAX_SUBSCRIPTIONS,
  NOTICE_BYTES,
  SECRET_BYTES,
} from "../../../src/dht/serving/subscriptions.ts";
import { RENEW_INTERVAL_MS } from "../../../src/dht/serving/watching.ts";
import { bencodeBytes, Writer } from "../../../src/krpc/bencode.ts";
import { compareDistance, Id } from "../../../src/krpc/id.ts";
import { padQuery, writeQuery } from "../../../src/krpc/message.ts";
import { MAX_SEQ, type Seq } from "../../../src/krpc/seq.ts";
import { Identity, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import {
  decodeAny,
  encode,
  endpoint,
  id,
  latin1,
  PADDING,
  query,
  text,
  type Value,
} from "../../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const MINUTE = 60_000;
const K = 4;
const OTHER_SOFTWARE = 0x58580001;
const OWNER = new Identity(new Uint8Array(32).fill(7));
const NO_SALT = new Uint8Array(0);
const TARGET = mutableTarget(itemCrypto, OWNER.publicKey, NO_SALT);

function version(seq: Seq, content = `version ${seq}`): Item {
  const value = bencodeBytes(latin1(content));
  const signature = OWNER.sign(signedBytes(NO_SALT, seq, value));
  const signed = { publicKey: OWNER.publicKey, signature, salt: NO_SALT, seq };
  return { target: TARGET, value, signed };
}

/** A network with a value, an owner and a watcher. Neither of the two holds the value for the network. */
class Scene {
  readonly network = new VirtualNetwork();
  readonly nodes: VirtualNode[];
  readonly owner: VirtualNode;
  readonly watcher: VirtualNode;
  /** All packets of the two methods, with the time at which they were sent. */
  readonly packets: { at: number; method: string; to: string; bytes: Uint8Array }[] = [];
  /** Whether notices get lost. */
  losesNotices = false;

  constructor({ nodes = 16, client }: { nodes?: number; client?: number } = {}) {
    const { network } = this;
    const options = client === undefined ? { k: K } : { k: K, client };
    this.nodes = network.addJoined(nodes, options);
    network.run(MINUTE);
    const others = this.byDistance().slice(K);
    [this.owner, this.watcher] = others.slice(-2);
    network.link = (bytes, _, to) => {
      const method = text(decodeAny(bytes).q ?? []);
      if (method === "dm_subscribe" || method === "dm_notice") {
        this.packets.push({ at: network.now, method, to: `${to}`, bytes: bytes.slice() });
      }
      return method === "dm_notice" && this.losesNotices ? undefined : bytes;
    };
  }

  /** The nodes that are up, nearest to the target first. */
  byDistance(): VirtualNode[] {
    return this.nodes.filter(({ isDown }) => !isDown)
      .sort((x, y) => compareDistance(x.node.id, y.node.id, TARGET));
  }

  get holders(): VirtualNode[] {
    return this.byDistance().slice(0, K);
  }

  put(item: Item): void {
    this.network.complete((now, done) =>
      this.owner.node.items.put({ target: TARGET, make: () => item }, now, done)
    );
  }

  read(): GetResult {
    return this.network.complete((now, done) =>
      this.watcher.node.items.get({ target: TARGET, salt: NO_SALT }, now, done)
    );
  }

  /** Starts the watch, like a host: reads the value, also whenever an event asks for it. */
  watch(): void {
    this.watcher.node.watching.start(TARGET);
    this.read();
    this.network.run(1_000);
  }

  /** Advances the time, and reads the value whenever an event asks for it. */
  run(ms: number): void {
    const until = this.network.now + ms;
    while (this.network.now < until) {
      const before = this.asked;
      this.network.run(Math.min(100, until - this.network.now));
      if (this.asked > before) this.read();
    }
  }

  #count(type: NodeEvent["type"]): number {
    return this.watcher.events.filter((event) => event.type === type).length;
  }

  /** How many times the watcher was asked to read the value. */
  get asked(): number {
    return this.#count("watch.read");
  }

  /** The seqs that holders have reported to the watcher. */
  get heard(): Seq[] {
    return this.watcher.events.flatMap((event) =>
      event.type === "watch.version" ? [event.item.signed!.seq] : []
    );
  }

  sent(method: string): number {
    return this.packets.filter((packet) => packet.method === method).length;
  }
}

Deno.test("a watcher has a new version three one-way delays after a holder got it", () => {
  const scene = new Scene(), { network } = scene;
  scene.put(version(1));
  scene.watch();
  assert.equal(scene.watcher.node.watching.subscriptions, K);
  assert.ok(scene.watcher.node.watching.isPushed(TARGET));
  for (const { node } of scene.holders) assert.equal(node.responder.subscriptions.size, 1);
  const [holder] = scene.holders, stranger = new Stranger(network, "10.9.9.9:4000");
  const get = query("get", id("5a"), { target: TARGET.toBytes() }, { z: PADDING });
  const { token } = stranger.ask(get, holder.endpoint).r;
  const { value, signed } = version(2);
  const args = { token, k: signed!.publicKey, sig: signed!.signature, seq: 2, v: decodeAny(value) };
  stranger.send(query("put", id("5a"), args), holder.endpoint);
  // The put, the notice, the get and its answer take one delay each.
  network.run(4 * network.delayMs);
  assert.deepEqual(scene.heard, [2]);
});

Deno.test("no notice is longer than its subscription, and all go to the address that subscribed", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  const longest = MAX_SEQ;
  scene.put(version(longest));
  scene.run(1_000);
  assert.deepEqual(scene.heard, [longest]);
  const notices = scene.packets.filter(({ method }) => method === "dm_notice");
  assert.equal(notices.length, K);
  for (const { bytes, to } of scene.packets.filter(({ method }) => method === "dm_subscribe")) {
    assert.ok(bytes.length >= NOTICE_BYTES, to);
  }
  for (const { bytes, to } of notices) {
    // Only a read-only node's notice is longer, by its flag.
    assert.equal(bytes.length, NOTICE_BYTES - "2:roi1e".length);
    assert.equal(to, `${scene.watcher.endpoint}`);
  }
});

Deno.test("at rest, a watcher renews each subscription once a minute, and reads nothing", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  const before = scene.sent("dm_subscribe"), asked = scene.asked, minutes = 20;
  scene.run(minutes * MINUTE);
  assert.equal(scene.asked, asked);
  assert.equal(scene.sent("dm_subscribe") - before, K * minutes);
  const times = new Map<string, number[]>();
  for (const { method, to, at } of scene.packets.slice(before)) {
    if (method === "dm_subscribe") times.set(to, [...times.get(to) ?? [], at]);
  }
  for (const list of times.values()) {
    for (let i = 1; i < list.length; i++) assert.equal(list[i] - list[i - 1], RENEW_INTERVAL_MS);
  }
  assert.ok(scene.watcher.node.watching.isPushed(TARGET));
});

Deno.test("a refresh of the same version causes no notice", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  scene.put(version(1));
  scene.run(MINUTE);
  assert.equal(scene.sent("dm_notice"), 0);
});

Deno.test("a greater value with the same seq is reported too", () => {
  const scene = new Scene();
  scene.put(version(1, "a"));
  scene.watch();
  scene.put(version(1, "b"));
  scene.run(1_000);
  assert.deepEqual(scene.heard, [1]);
});

Deno.test("a holder that can't store a version does not report it", () => {
  const scene = new Scene(), { network } = scene;
  scene.put(version(1));
  scene.watch();
  const [holder] = scene.holders, { subscriptions } = holder.node.responder;
  holder.items.put = (_given, _now, done) => done("failed");
  scene.put(version(2));
  const { item } = network.complete<GetResult>((now, done) =>
    holder.node.items.get({ target: TARGET, salt: NO_SALT }, now, done)
  );
  assert.equal(item?.signed?.seq, 2);
  scene.run(2_000);
  assert.equal(subscriptions.counts.sent, 0);
  assert.equal(subscriptions.size, 1, "the watcher does not avoid the holder");
});

Deno.test("a value is reported that did not exist when the watch began", () => {
  const scene = new Scene();
  scene.watch();
  assert.ok(scene.watcher.node.watching.isPushed(TARGET));
  scene.put(version(1));
  scene.run(1_000);
  assert.deepEqual(scene.heard, [1]);
});

Deno.test("versions that follow within a second are reported once, the newest of them", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  scene.put(version(2));
  for (let seq = 3; seq <= 6; seq++) scene.put(version(seq));
  scene.run(5_000);
  assert.equal(scene.heard.at(-1), 6);
  assert.ok(scene.sent("dm_notice") <= 3 * K, `${scene.sent("dm_notice")} notices`);
});

Deno.test("a watcher whose notices all get lost hears within a minute, from a renewal", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  scene.losesNotices = true;
  scene.put(version(2));
  scene.run(RENEW_INTERVAL_MS);
  assert.deepEqual(scene.heard, [2]);
});

Deno.test("a watcher whose holders all die hears within a minute", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  for (const holder of scene.holders) holder.isDown = true;
  scene.put(version(2));
  scene.run(RENEW_INTERVAL_MS);
  const { item } = scene.watcher.node.watching.isPushed(TARGET)
    ? scene.read()
    : { item: undefined };
  assert.ok(scene.asked > 0, "the watcher was asked to read the value");
  assert.equal(item?.signed?.seq, 2);
});

Deno.test("a new closest node gets a subscription within two minutes", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  scene.run(2 * MINUTE);
  const bytes = TARGET.toBytes();
  bytes[19] ^= 1;
  const { network } = scene;
  const closest = network.add({
    k: K,
    id: id(Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")),
  });
  closest.node.membership.join(scene.nodes[0].endpoints, [], network.now);
  scene.nodes.push(closest);
  scene.run(3 * MINUTE);
  assert.equal(closest.node.responder.subscriptions.size, 1);
});

Deno.test("nodes with other software get no subscriptions, and the value needs polls", () => {
  const scene = new Scene({ client: OTHER_SOFTWARE });
  // The watcher's own client differs from that of all others.
  const { network } = scene;
  const watcher = network.add({ k: K });
  watcher.node.membership.join(scene.nodes[0].endpoints, [], network.now);
  network.run(MINUTE);
  scene.put(version(1));
  watcher.node.watching.start(TARGET);
  network.complete((now, done) => watcher.node.items.get({ target: TARGET }, now, done));
  network.run(MINUTE);
  assert.equal(scene.packets.length, 0);
  assert.equal(watcher.node.watching.isPushed(TARGET), false);
});

Deno.test("after the watch has ended, a notice ends the subscription", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  scene.watcher.node.watching.stop(TARGET);
  scene.put(version(2));
  scene.run(1_000);
  assert.deepEqual(scene.heard, []);
  assert.equal(scene.watcher.node.watching.counts.unknown, K);
  for (const { node } of scene.holders) assert.equal(node.responder.subscriptions.size, 0);
});

Deno.test("a silent subscriber gets one notice, twice at most, and is then dropped", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  scene.watcher.isDown = true;
  scene.put(version(2));
  scene.network.run(5_000);
  scene.put(version(3));
  scene.network.run(5_000);
  assert.equal(scene.sent("dm_notice"), 2 * K);
  for (const { node } of scene.holders) assert.equal(node.responder.subscriptions.size, 0);
});

Deno.test("a lease ends without renewals", () => {
  const scene = new Scene();
  scene.put(version(1));
  scene.watch();
  scene.watcher.isDown = true;
  scene.network.run(LEASE_MS + 2 * MINUTE);
  for (const { node } of scene.holders) assert.equal(node.responder.subscriptions.size, 0);
});

Deno.test("a holder that announces a version it does not have causes one get, and loses its subscription", () => {
  const scene = new Scene(), { network, watcher } = scene;
  scene.put(version(1));
  scene.watch();
  const [liar] = scene.holders;
  const subscription = scene.packets.find(({ to }) => to === `${liar.endpoint}`)!;
  const { rt: token } = decodeAny(subscription.bytes).a;
  const gets = () => liar.node.traffic.in.byType()["get.query"]?.messages ?? 0;
  const before = gets();
  for (let seq = 5; seq < 10; seq++) {
    const args = { target: TARGET.toBytes(), seq, token, pf: new Uint8Array(8) };
    network.send(query("dm_notice", liar.node.id, args), liar.endpoint, watcher.endpoint);
    scene.run(2_000);
  }
  assert.equal(gets() - before, 1);
  assert.equal(watcher.node.watching.counts.unknown, 4);
  scene.run(5 * MINUTE);
  assert.equal(watcher.node.watching.subscriptions, K - 1, "the watcher avoids the liar");
  assert.equal(liar.node.responder.subscriptions.size, 0);
});

Deno.test("a notice counts only with the secret, and from the holder's endpoint", () => {
  const scene = new Scene(), { network, watcher } = scene;
  scene.put(version(1));
  scene.watch();
  const [holder] = scene.holders;
  const subscription = scene.packets.find(({ to }) => to === `${holder.endpoint}`)!;
  const { rt } = decodeAny(subscription.bytes).a;
  const stranger = new Stranger(network, "10.9.9.9:4000");
  const args = { target: TARGET.toBytes(), seq: 9, pf: new Uint8Array(8) };
  const reply = stranger.ask(
    query("dm_notice", holder.node.id, { ...args, token: rt }),
    watcher.endpoint,
  );
  assert.deepEqual([reply.e[0], text(reply.e[1])], [203, "no such subscription"]);
  const guessed = { ...args, token: new Uint8Array(SECRET_BYTES) };
  network.send(query("dm_notice", holder.node.id, guessed), holder.endpoint, watcher.endpoint);
  network.run(1_000);
  assert.deepEqual(watcher.node.watching.counts, { received: 0, unknown: 2, pings: 0 });
});

/** A node that holds a version, and a stranger that subscribes there. */
class Holder {
  readonly network = new VirtualNetwork();
  readonly server = this.network.add();
  readonly stranger = new Stranger(this.network, "10.9.9.9:4000");

  constructor(item?: Item) {
    if (item !== undefined) this.server.items.put({ item }, this.network.now, () => {});
  }

  get token(): Uint8Array {
    const get = query("get", id("a5c3"), { target: TARGET.toBytes() });
    return this.stranger.ask(get, this.server.endpoint).r.token;
  }

  watch(args: { [key: string]: Value }, more: { [key: string]: Value } = { z: PADDING }) {
    return this.stranger.ask(query("dm_subscribe", id("a5c3"), args, more), this.server.endpoint);
  }
}

const SECRET = latin1("sesame!!");

Deno.test("dm_subscribe: the answer has a lease, a token, nodes, and a proof of the holder's version", () => {
  const item = version(7), holder = new Holder(item), { server, network, stranger } = holder;
  const args = { target: TARGET.toBytes(), token: holder.token, rt: SECRET };
  const { r } = holder.watch(args);
  assert.equal(r.interval, LEASE_MS / 1000);
  assert.equal(r.seq, 7);
  const proof = { challenge: SECRET, holder: server.node.id, value: item.value };
  assert.deepEqual(r.pf, proofOf(itemCrypto, proof));
  assert.deepEqual(r.token, args.token);
  assert.equal(r.nodes.length, 0);
  stranger.received.length = 0;
  server.node.responder.subscriptions.noteVersion(version(8), network.now);
  network.run(2 * network.delayMs);
  assert.equal(stranger.received.length, 1);
  const { a, q } = decodeAny(stranger.received[0].packet);
  assert.equal(text(q), "dm_notice");
  assert.deepEqual([a.seq, text(a.token), a.target], [8, text(SECRET), TARGET.toBytes()]);
});

Deno.test("a notice is not late because the put took long to be committed", () => {
  const holder = new Holder(version(1)), { server, network, stranger } = holder;
  holder.watch({ target: TARGET.toBytes(), token: holder.token, rt: SECRET });
  const { roundTrips } = server.node.traffic, before = roundTrips.sum;
  const commitMs = 400, putAt = network.now;
  network.run(commitMs);
  stranger.answer = (packet) => {
    const { t, q } = decodeAny(packet);
    return text(q ?? []) === "dm_notice"
      ? encode({ t, y: "r", r: { id: id("a5c3").toBytes() } })
      : undefined;
  };
  server.node.responder.subscriptions.noteVersion(version(2), putAt);
  network.run(3 * network.delayMs);
  assert.equal(server.node.responder.subscriptions.counts.acknowledged, 1);
  assert.equal(roundTrips.sum - before, 2 * network.delayMs);
});

Deno.test("dm_subscribe: without a valid token, a secret or enough bytes, it is refused", () => {
  const holder = new Holder(version(1)), target = TARGET.toBytes(), { token } = holder;
  const refused: [{ [key: string]: Value }, { [key: string]: Value } | undefined, string][] = [
    [{ token, rt: SECRET }, undefined, "target is not 20 bytes"],
    [{ target, token }, undefined, "rt is not 8 bytes"],
    [{ target, token, rt: "short" }, undefined, "rt is not 8 bytes"],
    [{ target, token, rt: SECRET }, {}, "dm_subscribe is shorter than 167 bytes"],
    [{ target, rt: SECRET }, undefined, "bad token"],
    [{ target, token: new Uint8Array(8), rt: SECRET }, undefined, "bad token"],
  ];
  for (const [args, more, message] of refused) {
    const { e } = holder.watch(args, more);
    assert.deepEqual([e[0], text(e[1])], [203, message]);
  }
  assert.equal(holder.server.node.responder.subscriptions.size, 0);
  const other = new Stranger(holder.network, "10.9.9.10:4000");
  const packet = query("dm_subscribe", id("a5c3"), { target, token, rt: SECRET }, { z: PADDING });
  assert.equal(other.ask(packet, holder.server.endpoint).e[0], 203, "a token of another address");
});

Deno.test("subscriptions are limited in all, for each address and for each network", () => {
  const { server, network: { now } } = new Holder(), { subscriptions } = server.node.responder;
  const add = (from: string, n: number) => {
    const target = id(n.toString(16).padStart(40, "0"));
    return subscriptions.add({ target, from: endpoint(from), secret: SECRET }, now);
  };
  const fill = (from: (i: number) => string) => {
    let added = 0;
    while (added <= MAX_SUBSCRIPTIONS && add(from(added), added)) added++;
    return added;
  };
  const ofOne = fill(() => "1.2.3.4:5");
  assert.ok(ofOne > 1_000 && ofOne <= MAX_SUBSCRIPTIONS / 5 + 1, `${ofOne} of one address`);
  assert.ok(add("1.2.3.4:5", 0), "renewals are never refused");
  const ofNetwork = ofOne + fill((i) => `1.2.3.${5 + i % 200}:5`);
  assert.ok(ofNetwork <= MAX_SUBSCRIPTIONS / 2 + 1, `${ofNetwork} of one network`);
  fill((i) => `5.${i % 250}.${i >> 5}.1:5`);
  assert.ok(subscriptions.size <= MAX_SUBSCRIPTIONS);
  assert.ok(subscriptions.counts.refused >= 3);
  subscriptions.expire(now + LEASE_MS);
  assert.equal(subscriptions.size, 0);
  assert.equal(fill(() => "1.2.3.4:5"), ofOne, "the counts start at zero again");
});

Deno.test("refused subscriptions don't make a node search for expired ones again and again", () => {
  const { server, network: { now } } = new Holder(), { subscriptions } = server.node.responder;
  const from = endpoint("1.2.3.4:5"), found = new Set<number>();
  const expire = subscriptions.expire.bind(subscriptions);
  let searches = 0;
  subscriptions.expire = (at) => {
    searches++;
    expire(at);
  };
  const addAt = (n: number, at: number) => {
    const target = id(n.toString(16).padStart(40, "0"));
    if (subscriptions.add({ target, from, secret: SECRET }, at)) found.add(n);
  };
  for (let n = 0; n < MAX_SUBSCRIPTIONS; n++) addAt(n, now);
  assert.ok(found.size < MAX_SUBSCRIPTIONS);
  assert.equal(searches, 1);
  const next = MAX_SUBSCRIPTIONS;
  addAt(next, now + LEASE_MS);
  assert.ok(found.has(next), "a place is free again as soon as a lease has ended");
  assert.equal(searches, 2);
});

Deno.test("a full holder answers 202", () => {
  const holder = new Holder(), { server, network: { now } } = holder;
  for (let i = 0; i < MAX_SUBSCRIPTIONS; i++) {
    const from = endpoint(`${20 + (i % 100)}.${i % 250}.${i >> 8}.1:5`);
    server.node.responder.subscriptions.add({ target: TARGET, from, secret: SECRET }, now);
  }
  const args = { target: TARGET.toBytes(), token: holder.token, rt: SECRET };
  const { e } = holder.watch(args);
  assert.deepEqual([e[0], text(e[1])], [202, "no room for a subscription"]);
});

Deno.test("the subscription and the notice in docs/protocol.md have the documented bytes", () => {
  const w = new Writer(1_000);
  const [watcher, holder] = ["abcdefghij0123456789", "mnopqrstuvwxyz123456"]
    .map((name) => Id.read(latin1(name)));
  const target = Id.parse("4a533d47ec9c7d95b1ad75f576cffc641853b750")!;
  const tid = 0x61616161, client = 0x444d0100, rt = latin1("sesame!!");
  const shown = (bytes: Uint8Array) =>
    text(bytes).replace(/[^ -~]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
  const watch = { target, token: latin1("aoeusnth"), returnToken: rt };
  writeQuery(w, "dm_subscribe", tid, watcher, client, false, watch);
  padQuery(w, NOTICE_BYTES);
  const subscription = shown(w.done()).replace(/(1:z29:)(\\x00){29}e$/, "$1...e");
  const value = latin1("12:Hello World!");
  const proof = proofOf(itemCrypto, { challenge: rt, holder, value });
  const args = { target, token: rt, seq: 1, proof };
  writeQuery(w, "dm_notice", tid, holder, client, false, args);
  const documented = Deno.readTextFileSync(new URL("../../../docs/protocol.md", import.meta.url))
    .replaceAll("\n", "");
  for (const packet of [subscription, shown(w.done())]) {
    assert.ok(documented.includes(packet), packet);
  }
});

Deno.test("the longest notice has as many bytes as the shortest subscription", () => {
  const w = new Writer(1_000), bytes = new Uint8Array(SECRET_BYTES);
  const args = { target: TARGET, token: bytes, seq: MAX_SEQ, proof: bytes };
  writeQuery(w, "dm_notice", 0, TARGET, 0x444d0100, true, args);
  assert.equal(w.done().length, NOTICE_BYTES);
});
