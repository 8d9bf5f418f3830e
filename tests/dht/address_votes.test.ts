// Votes on our own address (BEP 42): one a voter, the latest counts.

import assert from "node:assert/strict";
import { AddressVotes } from "../../src/dht/address_votes.ts";
import { endpoint } from "../packets.ts";

const HOME = endpoint("203.0.113.9:6881"), LIE = endpoint("198.51.100.1:1");

Deno.test("BEP 42: the address that most voters saw leads", () => {
  const votes = new AddressVotes();
  assert.equal(votes.leader(), undefined);
  for (let i = 1; i <= 3; i++) votes.add(endpoint(`1.1.1.${i}:1`), HOME, 0);
  votes.add(endpoint("1.1.1.4:1"), LIE, 0);
  const leader = votes.leader()!;
  assert.deepEqual([`${leader.endpoint}`, leader.votes, leader.voters], [`${HOME}`, 3, 4]);
});

Deno.test("one address has one vote, whatever its ports, and its latest counts", () => {
  const votes = new AddressVotes();
  votes.add(endpoint("1.1.1.1:1"), HOME, 0);
  votes.add(endpoint("1.1.1.2:1"), HOME, 0);
  for (let port = 1; port < 100; port++) votes.add(endpoint(`6.6.6.6:${port}`), LIE, 0);
  assert.equal(votes.leader()!.votes, 2);
  votes.add(endpoint("1.1.1.1:1"), LIE, 0);
  const leader = votes.leader()!;
  assert.deepEqual([`${leader.endpoint}`, leader.votes, leader.voters], [`${LIE}`, 2, 3]);
});

Deno.test("nodes on one machine vote each for itself", () => {
  const votes = new AddressVotes();
  for (let port = 1; port <= 3; port++) votes.add(endpoint(`127.0.0.1:${port}`), HOME, 0);
  assert.equal(votes.leader()!.votes, 3);
});

Deno.test("a bounded number of voters is remembered, the latest", () => {
  const votes = new AddressVotes();
  for (let i = 0; i < 200; i++) votes.add(endpoint(`1.1.1.${i}:1`), LIE, 0);
  for (let i = 0; i < 32; i++) votes.add(endpoint(`2.2.2.${i}:1`), HOME, 0);
  const leader = votes.leader()!;
  assert.deepEqual([`${leader.endpoint}`, leader.votes, leader.voters], [`${HOME}`, 32, 32]);
});

Deno.test("whoever votes again is remembered for longer", () => {
  const votes = new AddressVotes();
  votes.add(endpoint("1.1.1.1:1"), HOME, 0);
  for (let i = 0; i < 31; i++) votes.add(endpoint(`2.2.2.${i}:1`), LIE, 0);
  votes.add(endpoint("1.1.1.1:2"), HOME, 0);
  for (let i = 0; i < 31; i++) votes.add(endpoint(`3.3.3.${i}:1`), LIE, 0);
  votes.add(endpoint("1.1.1.1:3"), HOME, 0);
  votes.add(endpoint("1.1.1.2:1"), HOME, 0);
  votes.add(endpoint("1.1.1.3:1"), HOME, 0);
  assert.deepEqual([votes.leader()!.votes, votes.leader()!.voters], [29, 32]);
  for (let i = 0; i < 29; i++) votes.add(endpoint(`4.4.4.${i}:1`), HOME, 0);
  const leader = votes.leader()!;
  assert.deepEqual([`${leader.endpoint}`, leader.votes, leader.voters], [`${HOME}`, 32, 32]);
});

Deno.test("of two addresses with as many votes the one with the oldest vote leads", () => {
  const votes = new AddressVotes();
  votes.add(endpoint("1.1.1.1:1"), LIE, 0);
  votes.add(endpoint("1.1.1.2:1"), HOME, 0);
  assert.equal(`${votes.leader()!.endpoint}`, `${LIE}`);
  votes.add(endpoint("1.1.1.1:1"), LIE, 0);
  assert.equal(`${votes.leader()!.endpoint}`, `${HOME}`);
});

Deno.test("voters of both families are told apart by the whole address", () => {
  const votes = new AddressVotes();
  const voters = ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:1::1]:1", "32.1.13.184:1"];
  for (const voter of voters) votes.add(endpoint(voter), HOME, 0);
  votes.add(endpoint("[2001:db8::1]:9"), HOME, 0);
  assert.equal(votes.leader()!.voters, 4);
  for (let port = 1; port <= 3; port++) votes.add(endpoint(`[::1]:${port}`), HOME, 0);
  votes.add(endpoint("127.0.0.1:1"), HOME, 0);
  assert.equal(votes.leader()!.voters, 8);
});
