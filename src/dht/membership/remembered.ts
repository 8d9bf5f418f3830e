// Keeps the records of nodes that are no longer contacts, and restores the record of a node that
// becomes a contact again.

import type { Id } from "../../krpc/id.ts";
import type { ContactRecord } from "../routing/contact.ts";

/** Cap on the records. Once it is reached, each new record replaces the oldest. */
const MAX_REMEMBERED = 200;

/** The number of values in a record. */
const FIGURES = 6;

/** A ring buffer of records, stored in arrays. Objects in a map would need five times the memory. */
export class Remembered {
  readonly #ids: Id[] = [];
  /** The first 32 bits of each id. A search through this array reads no objects. */
  readonly #words: number[] = [];
  readonly #figures: number[] = [];
  #next = 0;

  /** Stores the record of a node, in place of any earlier record of that node. */
  set(id: Id, record: ContactRecord): void {
    let at = this.#find(id);
    if (at < 0) {
      at = this.#next;
      this.#next = (at + 1) % MAX_REMEMBERED;
    }
    this.#ids[at] = id;
    this.#words[at] = id.a;
    const { firstSeen, lastSeen, rtt, rttVariation, answerRate, faults } = record;
    const figures = [firstSeen, lastSeen, rtt, rttVariation, answerRate, faults];
    this.#figures.splice(FIGURES * at, FIGURES, ...figures);
  }

  get(id: Id): ContactRecord | undefined {
    const at = this.#find(id);
    if (at < 0) return undefined;
    const [firstSeen, lastSeen, rtt, rttVariation, answerRate, faults] = this.#figures
      .slice(FIGURES * at, FIGURES * (at + 1));
    return { firstSeen, lastSeen, rtt, rttVariation, answerRate, faults };
  }

  #find(id: Id): number {
    const words = this.#words;
    let at = words.indexOf(id.a);
    while (at >= 0 && !this.#ids[at].equals(id)) at = words.indexOf(id.a, at + 1);
    return at;
  }
}
