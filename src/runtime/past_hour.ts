// The node's figures over the last hour, so that who comes to look sees what was before.

import type { Millis } from "../dht/deadlines.ts";
import type { NodeEvent } from "../dht/host.ts";
import type { TrafficCount } from "./service.ts";

/** Between samples: an hour is then 360 of them, which a chart shows one by one. */
export const SAMPLE_EVERY_MS = 10_000;

/** An hour's worth. */
const MAX_SAMPLES = 3_600_000 / SAMPLE_EVERY_MS;

/** Lookups of one sample of which the times are kept: of more, the first tell enough. */
const MAX_LATENCIES = 1_024;

/** The node at one time, and what it did since the sample before. */
export interface HourSample {
  /** Milliseconds since 1970. */
  readonly at: Millis;
  readonly peers: number;
  /** Median of the peers' round-trip times; null where none is measured. */
  readonly rttMs: number | null;
  readonly in: Rate;
  readonly out: Rate;
  readonly lookups: {
    /** Those that ended, and those of them in which anybody answered. */
    readonly count: number;
    readonly success: number;
    /** Of those that succeeded; null where none did. */
    readonly p50Ms: number | null;
    readonly p95Ms: number | null;
  };
  readonly storage: { readonly items: number; readonly bytes: number };
}

/** Over the time since the sample before. */
interface Rate {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

/** What is read off the node for a sample; traffic since its start. */
export interface Reading {
  readonly peers: number;
  /** Of each peer that is measured, in any order. */
  readonly rtts: readonly number[];
  readonly in: TrafficCount;
  readonly out: TrafficCount;
  readonly items: number;
  readonly bytes: number;
}

/** A ring of samples. */
export class PastHour {
  readonly #samples: HourSample[] = [];
  #latencies: number[] = [];
  #count = 0;
  #success = 0;
  #before: { readonly at: Millis; readonly in: TrafficCount; readonly out: TrafficCount };

  /** @param startedAt when the traffic began to be counted */
  constructor(startedAt: Millis) {
    const none = { messages: 0, bytes: 0 };
    this.#before = { at: startedAt, in: none, out: none };
  }

  /** Takes in an event of the node; those that are not about lookups are passed over. */
  note(event: NodeEvent): void {
    if (event.type !== "lookup") return;
    this.#count++;
    if (!event.lookup.success) return;
    this.#success++;
    if (this.#latencies.length < MAX_LATENCIES) this.#latencies.push(event.lookup.elapsed);
  }

  /** Adds a sample; the oldest makes room for it. */
  sample(reading: Reading, at: Millis): void {
    const seconds = Math.max(1_000, at - this.#before.at) / 1000;
    const rate = (direction: "in" | "out"): Rate => ({
      messagesPerSecond: (reading[direction].messages - this.#before[direction].messages) / seconds,
      bytesPerSecond: (reading[direction].bytes - this.#before[direction].bytes) / seconds,
    });
    const latencies = this.#latencies.sort((x, y) => x - y);
    const rtts = reading.rtts.toSorted((x, y) => x - y);
    this.#samples.push({
      at,
      peers: reading.peers,
      rttMs: quantile(rtts, 0.5),
      in: rate("in"),
      out: rate("out"),
      lookups: {
        count: this.#count,
        success: this.#success,
        p50Ms: quantile(latencies, 0.5),
        p95Ms: quantile(latencies, 0.95),
      },
      storage: { items: reading.items, bytes: reading.bytes },
    });
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
    this.#before = { at, in: copyOf(reading.in), out: copyOf(reading.out) };
    this.#latencies = [];
    this.#count = this.#success = 0;
  }

  /** The samples that were taken after this, oldest first. */
  after(at: Millis): readonly HourSample[] {
    return this.#samples.filter((sample) => sample.at > at);
  }
}

/** The counters go on: what they are now, whatever they are made of. */
function copyOf({ messages, bytes }: TrafficCount): TrafficCount {
  return { messages, bytes };
}

function quantile(sorted: readonly number[], share: number): number | null {
  if (sorted.length === 0) return null;
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
