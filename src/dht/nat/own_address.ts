// Finds out our address in one family. Once the address is settled, it changes only after we have
// again asked the nodes that confirmed it.

import { type Endpoint, type Family, isWider } from "../../krpc/endpoint.ts";
import type { Deadlines, Millis } from "../deadlines.ts";
import type { Queries } from "../search/queries.ts";
import { type Query, whenDone } from "../search/query.ts";
import { AddressVotes, type Tally } from "./address_votes.ts";

/** The time from the first vote until the address is settled. By then, most nodes found while joining have voted. */
const SETTLE_MS = 10_000;

/**
 * The minimum time between two probes. A probe pings all voters, so liars can't make us send more
 * than 32 pings in this time.
 */
const PROBE_INTERVAL_MS = 30_000;

interface OwnAddressParts {
  readonly queries: Queries;
  readonly deadlines: Deadlines;
  /** Called when the address, the port or the voters may have changed. */
  readonly onChange: (now: Millis) => void;
}

/** The addresses of this node, one for each address family that it uses. */
export type OwnAddresses = { readonly [F in Family]?: OwnAddress };

export class OwnAddress {
  readonly #parts: OwnAddressParts;
  readonly #votes = new AddressVotes();
  /**
   * settling: the majority decides. settled: a deviating vote only makes us ask all voters again.
   * waiting: we will soon ask the voters. probing: we have asked the voters.
   */
  #phase: "unknown" | "settling" | "settled" | "waiting" | "probing" = "unknown";
  #probedAt: Millis = -Infinity;
  /** The public endpoint that a router has mapped to us. */
  #mapped: Endpoint | undefined;

  constructor(readonly family: Family, parts: OwnAddressParts) {
    this.#parts = parts;
  }

  /** The present address and its votes; undefined if no node has voted. */
  get tally(): Tally | undefined {
    return this.#votes.accepted;
  }

  /** Whether the address is settled. Before that, each vote may change it. */
  get isSettled(): boolean {
    return this.#phase !== "unknown" && this.#phase !== "settling";
  }

  /** Ends the collection of the first votes, for example because no more are expected. */
  settle(now: Millis): void {
    if (this.#phase !== "settling") return;
    this.#phase = "settled";
    this.#parts.onChange(now);
  }

  /** Records the public endpoint that a router has mapped to us; undefined if there is no such mapping any more. */
  noteMapping(mapped: Endpoint | undefined): void {
    this.#mapped = mapped;
  }

  /** Whether an address belongs to our machine or to the router that maps a port to us. */
  readonly #isOurs = (address: Endpoint): boolean =>
    this.#mapped?.sameAddress(address) === true ||
    this.#parts.queries.outbox.transport.isLocal(address);

  /** Records that the node to which we sent `query` sees us at `seen`. */
  noteVote({ to, expected, isVerification = false }: Query, seen: Endpoint, now: Millis): void {
    if (isVerification || seen.family !== this.family || seen.scope === "none") return;
    // A node on our own machine sees us at an address of this machine.
    if (to.scope === "loopback" && !this.#isOurs(seen)) return;
    const { queries: { tables }, deadlines, onChange } = this.#parts;
    const votes = this.#votes;
    const mayEnter = () =>
      !this.isSettled || (expected !== undefined && tables.at(to, expected) !== undefined);
    const isDisputed = votes.add(to, seen, { mayEnter, now });
    if (this.#phase === "unknown") {
      this.#phase = "settling";
      deadlines.schedule(now + SETTLE_MS, (at) => this.settle(at));
    }
    if (this.#phase === "settling") {
      votes.accept(votes.count());
      onChange(now);
    } else if (isDisputed && this.#phase === "settled") {
      const { endpoint } = votes.accepted!;
      // The accepted address is ours, and the vote names a foreign one. Ignore the vote, unless our address is private
      // and the voter is outside our network: then we are behind a NAT, and the voter is right to see another address.
      if (this.#isOurs(endpoint) && !this.#isOurs(seen) && !isWider(to, endpoint)) return;
      this.#phase = "waiting";
      deadlines.schedule(
        Math.max(now, this.#probedAt + PROBE_INTERVAL_MS),
        (at) => this.#probe(at),
      );
    }
  }

  /** Asks all voters again at which address they see us. */
  #probe(now: Millis): void {
    this.#phase = "probing";
    this.#probedAt = now;
    const { voters } = this.#votes;
    let open = voters.length;
    const watcher = whenDone((_, at) => {
      if (--open === 0) this.#conclude(now, at);
    });
    for (const to of voters) {
      this.#parts.queries.send({ method: "ping", to, args: {}, expected: undefined }, now, watcher);
    }
  }

  #conclude(probedAt: Millis, now: Millis): void {
    this.#phase = "settled";
    const tally = this.#votes.recount(probedAt, this.#isOurs);
    if (tally === undefined) return;
    this.#votes.accept(tally);
    this.#parts.onChange(now);
  }
}
