// The past of each published value: the number of nodes with a copy after each publication and each
// count.

import type { PublicationRecord } from "../../reports/values.ts";
import type { Records } from "../records.ts";

/** Maximum number of entries for each value: two days of publications. */
export const MAX_ENTRIES = 48;

/** Maximum number of values with a past. With all entries, they need about 400 kB in the database. */
export const MAX_VALUES = 500;

const PREFIX = "copies/";

/** The number of fields of an entry: time, number of copies, version and kind. The kinds are stored by index. */
const NUMBERS = 4, KINDS = ["published", "failed", "counted"] as const;

interface Entry {
  readonly at: number;
  readonly copies: number;
  readonly seq: number | null;
  readonly kind: typeof KINDS[number];
}

/** The outcome of a value's publications: the fields that this log needs. */
export interface PublicationState {
  readonly hash: string;
  /**
   * The time of the latest publication that another node acknowledged, in milliseconds since 1970; null if none did.
   */
  readonly lastAt: number | null;
  readonly failures: number;
  readonly replicas: number;
  readonly seq: number | bigint | null;
}

export class PublicationLog {
  readonly #entries = new Map<string, Entry[]>();
  readonly #records: Records;

  constructor(records: Records) {
    this.#records = records;
    for (const [hash, bytes] of records.below(PREFIX)) this.#entries.set(hash, decode(bytes));
  }

  /**
   * Compares all published values with their latest entries, adds entries for new publications, and forgets other
   * values. `now` is in milliseconds since 1970.
   */
  follow(values: readonly PublicationState[], now: number): void {
    const present = new Set(values.map(({ hash }) => hash));
    for (const hash of this.#entries.keys()) if (!present.has(hash)) this.#forget(hash);
    for (const { hash, lastAt, failures, replicas, seq } of values) {
      const entries = this.#entries.get(hash) ?? [];
      const latest = entries.findLast(({ kind }) => kind === "published");
      if (lastAt !== null && lastAt > (latest?.at ?? -Infinity)) {
        this.#add(hash, { at: lastAt, copies: replicas, seq: numberOf(seq), kind: "published" });
      } else if (
        failures >
          entries.filter(({ at, kind }) => kind === "failed" && at > (latest?.at ?? -Infinity))
            .length
      ) {
        this.#add(hash, { at: now, copies: 0, seq: numberOf(seq), kind: "failed" });
      }
    }
  }

  /** Adds a count of a published value's copies. */
  noteCount(hash: string, copies: number, at: number): void {
    const seq = this.#entries.get(hash)?.at(-1)?.seq;
    if (seq !== undefined) this.#add(hash, { at, copies, seq, kind: "counted" });
  }

  /** The past of a value, oldest first. */
  of(hash: string): PublicationRecord[] {
    return (this.#entries.get(hash) ?? []).map(({ at, ...entry }) => ({
      at: new Date(at).toISOString(),
      ...entry,
    }));
  }

  #add(hash: string, entry: Entry): void {
    const entries = this.#entries.get(hash) ?? [];
    if (entries.length === 0 && this.#entries.size >= MAX_VALUES) return;
    const kept = [...entries, entry].slice(-MAX_ENTRIES);
    this.#entries.set(hash, kept);
    this.#records.set(`${PREFIX}${hash}`, encode(kept));
  }

  #forget(hash: string): void {
    this.#entries.delete(hash);
    this.#records.delete(`${PREFIX}${hash}`);
  }
}

/** Converts a version to a number. A version above 2^53 - 1 becomes 2^53 - 1. */
function numberOf(seq: number | bigint | null): number | null {
  return seq === null ? null : Math.min(Number(seq), Number.MAX_SAFE_INTEGER);
}

function encode(entries: readonly Entry[]): Uint8Array {
  const numbers = entries.flatMap((
    { at, copies, seq, kind },
  ) => [at, copies, seq ?? -1, KINDS.indexOf(kind)]);
  return new Uint8Array(Float64Array.from(numbers).buffer);
}

/** Decodes the entries of a record, and leaves out damaged ones. */
function decode(bytes: Uint8Array): Entry[] {
  if (bytes.length % (8 * NUMBERS) !== 0) return [];
  const numbers = Array.from(new Float64Array(bytes.slice().buffer)), entries: Entry[] = [];
  for (let i = 0; i < numbers.length; i += NUMBERS) {
    const [at, copies, seq, kind] = numbers.slice(i, i + NUMBERS);
    const isSound = at >= 0 && at <= 8.64e15 && Number.isSafeInteger(copies) && copies >= 0 &&
      Number.isSafeInteger(seq) && seq >= -1 && kind in KINDS;
    if (isSound) entries.push({ at, copies, seq: seq === -1 ? null : seq, kind: KINDS[kind] });
  }
  return entries.slice(-MAX_ENTRIES);
}
