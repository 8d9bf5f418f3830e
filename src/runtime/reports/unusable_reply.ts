// Explains in words why the replies of a node can't be used.

import type { UnusableReply } from "../../dht/search/query.ts";

const PROBLEMS = {
  no_id: "answers without a valid node id",
  read_only: "says that it answers no queries (BEP 43)",
  unmatched: "answers from another port or with another transaction id than it was asked",
  malformed: "sends packets that are not KRPC messages",
  no_transaction: "answers without a transaction id",
  unknown_type: "sends messages that are neither queries nor replies",
} as const satisfies Record<Exclude<UnusableReply["kind"], "error">, string>;

/** A sentence about the sender of the reply, without a full stop. */
export function problemOf(reply: UnusableReply): string {
  const problem = reply.kind === "error"
    ? `answers with error ${reply.code} (${reply.text || "no text"})`
    : PROBLEMS[reply.kind];
  return `${reply.from} ${problem}`;
}
