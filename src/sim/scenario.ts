// Simulates one run: a network grows, settles, stores values and is disturbed; then lookups and fetches test it.

import type { Millis } from "../dht/deadlines.ts";
import { bencodeBytes } from "../krpc/bencode.ts";
import { CLIENT } from "../version.ts";
import { Identity } from "../runtime/identity/crypto.ts";
import {
  distribution,
  loadByType,
  measured,
  measuredStores,
  type Sample,
  type StoreSample,
} from "./measures.ts";
import { Colluders } from "./colluders.ts";
import { besiege } from "./eclipse.ts";
import { drawNat } from "./nat.ts";
import { isReachable, Operations, type Outcome, type Reached } from "./operations.ts";
import { SeededRandom } from "./random.ts";
import { sybil } from "./sybil.ts";
import { copiesOf, SimValue } from "./values.ts";
import { type LinkOptions, type SimNode, World } from "./world.ts";

export interface Scenario extends LinkOptions {
  readonly nodes: number;
  readonly lookups: number;
  /** Number of values stored before the measurement. If it is not 0, the run measures as many fetches as lookups. */
  readonly values: number;
  /** Share of values that are mutable. During a partition, the owner of each mutable value changes it once. */
  readonly mutable: number;
  readonly seed: number;
  /** Share of nodes whose process hangs after the network has settled. */
  readonly silent: number;
  /** Share of nodes behind a NAT. */
  readonly nat: number;
  /** Share of nodes that are 400 ms slower than others, or lose half of their packets. */
  readonly flaky: number;
  /** Share of malicious nodes, which answer with invented nodes and store no values. */
  readonly sybils: number;
  /** Share of malicious nodes that work together: see `colluders.ts`. */
  readonly colluders: number;
  /**
   * Number of Sybils that surround each value; 0 means none. The Sybils attack only a few values at
   * a time.
   */
  readonly eclipse: number;
  /** Number of /24 networks in which the Sybils around one value have their addresses. */
  readonly eclipseNetworks: number;
  /** Share of nodes that depart at the same moment, after the values are stored. */
  readonly kill: number;
  /** After the values are stored, the network is split into two halves for this many minutes; 0 means never. */
  readonly partitionMinutes: number;
  /** Median time in minutes that a node stays in the network; 0 means that no node leaves. */
  readonly churnMinutes: number;
  /** Minutes between the last join and the measurement of idle traffic. Meanwhile, the routing tables settle. */
  readonly calmMinutes: number;
  /** Minutes between the disturbances and the measurement. */
  readonly settleMinutes: number;
  /** Virtual hours over which to spread the measurement; 0 means that it is as short as possible. */
  readonly hours: number;
  readonly k: number;
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
}

export type ScenarioResult = ReturnType<typeof runScenario>;

export type ProgressListener = (progress: Progress) => void;

/** The progress of one phase of a scenario. */
export interface Progress {
  readonly phase: string;
  readonly done: number;
  readonly total: number;
  readonly now: Millis;
}

/** Number of bootstrap nodes. They are the first nodes, and no disturbance affects them. */
const BOOTSTRAP_NODES = 3;

const JOIN_MS = 60_000;

/** The maximum rate of joins. A large network therefore takes longer than `JOIN_MS` to grow. */
const JOINS_PER_SECOND = 500;

const IDLE_MS = 60_000;

/** The mean interval between two operations of a node: long enough that operations don't affect each other. */
const OPERATION_INTERVAL_MS = 10_000;

/** An operation that has not ended after this time counts as failed. */
const OPERATION_LIMIT_MS = 60_000;

const VALUE_BYTES = 100;

/** Length of the seed of an Ed25519 key pair (RFC 8032). */
const SEED_BYTES = 32;

/** Cap on the Sybils at any time, per other node. Otherwise, Sybils could be the majority. */
const SYBILS_PER_NODE = 0.5;

/** The time that the Sybils around a value have to enter the tables of honest nodes. */
const SIEGE_MS = 60_000;

const FLAKY_DELAY_MS = 400, FLAKY_LOSS = 0.5;

/** The run pings one node behind a NAT for every five lookups. */
const LOOKUPS_PER_REACH = 5;

/** Hole punching counts as successful if the answer arrives within this time. */
const PUNCH_LIMIT_MS = 2_000;

const STEPS = 100;

const NEVER_ENDED: Outcome = {
  found: false,
  hops: NaN,
  queries: NaN,
  elapsed: OPERATION_LIMIT_MS,
  isAskerFlaky: false,
};

export function runScenario(scenario: Scenario, progress: ProgressListener = () => {}) {
  return new Run(scenario, progress).run();
}

class Run {
  readonly #random: SeededRandom;
  readonly #world: World;
  readonly #operations: Operations;
  readonly #colluders: Colluders;
  readonly #stores: StoreSample[] = [];

  constructor(
    private readonly scenario: Scenario,
    private readonly progress: ProgressListener,
  ) {
    this.#random = new SeededRandom(scenario.seed);
    this.#world = new World(scenario, scenario.seed);
    this.#colluders = new Colluders(this.#world);
    this.#operations = new Operations(this.#world, this.#random);
  }

  run() {
    const { nodes, values: count, silent, kill, partitionMinutes, churnMinutes, settleMinutes, k } =
      this.scenario;
    const world = this.#world;
    this.#grow(nodes);
    const idleSince = this.#loadFrom();
    this.#watch("at rest", world.now + IDLE_MS);
    const idle = idleSince();
    for (const sim of this.#share(silent)) world.silence(sim);
    const sieges = this.scenario.eclipse > 0 ? this.#eclipse(count) : undefined;
    const storingSince = this.#loadFrom();
    const values = sieges === undefined ? this.#store(count) : [];
    const storing = storingSince();
    const loadSince = this.#loadFrom();
    const alarmsBefore = world.alarms.length;
    for (const sim of this.#share(kill)) world.depart(sim);
    if (partitionMinutes > 0) this.#partition(values, partitionMinutes * 60_000);
    if (churnMinutes > 0) this.#churn(churnMinutes * 60_000);
    if (settleMinutes > 0) this.#watch("at rest again", world.now + settleMinutes * 60_000);
    const { lookupSamples, fetchSamples, fetchedValues } = this.#measure(values);
    const reaches = this.#reachHidden();
    const up = world.nodes.filter((sim) => sim.state === "up");
    const contacts = up.reduce((sum, sim) => sum + sim.node.tables.size, 0);
    const reachable = up.filter(isReachable).filter(({ joinedAt }) => joinedAt <= world.now);
    return {
      lookups: measured(lookupSamples),
      /** The measured fetches. Undefined if there are no values, or if every node holds all values. */
      fetches: fetchSamples.length === 0 ? undefined : measured(fetchSamples),
      /** The fetches by nodes that are not flaky. Undefined if there are no flaky nodes or no fetches. */
      fetchesOfGood: fetchSamples.length === 0 || this.scenario.flaky === 0
        ? undefined
        : measured(fetchSamples.filter(({ isAskerFlaky }) => !isAskerFlaky)),
      /** The fetches of values that Sybils surround. Undefined without such Sybils. */
      eclipse: sieges,
      /** The pings of nodes behind NATs. Undefined if there are no such nodes. */
      reaches,
      /**
       * How many values nodes tried to fetch, and how many of these values at least one fetch did
       * not find.
       */
      fetchedValues,
      copies: values.length === 0
        ? undefined
        : copiesOf(values, { nodes: up, eligible: reachable, k }, world.now),
      replicas: values.length === 0
        ? undefined
        : this.#stores.reduce((sum, { replicas }) => sum + replicas, 0) / count,
      /** The stores, and a node's average load meanwhile. Undefined if there are no values. */
      stores: values.length === 0 ? undefined : { ...measuredStores(this.#stores), load: storing },
      replication: world.totals().replication,
      /** How often nodes reported a crowded target, from the end of storing to the end of the measurement. */
      alarms: world.alarms.length - alarmsBefore,
      virtualMs: world.now,
      packets: world.packets,
      /** A node's average load in an idle minute, after the network has settled. */
      idle,
      /** A node's average load from the end of storing to the end of the measurement, including the disturbances. */
      load: loadSince(),
      /** Bytes that a node sent per second of its uptime, averaged over all nodes and the whole run. */
      bytesPerNodeSecond: world.bytesSent / (world.nodeMs / 1000),
      contactsPerNode: contacts / up.length,
      networkSizeEstimate: estimate(up, world.now),
      lookupSamples,
      fetchSamples,
      /** For each node that is still up: the bytes that it sent per second of its uptime. */
      traffic: up.map((sim) => sim.bytesSent / ((world.now - sim.addedAt) / 1000)),
      /** A hash of the outcomes of all operations. Two runs with the same scenario have the same digest. */
      digest: this.#operations.digest,
    };
  }

  #grow(count: number): void {
    const world = this.#world;
    const span = Math.max(JOIN_MS, count * 1000 / JOINS_PER_SECOND);
    for (let i = 0; i < count; i++) world.at(span * i / count, () => this.#join());
    this.#watch("joining", span, { done: () => world.nodes.length, total: count });
    const { calmMinutes } = this.scenario;
    if (calmMinutes > 0) this.#watch("settling", world.now + calmMinutes * 60_000);
  }

  get #nodeOptions() {
    const { k, alpha, healthCheckIntervalMs } = this.scenario;
    return { k, alpha, healthCheckIntervalMs, readOnly: false, client: CLIENT };
  }

  #join(): SimNode {
    const { nat, flaky, sybils, colluders } = this.scenario;
    const world = this.#world, random = this.#random;
    const through = world.nodes.slice(0, BOOTSTRAP_NODES).map((other) => other.endpoint);
    // Draw equally many random numbers for every node, so that changing one share does not change the other draws.
    const isNat = random.fraction() < nat, isFlaky = random.fraction() < flaky;
    const isSlow = random.fraction() < 0.5, isSybil = random.fraction() < sybils;
    const drawn = drawNat(random);
    const isColluder = random.fraction() < colluders && through.length === BOOTSTRAP_NODES;
    const sim = world.add(
      this.#nodeOptions,
      through.length < BOOTSTRAP_NODES ? {} : {
        nat: isNat ? drawn : undefined,
        extraDelayMs: isFlaky && isSlow ? FLAKY_DELAY_MS / 2 : undefined,
        extraLoss: isFlaky && !isSlow ? FLAKY_LOSS : undefined,
        impostor: isColluder
          ? this.#colluders.impostor
          : isSybil
          ? sybil(random, () => world.randomEndpoint())
          : undefined,
      },
    );
    if (isColluder) this.#colluders.add(sim);
    // The first node has no other node to join through, so it counts as joined immediately.
    if (through.length === 0) sim.joinedAt = world.now;
    world.act(sim, (node, now) => node.membership.join(through, [], now));
    return sim;
  }

  /** Picks a share of all nodes at random, but never picks bootstrap nodes. */
  #share(share: number): SimNode[] {
    if (share === 0) return [];
    const others = this.#world.nodes.slice(BOOTSTRAP_NODES);
    const count = Math.min(others.length, Math.round(share * this.#world.nodes.length));
    for (let i = 0; i < count; i++) {
      const j = i + this.#random.below(others.length - i);
      [others[i], others[j]] = [others[j], others[i]];
    }
    return others.slice(0, count);
  }

  /** Partitions the network for `duration`. Meanwhile, the owner of each mutable value changes it once. */
  #partition(values: readonly SimValue[], duration: Millis): void {
    const world = this.#world;
    const half = new Set(this.#share(0.5));
    world.partition((sim) => half.has(sim) ? 1 : 0);
    const mutable = values.filter(({ isMutable }) => isMutable);
    mutable.forEach((value, i) => {
      world.at(world.now + (i + 0.5) / mutable.length * duration, () => {
        if (value.owner?.state !== "up") return;
        value.renew(this.#content());
        this.#operations.put(value.owner, value, () => {});
      });
    });
    this.#watch("partition", world.now + duration);
    world.partition();
  }

  /**
   * Makes nodes depart without notice from now on. A new node replaces each departed one, so that
   * the network keeps its size.
   */
  #churn(medianMs: Millis): void {
    const world = this.#world;
    const leaveLater = (sim: SimNode) => {
      const session = this.#random.exponential(medianMs / Math.LN2);
      world.at(world.now + session, () => {
        world.depart(sim);
        this.#operations.abandon(sim);
        leaveLater(this.#join());
      });
    };
    world.nodes.slice(BOOTSTRAP_NODES).forEach(leaveLater);
  }

  /** Advances virtual time to `until`, and reports progress. */
  #watch(
    phase: string,
    until: Millis,
    { done, total = STEPS }: { readonly done?: () => number; readonly total?: number } = {},
  ): void {
    const world = this.#world;
    const startedAt = world.now;
    for (let step = 1; step <= STEPS; step++) {
      world.run(startedAt + (until - startedAt) * step / STEPS);
      this.progress({ phase, done: done?.() ?? step, total, now: world.now });
    }
  }

  /** Starts measuring a node's load. Call the returned function to get the average load since then. */
  #loadFrom() {
    const world = this.#world;
    const { bytesSent, packetsSent, nodeMs } = world;
    const before = world.totals();
    return () => {
      const seconds = (world.nodeMs - nodeMs) / 1000;
      return {
        packetsPerSecond: (world.packetsSent - packetsSent) / seconds,
        bytesPerSecond: (world.bytesSent - bytesSent) / seconds,
        byType: loadByType(before, world.totals(), seconds),
      };
    };
  }

  /** Stores values from random nodes, which then keep them published. */
  #store(count: number): SimValue[] {
    const values: SimValue[] = [];
    this.#spread("storing", { count }, (i, done) => {
      const value = this.#draw(i);
      values.push(value);
      this.#operations.store(value, (sample) => {
        this.#stores.push(sample);
        done();
      });
    });
    return values;
  }

  /** Creates value number `i`, without storing it. */
  #draw(i: number): SimValue {
    const { mutable } = this.scenario;
    const content = this.#content();
    // Spread the mutable values evenly among all values, so that their number does not depend on the seed.
    const isMutable = Math.floor((i + 1) * mutable) > Math.floor(i * mutable);
    const signer = isMutable ? new Identity(this.#random.bytes(SEED_BYTES)) : undefined;
    return new SimValue(content, signer);
  }

  /**
   * Stores and fetches the first half of `count` values. Then Sybils surround all values, a few at
   * a time. Once honest nodes know these Sybils, nodes store those surrounded values that belong to
   * the second half, and fetch all surrounded values.
   */
  #eclipse(count: number) {
    const { nodes, lookups, eclipse, eclipseNetworks: networks } = this.scenario;
    const world = this.#world;
    const each = Math.max(1, Math.round(lookups / count));
    const store = (values: readonly SimValue[]) =>
      this.#spread("storing", { count: values.length }, (i, done) => {
        this.#operations.store(values[i], () => done());
      });
    const fetch = (values: readonly SimValue[]) => {
      const samples: Sample[] = [];
      this.#spread("fetching", { count: each * values.length }, (i, done) => {
        const at = world.now;
        this.#operations.fetch(values[i % values.length], (outcome) => {
          samples.push({ at, ...outcome });
          done();
        }, done);
      });
      return samples;
    };
    const before = Array.from({ length: Math.ceil(count / 2) }, (_, i) => this.#draw(i));
    const after = Array.from({ length: count >> 1 }, (_, i) => this.#draw(before.length + i));
    store(before);
    const quiet = fetch(before);
    const storedBefore: Sample[] = [], storedAfter: Sample[] = [];
    // Each round attacks this many of the values that were stored before, and as many of those that
    // are stored during the attack.
    const atOnce = Math.max(1, Math.floor(SYBILS_PER_NODE * nodes / eclipse / 2));
    for (let first = 0; first < before.length; first += atOnce) {
      const early = before.slice(first, first + atOnce), late = after.slice(first, first + atOnce);
      const gangs = [...early, ...late].map(({ target }) => {
        const siege = { target, count: eclipse, networks, options: this.#nodeOptions };
        return besiege(world, siege, this.#random);
      });
      this.#watch(`surrounding value ${2 * first + 1}`, world.now + SIEGE_MS);
      store(late);
      storedBefore.push(...fetch(early));
      storedAfter.push(...fetch(late));
      for (const sybil of gangs.flat()) world.depart(sybil);
    }
    return {
      quiet: measured(quiet),
      storedBefore: measured(storedBefore),
      storedAfter: measured(storedAfter),
      values: count,
      /** The number of values whose target some node reported as crowded. */
      noticed:
        [...before, ...after].filter(({ target }) =>
          world.alarms.some((alarm) => alarm.equals(target))
        ).length,
    };
  }

  #content(): Uint8Array {
    return bencodeBytes(this.#random.bytes(VALUE_BYTES));
  }

  /** Runs the measured operations: only lookups or, if there are values, lookups and fetches alternately. */
  #measure(values: readonly SimValue[]) {
    const { lookups, hours } = this.scenario;
    const lookupSamples: Sample[] = [], fetchSamples: Sample[] = [];
    const fetched = new Set<SimValue>(), missed = new Set<SimValue>();
    const shuffled = [...values];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = this.#random.below(i + 1);
      [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
    }
    const kinds = values.length === 0 ? 1 : 2;
    const open = new Map<number, (outcome: Outcome) => void>();
    this.#spread(
      "measuring",
      { count: kinds * lookups, spanMs: hours * 3_600_000 },
      (index, done) => {
        const at = this.#world.now, isLookup = index % kinds === 0;
        const value = isLookup ? undefined : shuffled[(index - 1) / kinds % shuffled.length];
        const end = (outcome?: Outcome) => {
          open.delete(index);
          done();
          if (outcome === undefined) return;
          (value === undefined ? lookupSamples : fetchSamples).push({ at, ...outcome });
          if (value !== undefined) (outcome.found ? fetched : missed).add(value);
        };
        open.set(index, end);
        if (value === undefined) this.#operations.lookup(end);
        else this.#operations.fetch(value, end, end);
      },
    );
    for (const [index, end] of [...open]) {
      end(NEVER_ENDED);
      this.#operations.fold(`${index} never ended`);
    }
    const fetchedValues = { count: fetched.union(missed).size, missed: missed.size };
    return { lookupSamples, fetchSamples, fetchedValues };
  }

  #reachHidden() {
    const hidden = this.#world.nodes.filter(isHidden);
    if (hidden.length === 0) return undefined;
    const ways = { direct: 0, punched: 0, relayed: 0 };
    // Pings for which hole punching can work, and how many of them succeeded in time without a relay.
    const punchable = { count: 0, found: 0 };
    const times: number[] = [];
    const count = Math.ceil(this.scenario.lookups / LOOKUPS_PER_REACH);
    this.#spread("reaching", { count }, (_, done) => {
      this.#operations.reach(this.#random.pick(hidden), (reached) => {
        const { way, elapsed } = reached;
        if (way !== undefined) ways[way]++, times.push(elapsed);
        if (isPunchable(reached)) {
          punchable.count++;
          if (way !== undefined && way !== "relayed" && elapsed < PUNCH_LIMIT_MS) punchable.found++;
        }
        done();
      });
    });
    return { count, found: times.length, ways, punchable, latency: distribution(times) };
  }

  /** Starts `count` operations at equal intervals, within `spanMs` if that is given. Runs until all end or time out. */
  #spread(
    phase: string,
    { count, spanMs = 0 }: { readonly count: number; readonly spanMs?: number },
    start: (index: number, done: () => void) => void,
  ): void {
    const world = this.#world;
    const every = spanMs > 0 ? spanMs / count : OPERATION_INTERVAL_MS / world.nodes.length;
    const startedAt = world.now;
    let ended = 0;
    for (let i = 0; i < count; i++) world.at(startedAt + i * every, () => start(i, () => ended++));
    const limit = startedAt + count * every + OPERATION_LIMIT_MS;
    while (ended < count && world.now < limit) {
      const goal = Math.min(count, ended + Math.max(1, count / STEPS));
      world.run(limit, () => ended >= goal);
      this.progress({ phase, done: ended, total: count, now: world.now });
    }
  }
}

/** Whether the node is up, has joined, and is behind a NAT that drops packets from strangers. */
function isHidden({ traits: { nat }, state, joinedAt }: SimNode): boolean {
  return nat !== undefined && nat.kind !== "full_cone" && state === "up" && joinedAt < Infinity;
}

/** Whether hole punching can work between the two nodes. It can't if both are behind symmetric NATs. */
function isPunchable({ asker, target }: Reached): boolean {
  return [asker, target].some(({ traits }) => traits.nat?.kind !== "symmetric");
}

/** Returns the median of the nodes' estimates of the network's size. */
function estimate(nodes: readonly SimNode[], now: Millis): number | null {
  const estimates = nodes.flatMap((sim) => sim.node.searches.networkSize(now) ?? []);
  if (estimates.length === 0) return null;
  return estimates.sort((x, y) => x - y)[estimates.length >> 1];
}
