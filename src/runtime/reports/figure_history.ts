// Samples of the node's figures over a day and over thirty days, which survive a restart.

import type { Sample } from "../../reports/stats.ts";
import type { Records } from "../records.ts";

/** The length of a series of samples, and the interval between samples. */
export interface Series {
  /** The names of all records of the series start with this prefix. */
  readonly name: string;
  readonly intervalMs: number;
  readonly count: number;
}

/**
 * A series of a day with 288 samples, and one of thirty days with 720. Together, the two need about
 * 150 kB in the database.
 */
export const DAY: Series = { name: "day/", intervalMs: 5 * 60_000, count: 288 };
export const MONTH: Series = { name: "month/", intervalMs: 3_600_000, count: 720 };

/** A sample, and its time in milliseconds since 1970. */
interface Timed {
  readonly at: number;
  readonly sample: Omit<Sample, "at">;
}

/** The number of numbers that a record stores for a sample. */
const NUMBERS = 15;

export class FigureHistory {
  readonly #series: Series;
  readonly #records: Records;
  /** The samples of past intervals, by their place in the series. */
  readonly #places = new Map<number, Timed>();
  /** The samples of the current interval, which has not ended yet. */
  #present: Timed[] = [];

  constructor(series: Series, records: Records) {
    this.#series = series;
    this.#records = records;
    for (const [name, bytes] of records.below(series.name)) {
      const place = Number(name), timed = decode(bytes);
      // Ignore damaged records: the figures are only shown to people, so a lost sample does no harm.
      if (Number.isInteger(place) && place >= 0 && place < series.count && timed !== undefined) {
        this.#places.set(place, timed);
      }
    }
  }

  /**
   * Adds a sample. If the sample begins a new interval, the samples of the previous interval are
   * merged into one.
   */
  add(at: number, sample: Omit<Sample, "at">): void {
    const first = this.#present[0];
    if (first !== undefined && this.#turnOf(first.at) !== this.#turnOf(at)) {
      const timed = merged(this.#present), place = this.#turnOf(first.at) % this.#series.count;
      this.#places.set(place, timed);
      this.#records.set(`${this.#series.name}${place}`, encode(timed));
      this.#present = [];
    }
    this.#present.push({ at, sample });
  }

  /** Returns the samples of the day or thirty days before `now`, oldest first. */
  samples(now: number): Sample[] {
    const { intervalMs, count } = this.#series, since = now - intervalMs * count;
    const present = this.#present.length === 0 ? [] : [merged(this.#present)];
    return [...this.#places.values(), ...present]
      // Leave out samples from the future: the system's clock may have been ahead when they were
      // taken.
      .filter(({ at }) => at > since && at <= now)
      .sort((x, y) => x.at - y.at)
      .map(({ at, sample }) => ({ at: new Date(at).toISOString(), ...sample }));
  }

  #turnOf(at: number): number {
    return Math.floor(at / this.#series.intervalMs);
  }
}

/**
 * Merges samples: takes the sum of lookups, the maximum of values at risk, the last figures of storage and published
 * values, and the average of all other figures.
 */
function merged(samples: readonly Timed[]): Timed {
  const all = samples.map(({ sample }) => sample), last = samples[samples.length - 1];
  const rate = (direction: "in" | "out") => ({
    messages_per_second: mean(all.map((sample) => sample[direction].messages_per_second)) ?? 0,
    bytes_per_second: mean(all.map((sample) => sample[direction].bytes_per_second)) ?? 0,
  });
  const most = (numbers: readonly number[]) => numbers.reduce((x, y) => Math.max(x, y), 0);
  const sum = (numbers: readonly number[]) => numbers.reduce((x, y) => x + y, 0);
  return {
    at: last.at,
    sample: {
      peers: Math.round(mean(all.map(({ peers }) => peers)) ?? 0),
      rtt_ms: mean(all.map(({ rtt_ms }) => rtt_ms)),
      in: rate("in"),
      out: rate("out"),
      lookups: {
        count: sum(all.map(({ lookups }) => lookups.count)),
        success: sum(all.map(({ lookups }) => lookups.success)),
        p50_ms: mean(all.map(({ lookups }) => lookups.p50_ms)),
        p95_ms: mean(all.map(({ lookups }) => lookups.p95_ms)),
      },
      storage: last.sample.storage,
      published: {
        values: last.sample.published.values,
        at_risk: most(all.map(({ published }) => published.at_risk)),
      },
    },
  };
}

/** The average of the known numbers; null if there is none. */
function mean(numbers: readonly (number | null)[]): number | null {
  const known = numbers.filter((number) => number !== null);
  return known.length === 0 ? null : known.reduce((x, y) => x + y, 0) / known.length;
}

function encode({ at, sample }: Timed): Uint8Array {
  const { peers, rtt_ms, in: inward, out, lookups, storage, published } = sample;
  return new Uint8Array(
    Float64Array.of(
      at,
      peers,
      rtt_ms ?? NaN,
      inward.messages_per_second,
      inward.bytes_per_second,
      out.messages_per_second,
      out.bytes_per_second,
      lookups.count,
      lookups.success,
      lookups.p50_ms ?? NaN,
      lookups.p95_ms ?? NaN,
      storage.items,
      storage.bytes,
      published.values,
      published.at_risk,
    ).buffer,
  );
}

/** Decodes a record. Returns undefined if the record is damaged. */
function decode(bytes: Uint8Array): Timed | undefined {
  if (bytes.length !== 8 * NUMBERS) return undefined;
  const numbers = Array.from(new Float64Array(bytes.slice().buffer));
  const [at, peers, rtt, inMessages, inBytes, outMessages, outBytes] = numbers;
  const [count, success, p50, p95, items, stored, values, atRisk] = numbers.slice(7);
  const known = [at, peers, inMessages, inBytes, outMessages, outBytes, count, success];
  const isSound = [...known, items, stored, values, atRisk].every((n) => n >= 0 && n < 2 ** 53) &&
    [peers, count, success, items, stored, values, atRisk].every(Number.isInteger) &&
    at <= MAX_TIME_MS;
  if (!isSound) return undefined;
  const orNull = (number: number) => number >= 0 && number < Infinity ? number : null;
  return {
    at,
    sample: {
      peers,
      rtt_ms: orNull(rtt),
      in: { messages_per_second: inMessages, bytes_per_second: inBytes },
      out: { messages_per_second: outMessages, bytes_per_second: outBytes },
      lookups: { count, success, p50_ms: orNull(p50), p95_ms: orNull(p95) },
      storage: { items, bytes: stored },
      published: { values, at_risk: atRisk },
    },
  };
}

/** The largest time that a Date can hold (ECMAScript, section 21.4.1.1). */
const MAX_TIME_MS = 8.64e15;
