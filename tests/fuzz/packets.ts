// Packets for fuzzing: valid seeds of every type, and changes that make them hostile.

import fc from "fast-check";
import { immutableItem, mutableTarget, signedBytes } from "../../src/dht/items/item.ts";
import { bencodeBytes, Scanner } from "../../src/krpc/bencode.ts";
import { Identity, itemCrypto } from "../../src/runtime/identity/crypto.ts";
import {
  compact,
  compactNodes,
  concat,
  decodeAny,
  type Decoded,
  encode,
  endpoint,
  id,
  latin1,
  type Value,
} from "../packets.ts";

/** The number of packets in one run of the suite. CI sends more. */
export const FUZZ_PACKETS = Number(Deno.env.get("FUZZ_PACKETS") ?? 20_000);

export const SENDER = id("a5c3");
export const TARGET = id("1234");
export const VALUE = bencodeBytes(latin1("Hello World!"));
const OWNER = new Identity(new Uint8Array(32).fill(3));
export const SALT = latin1("foobar");
export const ITEM = {
  target: mutableTarget(itemCrypto, OWNER.publicKey, SALT),
  value: VALUE,
  signed: {
    publicKey: OWNER.publicKey,
    salt: SALT,
    seq: 4,
    signature: OWNER.sign(signedBytes(SALT, 4, VALUE)),
  },
};
export const IMMUTABLE = immutableItem(itemCrypto, VALUE);

type Dictionary = { [key: string]: Value };

const { publicKey: k, signature: sig } = ITEM.signed;
const peers = ["1.2.3.4:5", "10.0.0.1:6881", "[2001:db8::1]:5"].map(endpoint);
const NODES = compactNodes(
  Array.from({ length: 8 }, (_, i) => ({ id: id(`1${i}`), endpoint: endpoint(`10.1.1.${i}:1`) })),
);
const NODES6 = compactNodes([{ id: id("17"), endpoint: endpoint("[fd00::7]:1") }]);

/** Arguments of every method. The node under test accepts `token`. */
function queries(token: Uint8Array): [string, Dictionary][] {
  const target = TARGET.toBytes();
  return [
    ["ping", {}],
    ["find_node", { target, want: ["n4", "n6"], nn: 20 }],
    ["get_peers", { info_hash: target }],
    ["announce_peer", { info_hash: target, port: 6881, implied_port: 1, token }],
    ["announce_peer", { info_hash: target, port: 6881, seed: 1, token }],
    ["get_peers", { info_hash: target, noseed: 1, scrape: 1 }],
    ["get", { target: ITEM.target.toBytes(), ss: 1 }],
    ["get", { target: IMMUTABLE.target.toBytes(), seq: 3 }],
    ["put", { v: "Hello World!", nr: 2, tl: 7200, token }],
    ["get", { target, rm: 1 }],
    ["put", { v: ["a", { b: 1 }], token }],
    ["put", { v: "Hello World!", k, sig, salt: SALT, seq: 4, cas: 3, token }],
    ["sample_infohashes", { target }],
    ["vote", { target, info_hash: target }],
  ];
}

export function queryPackets(token: Uint8Array): Uint8Array[] {
  return queries(token).map(([q, a]) =>
    encode({ t: "aa", y: "q", q, v: "LT\x02\x01", a: { id: SENDER.toBytes(), ...a } })
  );
}

/** Answers to all queries of a node, from a node with this id. */
export function replyPackets(t: Uint8Array, sender: Uint8Array): Uint8Array[] {
  const item = { k, sig, seq: 4, salt: SALT, v: "Hello World!" };
  const bodies: Dictionary[] = [
    {},
    { nodes: NODES, nodes6: NODES6, token: "token" },
    { nodes: NODES, values: peers.map(compact), token: "token" },
    { ...item, nodes: NODES, token: "token" },
    { seq: 4, nodes: NODES, token: "token" },
    { v: "Hello World!", nodes: NODES, token: "token" },
    { samples: NODES.subarray(0, 200), num: 10, interval: 300, nodes: NODES },
  ];
  return [
    ...bodies.map((r) => encode({ t, y: "r", ip: compact(peers[0]), r: { id: sender, ...r } })),
    encode({ t, y: "e", e: [203, "Protocol Error"] }),
  ];
}

/** One change of a packet's bytes. Its numbers are taken modulo the number of choices. */
export interface Change {
  readonly kind: (typeof KINDS)[number];
  readonly at: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

const KINDS = [
  // Most changes of bytes destroy the message, so half of the changes keep the structure.
  "value",
  "value",
  "value",
  "value",
  "value",
  "value",
  "flip",
  "cut",
  "truncate",
  "insert",
  "overwrite",
  "splice",
  "length",
  "type",
  "nest",
  "integer",
  "duplicate",
] as const;

export const changes: fc.Arbitrary<Change[]> = fc.array(
  fc.record({
    kind: fc.constantFrom(...KINDS),
    at: fc.nat(2_000),
    count: fc.nat(255),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }),
  }),
  { minLength: 1, maxLength: 3 },
);

/** The number of a seed and its changes, or sometimes random bytes. */
export const mutations = fc.record({ seed: fc.nat(1_000), other: fc.nat(1_000), changes });

export type Mutation = typeof mutations extends fc.Arbitrary<infer T> ? T : never;

export function mutate(
  seeds: readonly Uint8Array[],
  { seed, other, changes }: Mutation,
): Uint8Array {
  const from = seeds[other % seeds.length];
  return changes.reduce(
    (packet, change) => apply(packet, change, from),
    seeds[seed % seeds.length],
  );
}

const TYPES = ["i5e", "0:", "1:x", "le", "de", "l1:xe", "d1:xi1ee", "20:abcdefghij0123456789"].map(
  latin1,
);
const INTEGERS = [
  "i-1e",
  "i0e",
  "i-0e",
  "i65536e",
  "i9007199254740991e",
  "i9007199254740992e",
  "i-9223372036854775808e",
  `i${"9".repeat(60)}e`,
  "ie",
  "i-e",
].map(latin1);

function apply(
  packet: Uint8Array,
  { kind, at, count, bytes }: Change,
  other: Uint8Array,
): Uint8Array {
  const place = at % (packet.length + 1);
  const [head, tail] = [packet.subarray(0, place), packet.subarray(place)];
  switch (kind) {
    case "value":
      return replaceValue(packet, at, count, bytes);
    case "flip": {
      const flipped = packet.slice();
      if (place < flipped.length) flipped[place] ^= 1 << (count & 7);
      return flipped;
    }
    case "cut":
      return concat(head, tail.subarray(count));
    case "truncate":
      return head;
    case "insert":
      return concat(head, bytes, tail);
    case "overwrite":
      return concat(head, bytes, tail.subarray(bytes.length));
    case "splice":
      return concat(head, other.subarray(count % other.length), tail);
    case "length":
      return replaceString(
        packet,
        at,
        (length, content) => concat(latin1(`${Math.max(0, length + (count & 15) - 7)}:`), content),
      );
    case "type":
      return replaceString(packet, at, () => TYPES[count % TYPES.length]);
    case "integer":
      return replaceString(packet, at, () => INTEGERS[count % INTEGERS.length]);
    case "nest": {
      const [open, close] = count & 1 ? ["l", "e"] : ["d1:x", "e"];
      const depth = count & 2 ? count : 200;
      return replaceString(packet, at, () => latin1(open.repeat(depth) + close.repeat(depth)));
    }
    case "duplicate":
      return concat(packet, packet.subarray(count % 2));
  }
}

/** Replaces one of the packet's strings. `replace` gets its length and content. */
function replaceString(
  packet: Uint8Array,
  at: number,
  replacement: (length: number, content: Uint8Array) => Uint8Array,
): Uint8Array {
  const text = String.fromCharCode(...packet);
  const strings = [...text.matchAll(/\d+(?=:)/g)];
  if (strings.length === 0) return packet;
  const { index, 0: digits } = strings[at % strings.length];
  const length = Number(digits), start = index + digits.length + 1;
  const content = packet.subarray(start, start + length);
  return concat(
    packet.subarray(0, index),
    replacement(length, content),
    packet.subarray(start + length),
  );
}

const VALUES: readonly Value[] = [
  ...[-1, 0, 1, 2, 65535, 65536, 2 ** 31, Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER],
  ...[0, 1, 4, 6, 18, 19, 20, 21, 26, 32, 38, 64, 65, 76, 1001].map((n) =>
    new Uint8Array(n).fill(97)
  ),
  ...["ping", "put", "get", "q", "r", "e", "n4", "n6"],
  ...[[], {}, [[]], [1, 2], ["n4", 5], [203], ["x", 203], { id: 5 }, { "": "" }],
];

/** Replaces one of the packet's values, or moves it to another key. The result is still bencode. */
function replaceValue(
  packet: Uint8Array,
  at: number,
  count: number,
  bytes: Uint8Array,
): Uint8Array {
  // An earlier change may have broken the packet, and some broken packets keep the other decoder busy forever.
  const scanner = new Scanner(packet);
  if (!scanner.skip() || scanner.pos !== packet.length) return packet;
  let tree: Decoded;
  try {
    tree = decodeAny(packet);
  } catch {
    return packet;
  }
  const slots: [Decoded, string][] = [];
  const walk = (node: Decoded) => {
    if (typeof node !== "object" || node === null || node instanceof Uint8Array) return;
    for (const key of Object.keys(node)) {
      slots.push([node, key]);
      walk(node[key]);
    }
  };
  walk(tree);
  if (slots.length === 0) return packet;
  const [parent, key] = slots[at % slots.length];
  const choice = count % (VALUES.length + 3);
  if (choice < VALUES.length) parent[key] = VALUES[choice];
  else if (choice === VALUES.length) parent[key] = bytes;
  else if (Array.isArray(parent)) parent.push(parent[0]);
  else {
    const [, other] = slots[(at + count) % slots.length];
    parent[other] = parent[key];
    if (choice % 2) delete parent[key];
  }
  return encode(tree);
}
