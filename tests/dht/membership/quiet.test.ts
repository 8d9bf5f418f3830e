// How often a node sends something to its contacts while nothing else happens.

import assert from "node:assert/strict";
import type { Endpoint } from "../../../src/krpc/endpoint.ts";
import { decodeAny, text } from "../../packets.ts";
import { Answering, VirtualNetwork } from "../virtual_network.ts";

Deno.test("a foreign contact stays good with four pings an hour, and one of ours is checked each minute", () => {
  const network = new VirtualNetwork();
  const [first, second] = network.addJoined(2);
  const foreign = new Answering(network, "10.9.9.9:1");
  foreign.client = "UT\x01\x02";
  foreign.meet(first);
  const pings = new Map<string, number>();
  network.link = (datagram, from, to) => {
    const { q } = decodeAny(datagram);
    const isOne = q !== undefined && text(q) === "ping";
    // If two nodes are contacts of each other, one ping checks both.
    const name = [`${from}`, `${to}`].sort().join();
    if (isOne) pings.set(name, (pings.get(name) ?? 0) + 1);
    return datagram;
  };
  const pingsWith = (at: Endpoint) => pings.get([`${first.endpoint}`, `${at}`].sort().join()) ?? 0;
  for (let minute = 0; minute < 60; minute++) {
    network.run(60_000);
    assert.ok(first.node.tables.of(4).at(foreign.at)?.isGood(network.now), `minute ${minute}`);
  }
  assert.ok(pingsWith(foreign.at) <= 5, `${pingsWith(foreign.at)} pings`);
  assert.ok(pingsWith(second.endpoint) >= 55, `${pingsWith(second.endpoint)} pings`);
});
