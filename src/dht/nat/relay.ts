// Sends queries to a target through a relay: a node that exchanges packets with both us and the
// target. Matches the answers that return through the relay.

import { bencodeBytes } from "../../krpc/bencode.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";
import { type Id, word } from "../../krpc/id.ts";
import type { Message, Method, QueryArguments } from "../../krpc/message.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import type { Queries } from "../search/queries.ts";
import { whenDone } from "../search/query.ts";
import type { Helper } from "./helpers.ts";

/** How long a query waits for an answer before it is sent again. */
const RESEND_MS = 500;

/** A query fails if there is no answer this long after it was first sent. */
const GIVE_UP_MS = 2_000;

/** A node that can forward messages to the target. */
export interface Via extends Helper {
  /** The target's endpoint, as the relaying node sees it. */
  readonly sees: Endpoint;
}

interface Pending {
  readonly via: Via;
  deadline: Deadline;
  readonly done: (answer: Message | undefined, now: Millis) => void;
}

export class Relay {
  readonly #queries: Queries;
  readonly #deadlines: Deadlines;
  readonly #random: Random;
  readonly #pending = new Map<number, Pending>();

  constructor(parts: { queries: Queries; deadlines: Deadlines; random: Random }) {
    this.#queries = parts.queries;
    this.#deadlines = parts.deadlines;
    this.#random = parts.random;
  }

  /** Sends a query to `target` through `via`. `done` is called with the answer, or with undefined if there is none. */
  send(
    { via, target, method, args }: { via: Via; target: Id; method: Method; args: QueryArguments },
    now: Millis,
    done: Pending["done"],
  ): void {
    let tid = this.#random.word();
    while (this.#pending.has(tid)) tid = this.#random.word();
    const { endpoint: to, id: expected, token, sees } = via;
    const value = bencodeBytes(this.#queries.outbox.write({ method, tid, to, args }));
    const outer = { target, token, value, values: [sees] };
    const send = (at: Millis) => {
      const watcher = whenDone((outcome, end) => {
        if (outcome.kind === "error") this.#end(tid, undefined, end);
      });
      this.#queries.send({ method: "dm_pass", to, args: outer, expected }, at, watcher);
    };
    const deadline = this.#deadlines.schedule(now + RESEND_MS, (at) => {
      pending.deadline = this.#deadlines.schedule(now + GIVE_UP_MS, (end) => {
        this.#end(tid, undefined, end);
      });
      send(at);
    });
    const pending = { via, deadline, done };
    this.#pending.set(tid, pending);
    send(now);
  }

  #end(tid: number, answer: Message | undefined, now: Millis): void {
    const pending = this.#pending.get(tid);
    if (pending === undefined) return;
    this.#pending.delete(tid);
    this.#deadlines.cancel(pending.deadline);
    pending.done(answer, now);
  }

  /** Handles a forwarded answer. Returns false if it matches none of our pending queries. */
  receive(answer: Message, from: Endpoint, now: Millis): boolean {
    const tid = word(answer.packet, answer.tidStart);
    const isOurs = answer.tidEnd - answer.tidStart === 4 &&
      this.#pending.get(tid)?.via.endpoint.equals(from);
    if (isOurs) this.#end(tid, answer, now);
    return isOurs ?? false;
  }
}
