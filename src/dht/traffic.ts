// Counts messages and bytes in and out, by type, and dropped packets, by reason.

import { type DropReason, type Method, METHODS } from "../krpc/message.ts";
import { DurationHistogram } from "./histogram.ts";
import { Usage } from "./usage.ts";

/** Why a packet was dropped. */
export type Drop =
  | DropReason
  | "rate_limited"
  /** The node could not keep up, and dropped the query of a stranger. */
  | "overloaded"
  /** The packet would have exceeded the rates that the user has set. */
  | "over_limit"
  /** A response without a valid id of its sender: it does not count as an answer. */
  | "no_id"
  /** A response or error that does not belong to any open query of ours to its sender. */
  | "unmatched"
  /** This node ignored the query because it was read-only (BEP 43). */
  | "read_only"
  /** The packet was not sealed with the network key. */
  | "undecipherable"
  /**
   * The packet was sealed with the network key, but not for this node and this address: a first
   * packet, or a replay.
   */
  | "unproven"
  /** A packet with the same salt and a valid proof was opened before. */
  | "replayed"
  /** The settings do not allow this node to exchange packets with the address. */
  | "not_allowed"
  /** The address or the id of the node is in the deny list. */
  | "denied"
  | "send_queue_full"
  /** The system refused to send the packet, for example because it has no route. */
  | "not_sent"
  /** The message was forwarded by a node that is not one of our introducers. */
  | "not_introduced"
  /**
   * The packet exceeded our budget for helping nodes behind NATs, or for sending packets at the
   * request of other nodes.
   */
  | "over_budget"
  /**
   * We would have sent a third party more bytes than we received. Or our reply to an address that
   * may be forged would have been more than three times as long as the packet.
   */
  | "would_amplify";

export type MessageKind = "query" | "response" | "error";

const NAMES = [...METHODS, "unknown"] as const;
const KINDS: readonly MessageKind[] = ["query", "response", "error"];

/** Messages and bytes in one direction, by method and kind. */
export class Flow {
  /** For each method and kind, the number of messages, then the number of bytes. */
  readonly #counts = new Array<number>(2 * NAMES.length * KINDS.length).fill(0);

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

  /** The counts that are not zero, under names such as `find_node.query`. */
  byType(): Record<string, { messages: number; bytes: number }> {
    const counts: Record<string, { messages: number; bytes: number }> = {};
    for (const method of NAMES) {
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
  /**
   * Round-trip times of all queries, with two exceptions. Puts are answered only after a write to
   * disk, so they don't count. Neither do queries during which our own process stalled.
   */
  readonly roundTrips = new DurationHistogram();
  readonly usage: Usage;

  /** `sealBytes`: see `Usage`. */
  constructor(sealBytes = 0) {
    this.usage = new Usage(sealBytes);
  }

  drop(reason: Drop): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
  }
}

/**
 * Returns the index of a message counter. Runs twice per packet, so it compares pointers instead of
 * hashing a name.
 */
function place(method: Method | "unknown", kind: MessageKind): number {
  let index = 0;
  while (NAMES[index] !== method) index++;
  return 2 * (KINDS.length * index + (kind === "query" ? 0 : kind === "response" ? 1 : 2));
}
