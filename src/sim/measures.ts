// Measurements of a simulation: samples of operations, statistics of the samples, and the traffic of the nodes.

import type { Millis } from "../dht/deadlines.ts";
import type { DhtNode } from "../dht/node.ts";

export type Distribution = ReturnType<typeof distribution>;

export type Measured = ReturnType<typeof measured>;

export interface Sample {
  /** When the operation started, in virtual time. */
  readonly at: Millis;
  readonly found: boolean;
  /** `hops` and `queries` are NaN if the operation never ended. */
  readonly hops: number;
  readonly queries: number;
  readonly elapsed: number;
  /**
   * Whether the node that runs the operation is slow or loses packets. Its operations are slow even if its peers are
   * good.
   */
  readonly isAskerFlaky: boolean;
}

/** One store of a value. */
export interface StoreSample {
  /** The number of nodes that acknowledged the value. */
  readonly replicas: number;
  /** The number of nodes that the store's lookup asked. */
  readonly queries: number;
  /** Milliseconds until three quarters of k nodes had acknowledged the value; NaN if fewer did. */
  readonly enoughMs: number;
  /** Milliseconds until the store ended. */
  readonly elapsed: number;
}

/** Summarizes stores. `enough` counts those that three quarters of k nodes acknowledged. */
export function measuredStores(samples: readonly StoreSample[]) {
  const times = samples.map(({ enoughMs }) => enoughMs).filter((ms) => !Number.isNaN(ms));
  return {
    count: samples.length,
    enough: times.length,
    queries: distribution(samples.map(({ queries }) => queries)),
    latency: distribution(times),
    whole: distribution(samples.map(({ elapsed }) => elapsed)),
  };
}

/** Summarizes operations of one kind. `found` counts operations that found the closest node or the stored value. */
export function measured(samples: readonly Sample[]) {
  const found = samples.filter((sample) => sample.found).length;
  const over = (pick: (sample: Sample) => number) =>
    distribution(samples.map(pick).filter((value) => !Number.isNaN(value)));
  return {
    count: samples.length,
    found,
    success: samples.length === 0 ? 0 : found / samples.length,
    hops: over((sample) => sample.hops),
    queries: over((sample) => sample.queries),
    latency: over((sample) => sample.elapsed),
  };
}

export function distribution(values: readonly number[]) {
  if (values.length === 0) return { mean: 0, p50: 0, p95: 0, p99: 0, max: 0 };
  const sorted = [...values].sort((x, y) => x - y);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return {
    mean: sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    max: sorted[sorted.length - 1],
  };
}

/** The average traffic that a node sends. */
export interface Load {
  readonly packetsPerSecond: number;
  readonly bytesPerSecond: number;
}

/**
 * Computes a node's average load by message type. `seconds` is the summed uptime of all nodes
 * between the two totals.
 */
export function loadByType(
  before: Totals,
  after: Totals,
  seconds: number,
): ReadonlyMap<string, Load> {
  const loads = Array.from(after.sent, ([type, { messages, bytes }]): [string, Load] => {
    const former = before.sent.get(type) ?? { messages: 0, bytes: 0 };
    return [type, {
      packetsPerSecond: (messages - former.messages) / seconds,
      bytesPerSecond: (bytes - former.bytes) / seconds,
    }];
  });
  return new Map(loads.filter(([, { packetsPerSecond }]) => packetsPerSecond > 0).sort());
}

export type Counters = Pick<DhtNode, "traffic" | "replication">;

export type Totals = ReturnType<typeof totalsOf>;

/**
 * Adds up the messages that nodes have sent since they started, by type of message. Also adds up
 * the nodes' replication counters.
 */
export function totalsOf(nodes: readonly Counters[]) {
  const sent = new Map<string, { messages: number; bytes: number }>();
  const replication = { published: 0, completed: 0, copies: 0 };
  for (const { traffic, replication: { published, completed, copies } } of nodes) {
    for (const [type, { messages, bytes }] of Object.entries(traffic.out.byType())) {
      const sum = sent.get(type) ?? { messages: 0, bytes: 0 };
      sent.set(type, { messages: sum.messages + messages, bytes: sum.bytes + bytes });
    }
    replication.published += published;
    replication.completed += completed;
    replication.copies += copies;
  }
  return { sent, replication };
}
