// A contact's record: health, goodness, round-trip time and score.

import assert from "node:assert/strict";
import { Contact, GOOD_FOR_MS, MISSES_TO_DROP } from "../../../src/dht/routing/contact.ts";
import { endpoint, id } from "../../packets.ts";

const make = () => new Contact(id("aa"), endpoint("1.2.3.4:5"), 0);

Deno.test("BEP 5: a contact that answered within 15 minutes is good", () => {
  const contact = make();
  assert.equal(contact.isGood(0), false, "not before it ever answered");
  contact.lastQuery = 1;
  assert.equal(contact.isGood(1), false, "asking is not answering");
  contact.answered(1000, 5);
  assert.ok(contact.isGood(1000 + GOOD_FOR_MS - 1));
  assert.equal(contact.isGood(1000 + GOOD_FOR_MS), false);
});

Deno.test("BEP 5: a contact that has ever answered and queried us within 15 minutes is good", () => {
  const contact = make();
  contact.answered(0, 5);
  contact.lastQuery = 10 * GOOD_FOR_MS;
  assert.ok(contact.isGood(11 * GOOD_FOR_MS - 1));
  assert.equal(contact.isGood(11 * GOOD_FOR_MS), false);
});

Deno.test("BEP 5: several misses in a row make a contact bad, and one answer makes it good again", () => {
  const contact = make();
  contact.answered(0, 5);
  assert.equal(contact.health, "healthy");
  contact.missed(1);
  assert.deepEqual([contact.health, contact.isGood(1)], ["degraded", false]);
  contact.missed(2);
  assert.equal(contact.health, "unhealthy");
  assert.ok(MISSES_TO_DROP > 2);
  contact.answered(3, 5);
  assert.deepEqual([contact.health, contact.misses, contact.isGood(3)], ["healthy", 0, true]);
});

Deno.test("RFC 6298: the round-trip time and its variation are smoothed", () => {
  const contact = make();
  contact.answered(0, 100);
  assert.deepEqual([contact.rtt, contact.rttVariation], [100, 50]);
  contact.answered(1, 200);
  assert.deepEqual([contact.rtt, contact.rttVariation], [112.5, 62.5]);
  for (let i = 0; i < 200; i++) contact.answered(i, 40);
  assert.ok(Math.abs(contact.rtt - 40) < 1 && contact.rttVariation < 1);
});

/** Contacts that answer fast, slowly, and every second time. */
function contacts() {
  const near = make(), far = make(), lossy = make();
  for (let i = 0; i < 20; i++) {
    near.answered(i, 10);
    far.answered(i, 500);
    if (i % 2) lossy.answered(i, 10);
    else lossy.missed(i);
  }
  return { near, far, lossy };
}

Deno.test("a near contact has a higher score than a far one", () => {
  const { near, far } = contacts();
  assert.ok(near.score > far.score);
});

Deno.test("a reliable contact has a higher score than one that misses queries", () => {
  const { near, lossy } = contacts();
  assert.ok(near.score > lossy.score);
});

Deno.test("every score is between 0 and 1", () => {
  for (const { score } of [...Object.values(contacts()), make()]) {
    assert.ok(score >= 0 && score <= 1);
  }
});

Deno.test("last seen is the latest answer or query", () => {
  const contact = make();
  assert.equal(contact.lastSeen, 0);
  contact.answered(5, 1);
  contact.lastQuery = 7;
  assert.equal(contact.lastSeen, 7);
});

Deno.test("a first answer after hours keeps all figures positive", () => {
  const contact = make();
  contact.answered(9e6, 9e6);
  assert.deepEqual([contact.rtt, contact.rttVariation], [9e6, 4.5e6]);
});
