// The signs of an attack, as the page judges them from the node's report.

import assert from "node:assert/strict";
import { exampleOf } from "../../src/reports/fields.ts";
import { Stats } from "../../src/reports/stats.ts";
import { Threats } from "../../src/reports/threats.ts";
import { needsAttention } from "../../src/web/findings.js";
import { dropText, signsOf } from "../../src/web/threats.js";

const EXAMPLE = exampleOf(Threats);
const CALM: Stats = {
  ...exampleOf(Stats),
  lookups: { ...exampleOf(Stats).lookups, latest_crowded: null },
};

/** The checks that find a sign. */
const warned = (threats: Threats, stats = CALM) =>
  signsOf(threats, stats).filter(needsAttention).map(({ check }) => check);

const refusing = (reason: string, per_second: number): Threats => ({
  ...EXAMPLE,
  refused: {
    ...EXAMPLE.refused,
    reasons: [{ reason, total: 90_000, recent: 90_000, per_second }],
  },
});

const network = (contacts: number, global: boolean): Threats => ({
  ...EXAMPLE,
  contacts: {
    ...EXAMPLE.contacts,
    all: 20,
    widest: [{ network: "198.51.0.0/16", contacts, global }],
  },
});

Deno.test("a calm node shows no sign of an attack", () => {
  assert.deepEqual(warned(EXAMPLE), []);
  assert.deepEqual(warned(refusing("unmatched", 500)), [], "late answers are harmless");
  assert.deepEqual(warned(refusing("malformed", 5)), [], "a few bad packets are normal");
  assert.deepEqual(warned(network(20, false)), [], "a private network is no attacker's");
});

Deno.test("each kind of attack is a sign of its own", () => {
  const [ids] = EXAMPLE.own_ids;
  assert.deepEqual(warned(refusing("rate_limited", 500)), ["Flood"]);
  assert.deepEqual(warned({ ...EXAMPLE, own_ids: [{ ...ids, nodes: ids.limit }] }), [
    "Ids around this node",
  ]);
  const similar = { ...ids, nodes: null, similar: ids.max_similar };
  assert.deepEqual(warned({ ...EXAMPLE, own_ids: [ids, { ...similar, family: 6 }] }), [
    "Ids around this node, IPv6",
  ]);
  assert.deepEqual(warned({ ...EXAMPLE, values: { ...EXAMPLE.values, crowded: 1 } }), [
    "Ids around your values",
  ]);
  assert.deepEqual(warned(EXAMPLE, exampleOf(Stats)), ["Other keys"]);
  assert.deepEqual(warned(network(8, true)), ["Networks of contacts"]);
  assert.deepEqual(warned({ ...EXAMPLE, api_refusals: { wrong_token: 40 } }), ["API tokens"]);
});

Deno.test("unknown reasons are shown in words", () => {
  assert.equal(dropText("made_of_cheese"), "Made of cheese");
  assert.equal(dropText("__proto__"), "  proto  ");
  assert.equal(dropText("constructor"), "Constructor");
});
