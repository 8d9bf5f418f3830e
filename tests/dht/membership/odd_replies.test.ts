// Bootstrap nodes whose replies are odd: which of them become contacts, and what the node says about the others.

import assert from "node:assert/strict";
import type { BootstrapEvent } from "../../../src/dht/membership/membership.ts";
import { problemOf } from "../../../src/runtime/reports/unusable_reply.ts";
import {
  concat,
  decodeAny,
  encode,
  endpoint,
  latin1,
  PADDING,
  query,
  text,
  type Value,
} from "../../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const AT = "10.9.9.1:7000";

type Reply = { [key: string]: Value } & { r: { [key: string]: Value } };

/** Changes a reply: returns the datagram or, for other packets, sends them itself. */
type Change = (reply: Reply) => Uint8Array | undefined;

/** A node whose bootstrap node changes its replies like this. */
function scene(change: Change): { server: VirtualNode; network: VirtualNetwork; odd: Stranger } {
  const network = new VirtualNetwork();
  const server = network.add();
  const odd = new Stranger(network, AT);
  const id = network.randomId().toBytes();
  odd.answer = (packet) => {
    const { t, y, q } = decodeAny(packet);
    if (text(y) !== "q") return undefined;
    const r: Reply["r"] = { id };
    if (text(q) !== "ping") r.nodes = "";
    if (text(q).startsWith("get")) r.token = "token";
    return change({ t, y: "r", r });
  };
  server.node.membership.join([odd.at], [], network.now);
  network.run(3_000);
  return { server, network, odd };
}

/** Replaces values of the dictionary `r`. */
function body(values: Reply["r"]): Change {
  return (reply) => encode({ ...reply, r: { ...reply.r, ...values } });
}

/** Replaces values of the message. */
function top(values: { [key: string]: Value }): Change {
  return (reply) => encode({ ...reply, ...values });
}

function without(key: string): Change {
  return (reply) =>
    encode(Object.fromEntries(Object.entries(reply).filter(([name]) => name !== key)));
}

/** Puts raw bencode in front of the other members of `r`. */
function raw(members: string): Change {
  return ({ t, r }) => {
    const id = concat(latin1("2:id20:"), r.id as Uint8Array);
    const head = latin1("d1:rd"),
      tail = concat(latin1("e1:t4:"), t as Uint8Array, latin1("1:y1:re"));
    return concat(head, latin1(members), id, tail);
  };
}

const USABLE: Record<string, Change> = {
  "a byte after the end": (reply) => concat(encode(reply), latin1("\n")),
  "as many bytes after the end as a packet holds": (reply) =>
    concat(encode(reply), new Uint8Array(1_200)),
  "two messages": (reply) => concat(encode(reply), encode(reply)),
  "keys out of order": ({ t, r }) =>
    concat(latin1("d1:y1:r1:r"), encode(r), latin1("1:t4:"), t as Uint8Array, latin1("e")),
  "a key twice": raw("2:id3:abc"),
  "lengths with leading zeros": raw("1:x002:ab"),
  "nodes of a wrong length": body({ nodes: "n".repeat(27) }),
  "nodes that are a number": body({ nodes: 3 }),
  "nodes that are a list": body({ nodes: ["n".repeat(26)] }),
  "nodes at addresses that can't be used": body({
    nodes: "n".repeat(20) + "\xff\xff\xff\xff\x1a\xe1",
  }),
  "values that are a string": body({ values: "\x7f\x00\x00\x01\x00\x01" }),
  "values that are a dictionary": body({ values: { a: "x" } }),
  "values of wrong lengths and types": body({ values: [1, [2], { a: 3 }, "abc"] }),
  "a token that is a number": body({ token: 5 }),
  "a token of 1,000 bytes": body({ token: "t".repeat(1_000) }),
  "an address of 4 bytes": top({ ip: "\x7f\x00\x00\x01" }),
  "an error besides the answer": top({ e: [201, "x"] }),
  "arguments besides the answer": top({ q: "ping", a: { id: "i".repeat(20) } }),
  "a version that is a number": top({ v: 7 }),
  "a version of 1,000 bytes": top({ v: "v".repeat(1_000) }),
  "a read-only flag of 0": top({ ro: 0 }),
  "deep nesting outside of known members": top({ x: [[[[[[[[1]]]]]]]] }),
};

for (const [name, change] of Object.entries(USABLE)) {
  Deno.test(`a node that sends ${name} becomes a contact`, () => {
    const { server } = scene(change);
    assert.equal(server.node.tables.size, 1);
  });
}

const ID = /without a valid node id/,
  NOT_KRPC = /not KRPC messages/,
  OTHER = /another transaction id/;

/** Replies of no use, with what the node says about them. */
const USELESS: Record<string, [change: Change, problem: RegExp]> = {
  "no id": [(reply) => encode({ ...reply, r: { nodes: "" } }), ID],
  "an id of 19 bytes": [body({ id: "i".repeat(19) }), ID],
  "an id of 21 bytes": [body({ id: "i".repeat(21) }), ID],
  "an id that is a number": [body({ id: 7 }), ID],
  "a negative length": [raw("1:x-2:ab"), NOT_KRPC],
  "a length that no packet has": [raw("1:x99999999999999999999:ab"), NOT_KRPC],
  "an empty number": [raw("1:xie"), NOT_KRPC],
  "a key that is a number": [raw("i5e1:x"), NOT_KRPC],
  "half a message": [(reply) => encode(reply).subarray(0, 20), NOT_KRPC],
  "an empty datagram": [() => new Uint8Array(0), NOT_KRPC],
  "a newline before the message": [(reply) => concat(latin1("\n"), encode(reply)), NOT_KRPC],
  "no type": [without("y"), /neither queries nor replies/],
  "a type that is a number": [top({ y: 1 }), /neither queries nor replies/],
  "a list instead of values": [
    (reply) => encode({ ...reply, r: [] as Value[] } as never),
    /neither/,
  ],
  "no transaction id": [without("t"), /without a transaction id/],
  "a transaction id that is a number": [top({ t: 12 }), /without a transaction id/],
  "a transaction id of 1,000 bytes": [top({ t: "t".repeat(1_000) }), /without a transaction id/],
  "another transaction id": [top({ t: "abcd" }), OTHER],
  "half of the transaction id": [
    (reply) => encode({ ...reply, t: (reply.t as Uint8Array).slice(0, 2) }),
    OTHER,
  ],
  "a padded transaction id": [
    (reply) => encode({ ...reply, t: concat(reply.t as Uint8Array, PADDING.slice(0, 8)) }),
    OTHER,
  ],
  "an error": [({ t }) => encode({ t, y: "e", e: [202, "busy\x1b"] }), /error 202 \(busy\?\)/],
  "an error that is a text": [({ t }) => encode({ t, y: "e", e: "busy" }), /error 0 \(no text\)/],
  "an error that is an empty list": [
    ({ t }) => encode({ t, y: "e", e: [] }),
    /error 0 \(no text\)/,
  ],
  "a read-only flag": [top({ ro: 1 }), /answers no queries/],
};

for (const [name, [change, problem]] of Object.entries(USELESS)) {
  Deno.test(`a node that sends ${name} becomes no contact, and the cause is known`, () => {
    const { server } = scene(change);
    assert.equal(server.node.tables.size, 0);
    const { state, unusable } = server.events.findLast(({ type }) =>
      type === "bootstrap"
    ) as BootstrapEvent;
    assert.equal(state, "failed");
    assert.match(problemOf(unusable!), problem);
    assert.match(problemOf(unusable!), /^10\.9\.9\.1:7000 /);
  });
}

Deno.test("a bootstrap node that answers from another port is named with that port", () => {
  const elsewhere = endpoint("10.9.9.1:7001");
  const { network, odd, server } = scene(() => undefined);
  odd.answer = (packet, from) => {
    network.send(
      encode({ t: decodeAny(packet).t, y: "r", r: { id: "i".repeat(20) } }),
      elsewhere,
      from,
    );
    return undefined;
  };
  network.run(30_000);
  const { unusable } = server.events.findLast(({ type }) => type === "bootstrap") as BootstrapEvent;
  assert.match(problemOf(unusable!), /^10\.9\.9\.1:7001 answers from another port/);
});

Deno.test("a usable answer removes the report about earlier unusable ones", () => {
  let isOdd = true;
  const { server, network } = scene((reply) => isOdd ? body({ id: 7 })(reply) : encode(reply));
  isOdd = false;
  network.run(30_000);
  const { state, unusable } = server.events.findLast(({ type }) =>
    type === "bootstrap"
  ) as BootstrapEvent;
  assert.equal(state, "joined");
  assert.equal(unusable, undefined);
});

Deno.test("a bootstrap node that falls silent is no longer reported for its earlier replies", () => {
  let isSilent = false;
  const { server, network } = scene((reply) => isSilent ? undefined : body({ id: 7 })(reply));
  isSilent = true;
  network.run(10 * 60_000);
  const { state, unusable } = server.events.findLast(({ type }) =>
    type === "bootstrap"
  ) as BootstrapEvent;
  assert.equal(state, "failed");
  assert.equal(unusable, undefined);
});

Deno.test("responses without a valid id are counted", () => {
  const { server } = scene(body({ id: 7 }));
  assert.ok(server.node.traffic.dropped.no_id! > 0);
});

Deno.test("a node that answers each ping with a ping is not pinged again at once", () => {
  const network = new VirtualNetwork();
  const server = network.add();
  const echo = new Stranger(network, AT);
  const id = network.randomId();
  let pings = 0;
  echo.answer = (packet) => {
    if (text(decodeAny(packet).y) !== "q") return undefined;
    pings++;
    return query("ping", id);
  };
  echo.send(query("ping", id), server.endpoint);
  network.run(60_000);
  assert.ok(pings > 0);
  assert.ok(pings <= 4, `${pings}: one ping and its repetition, at most twice`);
});

Deno.test("an address that answers under one id after another is counted, with its changes", () => {
  const PINGS = 5;
  let ids = 0;
  const { server, network, odd } = scene((reply) => {
    const id = new Uint8Array(20).fill(++ids);
    return encode({ ...reply, r: { ...reply.r, id } });
  });
  const before = server.node.changingIds(network.now).changes;
  for (let i = 0; i < PINGS; i++) {
    server.node.ping(odd.at, network.now, () => {});
    network.run(1_000);
  }
  const { addresses, worst, changes } = server.node.changingIds(network.now);
  assert.deepEqual([addresses, worst], [1, AT]);
  assert.ok(changes >= before + PINGS, `${before}, then ${changes}`);
});
