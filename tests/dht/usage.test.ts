// The bytes of a node by purpose: every packet counts once, with the purpose of the operation that sent it.

import assert from "node:assert/strict";
import { immutableItem } from "../../src/dht/items/item.ts";
import { type Bytes, PURPOSES } from "../../src/dht/purpose.ts";
import { bencodeBytes } from "../../src/krpc/bencode.ts";
import { itemCrypto } from "../../src/runtime/identity/crypto.ts";
import { latin1 } from "../packets.ts";
import { Stranger, VirtualNetwork } from "./virtual_network.ts";

const sum = (bytes: Bytes) => PURPOSES.reduce((total, purpose) => total + bytes[purpose], 0);

/** The purposes whose bytes differ between two readings. */
const grown = (before: Bytes, after: Bytes) =>
  PURPOSES.filter((purpose) => after[purpose] > before[purpose]);

Deno.test("every byte that one node sends is received by another, for the same purpose", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(20);
  network.run(60_000);
  const total = (direction: "sent" | "received") =>
    nodes.reduce((all, { node: { traffic } }) => all + sum(traffic.usage[direction]), 0);
  assert.equal(total("sent"), total("received"));
  const { sent, received } = nodes[0].node.traffic.usage;
  assert.deepEqual(grown({ ...sent, upkeep: 0, answers: 0 }, sent), ["answers", "upkeep"]);
  assert.deepEqual(grown({ ...received, upkeep: 0, answers: 0 }, received), ["answers", "upkeep"]);
  assert.equal(received.other, 0);
});

Deno.test("a user's operations count as requests, and publishing again as own values", () => {
  const network = new VirtualNetwork();
  const [{ node }] = network.addJoined(20);
  const item = immutableItem(itemCrypto, bencodeBytes(latin1("of the user")));
  const { usage } = node.traffic;

  let before = { ...usage.sent };
  node.find(network.randomId(), network.now, () => {});
  node.items.put({ target: item.target, make: () => item }, network.now, () => {});
  network.run(1_000);
  assert.ok(grown(before, usage.sent).includes("requests"));
  assert.equal(usage.sent.own_values, 0);

  before = { ...usage.sent };
  node.replicator.keepPublished({ item, replicas: 20 }, network.now, () => {});
  network.run(3 * 3_600_000);
  assert.ok(grown(before, usage.sent).includes("own_values"));
  assert.ok(usage.sent.own_values > 20 * item.value.length);
  assert.equal(usage.sent.requests, before.requests);
});

Deno.test("the parts of a batch count as transfers, or as its purpose", () => {
  const network = new VirtualNetwork();
  const [{ node }] = network.addJoined(20);
  const item = immutableItem(itemCrypto, bencodeBytes(latin1("a part")));
  node.items.putPart({ item, batch: node.batch() }, network.now, () => {});
  network.run(1_000);
  const { sent } = node.traffic.usage;
  assert.ok(sent.transfers > 0);
  node.items.putPart({ item, batch: node.batch("own_values") }, network.now, () => {});
  network.run(1_000);
  assert.ok(sent.own_values > 0);
  assert.equal(sent.requests, 0);
});

Deno.test("dropped packets count as other", () => {
  const network = new VirtualNetwork();
  const { node, endpoint } = network.add();
  const stranger = new Stranger(network, "10.9.9.9:1");
  stranger.send(latin1("not a message"), endpoint);
  network.run(100);
  assert.deepEqual(
    grown({ ...node.traffic.usage.received, other: 0 }, node.traffic.usage.received),
    [
      "other",
    ],
  );
  assert.equal(sum(node.traffic.usage.sent), 0);
});
