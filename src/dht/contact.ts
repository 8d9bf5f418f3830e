// What we know of one remote node: who it is, when it answered, how fast, how reliably.

import type { Endpoint } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import type { Deadline, Millis } from "./deadlines.ts";

/** healthy: answers; degraded: missed the latest check; unhealthy: missed more, about to be removed. */
export type Health = "healthy" | "degraded" | "unhealthy";

/** BEP 5: a node is good while it answered, or ever answered and asked us something, within 15 minutes. */
export const GOOD_FOR_MS = 15 * 60_000;

/** Misses in a row after which a contact is dropped: BEP 5's "fails to respond to multiple queries in a row". */
export const MISSES_TO_DROP = 3;

/** Weight of the newest sample in the smoothed round-trip time and its variation (RFC 6298, section 2). */
const RTT_GAIN = 1 / 8, RTT_VARIATION_GAIN = 1 / 4;

/** Weight of the newest outcome in the answer rate: about the last ten queries count. */
const ANSWER_GAIN = 1 / 10;

/** Round-trip time at which a contact's score is halved: near the mean between distant regions. */
const HALF_SCORE_RTT_MS = 300;

/** Before any time there is. Times are kept in whole milliseconds: small integers stand in the record itself. */
const NEVER = -(2 ** 30);

/** A remote DHT node. Mutable: it is the routing table's own record. */
export class Contact {
  /** When it last answered a query of ours. */
  lastResponse: Millis = NEVER;
  /** When it last queried us. */
  lastQuery: Millis = NEVER;
  /** Queries in a row that it left unanswered. */
  misses = 0;
  /** When the latest of them was counted. */
  lastMiss: Millis = NEVER;
  /** Smoothed round-trip time; NaN before the first. */
  rtt = NaN;
  rttVariation = 0;
  /** Exponentially weighted share of our queries that it answered. */
  answerRate = 1;
  /** Where it says that it is among the network's coordinates, as the wire has it; zeros where it does not say. */
  coordinateXy = 0;
  coordinateZHeight = 0;
  /** Whether it says that it keeps us in its own table; undefined where it says nothing of it. */
  keepsUs: boolean | undefined = undefined;
  /** The four bytes of the wire's `v`; 0 where it sent none. */
  client = 0;
  /** The next health check, while it is in a table. */
  check: Deadline | undefined = undefined;

  readonly firstSeen: Millis;

  constructor(readonly id: Id, readonly endpoint: Endpoint, now: Millis) {
    this.firstSeen = Math.floor(now);
  }

  get lastSeen(): Millis {
    return Math.max(this.lastResponse, this.lastQuery, this.firstSeen);
  }

  get health(): Health {
    return this.misses === 0 ? "healthy" : this.misses === 1 ? "degraded" : "unhealthy";
  }

  /** BEP 5's good node; only these are handed to others. */
  isGood(now: Millis): boolean {
    return this.misses === 0 && this.lastResponse > NEVER &&
      now - Math.max(this.lastResponse, this.lastQuery) < GOOD_FOR_MS;
  }

  /** Whether it keeps us too. Of those that don't say so their queries tell. */
  isMutual(now: Millis): boolean {
    return this.keepsUs ?? now - this.lastQuery < GOOD_FOR_MS;
  }

  /** Records a query of its. */
  asked(now: Millis): void {
    this.lastQuery = Math.floor(now);
  }

  /** 0 to 1: the share of queries answered, weighed down by distance in time. */
  get score(): number {
    const rtt = Number.isNaN(this.rtt) ? HALF_SCORE_RTT_MS : this.rtt;
    return this.answerRate * HALF_SCORE_RTT_MS / (HALF_SCORE_RTT_MS + rtt);
  }

  /** Records an answer after `rtt` ms. */
  answered(now: Millis, rtt: number): void {
    this.lastResponse = Math.floor(now);
    this.misses = 0;
    this.answerRate += ANSWER_GAIN * (1 - this.answerRate);
    if (Number.isNaN(this.rtt)) {
      this.rtt = rtt;
      this.rttVariation = rtt / 2;
    } else {
      this.rttVariation += RTT_VARIATION_GAIN * (Math.abs(rtt - this.rtt) - this.rttVariation);
      this.rtt += RTT_GAIN * (rtt - this.rtt);
    }
  }

  /** Records a query that it left unanswered. */
  missed(now: Millis): void {
    this.misses++;
    this.lastMiss = Math.floor(now);
    this.answerRate -= ANSWER_GAIN * this.answerRate;
  }
}
