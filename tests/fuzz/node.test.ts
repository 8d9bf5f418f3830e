// Fuzzing of a live node: hostile queries and hostile answers, in virtual time.

import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeAny, encode, id, query, text } from "../packets.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../dht/virtual_network.ts";
import {
  FUZZ_PACKETS,
  IMMUTABLE,
  ITEM,
  mutate,
  type Mutation,
  mutations,
  queryPackets,
  replyPackets,
  SALT,
  SENDER,
  TARGET,
} from "./packets.ts";

const BATCH = 100;
// What fails is not shrunk (`endOnFailure`): for a batch that takes many minutes, and its seed and path lead back to it.
const batches = fc.array(mutations, { minLength: BATCH / 2, maxLength: BATCH });

/** That the node still serves, and holds nothing that it should have let go. */
function assertSound(network: VirtualNetwork, { node, items, endpoint }: VirtualNode): void {
  const honest = new Stranger(network, "10.8.8.8:1");
  const pong = honest.ask(query("ping", id("88")), endpoint);
  assert.equal(text(pong.y), "r");
  assert.deepEqual(pong.r.id, node.id.toBytes());
  network.run(30_000);
  const { queries, deadlines } = node.pending;
  assert.ok(queries <= 20, `${queries} open queries`);
  // Its rounds are three; a probe, an attempt to join and work on values may wait as well.
  assert.ok(deadlines <= node.contactCount + 6, `${deadlines} deadlines`);
  // One that heals or refreshes may begin at any time, but none lasts.
  for (let s = 0; s < 60 && node.lookups.active > 0; s++) network.run(1_000);
  assert.equal(node.lookups.active, 0, "a lookup does not end");
  assert.ok(node.contactCount <= 20, `${node.contactCount} contacts`);
  assert.ok(items.count <= BATCH && node.peers.count <= BATCH);
}

Deno.test("fuzz: hostile queries don't make a node throw, fall silent or grow", () => {
  fc.assert(
    fc.property(batches, (batch) => {
      const network = new VirtualNetwork();
      const server = network.add({ id: id("5e") });
      const strangers = ["10.9.9.1:1", "10.9.9.2:1"].map((at) => new Stranger(network, at));
      const token = strangers[0].ask(
        query("get", SENDER, { target: TARGET.toBytes() }),
        server.endpoint,
      ).r.token;
      const seeds = queryPackets(token);
      batch.forEach((mutation, i) => {
        strangers[i % 8 === 7 ? 1 : 0].send(mutate(seeds, mutation), server.endpoint);
        if (i % 16 === 0) network.run(1_000);
      });
      network.run(1_000);
      assertSound(network, server);
    }),
    { numRuns: FUZZ_PACKETS * 0.2 / BATCH, endOnFailure: true },
  );
});

Deno.test("fuzz: hostile answers to our lookups don't make a node throw, hang or grow", () => {
  fc.assert(
    fc.property(batches, (batch) => {
      const network = new VirtualNetwork();
      const searcher = network.add({ id: id("5e"), k: 4 });
      const left = batch.slice();
      Array.from({ length: 6 }, (_, i) => {
        const liar = new Stranger(network, `10.1.1.${i}:1`);
        const own = id(`1${i}`).toBytes();
        // The first answer is honest: it makes the liar a contact.
        let answered = 0;
        liar.answer = (packet) => answerOf(packet, own, answered++ === 0 ? undefined : left.pop());
        searcher.node.ping(liar.at, network.now, () => {});
      });
      network.run(100);
      let ended = 0;
      const done = () => void ended++;
      const { node } = searcher;
      const operations = [
        () => node.find(TARGET, network.now, done),
        () => node.getPeers(TARGET, network.now, done),
        () => node.announce(TARGET, 6881, network.now, done),
        () => node.get(ITEM.target, undefined, network.now, done),
        () => node.get(ITEM.target, SALT, network.now, done),
        () => node.get(IMMUTABLE.target, undefined, network.now, done),
        () => node.put(ITEM.target, SALT, 3, () => ITEM, network.now, done),
        () => node.put(IMMUTABLE.target, undefined, undefined, () => IMMUTABLE, network.now, done),
      ];
      let started = 0;
      for (let i = 0; i < 20 && left.length > 0; i++) {
        operations[i % operations.length]();
        started++;
        network.run(4_000);
      }
      network.run(60_000);
      assert.equal(ended, started, "each operation ends once");
      assertSound(network, searcher);
    }),
    { numRuns: FUZZ_PACKETS * 0.15 / BATCH, endOnFailure: true },
  );
});

/** What a liar sends in answer to a query; undefined where it was none. */
function answerOf(
  packet: Uint8Array,
  own: Uint8Array,
  mutation: Mutation | undefined,
): Uint8Array | undefined {
  const { y, t } = decodeAny(packet);
  if (text(y) !== "q") return undefined;
  return mutation === undefined
    ? encode({ t, y: "r", r: { id: own } })
    : mutate(replyPackets(t, own), mutation);
}
