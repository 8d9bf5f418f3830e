// Contacts that are alive, but don't support `get` or `put`.

import assert from "node:assert/strict";
import type { GetResult, PutResult } from "../../../src/dht/items/item_operations.ts";
import { immutableItem, isItemError } from "../../../src/dht/items/item.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { latin1 } from "../../packets.ts";
import { ForeignClient } from "../foreign_client.ts";
import { VirtualNetwork, type VirtualNode } from "../virtual_network.ts";

const MINUTE = 60_000;

/** A node with one foreign contact, which reacts to `get` and `put` as told. */
function scene(reaction: "refuses" | "ignores", methods = ["get", "put"]) {
  const network = new VirtualNetwork();
  const server = network.add();
  const client = new ForeignClient(network, "10.9.9.1:1").meet(server);
  client.reacts = (method) => methods.includes(method) ? reaction : "answers";
  const isKept = () => server.node.tables.find(client.id) !== undefined;
  return { network, server, client, isKept };
}

function get(network: VirtualNetwork, { node }: VirtualNode) {
  const target = network.randomId();
  return network.complete<GetResult>((now, done) => node.items.get({ target }, now, done));
}

function put(network: VirtualNetwork, { node }: VirtualNode, text: string) {
  const item = immutableItem(itemCrypto, bencodeBytes(latin1(text)));
  assert.ok(!isItemError(item));
  const given = { target: item.target, make: () => item };
  return network.complete<PutResult>((now, done) => node.items.put(given, now, done));
}

for (const reaction of ["refuses", "ignores"] as const) {
  Deno.test(`a contact that ${reaction} get, but answers pings, stays and is healthy`, () => {
    const { network, server, client, isKept } = scene(reaction);
    for (let i = 0; i < 10; i++) {
      get(network, server);
      network.run(1_000);
      assert.ok(isKept());
    }
    network.run(MINUTE);
    assert.equal(server.node.tables.find(client.id)?.health, "healthy");
    assert.ok(!server.events.some(({ type }) => type === "peer.health" || type === "peer.leave"));
  });

  Deno.test(`a contact that ${reaction} get is asked with find_node from then on`, () => {
    const { network, server, client } = scene(reaction);
    for (let i = 0; i < 2; i++) {
      get(network, server);
      network.run(5_000);
    }
    const gets = client.count("get"), finds = client.count("find_node");
    assert.ok(gets > 0);
    for (let i = 0; i < 5; i++) {
      const { closest } = get(network, server);
      assert.ok(closest.some(({ id }) => id.equals(client.id)));
    }
    assert.equal(client.count("get"), gets);
    assert.equal(client.count("find_node"), finds + 5);
  });

  Deno.test(`a contact that ${reaction} put is not written to again`, () => {
    const { network, server, client } = scene(reaction, ["put"]);
    for (let i = 0; i < 2; i++) {
      put(network, server, "first");
      network.run(5_000);
    }
    const puts = client.count("put");
    assert.ok(puts > 0);
    const { stored } = put(network, server, "second");
    assert.equal(client.count("put"), puts);
    assert.deepEqual(stored.map(String), [`${server.node.id}`]);
  });
}

Deno.test("a lookup uses the nodes of a contact that answers get with error 204", () => {
  const { network, server, client } = scene("refuses");
  const holder = network.add();
  const item = immutableItem(itemCrypto, bencodeBytes(latin1("value")));
  assert.ok(!isItemError(item));
  holder.items.put({ item }, network.now, () => {});
  client.names = [{ id: holder.node.id, endpoint: holder.endpoint }];
  const result = network.complete<GetResult>((now, done) =>
    server.node.items.get({ target: item.target }, now, done)
  );
  assert.ok(result.item !== undefined);
});

Deno.test("a contact that does not support get is named to others", () => {
  const { network, server, client } = scene("ignores");
  for (let i = 0; i < 2; i++) {
    get(network, server);
    network.run(5_000);
  }
  const other = network.add();
  other.node.membership.join([server.endpoint], [], network.now);
  network.run(5_000);
  assert.ok(other.node.tables.find(client.id) !== undefined);
});

for (const method of ["get", "put"]) {
  Deno.test(`a contact is asked again after a single ${method} was lost`, () => {
    const { network, server, client } = scene("ignores", [method]);
    put(network, server, "first");
    network.run(5_000);
    client.reacts = () => "answers";
    const before = client.count(method);
    const { stored } = put(network, server, "second");
    assert.ok(client.count(method) > before);
    assert.ok(stored.some((id) => id.equals(client.id)));
  });
}

Deno.test("a contact that has answered get is asked again after it left one unanswered", () => {
  const { network, server, client } = scene("ignores", []);
  get(network, server);
  client.reacts = (method) => method === "get" ? "ignores" : "answers";
  for (let i = 0; i < 2; i++) {
    get(network, server);
    network.run(5_000);
  }
  const gets = client.count("get");
  get(network, server);
  assert.ok(client.count("get") > gets);
});

Deno.test("a contact that runs our software is asked again after it left a get unanswered", () => {
  const { network, server, client } = scene("ignores");
  client.version = "DM\x01\x00";
  network.run(2 * MINUTE);
  for (let i = 0; i < 2; i++) {
    get(network, server);
    network.run(5_000);
  }
  const gets = client.count("get");
  get(network, server);
  assert.ok(client.count("get") > gets);
});

Deno.test("a contact that has stopped answering is removed, although only pings count", () => {
  const { network, server, client, isKept } = scene("ignores");
  client.reacts = () => "ignores";
  get(network, server);
  network.run(MINUTE);
  assert.ok(!isKept());
});
