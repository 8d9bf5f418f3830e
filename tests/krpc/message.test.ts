// The KRPC codec: the proposals' example packets, other implementations' habits, and bytes that are no message.

import assert from "node:assert/strict";
import { literal, Writer } from "../../src/krpc/bencode.ts";
import { Id, word } from "../../src/krpc/id.ts";
import {
  decode,
  type Echo,
  keepEcho,
  Message,
  type Method,
  type QueryArguments,
  readCompactNodes,
  type ResponseValues,
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
  id,
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

/** BEP 5's examples, as the proposal prints them. */
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

/** An example query with what ours always have: a transaction id of four bytes, and `v`. */
const asOurQuery = (packet: string) => packet.replace("1:t2:aa", "1:t4:aaaa1:v4:DM\x01\x00");
/** An example reply with what ours always have: `ip` (BEP 42), and `v`. */
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

Deno.test("BEP 5: nodes in our responses stand where the example packets have them", () => {
  const nodes = [{ id: MNO, endpoint: FROM }];
  const expected = (packet: string) =>
    asOurReply(packet).replace("9:def456...", `26:${text(compactNodes(nodes))}`);
  assert.equal(responded(NUMBERS, { nodes }), expected(BEP5.foundNodes));
  assert.equal(responded(ABC, { nodes, token: TOKEN }), expected(BEP5.closest));
});

Deno.test("BEP 5: every example packet is decoded", () => {
  for (const packet of Object.values(BEP5)) assert.equal(tidOf(read(packet)), "aa");

  const error = read(BEP5.error);
  assert.deepEqual([error.type, error.errorCode, error.errorText], [
    "e",
    201,
    "A Generic Error Ocurred",
  ]);

  const ping = read(BEP5.ping);
  assert.deepEqual([ping.type, ping.method, idOf(ping)], ["q", "ping", "abcdefghij0123456789"]);
  const pong = read(BEP5.pong);
  assert.deepEqual([pong.type, pong.method, idOf(pong)], ["r", undefined, "mnopqrstuvwxyz123456"]);

  const findNode = read(BEP5.findNode);
  assert.equal(findNode.method, "find_node");
  assert.ok(findNode.target!.equals(MNO));
  assert.equal(text(read(BEP5.foundNodes).nodes!), "def456...");

  const getPeers = read(BEP5.getPeers);
  assert.equal(getPeers.method, "get_peers");
  assert.ok(getPeers.infoHash!.equals(MNO));
  const peers = read(BEP5.peers);
  assert.deepEqual(peers.token, TOKEN);
  assert.deepEqual(peers.values!.map((peer) => text(compact(peer))), ["axje.u", "idhtnm"]);
  const closest = read(BEP5.closest);
  assert.deepEqual([closest.token, text(closest.nodes!)], [TOKEN, "def456..."]);

  const announce = read(BEP5.announce);
  assert.equal(announce.method, "announce_peer");
  assert.deepEqual([announce.impliedPort, announce.port], [true, 6881]);
  assert.ok(announce.infoHash!.equals(MNO));
  assert.deepEqual(announce.token, TOKEN);
});

Deno.test("BEP 44, 51: what we write is what another implementation would write", () => {
  const k = new Uint8Array(32).fill(1), sig = new Uint8Array(64).fill(2), salt = latin1("salt");
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

Deno.test("BEP 43: read-only queries carry a top-level ro", () => {
  const packet = written("ping", {}, true);
  assert.equal(decodeAny(latin1(packet)).ro, 1);
  assert.equal(read(packet).readOnly, true);
  assert.equal(read(BEP5.ping).readOnly, false);
  assert.equal(read(query("ping", ABC, {}, { ro: 0 })).readOnly, false);
  assert.equal(
    read(query("ping", ABC, { ro: 1 })).readOnly,
    false,
    "it counts at the top level only",
  );
});

Deno.test("BEP 42: ip is read from the top level, of 6 and of 18 bytes", () => {
  const reply = (ip: Value) => read(encode({ t: "aa", y: "r", r: { id: ABC.toBytes() }, ip }));
  assert.equal(`${reply(compact(FROM)).ip}`, "1.2.3.4:6881");
  const v6 = endpoint("[2001:db8::1]:6881");
  assert.ok(reply(compact(v6)).ip!.equals(v6));
  for (const bad of [new Uint8Array(4), new Uint8Array(16), "", 5]) {
    assert.equal(reply(bad).ip, undefined);
  }
  const inner = read(encode({ t: "aa", y: "r", r: { id: ABC.toBytes(), ip: compact(FROM) } }));
  assert.equal(inner.ip, undefined);
});

Deno.test("v is kept where it has four bytes; any other is passed over", () => {
  assert.equal(read(query("ping", ABC, {}, { v: "LT\x02\x01" })).client, 0x4c540201);
  for (const v of ["", "LT", "longer client", 5, ["LT01"]]) {
    assert.equal(read(query("ping", ABC, {}, { v })).client, 0);
  }
});

Deno.test("t is echoed byte for byte, whatever its length; without one there is no answer", () => {
  for (const t of ["", "a", "aa", "abc", "\0\xff\x80\0", "12345678", "0:e1:t", "x".repeat(64)]) {
    const message = read(query("ping", ABC, {}, { t }));
    assert.equal(tidOf(message), t);
    for (const echo of [message, keepEcho(message)]) {
      assert.equal(text(decodeAny(latin1(responded(MNO, {}, echo))).t), t);
    }
  }
  assert.equal(decode(query("ping", ABC, {}, { t: 5 })), "no_transaction");
  assert.equal(decode(query("ping", ABC, {}, { t: "x".repeat(65) })), "no_transaction");
  assert.equal(decode(encode({ y: "q", q: "ping", a: { id: ABC.toBytes() } })), "no_transaction");
});

Deno.test("an echo that is kept does not change with the receive buffer", () => {
  const packet = query("ping", ABC, {}, { t: "keep" });
  const kept = keepEcho(read(packet));
  packet.fill(0);
  assert.equal(text(decodeAny(latin1(responded(MNO, {}, kept))).t), "keep");
});

function peersPacket(values: Value): Uint8Array {
  return encode({ t: "aa", y: "r", r: { id: ABC.toBytes(), values } });
}

Deno.test("BEP 32: values may mix entries of 6 and of 18 bytes; others are passed over", () => {
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
  assert.deepEqual(read(peersPacket([])).values, []);
  assert.equal(read(peersPacket("no list")).values, undefined);
  assert.equal(read(peersPacket(5)).values, undefined);
});

Deno.test("values beyond what any datagram holds are not collected", () => {
  assert.equal(read(peersPacket(Array(5_000).fill(compact(FROM)))).values!.length, 256);
});

Deno.test("BEP 32: want selects n4 and n6; unknown strings and other types are ignored", () => {
  const wanted = (want: Value) => read(query("find_node", ABC, { want })).want;
  assert.equal(wanted(["n4"]), WANT_N4);
  assert.equal(wanted(["n6"]), WANT_N6);
  assert.equal(wanted(["n6", "n4"]), WANT_N4 | WANT_N6);
  assert.equal(wanted(["n4", "n8", "", "n", "n44", "N6", 6, ["n6"], { n6: 1 }]), WANT_N4);
  for (const other of [[], "n4", 4, { n4: 1 }]) assert.equal(wanted(other), 0);
});

Deno.test("BEP 32: compact nodes are 26 bytes with IPv4, 38 with IPv6; other lengths are refused whole", () => {
  const v4 = [{ id: ABC, endpoint: FROM }, { id: MNO, endpoint: endpoint("5.6.7.8:9") }];
  const v6 = v4.map((node) => ({ id: node.id, endpoint: endpoint("[2001:db8::1]:5") }));
  for (const [family, nodes, size] of [[4, v4, 26], [6, v6, 38]] as const) {
    const bytes = compactNodes(nodes);
    assert.equal(bytes.length, 2 * size);
    const seen: string[] = [];
    const visit = (at: Id, where: unknown) => void seen.push(`${at} ${where}`);
    assert.ok(readCompactNodes(bytes, family, visit));
    assert.deepEqual(seen, nodes.map((node) => `${node.id} ${node.endpoint}`));
    assert.equal(readCompactNodes(bytes.subarray(1), family, visit), false);
    assert.equal(readCompactNodes(concat(bytes, new Uint8Array(1)), family, visit), false);
    assert.equal(seen.length, 2);
    assert.ok(readCompactNodes(new Uint8Array(0), family, visit));
  }
});

Deno.test("integers where strings are expected, and strings for integers, are as if not there", () => {
  const numbers = Object.fromEntries(
    // deno-fmt-ignore
    ["target", "info_hash", "token", "k", "sig", "salt", "nodes", "nodes6", "samples", "values", "want"]
      .map((key) => [key, 5]),
  );
  const m = read(encode({ t: "aa", y: "q", q: "get", a: { id: 5, ...numbers } }));
  assert.deepEqual(
    [m.id, m.target, m.infoHash, m.token, m.publicKey, m.signature, m.salt, m.nodes, m.nodes6],
    Array(9).fill(undefined),
  );
  assert.deepEqual([m.samples, m.values, m.want], [undefined, undefined, 0]);
  const strings = Object.fromEntries(
    ["port", "implied_port", "seq", "cas", "num", "interval", "nn", "ss"].map((key) => [key, "1"]),
  );
  const s = read(query("put", ABC, strings));
  assert.deepEqual([s.port, s.seq, s.cas, s.num, s.interval, s.wantCount], Array(6).fill(NaN));
  assert.deepEqual([s.impliedPort, s.wantSalt], [false, false]);
  assert.deepEqual([s.hasSeq, s.hasCas], [true, true], "they were there, and bad");
});

Deno.test("ids that are not 20 bytes are as if not there", () => {
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

Deno.test("seq and cas are exact up to 2^53 - 1; beyond they are there, and not a number", () => {
  const max = Number.MAX_SAFE_INTEGER;
  const m = read(query("put", ABC, { seq: max, cas: max }));
  assert.deepEqual([m.seq, m.cas], [max, max]);
  const big = read(
    text(query("put", ABC, { seq: 1 })).replace("seqi1e", "seqi9223372036854775807e"),
  );
  assert.ok(Number.isNaN(big.seq) && big.hasSeq);
});

Deno.test("keys may come unsorted, and keys that nobody knows are passed over", () => {
  const a = `2:zzd1:xle1:yi-5ee2:id20:${"i".repeat(20)}6:target20:${"t".repeat(20)}0:0:`;
  const packet = `d1:y1:q4:miscli1ed0:leee1:t3:abc1:ad${a}e1:q9:find_node6:seqnumi9ee`;
  const m = read(packet);
  assert.deepEqual([m.type, m.method, tidOf(m)], ["q", "find_node", "abc"]);
  assert.equal(`${m.target}`, "74".repeat(20));
});

Deno.test("v of an item is kept exactly as received, whatever its type and nesting", () => {
  for (const v of ["12:Hello World!", "i-0e", "d1:bi1e1:ai2ee", "l".repeat(32) + "e".repeat(32)]) {
    const packet = `d1:ad2:id20:${"i".repeat(20)}1:v${v}5:token8:aoeusnthe1:q3:put1:t2:aa1:y1:qe`;
    const m = read(packet);
    assert.equal(text(m.value!), v);
    assert.deepEqual(m.token, TOKEN);
  }
});

Deno.test("tokens too long for a put to stay in one packet are as if not there", () => {
  const token = (length: number) => read(query("put", ABC, { token: "x".repeat(length) })).token;
  assert.equal(token(64)?.length, 64);
  assert.equal(token(65), undefined);
});

Deno.test("methods that are not known are unknown; a query needs q, a response r", () => {
  assert.equal(read(query("vote", ABC)).method, "unknown");
  assert.equal(read(query("", ABC)).method, "unknown");
  assert.equal(read(query("x".repeat(300), ABC)).method, "unknown");
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

Deno.test("errors are read leniently: code and text where they are, printable and short", () => {
  const error = (e: Value) => {
    const m = read(encode({ t: "aa", y: "e", e }));
    return [m.errorCode, m.errorText];
  };
  assert.deepEqual(error([203, "bad\n\x1b[31mtoken\xff"]), [203, "bad??[31mtoken?"]);
  assert.deepEqual(error([203, "x".repeat(500)]), [203, "x".repeat(120)]);
  assert.deepEqual(error([203]), [203, ""]);
  assert.deepEqual(error(["only text"]), [0, "only text"]);
  assert.deepEqual(error([]), [0, ""]);
  assert.deepEqual(error([203, "text", { more: [1] }, 5]), [203, "text"]);
  assert.deepEqual(error("no list"), [0, ""]);
});

Deno.test("bytes that are no KRPC message are dropped as malformed", () => {
  const ping = BEP5.ping;
  // deno-fmt-ignore
  const garbage = [
    "", "d", "e", "x", "le", "i1e", "0:", "4:spam", ping + "e", ping + "x", ping + ping, ping.slice(0, -1), ping.slice(1),
    "d1:ae", "d1:t2:aae1:y1:qe", "di1ei2ee", "d1:t99:aae", "d1:ad2:ide1:t2:aa1:y1:qe", "\0".repeat(100), "d".repeat(5000),
    `d1:x${"l".repeat(5000)}${"e".repeat(5000)}1:t2:aa1:y1:qe`,
  ];
  for (const packet of garbage) {
    assert.equal(decode(latin1(packet)), "malformed", packet.slice(0, 50));
  }
  for (let end = 0; end < ping.length; end++) {
    assert.equal(decode(latin1(ping.slice(0, end))), "malformed");
  }
});

Deno.test("our keys never come before 1:t, 2:id20:, 5:nodes or 5:token where these are searched for", () => {
  // A widely used implementation finds keys by searching the bytes, so ours must be the first that look like them.
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
  const asked = written("get", { target: MNO, wantCount: 20, wantSalt: true });
  assert.ok(asked.startsWith(`d1:ad2:id20:${text(ABC.toBytes())}`));
  assert.equal(asked.indexOf("1:t"), asked.indexOf("1:t4:aaaa"));
});

Deno.test("literals are Latin-1: one byte a character", () => {
  assert.deepEqual(literal("d\xff\0"), hex("64ff00"));
  assert.equal(`${id("ff")}`, "ff" + "0".repeat(38));
});
