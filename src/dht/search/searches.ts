// Runs one lookup per address family, and merges, counts and reports their results.

import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import { compareDistance, Id, sharedPrefix } from "../../krpc/id.ts";
import {
  ErrorCode,
  MAX_REPLY_NODES,
  type Message,
  type QueryArguments,
  REPLY_NODES,
  WANT_N4,
  WANT_N6,
} from "../../krpc/message.ts";
import { BoundedMap, Recent } from "../bounded_map.ts";
import type { Millis } from "../deadlines.ts";
import type { Contact } from "../routing/contact.ts";
import { isContradicted } from "../routing/coordinate.ts";
import { maxSimilar, SIMILAR_BITS } from "../routing/diversity.ts";
import type { Tables } from "../routing/tables.ts";
import type { Self } from "../self.ts";
import type { Purpose } from "../purpose.ts";
import type { Batch } from "./batch.ts";
import {
  type Candidate,
  type KnownNode,
  Lookup,
  type LookupMethod,
  type LookupOptions,
  type LookupResult,
  type StepState,
} from "./lookup.ts";
import type { Queries } from "./queries.ts";
import { Region } from "./region.ts";
import { LookupStatistics, sizeAround } from "./statistics.ts";

interface LookupReport extends Pick<LookupResult, "target" | "method" | "hops" | "elapsed"> {
  /** The lookup's sequence number, counted from the start of the node. */
  readonly lookup: number;
  readonly queries: number;
  /** Whether any node answered. */
  readonly success: boolean;
}

/** A state change of one of a lookup's queries. */
export interface LookupStep {
  readonly lookup: number;
  readonly target: Id;
  readonly state: StepState;
  /** The candidate itself, not a copy: its fields change as the lookup continues. */
  readonly candidate: Candidate;
}

export type LookupEvent =
  | { readonly type: "lookup"; readonly lookup: LookupReport }
  /**
   * A crowded target: `nodes` nodes were found in a part of the id space around it in which
   * `expected` nodes are expected. Reported at most once an hour for the same part of the id space.
   */
  | {
    readonly type: "lookup.crowded";
    readonly target: Id;
    readonly nodes: number;
    readonly expected: number;
  }
  /** A query of a lookup has changed its state. Reported only while `reportsSteps` is set. */
  | { readonly type: "lookup.step"; readonly step: LookupStep };

/** How many nodes a lookup found close to its target, and how many the network's size predicts there. */
export interface Density {
  readonly target: Id;
  readonly family: Family;
  readonly nodes: number;
  readonly expected: number;
  /** Whether there are so many nodes that most of them are probably Sybils. */
  readonly isCrowded: boolean;
  readonly at: Millis;
}

/** How dense the ids of our contacts are around our own id. */
export interface OwnDensity {
  readonly family: Family;
  /**
   * The number of contacts in the part of the id space in which `expected` nodes are expected; null if no lookup has
   * shown the network's size yet.
   */
  readonly nodes: number | null;
  readonly expected: number;
  /** The part of the id space is crowded if it contains at least this number of nodes. */
  readonly limit: number;
  /** The number of contacts whose ids are similar to ours; see `SIMILAR_BITS`. */
  readonly similar: number;
  readonly expectedSimilar: number;
  /** The maximum number of similar ids that a bucket accepts. */
  readonly maxSimilar: number;
}

/** The target of a search, and its options. */
export interface Search {
  readonly target: Id;
  readonly method: LookupMethod;
  /** Called with each response. If it returns true, the search ends. */
  readonly onResponse?: (message: Message, candidate: Candidate, now: Millis) => boolean;
  /**
   * Whether to prefer speed. The search then first queries the nodes that will probably lead to an
   * answer soonest, instead of the closest nodes.
   */
  readonly isHurried?: boolean;
  /** Whether the search needs the answers of all of the k closest nodes soon, such as for their tokens. */
  readonly asksAllSoon?: boolean;
  /** Called when a node that is probably one of the k closest has answered, if `asksAllSoon` is set. */
  readonly onNear?: (candidate: Candidate & { readonly id: Id }, now: Millis) => void;
  /**
   * If given, asks nodes only to prove that they hold the item, without sending its value. Used to
   * repair replicas.
   */
  readonly challenge?: Uint8Array;
  /** Whether to ask each node how many bytes of items we may still put there. */
  readonly wantsRoom?: boolean;
  /** With `get_peers`: flags NO_SEED and SCRAPE (BEP 33). */
  readonly swarm?: number;
  /** With `wantsRoom`: how many seconds the items should live; undefined means a day. */
  readonly ttl?: number;
  /**
   * The batch that the search belongs to. The search starts with the nodes that the batch knows,
   * and adds the nodes that it finds to the batch.
   */
  readonly batch?: Batch;
  /** The purpose of the search's traffic: the batch's purpose by default or, without a batch, upkeep. */
  readonly purpose?: Purpose;
}

/** A search in one address family. */
export interface FamilySearch extends Search {
  readonly family: Family;
  /** Bootstrap endpoints to start from. Their ids are not known yet. */
  readonly bootstrap?: readonly Endpoint[];
}

/** The merged result of a search in all families. */
export interface FindResult
  extends Pick<LookupResult, "closest" | "asked" | "startedAt" | "hops" | "elapsed"> {
  /**
   * How many of the closest nodes should hold an item: k or, if the target is crowded, all nodes at a distance within
   * which k nodes are expected.
   */
  readonly holders: number;
}

/** The merged result of a search, with the result of each family. */
export interface MergedResult extends FindResult {
  /**
   * For each family, the result of its lookup. In `closest`, a node that answered in both families
   * appears only once.
   */
  readonly lookups: readonly LookupResult[];
}

interface SearchesOptions {
  readonly queries: Queries;
  /** How many queries of one lookup may be in flight. */
  readonly alpha: number;
  readonly emit: (event: LookupEvent) => void;
}

/** An estimate of the network's size is reused for this time. */
const ESTIMATE_MS = 1_000;

/**
 * The minimum time between two reports of a crowded target, and the cap on the targets remembered
 * for this purpose.
 */
const CROWDED_AGAIN_MS = 60 * 60_000, MAX_CROWDED = 256;

/** Cap on the densities that are remembered, at about 150 bytes each. */
const MAX_DENSITIES = 256;

/** Cap on the nodes that a hurried search starts with although we only know them because other nodes named them. */
const MAX_NAMED = 8;

const NO_BITS = new Id(0, 0, 0, 0, 0);

/**
 * We assume that a network has at most this many times the nodes that the lookups of the last hour
 * suggest.
 */
const MAX_GROWTH = 16;

export class Searches {
  readonly queries: Queries;
  readonly tables: Tables;
  readonly self: Self;
  readonly statistics = new LookupStatistics();
  /** Whether lookups that start from now on report each of their queries. */
  reportsSteps = false;
  /** Bootstrap endpoints to start from while there are no contacts. */
  bootstrap: readonly Endpoint[] = [];
  /**
   * Called for each node that an answer names with a coordinate. The coordinate predicts a round
   * trip of `expected` ms.
   */
  onHeard: LookupOptions["onHeard"];
  /** Called if an answer names our own id, with the endpoint that it names. */
  onOwnId: ((endpoint: Endpoint, now: Millis) => void) | undefined;
  /** Called after an answer has been processed. */
  onRead: ((now: Millis) => void) | undefined;
  readonly #options: SearchesOptions;
  readonly #estimates: { [F in Family]?: { readonly size: number | null; readonly at: Millis } } =
    {};
  #lastLookup = 0;
  /** The crowded targets reported in the last hour, each as the leading bits that all ids around it share. */
  readonly #crowded = new Recent(CROWDED_AGAIN_MS, MAX_CROWDED);
  /** The densities around the latest values that this node has stored or looked for, by family and target. */
  readonly #densities = new BoundedMap<string, Density>(MAX_DENSITIES);

  constructor(options: SearchesOptions) {
    this.#options = options;
    this.queries = options.queries;
    this.tables = options.queries.tables;
    this.self = options.queries.outbox.self;
  }

  /** Runs a lookup in each address family that has contacts, and merges the results. */
  find(search: Search, now: Millis, done: (result: MergedResult, now: Millis) => void): void {
    const { target, onResponse } = search;
    const all = this.tables.families;
    const populated = all.filter((family) => this.tables.of(family).size > 0);
    const families = populated.length > 0 ? populated : all.slice(0, 1);
    const results: LookupResult[] = [];
    const running: Lookup[] = [];
    const onEnd = (result: LookupResult, at: Millis) => {
      results.push(result);
      if (results.length < families.length) return;
      const closest = results.flatMap((r) => r.closest)
        .sort((x, y) => compareDistance(x.id, y.id, target))
        .filter((c, i, sorted) => i === 0 || !c.id.equals(sorted[i - 1].id));
      const holders = Math.max(
        this.tables.k,
        ...results.map(({ isCrowded, family }) => {
          if (!isCrowded) return 0;
          const region = this.region(target, family, at);
          return closest.filter(({ id }) => region.has(id)).length;
        }),
      );
      done({
        closest,
        lookups: results,
        holders,
        asked: results.flatMap((r) => r.asked),
        startedAt: now,
        hops: results.find((r) => r.closest[0] === closest[0])?.hops ?? result.hops,
        elapsed: at - now,
      }, at);
    };
    const endpoints = populated.length > 0 ? [] : this.bootstrap;
    for (const family of families) {
      const bootstrap = endpoints.filter((endpoint) => endpoint.family === family);
      const watch: Search["onResponse"] = onResponse && ((message, candidate, at) => {
        if (!onResponse(message, candidate, at)) return false;
        // This answer ends the whole search, so also stop the lookup of the other family.
        running.forEach((lookup, i) => families[i] !== family && lookup.stop(at));
        return true;
      });
      const familySearch = { ...search, family, bootstrap, onResponse: watch };
      running.push(this.#prepare(familySearch, now, onEnd));
    }
    for (const lookup of running) lookup.start();
  }

  /** Runs a lookup in one family. */
  findIn(
    search: FamilySearch,
    now: Millis,
    done: (result: LookupResult, now: Millis) => void,
  ): void {
    this.#prepare(search, now, done).start();
  }

  /** The estimated number of nodes of a family, by default the first; null if there is too little data. */
  networkSize(now: Millis, family: Family = this.tables.families[0]): number | null {
    const cached = this.#estimates[family];
    if (cached !== undefined && now - cached.at < ESTIMATE_MS) return cached.size;
    const { tables, self: { id: own } } = this;
    const neighbours = tables.of(family).closest(own, tables.k, isHealthy);
    const size = this.statistics.networkSize({ own, family, neighbours }, now);
    this.#estimates[family] = { size, at: now };
    return size;
  }

  /** The surroundings of a target among the nodes of a family. */
  region(target: Id, family: Family, now: Millis): Region {
    const size = this.#regionSize(family, this.#sizeAround(family), now);
    return new Region(target, { k: this.tables.k, size });
  }

  /**
   * The size of the network by which we judge whether a target is crowded. While a network grows,
   * the latest lookups still suggest its former size. Joining nodes contact their neighbours, so
   * the density of our neighbours shows the growth sooner. The estimate from our neighbours is
   * limited, because Sybils around our id could make the network seem endless.
   */
  #regionSize(family: Family, around: number | null, now: Millis): number | null {
    const known = this.networkSize(now, family);
    if (known === null || around === null) return known;
    return Math.max(known, Math.min(around, MAX_GROWTH * known));
  }

  /**
   * The number of nodes of a family, as the density of our neighbours suggests; null if there are
   * too few neighbours.
   */
  #sizeAround(family: Family): number | null {
    const { tables, self: { id: own } } = this;
    return sizeAround(own, tables.of(family).closest(own, tables.k, isHealthy));
  }

  #prepare(
    search: FamilySearch,
    now: Millis,
    onEnd: (result: LookupResult, now: Millis) => void,
  ): Lookup {
    const { target, method, family, batch, isHurried, onResponse } = search;
    const purpose = search.purpose ?? batch?.purpose;
    const { queries, tables, self } = this;
    const { alpha, emit } = this.#options;
    const table = tables.of(family);
    const args = this.#argsOf(search), plainArgs = this.#argsOf({ target, method: "find_node" });
    const lookup = ++this.#lastLookup;
    this.statistics.active++;
    table.touch(target, now);
    const around = this.#sizeAround(family);
    const region = new Region(target, {
      k: tables.k,
      size: this.#regionSize(family, around, now),
    });
    return new Lookup({
      target,
      method,
      family,
      k: tables.k,
      region,
      // A hurried search of a batch probably starts with a holder of the item, so one query at a time is enough.
      alpha: batch !== undefined && isHurried ? 1 : alpha,
      lateShare: queries.lateShare,
      seeds: seedsOf(tables, search, now),
      bootstrap: search.bootstrap ?? [],
      now,
      own: self.id,
      subnets: tables.subnets,
      networkSize: around,
      coordinate: tables.coordinate,
      ask: (candidate, at, watcher) => {
        const { endpoint: to, id: expected, expected: rtt } = candidate;
        const known = { to, expected, rtt, purpose };
        const askPlainly = (later: Millis) =>
          queries.send({ ...known, method: "find_node", args: plainArgs }, later, watcher);
        const contact = expected && tables.at(to, expected);
        if (method === "get" && contact?.lacks("get")) return askPlainly(at);
        queries.send({ ...known, method, args }, at, {
          onHeld: (later) => watcher.onHeld?.(later),
          onLate: (later) => watcher.onLate(later),
          onOverdue: (later) => watcher.onOverdue(later),
          done: (outcome, later) => {
            if (outcome.kind === "timeout" || isContradicted(rtt, outcome.rtt)) {
              if (expected !== undefined) tables.hearsay[family]?.forget(expected);
            }
            const isUnknown = outcome.kind === "error" && outcome.code === ErrorCode.unknownMethod;
            if (isUnknown && method === "get") askPlainly(later);
            else watcher.done(outcome, later);
          },
        });
      },
      asksAllSoon: search.asksAllSoon,
      onNear: search.onNear,
      hurryToBits: isHurried ? table.bucketCount - 1 : undefined,
      onHeard: this.onHeard,
      onOwnId: this.onOwnId,
      onRead: this.onRead,
      onResponse: batch === undefined ? onResponse : (message, candidate, at) => {
        batch.noteAnswer(message, candidate, { now: at, self });
        return onResponse?.(message, candidate, at) ?? false;
      },
      onStep: !this.reportsSteps ? undefined : (state, candidate) => {
        emit({ type: "lookup.step", step: { lookup, target, state, candidate } });
      },
      onEnd: (result, at) => {
        this.statistics.active--;
        this.statistics.record(result, { k: tables.k, own: self.id });
        if (result.isCrowded) this.#noteCrowded(result, region, at);
        // Record the density only for searches of users, because repairs concern other nodes'
        // values, and only if the lookup found all of the closest nodes.
        const isOfUser = method === "get" && purpose !== "upkeep";
        if (isOfUser && result.isWhole && region.core > 0) this.#noteDensity(result, region, at);
        const { hops, asked, elapsed, closest } = result;
        const counts = { hops, queries: asked.length, elapsed, success: closest.length > 0 };
        emit({ type: "lookup", lookup: { lookup, target, method, ...counts } });
        batch?.noteLookup(result, tables.k);
        onEnd(result, at);
      },
    });
  }

  /** Reports a crowded target, unless another one in its surroundings was reported within the hour. */
  #noteCrowded({ target, nodesInCore: nodes }: LookupResult, region: Region, now: Millis): void {
    const place = target.withSuffix(region.bits, NO_BITS).toString();
    if (this.#crowded.has(place, now)) return;
    this.#crowded.add(place, now);
    this.statistics.noteCrowded(target, now);
    this.#options.emit({ type: "lookup.crowded", target, nodes, expected: region.expectedInCore });
  }

  #noteDensity(
    { target, family, nodesInCore: nodes, isCrowded }: LookupResult,
    { expectedInCore: expected }: Region,
    at: Millis,
  ): void {
    const density = { target, family, nodes, expected, isCrowded, at };
    this.#densities.set(`${family} ${target}`, density);
  }

  /** The densities around the latest values that this node has stored or looked for. */
  get densities(): Iterable<Density> {
    return this.#densities.values();
  }

  /** The density of our contacts around our own id. */
  ownDensity(family: Family, now: Millis): OwnDensity {
    const { tables: { k }, self: { id: own } } = this, table = this.tables.of(family);
    // Leave our neighbours out of the estimate, because their density is compared with it.
    const size = this.statistics.networkSize({ own, family, neighbours: [] }, now);
    const region = new Region(own, { k, size });
    const similarBits = table.leastShared + SIMILAR_BITS;
    let nodes = 0, similar = 0;
    for (const { id } of table.contacts()) {
      if (region.isInCore(id)) nodes++;
      if (sharedPrefix(own, id) >= similarBits) similar++;
    }
    return {
      family,
      nodes: size === null ? null : nodes,
      expected: region.expectedInCore,
      limit: k,
      similar,
      expectedSimilar: k / 2 ** SIMILAR_BITS,
      maxSimilar: maxSimilar(k),
    };
  }

  #argsOf({ target, method, challenge, swarm, wantsRoom, ttl }: Search): QueryArguments {
    const wanted = Math.min(this.tables.k, MAX_REPLY_NODES);
    return {
      ...(method === "get_peers" ? { infoHash: target } : { target }),
      want: this.tables.families.length > 1 ? WANT_N4 | WANT_N6 : undefined,
      wantCount: wanted > REPLY_NODES ? wanted : undefined,
      wantSalt: method === "get",
      challenge,
      swarm,
      wantRoom: wantsRoom,
      ttl,
    };
  }
}

/**
 * The nodes to start with: those that the batch has found, contacts, and for a hurried search nodes that were only
 * named to us. The batch's nodes and the contacts are ordered by distance, nearest first.
 */
function seedsOf(
  tables: Tables,
  { family, target, batch, isHurried }: FamilySearch,
  now: Millis,
): readonly KnownNode[] {
  const table = tables.of(family);
  // Start with twice k nodes, because after an outage many of the closest nodes are dead, and so are many nodes that
  // others name.
  const count = 2 * table.k;
  const contacts = table.closest(target, count, (contact) => contact.misses < 2);
  if (batch !== undefined) return [...batch.closest(target, count, now), ...contacts];
  if (isHurried !== true) return contacts;
  return [...contacts, ...tables.hearsay[family]?.near(target, MAX_NAMED, now) ?? []];
}

const isHealthy = (contact: Contact) => contact.health === "healthy";
