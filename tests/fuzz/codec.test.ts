// Fuzzing of the codec: no bytes make it throw, and its views stay within the packet.

import assert from "node:assert/strict";
import fc from "fast-check";
import { isCanonical, Scanner, Writer } from "../../src/krpc/bencode.ts";
import { decode, Message, readCompactNodes, writeResponse } from "../../src/krpc/message.ts";
import { isSeq } from "../../src/krpc/seq.ts";
import { endpoint, latin1 } from "../packets.ts";
import { FUZZ_PACKETS, mutate, mutations, queryPackets, replyPackets, SENDER } from "./packets.ts";

const SEEDS = [
  ...queryPackets(latin1("8 bytes.")),
  ...replyPackets(latin1("abcd"), SENDER.toBytes()),
];
const FROM = endpoint("1.2.3.4:5");
const writer = new Writer(4096);

function check(packet: Uint8Array): void {
  const before = packet.slice();
  const message = decode(packet);
  assert.deepEqual(packet, before, "the packet is only read");
  isCanonical(packet);
  const scanner = new Scanner(packet);
  if (scanner.skip()) assert.ok(scanner.pos <= packet.length);
  if (!(message instanceof Message)) return;
  const { token, publicKey, signature, salt, value, nodes, nodes6, samples } = message;
  for (const view of [token, publicKey, signature, salt, value, nodes, nodes6, samples]) {
    assert.ok(view === undefined || view.buffer === packet.buffer);
  }
  assert.ok(message.tidStart <= message.tidEnd && message.tidEnd <= packet.length);
  for (const n of [message.port, message.num, message.interval]) {
    assert.ok(Number.isNaN(n) || Number.isSafeInteger(n));
  }
  // Negative ones are refused later.
  for (const n of [message.seq, message.cas]) {
    assert.ok(Number.isNaN(n) || isSeq(n) || Number.isSafeInteger(n));
  }
  if (nodes) readCompactNodes(nodes, 4, (_, at) => void `${at}`);
  if (nodes6) readCompactNodes(nodes6, 6, (_, at) => void `${at}`);
  // A well-formed reply can be written to any query.
  writeResponse(writer, message, FROM, SENDER, 1, {});
  assert.ok(decode(writer.done()) instanceof Message);
}

Deno.test("fuzz: every seed is a valid message", () => {
  for (const seed of SEEDS) assert.ok(decode(seed) instanceof Message);
});

Deno.test("fuzz: changed packets don't make the codec throw", () => {
  const numRuns = FUZZ_PACKETS / 2;
  fc.assert(fc.property(mutations, (mutation) => check(mutate(SEEDS, mutation))), { numRuns });
});

Deno.test("fuzz: random bytes, and random bencode, don't make the codec throw", () => {
  const letters = fc.array(fc.constantFrom(..."deli0123456789:-\0a".split("")), { maxLength: 80 })
    .map((parts) => latin1(parts.join("")));
  const packets = fc.oneof(fc.uint8Array({ maxLength: 200 }), letters);
  fc.assert(fc.property(packets, check), { numRuns: FUZZ_PACKETS / 10 });
});
