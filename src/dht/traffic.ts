// Counts of what went in and out, by type of message, and of what was dropped, by reason.

import type { DropReason, Method } from "../krpc/message.ts";

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
  | "send_queue_full";

export type MessageKind = "query" | "response" | "error";

const METHODS: readonly (Method | "unknown")[] = [
  "ping",
  "find_node",
  "get_peers",
  "announce_peer",
  "get",
  "put",
  "sample_infohashes",
  "unknown",
];
const METHOD_INDEX = Object.fromEntries(METHODS.map((method, index) => [method, index])) as Record<
  Method | "unknown",
  number
>;
const KINDS: readonly MessageKind[] = ["query", "response", "error"];
const KIND_INDEX = { query: 0, response: 1, error: 2 } as const;

/** Messages and bytes of one direction, by method and kind. */
export class Flow {
  readonly #messages = new Float64Array(METHODS.length * KINDS.length);
  readonly #bytes = new Float64Array(METHODS.length * KINDS.length);
  messages = 0;
  bytes = 0;

  count(method: Method | "unknown", kind: MessageKind, bytes: number): void {
    const at = METHOD_INDEX[method] * KINDS.length + KIND_INDEX[kind];
    this.#messages[at]++;
    this.#bytes[at] += bytes;
    this.messages++;
    this.bytes += bytes;
  }

  /** Non-zero counts under names such as `find_node.query`. */
  byType(): Record<string, { messages: number; bytes: number }> {
    const counts: Record<string, { messages: number; bytes: number }> = {};
    METHODS.forEach((method, m) =>
      KINDS.forEach((kind, k) => {
        const at = m * KINDS.length + k;
        if (this.#messages[at] > 0) {
          counts[`${method}.${kind}`] = { messages: this.#messages[at], bytes: this.#bytes[at] };
        }
      })
    );
    return counts;
  }
}

export class Traffic {
  readonly in = new Flow();
  readonly out = new Flow();
  readonly dropped: Partial<Record<Drop, number>> = {};

  drop(reason: Drop): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
  }
}
