// One simulated run: a network grows, settles, looks up nodes, stores and fetches values, and is measured.

import type { Millis } from "../dht/deadlines.ts";
import { immutableItem, type ItemCrypto } from "../dht/item.ts";
import type { FindResult, GetResult, PutResult } from "../dht/node.ts";
import { bencodeBytes } from "../krpc/bencode.ts";
import { compareDistance, Id, ID_BYTES } from "../krpc/id.ts";
import type { LatencyMatrix } from "./latency.ts";
import { SeededRandom } from "./random.ts";
import { type SimNode, World } from "./world.ts";

export interface Scenario {
  readonly nodes: number;
  readonly lookups: number;
  /** Values stored before the measurement, and fetched in it as often as nodes are looked up; 0: none. */
  readonly values: number;
  readonly seed: number;
  readonly latency: LatencyMatrix;
  readonly loss: number;
  readonly duplication: number;
  readonly reordering: number;
  /** Share of nodes that never answer. */
  readonly silent: number;
  /** Share of nodes behind a NAT. */
  readonly nat: number;
  /** Share of nodes that are slow by 400 ms or lose half of their packets. */
  readonly flaky: number;
  /** Median session in minutes of virtual time; 0: nobody leaves. */
  readonly churnMinutes: number;
  /** Share of nodes that depart at once after the values are stored. */
  readonly kill: number;
  /** Virtual hours of the measurement; 0: as short as the lookups allow. */
  readonly hours: number;
  readonly k: number;
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
}

/** Mean and percentiles of one figure. */
export interface Distribution {
  readonly mean: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** What a kind of operation came to. */
export interface Measured {
  readonly count: number;
  /** Found what there was to find: the true closest node, or the verified value. */
  readonly found: number;
  readonly success: number;
  readonly hops: Distribution;
  readonly queries: Distribution;
  readonly latency: Distribution;
}

/** One operation, as the report's plots need it. */
export interface Sample {
  /** Virtual time of its start. */
  readonly at: Millis;
  readonly found: boolean;
  readonly hops: number;
  readonly queries: number;
  readonly elapsed: number;
}

export interface ScenarioResult {
  readonly lookups: Measured;
  /** Undefined where no values were asked for. */
  readonly fetches: Measured | undefined;
  readonly replicas: number | undefined;
  readonly virtualMs: Millis;
  readonly packets: number;
  /** Over the nodes that were up in the quiet minute before the measurement: sent, by node and second. */
  readonly idle: { readonly bytesPerSecond: number; readonly packetsPerSecond: number };
  /** Over the whole run. */
  readonly bytesPerNodeSecond: number;
  readonly contactsPerNode: number;
  readonly networkSizeEstimate: number | null;
  readonly lookupSamples: readonly Sample[];
  readonly fetchSamples: readonly Sample[];
  /** SHA-1 over every operation's outcome: equal for equal seeds. */
  readonly digest: string;
}

export type Progress = (phase: string, done: number, total: number, now: Millis) => void;

const BOOTSTRAP_NODES = 3;

/** Nodes join over this long, but no faster than so many a second: the public network grows slower. */
const JOIN_MS = 60_000, JOINS_PER_SECOND = 500;

/** After the last join: tables settle while health checks and refreshes run. */
const SETTLE_MS = 60_000;

/** The minute over which idle traffic is measured. */
const IDLE_MS = 60_000;

/** Operations started a second, so that they don't disturb one another. */
const OPERATIONS_PER_SECOND = 100;

/** An operation that has not ended after this long counts as failed. */
const OPERATION_LIMIT_MS = 60_000;

const VALUE_BYTES = 100;
const FLAKY_DELAY_MS = 400, FLAKY_LOSS = 0.5;
const NAT_MS = 60_000;

export function runScenario(
  scenario: Scenario,
  crypto: ItemCrypto,
  progress: Progress = () => {},
): ScenarioResult {
  return new Run(scenario, crypto, progress).run();
}

class Run {
  readonly #scenario: Scenario;
  readonly #crypto: ItemCrypto;
  readonly #progress: Progress;
  readonly #random: SeededRandom;
  readonly #world: World;
  readonly #bootstrap: SimNode[] = [];
  readonly #outcomes: string[] = [];
  #replicas = 0;

  constructor(scenario: Scenario, crypto: ItemCrypto, progress: Progress) {
    this.#scenario = scenario;
    this.#crypto = crypto;
    this.#progress = progress;
    this.#random = new SeededRandom(scenario.seed);
    this.#world = new World(scenario, crypto, scenario.seed);
  }

  run(): ScenarioResult {
    const { nodes, lookups, values, kill, churnMinutes } = this.#scenario;
    const world = this.#world;
    this.#grow(nodes);
    const idle = this.#idle();
    const stored = this.#store(values);
    if (kill > 0) {
      for (const sim of this.#alive()) if (this.#random.fraction() < kill) world.depart(sim);
    }
    if (churnMinutes > 0) this.#churn(churnMinutes * 60_000);
    const lookupSamples = this.#measure(
      "looking up",
      lookups,
      (sim, done) => this.#lookup(sim, done),
    );
    const fetchSamples = stored.length === 0
      ? []
      : this.#measure("fetching", lookups, (sim, done) => this.#fetch(sim, stored, done));
    const alive = this.#alive();
    const bytes = world.nodes.reduce((sum, sim) => sum + sim.bytesSent, 0);
    const contacts = alive.reduce((sum, sim) => sum + sim.node.contactCount, 0);
    return {
      lookups: measured(lookupSamples),
      fetches: stored.length === 0 ? undefined : measured(fetchSamples),
      replicas: stored.length === 0 ? undefined : this.#replicas / stored.length,
      virtualMs: world.now,
      packets: world.packets,
      idle,
      bytesPerNodeSecond: bytes / world.nodes.length / (world.now / 1000),
      contactsPerNode: contacts / alive.length,
      networkSizeEstimate: this.#estimate(alive),
      lookupSamples,
      fetchSamples,
      digest: hex(this.#crypto.sha1(new TextEncoder().encode(this.#outcomes.join("\n")))),
    };
  }

  #alive(): SimNode[] {
    return this.#world.nodes.filter((sim) => sim.isUp && !sim.traits.isSilent);
  }

  #grow(count: number): void {
    const world = this.#world;
    const span = Math.max(JOIN_MS, count * 1000 / JOINS_PER_SECOND);
    for (let i = 0; i < count; i++) {
      world.at(span * i / count, () => this.#join(i));
    }
    this.#watch("joining", span, () => world.nodes.length, count);
    this.#watch("settling", world.now + SETTLE_MS);
  }

  #join(index: number): SimNode {
    const { k, alpha, healthCheckIntervalMs, silent, nat, flaky } = this.#scenario;
    const isBootstrap = index < BOOTSTRAP_NODES;
    const chance = () => isBootstrap ? 1 : this.#random.fraction();
    const isNat = chance() < nat;
    const isFlaky = chance() < flaky;
    const isSlow = this.#random.fraction() < 0.5;
    const sim = this.#world.add(
      { k, alpha, healthCheckIntervalMs, readOnly: isNat, client: 0 },
      {
        isSilent: chance() < silent,
        natMs: isNat ? NAT_MS : undefined,
        extraDelayMs: isFlaky && isSlow ? FLAKY_DELAY_MS / 2 : undefined,
        extraLoss: isFlaky && !isSlow ? FLAKY_LOSS : undefined,
      },
    );
    const through = this.#bootstrap.map((b) => b.endpoint);
    if (isBootstrap) this.#bootstrap.push(sim);
    this.#world.act(sim, (node, now) => node.join(through, [], now));
    return sim;
  }

  /** Runs to a time and tells how far it is. */
  #watch(phase: string, until: Millis, done?: () => number, total = 100): void {
    const world = this.#world;
    const begun = world.now;
    for (let step = 1; step <= 50; step++) {
      const at = begun + (until - begun) * step / 50;
      world.run(at);
      this.#progress(phase, done?.() ?? step * 2, total, world.now);
    }
  }

  #idle(): ScenarioResult["idle"] {
    const world = this.#world;
    const sum = (field: "bytesSent" | "packetsSent") =>
      world.nodes.reduce((total, sim) => total + sim[field], 0);
    const bytes = sum("bytesSent"), packets = sum("packetsSent");
    this.#watch("at rest", world.now + IDLE_MS);
    const perNodeSecond = (total: number) => total / world.nodes.length / (IDLE_MS / 1000);
    return {
      bytesPerSecond: perNodeSecond(sum("bytesSent") - bytes),
      packetsPerSecond: perNodeSecond(sum("packetsSent") - packets),
    };
  }

  /** Stores values from random nodes; their targets. */
  #store(count: number): Id[] {
    const targets: Id[] = [];
    this.#spread("storing", count, (done) => {
      const item = immutableItem(this.#crypto, bencodeBytes(this.#random.bytes(VALUE_BYTES)));
      targets.push(item.target);
      const sim = this.#random.pick(this.#alive());
      this.#world.act(
        sim,
        (node, now) =>
          node.put(item.target, undefined, undefined, () => item, now, (result: PutResult) => {
            this.#replicas += result.stored.length;
            done();
          }),
      );
    });
    return targets;
  }

  /** Departures without notice, each made up for by a newcomer, so that the size of the network stays. */
  #churn(medianMs: Millis): void {
    const world = this.#world;
    const leaveLater = (sim: SimNode) => {
      const session = this.#random.exponential(medianMs / Math.LN2);
      world.at(world.now + session, () => {
        world.depart(sim);
        leaveLater(this.#join(world.nodes.length));
      });
    };
    for (const sim of this.#alive()) if (!this.#bootstrap.includes(sim)) leaveLater(sim);
  }

  #measure(
    phase: string,
    count: number,
    start: (sim: SimNode, done: (sample: Omit<Sample, "at">) => void) => void,
  ): Sample[] {
    const samples: Sample[] = [];
    const spanMs = this.#scenario.hours * 3_600_000;
    this.#spread(phase, count, (done) => {
      const at = this.#world.now;
      start(this.#random.pick(this.#alive()), (sample) => {
        samples.push({ at, ...sample });
        done();
      });
    }, spanMs);
    // What never ended has failed.
    while (samples.length < count) {
      samples.push({
        at: this.#world.now,
        found: false,
        hops: 0,
        queries: 0,
        elapsed: OPERATION_LIMIT_MS,
      });
    }
    return samples;
  }

  /** Starts operations one after the other, evenly over `spanMs`, and waits until all have ended. */
  #spread(phase: string, count: number, start: (done: () => void) => void, spanMs = 0): void {
    const world = this.#world;
    const every = Math.max(1000 / OPERATIONS_PER_SECOND, spanMs / Math.max(1, count));
    let ended = 0;
    const begun = world.now;
    for (let i = 0; i < count; i++) world.at(begun + i * every, () => start(() => ended++));
    const limit = begun + count * every + OPERATION_LIMIT_MS;
    while (ended < count && world.now < limit) {
      const goal = ended + Math.max(1, count / 50);
      world.run(limit, () => ended >= goal || ended === count);
      this.#progress(phase, ended, count, world.now);
    }
  }

  #lookup(sim: SimNode, done: (sample: Omit<Sample, "at">) => void): void {
    const target = Id.read(this.#random.bytes(ID_BYTES));
    this.#world.act(sim, (node, now) =>
      node.find(target, now, (result) => {
        const [nearest] = result.closest;
        const found = nearest !== undefined && this.#isClosest(nearest.id, sim, target);
        done(this.#note("find", target, result, found));
      }));
  }

  /** Whether no node that could have answered is closer to the target. */
  #isClosest(id: Id, asker: SimNode, target: Id): boolean {
    return this.#world.nodes.every((sim) =>
      sim === asker || !sim.isUp || sim.traits.isSilent || sim.mappings !== undefined ||
      compareDistance(sim.node.id, id, target) >= 0
    );
  }

  #fetch(sim: SimNode, targets: readonly Id[], done: (sample: Omit<Sample, "at">) => void): void {
    // Nothing cached: a node that holds the value itself would answer itself at once.
    let target = this.#random.pick(targets);
    for (let i = 0; i < 100 && sim.items.get(target, this.#world.now) !== undefined; i++) {
      target = this.#random.pick(targets);
    }
    this.#world.act(sim, (node, now) =>
      node.get(target, undefined, now, (result: GetResult) => {
        done(this.#note("get", target, result, result.item !== undefined));
      }));
  }

  #note(kind: string, target: Id, result: FindResult, found: boolean): Omit<Sample, "at"> {
    const { hops, elapsed, asked, closest } = result;
    this.#outcomes.push(
      [kind, target, found, hops, asked.length, elapsed, ...closest.map((c) => c.id)].join(" "),
    );
    return { found, hops, queries: asked.length, elapsed };
  }

  #estimate(alive: readonly SimNode[]): number | null {
    const estimates = alive.flatMap((sim) => sim.node.lookups.networkSize() ?? []);
    if (estimates.length === 0) return null;
    return estimates.sort((x, y) => x - y)[estimates.length >> 1];
  }
}

export function measured(samples: readonly Sample[]): Measured {
  const found = samples.filter((sample) => sample.found).length;
  const over = (pick: (sample: Sample) => number) => distribution(samples.map(pick));
  return {
    count: samples.length,
    found,
    success: samples.length === 0 ? 0 : found / samples.length,
    hops: over((sample) => sample.hops),
    queries: over((sample) => sample.queries),
    latency: over((sample) => sample.elapsed),
  };
}

export function distribution(values: readonly number[]): Distribution {
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

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
