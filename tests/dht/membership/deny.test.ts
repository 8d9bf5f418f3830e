// Nodes in the deny list.

import assert from "node:assert/strict";
import { endpoint } from "../../packets.ts";
import { VirtualNetwork } from "../virtual_network.ts";

/** A node with five contacts. The first one is denied by its id, the second one by its address. */
function scene() {
  const network = new VirtualNetwork();
  const server = network.add();
  const others = Array.from({ length: 5 }, () => network.add());
  for (const { node } of others) node.membership.join([server.endpoint], [], network.now);
  network.run(60_000);
  assert.equal(server.node.tables.size, 5);
  const [byId, byAddress, ...allowed] = others;
  server.node.deny(
    new Set([`${byId.node.id}`]),
    (address) => address.sameAddress(byAddress.endpoint),
    network.now,
  );
  return { network, server, byId, byAddress, allowed };
}

Deno.test("denied contacts leave the tables at once, and the others stay", () => {
  const { server, byId, byAddress, allowed } = scene();
  const ids = [...server.node.tables.contacts()].map(({ id }) => `${id}`);
  assert.deepEqual(ids.sort(), allowed.map(({ node }) => `${node.id}`).sort());
  const left = server.events.flatMap((event) =>
    event.type === "peer.leave" ? [[`${event.contact.id}`, event.reason.kind]] : []
  );
  assert.deepEqual(
    left.sort(),
    [byId, byAddress].map(({ node }) => [`${node.id}`, "denied"]).sort(),
  );
});

Deno.test("a node with a denied id gets no answer, does not return, and is counted", () => {
  const { network, server, byId } = scene();
  const ping = network.complete<{ kind: string }>((now, done) =>
    byId.node.ping(server.endpoint, now, done)
  );
  assert.equal(ping.kind, "timeout");
  network.run(10 * 60_000);
  assert.equal(server.node.tables.find(byId.node.id), undefined);
  assert.ok((server.node.traffic.dropped.denied ?? 0) > 0);
});

Deno.test("a node that is no longer denied can return", () => {
  const { network, server, byId } = scene();
  server.node.deny(new Set(), () => false, network.now);
  byId.node.membership.join([server.endpoint], [], network.now);
  network.run(10 * 60_000);
  assert.ok(server.node.tables.find(byId.node.id));
});

Deno.test("a list that denies all contacts empties the tables", () => {
  const { network, server } = scene();
  server.node.deny(new Set(), (address) => !address.equals(endpoint("192.0.2.1:1")), network.now);
  assert.equal(server.node.tables.size, 0);
});

Deno.test("an id that is denied at one endpoint may be used at another", () => {
  const { network, server, allowed: [claimant, owner] } = scene();
  const denied = `${owner.node.id} ${claimant.endpoint}`;
  server.node.deny(new Set([denied]), () => false, network.now);
  assert.ok(server.node.tables.find(owner.node.id));
  const ping = network.complete<{ kind: string }>((now, done) =>
    owner.node.ping(server.endpoint, now, done)
  );
  assert.equal(ping.kind, "pong");
  server.node.deny(new Set([`${owner.node.id} ${owner.endpoint}`]), () => false, network.now);
  assert.equal(server.node.tables.find(owner.node.id), undefined);
});
