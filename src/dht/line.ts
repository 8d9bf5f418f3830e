// Keeps a node's packets within the rates that its user has set. Answers and health checks come first.

import { Allowance } from "./allowance.ts";
import type { Millis } from "./deadlines.ts";
import { type Bytes, noBytes, type Purpose, PURPOSES } from "./purpose.ts";

/** The rates of all P2P packets in bytes per second. Undefined: no limit. */
export interface LineRates {
  readonly up: number | undefined;
  readonly down: number | undefined;
}

/** The least burst in bytes: several of the longest packets, so that each purpose gets its turn. */
const MIN_BURST_BYTES = 8_192;

/**
 * The share of the burst that must be left for a query of each purpose to be sent. Answers and
 * pings need none, so they find room whenever the other purposes have to wait.
 */
const RESERVE_SHARE: Readonly<Record<Purpose, number>> = {
  answers: 0,
  requests: 1 / 8,
  relay: 1 / 4,
  upkeep: 1 / 4,
  own_values: 1 / 4,
  transfers: 3 / 8,
  other: 0,
};

/** While less than this share of the burst is left, queries of strangers are dropped before they are parsed. */
const STRANGERS_RESERVE_SHARE = 1 / 4;

/** The debt, as a share of the burst, up to which pings are answered and answers are accepted. */
const MAX_DEBT_SHARE = 1 / 2;

/** The most of the rate that answers may use, so that a flood of queries leaves room for the node's own users. */
const MAX_ANSWERS_SHARE = 3 / 4;

/** The bytes of a query without its value, and those of a usual answer. */
const QUERY_BYTES = 180, ANSWER_BYTES = 400;

/** The bytes of an answer that contains a piece of a large value. */
const PIECE_BYTES = 1_200;

/** What a query costs. */
export interface LineCost {
  readonly purpose: Purpose;
  /** The bytes of the query. */
  readonly up: number;
  /** The bytes of its answer. */
  readonly down: number;
}

/** One direction of the line. */
class Direction {
  readonly allowance: Allowance;
  /** The bytes of the queries that wait. */
  readonly held: Bytes = noBytes();

  constructor(perSecond: number) {
    this.allowance = new Allowance(perSecond, Math.max(MIN_BURST_BYTES, perSecond));
  }

  /** Milliseconds until `bytes` may pass; 0 if they may pass now. Otherwise, those that wait already pass first. */
  waitFor(now: Millis, bytes: number, purpose: Purpose): Millis {
    const { allowance, held } = this, reserve = RESERVE_SHARE[purpose];
    const wait = allowance.waitFor(
      now,
      Math.min(allowance.burst, reserve * allowance.burst + bytes),
    );
    if (wait === 0) return 0;
    const before = PURPOSES.filter((other) => RESERVE_SHARE[other] <= reserve)
      .reduce((sum, other) => sum + held[other], 0);
    return wait + 1000 * before / allowance.perSecond;
  }

  isLeft(now: Millis, share: number): boolean {
    return this.allowance.available(now) > share * this.allowance.burst;
  }
}

export class Line {
  #up: Direction | undefined;
  #down: Direction | undefined;
  #answers: Direction | undefined;

  constructor({ up, down }: Partial<LineRates> = {}) {
    this.set({ up, down });
  }

  /** Changes the rates. The waiting queries are sent at the new rates. */
  set({ up, down }: LineRates): void {
    this.#up = up === undefined ? undefined : new Direction(up);
    this.#answers = up === undefined ? undefined : new Direction(MAX_ANSWERS_SHARE * up);
    this.#down = down === undefined ? undefined : new Direction(down);
  }

  /** The cost of a query with a value of `valueBytes`. */
  costOf({ purpose, isPut, valueBytes }: {
    readonly purpose: Purpose;
    readonly isPut: boolean;
    readonly valueBytes: number;
  }): LineCost {
    const isPiece = purpose === "transfers" && !isPut;
    return {
      purpose,
      up: QUERY_BYTES + valueBytes,
      down: isPut ? QUERY_BYTES : isPiece ? PIECE_BYTES : ANSWER_BYTES,
    };
  }

  /** Milliseconds until a query may be sent; 0 if it may be sent now. */
  waitFor({ purpose, up, down }: LineCost, now: Millis): Millis {
    return Math.max(
      this.#up?.waitFor(now, up, purpose) ?? 0,
      this.#down?.waitFor(now, down, purpose) ?? 0,
    );
  }

  /** Counts a query as waiting, until `release`. */
  hold({ purpose, up, down }: LineCost): void {
    if (this.#up !== undefined) this.#up.held[purpose] += up;
    if (this.#down !== undefined) this.#down.held[purpose] += down;
  }

  release({ purpose, up, down }: LineCost): void {
    for (const [direction, bytes] of [[this.#up, up], [this.#down, down]] as const) {
      if (direction === undefined) continue;
      // The rates, and with them the waiting bytes, may have changed since `hold`.
      direction.held[purpose] = Math.max(0, direction.held[purpose] - bytes);
    }
  }

  /** Reserves room for the answer to a query that is sent now. */
  expect({ down }: LineCost): void {
    this.#down?.allowance.charge(down);
  }

  /** Ends the reservation for an answer, which has arrived and was counted by `noteReceived`. */
  noteExpected({ down }: LineCost): void {
    this.#down?.allowance.charge(-down);
  }

  noteSent(bytes: number, purpose: Purpose): void {
    this.#up?.allowance.charge(bytes);
    if (purpose === "answers") this.#answers?.allowance.charge(bytes);
  }

  /** Counts a packet that was accepted. Dropped ones don't count, so a flood can't use up the line for others. */
  noteReceived(bytes: number): void {
    this.#down?.allowance.charge(bytes);
  }

  /** Whether a query may be answered now. */
  mayAnswer(isPing: boolean, now: Millis): boolean {
    if (this.#up === undefined) return true;
    const share = isPing ? -MAX_DEBT_SHARE : 0;
    return this.#up.isLeft(now, share) && this.#answers!.isLeft(now, share);
  }

  /** Whether a packet may be accepted. `from`: its sender, or that it looks like the answer to a query. */
  mayReceive(from: "answer" | "contact" | "stranger", now: Millis): boolean {
    const shares = { answer: -MAX_DEBT_SHARE, contact: 0, stranger: STRANGERS_RESERVE_SHARE };
    return this.#down?.isLeft(now, shares[from]) ?? true;
  }

  get isLimitedDown(): boolean {
    return this.#down !== undefined;
  }

  get isLimited(): boolean {
    return this.#up !== undefined || this.#down !== undefined;
  }
}
