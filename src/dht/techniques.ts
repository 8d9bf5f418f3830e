// What this node does beyond plain Kademlia to be fast: each part can be left out, so that its worth can be measured.

/** True: in use. */
export interface Techniques {
  /** Full buckets keep contacts that are near, reliable and keep us too. */
  readonly near: boolean;
  /** Nodes that others tell of and that seem nearer than contacts are asked. */
  readonly probe: boolean;
  /** A `get` asks whoever leads to the value soonest, not the closest. */
  readonly hurry: boolean;
  /** A query is late, and sent again, by measured and foretold round trips, not after a constant. */
  readonly adapt: boolean;
  /** All of the k closest are asked at once when the alpha closest have answered (Kademlia, section 2.3). */
  readonly burst: boolean;
}

export const ALL_TECHNIQUES: Techniques = {
  near: true,
  probe: true,
  hurry: true,
  adapt: true,
  burst: true,
};

/** What peers' scores serve: without these all peers are the same to a node, as in plain Kademlia. */
export const SCORING: readonly (keyof Techniques)[] = ["near", "probe", "hurry", "adapt"];
