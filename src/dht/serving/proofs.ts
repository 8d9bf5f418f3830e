// Remembers which askers have proven that they receive packets at their address, and demands a proof from others.

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Id } from "../../krpc/id.ts";
import type { Message } from "../../krpc/message.ts";
import { SharedAllowance } from "../allowance.ts";
import { Recent } from "../bounded_map.ts";
import type { Millis } from "../deadlines.ts";
import { ownerOf } from "../routing/diversity.ts";
import type { Tables } from "../routing/tables.ts";
import type { Queries } from "../search/queries.ts";
import { whenDone } from "../search/query.ts";
import type { Tokens } from "../tokens.ts";

/** How long an address counts as proven. A write token is valid for the same time. */
const PROOF_LIFE_MS = 15 * 60_000;

/** Cap on the proven addresses that we remember. A node at a forgotten address has to answer another ping. */
const MAX_PROVEN = 1_000;

/** Limits on the pings that ask for a proof. For each ping, we keep a copy of one query for at most 2 s. */
const PINGS_PER_SECOND = 100, PING_BURST = 200;

/** The maximum size of a ping that asks for a proof. */
export const PROOF_PING_BYTES = 74;

interface ProofsParts {
  readonly queries: Queries;
  readonly tokens: Tokens;
}

export class Proofs {
  readonly #queries: Queries;
  readonly #tables: Tables;
  readonly #tokens: Tokens;
  /** The addresses at which strangers have proven that they receive packets. Contacts need no entry here. */
  readonly #proven = new Recent(PROOF_LIFE_MS, MAX_PROVEN);
  readonly #pings = new SharedAllowance(PINGS_PER_SECOND, PING_BURST);

  constructor({ queries, tokens }: ProofsParts) {
    this.#queries = queries;
    this.#tables = queries.tables;
    this.#tokens = tokens;
  }

  /**
   * Whether the sender of this query needs no further proof: it is a contact, has recently answered a ping, or has
   * presented a valid token.
   */
  has({ id, token }: Message, from: Endpoint, now: Millis): boolean {
    return (id !== undefined && this.#tables.at(from, id) !== undefined) ||
      this.hasAddress(from, now) ||
      (token !== undefined && this.#tokens.verify(token, from, now));
  }

  /** Whether a stranger at this address has recently answered a ping or presented a valid token. */
  hasAddress({ host }: Endpoint, now: Millis): boolean {
    return this.#proven.has(host, now);
  }

  /** Records that an address is proven, because a node there has presented a valid token or answered a ping. */
  note(from: Endpoint, now: Millis): void {
    this.#proven.add(from.host, now);
  }

  /**
   * Pings an asker, and calls `done` with whether the asker answered. If the budget for such pings is used up, only
   * returns false.
   */
  demand(
    { id, from }: { id: Id | undefined; from: Endpoint },
    now: Millis,
    done: (isProven: boolean, now: Millis) => void,
  ): boolean {
    if (!this.#pings.take(ownerOf(from), now)) return false;
    const ping = {
      method: "ping",
      to: from,
      args: {},
      expected: id,
      isOnce: true,
      isVerification: true,
    } as const;
    this.#queries.send(
      ping,
      now,
      whenDone((outcome, at) => {
        const isProven = outcome.kind !== "timeout";
        if (isProven) this.note(from, at);
        done(isProven, at);
      }),
    );
    return true;
  }
}
