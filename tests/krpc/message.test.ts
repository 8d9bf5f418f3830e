// The KRPC codec: the proposals' example packets, deviations of other implementations, and invalid bytes.

import assert from "node:assert/strict";
import { literal, Writer } from "../../src/krpc/bencode.ts";
import { Id, word } from "../../src/krpc/id.ts";
import {
  decode,
  type Echo,
  keepEcho,
  Message,
  type Method,
  NO_SEED,
  padQuery,
  type QueryArguments,
  readCompactNodes,
  type ResponseValues,
  SCRAPE,
  SEED,
  WANT_N4,
  WANT_N6,
  writeError,
  writeQuery,
  writeResponse,
} from "../../src/krpc/message.ts";
import {
  compact,
  compactNodes,
  concat,
  decodeAny,
  encode,
  endpoint,
  hex,
  latin1,
  query,
  text,
  type Value,
} from "../packets.ts";

const ABC = Id.read(latin1("abcdefghij0123456789"));
const MNO = Id.read(latin1("mnopqrstuvwxyz123456"));
const NUMBERS = Id.read(latin1("0123456789abcdefghij"));
const TOKEN = latin1("aoeusnth");
const CLIENT = word(latin1("DM\x01\x00"), 0);
const FROM = endpoint("1.2.3.4:6881");

/** The example packets of BEP 5. */
const BEP5 = {
  error: "d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
  ping: "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
  pong: "d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
  findNode:
    "d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
  foundNodes: "d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re",
  getPeers:
    "d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
  peers:
    "d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
  closest: "d1:rd2:id20:abcdefghij01234567895:nodes9:def456...5:token8:aoeusnthe1:t2:aa1:y1:re",
  announce:
    "d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
  announced: "d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
};

function read(packet: Uint8Array | string): Message {
  const message = decode(typeof packet === "string" ? latin1(packet) : packet);
  assert.ok(message instanceof Message, `${message}`);
  return message;
}

const idOf = (message: Message) => message.id && text(message.id.toBytes());
const tidOf = ({ packet, tidStart, tidEnd }: Message) => text(packet.subarray(tidStart, tidEnd));

function written(method: Method, args: QueryArguments, readOnly = false): string {
  const writer = new Writer(2048);
  writeQuery(writer, method, word(latin1("aaaa"), 0), ABC, CLIENT, readOnly, args);
  return text(writer.done());
}

const ECHO: Echo = read(BEP5.ping);

function responded(sender: Id, values: ResponseValues, echo = ECHO, from = FROM): string {
  const writer = new Writer(4096);
  writeResponse(writer, echo, from, sender, CLIENT, values);
  return text(writer.done());
}

/** An example query with our additions: a transaction id of four bytes, and `v`. */
const asOurQuery = (packet: string) => packet.replace("1:t2:aa", "1:t4:aaaa1:v4:DM\x01\x00");
/** An example reply with our additions: `ip` (BEP 42) and `v`. */
const asOurReply = (packet: string) =>
  packet.replace("1:t2:aa", "1:t2:aa1:v4:DM\x01\x00")
    .replace(/^d(?=1:r)|(?<=Ocurrede)/, (d) => `${d}2:ip6:\x01\x02\x03\x04\x1a\xe1`);

Deno.test("BEP 5: our queries are the example packets, with a longer t and with v", () => {
  assert.equal(written("ping", {}), asOurQuery(BEP5.ping));
  assert.equal(written("find_node", { target: MNO }), asOurQuery(BEP5.findNode));
  assert.equal(written("get_peers", { infoHash: MNO }), asOurQuery(BEP5.getPeers));
  const announce = { infoHash: MNO, port: 6881, impliedPort: true, token: TOKEN };
  assert.equal(written("announce_peer", announce), asOurQuery(BEP5.announce));
});

Deno.test("BEP 5: our responses and errors are the example packets, with ip and v", () => {
  assert.equal(responded(MNO, {}), asOurReply(BEP5.pong));
  assert.equal(responded(MNO, {}), asOurReply(BEP5.announced));
  const values = ["axje.u", "idhtnm"].map((peer) => read(peersPacket([peer])).values![0]);
  assert.equal(responded(ABC, { token: TOKEN, values }), asOurReply(BEP5.peers));
  const writer = new Writer(2048);
  writeError(writer, ECHO, FROM, CLIENT, 201, "A Generic Error Ocurred");
  assert.equal(text(writer.done()), asOurReply(BEP5.error));
});

Deno.test("BEP 33: queries carry seed, noseed and scrape, and a response carries the filters", () => {
  const dictionary = (packet: string) => decodeAny(latin1(packet));
  const getPeers = written("get_peers", { infoHash: MNO, swarm: NO_SEED | SCRAPE });
  const { noseed, scrape } = dictionary(getPeers).a;
  assert.deepEqual([noseed, scrape], [1, 1]);
  assert.equal(read(getPeers).swarm, NO_SEED | SCRAPE);
  const announce = written("announce_peer", { infoHash: MNO, port: 1, swarm: SEED, token: TOKEN });
  assert.equal(dictionary(announce).a.seed, 1);
  assert.equal(read(announce).swarm, SEED);
  const filters = { peers: new Uint8Array(256).fill(1), seeds: new Uint8Array(256).fill(2) };
  const response = responded(MNO, { token: TOKEN, filters });
  const { BFpe, BFsd } = dictionary(response).r;
  assert.deepEqual({ peers: BFpe, seeds: BFsd }, filters);
  assert.deepEqual(read(response).filters, filters);
  for (const packet of [getPeers, announce, response]) {
    assert.equal(text(encode(dictionary(packet))), packet, "keys are sorted");
  }
});

Deno.test("BEP 5: nodes in our responses are in the same place as in the example packets", () => {
  const nodes = [{ id: MNO, endpoint: FROM }];
  const expected = (packet: string) =>
    asOurReply(packet).replace("9:def456...", `26:${text(compactNodes(nodes))}`);
  assert.equal(responded(NUMBERS, { nodes }), expected(BEP5.foundNodes));
  assert.equal(responded(ABC, { nodes, token: TOKEN }), expected(BEP5.closest));
});

Deno.test("BEP 5: the transaction id of every example packet is read", () => {
  for (const packet of Object.values(BEP5)) assert.equal(tidOf(read(packet)), "aa");
});

Deno.test("BEP 5: the example error has its code and text", () => {
  const { type, errorCode, errorText } = read(BEP5.error);
  assert.deepEqual([type, errorCode, errorText], ["e", 201, "A Generic Error Ocurred"]);
});

Deno.test("BEP 5: the example ping and its response name their senders", () => {
  const ping = read(BEP5.ping);
  assert.deepEqual([ping.type, ping.method, idOf(ping)], ["q", "ping", text(ABC.toBytes())]);
  const pong = read(BEP5.pong);
  assert.deepEqual([pong.type, pong.method, idOf(pong)], ["r", undefined, text(MNO.toBytes())]);
});

Deno.test("BEP 5: the example find_node has its target, and its response the nodes", () => {
  const { method, target } = read(BEP5.findNode);
  assert.deepEqual([method, `${target}`], ["find_node", `${MNO}`]);
  assert.equal(text(read(BEP5.foundNodes).nodes!), "def456...");
});

Deno.test("BEP 5: the example get_peers has its info hash", () => {
  const { method, infoHash } = read(BEP5.getPeers);
  assert.deepEqual([method, `${infoHash}`], ["get_peers", `${MNO}`]);
});

Deno.test("BEP 5: the example responses to get_peers have a token, and peers or nodes", () => {
  const peers = read(BEP5.peers);
  assert.deepEqual(peers.token, TOKEN);
  assert.deepEqual(peers.values!.map((peer) => text(compact(peer))), ["axje.u", "idhtnm"]);
  const closest = read(BEP5.closest);
  assert.deepEqual([closest.token, text(closest.nodes!)], [TOKEN, "def456..."]);
});

Deno.test("BEP 5: the example announce_peer has its info hash, port and token", () => {
  const { method, impliedPort, port, infoHash, token } = read(BEP5.announce);
  assert.equal(method, "announce_peer");
  assert.deepEqual([impliedPort, port], [true, 6881]);
  assert.deepEqual([`${infoHash}`, token], [`${MNO}`, TOKEN]);
});

const ITEM = {
  k: new Uint8Array(32).fill(1),
  sig: new Uint8Array(64).fill(2),
  salt: latin1("salt"),
};

Deno.test("BEP 32, 44, 51: we write queries with the same bytes as another implementation", () => {
  const { k, sig, salt } = ITEM;
  const common = { t: "aaaa", v: "DM\x01\x00", y: "q" };
  const cases: [Method, QueryArguments, { [key: string]: Value }][] = [
    ["get", { target: MNO, seq: 7 }, { target: MNO.toBytes(), seq: 7 }],
    ["get", { target: MNO, wantSalt: true, wantCount: 20 }, {
      target: MNO.toBytes(),
      ss: 1,
      nn: 20,
    }],
    ["put", { token: TOKEN, value: latin1("i5e") }, { token: TOKEN, v: 5 }],
    ["put", {
      token: TOKEN,
      value: latin1("l1:ae"),
      publicKey: k,
      signature: sig,
      salt,
      seq: Number.MAX_SAFE_INTEGER,
      cas: 3,
    }, { token: TOKEN, v: ["a"], k, sig, salt, seq: Number.MAX_SAFE_INTEGER, cas: 3 }],
    ["sample_infohashes", { target: MNO, want: WANT_N6 }, { target: MNO.toBytes(), want: ["n6"] }],
    ["find_node", { target: MNO, want: WANT_N4 | WANT_N6 }, {
      target: MNO.toBytes(),
      want: ["n4", "n6"],
    }],
  ];
  for (const [method, args, a] of cases) {
    const expected = encode({ ...common, q: method, a: { id: ABC.toBytes(), ...a } });
    assert.equal(written(method, args), text(expected));
  }
});

Deno.test("BEP 32, 44, 51: we write responses with the same bytes as another implementation", () => {
  const { k, sig, salt } = ITEM;
  const response: ResponseValues = {
    seq: 4,
    publicKey: k,
    signature: sig,
    salt,
    value: latin1("i5e"),
    token: TOKEN,
    samples: MNO.toBytes(),
    num: 1,
    interval: 300,
    nodes: [{ id: MNO, endpoint: FROM }],
    nodes6: [{ id: ABC, endpoint: endpoint("[2001:db8::1]:6881") }],
    values: [FROM, endpoint("[2001:db8::2]:1")],
  };
  const expected = encode({
    ip: compact(FROM),
    t: "aa",
    v: "DM\x01\x00",
    y: "r",
    r: {
      id: MNO.toBytes(),
      seq: 4,
      k,
      sig,
      salt,
      v: 5,
      token: TOKEN,
      samples: MNO.toBytes(),
      num: 1,
      interval: 300,
      nodes: compactNodes(response.nodes!),
      nodes6: compactNodes(response.nodes6!),
      values: response.values!.map(compact),
    },
  });
  assert.equal(responded(MNO, response), text(expected));
});

Deno.test("an empty salt is not written: BEP 44 treats it as none", () => {
  const put = written("put", { token: TOKEN, value: latin1("i5e"), salt: new Uint8Array(0) });
  assert.equal(put.includes("4:salt"), false);
});

Deno.test("BEP 43: we mark a read-only query with a top-level ro", () => {
  const packet = written("ping", {}, true);
  assert.equal(decodeAny(latin1(packet)).ro, 1);
});

Deno.test("BEP 43: a query is read-only if its top level has an ro of 1", () => {
  assert.equal(read(query("ping", ABC, {}, { ro: 1 })).readOnly, true);
  assert.equal(read(BEP5.ping).readOnly, false);
  assert.equal(read(query("ping", ABC, {}, { ro: 0 })).readOnly, false);
  assert.equal(read(query("ping", ABC, { ro: 1 })).readOnly, false, "an argument");
});

Deno.test("a query is padded to a length with zeros under z, after all other keys", () => {
  const plain = written("find_node", { target: MNO });
  for (const length of [0, plain.length, plain.length + 1, plain.length + 100, 467]) {
    const writer = new Writer(500);
    writeQuery(writer, "find_node", 0x61616161, ABC, CLIENT, false, { target: MNO });
    padQuery(writer, length);
    const padded = writer.done().slice();
    assert.ok(padded.length >= length && padded.length <= Math.max(plain.length, length + 8));
    assert.ok(read(padded).target!.equals(MNO));
    const { z, ...rest } = decodeAny(padded);
    assert.deepEqual(rest, decodeAny(latin1(plain)));
    assert.ok(z === undefined ? length <= plain.length : z.every((byte: number) => byte === 0));
  }
});

const withIp = (ip: Value) => read(encode({ t: "aa", y: "r", r: { id: ABC.toBytes() }, ip }));

Deno.test("BEP 42: ip is read from the top level, in 6 or 18 bytes", () => {
  assert.equal(`${withIp(compact(FROM)).ip}`, "1.2.3.4:6881");
  const v6 = endpoint("[2001:db8::1]:6881");
  assert.ok(withIp(compact(v6)).ip!.equals(v6));
  const inner = read(encode({ t: "aa", y: "r", r: { id: ABC.toBytes(), ip: compact(FROM) } }));
  assert.equal(inner.ip, undefined);
});

Deno.test("BEP 42: an ip that is not an endpoint counts as missing", () => {
  for (const bad of [new Uint8Array(4), new Uint8Array(16), "", 5]) {
    assert.equal(withIp(bad).ip, undefined);
  }
});

const MAX_TID = 64;

Deno.test("t is echoed byte for byte", () => {
  for (
    const t of ["", "a", "aa", "abc", "\0\xff\x80\0", "12345678", "0:e1:t", "x".repeat(MAX_TID)]
  ) {
    const message = read(query("ping", ABC, {}, { t }));
    assert.equal(tidOf(message), t);
    for (const echo of [message, keepEcho(message)]) {
      assert.equal(text(decodeAny(latin1(responded(MNO, {}, echo))).t), t);
    }
  }
});

Deno.test("a query without a t that we could echo is dropped", () => {
  for (const t of [5, "x".repeat(MAX_TID + 1)]) {
    assert.equal(decode(query("ping", ABC, {}, { t })), "no_transaction");
  }
  assert.equal(decode(encode({ y: "q", q: "ping", a: { id: ABC.toBytes() } })), "no_transaction");
});

Deno.test("a kept echo does not change with the receive buffer", () => {
  const packet = query("ping", ABC, {}, { t: "keep" });
  const kept = keepEcho(read(packet));
  packet.fill(0);
  assert.equal(text(decodeAny(latin1(responded(MNO, {}, kept))).t), "keep");
});

function peersPacket(values: Value): Uint8Array {
  return encode({ t: "aa", y: "r", r: { id: ABC.toBytes(), values } });
}

Deno.test("BEP 32: the entries of 6 and 18 bytes in values are read", () => {
  const v6 = endpoint("[2001:db8::1]:2");
  const mixed = peersPacket([
    compact(FROM),
    compact(v6),
    "short",
    7,
    ["list"],
    { a: 1 },
    compact(FROM),
  ]);
  assert.deepEqual(read(mixed).values!.map(String), [`${FROM}`, `${v6}`, `${FROM}`]);
});

Deno.test("values that are not a list count as missing, and an empty list does not", () => {
  assert.deepEqual(read(peersPacket([])).values, []);
  assert.equal(read(peersPacket("no list")).values, undefined);
  assert.equal(read(peersPacket(5)).values, undefined);
});

Deno.test("the number of values is limited", () => {
  assert.equal(read(peersPacket(Array(5_000).fill(compact(FROM)))).values!.length, 256);
});

Deno.test("BEP 32: want selects n4 and n6, and ignores everything else", () => {
  const wanted = (want: Value) => read(query("find_node", ABC, { want })).want;
  assert.equal(wanted(["n4"]), WANT_N4);
  assert.equal(wanted(["n6"]), WANT_N6);
  assert.equal(wanted(["n6", "n4"]), WANT_N4 | WANT_N6);
  assert.equal(wanted(["n4", "n8", "", "n", "n44", "N6", 6, ["n6"], { n6: 1 }]), WANT_N4);
  for (const other of [[], "n4", 4, { n4: 1 }]) assert.equal(wanted(other), 0);
});

const NODES = {
  4: [{ id: ABC, endpoint: FROM }, { id: MNO, endpoint: endpoint("5.6.7.8:9") }],
  6: [ABC, MNO].map((id) => ({ id, endpoint: endpoint("[2001:db8::1]:5") })),
};

/** Reads compact nodes as text; undefined if they are refused. */
function readNodes(bytes: Uint8Array, family: 4 | 6): string[] | undefined {
  const nodes: string[] = [];
  const isRead = readCompactNodes(bytes, family, (id, at) => nodes.push(`${id} ${at}`));
  if (!isRead) assert.deepEqual(nodes, []);
  return isRead ? nodes : undefined;
}

Deno.test("BEP 32: compact nodes take 26 bytes with IPv4 and 38 with IPv6", () => {
  for (const [family, size] of [[4, 26], [6, 38]] as const) {
    const nodes = NODES[family];
    const bytes = compactNodes(nodes);
    assert.equal(bytes.length, nodes.length * size);
    assert.deepEqual(
      readNodes(bytes, family),
      nodes.map(({ id, endpoint }) => `${id} ${endpoint}`),
    );
  }
});

Deno.test("BEP 32: compact nodes are refused if they are not whole nodes", () => {
  for (const family of [4, 6] as const) {
    const bytes = compactNodes(NODES[family]);
    assert.equal(readNodes(bytes.subarray(1), family), undefined);
    assert.equal(readNodes(concat(bytes, new Uint8Array(1)), family), undefined);
    assert.deepEqual(readNodes(new Uint8Array(0), family), []);
  }
});

Deno.test("integers in the place of strings and lists count as missing", () => {
  const numbers = Object.fromEntries(
    // deno-fmt-ignore
    ["target", "info_hash", "token", "k", "sig", "salt", "nodes", "nodes6", "samples", "values", "want"]
      .map((key) => [key, 5]),
  );
  const m = read(encode({ t: "aa", y: "q", q: "get", a: { id: 5, ...numbers } }));
  assert.deepEqual(
    [m.id, m.target, m.infoHash, m.token, m.publicKey, m.signature, m.salt],
    [undefined, undefined, undefined, undefined, undefined, undefined, undefined],
  );
  assert.deepEqual(
    [m.nodes, m.nodes6, m.samples, m.values],
    [undefined, undefined, undefined, undefined],
  );
  assert.equal(m.want, 0);
});

Deno.test("strings in the place of integers count as missing or invalid", () => {
  const strings = Object.fromEntries(
    ["port", "implied_port", "seq", "cas", "num", "interval", "nn", "ss"].map((key) => [key, "1"]),
  );
  const s = read(query("put", ABC, strings));
  assert.deepEqual([s.port, s.seq, s.cas, s.num, s.interval, s.wantCount], Array(6).fill(NaN));
  assert.deepEqual([s.impliedPort, s.wantSalt], [false, false]);
  assert.deepEqual([s.hasSeq, s.hasCas], [true, true], "present, but invalid");
});

Deno.test("ids of another length than 20 bytes count as missing", () => {
  for (const length of [0, 19, 21, 40]) {
    const bad = new Uint8Array(length);
    const m = read(encode({
      t: "aa",
      y: "q",
      q: "get_peers",
      a: { id: bad, target: bad, info_hash: bad },
    }));
    assert.deepEqual([m.id, m.target, m.infoHash], [undefined, undefined, undefined]);
  }
});

Deno.test("seq and cas are exact up to 2^63 - 1, and NaN beyond", () => {
  const withDigits = (digits: string) =>
    read(
      text(query("put", ABC, { seq: 1, cas: 1 })).replace("seqi1e", `seqi${digits}e`)
        .replace("casi1e", `casi${digits}e`),
    );
  for (const seq of [0, Number.MAX_SAFE_INTEGER, 2n ** 53n, 2n ** 63n - 1n]) {
    const { seq: read, cas } = withDigits(`${seq}`);
    assert.deepEqual([read, cas], [seq, seq]);
  }
  for (const bad of ["9223372036854775808", "01", "-0"]) {
    const m = withDigits(bad);
    assert.ok(Number.isNaN(m.seq) && m.hasSeq && Number.isNaN(m.cas) && m.hasCas, bad);
  }
});

Deno.test("nr is an integer from 1 to 64, and counts as missing otherwise", () => {
  const copies = (nr: number) => read(query("put", ABC, { nr })).copies;
  assert.deepEqual([1, 2, 64].map(copies), [1, 2, 64]);
  assert.deepEqual([0, -1, 65].map(copies), [NaN, NaN, NaN]);
  assert.equal(read(query("put", ABC, {})).copies, NaN);
});

Deno.test("a put carries the copies that it asks for as nr", () => {
  const put = { copies: 2, token: TOKEN, value: latin1("i1e") };
  assert.match(written("put", put), /2:nri2e5:token/);
});

Deno.test("tl is an integer from 1, and counts as missing otherwise", () => {
  const ttl = (tl: number) => read(query("put", ABC, { tl })).ttl;
  assert.deepEqual([1, 3600, 2 ** 40].map(ttl), [1, 3600, 2 ** 40]);
  assert.deepEqual([0, -1].map(ttl), [NaN, NaN]);
  assert.equal(read(query("put", ABC, {})).ttl, NaN);
  const put = { target: ABC, ttl: 604_800, token: TOKEN, value: latin1("i1e") };
  assert.match(written("put", put), /6:target20:.{20}2:tli604800e5:token/);
});

Deno.test("a message with unsorted and unknown keys is read", () => {
  const a = `2:zzd1:xle1:yi-5ee2:id20:${"i".repeat(20)}6:target20:${"t".repeat(20)}0:0:`;
  const packet = `d1:y1:q4:miscli1ed0:leee1:t3:abc1:ad${a}e1:q9:find_node6:seqnumi9ee`;
  const m = read(packet);
  assert.deepEqual([m.type, m.method, tidOf(m)], ["q", "find_node", "abc"]);
  assert.equal(`${m.target}`, "74".repeat(20));
});

Deno.test("an item's v is kept exactly as received, with any type and nesting", () => {
  for (const v of ["12:Hello World!", "i-0e", "d1:bi1e1:ai2ee", "l".repeat(32) + "e".repeat(32)]) {
    const packet = `d1:ad2:id20:${"i".repeat(20)}1:v${v}5:token8:aoeusnthe1:q3:put1:t2:aa1:y1:qe`;
    const m = read(packet);
    assert.equal(text(m.value!), v);
    assert.deepEqual(m.token, TOKEN);
  }
});

const MAX_TOKEN = 64;

Deno.test("tokens that would make a put too long count as missing", () => {
  const token = (length: number) => read(query("put", ABC, { token: "x".repeat(length) })).token;
  assert.equal(token(MAX_TOKEN)?.length, MAX_TOKEN);
  assert.equal(token(MAX_TOKEN + 1), undefined);
});

Deno.test("methods that we do not have are unknown", () => {
  assert.equal(read(query("vote", ABC)).method, "unknown");
  assert.equal(read(query("", ABC)).method, "unknown");
  assert.equal(read(query("x".repeat(300), ABC)).method, "unknown");
});

Deno.test("a message that is not a query with q, a response with r or an error has an unknown type", () => {
  const bare = (more: { [key: string]: Value }) => decode(encode({ t: "aa", ...more }));
  assert.equal(bare({ y: "q" }), "unknown_type");
  assert.equal(bare({ y: "q", q: 5 }), "unknown_type");
  assert.equal(bare({ y: "r" }), "unknown_type");
  assert.equal(bare({ y: "r", r: "x" }), "unknown_type");
  assert.equal(bare({ y: "x" }), "unknown_type");
  assert.equal(bare({ y: 5 }), "unknown_type");
  assert.equal(bare({ y: "qq", q: "ping" }), "unknown_type");
  assert.equal(bare({}), "unknown_type");
});

function readError(e: Value): [number, string] {
  const { errorCode, errorText } = read(encode({ t: "aa", y: "e", e }));
  return [errorCode, errorText];
}

Deno.test("an error's text is made printable and short", () => {
  assert.deepEqual(readError([203, "bad\n\x1b[31mtoken\xff"]), [203, "bad??[31mtoken?"]);
  assert.deepEqual(readError([203, "x".repeat(500)]), [203, "x".repeat(120)]);
});

Deno.test("an error's code and text are optional, and more entries are ignored", () => {
  assert.deepEqual(readError([203]), [203, ""]);
  assert.deepEqual(readError(["only text"]), [0, "only text"]);
  assert.deepEqual(readError([]), [0, ""]);
  assert.deepEqual(readError([203, "text", { more: [1] }, 5]), [203, "text"]);
  assert.deepEqual(readError("no list"), [0, ""]);
});

Deno.test("invalid bytes are dropped as malformed", () => {
  const ping = BEP5.ping;
  // deno-fmt-ignore
  const garbage = [
    "", "d", "e", "x", "le", "i1e", "0:", "4:spam", ping.slice(0, -1), ping.slice(1),
    "d1:ae", "di1ei2ee", "d1:t99:aae", "d1:ad2:ide1:t2:aa1:y1:qe", "\0".repeat(100), "d".repeat(5000),
    `d1:x${"l".repeat(5000)}${"e".repeat(5000)}1:t2:aa1:y1:qe`,
  ];
  for (const packet of garbage) {
    assert.equal(decode(latin1(packet)), "malformed", packet.slice(0, 50));
  }
  for (let end = 0; end < ping.length; end++) {
    assert.equal(decode(latin1(ping.slice(0, end))), "malformed");
  }
});

Deno.test("bytes after the end of a message are ignored", () => {
  for (const tail of ["e", "x", "\n", "\0".repeat(8), BEP5.ping]) {
    const message = decode(latin1(BEP5.ping + tail));
    assert.ok(typeof message === "object");
    assert.equal(message.method, "ping");
  }
});

Deno.test("the client is the first four bytes of v, and a shorter v ends in zeros", () => {
  const clientOf = (v: string | number) => {
    const message = decode(encode({ t: "aa", y: "q", q: "ping", a: {}, v }));
    assert.ok(typeof message === "object");
    return message.client;
  };
  assert.equal(clientOf("LT\x01\x02"), 0x4c540102);
  assert.equal(clientOf("LT\x01\x02\x03"), 0x4c540102);
  assert.equal(clientOf("1.0"), 0x312e3000);
  assert.equal(clientOf(""), 0);
  assert.equal(clientOf(7), 0);
});

// A widely used implementation finds keys by searching the bytes, so the first match must be the key.
Deno.test("a search for 1:t, 2:id20:, 5:nodes or 5:token in our responses finds the right key", () => {
  const nodes = [{ id: MNO, endpoint: FROM }];
  const reply = responded(ABC, {
    interval: 1,
    num: 1,
    salt: latin1("salt"),
    nodes,
    token: TOKEN,
    seq: 1,
  });
  const first = (part: string) => reply.slice(reply.indexOf(part) + part.length);
  assert.ok(first("2:id20:").startsWith(text(ABC.toBytes())));
  assert.ok(first("5:nodes").startsWith("26:" + text(MNO.toBytes())));
  assert.ok(first("5:token").startsWith("8:aoeusnth"));
  assert.ok(first("1:t").startsWith("2:aa"));
});

Deno.test("a search for 1:t or 2:id20: in our queries finds the right key", () => {
  const asked = written("get", { target: MNO, wantCount: 20, wantSalt: true });
  assert.ok(asked.startsWith(`d1:ad2:id20:${text(ABC.toBytes())}`));
  assert.equal(asked.indexOf("1:t"), asked.indexOf("1:t4:aaaa"));
});

Deno.test("literals are Latin-1, with one byte per character", () => {
  assert.deepEqual(literal("d\xff\0"), hex("64ff00"));
});

Deno.test("a query asks with rm = 1 how much may be put", () => {
  assert.equal(read(query("get", ABC, { rm: 1 })).wantRoom, true);
  for (const rm of [0, 2, -1]) assert.equal(read(query("get", ABC, { rm })).wantRoom, false);
});

Deno.test("rm counts as room if it is a number from 0", () => {
  assert.equal(read(query("get", ABC, { rm: 5_000 })).room, 5_000);
  assert.equal(read(query("get", ABC, { rm: -5 })).room, NaN);
  assert.equal(read(query("get", ABC, {})).room, NaN);
});

Deno.test("pc is a challenge of 8 bytes, and counts as missing otherwise", () => {
  const challenge = latin1("12345678");
  assert.deepEqual(read(query("get", ABC, { pc: challenge })).challenge, challenge);
  for (const pc of [1, "", "1234567", "123456789"]) {
    assert.equal(read(query("get", ABC, { pc })).challenge, undefined);
  }
  const asked = written("get", { challenge, target: MNO });
  assert.ok(asked.includes("2:pc8:123456786:target20:"));
});
