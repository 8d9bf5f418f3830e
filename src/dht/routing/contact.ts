// What we know about one remote node: its id, its endpoint, and how fast and reliably it answers.

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Id } from "../../krpc/id.ts";
import { type Millis, NO_SLOT, type Slot } from "../deadlines.ts";
import { isSecureId } from "./secure_id.ts";

/**
 * healthy: the latest ping was answered. degraded: only the latest ping was not answered.
 * unhealthy: several pings in a row were not answered, and we will soon remove the contact.
 */
export type Health = "healthy" | "degraded" | "unhealthy";

/** How long a node stays good after its latest answer or, if it has ever answered, after its latest query (BEP 5). */
export const GOOD_FOR_MS = 15 * 60_000;

/**
 * A contact is removed after this many unanswered pings in a row: BEP 5's "fails to respond to multiple queries in a
 * row".
 */
export const MISSES_TO_DROP = 3;

/** The weight of the newest sample in the smoothed round-trip time and in its variation (RFC 6298, section 2). */
const RTT_GAIN = 1 / 8, RTT_VARIATION_GAIN = 1 / 4;

/** The weight of the newest outcome in the answer rate. The rate thus covers about the last ten queries. */
const ANSWER_GAIN = 1 / 10;

/**
 * The weight in the answer rate of an answer to the second packet of a query. An answer to the first packet has weight
 * 1.
 */
const SECOND_TRY_SHARE = 0.5;

/** The estimated cost of an unanswered query: about the time until another node is queried instead. */
const UNANSWERED_MS = 500;

/**
 * Unanswered queries raise a contact's expected time only if its answer rate is below this. A single unanswered query
 * may be due to packet loss.
 */
const RELIABLE_RATE = 0.85;

/** A contact must have at least this answer rate to be trusted with values. */
const TRUSTED_RATE = 0.6;

/**
 * The round-trip time at which a contact's speed, one factor of its score, is 1/2: about the mean round-trip time
 * between distant regions.
 */
const HALF_SCORE_RTT_MS = 300;

/** After this time, a contact has gained half of what tenure can add to its score. */
const HALF_TENURE_MS = 30 * 60_000;

/** The share of the score that depends on tenure. It is small, so that new contacts count little less than old ones. */
const TENURE_SHARE = 0.1;

const MAX_FAULTS = 1_000;

/** The share of its faults that each good answer of a node cancels. */
const FORGIVEN_SHARE = 0.02;

/** The factors of a contact's score, each from 0 to 1. The score is their product. */
export interface ScoreParts {
  /** The share of our recent queries that the node answered. An answer to the second packet of a query counts half. */
  readonly answers: number;
  /** How fast the node answers: lower if its round-trip times are long or vary much. */
  readonly speed: number;
  /** How rarely the node gave wrong answers: 1 without faults, 1/2 with one fault, 1/3 with two. */
  readonly honesty: number;
  /** How long we have known the node, as a number that rises with this time. */
  readonly tenure: number;
}

/** The properties of a contact that are saved between runs. */
export type ContactRecord = Readonly<
  Pick<Contact, "firstSeen" | "lastSeen" | "rtt" | "rttVariation" | "answerRate" | "faults">
>;

/** The half-life of the weight of a saved record: older experience says less about the node. */
const RECORD_HALF_LIFE_MS = 6 * 3_600_000;

/**
 * The stored time of an event that has not happened yet: earlier than all real times. V8 stores such a small integer
 * without allocating memory.
 */
const NEVER = -(2 ** 30);

/**
 * Times are stored in units of 1/256 ms, and shares in units of 2^-20, because V8 would allocate memory for fractions.
 */
const MS_UNITS = 256, SHARE_UNITS = 2 ** 20;

/** The value of `#rtt` before the first measurement. */
const UNMEASURED = -1;

/** The queries of BEP 44, which a node need not support. */
export type OptionalMethod = "get" | "put";

/**
 * The bits of `#support` for methods that the node supports. The same bits shifted left by two mark methods that the
 * node does not support, and shifted left by four, methods that it once left unanswered.
 */
const SUPPORT_BITS = { get: 1, put: 2 } as const;

/** A remote DHT node. The record is mutable and belongs to the routing table. */
export class Contact {
  lastResponse: Millis = NEVER;
  lastQuery: Millis = NEVER;
  /** The number of our latest pings in a row that the node left unanswered. */
  misses = 0;
  lastMiss: Millis = NEVER;
  #rtt = UNMEASURED;
  #rttVariation = 0;
  #answerRate = SHARE_UNITS;
  #faults = 0;
  /** The optional methods that the node supports, does not support, or left unanswered: see `SUPPORT_BITS`. */
  #support = 0;
  /** The node's network coordinate in wire form: x and y in this field, z and the height in the next. Both 0 if unknown. */
  coordinateXy = 0;
  coordinateZHeight = 0;
  /** Whether the node reports that its routing table contains us; undefined if it does not report this. */
  keepsUs: boolean | undefined = undefined;
  /** The node's client and version: the four bytes of `v` as a 32-bit word; 0 if unknown. */
  client = 0;
  /** When the contact's next health check is due. Only valid while the contact is in a table. */
  checkAt: Millis = 0;
  /** The position of the next health check in the agenda of checks. */
  checkSlot: Slot = NO_SLOT;

  firstSeen: Millis;
  /** Whether the node's id is valid at its address (BEP 42). */
  readonly hasValidId: boolean;

  constructor(readonly id: Id, readonly endpoint: Endpoint, now: Millis) {
    this.firstSeen = Math.floor(now);
    this.hasValidId = isSecureId(id, endpoint);
  }

  /** The smoothed round-trip time in ms; NaN before the first answer. */
  get rtt(): number {
    return this.#rtt === UNMEASURED ? NaN : this.#rtt / MS_UNITS;
  }

  get rttVariation(): number {
    return this.#rttVariation / MS_UNITS;
  }

  /** The share of our queries that the node answered, as an exponentially weighted average. */
  get answerRate(): number {
    return this.#answerRate / SHARE_UNITS;
  }

  /** The number of wrong or useless answers. Each good answer reduces it a little. */
  get faults(): number {
    return this.#faults / SHARE_UNITS;
  }

  get lastSeen(): Millis {
    return Math.max(this.lastResponse, this.lastQuery, this.firstSeen);
  }

  get health(): Health {
    return this.misses === 0 ? "healthy" : this.misses === 1 ? "degraded" : "unhealthy";
  }

  /** Whether the node is good as defined in BEP 5. Our replies name only good nodes. */
  isGood(now: Millis): boolean {
    return this.misses === 0 && this.lastResponse > NEVER &&
      now - Math.max(this.lastResponse, this.lastQuery) < GOOD_FOR_MS;
  }

  /**
   * Whether the node's routing table contains us. If the node does not report this, a recent query from it counts as a
   * yes.
   */
  isMutual(now: Millis): boolean {
    return this.keepsUs ?? now - this.lastQuery < GOOD_FOR_MS;
  }

  /** Records a query from the node. */
  asked(now: Millis): void {
    this.lastQuery = Math.floor(now);
  }

  /** The score of the contact, from 0 to 1: the product of the factors in `scoreParts`. */
  get score(): number {
    const { answers, speed, honesty, tenure } = this.scoreParts;
    return answers * speed * honesty * tenure;
  }

  get scoreParts(): ScoreParts {
    const rtt = Number.isNaN(this.rtt) ? HALF_SCORE_RTT_MS : this.rtt;
    const tenureMs = this.lastSeen - this.firstSeen;
    return {
      answers: this.answerRate,
      speed: HALF_SCORE_RTT_MS / (HALF_SCORE_RTT_MS + rtt + this.rttVariation),
      honesty: 1 / (1 + this.faults),
      tenure: 1 - TENURE_SHARE * HALF_TENURE_MS / (HALF_TENURE_MS + tenureMs),
    };
  }

  /**
   * The expected time of a query to the node in ms, including the cost of unanswered queries; NaN before the first
   * measurement.
   */
  get expectedMs(): number {
    return this.rtt + UNANSWERED_MS * Math.max(0, RELIABLE_RATE - this.answerRate);
  }

  /** Whether the node can be trusted with values: it answers most queries, and rarely wrongly. */
  get isReliable(): boolean {
    return this.answerRate >= TRUSTED_RATE && this.faults < 1.5;
  }

  /** The properties that are saved for the next run. */
  get record(): ContactRecord {
    const { firstSeen, lastSeen, rtt, rttVariation, answerRate, faults } = this;
    return { firstSeen, lastSeen, rtt, rttVariation, answerRate, faults };
  }

  /** Restores the record of an earlier run. An older record has less weight. */
  recall(record: ContactRecord, now: Millis): void {
    const weight = 2 ** (-Math.max(0, now - record.lastSeen) / RECORD_HALF_LIFE_MS);
    this.firstSeen = Math.min(this.firstSeen, record.firstSeen);
    this.#answerRate = Math.round(SHARE_UNITS * (1 - weight * (1 - record.answerRate)));
    this.#faults = Math.round(SHARE_UNITS * Math.min(MAX_FAULTS, weight * record.faults));
    if (this.#rtt === UNMEASURED && !Number.isNaN(record.rtt)) {
      this.#rtt = Math.round(MS_UNITS * record.rtt);
      this.#rttVariation = Math.round(MS_UNITS * record.rttVariation);
    }
  }

  /** Whether the node has answered this optional query. */
  supports(method: OptionalMethod): boolean {
    return (this.#support & SUPPORT_BITS[method]) !== 0;
  }

  /** Whether the node does not support this optional query. It should then not receive this query again. */
  lacks(method: OptionalMethod): boolean {
    return (this.#support & (SUPPORT_BITS[method] << 2)) !== 0;
  }

  /** Records whether the node supports an optional query. The latest evidence counts. */
  noteSupport(method: OptionalMethod, isSupported: boolean): void {
    const bit = SUPPORT_BITS[method], any = bit | (bit << 2) | (bit << 4);
    this.#support = (this.#support & ~any) | (isSupported ? bit : bit << 2);
  }

  /**
   * Records that the node left an optional query unanswered although it is alive. The first such query may have been
   * lost, so the node counts as not supporting it only after the second.
   */
  noteIgnored(method: OptionalMethod): void {
    const ignored = SUPPORT_BITS[method] << 4;
    if ((this.#support & ignored) !== 0) this.noteSupport(method, false);
    else this.#support |= ignored;
  }

  /** Records a wrong or useless answer. */
  failed(): void {
    this.#faults = Math.min(MAX_FAULTS * SHARE_UNITS, this.#faults + SHARE_UNITS);
  }

  /**
   * Records an answer after `rtt` ms.
   * @param isRttUnsure whether `rtt` may be too long. It is then used only if no other measurement exists.
   * @param isSecondTry whether the query was sent twice and the answer belongs to the second packet
   */
  answered(now: Millis, rtt: number, isRttUnsure = false, isSecondTry = false): void {
    this.lastResponse = Math.floor(now);
    this.misses = 0;
    const outcome = isSecondTry ? SECOND_TRY_SHARE * SHARE_UNITS : SHARE_UNITS;
    this.#answerRate += Math.round(ANSWER_GAIN * (outcome - this.#answerRate));
    this.#faults -= Math.round(FORGIVEN_SHARE * this.#faults);
    if (isRttUnsure && this.#rtt !== UNMEASURED) return;
    const sample = Math.round(MS_UNITS * rtt);
    if (this.#rtt === UNMEASURED) {
      this.#rtt = sample;
      this.#rttVariation = Math.round(sample / 2);
    } else {
      const deviation = Math.abs(sample - this.#rtt);
      this.#rttVariation += Math.round(RTT_VARIATION_GAIN * (deviation - this.#rttVariation));
      this.#rtt += Math.round(RTT_GAIN * (sample - this.#rtt));
    }
  }

  /** Records a ping that the node left unanswered. */
  missed(now: Millis): void {
    this.misses++;
    this.lastMiss = Math.floor(now);
    this.ignored();
  }

  /** Records a query that the node left unanswered although it is alive. */
  ignored(): void {
    this.#answerRate -= Math.round(ANSWER_GAIN * this.#answerRate);
  }
}
