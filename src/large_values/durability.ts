// Computes how many nodes must vanish before a stripe is lost.

import type { Id } from "../krpc/id.ts";

/** The nodes that hold the pieces of one stripe. */
export class StripeCopies {
  /** For each stored piece of the stripe, how many nodes hold it. */
  readonly #copies: number[] = [];
  /** For each node, how many pieces of the stripe it holds. */
  readonly #held = new Map<string, number>();

  /** `columns`: how many pieces are needed to read the stripe. */
  constructor(private readonly columns: number) {}

  add(nodes: readonly Id[]): void {
    if (nodes.length === 0) return;
    this.#copies.push(nodes.length);
    for (const id of nodes) {
      const node = `${id}`;
      this.#held.set(node, 1 + (this.#held.get(node) ?? 0));
    }
  }

  /**
   * A lower bound of the number of nodes that must vanish before the stripe is lost, if the nodes
   * with the most pieces vanish first.
   */
  get tolerance(): number {
    const copies = this.#copies.toSorted((x, y) => x - y);
    // The stripe becomes unreadable if this many pieces are lost.
    const fatal = copies.length - this.columns + 1;
    if (fatal <= 0) return 0;
    let remaining = copies.slice(0, fatal).reduce((sum, count) => sum + count, 0), nodes = 0;
    for (const held of [...this.#held.values()].sort((x, y) => y - x)) {
      if (remaining <= 0) break;
      remaining -= held;
      nodes++;
    }
    // To lose a piece, all of its holders must vanish.
    return Math.max(nodes, copies[fatal - 1]);
  }
}
