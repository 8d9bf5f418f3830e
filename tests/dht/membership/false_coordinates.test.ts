// Contacts that claim to be nearer than they are.

import assert from "node:assert/strict";
import { OWN_COORDINATE_BYTES, writeCoordinate } from "../../../src/dht/routing/coordinate.ts";
import { decodeAny, encode, id } from "../../packets.ts";
import { Stranger, VirtualNetwork } from "../virtual_network.ts";

const CONTACT = id("5a");

/** The contact as a node records it, after an answer from the node's own place that took `delayMs` longer. */
function contactAfter(delayMs: number) {
  const network = new VirtualNetwork();
  const { node } = network.add();
  const stranger = new Stranger(network, "10.9.9.1:1");
  const nc = new Uint8Array(OWN_COORDINATE_BYTES);
  writeCoordinate({ x: 0, y: 0, z: 0, height: network.delayMs }, nc, 0);
  stranger.answer = (packet, from) => {
    const { t } = decodeAny(packet);
    const answer = encode({ t, y: "r", r: { id: CONTACT.toBytes(), nc } });
    network.after(delayMs, () => stranger.send(answer, from));
    return undefined;
  };
  node.ping(stranger.at, network.now, () => {});
  network.run(1_000);
  return node.tables.find(CONTACT)!;
}

Deno.test("a node keeps the coordinate of a contact that answers as soon as it promises", () => {
  assert.notEqual(contactAfter(0).coordinateZHeight, 0);
});

Deno.test("a node forgets a coordinate that promises a much shorter round trip than it measured", () => {
  const { coordinateXy, coordinateZHeight } = contactAfter(300);
  assert.deepEqual([coordinateXy, coordinateZHeight], [0, 0]);
});
