// Tests the seal of packets: who can read them, and what happens to forged and replayed ones.

import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { Buffer } from "node:buffer";
import assert from "node:assert/strict";
import { hkdfSync } from "node:crypto";
import { NetworkKey } from "../../../src/config/network_key.ts";
import { sipHash, type SipKey } from "../../../src/dht/siphash.ts";
import { Endpoint } from "../../../src/krpc/endpoint.ts";
import { PacketSeal, SEAL_BYTES, type SealDrop } from "../../../src/runtime/net/packet_seal.ts";

const A = Endpoint.parse("192.0.2.1", 8000)!, B = Endpoint.parse("192.0.2.2", 8000)!;
const C = Endpoint.parse("2001:db8::3", 8000)!;

const MESSAGE = new TextEncoder().encode(
  "d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t4:abcd1:y1:qe",
);

/** One end of an exchange in memory: packets travel at once. */
class Node {
  readonly received: Uint8Array[] = [];
  readonly drops: SealDrop[] = [];
  /** The packets that arrived, as someone who listens sees them. */
  readonly recorded: { readonly packet: Uint8Array; readonly from: Endpoint }[] = [];
  /** Packets that opening others made it send. */
  answers = 0;
  #seal!: PacketSeal;

  private constructor(readonly at: Endpoint, readonly network: Network) {}

  static async start(network: Network, at: Endpoint, ...keys: NetworkKey[]): Promise<Node> {
    const node = new Node(at, network);
    const drop = (reason: SealDrop) => void node.drops.push(reason);
    node.#seal = await PacketSeal.create(keys, { drop });
    network.set(`${at}`, node);
    return node;
  }

  send(message: Uint8Array, to: Endpoint): Uint8Array {
    const packet = this.#seal.seal(message, to).slice();
    this.network.get(`${to}`)?.arrive(packet, this.at);
    return packet;
  }

  arrive(packet: Uint8Array, from: Endpoint): void {
    this.recorded.push({ packet, from });
    const message = this.#seal.open(packet, from, (answer) => {
      this.answers++;
      this.network.get(`${from}`)?.arrive(answer.slice(), this.at);
    });
    if (message !== undefined) this.received.push(message.slice());
  }

  setKeys(...keys: NetworkKey[]): void {
    this.#seal.setKeys(keys);
  }

  tick(times: number): void {
    for (let i = 0; i < times; i++) this.#seal.tick();
  }

  rotateSecret(): void {
    this.#seal.rotateSecret();
  }
}

type Network = Map<string, Node>;

async function pair(key = NetworkKey.random()): Promise<[Node, Node]> {
  const network: Network = new Map();
  return [await Node.start(network, A, key), await Node.start(network, B, key)];
}

Deno.test("a first message arrives once its sender has proved its address, and the next ones at once", async () => {
  const [a, b] = await pair();
  a.send(MESSAGE, B);
  assert.deepEqual(b.received, [MESSAGE]);
  assert.deepEqual(b.drops, ["unproven"], "the first try");
  a.send(MESSAGE, B);
  b.send(MESSAGE, A);
  assert.equal(b.received.length, 2);
  assert.deepEqual(a.received, [MESSAGE]);
  assert.equal(b.answers, 1, "it had to ask for a proof only once");
});

Deno.test("several first messages to one node all arrive, once", async () => {
  const [a, b] = await pair();
  const padded = new TextEncoder().encode(
    "d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:y1:q1:z1:0e",
  );
  const messages = [padded, ...[1, 2].map((n) => MESSAGE.with(20, n))];
  // The packets travel before any answer comes back.
  b.network.delete(`${B}`);
  const packets = messages.map((message) => a.send(message, B));
  b.network.set(`${B}`, b);
  for (const packet of packets) b.arrive(packet, A);
  assert.deepEqual(b.received, messages);
});

Deno.test("an answer arrives although another node has taken its receiver's place in the table", async () => {
  const key = NetworkKey.random(), [a, b] = await pair(key);
  // The place depends on the address XOR the port twice, which is the same for these two.
  const c = await Node.start(a.network, Endpoint.parse("192.1.2.0", 8001)!, key);
  const answer = new TextEncoder().encode("d1:rd2:id20:bbbbbbbbbbbbbbbbbbbbe1:t4:abcd1:y1:re");
  a.send(MESSAGE, B);
  c.send(MESSAGE, B);
  assert.equal(b.received.length, 2);
  b.send(answer, A);
  assert.deepEqual(a.received, [answer]);
  assert.deepEqual(a.drops, ["unproven"], "its offer was gone");
});

Deno.test("a packet is 40 bytes longer than its message, and shows nothing of it", async () => {
  const [a, b] = await pair();
  const packets = [a.send(MESSAGE, B), a.send(MESSAGE, B)];
  assert.equal(SEAL_BYTES, 40);
  for (const { packet } of b.recorded) {
    const text = String.fromCharCode(...packet);
    assert.doesNotMatch(text, /ping|1:q|aaaa/);
  }
  assert.equal(packets[0].length, MESSAGE.length + 40);
  const common = packets[0].filter((byte, i) => byte === packets[1][i]).length;
  assert.ok(common < packets[0].length / 4, "two packets with the same message differ");
});

/** The test vector in docs/protocol.md. */
const VECTOR = {
  key: "dmkeyaaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dyp526ko",
  salt: "a0a1a2a3a4a5a6a7a8a9aaab",
  proof: "01020304",
  offer: "05060708",
};

/** Seals a packet as docs/protocol.md describes it, with other libraries. */
function sealAsDescribed(message: Uint8Array, { key, salt, proof, offer }: typeof VECTOR): Buffer {
  const secret = (NetworkKey.parse(key) as NetworkKey).secret();
  const derived = Buffer.from(hkdfSync("sha256", secret, "", "dmnode packets 2", 48));
  const length = Buffer.alloc(4), hash = Buffer.alloc(8), masked = Buffer.from(proof, "hex");
  length.writeUint32BE(40 + message.length);
  const input = Buffer.concat([Buffer.from(salt, "hex"), length]);
  const words = (bytes: Buffer) => [0, 4, 8, 12].map((at) => bytes.readInt32LE(at));
  sipHash(words(derived.subarray(32)) as unknown as SipKey, words(input))
    .forEach((half, i) => hash.writeInt32LE(half, 4 * i));
  for (let i = 0; i < 4; i++) masked[i] ^= hash[4 + i];
  const nonce = Buffer.concat([Buffer.from(salt, "hex"), masked]);
  const sealed = xchacha20poly1305(derived.subarray(0, 32), Buffer.concat([nonce, Buffer.alloc(8)]))
    .encrypt(Buffer.concat([Buffer.from(offer, "hex"), message]));
  return Buffer.concat([nonce, hash.subarray(0, 4), sealed]);
}

Deno.test("a packet that was sealed as the documentation describes is answered with an offer", async () => {
  const packet = sealAsDescribed(MESSAGE, VECTOR);
  const b = await Node.start(new Map(), B, NetworkKey.parse(VECTOR.key) as NetworkKey);
  b.arrive(packet, A);
  assert.deepEqual([b.drops, b.answers], [["unproven"], 1]);
  const text = await Deno.readTextFile(new URL("../../../docs/protocol.md", import.meta.url));
  for (const part of [...Object.values(VECTOR), packet.toString("hex")]) {
    assert.ok(text.includes(part), `docs/protocol.md lacks ${part}`);
  }
});

Deno.test("a node without the key, or with another one, gets no answer", async () => {
  const network: Network = new Map();
  const a = await Node.start(network, A, NetworkKey.random());
  const b = await Node.start(network, B, NetworkKey.random());
  a.send(MESSAGE, B);
  b.arrive(MESSAGE, A);
  assert.deepEqual(b.drops, ["undecipherable", "undecipherable"]);
  assert.deepEqual([b.received, b.answers], [[], 0]);
});

Deno.test("a packet that was changed or cut anywhere is dropped without an answer", async () => {
  const [a, b] = await pair();
  a.send(MESSAGE, B);
  const packet = a.send(MESSAGE, B), before = b.received.length, answers = b.answers;
  for (let i = 0; i < packet.length; i++) {
    b.arrive(packet.with(i, packet[i] ^ 1), A);
    b.arrive(packet.slice(0, i), A);
  }
  b.arrive(Uint8Array.of(...packet, 0), A);
  b.arrive(new Uint8Array(2_048), A);
  assert.deepEqual([b.received.length, b.answers], [before, answers]);
});

Deno.test("a packet that is replayed from another address is not delivered", async () => {
  const [a, b] = await pair();
  a.send(MESSAGE, B);
  const packet = a.send(MESSAGE, B), before = b.received.length;
  for (const from of [A.withPort(8001), Endpoint.parse("192.0.2.7", 8000)!, C]) {
    b.arrive(packet, from);
  }
  assert.equal(b.received.length, before);
});

Deno.test("a copy from another address that arrives first does not suppress the original", async () => {
  const [a, b] = await pair();
  a.send(MESSAGE, B);
  b.network.delete(`${B}`);
  const packet = a.send(MESSAGE, B), before = b.received.length;
  b.network.set(`${B}`, b);
  b.arrive(packet, C);
  assert.equal(b.received.length, before);
  b.arrive(packet, A);
  assert.equal(b.received.length, before + 1);
});

Deno.test("a packet that is replayed to another node is not delivered", async () => {
  const key = NetworkKey.random(), [a, b] = await pair(key);
  const c = await Node.start(a.network, C, key);
  a.send(MESSAGE, B);
  const packet = a.send(MESSAGE, B);
  a.network.delete(`${A}`); // it can't send a proof
  c.arrive(packet, A);
  assert.deepEqual([b.received.length, c.received.length], [2, 0]);
});

Deno.test("a packet that is replayed from its own address is not delivered again", async () => {
  const [a, b] = await pair();
  a.send(MESSAGE, B);
  const packets = Array.from({ length: 100 }, () => a.send(MESSAGE, B));
  const before = b.received.length;
  for (const packet of packets) b.arrive(packet, A);
  assert.equal(b.received.length, before);
  assert.deepEqual(b.drops, ["unproven", ...packets.map(() => "replayed")]);
});

Deno.test("a lost packet that is replayed after ten minutes, or after a restart, is not delivered", async () => {
  const [a, b] = await pair();
  a.send(MESSAGE, B);
  b.network.delete(`${B}`);
  const packets = [a.send(MESSAGE, B), a.send(MESSAGE, B)];
  b.network.set(`${B}`, b);
  b.rotateSecret();
  b.arrive(packets[0], A);
  assert.equal(b.received.length, 2, "it was only late");
  b.rotateSecret();
  a.tick(3);
  b.arrive(packets[1], A);
  assert.equal(b.received.length, 2);
});

Deno.test("a query is not sent again once nobody waits for its answer", async () => {
  const [a, b] = await pair();
  a.network.delete(`${B}`);
  const packet = a.send(MESSAGE, B);
  a.network.set(`${B}`, b);
  a.tick(3);
  b.arrive(packet, A);
  assert.deepEqual(b.received, []);
});

Deno.test("replayed answers to first messages have no effect", async () => {
  const key = NetworkKey.random(), [a, b] = await pair(key);
  a.send(MESSAGE, B);
  const { packet, from } = a.recorded[0];
  a.rotateSecret();
  a.rotateSecret();
  a.arrive(packet, from);
  b.arrive(packet, A);
  (await Node.start(new Map([[`${A}`, a]]), C, key)).arrive(packet, A);
  assert.deepEqual([a.drops, b.drops], [["replayed"], ["unproven", "unproven"]]);
  assert.deepEqual([a.answers, b.answers], [1, 1], "none beyond those of the first exchange");
});

Deno.test("replayed packets make a node send a limited number of offers, and newcomers still get theirs", async () => {
  const key = NetworkKey.random(), [a, b] = await pair(key);
  const packets = Array.from({ length: 1_500 }, () => a.send(MESSAGE, C)); // nobody is there
  const replayFrom = (at: Endpoint, count: number) => {
    const before = b.answers;
    for (const packet of packets.splice(0, count)) b.arrive(packet, at);
    return b.answers - before;
  };
  assert.equal(replayFrom(A.withPort(9_000), 300), 250, "a quarter of a thousand for one address");
  b.tick(1);
  assert.equal(replayFrom(A.withPort(9_000), 300), 250, "again after a second");
  const before = b.received.length;
  (await Node.start(a.network, C, key)).send(MESSAGE, B);
  assert.equal(b.received.length, before + 1, "a newcomer is served during the flood");
  const others = [10, 11, 12, 13].map((i) => Endpoint.parse(`192.0.2.${i}`, 1)!);
  const answers = others.map((at) => replayFrom(at, 225));
  assert.deepEqual(answers, [225, 225, 225, 74], "a thousand for all addresses together");
});

Deno.test("messages still arrive when the proofs have expired, or the receiver has restarted", async () => {
  const key = NetworkKey.random(), network: Network = new Map();
  const a = await Node.start(network, A, key);
  let b = await Node.start(network, B, key);
  a.send(MESSAGE, B);
  b.rotateSecret();
  b.rotateSecret();
  a.send(MESSAGE, B);
  assert.equal(b.received.length, 2);
  b = await Node.start(network, B, key);
  a.send(MESSAGE, B);
  assert.equal(b.received.length, 1);
});

Deno.test("a key is replaced without a gap: added everywhere, then used everywhere, then the old one is dropped", async () => {
  const old = NetworkKey.random(), fresh = NetworkKey.random(), network: Network = new Map();
  const a = await Node.start(network, A, old), b = await Node.start(network, B, old);
  let sent = 0;
  const exchange = () => {
    a.send(MESSAGE, B);
    b.send(MESSAGE, A);
    sent++;
    assert.deepEqual([a.received.length, b.received.length], [sent, sent]);
  };
  for (const keys of [[old, fresh], [fresh, old], [fresh]]) {
    a.setKeys(...keys);
    exchange();
    b.setKeys(...keys);
    exchange();
  }
});

Deno.test("without the key nobody can make a node decrypt many packets: they are dropped by their headers", async () => {
  const [a, b] = await pair();
  const packets = Array.from({ length: 300 }, () => a.send(MESSAGE, C)); // nobody is there
  const forged = packets.map((packet) => packet.with(30, packet[30] ^ 1));
  for (const packet of forged) b.arrive(packet, A);
  const count = (reason: SealDrop) => b.drops.filter((drop) => drop === reason).length;
  assert.deepEqual([count("undecipherable"), count("unproven")], [250, 50], "250 were decrypted");
  assert.equal(b.answers, 0);
});

Deno.test("10,000 forged, replayed and cut packets: none is accepted, and nothing grows", async () => {
  const [a, b] = await pair();
  const other = (await pair())[0];
  a.send(MESSAGE, B);
  const replay = a.send(MESSAGE, B), before = b.received.length;
  for (let i = 0; i < 2_500; i++) {
    b.arrive(crypto.getRandomValues(new Uint8Array(20 + i % 1_400)), A);
    b.arrive(replay.with(i % replay.length, replay[i % replay.length] ^ (1 + i % 255)), A);
    b.arrive(replay, A.withPort(1 + i));
    b.arrive(other.send(MESSAGE, C), A);
    b.recorded.length = 0;
  }
  assert.equal(b.received.length, before);
  assert.equal(b.drops.length, 10_001);
});
