// Forged, replayed and cut packets, which a node with a network key must not accept, beside what a node without a key
// does with garbage. Fails if one is accepted, or if memory grows.
//
// deno run --allow-net --v8-flags=--expose-gc bench/forged.ts [COUNT]

import process from "node:process";
import { NetworkKey } from "../src/config/network_key.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { HEADER_BYTES, PacketSeal, SEAL_BYTES } from "../src/runtime/net/packet_seal.ts";
import { fullNode } from "./full_node.ts";
import { median, printTable } from "./measure.ts";

/** Growth that is not a leak: V8 compiles code and fills its young generation. */
const MAX_GROWTH_BYTES = 20_000_000;

const BYTES = 300, VARIANTS = 1_024;

const count = Number(Deno.args[0] ?? 10_000_000);
const A = Endpoint.parse("10.0.0.1", 8000)!, B = Endpoint.parse("10.0.0.2", 8000)!;

/** Each round runs a part of the packets of every kind, so that a busy machine slows all kinds down equally. */
const ROUNDS = 50;

let drops = 0;

const open = (key: NetworkKey) => PacketSeal.create([key], { drop: () => void drops++ });

const key = NetworkKey.random();
const [a, b, other] = [await open(key), await open(key), await open(key)];

/** Packets from A to B that B accepts. */
function packets(): Uint8Array[] {
  const message = new Uint8Array(BYTES);
  const first = a.seal(message, B).slice();
  const answers: Uint8Array[] = [];
  b.open(first, A, (packet) => answers.push(packet.slice()));
  for (const answer of answers) a.open(answer, B, () => {});
  return Array.from({ length: VARIANTS }, () => a.seal(message, B).slice());
}

/** Packets of which one byte is different, in this part of them. */
function change(packets: readonly Uint8Array[], from: number, to: number): Uint8Array[] {
  return packets.map((packet, i) => {
    const at = from + i % (to - from);
    return packet.with(at, packet[at] ^ 1);
  });
}

// The secrets of the proofs change twice, so these are too old.
const late = packets();
b.rotateSecret();
b.rotateSecret();
const delivered = packets();
for (const packet of delivered) {
  if (b.open(packet, A, () => {}) === undefined) throw new Error("a good packet was dropped");
}
const lost = packets();

const random = Array.from(
  { length: VARIANTS },
  () => crypto.getRandomValues(new Uint8Array(BYTES + SEAL_BYTES)),
);
const elsewhere = Array.from({ length: VARIANTS }, (_, i) => A.withPort(10_000 + i));
const forged = change(lost, 0, HEADER_BYTES), cut = lost.map((p, i) => p.subarray(0, i % p.length));
const changed = change(delivered, HEADER_BYTES, BYTES);
const intercepted = change(lost, HEADER_BYTES, BYTES);

const { node } = await fullNode(0);
let answers = 0;
const answer = () => void answers++;

const kinds: Record<string, (i: number) => unknown> = {
  "garbage, without a key": (i) => node.receive(random[i], A, 0),
  "random": (i) => b.open(random[i], A, answer),
  "forged header": (i) => b.open(forged[i], A, answer),
  "cut": (i) => b.open(cut[i], A, answer),
  "replayed": (i) => b.open(delivered[i], A, answer),
  "replayed, changed content": (i) => b.open(changed[i], A, answer),
  "replayed, too old": (i) => b.open(late[i], A, answer),
  "replayed, from another address": (i) => b.open(lost[i], elsewhere[i], answer),
  "replayed, to another node": (i) => other.open(lost[i], A, answer),
  "intercepted, changed content": (i) => b.open(intercepted[i], A, answer),
};

const gc = (globalThis as { gc?: () => void }).gc ?? (() => {});
const each = Math.ceil(count / (Object.keys(kinds).length - 1) / ROUNDS);
const results = Object.entries(kinds).map(([name, run]) => {
  for (let i = 0; i < 20_000; i++) run(i % VARIANTS); // warm-up
  return { name, run, accepted: 0, ns: [] as number[] };
});
gc();
const before = Deno.memoryUsage().heapUsed;
for (let round = 0; round < ROUNDS; round++) {
  for (const seal of [b, other]) seal.tick(); // a round takes much less than a second
  for (const { run, ns, ...result } of results) {
    const begun = process.cpuUsage();
    for (let i = 0; i < each; i++) if (run(i % VARIANTS) !== undefined) result.accepted++;
    const { user, system } = process.cpuUsage(begun);
    ns.push((user + system) * 1e3 / each);
    if (result.accepted > 0) throw new Error(`a packet was accepted: ${result.name}`);
  }
}
gc();
const growth = Deno.memoryUsage().heapUsed - before;
printTable(
  `${count} packets of ${
    BYTES + SEAL_BYTES
  } bytes or less, processor time, the median of ${ROUNDS} rounds`,
  ["kind", "packets", "accepted", "ns each"],
  results.map(({ name, accepted, ns }) => [
    name,
    `${each * ROUNDS}`,
    `${accepted}`,
    median(ns).toFixed(0),
  ]),
);
console.log(
  `\nMemory grew by ${(growth / 1e6).toFixed(1)} MB. ` +
    `The nodes answered ${answers} packets with an offer, and dropped ${drops}.`,
);
if (growth > MAX_GROWTH_BYTES) throw new Error(`memory grew by ${growth} bytes`);
