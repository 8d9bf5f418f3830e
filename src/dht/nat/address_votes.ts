// Counts votes on our address in one family. The field `ip` of a response is a vote: the endpoint at which the
// responding node sees us (BEP 42).

import { type Endpoint, isWider } from "../../krpc/endpoint.ts";
import type { Millis } from "../deadlines.ts";
import { isSameNetwork, networkMark } from "../routing/diversity.ts";

/** Cap on the networks that vote. Once the table is full, newcomers can't displace active voters. */
const MAX_VOTERS = 32;

/** A voter that has not voted for this long may lose its seat to another voter. Contacts vote at each health check. */
const SEAT_MS = 15 * 60_000;

/** While the accepted result counts fewer voters than this, the votes of new voters count too. */
const ENOUGH_VOTERS = 8;

/** We keep our address if more than this share of the voters still sees us there. */
const STAYING_SHARE = 0.2;

/**
 * The same limit as `STAYING_SHARE`, if the new address belongs to our machine or router. It is higher, because older
 * connections may still use the former address.
 */
const STAYING_SHARE_IF_OURS = 0.5;

/** The result of counting the votes on our address in one family. */
export interface Tally {
  /** The address that most voters see, with the port that most of these voters see. */
  readonly endpoint: Endpoint;
  /** The number of voters that see this address. */
  readonly votes: number;
  readonly voters: number;
  /** The number of voters that see this address and the same port. */
  readonly samePort: number;
  /** The endpoints of the nodes that voted for this address. */
  readonly by: readonly Endpoint[];
  /** The time of the latest vote that was counted. */
  readonly at: Millis;
}

/**
 * The latest vote of each voter. A voter is one network: an IPv4 /24 or IPv6 /48. In private networks it is one
 * address, and on loopback one endpoint.
 */
export class AddressVotes {
  // These arrays are the columns of one table. Searching `#marks` for a voter is fast, because its numbers are
  // adjacent.
  /** For each row, a hash of the voter's network. */
  readonly #marks: number[] = [];
  readonly #times: Millis[] = [];
  readonly #voters: Endpoint[] = [];
  readonly #seen: Endpoint[] = [];
  /** For each row, whether the voter has standing, that is, has seen us at the accepted address. */
  readonly #hasStanding: boolean[] = [];
  #accepted: Tally | undefined;

  /** The result that is in use. Only `accept` changes it, except that agreeing votes of new voters are added to it. */
  get accepted(): Tally | undefined {
    return this.#accepted;
  }

  /** Puts a result into use. The voters that agree with it get standing. */
  accept(tally: Tally): void {
    this.#accepted = tally;
    this.#seen.forEach((seen, row) => this.#hasStanding[row] = this.#agrees(seen));
  }

  /**
   * Records that `voter` sees us at `seen`. A voter without a seat gets a free one only if `mayEnter` returns true.
   * Returns whether to count the votes again: if the vote disagrees with the accepted result, and the voter has
   * standing, is among the first `ENOUGH_VOTERS`, or belongs to a majority that disagrees.
   */
  add(
    voter: Endpoint,
    seen: Endpoint,
    { mayEnter, now }: { readonly mayEnter: () => boolean; readonly now: Millis },
  ): boolean {
    const mark = networkMark(voter);
    let row = this.#find(voter, mark);
    const isNew = row < 0 || !this.#voters[row].sameAddress(voter);
    if (isNew) {
      if (!mayEnter()) return false;
      // Another node of the voter's network gets the seat only if the voter has fallen silent.
      if (row < 0) row = this.#freeSeat(now);
      else if (now - this.#times[row] < SEAT_MS) return false;
      if (row < 0) return false;
      this.#marks[row] = mark;
      this.#voters[row] = voter;
      this.#hasStanding[row] = false;
    }
    this.#times[row] = now;
    const accepted = this.#accepted;
    // Most votes agree, so equal endpoints share one object to save memory.
    this.#seen[row] = accepted?.endpoint.equals(seen) ? accepted.endpoint : seen;
    if (accepted === undefined) return true;
    const isFirst = isNew && accepted.voters < ENOUGH_VOTERS;
    if (!this.#agrees(seen)) return isFirst || this.#hasStanding[row] || this.#isOutvoted;
    this.#hasStanding[row] = true;
    if (isFirst) this.#accepted = withVote(accepted, voter, seen);
    return false;
  }

  /** The row of the voter's network; -1 if there is none. */
  #find(voter: Endpoint, mark: number): number {
    const marks = this.#marks;
    for (let row = 0; row < marks.length; row++) {
      if (marks[row] === mark && isSameNetwork(this.#voters[row], voter)) return row;
    }
    return -1;
  }

  /** The row for a new voter. If the table is full, this is the row of a silent voter; -1 if no voter is silent. */
  #freeSeat(now: Millis): number {
    const times = this.#times;
    return times.length < MAX_VOTERS ? times.length : times.findIndex((at) => now - at >= SEAT_MS);
  }

  /** Whether a vote agrees with the accepted result. The port must match only if most voters see the same port. */
  #agrees(seen: Endpoint): boolean {
    const { endpoint, samePort, votes } = this.#accepted!;
    return samePort > votes / 2 ? endpoint.equals(seen) : endpoint.sameAddress(seen);
  }

  /** Whether most voters disagree with the accepted result. */
  get #isOutvoted(): boolean {
    const rows = this.#rows(-Infinity);
    return 2 * rows.filter((row) => this.#agrees(this.#seen[row])).length < rows.length;
  }

  /**
   * The rows whose voters have voted at or after `since`. If nodes on the Internet vote, votes from
   * private networks don't count: a neighbour behind the same router sees us at a different address
   * than the Internet does.
   */
  #rows(since: Millis): number[] {
    const voters = this.#voters;
    let rows: number[] = [];
    for (let row = 0; row < voters.length; row++) {
      if (this.#times[row] < since) continue;
      if (rows.length > 0 && isWider(voters[rows[0]], voters[row])) continue;
      if (rows.length > 0 && isWider(voters[row], voters[rows[0]])) rows = [];
      rows.push(row);
    }
    return rows;
  }

  /** The endpoints of the nodes whose votes count, one for each network. */
  get voters(): readonly Endpoint[] {
    return this.#rows(-Infinity).map((row) => this.#voters[row]);
  }

  /** Returns the result of all votes. At least one vote must have been recorded. */
  count(): Tally {
    const rows = this.#rows(-Infinity);
    return this.#tally(rows, mostFrequent(rows.map((row) => this.#seen[row].host)));
  }

  /**
   * Returns the new result that follows from the votes since `since`, or undefined if the accepted result stays. If two
   * or more voters with standing have voted, only their votes count, so even many strangers can't change our address.
   * `isOurs` returns whether an address belongs to our machine or router.
   */
  recount(since: Millis, isOurs: (address: Endpoint) => boolean): Tally | undefined {
    const fresh = this.#rows(since);
    const standing = fresh.filter((row) => this.#hasStanding[row]);
    const rows = standing.length >= 2 ? standing : fresh;
    const others = rows.filter((row) => !this.#agrees(this.#seen[row]));
    if (others.length === 0) return undefined;
    const host = mostFrequent(others.map((row) => this.#seen[row].host));
    const tally = this.#tally(rows, host);
    const limit = isOurs(tally.endpoint) ? STAYING_SHARE_IF_OURS : STAYING_SHARE;
    const isStaying = rows.length - others.length > limit * rows.length;
    return isStaying || 2 * tally.votes < rows.length ? undefined : tally;
  }

  /** Counts the votes for the address `host` in these rows. At least one row must have a vote for this address. */
  #tally(rows: readonly number[], host: string): Tally {
    const agreeing = rows.filter((row) => this.#seen[row].host === host);
    const ports = agreeing.map((row) => this.#seen[row].port);
    const port = mostFrequent(ports);
    return {
      endpoint: this.#seen[agreeing[0]].withPort(port),
      votes: agreeing.length,
      voters: rows.length,
      samePort: ports.filter((other) => other === port).length,
      by: agreeing.map((row) => this.#voters[row]),
      at: Math.max(...rows.map((row) => this.#times[row])),
    };
  }
}

/** Returns the result plus one more vote for it. */
function withVote(tally: Tally, voter: Endpoint, seen: Endpoint): Tally {
  const { endpoint, votes, voters, samePort, by } = tally;
  return {
    ...tally,
    votes: votes + 1,
    voters: voters + 1,
    samePort: samePort + (endpoint.equals(seen) ? 1 : 0),
    by: [...by, voter],
  };
}

/** Returns the most frequent value, or the first of equally frequent ones. `values` must not be empty. */
function mostFrequent<T>(values: readonly T[]): T {
  let [best] = values, most = 0;
  for (const [value, same] of Map.groupBy(values, (value) => value)) {
    if (same.length > most) best = value, most = same.length;
  }
  return best;
}
