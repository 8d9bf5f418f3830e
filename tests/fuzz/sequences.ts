// Fuzzing of live nodes with sequences of packets, in virtual time. Strangers get tokens, put, announce and introduce
// with them, change and repeat their packets, and answer the nodes' own queries honestly or not.

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  compareVersions,
  immutableItem,
  immutableTarget,
  type Item,
  itemOf,
  mutableTarget,
  signedBytes,
  type StoredItem,
} from "../../src/dht/items/item.ts";
import { ItemStore } from "../../src/dht/items/item_store.ts";
import { MAX_ANNOUNCEMENTS } from "../../src/dht/serving/peer_store.ts";
import { MAX_REPLY_BYTES, MAX_REPLY_FACTOR } from "../../src/dht/reply_size.ts";
import { TOKEN_BYTES } from "../../src/dht/tokens.ts";
import { bencodeBytes, isCanonical } from "../../src/krpc/bencode.ts";
import type { Endpoint } from "../../src/krpc/endpoint.ts";
import { decode, Message } from "../../src/krpc/message.ts";
import { Identity, itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { VirtualNetwork, type VirtualNode } from "../dht/virtual_network.ts";
import { compact, compactNodes, encode, endpoint, id, latin1, type Value } from "../packets.ts";
import { type Change, changes, mutate } from "./packets.ts";
import type { Subject } from "./subject.ts";

type Dictionary = { [key: string]: Value };

const K = 8;

/** Limit of each node's store: so small that the puts of one sequence fill it. */
const STORE_BYTES = 6_000;

/** Packets of a stranger that it may repeat. */
const MAX_SENT = 64;

/** Far more ticks than a node needs in a minute. A node that needs more is stuck at one time. */
const MAX_TICKS_A_MINUTE = 50_000;

const MINUTE = 60_000, HOUR = 60 * MINUTE;

/**
 * Strangers. Two share an address, two use IPv6, and one is in a private network. The last one is a victim, whose address
 * others forge: it never reads or answers.
 */
const STRANGERS = [
  ["66.1.0.1:1001", "66.1.0.1:1002", "77.2.0.1:6881", "88.3.0.1:6881", "99.4.0.1:1"],
  ["[2a00:5::1]:1", "[2a00:6::1]:6881", "10.9.9.9:1", "103.7.7.7:53"],
].flat();
const FORGED = STRANGERS.length - 1;

const SENDERS = STRANGERS.map((_, i) => id(`${(i * 2 + 1).toString(16)}5c${i}`));

/** Two nodes that strangers can reach, and one that they can't. */
const NODES = [
  { id: id("5e"), at: ["45.1.2.3:6881", "[2a00:1::1]:6881"], nat: false },
  { id: id("a7"), at: ["46.1.2.3:6881", "[2a00:2::1]:6881"], nat: false },
  { id: id("c3"), at: ["47.1.2.3:6881"], nat: true },
];
const HIDDEN = 2;

const OWNER = new Identity(new Uint8Array(32).fill(3));
const SALTS = ["", "foobar"].map(latin1);
const SWARMS = [id("1234"), id("5e0001")];
const CLIENT = "DM\x01\x00";

const SMALL = bencodeBytes(latin1("Hello World!"));
const LARGE = bencodeBytes(new Uint8Array(996).fill(0x61));

/** Versions of two mutable items. Two of the versions of each have the same seq. */
const VERSIONS: Item[] = SALTS.flatMap((salt) =>
  ([[1, SMALL], [2, SMALL], [2, LARGE], [3, SMALL], [Number.MAX_SAFE_INTEGER, SMALL]] as const).map(
    ([seq, value]) => ({
      target: mutableTarget(itemCrypto, OWNER.publicKey, salt),
      value,
      signed: {
        publicKey: OWNER.publicKey,
        salt,
        seq,
        signature: OWNER.sign(signedBytes(salt, seq, value)),
      },
    }),
  )
);
const IMMUTABLE = [SMALL, LARGE].map((value) => immutableItem(itemCrypto, value));
const TARGETS = [...new Set([...VERSIONS, ...IMMUTABLE].map(({ target }) => target))];

/** Marks in a template, which are replaced before it is sent. They have the length of what replaces them. */
const TID = latin1("tidX"), SENDER = latin1("the sender's 20 byte"), TOKEN = latin1("8bytoken");

/** A packet with places for the transaction id, the sender and the token. */
class Template {
  readonly #places: readonly (readonly [kind: "tid" | "sender" | "token", at: number])[];

  constructor(readonly packet: Uint8Array, readonly method = "") {
    const text = latin1Text(packet);
    const marks = { tid: TID, sender: SENDER, token: TOKEN };
    this.#places = Object.entries(marks).flatMap(([kind, mark]) =>
      [...text.matchAll(new RegExp(latin1Text(mark), "g"))]
        .map(({ index }) => [kind as keyof typeof marks, index] as const)
    );
  }

  fill(values: { tid: Uint8Array; sender: Uint8Array; token: Uint8Array }): Uint8Array {
    const filled = this.packet.slice();
    for (const [kind, at] of this.#places) filled.set(values[kind], at);
    return filled;
  }
}

function latin1Text(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

function queryTemplate(q: string, a: Dictionary = {}, more: Dictionary = {}): Template {
  return new Template(
    encode({ t: TID, y: "q", q, v: CLIENT, a: { id: SENDER, ...a }, ...more }),
    q,
  );
}

const hiddenAt = endpoint(NODES[HIDDEN].at[0]);
const victim = compact(endpoint("111.1.1.1:53"));
const inner = (q: string, a: Dictionary = {}) =>
  encode({ t: "abcd", y: "q", q, v: CLIENT, a: { id: SENDER, ...a } });
const innerReply = encode({ t: "abcd", y: "r", v: CLIENT, r: { id: SENDER, nt: 1 } });
const coordinate = new Uint8Array(9).fill(7);

const PUTS: Template[] = [
  ...VERSIONS.flatMap(({ value, signed }) =>
    ([{}, { cas: 1 }, { cas: 2, tl: 604_800 }] as Dictionary[]).map((more) => {
      const { publicKey: k, signature: sig, salt } = signed!, seq = Number(signed!.seq);
      const v = value === LARGE ? new Uint8Array(996).fill(0x61) : "Hello World!";
      const args = { k, sig, seq, v, token: TOKEN, ...more };
      return queryTemplate("put", salt.length > 0 ? { ...args, salt } : args);
    })
  ),
  queryTemplate("put", { v: "Hello World!", token: TOKEN, nr: 2, tl: 7200 }),
  queryTemplate("put", { v: new Uint8Array(996).fill(0x61), token: TOKEN, sa: 3600 }),
  queryTemplate("put", { v: ["a", { b: 1 }], token: TOKEN, sa: Number.MAX_SAFE_INTEGER }),
  // Each query has a transaction id of its own, so each of these values is new.
  queryTemplate("put", { v: latin1(`fresh ${latin1Text(TID)}`), token: TOKEN }),
  queryTemplate("put", { v: latin1(`fresh ${latin1Text(TID)}`), token: TOKEN, tl: 604_800 }),
];

const QUERIES: Template[] = [
  queryTemplate("ping"),
  queryTemplate("ping", { nc: coordinate, kp: 1 }),
  queryTemplate("ping", {}, { ro: 1 }),
  ...TARGETS.slice(0, 2).map((target) =>
    queryTemplate("find_node", { target: target.toBytes(), want: ["n4", "n6"], nn: 20 })
  ),
  queryTemplate("find_node", { target: NODES[0].id.toBytes(), nc: coordinate, nn: 20, kp: 0 }),
  ...SWARMS.flatMap((swarm) => {
    const info_hash = swarm.toBytes();
    return [
      queryTemplate("get_peers", { info_hash, want: ["n4", "n6"] }),
      queryTemplate("get_peers", { info_hash, noseed: 1, scrape: 1 }),
      queryTemplate("announce_peer", { info_hash, port: 80, seed: 1, token: TOKEN }),
      queryTemplate("announce_peer", { info_hash, port: 6881, implied_port: 1, token: TOKEN }),
      queryTemplate("announce_peer", { info_hash, port: 6881, token: TOKEN }),
    ];
  }),
  queryTemplate("announce_peer", { info_hash: SENDER, port: 1, implied_port: 1, token: TOKEN }),
  ...TARGETS.flatMap((target) => [
    queryTemplate("get", { target: target.toBytes(), ss: 1, rm: 1, nn: 20 }),
    queryTemplate("get", { target: target.toBytes(), seq: 2, want: ["n4", "n6"] }),
    queryTemplate("get", { target: target.toBytes(), pc: 1, tl: 604_800 }),
  ]),
  queryTemplate("sample_infohashes", { target: SWARMS[0].toBytes(), want: ["n6"] }),
  queryTemplate("vote", { target: SWARMS[0].toBytes() }),
  queryTemplate("vote"),
  queryTemplate("dm_pass", {
    target: NODES[HIDDEN].id.toBytes(),
    values: [compact(hiddenAt)],
    v: inner("dm_punch", { nt: 1 }),
    token: TOKEN,
  }),
  queryTemplate("dm_pass", {
    target: NODES[HIDDEN].id.toBytes(),
    values: [compact(hiddenAt)],
    v: inner("get", { target: TARGETS[0].toBytes() }),
    token: TOKEN,
  }),
  queryTemplate("dm_pass", { values: [victim], v: innerReply, token: TOKEN }),
  queryTemplate("dm_pass", { values: [victim], v: inner("dm_punch", { nt: 2 }), rt: TOKEN }),
  queryTemplate("dm_pass", { values: [victim], v: inner("get", { target: SENDER }), rt: TOKEN }),
  queryTemplate("dm_pass", { values: [victim], v: innerReply }),
  queryTemplate("dm_probe", { token: TOKEN }),
  queryTemplate("dm_probe", { values: [victim] }),
  queryTemplate("dm_probe"),
  queryTemplate("dm_punch", { nt: 1 }),
  queryTemplate("dm_punch", { nt: 1, token: TOKEN }),
];

/** Puts are a third of all queries. */
const ALL_QUERIES = [...QUERIES, ...PUTS.slice(0, QUERIES.length / 2), ...PUTS.slice(-5)];

const NODE_LIST = compactNodes(
  STRANGERS.slice(0, FORGED).flatMap((at, i) => {
    const found = endpoint(at);
    return found.family === 4 ? [{ id: SENDERS[i], endpoint: found }] : [];
  }),
);
const NODE_LIST6 = compactNodes(STRANGERS.flatMap((at, i) => {
  const found = endpoint(at);
  return found.family === 6 ? [{ id: SENDERS[i], endpoint: found }] : [];
}));

const REPLIES: Template[] = ([
  {},
  { nodes: NODE_LIST, nodes6: NODE_LIST6, token: "token", nc: coordinate, kp: 1 },
  { nodes: NODE_LIST, values: [victim, compact(hiddenAt)], token: "token" },
  ...VERSIONS.slice(0, 5).map(({ signed }) => ({
    ...{ k: signed!.publicKey, sig: signed!.signature, seq: Number(signed!.seq) },
    ...{ v: "Hello World!", nodes: NODE_LIST, token: "token", sa: 10, rm: 100_000 },
  })),
  { v: "Hello World!", nodes: NODE_LIST, token: "token" },
  { seq: 9, nodes: NODE_LIST, token: "token" },
  { values: [victim], nt: 1 },
] as Dictionary[]).map((r) =>
  new Template(
    encode({ t: TID, y: "r", v: CLIENT, ip: compact(hiddenAt), r: { id: SENDER, ...r } }),
  )
);
REPLIES.push(new Template(encode({ t: TID, y: "e", e: [203, "Protocol Error"] })));

/** The reply of an honest stranger. */
const HONEST = REPLIES[1];

/** How a stranger answers the queries of nodes. */
const MOODS = ["honest", "honest", "silent", "hostile", "hopping"] as const;

const changed = fc.oneof(
  { arbitrary: fc.constant<Change[]>([]), weight: 2 },
  { arbitrary: changes, weight: 1 },
);
const number = fc.nat(1_000);
/** Mostly the first node. */
const to = fc.constantFrom(0, 0, 0, 0, 1, HIDDEN);

const steps = fc.oneof(
  {
    weight: 150,
    arbitrary: fc.record({
      kind: fc.constant("query" as const),
      from: fc.nat(STRANGERS.length - 1),
      to,
      query: number,
      /** The latest token that the stranger got, an earlier one, that of another stranger, or a made-up one. */
      token: fc.constantFrom(
        "latest",
        "latest",
        "latest",
        "latest",
        "earlier",
        "stolen",
        "made up",
      ),
      changes: changed,
    }),
  },
  {
    weight: 25,
    arbitrary: fc.record({
      kind: fc.constant("repeat" as const),
      from: fc.nat(STRANGERS.length - 1),
      by: fc.nat(STRANGERS.length - 1),
      to,
      packet: number,
    }),
  },
  {
    weight: 15,
    arbitrary: fc.record({
      kind: fc.constant("mood" as const),
      of: fc.nat(FORGED - 1),
      mood: fc.constantFrom(...MOODS),
      reply: number,
      changes,
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("operation" as const),
      at: to,
      operation: number,
      target: number,
    }),
  },
  {
    weight: 40,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.constantFrom(1, 1, 1, 20, 20, 20, 20, 300, 300, 5_000, 5_000, 70_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.constantFrom(16 * MINUTE, 16 * MINUTE, 2 * HOUR),
    }),
  },
);

export type Step = typeof steps extends fc.Arbitrary<infer T> ? T : never;

export interface Sequence {
  readonly steps: Step[];
  /** Whether to check in the end that the nodes release everything. */
  readonly isDrained: boolean;
}

interface Stranger {
  readonly at: Endpoint;
  readonly sender: Uint8Array;
  mood: typeof MOODS[number];
  /** The hostile reply. */
  reply: number;
  changes: readonly Change[];
  /** For each node, the tokens that it has given to this stranger. */
  readonly tokens: Uint8Array[][];
  readonly sent: Uint8Array[];
}

/** An unchanged put that waits for an answer. */
interface SentPut {
  readonly packet: Uint8Array;
  /** Whether the token can't be valid. */
  readonly isForged: boolean;
}

class World {
  readonly network = new VirtualNetwork();
  readonly nodes: VirtualNode[];
  readonly strangers: Stranger[];
  /** By receiver, sender and transaction id. */
  readonly #puts = new Map<string, SentPut>();
  /** The newest version that each node has acknowledged, by node and target. */
  readonly #acknowledged = new Map<string, Item>();
  #verified = new WeakSet<StoredItem>();
  #tids = 0;
  #hops = 0;
  /** Ticks of all nodes since the time last advanced by a minute. */
  #ticks = 0;
  #started = 0;
  #ended = 0;
  /** Packets that reached a node. */
  packets = 0;
  /** Bytes of packets from the victim's address, and of replies to it. */
  readonly #victims = { sent: 0, received: 0 };

  constructor() {
    const { network } = this;
    network.link = (datagram, from, to) => this.#carry(datagram, from, to);
    this.nodes = NODES.map(({ id, at, nat }) =>
      network.add({ id, at, k: K, nat, items: new ItemStore(id, STORE_BYTES, 1) })
    );
    for (const { node } of this.nodes) {
      const tick = node.tick.bind(node);
      node.tick = (now) => {
        assert.ok(++this.#ticks < MAX_TICKS_A_MINUTE, "the node is stuck at one time");
        tick(now);
      };
    }
    for (const [i, { node }] of this.nodes.entries()) {
      if (i > 0) node.membership.join(this.nodes[0].endpoints, [], network.now);
    }
    this.strangers = STRANGERS.map((at, i) => ({
      at: endpoint(at),
      sender: SENDERS[i].toBytes(),
      mood: "honest",
      reply: 0,
      changes: [],
      tokens: NODES.map(() => []),
      sent: [],
    }));
    for (const stranger of this.strangers) {
      network.attach(stranger.at, (datagram, from) => this.#receive(stranger, datagram, from));
    }
    this.run(3 * MINUTE);
  }

  /** Advances the time. */
  run(ms: number): void {
    for (let left = ms; left > 0; left -= MINUTE) {
      this.#ticks = 0;
      this.network.run(Math.min(left, MINUTE));
    }
  }

  /** Checks every datagram on the way. Loses probes to the hidden node, so that it knows that it is hidden. */
  #carry(datagram: Uint8Array, from: Endpoint, to: Endpoint): Uint8Array | undefined {
    const isNodes = this.nodes?.some(({ endpoints }) =>
      endpoints.some((own) => own.sameAddress(from))
    );
    if (!isNodes) return this.packets++, datagram;
    const message = decode(datagram);
    assert.ok(message instanceof Message, `a node sends what no node reads: ${message}`);
    assert.ok(isCanonical(datagram), "a node sends bencode that is not canonical");
    assert.ok(datagram.length <= MAX_REPLY_BYTES, `a node sends ${datagram.length} bytes`);
    return message.method === "dm_probe" && to.sameAddress(hiddenAt) ? undefined : datagram;
  }

  #receive(stranger: Stranger, datagram: Uint8Array, from: Endpoint): void {
    if (stranger === this.strangers[FORGED]) {
      // Pings to addresses that send queries have a limit of their own.
      if ((decode(datagram) as Message).type !== "q") this.#victims.received += datagram.length;
      return;
    }
    const message = decode(datagram) as Message;
    const number = this.nodes.findIndex(({ endpoints }) =>
      endpoints.some((own) => own.equals(from))
    );
    if (message.type === "q") return this.#answer(stranger, message, from, number);
    if (number === -1) return;
    if (message.token !== undefined) stranger.tokens[number].push(message.token.slice());
    if (message.type === "r") this.#noteStored(number, stranger, message);
  }

  /** Notes that a node has acknowledged an unchanged put. */
  #noteStored(number: number, { at }: Stranger, { packet, tidStart, tidEnd }: Message): void {
    const key = `${number} ${at} ${packet.subarray(tidStart, tidEnd)}`;
    const put = this.#puts.get(key);
    if (put === undefined) return;
    this.#puts.delete(key);
    assert.ok(!put.isForged, "a node accepts a token that it has not given to this address");
    const item = itemOf(itemCrypto, decode(put.packet) as Message) as Item;
    const name = `${number} ${item.target}`, known = this.#acknowledged.get(name);
    if (known === undefined || compareVersions(item, known) > 0) this.#acknowledged.set(name, item);
  }

  #answer(
    stranger: Stranger,
    { packet, tidStart, tidEnd, returnToken, method }: Message,
    from: Endpoint,
    number: number,
  ): void {
    if (returnToken !== undefined && number !== -1) {
      stranger.tokens[number].push(returnToken.slice());
    }
    if (stranger.mood === "silent" || method === "dm_probe") return;
    const isHopping = stranger.mood === "hopping";
    const sender = isHopping
      ? id((++this.#hops).toString(16).padStart(8, "0")).toBytes()
      : stranger.sender;
    const tid = packet.slice(tidStart, tidEnd);
    const isHostile = stranger.mood === "hostile";
    const template = isHostile ? REPLIES[stranger.reply % REPLIES.length] : HONEST;
    const reply = template.fill({ tid, sender, token: TOKEN });
    const changes = isHostile ? stranger.changes : [];
    this.network.send(altered(reply, changes), stranger.at, from);
  }

  do(step: Step): void {
    const { network } = this;
    switch (step.kind) {
      case "wait":
        return this.run(step.ms);
      case "mood": {
        const { mood, reply, changes } = step;
        return void Object.assign(this.strangers[step.of], { mood, reply, changes });
      }
      case "query":
        return this.#query(step);
      case "repeat": {
        const { sent } = this.strangers[step.from], { at } = this.strangers[step.by];
        if (sent.length === 0) return;
        return this.#send(at, step.to, sent[step.packet % sent.length]);
      }
      case "operation":
        return this.#operate(this.nodes[step.at], step, network.now);
    }
  }

  #query(step: Extract<Step, { kind: "query" }>): void {
    const stranger = this.strangers[step.from];
    const tid = this.network.randomBytes(TID.length);
    tid[0] = ++this.#tids;
    const template = ALL_QUERIES[step.query % ALL_QUERIES.length];
    const { token, isForged } = this.#token(step);
    const packet = template.fill({ tid, sender: stranger.sender, token });
    const sent = altered(packet, step.changes);
    if (step.changes.length === 0 && template.method === "put") {
      this.#puts.set(`${step.to} ${stranger.at} ${tid}`, { packet, isForged });
    }
    stranger.sent.push(sent);
    if (stranger.sent.length > MAX_SENT) stranger.sent.shift();
    this.#send(stranger.at, step.to, sent);
  }

  #token({ from, to, token }: Extract<Step, { kind: "query" }>) {
    const { at, tokens } = this.strangers[from];
    const other = this.strangers[(from + 2) % this.strangers.length];
    const own = tokens[to].at(-1);
    switch (token) {
      case "latest":
        return { token: own ?? TOKEN, isForged: own === undefined };
      case "earlier":
        return { token: tokens[to][tokens[to].length >> 1] ?? TOKEN, isForged: own === undefined };
      case "stolen": {
        const stolen = other.tokens[to].at(-1);
        return { token: stolen ?? TOKEN, isForged: !other.at.sameAddress(at) };
      }
      default:
        return { token: TOKEN, isForged: true };
    }
  }

  #send(at: Endpoint, to: number, packet: Uint8Array): void {
    const endpoint = this.nodes[to].endpoints.find(({ family }) => family === at.family);
    if (at === this.strangers[FORGED].at) this.#victims.sent += packet.length;
    if (endpoint !== undefined) this.network.send(packet, at, endpoint);
  }

  #operate(
    { node }: VirtualNode,
    { operation, target: number }: Extract<Step, { kind: "operation" }>,
    now: number,
  ): void {
    const done = () => void this.#ended++;
    const item = [...VERSIONS, ...IMMUTABLE][number % (VERSIONS.length + IMMUTABLE.length)];
    const { target, signed } = item;
    const swarm = SWARMS[number % SWARMS.length];
    const { at } = this.strangers[number % FORGED];
    const operations = [
      () => node.find(target, now, done),
      () => node.ping(at, now, done),
      () => node.items.get({ target, salt: signed?.salt }, now, done),
      () => node.items.put({ target, salt: signed?.salt, make: () => item }, now, done),
      () => node.swarms.getPeers({ infoHash: swarm, scrapes: true }, now, done),
      () => node.swarms.announce({ infoHash: swarm, port: undefined }, now, done),
    ];
    this.#started++;
    operations[operation % operations.length]();
  }

  /** Asserts what must hold after any packets. */
  check(): void {
    const { sent, received } = this.#victims;
    assert.ok(received <= MAX_REPLY_FACTOR * sent, `${received} bytes to a victim for ${sent}`);
    for (const [number, { node, items, events }] of this.nodes.entries()) {
      const { now } = this.network;
      assert.ok(node.nextDeadline < Infinity, "a node has no deadline");
      assert.ok(items.usedBytes <= STORE_BYTES, `${items.usedBytes} bytes stored`);
      assert.ok(node.responder.peers.count <= MAX_ANNOUNCEMENTS);
      // No bucket holds more than k contacts; these strangers fill at most one bucket each.
      assert.ok(node.tables.size <= 2 * K * STRANGERS.length, `${node.tables.size} contacts`);
      const { queries, deadlines } = node.pending;
      const active = node.searches.statistics.active;
      assert.ok(queries <= 40 + 8 * active, `${queries} queries in flight`);
      assert.ok(deadlines <= 60 + 2 * node.tables.size + 8 * active, `${deadlines} deadlines`);
      let bytes = 0;
      for (const item of items.entries()) {
        bytes += item.value.length;
        this.#verify(item);
      }
      assert.equal(items.bytes, bytes);
      const dropped = new Set(
        events.flatMap((event) => event.type === "data.expire" ? [`${event.target}`] : []),
      );
      for (const [name, item] of this.#acknowledged) {
        if (!name.startsWith(`${number} `)) continue;
        const held = items.get(item.target, now);
        if (held !== undefined) assert.ok(compareVersions(held, item) >= 0, "an older version");
        else if (!Array.from(items.entries()).some(({ target }) => target.equals(item.target))) {
          assert.ok(dropped.has(`${item.target}`), "an acknowledged item is gone");
        }
      }
      events.length = 0;
      for (const [name, item] of this.#acknowledged) {
        if (name.startsWith(`${number} `) && dropped.has(`${item.target}`)) {
          this.#acknowledged.delete(name);
        }
      }
    }
  }

  /** Asserts that a stored item is what its target says. */
  #verify(item: StoredItem): void {
    if (this.#verified.has(item)) return;
    this.#verified.add(item);
    const { target, value, signed } = item;
    assert.ok(isCanonical(value) && value.length <= 1_000);
    if (signed === undefined) {
      return assert.ok(immutableTarget(itemCrypto, value).equals(target), "a wrong hash");
    }
    const { publicKey, salt, seq, signature } = signed;
    assert.ok(mutableTarget(itemCrypto, publicKey, salt).equals(target), "a wrong target");
    assert.ok(itemCrypto.verify(publicKey, signedBytes(salt, seq, value), signature), "a forgery");
  }

  /** Asserts that the nodes still answer. */
  checkAnswers(): void {
    const stranger = this.strangers[3];
    this.run(3_000);
    for (const number of [0, 1]) {
      const tid = latin1("ping");
      let isAnswered = false;
      this.network.attach(stranger.at, (datagram) => {
        const message = decode(datagram) as Message;
        const echoed = message.packet.subarray(message.tidStart, message.tidEnd);
        if (message.type === "r" && latin1Text(echoed) === "ping") isAnswered = true;
      });
      const packet = QUERIES[0].fill({ tid, sender: stranger.sender, token: TOKEN });
      this.#send(stranger.at, number, packet);
      this.run(50);
      assert.ok(isAnswered, "a node has fallen silent");
    }
  }

  /** Asserts that all operations end, and that the first node releases everything once it is alone. */
  drain(): void {
    for (const stranger of this.strangers) stranger.mood = "silent";
    for (const node of this.nodes.slice(1)) node.isDown = true;
    this.run(2 * MINUTE);
    assert.equal(this.#ended, this.#started, "an operation does not end, or ends twice");
    this.run(2 * HOUR);
    const { node, items } = this.nodes[0];
    assert.equal(node.tables.size, 0, "contacts that never answer stay");
    assert.equal(node.responder.peers.count, 0, "announcements stay");
    const { queries, deadlines } = node.pending;
    assert.ok(queries <= 10, `${queries} queries of a node that is alone`);
    // Periodic tasks, and one that looks after the held items.
    assert.ok(deadlines <= 16, `${deadlines} deadlines of a node that is alone`);
    items.expire(this.network.now + 7 * 24 * HOUR);
    assert.equal(items.count, 0, "items stay after their life");
    assert.equal(items.usedBytes, 0);
  }
}

function altered(packet: Uint8Array, changes: readonly Change[]): Uint8Array {
  return changes.length === 0
    ? packet
    : mutate([packet], { seed: 0, other: 0, changes: changes as Change[] });
}

/** Packets that have reached the nodes of all sequences. */
export const total = { packets: 0 };

export function runSequence({ steps, isDrained }: Sequence): void {
  const world = new World();
  steps.forEach((step, i) => {
    world.do(step);
    if (i % 16 === 15) world.check();
  });
  world.run(50);
  world.check();
  world.checkAnswers();
  if (isDrained) world.drain();
  total.packets += world.packets;
}

export const SEQUENCES: Subject<Sequence> = {
  name: "sequences",
  inputs: fc.record({
    steps: fc.array(steps, { minLength: 1, maxLength: 400, size: "max" }),
    isDrained: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  }),
  check: runSequence,
};
assert.equal(TOKEN.length, TOKEN_BYTES);
