// Counts of what went in and out, by type of message, and of what was dropped, by reason.

import type { DropReason, Method } from "../krpc/message.ts";
import { DurationHistogram } from "./histogram.ts";

/** Why a packet was not served. */
export type Drop =
  | DropReason
  /** The sender is over its rate limit. */
  | "rate_limited"
  /** A response or error that no open query of ours waits for at this address. */
  | "unmatched"
  /** A query while this node is read-only (BEP 43). */
  | "read_only"
  /** An address that this node may not talk to. */
  | "not_allowed"
  /** More packets waited to be sent than the host holds. */
  | "send_queue_full"
  /** A message by way of a node with which we have not registered, nor sent one by. */
  | "not_introduced"
  /** Over what we do for nodes behind NATs, or let others make us do. */
  | "over_budget"
  /** It would have made us send a third party more than we were sent. */
  | "would_amplify";

export type MessageKind = "query" | "response" | "error";

const METHODS: readonly (Method | "unknown")[] = [
  "ping",
  "find_node",
  "get_peers",
  "announce_peer",
  "get",
  "put",
  "sample_infohashes",
  "dm_pass",
  "dm_probe",
  "dm_punch",
  "unknown",
];
const KINDS: readonly MessageKind[] = ["query", "response", "error"];

/** Messages and bytes of one direction, by method and kind. */
export class Flow {
  /** Messages, then bytes, of each kind of each method. */
  readonly #counts = new Array<number>(2 * METHODS.length * KINDS.length).fill(0);

  get messages(): number {
    return this.#sum(0);
  }

  get bytes(): number {
    return this.#sum(1);
  }

  count(method: Method | "unknown", kind: MessageKind, bytes: number): void {
    const at = place(method, kind);
    this.#counts[at]++;
    this.#counts[at + 1] += bytes;
  }

  /** Non-zero counts under names such as `find_node.query`. */
  byType(): Record<string, { messages: number; bytes: number }> {
    const counts: Record<string, { messages: number; bytes: number }> = {};
    for (const method of METHODS) {
      for (const kind of KINDS) {
        const at = place(method, kind);
        const messages = this.#counts[at], bytes = this.#counts[at + 1];
        if (messages > 0) counts[`${method}.${kind}`] = { messages, bytes };
      }
    }
    return counts;
  }

  #sum(from: number): number {
    let sum = 0;
    for (let at = from; at < this.#counts.length; at += 2) sum += this.#counts[at];
    return sum;
  }
}

export class Traffic {
  readonly in = new Flow();
  readonly out = new Flow();
  readonly dropped: Partial<Record<Drop, number>> = {};
  /** Of queries that were answered before they were sent again: of others nobody knows what was answered. */
  readonly roundTrips = new DurationHistogram();

  drop(reason: Drop): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
  }
}

function place(method: Method | "unknown", kind: MessageKind): number {
  return 2 * (KINDS.length * methodIndex(method) + kindIndex(kind));
}

/** A switch, for it runs twice a packet: it compares a few pointers, where a look-up by name would hash. */
function methodIndex(method: Method | "unknown"): number {
  switch (method) {
    case "ping":
      return 0;
    case "find_node":
      return 1;
    case "get_peers":
      return 2;
    case "announce_peer":
      return 3;
    case "get":
      return 4;
    case "put":
      return 5;
    case "sample_infohashes":
      return 6;
    case "dm_pass":
      return 7;
    case "dm_probe":
      return 8;
    case "dm_punch":
      return 9;
    default:
      return 10;
  }
}

function kindIndex(kind: MessageKind): number {
  return kind === "query" ? 0 : kind === "response" ? 1 : 2;
}
