// Computes how many nodes must fail before a stripe is lost.

import type { Id } from "../krpc/id.ts";

/** Counts which nodes hold the pieces of one stripe. */
export class StripeCopies {
  /** For each stored piece of the stripe, the number of nodes that hold it. */
  readonly #copies: number[] = [];
  /** For each node, the number of the stripe's pieces that it holds. */
  readonly #held = new Map<string, number>();

  /** `columns`: the number of pieces that are needed to read the stripe. */
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
   * A lower bound of the number of nodes that must fail before the stripe is lost, assuming that the nodes with the
   * most pieces fail first.
   */
  get tolerance(): number {
    const copies = this.#copies.toSorted((x, y) => x - y);
    // The stripe is lost if this many of its pieces are lost.
    const fatal = copies.length - this.columns + 1;
    if (fatal <= 0) return 0;
    let remaining = copies.slice(0, fatal).reduce((sum, count) => sum + count, 0), nodes = 0;
    for (const held of [...this.#held.values()].sort((x, y) => y - x)) {
      if (remaining <= 0) break;
      remaining -= held;
      nodes++;
    }
    // A piece is lost only if all of its holders fail.
    return Math.max(nodes, copies[fatal - 1]);
  }
}
