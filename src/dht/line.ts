// Keeps a node's packets within the rates that its user has set. Answers and health checks come first.

import { Allowance } from "./allowance.ts";
import type { Millis } from "./deadlines.ts";
import { type Bytes, noBytes, type Purpose, PURPOSES } from "./purpose.ts";

/** The maximum rates of all P2P packets in bytes per second; undefined means no limit. */
export interface LineRates {
  readonly up: number | undefined;
  readonly down: number | undefined;
}

/** The minimum burst in bytes: several of the longest packets, so that each purpose gets its turn. */
const MIN_BURST_BYTES = 8_192;

/**
 * A query is sent only if this share of the burst stays free, depending on the query's purpose. Answers and pings need
 * no such reserve, so they are sent even while other queries wait.
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

/** If less than this share of the burst is free, queries of strangers are dropped before they are parsed. */
const STRANGERS_RESERVE_SHARE = 1 / 4;

/** The maximum debt, as a share of the burst. Beyond it, even pings are not answered and answers are not accepted. */
const MAX_DEBT_SHARE = 1 / 2;

/** The maximum share of the rate for answers, so that a flood of queries leaves room for the node's own users. */
const MAX_ANSWERS_SHARE = 3 / 4;

/** The estimated size in bytes of a query without its value, and of a usual answer. */
const QUERY_BYTES = 180, ANSWER_BYTES = 400;

/** The estimated size in bytes of an answer that contains a piece of a large value. */
const PIECE_BYTES = 1_200;

/** What a query costs. */
export interface LineCost {
  readonly purpose: Purpose;
  /** The bytes of the query. */
  readonly up: number;
  /** The bytes of its answer. */
  readonly down: number;
}

/** One direction of the node's traffic: up or down. */
class Direction {
  readonly allowance: Allowance;
  /** The total size of the waiting queries in bytes, by purpose. */
  readonly held: Bytes = noBytes();

  constructor(perSecond: number) {
    this.allowance = new Allowance(perSecond, Math.max(MIN_BURST_BYTES, perSecond));
  }

  /**
   * Milliseconds until `bytes` may pass; 0 if they may pass now. Packets that already wait for the same or a smaller
   * reserve pass first.
   */
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

  /** The estimated cost of a query with a value of `valueBytes`. */
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

  /** Counts a query as waiting, until `release` is called. */
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

  /** Reserves downstream bytes for the answer to a query that is sent now. */
  expect({ down }: LineCost): void {
    this.#down?.allowance.charge(down);
  }

  /** Ends the reservation for an answer that has arrived. `noteReceived` has already counted the answer. */
  noteExpected({ down }: LineCost): void {
    this.#down?.allowance.charge(-down);
  }

  noteSent(bytes: number, purpose: Purpose): void {
    this.#up?.allowance.charge(bytes);
    if (purpose === "answers") this.#answers?.allowance.charge(bytes);
  }

  /** Counts an accepted packet. Dropped packets don't count, so a flood can't use up the rate for other nodes. */
  noteReceived(bytes: number): void {
    this.#down?.allowance.charge(bytes);
  }

  /** Whether a query may be answered now. */
  mayAnswer(isPing: boolean, now: Millis): boolean {
    if (this.#up === undefined) return true;
    const share = isPing ? -MAX_DEBT_SHARE : 0;
    return this.#up.isLeft(now, share) && this.#answers!.isLeft(now, share);
  }

  /**
   * Whether a packet may be accepted. `from` is "answer" if the packet looks like the answer to a query; otherwise, it
   * is the kind of sender.
   */
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
