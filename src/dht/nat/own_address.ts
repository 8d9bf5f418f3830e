// Finds our address in one family. Once the address is settled, it changes only after we have pinged the nodes that
// confirmed it.

import { type Endpoint, type Family, isWider } from "../../krpc/endpoint.ts";
import type { Deadlines, Millis } from "../deadlines.ts";
import type { Queries } from "../search/queries.ts";
import { type Query, whenDone } from "../search/query.ts";
import { AddressVotes, type Tally } from "./address_votes.ts";

/** The time between the first vote and settling the address. By then, most nodes found while joining have voted. */
const SETTLE_MS = 10_000;

/**
 * The minimum time between two rounds of pings to all voters. Liars thus can't make us send more than 32 pings in this
 * time.
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
   * settling: the majority of the votes decides. settled: a deviating vote only makes us ask all voters again. waiting:
   * we will ask all voters soon. probing: we have asked all voters and collect their answers.
   */
  #phase: "unknown" | "settling" | "settled" | "waiting" | "probing" = "unknown";
  #probedAt: Millis = -Infinity;
  /** The public endpoint that a router maps to us, if any. */
  #mapped: Endpoint | undefined;

  constructor(readonly family: Family, parts: OwnAddressParts) {
    this.#parts = parts;
  }

  /** Our current address and the votes for it; undefined if no node has voted. */
  get tally(): Tally | undefined {
    return this.#votes.accepted;
  }

  /** Whether our address is settled. Until then, each vote may change it. */
  get isSettled(): boolean {
    return this.#phase !== "unknown" && this.#phase !== "settling";
  }

  /** Settles the address now, for example because no more votes are expected. */
  settle(now: Millis): void {
    if (this.#phase !== "settling") return;
    this.#phase = "settled";
    this.#parts.onChange(now);
  }

  /** Records the public endpoint that a router maps to us; undefined if the mapping has ended. */
  noteMapping(mapped: Endpoint | undefined): void {
    this.#mapped = mapped;
  }

  /** Whether an address belongs to our machine or to the router that maps a port to us. */
  readonly #isOurs = (address: Endpoint): boolean =>
    this.#mapped?.sameAddress(address) === true ||
    this.#parts.queries.outbox.transport.isLocal(address);

  /** Records a vote: the node to which we sent the query sees us at `seen`. */
  noteVote({ to, expected, isVerification = false }: Query, seen: Endpoint, now: Millis): void {
    if (isVerification || seen.family !== this.family || seen.scope === "none") return;
    // Ignore the vote of a node on this machine if it names a foreign address: such a node must see one of our own
    // addresses.
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
      // The accepted address is ours, but the vote names a foreign address. Ignore such a vote, unless our address is
      // private and the voter is outside our network. In that case we are behind a NAT, and the vote is right.
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
