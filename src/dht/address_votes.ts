// Which address others see us at, by the votes that come as `ip` in their responses (BEP 42).

import { type Endpoint, type Family, isWider } from "../krpc/endpoint.ts";
import type { Millis } from "./deadlines.ts";

/** Voters remembered; a vote counts until this many others have voted. */
const VOTERS = 32;

/** Until so many have voted each vote is news. */
const FEW_VOTERS = 4;

/** Of the votes for an address so many, the latest, say which ports it is seen at: a router may have started anew. */
const PORT_VOTERS = 8;

/** And so many of those say which of several ports is the present one. */
const PRESENT_VOTERS = 3;

interface Vote {
  voter: Endpoint;
  /** Tells most voters apart at one comparison. */
  mark: number;
  seen: Endpoint;
  at: Millis;
  /** Counts up from vote to vote. */
  order: number;
}

/** What the voters of one family say. */
export interface Tally {
  /** The address that most saw, at the port that it has at present. */
  readonly endpoint: Endpoint;
  /** Those that saw this address, and all. */
  readonly votes: number;
  readonly voters: number;
  /** The latest of those that saw it, and how many of them at most saw one port. */
  readonly portVoters: number;
  readonly samePort: number;
  /** They themselves, the latest first. */
  readonly by: readonly Endpoint[];
  /** When the latest of them voted. */
  readonly at: Millis;
}

/** The latest vote of each of the latest voters; one voter is one IP address, or one loopback endpoint. */
export class AddressVotes {
  /** In any order. */
  readonly #votes: Vote[] = [];
  #latest: Vote | undefined;

  /** Notes a vote; true where it is news: it names another endpoint than the one before, or there are few yet. */
  add(voter: Endpoint, seen: Endpoint, now: Millis): boolean {
    const order = this.#latest === undefined ? 0 : this.#latest.order + 1;
    const at = Math.floor(now);
    // Most agree: then one object serves all of them.
    const isSame = this.#latest !== undefined && this.#latest.seen.equals(seen);
    if (isSame) seen = this.#latest!.seen;
    const mark = markOf(voter);
    let vote = this.#find(voter, mark);
    if (vote === undefined) {
      vote = { voter, mark, seen, at, order };
      this.#votes.push(vote);
    } else {
      vote.voter = voter;
      vote.mark = mark;
      vote.seen = seen;
      vote.at = at;
      vote.order = order;
    }
    this.#latest = vote;
    return !isSame || this.#votes.length <= FEW_VOTERS;
  }

  /** The vote that a new one of `voter` takes the place of: its own, else the oldest; undefined while there is room. */
  #find(voter: Endpoint, mark: number): Vote | undefined {
    const votes = this.#votes;
    let oldest: Vote | undefined;
    for (let i = 0; i < votes.length; i++) {
      const vote = votes[i];
      if (vote.mark === mark && isSameVoter(vote.voter, voter)) return vote;
      if (oldest === undefined || vote.order < oldest.order) oldest = vote;
    }
    return votes.length < VOTERS ? undefined : oldest;
  }

  /**
   * The address that most voters saw, at one of the ports that they saw it at, and how many they are. Of equals the
   * one with the oldest vote.
   */
  leader(): { endpoint: Endpoint; votes: number; voters: number } | undefined {
    const first = leading(this.#votes);
    if (first === undefined) return undefined;
    return { endpoint: first[0].seen, votes: first.length, voters: this.#votes.length };
  }

  /**
   * What the voters of one family saw; undefined where none has voted. Those nearby don't count beside those far off:
   * a neighbour behind the same router sees another address than the Internet does.
   */
  tally(family: Family): Tally | undefined {
    let votes: Vote[] = [];
    for (const vote of this.#votes) {
      if (vote.voter.family !== family || vote.seen.family !== family) continue;
      if (votes.length > 0 && isWider(votes[0].voter, vote.voter)) continue;
      if (votes.length > 0 && isWider(vote.voter, votes[0].voter)) votes = [];
      votes.push(vote);
    }
    const agreeing = leading(votes);
    if (agreeing === undefined) return undefined;
    const latest = agreeing.sort((x, y) => y.order - x.order).slice(0, PORT_VOTERS);
    const present = commonPort(latest.slice(0, PRESENT_VOTERS));
    return {
      endpoint: present.seen,
      votes: agreeing.length,
      voters: votes.length,
      portVoters: latest.length,
      samePort: commonPort(latest).count,
      by: latest.map(({ voter }) => voter),
      at: latest[0].at,
    };
  }
}

/** The votes for the address that most of them name, the oldest first; of equals the one with the oldest vote. */
function leading(votes: readonly Vote[]): Vote[] | undefined {
  const byAddress = new Map<string, Vote[]>();
  for (const vote of votes.toSorted((x, y) => x.order - y.order)) {
    const same = byAddress.get(vote.seen.host);
    if (same === undefined) byAddress.set(vote.seen.host, [vote]);
    else same.push(vote);
  }
  let best: Vote[] | undefined;
  for (const same of byAddress.values()) if (same.length > (best?.length ?? 0)) best = same;
  return best;
}

/** What was seen at the port that most of these votes name, the first of equals, and how many name it. */
function commonPort(votes: readonly Vote[]): { seen: Endpoint; count: number } {
  const counts = votes.map(({ seen }) => {
    return { seen, count: votes.filter((other) => other.seen.port === seen.port).length };
  });
  return counts.reduce((most, next) => next.count > most.count ? next : most);
}

function isSameVoter(x: Endpoint, y: Endpoint): boolean {
  return x.sameAddress(y) && (x.port === y.port || x.scope !== "loopback");
}

/** The same for equal voters. */
function markOf(voter: Endpoint): number {
  return voter.scope === "loopback" ? voter.d ^ voter.port : voter.a ^ voter.d;
}
