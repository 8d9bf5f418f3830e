// One query to another node: its parts, its outcome, and the callbacks that follow its progress.

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Id } from "../../krpc/id.ts";
import type { DropReason, Message, Method, QueryArguments } from "../../krpc/message.ts";
import type { Millis } from "../deadlines.ts";
import type { Purpose } from "../purpose.ts";

export interface Query {
  readonly method: Method;
  readonly to: Endpoint;
  readonly args: QueryArguments;
  /** Whether to include our network coordinate. It is filled in when the query is sent. */
  readonly sendsCoordinate?: boolean;
  /** The id that the node at `to` should have; undefined if it is not known. */
  readonly expected: Id | undefined;
  /** The expected round-trip time, if the node is not a contact; NaN if unknown. */
  readonly rtt?: number;
  /** Whether to send the query only once, as an answer is unlikely. The query then never counts as late. */
  readonly isOnce?: boolean;
  /**
   * Whether we send the query only because the receiver has queried us. The answer then does not
   * count as a vote on our address.
   */
  readonly isVerification?: boolean;
  /** The minimum size of the query in bytes. By default, it depends on the reply that the query asks for. */
  readonly minBytes?: number;
  /** Upkeep by default. */
  readonly purpose?: Purpose;
}

/** How a query ended. */
export type QueryOutcome =
  | Answer
  | { readonly kind: "error"; readonly code: number; readonly text: string; readonly rtt: number }
  /** No answer came, or the query was not sent because of our rate limit for its receiver. */
  | { readonly kind: "timeout" };

export interface Answer {
  readonly kind: "response";
  readonly message: Message;
  /** Milliseconds from sending the packet to its answer. */
  readonly rtt: number;
  /**
   * Whether `rtt` may be longer than the path's round trip: our own process stalled, or the node
   * had to write to its disk.
   */
  readonly isRttUnsure: boolean;
  /** Whether the query had been sent twice, and the second packet was answered. */
  readonly isSecondTry: boolean;
}

/** A packet that does not make its sender a contact, although it may answer one of our queries. */
export type UnusableReply =
  & { readonly from: Endpoint }
  & (
    | { readonly kind: "error"; readonly code: number; readonly text: string }
    /** no_id: a response without a valid id. read_only: a response from a node that answers no queries (BEP 43). */
    | { readonly kind: "no_id" | "read_only" | "unmatched" | DropReason }
  );

export interface QueryWatcher {
  /** Called if the query has to wait because of our rate limit for its receiver. */
  onHeld?(now: Millis): void;
  /** Called when the answer is late. By then, the query has been sent again if it may be repeated. */
  onLate(now: Millis): void;
  /** Called when the answer is so late that it will probably never come. */
  onOverdue(now: Millis): void;
  /** Called exactly once, when the query has ended. */
  done(outcome: QueryOutcome, now: Millis): void;
}

/** A watcher that only reacts to the outcome. */
export function whenDone(done: QueryWatcher["done"]): QueryWatcher {
  return { onLate: ignore, onOverdue: ignore, done };
}

const ignore = () => {};
