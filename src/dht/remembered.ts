// What is kept of nodes that are contacts no more: it counts once they are again.

import type { Id } from "../krpc/id.ts";
import type { ContactRecord } from "./contact.ts";

/** Records that are kept: of more the oldest is forgotten. */
const MAX_REMEMBERED = 200;

/** Figures of a record. */
const FIGURES = 6;

/**
 * A ring of records, in columns: a record of its own and a map to find it by would take five times the memory in
 * each of many nodes, and most are never looked at again.
 */
export class Remembered {
  readonly #words: number[] = [];
  readonly #ids: Id[] = [];
  #figures = new Float64Array(0);
  /** Where the next one goes. */
  #next = 0;

  /** Notes what is known of a node, in place of what was. */
  set(id: Id, record: ContactRecord): void {
    let at = this.#find(id);
    if (at < 0) {
      at = this.#next;
      this.#next = (at + 1) % MAX_REMEMBERED;
    }
    this.#words[at] = id.a;
    this.#ids[at] = id;
    if (FIGURES * (at + 1) > this.#figures.length) this.#grow();
    const { firstSeen, lastSeen, rtt, rttVariation, answerRate, faults } = record;
    this.#figures.set([firstSeen, lastSeen, rtt, rttVariation, answerRate, faults], FIGURES * at);
  }

  get(id: Id): ContactRecord | undefined {
    const at = this.#find(id);
    if (at < 0) return undefined;
    const [firstSeen, lastSeen, rtt, rttVariation, answerRate, faults] = this.#figures
      .subarray(FIGURES * at, FIGURES * (at + 1));
    return { firstSeen, lastSeen, rtt, rttVariation, answerRate, faults };
  }

  #find(id: Id): number {
    const words = this.#words;
    for (let at = words.indexOf(id.a); at >= 0; at = words.indexOf(id.a, at + 1)) {
      if (this.#ids[at].equals(id)) return at;
    }
    return -1;
  }

  #grow(): void {
    const figures = new Float64Array(
      FIGURES * Math.min(MAX_REMEMBERED, 2 * this.#ids.length + 7),
    );
    figures.set(this.#figures);
    this.#figures = figures;
  }
}
