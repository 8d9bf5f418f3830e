// The purposes of a node's packets, by which their bytes are counted and limited.

/** Why a node sends or receives a packet. */
export const PURPOSES = [
  /** Queries of other nodes, and our answers. */
  "answers",
  /** Finding, fetching and storing for the users of this node. */
  "requests",
  /** Pieces of large values that users of this node store or fetch. */
  "transfers",
  /** Republishing this node's own values. */
  "own_values",
  /** Maintaining contacts, the routing table, reachability, and copies of other nodes' values. */
  "upkeep",
  /** Forwarding messages for nodes behind NATs. */
  "relay",
  /** Packets that were received and dropped. */
  "other",
] as const;
export type Purpose = (typeof PURPOSES)[number];

/** Bytes by purpose. */
export type Bytes = Record<Purpose, number>;

export function noBytes(): Bytes {
  return {
    answers: 0,
    requests: 0,
    transfers: 0,
    own_values: 0,
    upkeep: 0,
    relay: 0,
    other: 0,
  };
}
