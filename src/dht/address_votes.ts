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
  // Columns of one table, in any order: to look for a voter reads numbers side by side.
  /** Tells most voters apart. */
  readonly #marks: number[] = [];
  /** Counts up from vote to vote. */
  readonly #orders: number[] = [];
  readonly #voters: Endpoint[] = [];
  readonly #seen: Endpoint[] = [];
  #latest = 0;
  #latestAt: Millis = 0;
  #votes = 0;

  /** Notes a vote; true where it is news: it names another endpoint than the one before, or there are few yet. */
  add(voter: Endpoint, seen: Endpoint, now: Millis): boolean {
    // Most agree: then one object serves all of them.
    const isSame = this.#seen[this.#latest]?.equals(seen) ?? false;
    if (isSame) seen = this.#seen[this.#latest];
    const mark = markOf(voter);
    const at = this.#find(voter, mark);
    this.#marks[at] = mark;
    this.#orders[at] = this.#votes++;
    this.#voters[at] = voter;
    this.#seen[at] = seen;
    this.#latest = at;
    this.#latestAt = now;
    return !isSame || this.#seen.length <= FEW_VOTERS;
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

  /**
   * The address that most voters saw, at one of the ports that they saw it at, and how many they are. Of equals the
   * one with the oldest vote.
   */
  leader(): { endpoint: Endpoint; votes: number; voters: number } | undefined {
    const agreeing = this.#agreeing([...this.#seen.keys()]);
    if (agreeing === undefined) return undefined;
    const endpoint = this.#seen[agreeing[0]];
    return { endpoint, votes: agreeing.length, voters: this.#seen.length };
  }

  /**
   * What the voters of one family saw; undefined where none has voted. Those nearby don't count beside those far off:
   * a neighbour behind the same router sees another address than the Internet does.
   */
  tally(family: Family): Tally | undefined {
    const voters = this.#voters, seen = this.#seen;
    let places: number[] = [];
    for (let i = 0; i < seen.length; i++) {
      if (voters[i].family !== family || seen[i].family !== family) continue;
      if (places.length > 0 && isWider(voters[places[0]], voters[i])) continue;
      if (places.length > 0 && isWider(voters[i], voters[places[0]])) places = [];
      places.push(i);
    }
    const agreeing = this.#agreeing(places);
    if (agreeing === undefined) return undefined;
    const latest = agreeing.reverse().slice(0, PORT_VOTERS);
    const ports = latest.map((place) => seen[place].port);
    const present = commonest(ports.slice(0, PRESENT_VOTERS));
    return {
      endpoint: seen[latest[present.index]],
      votes: agreeing.length,
      voters: places.length,
      portVoters: latest.length,
      samePort: commonest(ports).count,
      by: latest.map((place) => voters[place]),
      at: this.#latestAt,
    };
  }

  /** Of these places those with the address that most of them name, the oldest first. */
  #agreeing(places: number[]): number[] | undefined {
    const byAddress = new Map<string, number[]>();
    for (const place of places.sort((x, y) => this.#orders[x] - this.#orders[y])) {
      const { host } = this.#seen[place];
      const same = byAddress.get(host);
      if (same === undefined) byAddress.set(host, [place]);
      else same.push(place);
    }
    let best: number[] | undefined;
    for (const same of byAddress.values()) if (same.length > (best?.length ?? 0)) best = same;
    return best;
  }
}

/** Where the number is that most others equal, the first of several, and how many do. */
function commonest(numbers: readonly number[]): { index: number; count: number } {
  let index = 0, count = 0;
  numbers.forEach((number, i) => {
    const same = numbers.filter((other) => other === number).length;
    if (same > count) index = i, count = same;
  });
  return { index, count };
}

function isSameVoter(x: Endpoint, y: Endpoint): boolean {
  return x.sameAddress(y) && (x.port === y.port || x.scope !== "loopback");
}

/** The same for equal voters. */
function markOf(voter: Endpoint): number {
  return voter.scope === "loopback" ? voter.d ^ voter.port : voter.a ^ voter.d;
}
