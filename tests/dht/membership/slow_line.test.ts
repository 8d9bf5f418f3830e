// Nodes on lines with round trips of seconds: satellites, and lines that are full.

import assert from "node:assert/strict";
import { immutableItem, isItemError } from "../../../src/dht/items/item.ts";
import type { GetResult, PutResult } from "../../../src/dht/items/item_operations.ts";
import type { PingResult } from "../../../src/dht/node.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { latin1 } from "../../packets.ts";
import { VirtualNetwork } from "../virtual_network.ts";

const MINUTE = 60_000;

for (const roundTripMs of [1_600, 4_000, 8_000]) {
  Deno.test(`nodes with a round trip of ${roundTripMs} ms join, ping, store and fetch`, () => {
    const network = new VirtualNetwork(roundTripMs / 2);
    const nodes = Array.from({ length: 4 }, () => network.add());
    for (const { node } of nodes.slice(1)) {
      node.membership.join([nodes[0].endpoint], [], network.now);
    }
    network.run(MINUTE);
    for (const { node } of nodes) assert.equal(node.tables.size, 3);
    const pong = network.complete<PingResult>((now, done) =>
      nodes[1].node.ping(nodes[2].endpoint, now, done)
    );
    assert.equal(pong.kind, "pong");

    const item = immutableItem(itemCrypto, bencodeBytes(latin1("far away")));
    assert.ok(!isItemError(item));
    const { target } = item;
    const { stored } = network.complete<PutResult>((now, done) =>
      nodes[1].node.items.put({ target, make: () => item }, now, done)
    );
    assert.equal(stored.length, 4);
    nodes[3].items.remove(target);
    const found = network.complete<GetResult>((now, done) =>
      nodes[3].node.items.get({ target }, now, done)
    );
    assert.ok(found.item !== undefined);
  });

  Deno.test(`contacts with a round trip of ${roundTripMs} ms stay healthy`, () => {
    const network = new VirtualNetwork(roundTripMs / 2);
    const [first, second] = [network.add(), network.add()];
    second.node.membership.join([first.endpoint], [], network.now);
    network.run(MINUTE);
    second.events.length = 0;
    network.run(10 * MINUTE);
    assert.deepEqual(second.events.filter(({ type }) => type.startsWith("peer.")), []);
  });
}

Deno.test("a contact whose line becomes slow is not removed, and its round trip is corrected", () => {
  const network = new VirtualNetwork(20);
  const [first, second] = [network.add(), network.add()];
  second.node.membership.join([first.endpoint], [], network.now);
  network.run(2 * MINUTE);
  (network as { delayMs: number }).delayMs = 2_000;
  second.events.length = 0;
  network.run(15 * MINUTE);
  assert.ok(!second.events.some(({ type }) => type === "peer.leave"));
  const contact = second.node.tables.find(first.node.id);
  assert.equal(contact?.health, "healthy");
  assert.ok(contact!.rtt + 2.5 * contact!.rttVariation > 4_000, `${contact!.rtt}`);
});
