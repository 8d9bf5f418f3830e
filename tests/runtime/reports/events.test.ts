// Tests the reports of core events. Events that need hours or an address on the Internet occur in a virtual network.

import assert from "node:assert/strict";
import type { NodeEvent } from "../../../src/dht/host.ts";
import { immutableItem } from "../../../src/dht/items/item.ts";
import type { PutResult } from "../../../src/dht/items/item_operations.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { EventListeners, serviceEvent } from "../../../src/runtime/reports/events.ts";
import { EVENTS } from "../../../src/reports/events.ts";
import { VirtualNetwork } from "../../dht/virtual_network.ts";
import { latin1 } from "../../packets.ts";

const MINUTE = 60_000, HOUR = 60 * MINUTE;

/** Returns the data of the reported event. Asserts that the data matches its schema. */
function sent(event: Parameters<typeof serviceEvent>[0]) {
  const { type, data } = serviceEvent(event, () => assert.fail("no peer joins here"));
  assert.deepEqual(EVENTS[type].data.parse(data), data);
  return data as Record<string, unknown>;
}

function only<T extends NodeEvent["type"]>(events: readonly NodeEvent[], type: T) {
  return events.filter((event): event is Extract<NodeEvent, { type: T }> => event.type === type);
}

Deno.test("data.replicate and data.expire: copies of a value are made, and expire", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(12, { k: 5 });
  const item = immutableItem(itemCrypto, bencodeBytes(latin1("kept for a day")));
  const { stored } = network.complete<PutResult>((now, done) =>
    nodes[0].node.items.put({ target: item.target, make: () => item }, now, done)
  );
  network.run(5 * MINUTE);
  const lost = nodes.filter(({ node }) => stored.slice(0, 2).some((id) => id.equals(node.id)));
  for (const node of lost) node.isDown = true;
  network.run(10 * MINUTE);
  const copies = nodes.flatMap(({ events }) => only(events, "data.replicate"));
  assert.ok(copies.length > 0);
  const { hash, to } = sent(copies[0]);
  assert.equal(hash, `${item.target}`);
  assert.deepEqual(to, copies[0].to.map(String));

  const holder = nodes.find(({ items }) => items.get(item.target, network.now) !== undefined)!;
  for (const node of nodes) node.isDown = node !== holder;
  network.run(25 * HOUR);
  const expired = only(holder.events, "data.expire");
  assert.deepEqual(expired.map(sent), [{ hash: `${item.target}`, reason: "expired" }]);
});

Deno.test("id: a node changes its id to one that fits the address that others see", () => {
  const network = new VirtualNetwork();
  const before: string[] = [];
  const nodes = Array.from({ length: 14 }, (_, i) => {
    const added = network.add({ k: 8, at: `7.${i}.1.1:6881` });
    before.push(`${added.node.id}`);
    if (i > 0) added.node.membership.join(network.nodes[0].endpoints, [], network.now);
    network.run(2_000);
    return added;
  });
  network.run(10 * MINUTE);
  const changed = nodes.findIndex(({ events }) => only(events, "id").length > 0);
  const { node, endpoint, events } = nodes[changed];
  assert.deepEqual(sent(only(events, "id")[0]), {
    node_id: `${node.id}`,
    former: before[changed],
    address: `${endpoint}`,
  });
});

Deno.test("lookup.step: the start and the outcome of each query, while such events are turned on", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(12, { k: 8 });
  const { node, events } = nodes[3];
  const find = () => {
    events.length = 0;
    const target = network.randomId();
    return {
      target,
      result: network.complete<{ asked: readonly unknown[]; closest: readonly unknown[] }>((
        now,
        done,
      ) => node.find(target, now, done)),
    };
  };
  find();
  assert.equal(only(events, "lookup").length, 1);
  assert.equal(only(events, "lookup.step").length, 0, "nobody asked for it");

  node.searches.reportsSteps = true;
  for (const one of nodes.slice(8)) one.isDown = true;
  const { target, result } = find();
  const [end] = only(events, "lookup");
  const steps = only(events, "lookup.step").map(({ step }) => step);
  const count = (state: string) => steps.filter((step) => step.state === state).length;
  assert.deepEqual([count("asked"), count("responded")], [
    result.asked.length,
    result.closest.length,
  ]);
  assert.ok(count("late") > 0, "of those that are down");
  for (const step of steps) {
    assert.equal(step.lookup, end.lookup.lookup);
    assert.ok(step.target.equals(target));
  }
  assert.ok(events.indexOf(end) > events.findLastIndex(({ type }) => type === "lookup.step"));
  // The candidate changes during the lookup, but an earlier report must not.
  const first = sent({ type: "lookup.step", step: { ...steps[0], state: "asked" } });
  assert.deepEqual([first.target, first.state, first.hop], [`${target}`, "asked", 1]);
  assert.equal(typeof first.distance, "number");
  node.searches.reportsSteps = false;
  find();
  assert.equal(only(events, "lookup.step").length, 0);
});

Deno.test("listeners get events until they are removed", () => {
  const listeners = new EventListeners(), heard: unknown[][] = [];
  assert.equal(listeners.isEmpty, true);
  const stop = listeners.add((event, at) => heard.push(["first", event.type, at]));
  listeners.add((event, at) => heard.push(["second", event.type, at]));
  listeners.tell({ type: "data.expire", data: { hash: "ab", reason: "expired" } }, 5);
  stop();
  listeners.tell({ type: "bootstrap", data: { state: "failed", contacts: 0 } }, 6);
  assert.deepEqual(heard, [
    ["first", "data.expire", 5],
    ["second", "data.expire", 5],
    ["second", "bootstrap", 6],
  ]);
});
