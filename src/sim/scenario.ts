// One simulated run: a network grows, settles, stores values, meets trouble, and is measured by lookups and fetches.

import type { Millis } from "../dht/deadlines.ts";
import { sameBytes } from "../dht/item.ts";
import type { FindResult } from "../dht/node.ts";
import type { Way } from "../dht/punching.ts";
import type { Techniques } from "../dht/techniques.ts";
import { bencodeBytes } from "../krpc/bencode.ts";
import { compareDistance, Id, ID_BYTES } from "../krpc/id.ts";
import { CLIENT } from "../version.ts";
import { drawNat } from "./nat.ts";
import { SeededRandom } from "./random.ts";
import { sybil } from "./sybil.ts";
import type { Replication, Totals } from "./totals.ts";
import { type Copies, copiesOf, type SimCrypto, SimValue } from "./values.ts";
import { type LinkOptions, type SimNode, World } from "./world.ts";

export interface Scenario extends LinkOptions {
  readonly nodes: number;
  readonly lookups: number;
  /** Values stored before the measurement, and fetched in it as often as nodes are looked up; 0: none. */
  readonly values: number;
  /** Share of the values that are mutable: each is changed once by its owner while the network is cut in two. */
  readonly mutable: number;
  readonly seed: number;
  /** Share of nodes whose process hangs once the network has settled. */
  readonly silent: number;
  /** Share of nodes behind a NAT. */
  readonly nat: number;
  /** Share of nodes that are slow by 400 ms or lose half of their packets. */
  readonly flaky: number;
  /** Share of nodes that answer with invented neighbours and keep no value. */
  readonly sybils: number;
  /** Share of nodes that depart at once after the values are stored. */
  readonly kill: number;
  /** For so many minutes after the values are stored the network is cut in two halves; 0: never. */
  readonly partitionMinutes: number;
  /** Median session in minutes of virtual time; 0: nobody leaves. */
  readonly churnMinutes: number;
  /** Minutes from the last join until the traffic at rest is measured: tables settle meanwhile. */
  readonly calmMinutes: number;
  /** Minutes between these troubles and the measurement. */
  readonly settleMinutes: number;
  /** Virtual hours that the measurement is spread over; 0: as short as the lookups allow. */
  readonly hours: number;
  readonly k: number;
  readonly alpha: number;
  /** Of what the nodes do beyond plain Kademlia, that which they do here. */
  readonly techniques: Techniques;
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
  /** Found what there was to find: the true closest node, or the value that was stored. */
  readonly found: number;
  readonly success: number;
  readonly hops: Distribution;
  readonly queries: Distribution;
  readonly latency: Distribution;
}

/** One operation. */
export interface Sample {
  /** Virtual time of its start. */
  readonly at: Millis;
  readonly found: boolean;
  /** NaN, like `queries`, where it never ended. */
  readonly hops: number;
  readonly queries: number;
  readonly elapsed: number;
  /** Whether who asked was slow or lost packets itself: of that no choice of peers makes up for. */
  readonly isAskerFlaky: boolean;
}

/** Pings of nodes behind NATs, from any node. */
export interface Reaches {
  readonly count: number;
  readonly found: number;
  /** How many were answered in which way. */
  readonly ways: Readonly<Record<Way, number>>;
  /** Of those in which one side at least has no symmetric NAT: how many got through without a third node, within 2 s. */
  readonly punchable: { readonly count: number; readonly found: number };
  /** Until the answer. */
  readonly latency: Distribution;
}

/** What a node sends a second on average. */
export interface Load {
  readonly packetsPerSecond: number;
  readonly bytesPerSecond: number;
}

export interface ScenarioResult {
  readonly lookups: Measured;
  /** Undefined where no values were asked for, or every node holds all of them. */
  readonly fetches: Measured | undefined;
  /** Pings of nodes behind NATs; undefined where there are none. */
  readonly reaches: Reaches | undefined;
  /** Those of them that nodes which are not flaky themselves asked for; undefined where none is flaky. */
  readonly fetchesOfGood: Measured | undefined;
  /** Different values that were fetched, and those among them that some fetch did not find. */
  readonly fetchedValues: { readonly count: number; readonly missed: number };
  /** Where values are after the measurement; undefined where there are none. */
  readonly copies: Copies | undefined;
  /** Acknowledgements a value got, on average. */
  readonly replicas: number | undefined;
  /** Over the whole run, by all nodes that ever were. */
  readonly replication: Replication;
  readonly virtualMs: Millis;
  /** Delivered. */
  readonly packets: number;
  /** In the quiet minute after the network has settled. */
  readonly idle: Load;
  /** After values were stored: from the trouble on, where there is any, to the end of the measurement. */
  readonly load: Load & { readonly byType: ReadonlyMap<string, Load> };
  /** Sent over the whole run, by node and second of uptime. */
  readonly bytesPerNodeSecond: number;
  readonly contactsPerNode: number;
  readonly networkSizeEstimate: number | null;
  readonly lookupSamples: readonly Sample[];
  readonly fetchSamples: readonly Sample[];
  /** Of each node that is left: bytes sent by second of its uptime. */
  readonly traffic: readonly number[];
  /** SHA-1 over every operation's outcome: equal for equal seeds. */
  readonly digest: string;
}

export type Progress = (phase: string, done: number, total: number, now: Millis) => void;

const BOOTSTRAP_NODES = 3;

/** Nodes join over this long, but no faster than so many a second: a network grows slower. */
const JOIN_MS = 60_000, JOINS_PER_SECOND = 500;

/** The minute over which idle traffic is measured. */
const IDLE_MS = 60_000;

/** Each node starts an operation this often on average, so that they don't disturb one another. */
const OPERATION_EVERY_MS = 10_000;

/** An operation that has not ended after this long has failed. */
const OPERATION_LIMIT_MS = 60_000;

const VALUE_BYTES = 100;

/** Of the seed of an Ed25519 key pair (RFC 8032). */
const KEY_SEED_BYTES = 32;

const FLAKY_DELAY_MS = 400, FLAKY_LOSS = 0.5;

/** Draws of a node to ask, until the first one is taken, which nothing happens to. */
const ASKER_DRAWS = 1_000;

/** Draws of an asker that neither holds a value nor fetched it before, until the fetch is given up. */
const FETCH_DRAWS = 1_000;

/** Of so many lookups one more node behind a NAT is reached for. */
const REACH_SHARE = 5;

/** Holes are to be open within this. */
const SOON_MS = 2_000;

/** Steps in which progress is told. */
const STEPS = 100;

export function runScenario(
  scenario: Scenario,
  crypto: SimCrypto,
  progress: Progress = () => {},
): ScenarioResult {
  return new Run(scenario, crypto, progress).run();
}

/** What an operation came to, without its time. */
type Outcome = Omit<Sample, "at">;

/** What became of the ping of a node behind a NAT. */
interface Reached {
  readonly asker: SimNode;
  readonly way: Way | undefined;
  readonly elapsed: number;
}

/** An operation under way: it starts again elsewhere where its node departs. */
interface Operation {
  readonly asker: SimNode;
  readonly restart: () => void;
}

class Run {
  readonly #scenario: Scenario;
  readonly #crypto: SimCrypto;
  readonly #progress: Progress;
  readonly #random: SeededRandom;
  readonly #world: World;
  readonly #bootstrap: SimNode[] = [];
  readonly #operations = new Set<Operation>();
  readonly #fetched = new Map<SimNode, Set<SimValue>>();
  #digest = new Uint8Array(20);
  #replicas = 0;

  constructor(scenario: Scenario, crypto: SimCrypto, progress: Progress) {
    this.#scenario = scenario;
    this.#crypto = crypto;
    this.#progress = progress;
    this.#random = new SeededRandom(scenario.seed);
    this.#world = new World(scenario, crypto, scenario.seed);
  }

  run(): ScenarioResult {
    const { nodes, values: count, silent, kill, partitionMinutes, churnMinutes, settleMinutes, k } =
      this.#scenario;
    const world = this.#world;
    this.#grow(nodes);
    const idle = this.#idle();
    for (const sim of this.#share(silent)) world.silence(sim);
    const values = this.#store(count);
    const loadSince = this.#loadFrom();
    for (const sim of this.#share(kill)) world.depart(sim);
    if (partitionMinutes > 0) this.#partition(values, partitionMinutes * 60_000);
    if (churnMinutes > 0) this.#churn(churnMinutes * 60_000);
    if (settleMinutes > 0) this.#watch("at rest again", world.now + settleMinutes * 60_000);
    const { lookupSamples, fetchSamples, fetchedValues } = this.#measure(values);
    const reaches = this.#reachHidden();
    const up = world.nodes.filter((sim) => sim.state === "up");
    const contacts = up.reduce((sum, sim) => sum + sim.node.contactCount, 0);
    const reachable = up.filter(isReachable).filter(({ joinedAt }) => joinedAt <= world.now);
    return {
      lookups: measured(lookupSamples),
      fetches: fetchSamples.length === 0 ? undefined : measured(fetchSamples),
      fetchesOfGood: fetchSamples.length === 0 || this.#scenario.flaky === 0
        ? undefined
        : measured(fetchSamples.filter(({ isAskerFlaky }) => !isAskerFlaky)),
      reaches,
      fetchedValues,
      copies: count === 0 ? undefined : copiesOf(values, up, reachable, k, world.now),
      replicas: count === 0 ? undefined : this.#replicas / count,
      replication: world.totals().replication,
      virtualMs: world.now,
      packets: world.packets,
      idle,
      load: loadSince(),
      bytesPerNodeSecond: world.bytesSent / (world.nodeMs / 1000),
      contactsPerNode: contacts / up.length,
      networkSizeEstimate: estimate(up, world.now),
      lookupSamples,
      fetchSamples,
      traffic: up.map((sim) => sim.bytesSent / ((world.now - sim.addedAt) / 1000)),
      digest: hex(this.#digest),
    };
  }

  // ---- the network

  #grow(count: number): void {
    const world = this.#world;
    const span = Math.max(JOIN_MS, count * 1000 / JOINS_PER_SECOND);
    for (let i = 0; i < count; i++) world.at(span * i / count, () => this.#join());
    this.#watch("joining", span, () => world.nodes.length, count);
    const { calmMinutes } = this.#scenario;
    if (calmMinutes > 0) this.#watch("settling", world.now + calmMinutes * 60_000);
  }

  #join(): SimNode {
    const { k, alpha, techniques, healthCheckIntervalMs, nat, flaky, sybils } = this.#scenario;
    const world = this.#world, random = this.#random;
    const isBootstrap = this.#bootstrap.length < BOOTSTRAP_NODES;
    // The draws are made for every node alike: what one share is changes nothing about the others.
    const isNat = random.fraction() < nat, isFlaky = random.fraction() < flaky;
    const isSlow = random.fraction() < 0.5, isSybil = random.fraction() < sybils;
    const drawn = drawNat(random);
    const sim = world.add(
      { k, alpha, techniques, healthCheckIntervalMs, readOnly: false, client: CLIENT },
      isBootstrap ? {} : {
        nat: isNat ? drawn : undefined,
        extraDelayMs: isFlaky && isSlow ? FLAKY_DELAY_MS / 2 : undefined,
        extraLoss: isFlaky && !isSlow ? FLAKY_LOSS : undefined,
        impostor: isSybil ? sybil(random, () => world.randomEndpoint()) : undefined,
      },
    );
    const through = this.#bootstrap.map((other) => other.endpoint);
    if (isBootstrap) this.#bootstrap.push(sim);
    // The first one has nobody to join: it is the network.
    if (through.length === 0) sim.joinedAt = world.now;
    world.act(sim, (node, now) => node.join(through, [], now));
    return sim;
  }

  /** So many of the nodes, at random; never one that newcomers join through. */
  #share(share: number): SimNode[] {
    if (share === 0) return [];
    const others = this.#world.nodes.filter((sim) => !this.#bootstrap.includes(sim));
    const count = Math.min(others.length, Math.round(share * this.#world.nodes.length));
    for (let i = 0; i < count; i++) {
      const j = i + this.#random.below(others.length - i);
      [others[i], others[j]] = [others[j], others[i]];
    }
    return others.slice(0, count);
  }

  /** Each mutable value is changed once meanwhile, where its owner is. */
  #partition(values: readonly SimValue[], duration: Millis): void {
    const world = this.#world;
    const one = new Set(this.#share(0.5));
    world.partition((sim) => one.has(sim) ? 1 : 0);
    const mutable = values.filter(({ isMutable }) => isMutable);
    mutable.forEach((value, i) => {
      world.at(world.now + (i + 0.5) / mutable.length * duration, () => this.#change(value));
    });
    this.#watch("partition", world.now + duration);
    world.heal();
  }

  /** Departures without notice, each made up for by a newcomer, so that the size of the network stays. */
  #churn(medianMs: Millis): void {
    const world = this.#world;
    const leaveLater = (sim: SimNode) => {
      const session = this.#random.exponential(medianMs / Math.LN2);
      world.at(world.now + session, () => {
        this.#depart(sim);
        leaveLater(this.#join());
      });
    };
    for (const sim of world.nodes) if (!this.#bootstrap.includes(sim)) leaveLater(sim);
  }

  #depart(sim: SimNode): void {
    this.#world.depart(sim);
    this.#fetched.delete(sim);
    for (const operation of [...this.#operations]) {
      if (operation.asker !== sim) continue;
      this.#operations.delete(operation);
      operation.restart();
    }
  }

  /** Runs to a time and tells how far it is. */
  #watch(phase: string, until: Millis, done?: () => number, total = STEPS): void {
    const world = this.#world;
    const begun = world.now;
    for (let step = 1; step <= STEPS; step++) {
      world.run(begun + (until - begun) * step / STEPS);
      this.#progress(phase, done?.() ?? step, total, world.now);
    }
  }

  #idle(): Load {
    const loadSince = this.#loadFrom();
    this.#watch("at rest", this.#world.now + IDLE_MS);
    const { packetsPerSecond, bytesPerSecond } = loadSince();
    return { packetsPerSecond, bytesPerSecond };
  }

  /** What a node sends a second between now and the call of what this returns. */
  #loadFrom(): () => ScenarioResult["load"] {
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

  // ---- operations

  /** Stores values from random nodes, which keep them published from then on. */
  #store(count: number): SimValue[] {
    const { mutable } = this.#scenario;
    const values: SimValue[] = [];
    this.#spread("storing", count, (i, done) => {
      const content = this.#content();
      // Evenly among the others, and as many of each kind whatever the seed.
      const isMutable = Math.floor((i + 1) * mutable) > Math.floor(i * mutable);
      const signer = isMutable
        ? this.#crypto.signer(this.#random.bytes(KEY_SEED_BYTES))
        : undefined;
      const value = new SimValue(this.#crypto, content, signer);
      values.push(value);
      const put = (sim: SimNode, ended: (replicas: number) => void) => this.#put(sim, value, ended);
      this.#operate(() => this.#asker(), put, (replicas: number) => {
        this.#replicas += replicas;
        done();
      });
    });
    return values;
  }

  #content(): Uint8Array {
    return bencodeBytes(this.#random.bytes(VALUE_BYTES));
  }

  /** Puts the newest version of a value, and leaves the rest to the node, as the program does. */
  #put(sim: SimNode, value: SimValue, done: (replicas: number) => void): void {
    const { item } = value;
    value.owner = sim;
    this.#world.act(
      sim,
      (node, now) =>
        node.put(item.target, item.signed?.salt, undefined, () => item, now, (result, at) => {
          const { stored } = result;
          node.keepPublished(item, stored.length, at);
          this.#note("put", item.target, stored.length, result, stored);
          done(stored.length);
        }),
    );
  }

  #change(value: SimValue): void {
    const { owner } = value;
    if (owner?.state !== "up") return;
    value.renew(this.#content());
    this.#put(owner, value, () => {});
  }

  /** Lookups and, where there are values, as many fetches, in turns. */
  #measure(
    values: readonly SimValue[],
  ): Pick<ScenarioResult, "lookupSamples" | "fetchSamples" | "fetchedValues"> {
    const { lookups, hours } = this.#scenario;
    const lookupSamples: Sample[] = [], fetchSamples: Sample[] = [];
    const fetched = new Set<SimValue>(), missed = new Set<SimValue>();
    const inTurn = this.#shuffled(values);
    const kinds = values.length === 0 ? 1 : 2;
    const count = kinds * lookups;
    /** Operations under way, with the value where it is a fetch. */
    const open = new Map<number, { at: Millis; value: SimValue | undefined }>();
    const end = (index: number, outcome: Outcome, done: () => void) => {
      const { at, value } = open.get(index)!;
      open.delete(index);
      (value === undefined ? lookupSamples : fetchSamples).push({ at, ...outcome });
      if (value !== undefined) fetched.add(value);
      if (value !== undefined && !outcome.found) missed.add(value);
      done();
    };
    this.#spread("measuring", count, (index, done) => {
      const at = this.#world.now;
      if (index % kinds === 0) {
        open.set(index, { at, value: undefined });
        return this.#operate(
          () => this.#asker(),
          (sim, ended) => this.#lookup(sim, ended),
          (outcome: Outcome) => end(index, outcome, done),
        );
      }
      const value = inTurn[(index - 1) / kinds % inTurn.length];
      open.set(index, { at, value });
      this.#fetch(value, (outcome) => end(index, outcome, done), () => {
        open.delete(index);
        done();
      });
    }, hours * 3_600_000);
    for (const index of [...open.keys()]) {
      const outcome = {
        found: false,
        hops: NaN,
        queries: NaN,
        elapsed: OPERATION_LIMIT_MS,
        isAskerFlaky: false,
      };
      end(index, outcome, () => this.#fold(`${index} never ended`));
    }
    const fetchedValues = { count: fetched.size, missed: missed.size };
    return { lookupSamples, fetchSamples, fetchedValues };
  }

  #shuffled<T>(list: readonly T[]): T[] {
    const shuffled = [...list];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = this.#random.below(i + 1);
      [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
    }
    return shuffled;
  }

  /** Starts operations one after the other, evenly over `spanMs` or faster, and waits until all have ended. */
  #spread(
    phase: string,
    count: number,
    start: (index: number, done: () => void) => void,
    spanMs = 0,
  ): void {
    const world = this.#world;
    const every = spanMs > 0 ? spanMs / count : OPERATION_EVERY_MS / world.nodes.length;
    const begun = world.now;
    let ended = 0;
    for (let i = 0; i < count; i++) world.at(begun + i * every, () => start(i, () => ended++));
    const limit = begun + count * every + OPERATION_LIMIT_MS;
    while (ended < count && world.now < limit) {
      const goal = Math.min(count, ended + Math.max(1, count / STEPS));
      world.run(limit, () => ended >= goal);
      this.#progress(phase, ended, count, world.now);
    }
  }

  /** Runs an operation from one node, and again from another where that departs before it ends. */
  #operate<T>(
    draw: () => SimNode | undefined,
    start: (asker: SimNode, done: (outcome: T) => void) => void,
    done: (outcome: T) => void,
    onNobody: () => void = () => {},
  ): void {
    const asker = draw();
    if (asker === undefined) return onNobody();
    const operation = { asker, restart: () => this.#operate(draw, start, done, onNobody) };
    this.#operations.add(operation);
    start(asker, (outcome) => {
      if (this.#operations.delete(operation)) done(outcome);
    });
  }

  /** An honest node that is up and has joined. */
  #asker(): SimNode {
    for (let i = 0; i < ASKER_DRAWS; i++) {
      const sim = this.#random.pick(this.#world.nodes);
      const isIn = sim.state === "up" && sim.joinedAt <= this.#world.now;
      if (isIn && sim.traits.impostor === undefined) return sim;
    }
    return this.#bootstrap[0];
  }

  #lookup(sim: SimNode, done: (outcome: Outcome) => void): void {
    const target = Id.read(this.#random.bytes(ID_BYTES));
    this.#world.act(sim, (node, now) =>
      node.find(target, now, (result) => {
        const [nearest] = result.closest;
        const found = nearest !== undefined && this.#isClosest(nearest.id, sim, target, now);
        done(this.#outcome("find", target, found, result, sim));
      }));
  }

  /**
   * Whether no other honest node is closer to the target, among those that anybody can reach and that were there from
   * before the lookup's start to its end.
   */
  #isClosest(id: Id, asker: SimNode, target: Id, startedAt: Millis): boolean {
    for (const sim of this.#world.nodes) {
      if (compareDistance(sim.node.id, id, target) >= 0 || sim === asker) continue;
      const isThere = sim.state === "up" && sim.side === asker.side && sim.joinedAt <= startedAt;
      if (isThere && isReachable(sim)) return false;
    }
    return true;
  }

  /** Fetches a value from a node that neither holds it nor fetched it before: nothing is cached there. */
  #fetch(value: SimValue, done: (outcome: Outcome) => void, onNobody: () => void): void {
    const { target } = value;
    const draw = () => {
      for (let i = 0; i < FETCH_DRAWS; i++) {
        const asker = this.#asker();
        const holds = asker.items.get(target, this.#world.now) !== undefined;
        if (!holds && !this.#fetched.get(asker)?.has(value)) return asker;
      }
      return undefined;
    };
    this.#operate<Outcome>(
      draw,
      (sim, ended) => {
        if (!this.#fetched.has(sim)) this.#fetched.set(sim, new Set());
        this.#fetched.get(sim)!.add(value);
        const { item: wanted } = value;
        this.#world.act(sim, (node, now) =>
          node.get(target, wanted.signed?.salt, now, (result) => {
            const found = result.item !== undefined && sameBytes(result.item.value, wanted.value);
            ended(this.#outcome("get", target, found, result, sim));
          }));
      },
      done,
      onNobody,
    );
  }

  /** Pings nodes behind NATs from any others. */
  #reachHidden(): Reaches | undefined {
    const world = this.#world;
    const hidden = world.nodes.filter(isHidden);
    if (hidden.length === 0) return undefined;
    const ways = { direct: 0, punched: 0, relayed: 0 };
    const punchable = { count: 0, found: 0 };
    const times: number[] = [];
    const count = Math.ceil(this.#scenario.lookups / REACH_SHARE);
    this.#spread("reaching", count, (_, done) => {
      const target = this.#random.pick(hidden), begun = world.now;
      const draw = () => {
        const asker = this.#asker();
        return asker === target ? this.#bootstrap[0] : asker;
      };
      this.#operate<Reached>(
        draw,
        (asker, ended) =>
          world.act(asker, (node, now) =>
            node.reach(target.node.id, now, (result, at) => {
              const way = result.kind === "reached" ? result.way : undefined;
              ended({ asker, way, elapsed: at - begun });
            })),
        ({ asker, way, elapsed }) => {
          if (way !== undefined) ways[way]++, times.push(elapsed);
          if (asker.nat?.kind !== "symmetric" || target.nat?.kind !== "symmetric") {
            punchable.count++;
            if (way !== undefined && way !== "relayed" && elapsed < SOON_MS) punchable.found++;
          }
          this.#fold(["reach", target.node.id, way, elapsed].join(" "));
          done();
        },
      );
    });
    return { count, found: times.length, ways, punchable, latency: distribution(times) };
  }

  #outcome(
    kind: string,
    target: Id,
    found: boolean,
    result: FindResult,
    asker: SimNode,
  ): Outcome {
    this.#note(kind, target, found, result, result.closest.map((c) => c.id));
    const { hops, asked, elapsed } = result;
    return { found, hops, queries: asked.length, elapsed, isAskerFlaky: isFlaky(asker) };
  }

  #note(
    kind: string,
    target: Id,
    what: boolean | number,
    { hops, asked, elapsed }: FindResult,
    ids: readonly Id[],
  ): void {
    this.#fold([kind, target, what, hops, asked.length, elapsed, ...ids].join(" "));
  }

  #fold(line: string): void {
    const bytes = new TextEncoder().encode(`${hex(this.#digest)} ${line}`);
    this.#digest = new Uint8Array(this.#crypto.sha1(bytes));
  }
}

/** Whether strangers' packets don't arrive there. */
function isHidden({ nat, state, joinedAt }: SimNode): boolean {
  return nat !== undefined && nat.kind !== "full_cone" && state === "up" && joinedAt < Infinity;
}

/** Whether anybody can reach it, and it tells the truth. Behind a NAT that lets all in it has to know of that first. */
function isReachable({ traits: { nat, impostor }, node }: SimNode): boolean {
  if (impostor !== undefined) return false;
  return nat === undefined || (nat.kind === "full_cone" && !node.isReadOnly(4));
}

function isFlaky({ traits: { extraDelayMs = 0, extraLoss = 0 } }: SimNode): boolean {
  return extraDelayMs > 0 || extraLoss > 0;
}

function loadByType(before: Totals, after: Totals, seconds: number): ReadonlyMap<string, Load> {
  const loads = Array.from(after.sent, ([type, { messages, bytes }]): [string, Load] => {
    const former = before.sent.get(type) ?? { messages: 0, bytes: 0 };
    return [type, {
      packetsPerSecond: (messages - former.messages) / seconds,
      bytesPerSecond: (bytes - former.bytes) / seconds,
    }];
  });
  return new Map(loads.filter(([, { packetsPerSecond }]) => packetsPerSecond > 0).sort());
}

/** The median of what nodes hold the network's size to be. */
function estimate(nodes: readonly SimNode[], now: Millis): number | null {
  const estimates = nodes.flatMap((sim) => sim.node.networkSize(now) ?? []);
  if (estimates.length === 0) return null;
  return estimates.sort((x, y) => x - y)[estimates.length >> 1];
}

export function measured(samples: readonly Sample[]): Measured {
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
