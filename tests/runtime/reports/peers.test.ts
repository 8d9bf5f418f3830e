// Reports of peers: sorted, filtered, limited, and counted by distance.

import assert from "node:assert/strict";
import { Contact } from "../../../src/dht/routing/contact.ts";
import { Id } from "../../../src/krpc/id.ts";
import { PeerSort } from "../../../src/reports/peers.ts";
import { PeerHistory } from "../../../src/runtime/reports/peer_history.ts";
import { PeerReports } from "../../../src/runtime/reports/peers.ts";
import { endpoint } from "../../packets.ts";

const OWN = "0".repeat(40);
const NEAR = `${"0".repeat(39)}1`, MIDDLE = `8${"0".repeat(39)}`, FAR = `f${"0".repeat(39)}`;

type Facts = Partial<Record<"rtt" | "score" | "firstSeen" | "lastSeen" | "health", unknown>>;

/** Creates a contact with these properties. */
function contact(id: string, facts: Facts = {}): Contact {
  const made = new Contact(Id.from(id), endpoint("127.0.0.1:1"), 0);
  for (const [name, value] of Object.entries(facts)) Object.defineProperty(made, name, { value });
  return made;
}

function reportsOf(...contacts: Contact[]): PeerReports {
  const tables = {
    find: (id: Id) => contacts.find((contact) => contact.id.equals(id)),
    contacts: () => contacts.values(),
    of: () => assert.fail("no bucket is reported"),
  };
  return new PeerReports({ id: Id.from(OWN), tables }, new PeerHistory(), (at) => at);
}

const reports = reportsOf(
  contact(NEAR, { score: 0.1, rtt: 30, firstSeen: 3_000, lastSeen: 4_000, health: "unhealthy" }),
  contact(MIDDLE, { score: 0.5, rtt: NaN, firstSeen: 1_000, lastSeen: 6_000, health: "degraded" }),
  contact(FAR, { score: 0.9, rtt: 10, firstSeen: 2_000, lastSeen: 5_000, health: "healthy" }),
);

const idsOf = (selection: Parameters<PeerReports["list"]>[0]) =>
  reports.list(selection).peers.map(({ node_id }) => node_id);

Deno.test("peers are sorted by score or as requested, and unmeasured ones come last", () => {
  assert.deepEqual(idsOf({}), [FAR, MIDDLE, NEAR]);
  const sorted = Object.fromEntries(PeerSort.options.map((sort) => [sort, idsOf({ sort })]));
  assert.deepEqual(sorted, {
    score: [FAR, MIDDLE, NEAR],
    distance: [NEAR, MIDDLE, FAR],
    rtt: [FAR, NEAR, MIDDLE],
    last_seen: [MIDDLE, FAR, NEAR],
    first_seen: [MIDDLE, FAR, NEAR],
  });
});

Deno.test("peers are filtered by health, and limited", () => {
  assert.deepEqual(idsOf({ health: "degraded" }), [MIDDLE]);
  assert.deepEqual(idsOf({ limit: 2, sort: "distance" }), [NEAR, MIDDLE]);
  assert.deepEqual(idsOf({ health: "healthy", limit: 50 }), [FAR]);
});

Deno.test("the whole table is counted by distance, for any selection", () => {
  const { node_id, routing_table_size, bucket_distribution } = reports.list({ limit: 1 });
  assert.deepEqual([node_id, routing_table_size], [OWN, 3]);
  assert.deepEqual([bucket_distribution["0-20"], bucket_distribution["141-160"]], [1, 2]);
});

Deno.test("a distance on the bound between two ranges belongs to the lower one", () => {
  const atDistance = (bits: number) =>
    contact((1n << BigInt(bits - 1)).toString(16).padStart(40, "0"));
  const { bucket_distribution } = reportsOf(...[20, 21, 40, 41].map(atDistance)).list();
  assert.deepEqual(
    [bucket_distribution["0-20"], bucket_distribution["21-40"], bucket_distribution["41-60"]],
    [1, 2, 1],
  );
});
