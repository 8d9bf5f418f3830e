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

/** The number of nodes that answer our lookups. */
const LIARS = 6;

// Failures are not shrunk (`endOnFailure`), which takes many minutes for a batch. Their seed and path reproduce them.
const batches = fc.array(mutations, { minLength: BATCH / 2, maxLength: BATCH });

/** Asserts that the node still serves, and has released everything that it should. */
function assertSound(network: VirtualNetwork, { node, items, endpoint }: VirtualNode): void {
  const honest = new Stranger(network, "10.8.8.8:1");
  const pong = honest.ask(query("ping", id("88")), endpoint);
  assert.equal(text(pong.y), "r");
  assert.deepEqual(pong.r.id, node.id.toBytes());
  network.run(30_000);
  const { queries, deadlines } = node.pending;
  assert.ok(queries <= 20, `${queries} open queries`);
  // Three periodic tasks. A probe, a join, work on values and a look at each new contact may be scheduled too.
  assert.ok(deadlines <= node.tables.size + 6 + LIARS, `${deadlines} deadlines`);
  // A healing or refreshing lookup may start at any time, but none lasts.
  for (let s = 0; s < 60 && node.searches.statistics.active > 0; s++) network.run(1_000);
  assert.equal(node.searches.statistics.active, 0, "a lookup does not end");
  assert.ok(node.tables.size <= 20, `${node.tables.size} contacts`);
  assert.ok(items.count <= BATCH && node.responder.peers.count <= BATCH);
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
      Array.from({ length: LIARS }, (_, i) => {
        const liar = new Stranger(network, `10.1.1.${i}:1`);
        const own = id(`1${i}`).toBytes();
        // The first answer is honest, so that the liar becomes a contact.
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
        () => node.swarms.getPeers({ infoHash: TARGET, scrapes: true }, network.now, done),
        () => node.swarms.announce({ infoHash: TARGET, port: 6881 }, network.now, done),
        () => node.sampler.walk(20, network.now, done),
        () => node.items.get({ target: ITEM.target }, network.now, done),
        () => node.items.get({ target: ITEM.target, salt: SALT }, network.now, done),
        () => node.items.get({ target: IMMUTABLE.target }, network.now, done),
        () =>
          node.items.put(
            { target: ITEM.target, salt: SALT, cas: 3, make: () => ITEM },
            network.now,
            done,
          ),
        () =>
          node.items.put({ target: IMMUTABLE.target, make: () => IMMUTABLE }, network.now, done),
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

/** A liar's answer to a query; undefined if the datagram was not a query. */
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
