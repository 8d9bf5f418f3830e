// The signs of an attack that a node reports: refused packets, crowded ids, and contacts in one network.

import assert from "node:assert/strict";
import { immutableItem } from "../../../src/dht/items/item.ts";
import type { PutResult } from "../../../src/dht/items/item_operations.ts";
import { bencodeBytes } from "../../../src/krpc/bencode.ts";
import type { Id } from "../../../src/krpc/id.ts";
import { NodeThreats } from "../../../src/reports/threats.ts";
import { itemCrypto } from "../../../src/runtime/identity/crypto.ts";
import { REFUSALS_INTERVAL_MS, ThreatReports } from "../../../src/runtime/reports/threats.ts";
import { Stranger, VirtualNetwork, type VirtualNode } from "../../dht/virtual_network.ts";
import { latin1 } from "../../packets.ts";

const K = 8;

/** The reports of a node that publishes the value at `target`, and nothing else. */
function reportsOf(network: VirtualNetwork, { node }: VirtualNode, target?: Id): ThreatReports {
  return new ThreatReports({
    core: node,
    published: { has: (other) => target?.equals(other) ?? false },
    clock: { now: () => network.now, wall: (at) => at },
  });
}

const reasonIn = ({ refused }: NodeThreats, name: string) =>
  refused.reasons.find(({ reason }) => reason === name);

Deno.test("refused packets are reported by reason, rate and source network", () => {
  const network = new VirtualNetwork();
  const node = network.add({ at: "10.0.0.1:6881" });
  const reports = reportsOf(network, node);
  const stranger = new Stranger(network, "198.51.100.7:6881");
  const flood = (packets: number) => {
    for (let i = 0; i < packets; i++) stranger.send(latin1("d1:x"), node.endpoint);
    network.run(REFUSALS_INTERVAL_MS);
    reports.sample();
  };
  flood(600);
  const report = NodeThreats.parse(reports.report());
  assert.deepEqual(reasonIn(report, "malformed"), {
    reason: "malformed",
    total: 600,
    recent: 600,
    per_second: 600 / (REFUSALS_INTERVAL_MS / 1000),
  });
  assert.deepEqual(report.refused.sources, [
    { network: "198.51.100.0/24", reason: "malformed", packets: 600 },
  ]);
  for (let minute = 0; minute < 61; minute++) flood(0);
  const later = reports.report();
  assert.deepEqual(reasonIn(later, "malformed"), {
    reason: "malformed",
    total: 600,
    recent: 0,
    per_second: 0,
  });
  assert.ok(later.refused.over_s <= 3_600 && later.refused.sources.length === 0);
});

Deno.test("Sybils around a value and around this node are reported, and contacts by network", () => {
  const network = new VirtualNetwork();
  const nodes = network.addJoined(40, { k: K }), own = nodes[5];
  for (let i = 0; i < 10; i++) {
    network.complete((now, done) => own.node.find(network.randomId(), now, done));
  }
  const item = immutableItem(itemCrypto, bencodeBytes(latin1("wanted")));
  const reports = reportsOf(network, own, item.target);
  const put = () =>
    network.complete<PutResult>((now, done) =>
      own.node.items.put({ target: item.target, make: () => item }, now, done)
    );
  put();
  const calm = NodeThreats.parse(reports.report());
  assert.equal(calm.values.counted, 1);
  assert.equal(calm.values.crowded, 0);
  assert.equal(calm.own_ids[0].limit, K);
  assert.ok(calm.own_ids[0].nodes! < K);
  assert.equal(calm.contacts.largest[0].network, "10.0.0.0/24");
  assert.equal(calm.contacts.largest[0].contacts, own.node.tables.size);

  for (const target of [item.target, own.node.id]) {
    for (let i = 0; i < 2 * K; i++) {
      const sybil = network.add({ k: K, id: target.withSuffix(20, network.randomId()) });
      sybil.node.membership.join(own.endpoints, [], network.now);
    }
  }
  network.run(120_000);
  put();
  const attacked = NodeThreats.parse(reports.report());
  assert.equal(attacked.values.crowded, 1);
  assert.equal(attacked.values.densest[0].hash, `${item.target}`);
  assert.ok(attacked.values.densest[0].nodes >= K);
  assert.ok(attacked.own_ids[0].nodes! >= K, `${attacked.own_ids[0].nodes}`);
});
