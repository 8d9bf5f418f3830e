// Tests how a reachable node serves nodes behind NATs, and which requests it refuses.

import assert from "node:assert/strict";
import type { Id } from "../../../src/krpc/id.ts";
import {
  compact,
  decodeAny,
  type Decoded,
  encode,
  endpoint,
  id,
  query,
  text,
  type Value,
} from "../../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNodeOptions } from "../virtual_network.ts";

const ASKER = id("a5c3"), HIDDEN = id("5e"), CONTACT = id("c0");
type Arguments = { [key: string]: Value };

/** Strangers must not be pinged. */
const QUIET = { ro: 1 };

/** A node that introduces others, a hidden node that is registered there, and a node that wants to meet it. */
class Scene {
  readonly network = new VirtualNetwork();
  readonly server;
  readonly asker: Stranger;
  readonly hidden: Stranger;
  readonly bystander: Stranger;

  constructor(options: VirtualNodeOptions = {}) {
    this.server = this.network.add({ at: "5.5.5.5:6881", ...options });
    this.asker = new Stranger(this.network, "6.6.6.6:4000");
    this.hidden = new Stranger(this.network, "7.7.7.7:5000");
    this.bystander = new Stranger(this.network, "8.8.8.8:6000");
    const token = this.token(this.hidden);
    const args = { info_hash: HIDDEN.toBytes(), port: 1, implied_port: 1, token };
    if (options.readOnly !== true) this.ask(this.hidden, "announce_peer", args, HIDDEN);
    for (const { received } of [this.asker, this.hidden]) received.length = 0;
  }

  ask(from: Stranger, method: string, args: Arguments, of: Id = ASKER): Decoded {
    return from.ask(query(method, of, args, QUIET), this.server.endpoint);
  }

  /** Sends a packet that gets no answer. */
  tell(from: Stranger, method: string, args: Arguments, of: Id = ASKER): void {
    from.send(query(method, of, args, QUIET), this.server.endpoint);
    this.network.run(100);
  }

  token(from: Stranger): Uint8Array {
    return this.ask(from, "get_peers", { info_hash: HIDDEN.toBytes() })?.r.token;
  }

  /** The arguments for a message that is to be forwarded to the hidden node. */
  forward(inner: Uint8Array = INTRODUCTION, more: Arguments = {}): Arguments {
    const values = [compact(this.hidden.at)];
    return { target: HIDDEN.toBytes(), token: this.token(this.asker), values, v: inner, ...more };
  }

  code(args: Arguments, from = this.asker): number {
    const reply = this.ask(from, "dm_pass", args);
    return text(reply.y) === "e" ? reply.e[0] : 0;
  }

  /** A contact of the node that runs this project's software. */
  befriend(at: string, of: Id): Stranger {
    const friend = new Stranger(this.network, at);
    friend.answer = (packet) => {
      const { t, y } = decodeAny(packet);
      const isQuery = text(y) === "q";
      return isQuery ? encode({ t, y: "r", v: "DM\x01\x00", r: { id: of.toBytes() } }) : undefined;
    };
    this.server.node.ping(friend.at, this.network.now, () => {});
    this.network.run(100);
    friend.received.length = 0;
    return friend;
  }
}

const INTRODUCTION = query("dm_punch", ASKER, { nt: 2 });
const PING = query("ping", ASKER);

const last = (stranger: Stranger): Decoded => decodeAny(stranger.received.at(-1)!.packet);

Deno.test("dm_pass: an introduction reaches a node that is announced here, with its origin and a way back", () => {
  const scene = new Scene();
  const { asker, hidden, server } = scene;
  const reply = scene.ask(asker, "dm_pass", scene.forward());
  assert.deepEqual([text(reply.y), reply.r.id], ["r", server.node.id.toBytes()]);
  assert.equal(hidden.received.length, 1);
  const { y, q, a } = last(hidden);
  assert.deepEqual([text(y), text(q)], ["q", "dm_pass"]);
  assert.deepEqual(a.values, [compact(asker.at)]);
  assert.deepEqual(a.v, INTRODUCTION, "the unchanged message");
  assert.equal(a.rt.length, 8);
  assert.deepEqual([a.token, a.target], [undefined, undefined]);
});

Deno.test("dm_pass: the answer goes back the same way, and gets no reply itself", () => {
  const scene = new Scene();
  const { asker, hidden } = scene;
  scene.ask(asker, "dm_pass", scene.forward());
  const { rt } = last(hidden).a;
  const answer = encode({ t: "aa", y: "r", r: { id: HIDDEN.toBytes(), nt: 2 } });
  const before = [asker.received.length, hidden.received.length];
  scene.tell(hidden, "dm_pass", { token: rt, values: [compact(asker.at)], v: answer }, HIDDEN);
  assert.deepEqual([asker.received.length, hidden.received.length], [before[0] + 1, before[1]]);
  const { a } = last(asker);
  assert.deepEqual([a.v, a.values, a.rt], [answer, [compact(hidden.at)], undefined]);
});

Deno.test("dm_pass: a way back is valid between its two nodes only, for answers only, and for a limited time", () => {
  const scene = new Scene();
  const { asker, hidden, bystander, network } = scene;
  scene.ask(asker, "dm_pass", scene.forward());
  const { rt } = last(hidden).a;
  const answer = encode({ t: "aa", y: "r", r: { id: HIDDEN.toBytes() } });
  const back = (args: Arguments, from = hidden) => {
    const before = network.nodes[0].node.traffic.out.messages;
    scene.tell(from, "dm_pass", { token: rt, values: [compact(asker.at)], v: answer, ...args });
    return network.nodes[0].node.traffic.out.messages - before;
  };
  assert.equal(back({}), 1);
  assert.equal(back({ values: [compact(bystander.at)] }), 0, "to another");
  assert.equal(back({ values: [compact(asker.at.withPort(1))] }), 0, "to another port");
  assert.equal(back({}, bystander), 0, "from another");
  assert.equal(back({ v: PING }), 0, "a query");
  const token = scene.token(hidden);
  assert.equal(back({ token }), 0, "with another token");
  network.run(16 * 60_000);
  assert.equal(back({}), 0, "later");
});

Deno.test("dm_pass: nothing is forwarded without a token, to nodes that are not announced, or to another family", () => {
  const scene = new Scene();
  const { hidden, bystander, asker } = scene;
  const to = (stranger: Stranger) => ({ values: [compact(stranger.at)] });
  assert.equal(scene.code(scene.forward()), 0);
  const refused: [Arguments, number][] = [
    [{ token: "12345678" }, 203],
    [{ token: scene.token(hidden) }, 203],
    [{ token: "" }, 203],
    [to(bystander), 201],
    [{ values: [compact(hidden.at.withPort(5001))] }, 201],
    [{ target: id("5f").toBytes() }, 201],
    [{ values: [] }, 203],
    [{ values: ["12345"] }, 203],
    [{ values: [compact(endpoint("[2a01:db8::7]:5000"))] }, 203],
    [{ v: "" }, 203],
    [{ v: "no message" }, 203],
    [{ v: 5 }, 203],
    [{ v: encode({ t: "aa", y: "r", r: { id: ASKER.toBytes() } }) }, 203],
    [{ v: query("ping", ASKER, { x: new Uint8Array(1_300) }) }, 203],
  ];
  for (const [more, code] of refused) {
    const before = [hidden.received.length, bystander.received.length];
    assert.equal(scene.code(scene.forward(INTRODUCTION, more)), code, JSON.stringify(more));
    assert.deepEqual([hidden.received.length, bystander.received.length], before);
  }
  assert.equal(scene.code(scene.forward(), bystander), 203, "with another's token");
  assert.ok(asker.received.length > 0);
});

Deno.test("dm_pass: a query from the Internet is not forwarded into a private network", () => {
  const scene = new Scene();
  const near = new Stranger(scene.network, "192.168.1.5:7000");
  const token = scene.token(near);
  scene.ask(near, "announce_peer", { info_hash: HIDDEN.toBytes(), port: 7000, token }, HIDDEN);
  near.received.length = 0;
  const args = scene.forward(INTRODUCTION, { values: [compact(near.at)] });
  assert.equal(scene.code(args), 201);
  assert.deepEqual(near.received, []);
});

Deno.test("dm_pass: a forwarded message is never longer than the message that caused it", () => {
  const scene = new Scene();
  const { asker, hidden, server } = scene;
  // The shortest possible query: one byte of transaction id, and no version.
  const { token, target, values, v } = scene.forward();
  const terse = encode({
    t: "x",
    y: "q",
    q: "dm_pass",
    a: { id: ASKER.toBytes(), target, token, values, v },
  });
  asker.ask(terse, server.endpoint);
  const [{ packet }] = hidden.received;
  assert.ok(packet.length <= terse.length, `${packet.length} for ${terse.length}`);
});

Deno.test("dm_pass: introductions are limited by a rate for all senders, and for each one", () => {
  const scene = new Scene();
  const { hidden, network, server } = scene;
  const askers = [1, 2, 3, 4, 5, 6].map((n) => new Stranger(network, `6.6.6.${n}:4000`));
  const packets = askers.map((asker) =>
    query("dm_pass", ASKER, { ...scene.forward(), token: scene.token(asker) }, QUIET)
  );
  const passed = (who: readonly number[]) => {
    const before = hidden.received.length;
    for (const i of who) for (let n = 0; n < 60; n++) askers[i].send(packets[i], server.endpoint);
    network.run(100);
    return hidden.received.length - before;
  };
  assert.equal(passed([0]), 10, "a quarter of all");
  const others = passed([1, 2, 3, 4, 5]);
  assert.ok(others >= 30 && others <= 32, `${others}`);
  assert.ok(server.node.traffic.dropped.over_budget! >= 300);
  network.run(1_000);
  assert.ok(passed([0]) <= 3);
  assert.ok(passed([1, 2, 3, 4, 5]) <= 8);
});

Deno.test("RELAY: messages other than introductions are limited by bytes, or not forwarded at all", () => {
  const none = new Scene({ relayRate: 0 });
  assert.equal(none.code(none.forward()), 0, "an introduction");
  assert.equal(none.code(none.forward(PING)), 202);
  const some = new Scene({ relayRate: 1_000 });
  const size = query("dm_pass", ASKER, some.forward(PING), QUIET).length;
  let passed = 0;
  for (let i = 0; i < 100; i++) if (some.code(some.forward(PING)) === 0) passed++;
  // Each request needed 30 ms, and another 30 ms to get the token.
  const allowed = (8_000 + 100 * 60) / size;
  assert.ok(passed > 0.8 * allowed && passed <= allowed + 1, `${passed} of ${allowed}`);
});

Deno.test("dm_probe: a contact at another address sends the probe, and the reply names it", () => {
  const scene = new Scene();
  const friend = scene.befriend("4.4.4.4:4444", CONTACT);
  const args = { token: scene.token(scene.asker), values: [compact(scene.asker.at)] };
  const reply = scene.ask(scene.asker, "dm_probe", args);
  assert.deepEqual(reply.r.values, [compact(friend.at)]);
  const { q, a } = last(friend);
  assert.deepEqual([text(q), a.values, a.token], [
    "dm_probe",
    [compact(scene.asker.at)],
    undefined,
  ]);
  assert.ok(friend.received[0].packet.length <= query("dm_probe", ASKER, args).length + 10);
});

Deno.test("dm_probe: only the asker's own address is probed, and only with a token", () => {
  const scene = new Scene();
  const friend = scene.befriend("4.4.4.4:4444", CONTACT);
  const { bystander, asker } = scene;
  const args = { token: scene.token(asker), values: [compact(bystander.at)] };
  scene.ask(asker, "dm_probe", args);
  assert.deepEqual(last(friend).a.values, [compact(asker.at)]);
  friend.received.length = 0;
  const refused = scene.ask(asker, "dm_probe", { ...args, token: "12345678" });
  assert.equal(refused.e[0], 203);
  assert.deepEqual(friend.received, []);
});

Deno.test("dm_probe: a request that is shorter than the packets it would cause is not served", () => {
  const scene = new Scene();
  const friend = scene.befriend("4.4.4.4:4444", CONTACT);
  const { asker, server } = scene;
  const a = { id: ASKER.toBytes(), token: scene.token(asker) };
  const terse = encode({ t: "", y: "q", q: "dm_probe", a, ...QUIET });
  const before = asker.received.length;
  asker.send(terse, server.endpoint);
  scene.network.run(100);
  assert.deepEqual([friend.received.length, asker.received.length - before], [0, 0]);
  assert.equal(server.node.traffic.dropped.would_amplify, 1);
});

Deno.test("dm_probe: a node without other contacts probes from an extra port of its own", () => {
  const scene = new Scene();
  const { asker, server } = scene;
  const before = asker.received.length;
  const args = { token: scene.token(asker), values: [compact(asker.at)] };
  assert.equal(scene.ask(asker, "dm_probe", args).r.values, undefined);
  scene.network.run(100);
  const probe = asker.received.slice(before).find(({ from }) => from.port !== 6881)!;
  assert.ok(probe.from.sameAddress(server.endpoint));
  const { q, a } = decodeAny(probe.packet);
  assert.deepEqual([text(q), Object.keys(a)], ["dm_probe", ["id"]]);
  const alone = new Scene({ isWithoutSockets: true });
  const token = alone.token(alone.asker);
  assert.equal(
    alone.ask(alone.asker, "dm_probe", { token, values: [compact(asker.at)] }).e[0],
    202,
  );
});

Deno.test("dm_probe: probes are sent for contacts only, never into a private network, and at a limited rate", () => {
  const scene = new Scene();
  const friend = scene.befriend("4.4.4.4:4444", CONTACT);
  const { bystander, asker, server, network } = scene;
  const near = new Stranger(network, "192.168.1.5:7000");
  const probe = (from: Stranger, of: Id, at: Stranger) => {
    const before = at.received.length;
    scene.tell(from, "dm_probe", { values: [compact(at.at)] }, of);
    return at.received.length - before;
  };
  assert.equal(probe(friend, CONTACT, bystander), 1);
  assert.ok(
    bystander.received[0].packet.length <=
      query("dm_probe", CONTACT, { values: ["123456"] }).length + 10,
  );
  assert.notEqual(bystander.received[0].from.port, 6881, "from its extra port");
  assert.equal(probe(asker, CONTACT, bystander), 0, "a stranger");
  assert.equal(probe(friend, ASKER, bystander), 0, "a contact under another id");
  assert.equal(probe(friend, CONTACT, near), 0, "into a private network");
  assert.ok(server.node.traffic.dropped.not_introduced! >= 3);
  const before = bystander.received.length;
  for (let i = 0; i < 100; i++) {
    friend.send(query("dm_probe", CONTACT, { values: [compact(bystander.at)] }), server.endpoint);
  }
  network.run(100);
  assert.ok(bystander.received.length - before <= 20);
});

Deno.test("a read-only node forwards nothing and asks for no probes", () => {
  const scene = new Scene({ readOnly: true });
  const before = scene.network.nodes[0].node.traffic.out.messages;
  for (const method of ["dm_pass", "dm_probe", "dm_punch"]) {
    const values = [compact(scene.hidden.at)];
    const args = { token: "12345678", target: HIDDEN.toBytes(), values, v: INTRODUCTION };
    scene.tell(scene.asker, method, args);
  }
  assert.equal(scene.network.nodes[0].node.traffic.out.messages, before);
});
