// Samples of the node's peers, traffic, lookups and storage over the last hour.

import type { Millis } from "../../dht/deadlines.ts";
import type { NodeEvent } from "../../dht/host.ts";
import type { Sample, TrafficCount } from "../../reports/stats.ts";

/** The interval between samples: 360 samples per hour, few enough for a chart to show each of them. */
export const SAMPLE_INTERVAL_MS = 10_000;

const MAX_SAMPLES = 3_600_000 / SAMPLE_INTERVAL_MS;

/** Maximum number of lookup latencies that are kept for each sample. Further latencies are ignored. */
const MAX_LATENCIES = 1_024;

/** The state of the node when a sample is taken. Traffic is the total since the start. */
export interface Reading {
  readonly peers: number;
  readonly rtts: readonly number[];
  readonly in: TrafficCount;
  readonly out: TrafficCount;
  readonly items: number;
  readonly bytes: number;
  readonly published: Sample["published"];
}

/** The samples of the last hour, in memory. */
export class PastHour {
  /** The samples with their node times. The times are converted when a client requests the samples. */
  readonly #samples: { readonly at: Millis; readonly sample: Omit<Sample, "at"> }[] = [];
  #latencies: number[] = [];
  #count = 0;
  #success = 0;
  #before: { readonly at: Millis; readonly in: TrafficCount; readonly out: TrafficCount };

  /**
   * @param startedAt the time since which traffic is counted
   * @param wall converts a node time to milliseconds since 1970
   */
  constructor(startedAt: Millis, private readonly wall: (at: Millis) => number) {
    const none = { messages: 0, bytes: 0 };
    this.#before = { at: startedAt, in: none, out: none };
  }

  /** Counts a lookup that has ended; ignores other events. */
  note(event: NodeEvent): void {
    if (event.type !== "lookup") return;
    this.#count++;
    if (!event.lookup.success) return;
    this.#success++;
    if (this.#latencies.length < MAX_LATENCIES) this.#latencies.push(event.lookup.elapsed);
  }

  /** Adds and returns a sample, and drops the oldest if there are too many. */
  sample(reading: Reading, at: Millis): Omit<Sample, "at"> {
    const seconds = Math.max(1_000, at - this.#before.at) / 1000;
    const rate = (direction: "in" | "out") => {
      const now = reading[direction], before = this.#before[direction];
      return {
        messages_per_second: (now.messages - before.messages) / seconds,
        bytes_per_second: (now.bytes - before.bytes) / seconds,
      };
    };
    const latencies = this.#latencies.sort((x, y) => x - y);
    const rtts = reading.rtts.toSorted((x, y) => x - y);
    const sample = {
      peers: reading.peers,
      rtt_ms: quantile(rtts, 0.5),
      in: rate("in"),
      out: rate("out"),
      lookups: {
        count: this.#count,
        success: this.#success,
        p50_ms: quantile(latencies, 0.5),
        p95_ms: quantile(latencies, 0.95),
      },
      storage: { items: reading.items, bytes: reading.bytes },
      published: reading.published,
    };
    this.#samples.push({ at, sample });
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
    this.#before = { at, in: copyOf(reading.in), out: copyOf(reading.out) };
    this.#latencies = [];
    this.#count = this.#success = 0;
    return sample;
  }

  /** Returns the samples taken after `wallTime`, in milliseconds since 1970, oldest first. */
  after(wallTime: number): Sample[] {
    return this.#samples
      // Precise to the millisecond, because clients ask for the samples after this time.
      .map(({ at, sample }) => ({ at: new Date(this.wall(at)).toISOString(), ...sample }))
      .filter(({ at }) => Date.parse(at) > wallTime);
  }
}

/** Copies a count, because the original object keeps changing. */
function copyOf({ messages, bytes }: TrafficCount): TrafficCount {
  return { messages, bytes };
}

function quantile(sorted: readonly number[], share: number): number | null {
  if (sorted.length === 0) return null;
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
