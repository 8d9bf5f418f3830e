// Votes on our own address (BEP 42).

import assert from "node:assert/strict";
import { AddressVotes } from "../../../src/dht/nat/address_votes.ts";
import { endpoint } from "../../packets.ts";

const HOME = endpoint("45.1.2.3:6881"),
  NEW = endpoint("46.1.2.3:6881"),
  LIE = endpoint("6.6.6.6:1");
const MINUTE = 60_000;

/** The table has this many seats. */
const SEATS = 32;

/** Neither our machine nor our router has any address. */
const isForeign = () => false;

/** The addresses of `count` voters in different networks. */
const series = (count: number, of = "1.1") =>
  Array.from({ length: count }, (_, i) => `${of}.${i}.1:1`);

function vote(
  votes: AddressVotes,
  voters: readonly string[],
  seen: typeof HOME,
  now = 0,
): boolean[] {
  return voters.map((voter) => votes.add(endpoint(voter), seen, { mayEnter: () => true, now }));
}

/** Votes of `voters` for `seen`, with the result accepted. */
function settled(voters: readonly string[], seen = HOME): AddressVotes {
  const votes = new AddressVotes();
  vote(votes, voters, seen);
  votes.accept(votes.count());
  return votes;
}

function brief(votes: AddressVotes): [string, number, number] {
  const tally = votes.count();
  return [`${tally.endpoint}`, tally.votes, tally.voters];
}

Deno.test("BEP 42: the address that most voters see wins", () => {
  const votes = new AddressVotes();
  vote(votes, series(3), HOME);
  vote(votes, ["2.2.2.2:1"], LIE);
  assert.deepEqual(brief(votes), [`${HOME}`, 3, 4]);
});

Deno.test("of two addresses with equal votes, the one that was seen first wins", () => {
  const votes = new AddressVotes();
  vote(votes, ["1.1.1.1:1"], HOME);
  vote(votes, ["1.1.2.1:1"], LIE);
  assert.equal(`${votes.count().endpoint}`, `${HOME}`);
});

Deno.test("an IPv4 /24 or IPv6 /48 has one vote, that of its first node", () => {
  for (
    const network of [
      ["6.6.6.6:1", "6.6.6.6:2", "6.6.6.7:1", "6.6.6.255:1"],
      ["[2a00:1:2::1]:1", "[2a00:1:2::1]:2", "[2a00:1:2:3::1]:1", "[2a00:1:2:ffff::]:1"],
    ]
  ) {
    const votes = new AddressVotes();
    vote(votes, network.slice(0, 1), HOME);
    vote(votes, network.slice(2), LIE);
    assert.deepEqual(brief(votes), [`${HOME}`, 1, 1]);
    vote(votes, network.slice(1, 2), LIE);
    assert.deepEqual(brief(votes), [`${LIE}`, 1, 1], "its latest vote counts");
  }
});

Deno.test("voters of different networks are distinguished by the whole prefix", () => {
  const votes = new AddressVotes();
  vote(votes, ["6.6.6.6:1", "6.6.7.6:1", "7.6.6.6:1"], HOME);
  assert.equal(votes.count().voters, 3);
  const votes6 = new AddressVotes();
  vote(votes6, ["[2a00:1:2::1]:1", "[2a00:1:3::1]:1", "[2a00:2:2::1]:1"], endpoint("[2a00::]:1"));
  assert.equal(votes6.count().voters, 3);
});

Deno.test("each node on one machine, and each address of a private network, has a vote", () => {
  for (
    const voters of [["127.0.0.1:1", "127.0.0.1:2"], ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.2:2"]]
  ) {
    const votes = new AddressVotes();
    vote(votes, voters, HOME);
    assert.equal(votes.count().voters, 2);
  }
});

Deno.test("votes from private networks don't count beside votes from the Internet", () => {
  const votes = new AddressVotes();
  vote(votes, ["10.0.0.1:1", "10.0.0.2:1"], endpoint("10.0.0.9:6881"));
  vote(votes, ["1.1.1.1:1"], HOME);
  assert.deepEqual(brief(votes), [`${HOME}`, 1, 1]);
});

Deno.test("newcomers can't displace voters, until these have been silent for a quarter of an hour", () => {
  const votes = new AddressVotes();
  vote(votes, series(SEATS), HOME);
  vote(votes, series(SEATS, "2.2"), LIE, 15 * MINUTE - 1);
  assert.deepEqual(brief(votes), [`${HOME}`, SEATS, SEATS]);
  vote(votes, series(1), HOME, 15 * MINUTE);
  vote(votes, series(SEATS, "2.2"), LIE, 15 * MINUTE);
  assert.deepEqual(brief(votes), [`${LIE}`, SEATS - 1, SEATS]);
});

Deno.test("a node that may not enter has no vote, unless it has a seat", () => {
  const votes = settled(series(2));
  const options = { mayEnter: () => false, now: 0 };
  votes.add(endpoint("2.2.2.2:1"), LIE, options);
  assert.deepEqual(brief(votes), [`${HOME}`, 2, 2]);
  votes.add(endpoint(series(1)[0]), NEW, options);
  assert.deepEqual(brief(votes), [`${NEW}`, 1, 2]);
});

Deno.test("a vote is a reason to count again if a voter with standing has changed its mind", () => {
  const votes = settled(series(12));
  assert.deepEqual(vote(votes, series(1), HOME), [false]);
  assert.deepEqual(vote(votes, series(1), NEW), [true]);
  assert.deepEqual(vote(votes, ["2.2.2.2:1"], LIE), [false]);
});

Deno.test("a vote is a reason to count again if most voters disagree", () => {
  const votes = settled(series(8));
  const reasons = vote(votes, series(9, "2.2"), LIE);
  assert.deepEqual(reasons, [...Array(8).fill(false), true]);
});

Deno.test("a result of few voters counts those that agree later, and is a reason to count again if one disagrees", () => {
  const votes = settled(series(1));
  assert.deepEqual(vote(votes, ["2.2.1.1:1"], HOME), [false]);
  const { votes: agreeing, samePort, by } = votes.accepted!;
  assert.deepEqual([agreeing, samePort, by.length], [2, 2, 2]);
  assert.deepEqual(vote(votes, ["2.2.2.1:1"], LIE), [true]);
});

Deno.test("the result changes if the voters with standing have changed their minds", () => {
  const votes = settled(series(10));
  vote(votes, series(10), NEW, 1);
  assert.equal(`${votes.recount(1, isForeign)!.endpoint}`, `${NEW}`);
});

Deno.test("the result stays while more than a fifth of the voters with standing confirm it", () => {
  for (const [staying, isStaying] of [[2, false], [3, true]] as const) {
    const votes = settled(series(10));
    vote(votes, series(10 - staying), NEW, 1);
    vote(votes, series(10).slice(10 - staying), HOME, 1);
    assert.equal(votes.recount(1, isForeign) === undefined, isStaying);
  }
});

Deno.test("an address of our machine or router needs the votes of half of the voters with standing", () => {
  for (const [staying, isStaying] of [[5, false], [6, true]] as const) {
    const votes = settled(series(10));
    vote(votes, series(10 - staying), NEW, 1);
    vote(votes, series(10).slice(10 - staying), HOME, 1);
    const result = votes.recount(1, (address) => address.sameAddress(NEW));
    assert.equal(result === undefined, isStaying);
  }
});

Deno.test("only votes since the probe count", () => {
  const votes = settled(series(10));
  vote(votes, series(3), NEW, 1);
  assert.equal(votes.recount(1, isForeign)!.voters, 3);
});

Deno.test("two voters with standing suffice against any number of others", () => {
  const votes = settled(series(2));
  vote(votes, series(20, "6.6"), LIE, 1);
  vote(votes, series(2), HOME, 1);
  assert.equal(votes.recount(1, isForeign), undefined);
});

Deno.test("a single voter with standing can be outvoted: a liar may have voted first", () => {
  const votes = settled(["6.6.6.6:1"], LIE);
  vote(votes, series(4), HOME, 1);
  vote(votes, ["6.6.6.6:1"], LIE, 1);
  assert.equal(`${votes.recount(1, isForeign)!.endpoint}`, `${HOME}`);
});

Deno.test("the result stays if no majority sees one other address", () => {
  const votes = settled(series(10));
  series(10).forEach((voter, i) => vote(votes, [voter], endpoint(`6.6.6.${i}:1`), 1));
  assert.equal(votes.recount(1, isForeign), undefined);
});

Deno.test("another port is another result, unless the voters see different ports", () => {
  const one = settled(series(4));
  assert.deepEqual(vote(one, series(1), HOME.withPort(7)), [true]);
  const different = new AddressVotes();
  series(4).forEach((voter, i) => vote(different, [voter], HOME.withPort(1_000 + i)));
  different.accept(different.count());
  assert.deepEqual(vote(different, series(1), HOME.withPort(7)), [false]);
});
