// What a run came to: the object that is printed as JSON, and how hops grow with the size of the network.

import type { Distribution, Load, Measured, Scenario, ScenarioResult } from "./scenario.ts";

/** One run with what it took. */
export interface CompletedRun {
  readonly scenario: Scenario;
  readonly result: ScenarioResult;
  readonly wallMs: number;
  /** Memory of the process after the run. */
  readonly rssBytes: number;
}

/** Figures are printed to a thousandth: more is noise. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function figures({ hops, queries, latency }: Measured) {
  return {
    hops: {
      mean: round(hops.mean),
      p50: hops.p50,
      p95: hops.p95,
      max: hops.max,
    },
    queries: { mean: round(queries.mean), p95: queries.p95 },
    latency_ms: milliseconds(latency),
  };
}

function milliseconds({ mean, p50, p95, p99 }: Distribution) {
  return { mean: round(mean), p50: round(p50), p95: round(p95), p99: round(p99) };
}

function perSecond({ packetsPerSecond, bytesPerSecond }: Load) {
  return { packets_per_s: round(packetsPerSecond), bytes_per_s: round(bytesPerSecond) };
}

/** The JSON of one run. `wall_s` and `rss_bytes` alone differ between runs of one seed. */
export function summary({ scenario, result, wallMs, rssBytes }: CompletedRun) {
  const { lookups, fetches, fetchesOfGood, fetchedValues, reaches, copies, idle, load } = result;
  return {
    nodes: scenario.nodes,
    seed: scenario.seed,
    lookups: lookups.count,
    found: lookups.found,
    success: lookups.success,
    ...figures(lookups),
    fetches: fetches === undefined ? null : {
      count: fetches.count,
      found: fetches.found,
      success: fetches.success,
      values: fetchedValues.count,
      values_missed: fetchedValues.missed,
      ...figures(fetches),
      ...(fetchesOfGood === undefined ? {} : {
        by_good_nodes: {
          count: fetchesOfGood.count,
          found: fetchesOfGood.found,
          ...figures(fetchesOfGood),
        },
      }),
    },
    reaches: reaches === undefined ? null : {
      count: reaches.count,
      found: reaches.found,
      ...reaches.ways,
      punchable: reaches.punchable,
      latency_ms: milliseconds(reaches.latency),
    },
    replicas: result.replicas === undefined ? null : round(result.replicas),
    copies: copies === undefined ? null : { ...copies, mean: round(copies.mean) },
    replication: result.replication,
    idle: perSecond(idle),
    load: {
      ...perSecond(load),
      by_type: Object.fromEntries(
        Array.from(load.byType, ([type, of]) => [type, perSecond(of)]),
      ),
    },
    contacts_per_node: round(result.contactsPerNode),
    network_size_estimate: result.networkSizeEstimate,
    packets: result.packets,
    virtual_s: round(result.virtualMs / 1000),
    wall_s: round(wallMs / 1000),
    rss_bytes: rssBytes,
    bytes_per_node_s: round(result.bytesPerNodeSecond),
    digest: result.digest,
  };
}

/** The line of least squares through points; undefined for fewer than two. */
export function fit(
  points: readonly (readonly [x: number, y: number])[],
): { slope: number; intercept: number } | undefined {
  if (points.length < 2) return undefined;
  const mean = (pick: 0 | 1) => points.reduce((sum, p) => sum + p[pick], 0) / points.length;
  const x = mean(0), y = mean(1);
  const spread = points.reduce((sum, p) => sum + (p[0] - x) ** 2, 0);
  if (spread === 0) return undefined;
  const slope = points.reduce((sum, p) => sum + (p[0] - x) * (p[1] - y), 0) / spread;
  return { slope, intercept: y - slope * x };
}

/** Mean hops against the logarithm of the number of nodes. */
export function hopsFit(
  runs: readonly CompletedRun[],
): { slope: number; intercept: number } | undefined {
  return fit(runs.map(({ scenario, result }) => [
    Math.log2(scenario.nodes),
    result.lookups.hops.mean,
  ]));
}

/** What differs from a network without troubles, in words. */
export function conditions(scenario: Scenario): string[] {
  const { latency, loss, duplication, reordering, silent, nat, flaky, sybils, kill } = scenario;
  const { mutable, partitionMinutes, churnMinutes, settleMinutes, hours } = scenario;
  const { k, alpha, healthCheckIntervalMs, seed, techniques } = scenario;
  const left = Object.entries(techniques).filter(([, used]) => !used).map(([name]) => name);
  const percent = (share: number) => `${round(share * 100)} %`;
  const troubles: [number, string][] = [
    [mutable, `${percent(mutable)} of values mutable`],
    [duplication, `${percent(duplication)} of packets doubled`],
    [reordering, `${percent(reordering)} of packets held back`],
    [silent, `${percent(silent)} of nodes silent`],
    [nat, `${percent(nat)} of nodes behind NATs`],
    [flaky, `${percent(flaky)} of nodes flaky`],
    [sybils, `${percent(sybils)} of nodes lie`],
    [kill, `${percent(kill)} of nodes killed`],
    [partitionMinutes, `cut in two for ${partitionMinutes} min`],
    [churnMinutes, `median session ${churnMinutes} min`],
    [settleMinutes, `${settleMinutes} min to settle`],
    [hours, `over ${hours} h`],
  ];
  return [
    `latency ${latency.name}`,
    `${percent(loss)} loss`,
    ...troubles.filter(([size]) => size > 0).map(([, words]) => words),
    `k ${k}`,
    `alpha ${alpha}`,
    `peers checked every ${round(healthCheckIntervalMs / 1000)} s`,
    ...(left.length > 0 ? [`without ${left.join(", ")}`] : []),
    `seed ${seed}`,
  ];
}
