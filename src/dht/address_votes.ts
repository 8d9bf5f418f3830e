// Which address others see us at, by the votes that come as `ip` in their responses (BEP 42).

import type { Endpoint } from "../krpc/endpoint.ts";

/** Voters remembered; a vote counts until this many others have voted. */
const VOTERS = 32;

interface Vote {
  voter: Endpoint;
  /** Tells most voters apart at one comparison. */
  mark: number;
  seen: Endpoint;
  /** Counts up from vote to vote. */
  order: number;
}

/** The latest vote of each of the latest voters; one voter is one IP address, or one loopback endpoint. */
export class AddressVotes {
  /** In any order. */
  readonly #votes: Vote[] = [];
  #latest: Vote | undefined;

  add(voter: Endpoint, seen: Endpoint): void {
    const order = this.#latest === undefined ? 0 : this.#latest.order + 1;
    // Most agree: then one object serves all of them.
    if (this.#latest?.seen.equals(seen)) seen = this.#latest.seen;
    const mark = markOf(voter);
    let vote = this.#find(voter, mark);
    if (vote === undefined) {
      vote = { voter, mark, seen, order };
      this.#votes.push(vote);
    } else {
      vote.voter = voter;
      vote.mark = mark;
      vote.seen = seen;
      vote.order = order;
    }
    this.#latest = vote;
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

  /** The endpoint most voters saw, and how many they are. Of equals the one with the oldest vote. */
  leader(): { endpoint: Endpoint; votes: number; voters: number } | undefined {
    const counts = new Map<string, { endpoint: Endpoint; votes: number }>();
    for (const { seen } of this.#votes.toSorted((x, y) => x.order - y.order)) {
      const key = seen.toString();
      const entry = counts.get(key) ?? { endpoint: seen, votes: 0 };
      entry.votes++;
      counts.set(key, entry);
    }
    let best: { endpoint: Endpoint; votes: number } | undefined;
    for (const entry of counts.values()) if (entry.votes > (best?.votes ?? 0)) best = entry;
    return best && { ...best, voters: this.#votes.length };
  }
}

function isSameVoter(x: Endpoint, y: Endpoint): boolean {
  return x.sameAddress(y) && (x.port === y.port || x.scope !== "loopback");
}

/** The same for equal voters. */
function markOf(voter: Endpoint): number {
  return voter.scope === "loopback" ? voter.d ^ voter.port : voter.a ^ voter.d;
}
