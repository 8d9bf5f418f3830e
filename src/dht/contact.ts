// What we know of one remote node: who it is, when it answered, how fast, how reliably.

import type { Endpoint } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import { type Checked, UNQUEUED } from "./check_queue.ts";
import type { Millis } from "./deadlines.ts";
import { isSecureId } from "./secure_id.ts";

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

/** A query that had to be sent twice counts as half an answer. */
const SECOND_TRY = 0.5;

/** What an unanswered query costs who waits for it: about the time until somebody else is asked. */
const UNANSWERED_MS = 500;

/** From this share of answers on a contact counts as reliable: a single miss is an accident. */
const RELIABLE = 0.85;

/** With values only who answers at least this share of queries is relied on. */
const RELIED_ON = 0.6;

/** Round-trip time at which a contact's score is halved: near the mean between distant regions. */
const HALF_SCORE_RTT_MS = 300;

/** How long a contact has to be known to be worth as much as it can be, by half. */
const HALF_TENURE_MS = 30 * 60_000;

/** How much tenure can count: a newcomer is worth less than a proven contact, but not much. */
const TENURE_SHARE = 0.1;

/** More faults than this are not told apart. */
const MAX_FAULTS = 1_000;

/** Each answer makes up for a fiftieth of the faults before it. */
const FORGIVEN_SHARE = 0.02;

/** What a contact's score is made of, each from 0 to 1; their product is the score. */
export interface ScoreParts {
  /** The share of our queries that it answered of late; half where one had to be sent twice. */
  readonly answers: number;
  /** By its round-trip time and the variation of that. */
  readonly speed: number;
  /** 1 without faults, 1/2 with one. */
  readonly honesty: number;
  /** By how long it has been known. */
  readonly tenure: number;
}

/** What is remembered of a contact between runs. */
export interface ContactRecord {
  readonly firstSeen: Millis;
  readonly lastSeen: Millis;
  readonly rtt: number;
  readonly rttVariation: number;
  readonly answerRate: number;
  readonly faults: number;
}

/** What is known of a contact's answers halves its weight in this time that nobody has asked it. */
const RECORD_HALF_LIFE_MS = 6 * 3_600_000;

/** Before any time there is. Times are kept in whole milliseconds: small integers stand in the record itself. */
const NEVER = -(2 ** 30);

/**
 * Units of what is kept of a contact's answers: to the millisecond, and to one. As whole numbers these stand in the
 * record itself, where each fraction would be an object of its own: a process of many nodes has a hundred contacts
 * for each of them.
 */
const MS_UNITS = 256, SHARE_UNITS = 2 ** 20;

/** A round-trip time that was not measured. */
const UNMEASURED = -1;

/** A remote DHT node. Mutable: it is the routing table's own record, and waits for its next health check. */
export class Contact implements Checked {
  /** When it last answered a query of ours. */
  lastResponse: Millis = NEVER;
  /** When it last queried us. */
  lastQuery: Millis = NEVER;
  /** Queries in a row that it left unanswered. */
  misses = 0;
  /** When the latest of them was counted. */
  lastMiss: Millis = NEVER;
  #rtt = UNMEASURED;
  #rttVariation = 0;
  #answerRate = SHARE_UNITS;
  #faults = 0;
  /** Where it says that it is among the network's coordinates, as the wire has it; zeros where it does not say. */
  coordinateXy = 0;
  coordinateZHeight = 0;
  /** Whether it says that it keeps us in its own table; undefined where it says nothing of it. */
  keepsUs: boolean | undefined = undefined;
  /** The four bytes of the wire's `v`; 0 where it sent none. */
  client = 0;
  /** When its next health check is due, while it is in a table. */
  dueAt: Millis = 0;
  queuedAt: Millis = UNQUEUED;

  firstSeen: Millis;
  /** Whether its address may have its id (BEP 42). */
  readonly hasValidId: boolean;

  constructor(readonly id: Id, readonly endpoint: Endpoint, now: Millis) {
    this.firstSeen = Math.floor(now);
    this.hasValidId = isSecureId(id, endpoint);
  }

  /** Smoothed round-trip time; NaN before the first. */
  get rtt(): number {
    return this.#rtt === UNMEASURED ? NaN : this.#rtt / MS_UNITS;
  }

  get rttVariation(): number {
    return this.#rttVariation / MS_UNITS;
  }

  /** Exponentially weighted share of our queries that it answered. */
  get answerRate(): number {
    return this.#answerRate / SHARE_UNITS;
  }

  /** Wrong and useless answers; fading with each good one. */
  get faults(): number {
    return this.#faults / SHARE_UNITS;
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

  /** 0 to 1: the product of its parts. */
  get score(): number {
    const { answers, speed, honesty, tenure } = this.scoreParts;
    return answers * speed * honesty * tenure;
  }

  get scoreParts(): ScoreParts {
    const rtt = Number.isNaN(this.rtt) ? HALF_SCORE_RTT_MS : this.rtt;
    const known = this.lastSeen - this.firstSeen;
    return {
      answers: this.answerRate,
      speed: HALF_SCORE_RTT_MS / (HALF_SCORE_RTT_MS + rtt + this.rttVariation),
      honesty: 1 / (1 + this.faults),
      tenure: 1 - TENURE_SHARE * HALF_TENURE_MS / (HALF_TENURE_MS + known),
    };
  }

  /** Milliseconds that a query to it takes on average, those that stay unanswered counted in; NaN if never measured. */
  get expectedMs(): number {
    return this.rtt + UNANSWERED_MS * Math.max(0, RELIABLE - this.answerRate);
  }

  /** Whether it may be relied on with a value: it answers more often than not, and not wrongly. */
  get isReliable(): boolean {
    return this.answerRate >= RELIED_ON && this.faults < 1.5;
  }

  /** For the next run. */
  get record(): ContactRecord {
    const { firstSeen, lastSeen, rtt, rttVariation, answerRate, faults } = this;
    return { firstSeen, lastSeen, rtt, rttVariation, answerRate, faults };
  }

  /** Takes over what an earlier run has learned, with the less weight the longer ago that was. */
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

  /** Records a wrong or useless answer. */
  failed(): void {
    this.#faults = Math.min(MAX_FAULTS * SHARE_UNITS, this.#faults + SHARE_UNITS);
  }

  /**
   * Records an answer after `rtt` ms; `isSecondTry`: the query had been sent twice, so that nobody knows which one was
   * answered, and its time tells nothing (Karn and Partridge, 1987).
   */
  answered(now: Millis, rtt: number, isSecondTry = false): void {
    this.lastResponse = Math.floor(now);
    this.misses = 0;
    const outcome = isSecondTry ? SECOND_TRY * SHARE_UNITS : SHARE_UNITS;
    this.#answerRate += Math.round(ANSWER_GAIN * (outcome - this.#answerRate));
    this.#faults -= Math.round(FORGIVEN_SHARE * this.#faults);
    if (isSecondTry && this.#rtt !== UNMEASURED) return;
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

  /** Records a query that it left unanswered. */
  missed(now: Millis): void {
    this.misses++;
    this.lastMiss = Math.floor(now);
    this.#answerRate -= Math.round(ANSWER_GAIN * this.#answerRate);
  }
}
