// Iterative lookups: which nodes they ask, when they end, and how they resist attackers.

import assert from "node:assert/strict";
import { Contact } from "../../../src/dht/routing/contact.ts";
import {
  COORDINATE_BYTES,
  OwnCoordinate,
  writeCoordinate,
} from "../../../src/dht/routing/coordinate.ts";
import { Lookup, type LookupResult } from "../../../src/dht/search/lookup.ts";
import type { QueryWatcher } from "../../../src/dht/search/query.ts";
import { Region } from "../../../src/dht/search/region.ts";
import type { FindResult } from "../../../src/dht/search/searches.ts";
import { maxSimilar } from "../../../src/dht/routing/diversity.ts";
import { SubnetLimit } from "../../../src/dht/routing/subnet_limit.ts";
import { secureId } from "../../../src/dht/routing/secure_id.ts";
import { compareDistance, Id } from "../../../src/krpc/id.ts";
import { decode, MAX_REPLY_NODES, type Message } from "../../../src/krpc/message.ts";
import {
  compact,
  compactNodes,
  concat,
  decodeAny,
  encode,
  endpoint,
  id,
  text,
  type Value,
} from "../../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const TARGET = id("0");

function find(network: VirtualNetwork, from: VirtualNode, target: Id): FindResult {
  return network.complete((now, done) => from.node.find(target, now, done));
}

/** A peer that answers every query as the test says. */
class Peer extends Stranger {
  readonly known: { id: Id; endpoint: ReturnType<typeof endpoint> }[] = [];
  delayMs = 0;

  constructor(network: VirtualNetwork, public id: Id, at: string) {
    super(network, at);
    this.answer = (packet) => this.reply(packet);
  }

  get endpoint() {
    return this.at;
  }

  reply(packet: Uint8Array, r: { [key: string]: Value } = {}): Uint8Array | undefined {
    const asked = decodeAny(packet);
    if (text(asked.y) !== "q") return undefined;
    const nodes = compactNodes(this.known);
    return encode({ t: asked.t, y: "r", r: { id: this.id.toBytes(), nodes, ...r } });
  }

  /** The number of lookup queries that arrived. */
  get asked(): number {
    return this.received.filter(({ packet }) => decodeAny(packet).q?.length === 9).length;
  }
}

/** Returns a node with k = 4 that knows one peer, through which it finds others. */
function scene(options = {}) {
  const network = new VirtualNetwork();
  const searcher = network.add({ id: id("ff"), k: 4, at: "1.0.0.1:1", perSubnet: 0, ...options });
  const peers: Peer[] = [];
  const peer = (prefix: string, at = `1.1.1.${peers.length + 1}:1`) => {
    const made = new Peer(network, id(prefix), at);
    peers.push(made);
    return made;
  };
  const first = peer("f0");
  searcher.node.ping(first.at, network.now, () => {});
  network.run(100);
  return { network, searcher, first, peer };
}

const names = (result: FindResult) => result.closest.map((c) => `${c.id}`.slice(0, 2));

Deno.test("Kademlia: a lookup finds the k closest nodes of the network, nearest first", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(80, { k: 8 });
  for (let i = 0; i < 20; i++) {
    const target = i % 2 ? network.randomId() : nodes[i].node.id;
    const searcher = nodes[(7 * i) % nodes.length];
    const truth = nodes.filter((node) => node !== searcher).map(({ node }) => node.id)
      .sort((x, y) => compareDistance(x, y, target)).slice(0, 8);
    const result = find(network, searcher, target);
    assert.deepEqual(result.closest.slice(0, 8).map((c) => `${c.id}`), truth.map(String));
    assert.ok(result.hops >= 1 && result.elapsed > 0);
  }
});

Deno.test("a lookup returns the k closest nodes that answered, without dead ones", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(80, { k: 8 });
  const alive = nodes.filter((node, i) => {
    node.isDown = i % 3 === 2;
    return !node.isDown;
  });
  const isAlive = (of: Id) => alive.some(({ node }) => node.id.equals(of));
  for (let i = 0; i < 10; i++) {
    const { closest } = find(network, alive[0], network.randomId());
    assert.ok(closest.length >= 8 && closest.every((c) => isAlive(c.id)));
  }
  network.run(10 * 60_000);
  for (let i = 0; i < 10; i++) {
    const target = network.randomId();
    const truth = alive.slice(1).map(({ node }) => node.id)
      .sort((x, y) => compareDistance(x, y, target)).slice(0, 8);
    const found = find(network, alive[0], target).closest.slice(0, 8);
    assert.deepEqual(found.map((c) => `${c.id}`), truth.map(String), "once the dead are forgotten");
  }
});

Deno.test("a lookup continues until the k closest have answered, not only the nearest", () => {
  const { network, searcher, first, peer } = scene();
  const near = ["01", "02", "03", "04", "05", "06"].map((prefix) => peer(prefix));
  first.known.push(...near.slice(0, 1));
  near.forEach((one, i) => one.known.push(...near.slice(i + 1, i + 2)));
  assert.deepEqual(names(find(network, searcher, TARGET)), ["01", "02", "03", "04", "f0"]);
  assert.deepEqual(near.map((one) => one.asked), [1, 1, 1, 1, 0, 0]);
});

Deno.test("at most alpha queries are in flight until the alpha closest have answered", () => {
  for (const alpha of [1, 3, 5]) {
    const { network, searcher, first, peer } = scene({ alpha, k: 20 });
    for (let i = 0; i < 20; i++) first.known.push(peer(i.toString(16).padStart(2, "0")));
    let inFlight = 0, most = 0, answered = 0;
    network.link = (datagram, from) => {
      if (!from.equals(searcher.endpoint)) inFlight--, answered++;
      else if (answered <= alpha) most = Math.max(most, ++inFlight);
      return datagram;
    };
    find(network, searcher, TARGET);
    assert.equal(most, alpha);
  }
});

/** A lookup whose queries the test answers by hand. `seeds` are prefixes of ids, nearest first. */
function byHand(
  {
    k,
    alpha,
    seeds,
    hurryToBits,
    rtts = [],
    lateShare = 0,
    size = null,
    perSubnet = 0,
    networkSize = null,
  }: {
    k: number;
    alpha: number;
    seeds: string[];
    hurryToBits?: number;
    rtts?: number[];
    lateShare?: number;
    size?: number | null;
    perSubnet?: number;
    networkSize?: number | null;
  },
) {
  const watchers = new Map<string, QueryWatcher>();
  const asked: string[] = [];
  let result: LookupResult | undefined;
  const contacts = seeds.map((prefix, i) => {
    const contact = new Contact(id(prefix), endpoint(`1.2.${i + 1}.1:1`), 0);
    contact.answered(0, rtts[i] ?? 20);
    return contact;
  });
  const lookup = new Lookup({
    target: TARGET,
    method: "find_node",
    family: 4,
    k,
    alpha,
    region: new Region(TARGET, { k, size }),
    seeds: contacts,
    bootstrap: [],
    now: 0,
    own: id("ff"),
    subnets: new SubnetLimit(perSubnet),
    lateShare,
    coordinate: new OwnCoordinate(),
    networkSize,
    ask: (candidate, _, watcher) => {
      const name = `${candidate.id}`.slice(0, 2);
      asked.push(name);
      watchers.set(name, watcher);
    },
    hurryToBits,
    onEnd: (ended) => void (result = ended),
  });
  const answer = (
    name: string,
    now = 0,
    told: string[] = [],
    promisedMs: { [name: string]: number } = {},
  ) => {
    const message = decodeAnswer(id(name), told, promisedMs);
    const outcome = {
      kind: "response",
      message,
      rtt: now,
      isRttUnsure: false,
      isSecondTry: false,
    } as const;
    watchers.get(name)!.done(outcome, now);
  };
  lookup.start();
  return { asked, watchers, answer, result: () => result };
}

/** An answer that names nodes. `promisedMs`: the round trips that their coordinates promise to a node at the origin. */
function decodeAnswer(
  of: Id,
  told: string[],
  promisedMs: { [name: string]: number } = {},
): Message {
  const nodes = compactNodes(
    told.map((prefix, i) => ({ id: id(prefix), endpoint: endpoint(`1.1.2.${i + 1}:1`) })),
  );
  const { height: own } = new OwnCoordinate();
  const nx = new Uint8Array(told.length * COORDINATE_BYTES);
  told.forEach((name, i) => {
    const promised = promisedMs[name];
    if (promised === undefined) return;
    writeCoordinate({ x: 0, y: 0, z: 0, height: promised - own }, nx, i * COORDINATE_BYTES);
  });
  const message = decode(encode({ t: "aa", y: "r", r: { id: of.toBytes(), nodes, nx } }));
  assert.ok(typeof message !== "string");
  return message;
}

Deno.test("Kademlia 2.3: when the nearest have answered, the rest of the k closest are asked at once", () => {
  const { asked, answer, result } = byHand({
    k: 5,
    alpha: 2,
    seeds: ["01", "02", "03", "04", "05", "06"],
  });
  assert.deepEqual(asked, ["01", "02"]);
  answer("01");
  assert.deepEqual(asked, ["01", "02", "03"]);
  answer("02");
  assert.deepEqual(asked, ["01", "02", "03", "04", "05"]);
  for (const name of ["05", "04", "03"]) answer(name);
  assert.deepEqual(result()!.closest.map((c) => `${c.id}`.slice(0, 2)), [
    "01",
    "02",
    "03",
    "04",
    "05",
  ]);
});

Deno.test("a slow node among the closest does not keep a lookup from asking the rest", () => {
  const { asked, answer, result } = byHand({
    k: 5,
    alpha: 2,
    seeds: ["01", "02", "03", "04", "05", "06"],
  });
  answer("02");
  assert.deepEqual(asked, ["01", "02", "03"], "one has answered");
  answer("03");
  assert.deepEqual(
    asked,
    ["01", "02", "03", "04", "05"],
    "two have answered, but the lookup still waits for the first",
  );
  for (const name of ["05", "04"]) answer(name);
  assert.equal(result(), undefined, "but its answer counts");
  answer("01", 50, ["00"]);
  assert.deepEqual(asked.slice(5), ["00"]);
  answer("00", 60);
  assert.equal(result()!.closest.length, 6);
});

Deno.test("if many queries are late, a lookup asks more than the k closest at once", () => {
  const prefixes = ["01", "02", "03", "04", "05", "06", "07", "08"];
  const { asked, watchers, answer, result } = byHand({
    k: 4,
    alpha: 3,
    seeds: prefixes,
    lateShare: 0.25,
  });
  assert.equal(asked.length, 4, "alpha, and a third more");
  for (const name of ["01", "02", "03"]) answer(name);
  assert.deepEqual(asked, ["01", "02", "03", "04", "05"], "k, and a third more");
  answer("05");
  assert.equal(result(), undefined, "a closer one may still answer");
  watchers.get("04")!.onLate(10);
  watchers.get("04")!.onOverdue(20);
  assert.equal(result()!.elapsed, 20);
});

Deno.test("a late candidate does not delay the lookup, but its answer is used", () => {
  const { asked, watchers, answer, result } = byHand({ k: 2, alpha: 1, seeds: ["01", "02", "03"] });
  watchers.get("01")!.onLate(60);
  assert.deepEqual(asked, ["01", "02"]);
  answer("02", 80);
  answer("03", 90);
  assert.equal(result(), undefined, "its answer may still come");
  answer("01", 100);
  assert.deepEqual(result()!.closest.map((c) => `${c.id}`.slice(0, 2)), ["01", "02", "03"]);
});

Deno.test("an overdue candidate is not waited for", () => {
  const { watchers, answer, result } = byHand({ k: 2, alpha: 1, seeds: ["01", "02", "03"] });
  answer("01", 10);
  watchers.get("02")!.onLate(60);
  answer("03", 90);
  watchers.get("02")!.onOverdue(150);
  assert.deepEqual(result()!.closest.map((c) => `${c.id}`.slice(0, 2)), ["01", "03"]);
  assert.equal(result()!.elapsed, 150);
  answer("02", 160);
});

Deno.test("the closest node is asked once more before the lookup ends without it", () => {
  const { asked, watchers, answer, result } = byHand({ k: 3, alpha: 3, seeds: ["01", "02", "03"] });
  const first = watchers.get("01")!;
  for (const name of ["02", "03"]) answer(name);
  first.onLate(20);
  first.onOverdue(40);
  assert.deepEqual(asked, ["01", "02", "03", "01"]);
  first.done({ kind: "timeout" }, 45);
  assert.equal(result(), undefined, "the end of the first query is not the end of the second");
  answer("01", 50);
  assert.deepEqual(result()!.closest.map((c) => `${c.id}`.slice(0, 2)), ["01", "02", "03"]);
  assert.equal(result()!.asked.length, 3, "one node asked counts once");
});

Deno.test("the closest node is not asked a third time, and an answer to the first query still counts", () => {
  for (const isSilent of [true, false]) {
    const { asked, watchers, answer, result } = byHand({
      k: 3,
      alpha: 3,
      seeds: ["01", "02", "03"],
    });
    const first = watchers.get("01")!;
    for (const name of ["02", "03"]) answer(name);
    first.onLate(20);
    first.onOverdue(40);
    const second = watchers.get("01")!;
    if (isSilent) {
      second.onLate(60);
      second.onOverdue(80);
    } else {
      const message = decodeAnswer(id("01"), []);
      first.done(
        { kind: "response", message, rtt: 50, isRttUnsure: false, isSecondTry: false },
        50,
      );
    }
    assert.equal(asked.length, 4);
    assert.equal(result()!.closest.length, isSilent ? 2 : 3);
    second.done({ kind: "timeout" }, 1_000);
  }
});

Deno.test("if many queries are late, no node is asked again", () => {
  const { asked, watchers, answer, result } = byHand({
    k: 3,
    alpha: 3,
    seeds: ["01", "02", "03"],
    lateShare: 0.2,
  });
  for (const name of ["02", "03"]) answer(name);
  watchers.get("01")!.onLate(20);
  watchers.get("01")!.onOverdue(40);
  assert.equal(asked.length, 3);
  assert.equal(result()!.closest.length, 2);
});

Deno.test("if all queries are overdue at once, as on a stalled line, the lookup waits for them", () => {
  const { watchers, answer, result } = byHand({
    k: 4,
    alpha: 3,
    seeds: ["01", "02", "03"],
    lateShare: 0.2,
  });
  for (const name of ["01", "02", "03"]) watchers.get(name)!.onLate(10);
  for (const name of ["01", "02", "03"]) watchers.get(name)!.onOverdue(20);
  assert.equal(result(), undefined);
  answer("02", 300);
  assert.deepEqual(result()!.closest.map((c) => `${c.id}`.slice(0, 2)), ["02"]);
  assert.equal(result()!.elapsed, 300);
});

Deno.test("a hurried lookup asks the nodes that lead to the value soonest", () => {
  const { asked, answer } = byHand({
    k: 9,
    alpha: 2,
    seeds: ["40", "01", "03", "05"],
    hurryToBits: 8,
    rtts: [10, 400, 400, 300],
  });
  assert.deepEqual(asked, ["40", "01"], "the near one first, then the one with no hops left");
  answer("40", 10, ["06", "07"]);
  assert.deepEqual(asked.slice(2), ["03"], "the closest one, as in each third query");
  answer("03", 400);
  assert.deepEqual(asked.slice(3), ["06"], "although 05 is closer");
});

/** A hurried lookup that asks one node at a time, and was told of two nodes that seem near and two that may be far. */
function hurried() {
  const lookup = byHand({ k: 9, alpha: 1, seeds: ["40"], hurryToBits: 8, rtts: [10] });
  lookup.answer("40", 10, ["02", "04", "20", "21"], { "20": 1, "21": 2 });
  assert.deepEqual(lookup.asked, ["40", "20"], "the node that seems to be nearest");
  return lookup;
}

Deno.test("every third query of a hurried lookup goes to the closest node and ignores the coordinates", () => {
  const { asked, answer } = hurried();
  answer("20", 5);
  assert.deepEqual(asked.slice(2), ["02"]);
  answer("02", 160);
  assert.deepEqual(asked.slice(3, 4), ["21"]);
});

Deno.test("a hurried lookup ignores the coordinates that others reported once a round trip contradicts one", () => {
  const { asked, answer } = hurried();
  answer("20", 100);
  assert.deepEqual(asked.slice(2), ["02"]);
  answer("02", 160);
  assert.deepEqual(asked.slice(3, 4), ["04"], "and not 21, which seems to be 2 ms away");
});

Deno.test("if far more nodes should be as close as the k closest, a lookup asks all nodes that it knew before", () => {
  // The two closest of these nodes are within an eighth of the id space.
  const scene = (networkSize: number | null) => {
    const lookup = byHand({ k: 2, alpha: 2, seeds: ["10", "1f", "30", "40"], networkSize });
    lookup.answer("10", 10);
    lookup.answer("1f", 10);
    return lookup;
  };
  for (const ordinary of [null, 20]) {
    const { asked, result } = scene(ordinary);
    assert.deepEqual(asked, ["10", "1f"]);
    assert.equal(result()?.isSparse, false);
  }
  const { asked, answer, result } = scene(1_000);
  assert.deepEqual(asked, ["10", "1f", "30", "40"]);
  assert.equal(result(), undefined);
  answer("30", 10, ["01", "02"]);
  for (const name of ["40", "01", "02"]) answer(name, 20);
  assert.deepEqual(result()?.closest.slice(0, 2).map(({ id }) => `${id}`.slice(0, 2)), [
    "01",
    "02",
  ]);
});

Deno.test("other lookups ask the closest nodes, within their slots", () => {
  const { asked, answer } = byHand({
    k: 9,
    alpha: 2,
    seeds: ["40", "01", "03"],
    rtts: [10, 400, 400],
  });
  assert.deepEqual(asked, ["01", "03"]);
  answer("01", 10, ["04", "05", "06"]);
  assert.deepEqual(asked.slice(2), ["04"]);
});

Deno.test("a lookup without any answer ends with an empty result", () => {
  const { network, searcher, first, peer } = scene();
  first.known.push(peer("01"), peer("02"));
  network.link = (datagram, from) => from.equals(searcher.endpoint) ? undefined : datagram;
  const result = find(network, searcher, TARGET);
  assert.deepEqual(names(result), []);
  assert.ok(result.elapsed <= 4_000);
});

Deno.test("a node without contacts ends its lookup at once", () => {
  const network = new VirtualNetwork();
  const result = find(network, network.add(), TARGET);
  assert.deepEqual([result.closest, result.hops, result.elapsed], [[], 0, 0]);
});

Deno.test("a node that answers with a different id than others named does not count", () => {
  const { network, searcher, first, peer } = scene();
  const liar = peer("01"), victim = peer("02"), honest = peer("03");
  first.known.push({ id: liar.id, endpoint: liar.at }, honest);
  liar.known.push(victim);
  liar.id = id("77");
  assert.deepEqual(names(find(network, searcher, TARGET)), ["03", "f0"]);
  assert.equal(victim.asked, 0, "nor are its referrals followed");
});

Deno.test("a node that took an id bound to its address is found under the new id", () => {
  const { network, searcher, first, peer } = scene();
  const moved = peer("01"), next = peer("02"), honest = peer("03");
  first.known.push({ id: moved.id, endpoint: moved.at }, honest);
  moved.known.push(next);
  moved.id = secureId(moved.at, new Uint8Array(20).fill(1));
  const found = find(network, searcher, TARGET);
  assert.deepEqual(names(found), ["02", "03", `${moved.id}`.slice(0, 2), "f0"].sort());
});

Deno.test("nodes that claim our id or refer to us have no effect", () => {
  const { network, searcher, first, peer } = scene();
  const mirror = peer("01"), honest = peer("02");
  first.known.push(
    { id: searcher.node.id, endpoint: mirror.at },
    { id: id("03"), endpoint: searcher.endpoint },
    honest,
  );
  mirror.id = searcher.node.id;
  assert.deepEqual(names(find(network, searcher, TARGET)), ["02", "f0"]);
  assert.equal(mirror.asked, 0);
  assert.equal(searcher.node.tables.size, 2);
});

Deno.test("referrals to a narrower scope than the sender's are not followed", () => {
  const { network, searcher, first, peer } = scene();
  // deno-fmt-ignore
  const narrow = ["127.0.0.1:80", "10.0.0.1:1", "192.168.1.1:53", "169.254.1.1:1", "0.0.0.0:1", "224.0.0.1:1", "1.2.3.4:0"];
  narrow.forEach((at, i) => first.known.push(peer(`0${i}`, at)));
  const honest = peer("0f");
  first.known.push(honest);
  const sent: string[] = [];
  network.link = (datagram, from, to) => {
    if (from.equals(searcher.endpoint)) sent.push(`${to}`);
    return datagram;
  };
  assert.deepEqual(names(find(network, searcher, TARGET)), ["0f", "f0"]);
  assert.deepEqual(sent.filter((to) => narrow.includes(to)), []);
});

Deno.test("an IPv4-mapped address in nodes6 does not bypass the scopes", () => {
  const network = new VirtualNetwork();
  const searcher = network.add({ id: id("ff"), at: ["1.0.0.1:1", "[2a01:db8::1]:1"] });
  const teller = new Peer(network, id("f0"), "[2a01:db8::2]:1");
  searcher.node.ping(teller.at, network.now, () => {});
  network.run(100);
  const mapped = concat(id("01").toBytes(), new Uint8Array(10), new Uint8Array([255, 255]));
  const nodes6 = concat(mapped, compact(endpoint("127.0.0.1:80")));
  teller.answer = (packet) => teller.reply(packet, { nodes6 });
  const sent: string[] = [];
  network.link = (datagram, from, to) => {
    if (!from.equals(teller.at)) sent.push(`${to}`);
    return datagram;
  };
  find(network, searcher, TARGET);
  assert.deepEqual(sent.filter((to) => to !== `${teller.at}`), []);
});

Deno.test("each endpoint counts once, so an address can't fill the shortlist with invented ids", () => {
  const { network, searcher, first, peer } = scene();
  const flooder = peer("01"), honest = peer("60");
  for (let i = 1; i < MAX_REPLY_NODES; i++) {
    first.known.push({ id: id(`00${i.toString(16).padStart(2, "0")}`), endpoint: flooder.at });
  }
  first.known.push(honest);
  const result = find(network, searcher, TARGET);
  assert.deepEqual(names(result), ["60", "f0"]);
  assert.ok(flooder.asked <= 1);
});

Deno.test("a list of nodes whose length is no multiple of 26 is ignored", () => {
  const { network, searcher, first, peer } = scene();
  const near = peer("01");
  first.answer = (packet) =>
    first.reply(packet, { nodes: concat(compactNodes([near]), new Uint8Array(5)) });
  assert.deepEqual(names(find(network, searcher, TARGET)), ["f0"]);
  assert.equal(near.asked, 0);
});

Deno.test("errors count as failures", () => {
  const { network, searcher, first, peer } = scene();
  const failing = peer("01"), honest = peer("02");
  first.known.push(failing, honest);
  failing.answer = (packet) => encode({ t: decodeAny(packet).t, y: "e", e: [202, "no"] });
  const result = find(network, searcher, TARGET);
  assert.deepEqual(names(result), ["02", "f0"]);
  const [failed] = result.asked.filter((candidate) => candidate.state === "failed");
  assert.ok(failed.rtt > 0, "one that answered in time, though");
});

Deno.test("a lookup is bounded even if a liar invents any number of nodes", () => {
  const { network, searcher, first } = scene({ k: 4 });
  let invented = 0;
  // Every address answers, under the id that was announced for it, and names ever closer nodes.
  const invent = (packet: Uint8Array, of: Id): Uint8Array => {
    const nodes = Array.from({ length: 16 }, () => {
      const n = ++invented;
      const closer = id((0xffffff - n).toString(16).padStart(8, "0"));
      const at = endpoint(`2.${n >> 16}.${(n >> 8) & 255}.${n & 255}:1`);
      network.attach(at, (datagram, from) => network.send(invent(datagram, closer), at, from));
      return { id: closer, endpoint: at };
    });
    const r = { id: of.toBytes(), nodes: compactNodes(nodes) };
    return encode({ t: decodeAny(packet).t, y: "r", r });
  };
  first.answer = (packet) => invent(packet, first.id);
  let result: FindResult | undefined;
  searcher.node.find(TARGET, network.now, (found) => result = found);
  network.run(30_000);
  assert.ok(result !== undefined, `it ends; ${invented} nodes were invented`);
  assert.ok(result.asked.length <= 600, `${result.asked.length} were asked`);
});

Deno.test("at most four nodes of a /24 and one of an address are asked, not counting the target itself", () => {
  const { network, searcher, first, peer } = scene({ perSubnet: 2, k: 20 });
  const wanted = peer("00", "7.7.7.1:9");
  const crowd = Array.from({ length: 9 }, (_, i) => peer(`0${i + 1}`, `7.7.7.${i + 1}:1`));
  const same = peer("0b", "7.7.7.1:2");
  const others = ["21", "22"].map((prefix, i) => peer(prefix, `7.7.8.${i + 1}:1`));
  first.known.push(...crowd, same, ...others, wanted);
  const { asked } = find(network, searcher, wanted.id);
  const subnet = asked.filter(({ endpoint }) => endpoint.host.startsWith("7.7.7."));
  assert.ok(subnet.length <= 4 + 1, `${subnet.length} of one /24`);
  assert.ok(asked.some(({ id }) => id?.equals(wanted.id)));
  assert.equal(same.asked, 0);
  assert.ok(others.every((one) => one.asked === 1));
});

/** With k = 9 in a network of 16 nodes, one node is expected in the core, up to 0f, and 9 up to the edge, at 90. */
const CROWD = {
  k: 9,
  alpha: 9,
  size: 16,
  seeds: ["01", "02", "03", "04", "05", "06", "07", "08", "09", "20", "40", "80", "a0"],
};

Deno.test("if the k closest nodes are too close, a lookup asks all nodes within the edge of the region", () => {
  const { asked, answer, result } = byHand(CROWD);
  for (let i = 0; i < asked.length; i++) answer(asked[i]);
  assert.deepEqual(asked.slice(CROWD.k), ["20", "40", "80"]);
  assert.ok(result()!.isCrowded);
  assert.equal(result()!.nodesInCore, 9);
});

Deno.test("if the size of the network is unknown, no target is crowded", () => {
  const { asked, answer, result } = byHand({ ...CROWD, size: null });
  for (let i = 0; i < asked.length; i++) answer(asked[i]);
  assert.equal(asked.length, CROWD.k);
  assert.ok(!result()!.isCrowded);
});

Deno.test("a lookup asks only a few nodes with similar ids, but counts the others too", () => {
  const { asked, answer, result } = byHand({ ...CROWD, perSubnet: 2 });
  for (let i = 0; i < asked.length; i++) answer(asked[i]);
  // 01 to 07 are similar to each other, 08 and 09 are too.
  assert.deepEqual(asked, ["01", "02", "03", "04", "05", "08", "09", "20", "40", "80"]);
  assert.equal(asked.filter((name) => name < "08").length, maxSimilar(CROWD.k));
  assert.ok(result()!.isCrowded);
});

Deno.test("a node that gets a place only later counts once in the core", () => {
  const seeds = ["01", "02", "03", "04", "05", "06", "07", "20"];
  const { asked, answer, watchers, result } = byHand({ ...CROWD, perSubnet: 2, seeds });
  assert.ok(!asked.includes("06"), "five similar nodes have places");
  watchers.get("05")!.done({ kind: "timeout" }, 0);
  answer("01", 0, ["06"]);
  for (const name of ["02", "03", "04", "20", "06"]) answer(name);
  const placed = ["01", "02", "03", "04", "06"], refused = ["07"];
  assert.equal(result()!.nodesInCore, placed.length + refused.length);
});

Deno.test("a closer node takes the place of a farther one with a similar id that was not asked yet", () => {
  const seeds = ["02", "03", "04", "05", "07", "20"];
  const { asked, answer } = byHand({ ...CROWD, alpha: 1, perSubnet: 2, seeds });
  answer("02", 0, ["01"]);
  for (let i = 1; i < asked.length; i++) answer(asked[i]);
  assert.deepEqual(asked.toSorted(), ["01", "02", "03", "04", "05", "20"]);
});

Deno.test("an answer contributes at most as many nodes as one was asked for", () => {
  const { network, searcher, first, peer } = scene();
  const peers = Array.from(
    { length: MAX_REPLY_NODES + 1 },
    (_, i) => peer(`8${i.toString(16).padStart(2, "0")}`, `3.3.3.${i + 1}:1`),
  );
  const nearest = peer("01");
  first.known.push(...peers.slice(0, MAX_REPLY_NODES), nearest);
  find(network, searcher, TARGET);
  assert.equal(nearest.asked, 0);
});
