// Summarizes a run as JSON, and fits a line that shows how hops grow with the number of nodes.

import type { Distribution, Load, Measured } from "./measures.ts";
import type { Scenario, ScenarioResult } from "./scenario.ts";

export interface CompletedRun {
  readonly scenario: Scenario;
  readonly result: ScenarioResult;
  readonly wallMs: number;
  /** The resident memory of the process after the run. */
  readonly rssBytes: number;
}

/** Rounds to three decimals; further decimals are noise. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function figures({ hops, queries, latency }: Measured) {
  return {
    hops: { mean: round(hops.mean), p50: hops.p50, p95: hops.p95, max: hops.max },
    queries: { mean: round(queries.mean), p95: queries.p95 },
    latency_ms: milliseconds(latency),
  };
}

function counted(fetches: Measured) {
  const { count, found, success } = fetches;
  return { count, found, success, ...figures(fetches) };
}

export function milliseconds({ mean, p50, p95, p99 }: Distribution) {
  return { mean: round(mean), p50: round(p50), p95: round(p95), p99: round(p99) };
}

function perSecond({ packetsPerSecond, bytesPerSecond }: Load) {
  return { packets_per_s: round(packetsPerSecond), bytes_per_s: round(bytesPerSecond) };
}

/** Returns the JSON of one run. Two runs of the same scenario differ only in `wall_s` and `rss_bytes`. */
export function summary({ scenario, result, wallMs, rssBytes }: CompletedRun) {
  const { lookups, fetches, fetchesOfGood, fetchedValues, eclipse, reaches, copies, idle, load } =
    result;
  const { stores } = result;
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
    stores: stores === undefined ? null : {
      count: stores.count,
      enough: stores.enough,
      queries: { mean: round(stores.queries.mean), p95: stores.queries.p95 },
      latency_ms: milliseconds(stores.latency),
      whole_ms: milliseconds(stores.whole),
      ...perSecond(stores.load),
    },
    eclipse: eclipse === undefined ? null : {
      quiet: counted(eclipse.quiet),
      stored_before: counted(eclipse.storedBefore),
      stored_after: counted(eclipse.storedAfter),
      values: eclipse.values,
      noticed: eclipse.noticed,
    },
    reaches: reaches === undefined ? null : {
      count: reaches.count,
      found: reaches.found,
      ...reaches.ways,
      punchable: reaches.punchable,
      latency_ms: milliseconds(reaches.latency),
    },
    alarms: result.alarms,
    replicas: result.replicas === undefined ? null : round(result.replicas),
    copies: copies === undefined ? null : { ...copies, mean: round(copies.mean) },
    replication: result.replication,
    idle: perSecond(idle),
    load: {
      ...perSecond(load),
      by_type: Object.fromEntries(Array.from(load.byType, ([type, of]) => [type, perSecond(of)])),
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

/** Fits a line to points by least squares. Undefined if there are fewer than two different x values. */
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

/** Fits a line to the mean hops as a function of the binary logarithm of the number of nodes. */
export function hopsFit(runs: readonly CompletedRun[]): ReturnType<typeof fit> {
  return fit(
    runs.map((
      { scenario: { nodes }, result: { lookups } },
    ) => [Math.log2(nodes), lookups.hops.mean]),
  );
}

export function conditions(scenario: Scenario): string[] {
  const { latency, loss, duplication, reordering, silent, nat, flaky, sybils, kill } = scenario;
  const { colluders, eclipse, eclipseNetworks } = scenario;
  const { mutable, partitionMinutes, churnMinutes, settleMinutes, hours } = scenario;
  const { k, alpha, healthCheckIntervalMs, seed } = scenario;
  const percent = (share: number) => `${round(share * 100)} %`;
  const troubles: [number, string][] = [
    [mutable, `${percent(mutable)} of values mutable`],
    [duplication, `${percent(duplication)} of packets doubled`],
    [reordering, `${percent(reordering)} of packets held back`],
    [silent, `${percent(silent)} of nodes silent`],
    [nat, `${percent(nat)} of nodes behind NATs`],
    [flaky, `${percent(flaky)} of nodes flaky`],
    [sybils, `${percent(sybils)} of nodes lie`],
    [colluders, `${percent(colluders)} of nodes collude`],
    [eclipse, `${eclipse} Sybils in ${eclipseNetworks} networks around each value`],
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
    `seed ${seed}`,
  ];
}
