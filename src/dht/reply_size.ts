// Limits the length of replies, so that nobody can make a node send many bytes to a forged sender
// address.

import type { Endpoint } from "../krpc/endpoint.ts";
import {
  COMPACT_NODE_BYTES,
  type Method,
  type QueryArguments,
  REPLY_NODES,
  WANT_N4,
  WANT_N6,
} from "../krpc/message.ts";
import { COORDINATE_BYTES } from "./routing/coordinate.ts";

/** The longest reply: short enough to cross any network path in one packet. */
export const MAX_REPLY_BYTES = 1400;

/**
 * The maximum length of a reply, as a multiple of the query's length. It applies unless the asker has proven that it
 * receives packets at its address.
 */
export const MAX_REPLY_FACTOR = 3;

/** Cap on the bytes of a reply besides its nodes, values and items. */
const FIXED_BYTES = 150;

/**
 * The number of bytes that a signature and a proof that we hold the item add to a reply, with the names of both fields.
 */
export const PROVEN_BYTES = 72 + 14;

/**
 * The length that our query needs to be entitled to the longest reply that we can use, without a proof of our address.
 */
export function entitledBytes(
  { method, args, to }: { method: Method; args: QueryArguments; to: Endpoint },
): number {
  return Math.ceil(longestReply(method, args, to) / MAX_REPLY_FACTOR);
}

function longestReply(method: Method, args: QueryArguments, to: Endpoint): number {
  const { want = to.family === 4 ? WANT_N4 : WANT_N6, wantCount, challenge } = args;
  if (method === "get_peers" || (method === "get" && challenge === undefined)) {
    return MAX_REPLY_BYTES;
  }
  if (method !== "find_node" && method !== "get") return 0;
  const perNode = (want & WANT_N4 ? COMPACT_NODE_BYTES[4] : 0) +
    (want & WANT_N6 ? COMPACT_NODE_BYTES[6] : 0) + (wantCount === undefined ? 0 : COORDINATE_BYTES);
  const fixed = FIXED_BYTES + (challenge === undefined ? 0 : PROVEN_BYTES);
  return Math.min(MAX_REPLY_BYTES, fixed + perNode * (wantCount ?? REPLY_NODES));
}
