// Writes that are sent during a lookup, as soon as a node that is probably one of the closest has
// given a token.

import type { Id } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import type { Queries } from "./queries.ts";
import type { Query, QueryOutcome, QueryWatcher } from "./query.ts";

/** An early write (a put sent before the lookup ends), and its progress so far. */
interface Early {
  isOverdue: boolean;
  outcome: QueryOutcome | undefined;
  /** Takes over once the lookup has ended and the write to the closest nodes has begun. */
  watcher: QueryWatcher | undefined;
}

export class EarlyWrites {
  readonly #queries: Queries;
  readonly #onStored: (id: Id, now: Millis) => void;
  readonly #sent = new Map<string, Early>();

  /** `onStored` is called when a node acknowledges an early write. */
  constructor(queries: Queries, onStored: (id: Id, now: Millis) => void) {
    this.#queries = queries;
    this.#onStored = onStored;
  }

  /** Sends an early write to the node whose id is `query.expected`. */
  start(query: Query & { readonly expected: Id }, now: Millis): void {
    const { expected: id } = query;
    if (this.#sent.has(`${id}`)) return;
    const early: Early = { isOverdue: false, outcome: undefined, watcher: undefined };
    this.#sent.set(`${id}`, early);
    this.#queries.send(query, now, {
      onHeld: (at) => early.watcher?.onHeld?.(at),
      onLate: (at) => early.watcher?.onLate(at),
      onOverdue: (at) => {
        early.isOverdue = true;
        early.watcher?.onOverdue(at);
      },
      done: (outcome, at) => {
        early.outcome = outcome;
        if (outcome.kind === "response") this.#onStored(id, at);
        early.watcher?.done(outcome, at);
      },
    });
  }

  /** Sends a query. If an early write has been sent to the same node, takes over that write instead. */
  readonly send: Queries["send"] = (query, now, watcher) => {
    const early = query.expected && this.#sent.get(`${query.expected}`);
    if (early === undefined) return this.#queries.send(query, now, watcher);
    if (early.outcome !== undefined) return watcher.done(early.outcome, now);
    early.watcher = watcher;
    if (early.isOverdue) watcher.onOverdue(now);
  };
}
