// Answers to the queries of other nodes.

import assert from "node:assert/strict";
import type { GivenItem, StoredItem } from "../../../src/dht/items/item.ts";
import { immutableItem, ITEM_LIFE_MS, signedBytes } from "../../../src/dht/items/item.ts";
import { proofOf } from "../../../src/dht/items/proof.ts";
import { itemCost } from "../../../src/dht/items/item_cost.ts";
import { ItemStore, type PutOutcome } from "../../../src/dht/items/item_store.ts";
import { MAX_ANNOUNCEMENTS } from "../../../src/dht/serving/peer_store.ts";
import { MAX_REPLY_BYTES } from "../../../src/dht/reply_size.ts";
import { estimate } from "../../../src/krpc/bloom_filter.ts";
import { compareDistance, Id } from "../../../src/krpc/id.ts";
import { MAX_SEQ, type Seq } from "../../../src/krpc/seq.ts";
import { Identity, itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import {
  compact,
  decodeAny,
  type Decoded,
  encode,
  endpoint,
  hex,
  id,
  latin1,
  PADDING,
  query,
  text,
  type Value,
} from "../../packets.ts";
import {
  SlowStore,
  Stranger,
  VirtualNetwork,
  type VirtualNode,
  type VirtualNodeOptions,
} from "../virtual_network.ts";

const ASKER = id("a5c3");
const TARGET = id("1234");
type Arguments = { [key: string]: Value };

/** A node and a stranger that queries it. */
class Scene {
  readonly network = new VirtualNetwork();
  readonly server: VirtualNode;
  readonly stranger: Stranger;

  constructor(options: VirtualNodeOptions = {}, strangerAt = "10.9.9.9:4000") {
    this.server = this.network.add(options);
    this.stranger = new Stranger(this.network, strangerAt);
  }

  /** Asks with a query that is long enough for any reply. */
  ask(method: string, args: Arguments = {}, more: Arguments = {}, from = this.stranger): Decoded {
    const to = this.server.endpoints.find(({ family }) => family === from.at.family)!;
    return from.ask(query(method, ASKER, args, { z: PADDING, ...more }), to);
  }

  /** The error code in the answer to a query. */
  code(method: string, args: Arguments = {}, from = this.stranger): number {
    const reply = this.ask(method, args, {}, from);
    assert.equal(text(reply.y), "e", JSON.stringify(reply));
    assert.equal(reply.r, undefined);
    assert.equal(typeof text(reply.e[1]), "string");
    return reply.e[0];
  }

  token(from = this.stranger): Uint8Array {
    return this.ask("get", { target: TARGET.toBytes() }, {}, from).r.token;
  }

  put(args: Arguments, from = this.stranger): Decoded {
    return this.ask("put", { token: this.token(from), ...args }, {}, from);
  }

  putCode(args: Arguments): number {
    return this.code("put", { token: this.token(), ...args });
  }

  /** Asks with these digits as the `seq` or `cas`: npm's bencode can't write all. Returns the raw reply as text. */
  askExactly(method: string, args: Arguments, digits: { seq?: string; cas?: string }): string {
    const placeholders = Object.fromEntries(Object.keys(digits).map((name) => [name, 1]));
    let packet = text(query(method, ASKER, { token: this.token(), ...args, ...placeholders }));
    for (const [name, exact] of Object.entries(digits)) {
      packet = packet.replace(`3:${name}i1e`, `3:${name}i${exact}e`);
    }
    return text(this.stranger.askRaw(latin1(packet), this.server.endpoint)!);
  }

  /** Fills the server's tables with contacts that answer. */
  populate(count: number, family: 4 | 6 = 4): Id[] {
    const ids: Id[] = [];
    for (let i = 0; i < count; i++) {
      const of = this.network.randomId();
      const at = family === 4 ? `10.7.${i >> 8}.${i & 255}:1` : `[fd00::${(i + 1).toString(16)}]:1`;
      const peer = new Stranger(this.network, at);
      peer.answer = (packet) => pong(packet, of);
      this.server.node.ping(peer.at, this.network.now, () => {});
      ids.push(of);
      this.network.run(30);
    }
    return ids;
  }
}

/** The response of a node with this id to a query of ours. */
function pong(packet: Uint8Array, sender: Id): Uint8Array {
  return encode({ t: decodeAny(packet).t, y: "r", r: { id: sender.toBytes() } });
}

Deno.test("BEP 5: ping is answered with our id, t echoed byte for byte, ip and v", () => {
  const scene = new Scene();
  for (const t of ["", "a", "aa", "\0\xff\x80", "12345678", "t".repeat(64)]) {
    const reply = scene.ask("ping", {}, { t });
    assert.equal(text(reply.t), t);
    assert.equal(text(reply.y), "r");
    assert.deepEqual(reply.r.id, scene.server.node.id.toBytes());
    assert.deepEqual(Object.keys(reply.r), ["id"]);
    assert.deepEqual(reply.ip, compact(scene.stranger.at));
    assert.deepEqual(reply.v, hex("444d0100"));
  }
});

Deno.test("BEP 42: ip has the asker's address in errors too, and for IPv6", () => {
  const scene = new Scene({ at: ["10.0.0.1:1", "[fd00::1]:1"] }, "[fd00::99]:4000");
  assert.deepEqual(scene.ask("ping").ip, compact(scene.stranger.at));
  const error = scene.ask("find_node");
  assert.equal(text(error.y), "e");
  assert.deepEqual(error.ip, compact(scene.stranger.at));
});

Deno.test("BEP 5: find_node returns the 8 closest good contacts, including the target itself", () => {
  const scene = new Scene();
  const known = scene.populate(60);
  const table = scene.server.node.tables.byFamily[4]!;
  const held = known.filter((of) => table.find(of));
  for (const target of [TARGET, held[5]]) {
    const { nodes, nodes6 } = scene.ask("find_node", { target: target.toBytes() }).r;
    assert.equal(nodes6, undefined);
    assert.equal(nodes.length, 8 * 26);
    const truth = held.toSorted((x, y) => compareDistance(x, y, target)).slice(0, 8);
    const told = Array.from({ length: 8 }, (_, i) => `${Id.read(nodes, 26 * i)}`);
    assert.deepEqual(told, truth.map(String));
  }
});

Deno.test("BEP 5: contacts that are not good are not returned", () => {
  const scene = new Scene();
  const known = scene.populate(5);
  scene.server.node.tables.find(known[0])!.missed(scene.network.now);
  const count = () => scene.ask("find_node", { target: TARGET.toBytes() }).r.nodes.length / 26;
  assert.equal(count(), 4);
  for (const of of known) scene.server.node.tables.find(of)!.lastResponse -= 20 * 60_000;
  assert.equal(count(), 0);
});

Deno.test("nn: an asker that accepts more gets up to 20 nodes, and no asker gets more", () => {
  const scene = new Scene();
  scene.populate(80);
  const count = (nn: Value) =>
    scene.ask("find_node", { target: TARGET.toBytes(), nn }).r.nodes.length / 26;
  assert.deepEqual([1, 8, 16, 20, 21, 1e6].map(count), [1, 8, 16, 20, 20, 20]);
  for (const odd of [0, -1, "20", [20]]) assert.equal(count(odd), 8);
});

Deno.test("BEP 32: want decides on nodes and nodes6, or else the family of the packet", () => {
  const both = { at: ["10.0.0.1:1", "[fd00:1::1]:1"] };
  const scene = new Scene(both);
  scene.populate(3, 4);
  scene.populate(4, 6);
  const from6 = new Stranger(scene.network, "[fd00::99]:4000");
  const counts = (want: Value | undefined, from: Stranger) => {
    const args: Arguments = { target: TARGET.toBytes(), info_hash: TARGET.toBytes() };
    if (want !== undefined) args.want = want;
    return ["find_node", "get_peers", "get", "sample_infohashes"].map((method) => {
      const { nodes, nodes6 } = scene.ask(method, args, {}, from).r;
      return [nodes && nodes.length / 26, nodes6 && nodes6.length / 38].join();
    });
  };
  const all = (expected: string) => Array(4).fill(expected);
  for (const from of [scene.stranger, from6]) {
    assert.deepEqual(counts(["n4"], from), all("3,"));
    assert.deepEqual(counts(["n6"], from), all(",4"));
    assert.deepEqual(counts(["n4", "n6"], from), all("3,4"));
    assert.deepEqual(counts(["n6", "n7", 4], from), all(",4"));
  }
  for (const none of [undefined, [], ["n7"], "n6"]) {
    assert.deepEqual(counts(none, scene.stranger), all("3,"));
    assert.deepEqual(counts(none, from6), all(",4"));
  }
});

Deno.test("BEP 5: get_peers always returns a token and nodes, and values if there are any", () => {
  const scene = new Scene();
  scene.populate(10);
  const hash = { info_hash: TARGET.toBytes() };
  const none = scene.ask("get_peers", hash).r;
  assert.ok(none.token.length > 0);
  assert.equal(none.nodes.length, 8 * 26);
  assert.equal(none.values, undefined);
  scene.ask("announce_peer", { ...hash, port: 77, token: none.token });
  const some = scene.ask("get_peers", hash).r;
  assert.ok(some.token.length > 0);
  assert.equal(some.nodes.length, 8 * 26);
  assert.deepEqual(some.values, [compact(scene.stranger.at.withPort(77))]);
});

Deno.test("BEP 5: implied_port other than 0 means the port that the packet came from", () => {
  const scene = new Scene();
  const announce = (hash: string, args: Arguments) => {
    const infoHash = { info_hash: id(hash).toBytes() };
    const { r } = scene.ask("announce_peer", { ...infoHash, token: scene.token(), ...args });
    assert.deepEqual(Object.keys(r), ["id"]);
    const [peer] = scene.ask("get_peers", infoHash).r.values;
    return peer[4] * 256 + peer[5];
  };
  assert.equal(announce("01", { port: 77, implied_port: 1 }), 4000);
  assert.equal(announce("02", { port: 77, implied_port: 7 }), 4000);
  assert.equal(announce("03", { implied_port: 1 }), 4000);
  assert.equal(announce("04", { port: 77, implied_port: 0 }), 77);
  assert.equal(announce("05", { port: 65535 }), 65535);
});

Deno.test("BEP 5: announce_peer with another address's token is refused with 203", () => {
  const scene = new Scene();
  const other = new Stranger(scene.network, "10.9.9.8:4000");
  const sameHost = new Stranger(scene.network, "10.9.9.9:5000");
  const args = { info_hash: TARGET.toBytes(), port: 77, token: scene.token() };
  assert.equal(scene.code("announce_peer", args, other), 203);
  assert.equal(scene.server.node.responder.peers.count, 0);
  assert.equal(text(scene.ask("announce_peer", args, {}, sameHost).y), "r", "the port is free");
});

Deno.test("BEP 5: announce_peer accepts a token of 10 minutes, but not an expired one (203)", () => {
  const scene = new Scene();
  const args = { info_hash: TARGET.toBytes(), port: 77, token: scene.token() };
  scene.network.run(10 * 60_000);
  assert.equal(text(scene.ask("announce_peer", args).y), "r");
  scene.network.run(6 * 60_000);
  assert.equal(scene.code("announce_peer", args), 203);
});

Deno.test("BEP 5: bad arguments are refused with 203", () => {
  const scene = new Scene();
  const token = scene.token();
  const good = { info_hash: TARGET.toBytes(), port: 77, token };
  const announces: Arguments[] = [
    { ...good, token: "" },
    { ...good, token: 5 },
    { ...good, token: token.slice(1) },
    { ...good, info_hash: 5 },
    { ...good, info_hash: "short" },
    { ...good, port: 0 },
    { ...good, port: 65536 },
    { ...good, port: -1 },
    { ...good, port: "77" },
    { token, port: 77 },
    { info_hash: TARGET.toBytes(), port: 77 },
    { info_hash: TARGET.toBytes(), token },
  ];
  for (const args of announces) assert.equal(scene.code("announce_peer", args), 203);
  const badTargets: Arguments[] = [{}, { target: 5 }, { target: "s" }, { target: [token] }];
  for (const method of ["find_node", "get", "sample_infohashes"]) {
    for (const args of badTargets) {
      assert.equal(scene.code(method, args), 203, method);
    }
  }
  assert.equal(scene.code("get_peers", {}), 203);
  assert.equal(scene.code("get_peers", { info_hash: 5 }), 203);
  for (const method of ["ping", "find_node", "get_peers", "put", "vote"]) {
    for (const sender of [5, "", "short", ["x"]]) {
      assert.equal(scene.code(method, { id: sender, target: TARGET.toBytes() }), 203, method);
    }
  }
  assert.equal(scene.code("get", { target: TARGET.toBytes(), seq: "1" }), 203);
  assert.equal(scene.server.node.responder.peers.count, 0);
});

Deno.test("a query without arguments is refused with 203", () => {
  const scene = new Scene();
  const bare = scene.stranger.ask(encode({ t: "aa", y: "q", q: "ping" }), scene.server.endpoint);
  assert.deepEqual([text(bare.y), bare.e[0], text(bare.t)], ["e", 203, "aa"]);
});

Deno.test("garbage gets no answer, but counts as dropped", () => {
  const scene = new Scene();
  const before = scene.stranger.received.length;
  const garbage = [
    latin1("hello"),
    latin1("d1:t2:aa1:y1:qe"),
    encode({ y: "q", q: "ping", a: { id: ASKER.toBytes() } }),
    new Uint8Array(1500).fill(0x64),
    new Uint8Array(0),
  ];
  for (const packet of garbage) scene.stranger.send(packet, scene.server.endpoint);
  scene.network.run(100);
  assert.equal(scene.stranger.received.length, before);
  assert.deepEqual(scene.server.node.traffic.dropped, {
    malformed: 3,
    unknown_type: 1,
    no_transaction: 1,
  });
});

Deno.test("unknown queries with target or info_hash are answered as find_node", () => {
  const scene = new Scene();
  scene.populate(10);
  for (const key of ["target", "info_hash"]) {
    const { r } = scene.ask("vote", { [key]: TARGET.toBytes() });
    assert.deepEqual(r, scene.ask("find_node", { target: TARGET.toBytes() }).r);
  }
});

Deno.test("unknown queries without a target are refused with 204", () => {
  const scene = new Scene();
  assert.equal(scene.code("vote"), 204);
  assert.equal(scene.code("vote", { target: "short" }), 204);
});

Deno.test("BEP 43: a read-only asker is served, and does not enter the table", () => {
  const scene = new Scene();
  scene.stranger.answer = (packet) => pong(packet, ASKER);
  assert.equal(text(scene.ask("ping", {}, { ro: 1 }).y), "r");
  scene.network.run(1_000);
  assert.equal(scene.server.node.tables.size, 0);
  assert.equal(text(scene.ask("ping").y), "r");
  scene.network.run(1_000);
  assert.equal(scene.server.node.tables.size, 1);
});

Deno.test("BEP 51: the reply always has samples, num, interval and nodes", () => {
  const scene = new Scene();
  const ask = (target = TARGET) => scene.ask("sample_infohashes", { target: target.toBytes() }).r;
  const empty = ask();
  assert.deepEqual(
    [empty.samples.length, empty.num, empty.nodes.length],
    [0, 0, 0],
  );
  assert.ok(empty.interval >= 0 && empty.interval <= 21600);
  for (let n = 0; n < 50; n++) {
    const hash = id(n.toString(16).padStart(2, "0")).toBytes();
    scene.ask("announce_peer", { info_hash: hash, port: 1, token: scene.token() });
  }
  const one = ask(), other = ask(id("ff"));
  assert.equal(one.num, 50);
  assert.ok(one.samples.length > 0 && one.samples.length % 20 === 0);
  assert.deepEqual(one.samples, other.samples, "the target does not affect the sample");
});

const OWNER = new Identity(new Uint8Array(32).fill(3));

/** The arguments of a put, signed. */
function signed(value: Value, seq: Seq, salt = ""): Arguments {
  const v = encode(value);
  const args: Arguments = {
    v: value,
    seq: Number(seq),
    k: OWNER.publicKey,
    sig: OWNER.sign(signedBytes(latin1(salt), seq, v)),
  };
  if (salt !== "") args.salt = salt;
  return args;
}

/** The target of the items that `signed` makes. */
const targetOf = (salt = "") => itemCrypto.sha1(hex(hexOf(OWNER.publicKey) + hexOf(latin1(salt))));
const hexOf = (bytes: Uint8Array) =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

Deno.test("BEP 44: an immutable item is stored, and returned with a token and nodes", () => {
  const scene = new Scene();
  scene.populate(10);
  const v = "Hello World!";
  assert.deepEqual(Object.keys(scene.put({ v }).r), ["id"]);
  const { r } = scene.ask("get", {
    target: hex("e5f96f6f38320f0f33959cb4d3d656452117aadb"),
  });
  assert.equal(text(r.v), v);
  assert.deepEqual([r.k, r.sig, r.seq], [undefined, undefined, undefined]);
  assert.ok(r.token.length > 0 && r.nodes.length === 8 * 26);
  assert.deepEqual(scene.server.events.filter((e) => e.type === "data.store").length, 1);
});

Deno.test("BEP 44: a get of an unknown target returns only a token and nodes", () => {
  const scene = new Scene();
  scene.populate(10);
  const { r } = scene.ask("get", { target: TARGET.toBytes(), seq: 4 });
  assert.deepEqual(Object.keys(r).sort(), ["id", "nodes", "token"]);
});

Deno.test("a node answers a challenge with the age of its copy and a proof, and without the value", () => {
  const scene = new Scene();
  const v = "Hello World!", challenge = latin1("12345678");
  scene.put({ v });
  const value = encode(v), target = immutableItem(itemCrypto, value).target.toBytes();
  const { r } = scene.ask("get", { target, pc: challenge });
  const proof = proofOf(itemCrypto, { challenge, holder: scene.server.node.id, value });
  assert.deepEqual([r.sa, r.v, [...r.pf]], [0, undefined, [...proof]]);
});

Deno.test("a node that lacks the item answers a challenge without a proof", () => {
  const { r } = new Scene().ask("get", { target: TARGET.toBytes(), pc: latin1("12345678") });
  assert.deepEqual(Object.keys(r).sort(), ["id", "nodes", "token"]);
});

Deno.test("BEP 44: v is returned exactly as it was received", () => {
  const scene = new Scene();
  const values: Value[] = [0, -5, "", [], {}, [1, ["a", { b: "" }]], "x".repeat(996)];
  for (const v of values) {
    scene.put({ v });
    const raw = encode(v);
    const reply = scene.stranger.askRaw(
      query("get", ASKER, { target: itemCrypto.sha1(raw) }),
      scene.server.endpoint,
    )!;
    assert.ok(text(reply).includes(`1:v${text(raw)}`));
  }
});

Deno.test("BEP 44: v over 1000 bytes is refused with 205, and 1000 bytes are accepted", () => {
  const scene = new Scene();
  assert.equal(text(scene.put({ v: "x".repeat(996) }).y), "r");
  assert.equal(scene.putCode({ v: "x".repeat(997) }), 205);
  assert.equal(scene.putCode(signed("x".repeat(997), 1)), 205);
});

Deno.test("BEP 44: v that is not canonical bencode is refused with 203", () => {
  const scene = new Scene();
  const token = text(scene.token());
  for (const v of ["i-0e", "i01e", "03:abc", "d1:bi1e1:ai2ee", "l02:abe"]) {
    const packet = `d1:ad2:id20:${"i".repeat(20)}5:token8:${token}1:v${v}e1:q3:put1:t2:aa1:y1:qe`;
    const reply = scene.stranger.ask(latin1(packet), scene.server.endpoint);
    assert.equal(reply.e?.[0], 203, v);
  }
  assert.equal(scene.putCode({}), 203, "and none at all");
  assert.equal(scene.server.items.count, 0);
});

Deno.test("BEP 44: a put without a valid token is refused with 203", () => {
  const scene = new Scene();
  const other = new Stranger(scene.network, "10.9.9.8:4000");
  const v = "value";
  assert.equal(scene.code("put", { v }), 203);
  assert.equal(scene.code("put", { v, token: 8 }), 203);
  assert.equal(scene.code("put", { v, token: scene.token(other) }), 203);
  assert.equal(scene.server.items.count, 0);
});

Deno.test("BEP 44: a mutable item is stored, and returned with k, seq and sig, but without its salt", () => {
  const scene = new Scene();
  for (const salt of ["", "foobar", "s".repeat(64)]) {
    const args = signed({ some: ["value"] }, 4, salt);
    assert.equal(text(scene.put(args).y), "r");
    const { r } = scene.ask("get", { target: targetOf(salt) });
    assert.deepEqual([r.k, r.sig, r.seq], [args.k, args.sig, 4]);
    assert.equal(r.salt, undefined);
    assert.ok(r.token.length > 0);
  }
});

Deno.test("ss: only askers that request the salt get it", () => {
  const scene = new Scene();
  scene.put(signed("value", 4, "foobar"));
  const salt = (args: Arguments, salted = "foobar") =>
    scene.ask("get", { target: targetOf(salted), ...args }).r.salt;
  assert.equal(text(salt({ ss: 1 })), "foobar");
  for (const ss of [0, 2, "1", [1]]) assert.equal(salt({ ss }), undefined);
  assert.equal(salt({}), undefined);
  assert.equal(salt({ ss: 1, seq: 4 }), undefined, "nor if the asker has the item");
  scene.put(signed("value", 4));
  assert.equal(salt({ ss: 1 }, ""), undefined, "nor if there is none");
});

Deno.test("BEP 44: get with seq at or over the stored one omits k, v and sig", () => {
  const scene = new Scene();
  scene.populate(10);
  scene.put(signed("value", 4));
  const get = (seq: number) => scene.ask("get", { target: targetOf(), seq }).r;
  for (const seq of [4, 5, Number.MAX_SAFE_INTEGER]) {
    const r = get(seq);
    assert.deepEqual([r.k, r.v, r.sig], [undefined, undefined, undefined]);
    assert.equal(r.seq, 4);
    assert.ok(r.token.length > 0 && r.nodes.length === 8 * 26);
  }
  for (const seq of [3, 0, -1]) assert.equal(text(get(seq).v), "value");
});

Deno.test("BEP 44: an invalid signature is refused with 206", () => {
  const scene = new Scene();
  const good = signed("value", 4, "salt");
  assert.equal(scene.putCode({ ...good, v: "other" }), 206);
  assert.equal(scene.putCode({ ...good, seq: 5 }), 206);
  assert.equal(scene.putCode({ ...good, salt: "sald" }), 206);
  assert.equal(scene.putCode({ ...good, sig: new Uint8Array(64) }), 206);
  assert.equal(scene.putCode({ ...good, k: new Uint8Array(32) }), 206);
  assert.equal(scene.server.items.count, 0);
});

Deno.test("a put of an older version is refused before its signature is checked", () => {
  const scene = new Scene();
  scene.put(signed("new", 5));
  const forged = { ...signed("old", 4), sig: new Uint8Array(64) };
  assert.equal(scene.putCode(forged), 302);
  assert.equal(scene.putCode({ ...forged, seq: 6 }), 206);
  assert.equal(scene.putCode({ ...signed("new", 5), sig: new Uint8Array(64) }), 206);
});

Deno.test("BEP 44: a salt over 64 bytes is refused with 207", () => {
  const scene = new Scene();
  assert.equal(scene.putCode(signed("value", 4, "s".repeat(65))), 207);
});

Deno.test("BEP 44: k, sig and seq of the wrong form are refused with 203", () => {
  const scene = new Scene();
  const good = signed("value", 4);
  for (const k of ["", "short", new Uint8Array(33)]) {
    assert.equal(scene.putCode({ ...good, k }), 203);
  }
  for (const sig of ["", 5, new Uint8Array(65)]) assert.equal(scene.putCode({ ...good, sig }), 203);
  for (const seq of ["4", -1, [4]]) assert.equal(scene.putCode({ ...good, seq }), 203);
  const { seq: _, ...noSeq } = good;
  assert.equal(scene.putCode(noSeq), 203);
  assert.equal(scene.putCode({ ...good, cas: "4" }), 203);
});

Deno.test("BEP 44: seq and cas up to 2^63 - 1 are stored, compared and sent exactly", () => {
  const scene = new Scene();
  const target = { target: targetOf() };
  let held: bigint | undefined;
  for (const seq of [2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, MAX_SEQ - 1n, MAX_SEQ]) {
    const put = (digits: { cas?: string }) =>
      scene.askExactly("put", signed("value", seq), { seq: `${seq}`, ...digits });
    if (held !== undefined) assert.match(put({ cas: `${held - 1n}` }), /1:eli301e/);
    assert.match(put(held === undefined ? {} : { cas: `${held}` }), /1:y1:re$/, `${seq}`);
    const get = (after: bigint) => scene.askExactly("get", target, { seq: `${after}` });
    assert.match(get(seq - 1n), new RegExp(`3:seqi${seq}e.*1:v5:value`, "s"));
    assert.doesNotMatch(get(seq), /1:v5:value/);
    if (held !== undefined) {
      const older = scene.askExactly("put", signed("value", held), { seq: `${held}` });
      assert.match(older, new RegExp(`1:eli302e.*seq is less than current ${seq}`, "s"));
    }
    held = seq;
  }
});

Deno.test("BEP 44: a seq or cas that is negative, beyond 2^63 - 1 or not canonical is refused with 203", () => {
  const scene = new Scene();
  const { seq: _, ...unversioned } = signed("value", 1);
  scene.put(signed("held", 0));
  for (const bad of ["9223372036854775808", "-1", "-0", "01", "-9223372036854775807"]) {
    assert.match(scene.askExactly("put", unversioned, { seq: bad }), /1:eli203e/, bad);
    assert.match(scene.askExactly("put", signed("value", 1), { cas: bad }), /1:eli203e/, bad);
    // A get may say with -1 that the asker has no version.
    if (bad === "-1") continue;
    const get = scene.askExactly("get", { target: targetOf() }, { seq: bad });
    assert.match(get, /1:eli203e/, bad);
  }
});

Deno.test("BEP 44: under the same seq, a value only changes to a greater one", () => {
  const scene = new Scene();
  scene.put(signed("four", 4));
  assert.equal(scene.putCode(signed("fort", 4)), 302);
  assert.equal(text(scene.ask("get", { target: targetOf() }).r.v), "four");
  assert.equal(text(scene.put(signed("other", 4)).y), "r");
  assert.equal(text(scene.ask("get", { target: targetOf() }).r.v), "other");
});

Deno.test("BEP 44: seq is never lowered (302)", () => {
  const scene = new Scene();
  scene.put(signed("four", 4));
  assert.equal(scene.putCode(signed("three", 3)), 302);
  assert.equal(text(scene.ask("get", { target: targetOf() }).r.v), "four");
  assert.equal(text(scene.put(signed("five", 5)).y), "r");
  assert.equal(text(scene.ask("get", { target: targetOf() }).r.v), "five");
});

Deno.test("BEP 44: the same seq with the same value refreshes the item", () => {
  const scene = new Scene();
  scene.put(signed("value", 4));
  scene.put({ v: "immutable" });
  const stored = () => [...scene.server.items.entries()].map((item) => item.expiresAt);
  const before = stored();
  scene.network.run(60 * 60_000);
  scene.put(signed("value", 4));
  scene.put({ v: "immutable" });
  assert.ok(stored().every((at, i) => at >= before[i] + 60 * 60_000));
  scene.network.run(ITEM_LIFE_MS - 60_000);
  assert.equal(text(scene.ask("get", { target: targetOf() }).r.v), "value");
  scene.network.run(4 * 60_000);
  assert.equal(scene.server.items.count, 0, "it expires without another put");
  assert.equal(scene.server.events.filter((e) => e.type === "data.expire").length, 2);
});

Deno.test("BEP 44: cas must be the stored seq (301)", () => {
  const scene = new Scene();
  scene.put(signed("first", 1));
  assert.equal(scene.putCode({ ...signed("third", 3), cas: 2 }), 301);
  assert.equal(text(scene.put({ ...signed("second", 2), cas: 1 }).y), "r");
});

Deno.test("BEP 44: cas is ignored if nothing is replaced", () => {
  const scene = new Scene();
  assert.equal(text(scene.put({ ...signed("first", 1), cas: 99 }).y), "r");
  assert.equal(text(scene.put({ v: "immutable", cas: 5 }).y), "r");
  assert.equal(text(scene.put({ v: "immutable", cas: 6 }).y), "r");
});

Deno.test("a put is answered once the store has committed it, or with 202 if it could not", () => {
  const waiting: ((outcome: PutOutcome) => void)[] = [];
  const slow = new class extends ItemStore {
    override put(_: GivenItem, __: number, done: (outcome: PutOutcome) => void): void {
      waiting.push(done);
    }
  }(id("5e"), 1e6, 1);
  const scene = new Scene({ items: slow });
  for (const outcome of ["kept", "failed"] as const) {
    const args = { v: "value", token: scene.token() };
    assert.equal(scene.ask("put", args, { t: "long tid" }), undefined, "not yet");
    // Other traffic uses the same buffers meanwhile.
    scene.ask("ping");
    waiting.shift()!(outcome);
    scene.network.run(100);
    const reply = scene.stranger.received.at(-1)!.packet;
    assert.ok(text(reply).includes("1:t8:long tid"));
    assert.equal(text(reply).includes("1:eli202e"), outcome !== "kept");
  }
  assert.equal(scene.server.events.filter((e) => e.type === "data.store").length, 1);
});

Deno.test("a full store refuses with 202, and says beforehand how much room there is", () => {
  const size = itemCost({ value: { length: 4 } });
  const items = new ItemStore(id("5e"), 10 * size, 1);
  const scene = new Scene({ items });
  const room = () => scene.ask("get", { target: TARGET.toBytes(), rm: 1 }).r.rm;
  assert.equal(scene.ask("get", { target: TARGET.toBytes() }).r.rm, undefined, "only if asked");
  assert.equal(room(), 10 * size);
  for (let n = 0; n < 10; n++) assert.equal(text(scene.put({ v: `0${n}` }).y), "r");
  assert.equal(room(), 0);
  const { y, e } = scene.put({ v: "10" });
  assert.deepEqual([text(y), e[0], text(e[1])], ["e", 202, "storage is full"]);
  assert.equal(text(scene.put({ v: "03" }).y), "r", "what is there may be put again");
});

Deno.test("a public network can fill a fifth of a store; members of a private network can fill it", () => {
  const size = itemCost({ value: { length: 4 } });
  const fill = (strangerAt: string, options: VirtualNodeOptions) => {
    const items = new ItemStore(id("5e"), 100 * size, 1);
    const scene = new Scene({ items, ...options }, strangerAt);
    const announced = scene.ask("get", { target: TARGET.toBytes(), rm: 1 }).r.rm;
    for (let n = 36;; n++) {
      const { y, e } = scene.put({ v: n.toString(36) });
      if (text(y) === "r") continue;
      return { count: n - 36, announced: announced / size, text: text(e[1]) };
    }
  };
  const share = "your network's share of the storage is full", at = "7.7.7.7:1";
  const limited = { count: 20, announced: 20, text: share };
  assert.deepEqual(fill("5.6.7.8:4000", { at }), limited);
  assert.deepEqual(fill("[2a01:db8::1]:4000", { at: "[2a01:db8:9::1]:1" }), limited);
  const unlimited = { count: 100, announced: 100, text: "storage is full" };
  assert.deepEqual(fill("10.6.7.8:4000", {}), unlimited);
  assert.deepEqual(fill("5.6.7.8:4000", { at, isPrivate: true }), unlimited);
});

Deno.test("a full peer store still accepts an announcement", () => {
  const scene = new Scene();
  const { peers } = scene.server.node.responder;
  for (let n = 0; n < MAX_ANNOUNCEMENTS; n++) {
    const at = endpoint(`${1 + (n >> 8)}.${n & 255}.1.1:1`);
    peers.announce(id(n.toString(16).padStart(8, "0")), at, scene.network.now);
  }
  const args = { info_hash: id("ff").toBytes(), port: 1, token: scene.token() };
  assert.equal(text(scene.ask("announce_peer", args).y), "r");
  assert.equal(peers.count, MAX_ANNOUNCEMENTS);
  assert.ok(peers.has(id("ff"), scene.stranger.at.withPort(1), scene.network.now));
});

Deno.test("no reply of a full node is over 1400 bytes, for any query", () => {
  const scene = new Scene({ at: ["10.0.0.1:1", "[fd00:1::1]:1"] });
  scene.populate(60, 4);
  scene.populate(60, 6);
  const { node, items } = scene.server;
  const v4 = scene.stranger, v6 = new Stranger(scene.network, "[fd00::99]:4000");
  for (let n = 0; n < 100; n++) {
    node.responder.peers.announce(TARGET, endpoint(`10.1.1.${n}:1`), scene.network.now);
    node.responder.peers.announce(TARGET, endpoint(`[fd00:2::${n}]:1`), scene.network.now);
    node.responder.peers.announce(
      scene.network.randomId(),
      endpoint("10.1.1.1:1"),
      scene.network.now,
    );
  }
  const v = "x".repeat(996), salt = "s".repeat(64);
  scene.put(signed(v, Number.MAX_SAFE_INTEGER, salt));
  const big = immutableItem(itemCrypto, encode(v));
  items.put({ item: big }, scene.network.now, () => {});
  let longest = 0;
  for (const from of [v4, v6]) {
    for (const want of [["n4"], ["n6"], ["n4", "n6"]]) {
      for (const nn of [1, 8, 20]) {
        for (const method of ["find_node", "get_peers", "get", "sample_infohashes", "vote"]) {
          for (const target of [TARGET.toBytes(), targetOf(salt), big.target.toBytes()]) {
            for (const t of ["aa", "t".repeat(64)]) {
              const args = { target, info_hash: target, want, nn, ss: 1, scrape: nn % 2 };
              const packet = query(method, ASKER, args, { t, z: PADDING });
              const to = scene.server.endpoints.find((own) => own.family === from.at.family)!;
              const reply = from.askRaw(packet, to)!;
              assert.ok(reply, `${method} is answered`);
              longest = Math.max(longest, reply.length);
            }
          }
        }
      }
    }
  }
  assert.ok(longest <= MAX_REPLY_BYTES, `${longest} bytes`);
  assert.ok(longest > 1_300, "and the room in the reply is used");
});

/** Announces `count` peers of each family under TARGET, every second one as a seed. */
function announceMany({ server, network }: Scene, count: number): void {
  const { peers } = server.node.responder;
  for (let n = 0; n < count; n++) {
    const isSeed = n % 2 === 1;
    const hosts = [`10.1.${n >> 8}.${n & 255}:1`, `[fd00:2::${n.toString(16)}]:1`];
    for (const host of hosts) peers.announce(TARGET, endpoint(host), network.now, { isSeed });
  }
}

Deno.test("a reply with many peers is filled with peers, beside 8 nodes of the asker's family", () => {
  const MANY = 1_000;
  for (const family of [4, 6] as const) {
    const scene = new Scene({ at: ["10.0.0.1:1", "[fd00:1::1]:1"], perSubnet: 0 });
    scene.populate(40, 4);
    scene.populate(40, 6);
    const { peers } = scene.server.node.responder;
    for (let n = 0; n < MANY; n++) {
      const host = family === 4 ? `10.1.${n >> 8}.${n & 255}:1` : `[fd00:2::${n.toString(16)}]:1`;
      peers.announce(TARGET, endpoint(host), scene.network.now);
    }
    const from = family === 4 ? scene.stranger : new Stranger(scene.network, "[fd00::9:9]:4000");
    const to = scene.server.endpoints.find((own) => own.family === from.at.family)!;
    const peerBytes = family === 4 ? 8 : 21, nodeBytes = family === 4 ? 26 : 38;
    for (const want of [["n4"], ["n6"], ["n4", "n6"]]) {
      const own = want.includes(`n${family}`);
      const reply = from.askRaw(
        query("get_peers", ASKER, { info_hash: TARGET.toBytes(), want }, { z: PADDING }),
        to,
      )!;
      const { values, nodes, nodes6 } = decodeAny(reply).r;
      const listed = family === 4 ? nodes : nodes6;
      if (own) assert.equal(listed.length, 8 * nodeBytes);
      const slack = own ? 60 + peerBytes : 60 + peerBytes + 8 * nodeBytes;
      assert.ok(values.length * peerBytes > 1400 - 8 * nodeBytes - 120 - slack, `${values.length}`);
      assert.ok(reply.length <= MAX_REPLY_BYTES);
    }
  }
});

Deno.test("BEP 33: a scrape is answered with the filters of seeds and of other peers", () => {
  const scene = new Scene();
  announceMany(scene, 20);
  const scrape = (info_hash: Uint8Array) => scene.ask("get_peers", { info_hash, scrape: 1 }).r;
  const { BFsd, BFpe, values, token } = scrape(TARGET.toBytes());
  assert.equal(BFsd.length, 256);
  assert.ok(Math.abs(estimate(BFsd) - 20) < 2, `${estimate(BFsd)} seeds`);
  assert.ok(Math.abs(estimate(BFpe) - 20) < 2, `${estimate(BFpe)} peers`);
  assert.ok(values.length > 0 && token.length > 0);
  const none = scrape(id("77").toBytes());
  assert.equal(none.BFsd ?? none.BFpe, undefined, "nothing is known of this swarm");
  const plain = scene.ask("get_peers", { info_hash: TARGET.toBytes() }).r;
  assert.equal(plain.BFsd ?? plain.BFpe, undefined, "nobody asked");
});

Deno.test("BEP 33: noseed leaves out the peers that announced themselves with seed", () => {
  const scene = new Scene();
  const token = scene.token(), info_hash = TARGET.toBytes();
  scene.ask("announce_peer", { info_hash, port: 1, token, seed: 1 });
  scene.ask("announce_peer", { info_hash, port: 2, token });
  const ports = (args: Arguments) =>
    scene.ask("get_peers", { info_hash, ...args }).r.values
      .map((peer: Uint8Array) => peer[5]).sort();
  assert.deepEqual(ports({ noseed: 1 }), [2]);
  assert.deepEqual(ports({}), [1, 2]);
});

Deno.test("a stranger over the rate limit gets no answers, while others still do", () => {
  const scene = new Scene({ at: "45.1.2.3:6881" }, "66.6.6.6:4000");
  const other = new Stranger(scene.network, "77.7.7.7:4000");
  for (let i = 0; i < 1_000; i++) scene.stranger.send(query("ping", ASKER), scene.server.endpoint);
  scene.network.run(50);
  const answered = scene.stranger.received.filter(({ packet }) => text(packet).includes("1:y1:r"));
  assert.equal(answered.length, 500);
  assert.equal(scene.server.node.traffic.dropped.rate_limited, 500);
  assert.equal(text(scene.ask("ping", {}, {}, other).y), "r");
});

Deno.test("strangers can't use up the rate limit of a contact", () => {
  const scene = new Scene({ at: "45.1.2.3:6881" });
  const of = scene.network.randomId();
  const contact = new Stranger(scene.network, "66.6.6.6:4000");
  contact.answer = (packet) => pong(packet, of);
  scene.server.node.ping(contact.at, scene.network.now, () => {});
  scene.network.run(50);
  // Another program at the contact's address.
  const flooder = new Stranger(scene.network, "66.6.6.6:4001");
  for (let i = 0; i < 1_000; i++) flooder.send(query("ping", ASKER), scene.server.endpoint);
  scene.network.run(50);
  assert.equal(scene.server.node.traffic.dropped.rate_limited, 500);
  contact.answer = undefined;
  assert.equal(text(contact.ask(query("ping", of), scene.server.endpoint).y), "r");
});

Deno.test("a get of an item that is on disk is answered once it is read, among other answers", () => {
  const item = immutableItem(itemCrypto, encode("from disk"));
  const published = new SlowStore(item);
  const { network, server: { endpoint: to }, stranger } = new Scene({ published });
  const other = new Stranger(network, "10.8.8.8:4000");
  stranger.send(query("get", ASKER, { target: item.target.toBytes() }, { t: "xyz" }), to);
  network.run(100);
  const replies = () =>
    stranger.received.map(({ packet }) => decodeAny(packet)).filter(({ y }) => text(y) === "r");
  assert.equal(replies().length, 0);
  assert.equal(other.ask(query("get", ASKER, { target: TARGET.toBytes() }), to).r.v, undefined);
  for (const read of published.reads) read();
  network.run(100);
  const [{ t, r }] = replies();
  assert.deepEqual([text(t), text(r.v)], ["xyz", "from disk"]);
});

/** Keeps all values on a disk, which answers reads when the test calls `reads`. */
class StoreOnDisk extends ItemStore {
  readonly reads: (() => void)[] = [];
  isReadable = true;
  /** As in a real store, a value that was just read is in memory. */
  #isInMemory = false;

  override get(target: Id, now: number): StoredItem | undefined {
    return this.#isInMemory ? super.get(target, now) : undefined;
  }

  override read(...[target, now, done]: Parameters<ItemStore["read"]>): void {
    this.reads.push(() => {
      this.#isInMemory = this.isReadable;
      done(this.get(target, now), now);
      this.#isInMemory = false;
    });
  }
}

Deno.test("a held item on disk is read for a get, and its proof needs the value", () => {
  const items = new StoreOnDisk(id("5e"), 1e6, 1), scene = new Scene({ items });
  const v = "Hello World!", value = encode(v), target = immutableItem(itemCrypto, value).target;
  scene.put({ v });
  assert.equal(items.reads.length, 0, "an immutable item is not read before it is put");
  const challenge = latin1("12345678");
  for (const args of [{}, { pc: challenge }] as Arguments[]) {
    assert.equal(scene.ask("get", { target: target.toBytes(), ...args }), undefined, "not yet");
    scene.ask("ping");
    items.reads.shift()!();
    scene.network.run(100);
    const { r } = decodeAny(scene.stranger.received.at(-1)!.packet);
    const proof = proofOf(itemCrypto, { challenge, holder: scene.server.node.id, value });
    if ("pc" in args) assert.deepEqual([...r.pf], [...proof]);
    else assert.equal(text(r.v), v);
  }
});

Deno.test("BEP 44: a put is compared with the version on disk, and refused if that can't be read", () => {
  const items = new StoreOnDisk(id("5e"), 1e6, 1), scene = new Scene({ items });
  const put = (seq: Seq, isReadable = true) => {
    assert.equal(scene.put(signed(`value ${seq}`, seq)), undefined, "not yet");
    items.isReadable = isReadable;
    items.reads.shift()!();
    scene.network.run(100);
    const { e } = decodeAny(scene.stranger.received.at(-1)!.packet);
    return e === undefined ? "stored" : e[0];
  };
  assert.equal(text(scene.put(signed("value 4", 4)).y), "r");
  assert.deepEqual([put(3), put(5, false), put(5), put(4)], [302, 202, "stored", 302]);
});
