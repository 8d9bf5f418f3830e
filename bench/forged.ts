// Forged, replayed and cut packets, which a node with a network key must not accept, beside what a node without a key
// does with garbage. Fails if one is accepted, or if memory grows.
//
// deno run --allow-net --v8-flags=--expose-gc bench/forged.ts [COUNT]

import { NetworkKey } from "../src/config/network_key.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { PacketSeal, SEAL_BYTES } from "../src/runtime/net/packet_seal.ts";
import { fullNode } from "./full_node.ts";
import { printTable } from "./measure.ts";

/** Growth that is not a leak: V8 compiles code and fills its young generation. */
const MAX_GROWTH_BYTES = 20_000_000;

const BYTES = 300, VARIANTS = 1_024;

const count = Number(Deno.args[0] ?? 10_000_000);
const A = Endpoint.parse("10.0.0.1", 8000)!, B = Endpoint.parse("10.0.0.2", 8000)!;

let now = 0, drops = 0;

const open = (key: NetworkKey) =>
  PacketSeal.create([key], { now: () => now, drop: () => void drops++ });

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

const recorded = packets();
if (b.open(recorded[0], A, () => {}) === undefined) throw new Error("a good packet was dropped");
// The secrets of the proofs change twice, so these are too old.
const late = packets();
b.rotateSecret();
b.rotateSecret();
const fresh = packets();
now += 60_000;

const random = Array.from(
  { length: VARIANTS },
  () => crypto.getRandomValues(new Uint8Array(BYTES + SEAL_BYTES)),
);
const forged = fresh.map((packet, i) =>
  packet.with(i % packet.length, packet[i % packet.length] ^ 1)
);
const cut = fresh.map((packet, i) => packet.subarray(0, i % packet.length));
const elsewhere = Array.from({ length: VARIANTS }, (_, i) => A.withPort(10_000 + i));

const { node } = await fullNode(0);
const garbage = random.map((packet) => packet.subarray(0, BYTES + SEAL_BYTES));
let answers = 0;
const answer = () => void answers++;

const kinds: Record<string, (i: number) => unknown> = {
  "garbage, without a key": (i) => node.receive(garbage[i], A, 0),
  "random": (i) => b.open(random[i], A, answer),
  "forged": (i) => b.open(forged[i], A, answer),
  "cut": (i) => b.open(cut[i], A, answer),
  "replayed, too old": (i) => b.open(late[i], A, answer),
  "replayed, from another address": (i) => b.open(fresh[i], elsewhere[i], answer),
  "replayed, to another node": (i) => other.open(fresh[i], A, answer),
};

const gc = (globalThis as { gc?: () => void }).gc ?? (() => {});
const each = Math.ceil(count / (Object.keys(kinds).length - 1));
const rows: string[][] = [];
for (const [name, run] of Object.entries(kinds)) {
  for (let i = 0; i < 20_000; i++) run(i % VARIANTS); // warm-up
  gc();
  const before = Deno.memoryUsage().heapUsed, begun = performance.now();
  let accepted = 0;
  for (let i = 0; i < each; i++) if (run(i % VARIANTS) !== undefined) accepted++;
  const ns = (performance.now() - begun) * 1e6 / each;
  gc();
  const growth = Deno.memoryUsage().heapUsed - before;
  rows.push([name, `${each}`, `${accepted}`, ns.toFixed(0), (growth / 1e6).toFixed(1)]);
  if (accepted > 0) throw new Error(`${accepted} packets were accepted: ${name}`);
  if (growth > MAX_GROWTH_BYTES) throw new Error(`memory grew by ${growth} bytes: ${name}`);
}
printTable(
  `${count} packets of ${BYTES + SEAL_BYTES} bytes or less`,
  ["kind", "packets", "accepted", "ns each", "MB more"],
  rows,
);
console.log(`\nThe node answered ${answers} of them with an offer, and dropped ${drops}.`);
