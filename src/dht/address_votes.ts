// Which address others see us at, by the votes that come as `ip` in their responses (BEP 42).

import type { Endpoint } from "../krpc/endpoint.ts";

/** Voters remembered; a vote counts until this many others have voted. */
const VOTERS = 32;

/** The latest vote of each of the latest voters; one voter is one IP address, or one loopback endpoint. */
export class AddressVotes {
  // Columns of one table, in any order: to look for a voter reads numbers side by side.
  /** Tells most voters apart. */
  readonly #marks: number[] = [];
  /** Counts up from vote to vote. */
  readonly #orders: number[] = [];
  readonly #voters: Endpoint[] = [];
  readonly #seen: Endpoint[] = [];
  #latest = 0;
  #votes = 0;

  add(voter: Endpoint, seen: Endpoint): void {
    // Most agree: then one object serves all of them.
    if (this.#seen[this.#latest]?.equals(seen)) seen = this.#seen[this.#latest];
    const mark = markOf(voter);
    const at = this.#find(voter, mark);
    this.#marks[at] = mark;
    this.#orders[at] = this.#votes++;
    this.#voters[at] = voter;
    this.#seen[at] = seen;
    this.#latest = at;
  }

  /** The place of a vote of `voter`: where its last one is, else a free one, else that of the oldest. */
  #find(voter: Endpoint, mark: number): number {
    const marks = this.#marks, orders = this.#orders;
    let oldest = 0;
    for (let i = 0; i < marks.length; i++) {
      if (marks[i] === mark && isSameVoter(this.#voters[i], voter)) return i;
      if (orders[i] < orders[oldest]) oldest = i;
    }
    return marks.length < VOTERS ? marks.length : oldest;
  }

  /** The endpoint most voters saw, and how many they are. Of equals the one with the oldest vote. */
  leader(): { endpoint: Endpoint; votes: number; voters: number } | undefined {
    const counts = new Map<string, { endpoint: Endpoint; votes: number }>();
    const places = [...this.#seen.keys()].sort((x, y) => this.#orders[x] - this.#orders[y]);
    for (const place of places) {
      const seen = this.#seen[place];
      const key = seen.toString();
      const entry = counts.get(key) ?? { endpoint: seen, votes: 0 };
      entry.votes++;
      counts.set(key, entry);
    }
    let best: { endpoint: Endpoint; votes: number } | undefined;
    for (const entry of counts.values()) if (entry.votes > (best?.votes ?? 0)) best = entry;
    return best && { ...best, voters: this.#seen.length };
  }
}

function isSameVoter(x: Endpoint, y: Endpoint): boolean {
  return x.sameAddress(y) && (x.port === y.port || x.scope !== "loopback");
}

/** The same for equal voters. */
function markOf(voter: Endpoint): number {
  return voter.scope === "loopback" ? voter.d ^ voter.port : voter.a ^ voter.d;
}
