// One iterative lookup (Kademlia, section 2.3). It queries closer and closer nodes until the k
// closest to the target have answered.

import { type Endpoint, type Family, mayRefer } from "../../krpc/endpoint.ts";
import { compareDistance, distanceShare, type Id, sharedPrefix } from "../../krpc/id.ts";
import { MAX_REPLY_NODES, type Message, readCompactNodes } from "../../krpc/message.ts";
import type { Millis } from "../deadlines.ts";
import type { Contact } from "../routing/contact.ts";
import {
  type Coordinate,
  expectedRttAt,
  expectedRttTo,
  isContradicted,
} from "../routing/coordinate.ts";
import { isCounted, isSameSubnet, maxSimilar, SHORTLIST_FACTOR } from "../routing/diversity.ts";
import { isSecureId } from "../routing/secure_id.ts";
import type { SubnetLimit } from "../routing/subnet_limit.ts";
import type { QueryOutcome, QueryWatcher } from "./query.ts";
import type { Region } from "./region.ts";

/** The methods that a lookup can query with. All of them return nodes; the last two also return peers or an item. */
export type LookupMethod = "find_node" | "get_peers" | "get";

/**
 * heard: not asked yet. waiting: asked. held: the query waits so that its receiver does not block
 * us, and the lookup may end without the answer. late: the lookup asks other nodes without waiting
 * for the answer. overdue: the lookup may end without the answer. Late and overdue answers are
 * still used if they arrive before the end.
 */
export type CandidateState =
  | "heard"
  | "waiting"
  | "held"
  | "late"
  | "overdue"
  | "responded"
  | "failed";

/** The states of a query that a lookup reports while it runs. */
export type StepState = "asked" | "responded" | "late" | "failed";

/** A node that a lookup has asked or may ask. */
export interface Candidate {
  /** The node's id; undefined for a bootstrap node until it answers. */
  id: Id | undefined;
  readonly endpoint: Endpoint;
  /**
   * 1 for a node that was known at the start, 2 if it had only been named by then. For other nodes, one more than the
   * hop of the node that named it.
   */
  readonly hop: number;
  state: CandidateState;
  sentAt: Millis;
  /** The measured round-trip time; NaN until the node answers. */
  rtt: number;
  /** The round-trip time measured earlier, or suggested by the node's coordinate; NaN if unknown. */
  readonly expected: number;
  /** The write token that the node returned, if any. Its bytes are a copy. */
  token: Uint8Array | undefined;
  /** The client and version that the node's answer names (`v`), as a 32-bit integer; 0 if it names none. */
  client: number;
}

/** A candidate whose id is known. */
export type Placed = Candidate & { id: Id };

/** A node that was known before the lookup started. */
export interface KnownNode
  extends Pick<Contact, "id" | "endpoint" | "expectedMs" | "coordinateXy" | "coordinateZHeight"> {
  /** Whether we know the node only because another node has named it. */
  readonly isNamed?: true;
}

export interface LookupOptions {
  readonly target: Id;
  readonly method: LookupMethod;
  readonly family: Family;
  /** How many of the closest nodes must answer before the lookup ends. */
  readonly k: number;
  /**
   * The surroundings of the target. The shortlist accepts only a few nodes with similar ids. If the target is crowded
   * nevertheless, the lookup asks all nodes within the region's edge.
   */
  readonly region: Region;
  /** How many queries may be in flight at once, not counting late ones. */
  readonly alpha: number;
  /**
   * The expected share of late queries. To make up for them, the lookup keeps more queries in flight and, at the end,
   * asks more than k nodes. Otherwise, each late query would delay the lookup by a round trip.
   */
  readonly lateShare: number;
  readonly seeds: readonly KnownNode[];
  /** Bootstrap endpoints to start from. Their ids are not known yet. */
  readonly bootstrap: readonly Endpoint[];
  readonly now: Millis;
  /** The limit on a bucket's nodes from one subnet. The shortlist accepts {@link SHORTLIST_FACTOR} times as many. */
  readonly subnets: SubnetLimit;
  /** Our own id, which the lookup leaves out. */
  readonly own: Id;
  readonly coordinate: Coordinate;
  /**
   * The network's size, as the density of our neighbours suggests; null if unknown. If the k
   * closest nodes that answered are too sparse for this size, the lookup also asks all other nodes
   * that were known at the start.
   */
  readonly networkSize: number | null;
  /** Sends the lookup's query to a candidate. */
  readonly ask: (candidate: Candidate, now: Millis, watcher: QueryWatcher) => void;
  /**
   * If set, the lookup prefers speed: it wants to reach any node that shares this many bits with
   * the target. Among the candidates that may be among the k closest, it asks the one that probably
   * leads to such a node soonest. It ends like any other lookup.
   */
  readonly hurryToBits?: number;
  /**
   * Whether to ask all of the k closest nodes at once as soon as most of them are probably known. Otherwise, the lookup
   * first waits for the answers of the alpha closest.
   */
  readonly asksAllSoon?: boolean;
  /**
   * Called when a node has answered that is probably one of the k closest: once the lookup asks all of them at once,
   * and if no k closer nodes are known.
   */
  readonly onNear?: (candidate: Placed, now: Millis) => void;
  /**
   * Called for each node that an answer names with a coordinate. The coordinate predicts a round
   * trip of `expected` ms.
   */
  readonly onHeard?: (
    id: Id,
    endpoint: Endpoint,
    heard: { readonly expected: number; readonly now: Millis },
  ) => void;
  /** Called if an answer names our own id, with the endpoint that it names. */
  readonly onOwnId?: (endpoint: Endpoint, now: Millis) => void;
  /** Called after an answer has been processed, before the lookup continues. */
  readonly onRead?: (now: Millis) => void;
  /** Called with each response. If it returns true, the lookup ends. */
  readonly onResponse?: (message: Message, candidate: Candidate, now: Millis) => boolean;
  readonly onStep?: (state: StepState, candidate: Candidate) => void;
  readonly onEnd: (result: LookupResult, now: Millis) => void;
}

export interface LookupResult {
  readonly target: Id;
  readonly method: LookupMethod;
  readonly family: Family;
  /** The nodes that answered, nearest first: at least the k closest live ones, unless the lookup was ended early. */
  readonly closest: readonly Placed[];
  /** The closest nodes that the lookup knew but did not ask, nearest first. */
  readonly heard: readonly Placed[];
  /**
   * The number of nodes found in the core of the region around the target, including nodes that a
   * limit kept out of the shortlist.
   */
  readonly nodesInCore: number;
  /**
   * Whether too many nodes are in the core of the region around the target, so that most of these
   * nodes are probably Sybils.
   */
  readonly isCrowded: boolean;
  /** Whether the lookup found all of the closest nodes. False if an answer ended it early. */
  readonly isWhole: boolean;
  /**
   * Whether the k closest nodes that answered are much farther from the target than the network's
   * size suggests.
   */
  readonly isSparse: boolean;
  /** All candidates that were asked, in the order in which they were asked. */
  readonly asked: readonly Candidate[];
  /**
   * The `hop` of the closest node that answered. If an answer ended the lookup early, the `hop` of
   * the answer's sender.
   */
  readonly hops: number;
  readonly startedAt: Millis;
  readonly elapsed: number;
}

/** The number of candidates that are kept beyond the k closest, in case closer ones fail. */
const SPARE_CANDIDATES = 60;

/**
 * Cap on a lookup's queries beyond k. It is several times what a lookup needs in the largest
 * network if half of the nodes are dead. Without the cap, a lookup might never end, because one
 * host can invent ever closer nodes at its 65,535 ports.
 */
const SPARE_QUERIES = 500;

/** A lookup ends without waiting for its overdue queries only if there are at most this many per answered query. */
const MAX_OVERDUE_PER_ANSWER = 2;

/** If no answer was faster than this, our own connection is slow, and overdue answers are probably on their way. */
const SLOW_MS = 1_000;

/**
 * If at most this share of queries is late, the closest node is asked again if its answer is
 * overdue: probably, the packet was lost.
 */
const RETRY_CLOSEST_SHARE = 0.1;

/**
 * The k closest nodes that answered count as sparse if, in a network of the estimated size, this
 * many times k nodes should be at least as close to the target. Random ids are rarely that sparse.
 * Colluders that name only each other are sparse, unless they are more than half of the network.
 */
const SPARSE_FACTOR = 2;

/**
 * With `asksAllSoon`, a lookup asks all of the k closest nodes once it knows `DENSE_SHARE` of k nodes within
 * `DENSE_FACTOR` times the distance at which k nodes are expected. The factor allows for an uneven distribution of ids,
 * and for a wrong estimate of the network's size.
 */
const DENSE_SHARE = 0.75, DENSE_FACTOR = 1.5;

/**
 * One in this many queries of a hurried lookup goes to the closest candidate and ignores the
 * coordinates.
 */
const BY_ID_INTERVAL = 3;

/** The round-trip time assumed for a node that we know nothing about: the mean between two places on Earth. */
const UNKNOWN_RTT_MS = 150;

/**
 * Each hop of a lookup matches about this many more bits of the target: log2(k), because a hop
 * leads to the best of k random contacts.
 */
const BITS_PER_HOP = 4.3;

/** Bounds of the estimated time per hop, the mean round trip to known nodes. The maximum allows for slow links. */
const HOP_MIN_MS = 5, HOP_MAX_MS = 600;

/**
 * Cap on the share of late queries in the formula for extra queries. A share of 1 would result in
 * infinitely many.
 */
const MAX_LATE_SHARE = 0.5;

const SIGN = 0x80000000 | 0;

export class Lookup {
  readonly #options: LookupOptions;
  /** The candidates with known ids, sorted by their distance from the target. */
  readonly #shortlist: Placed[] = [];
  /** The first 32 bits of the distance of each candidate on the shortlist. */
  readonly #firsts: number[] = [];
  /** The first 32 bits of the address of each candidate on the shortlist. */
  readonly #addresses: number[] = [];
  /**
   * The ids of nodes in the core of the region around the target that found no place in the
   * shortlist because of its limits. At most k are kept, which is enough to know that the target is
   * crowded.
   */
  readonly #refused = new Set<string>();
  /** Bootstrap nodes: asked first, and moved to the shortlist once their ids are known. */
  readonly #anonymous: Candidate[] = [];
  readonly #asked: Candidate[] = [];
  readonly #hopMs: number;
  /** The first 32 bits of the distance from the target to the end of the core (see `Region`). */
  readonly #core: number;
  /** The first 32 bits of the distance from the target to the edge of the region around the target. */
  readonly #edge: number;
  /** The first 32 bits of the distance within which the lookup looks for most of the k closest nodes. */
  readonly #denseEdge: number;
  #inFlight = 0;
  /** The closest candidate, if it has been asked a second time. */
  #again: Candidate | undefined;
  /**
   * Whether a round trip contradicted a coordinate. The lookup then ignores the coordinates of
   * nodes that were unknown at its start.
   */
  #isMisled = false;
  #ended = false;

  constructor(options: LookupOptions) {
    this.#options = options;
    this.#core = wordAt(options.region.core);
    this.#edge = wordAt(options.region.edge);
    this.#denseEdge = wordAt(DENSE_FACTOR * options.region.edge);
    for (const seed of options.seeds) {
      const { id, endpoint, expectedMs, coordinateXy, coordinateZHeight, isNamed } = seed;
      const at = this.#roomFor(id, endpoint);
      if (at < 0) continue;
      const expected = Number.isNaN(expectedMs)
        ? expectedRttTo(options.coordinate, coordinateXy, coordinateZHeight)
        : expectedMs;
      this.#add(at, newCandidate({ id, endpoint, hop: isNamed ? 2 : 1, expected }) as Placed);
    }
    this.#hopMs = hopCost(this.#shortlist);
    for (const endpoint of options.bootstrap) {
      this.#anonymous.push(newCandidate({ id: undefined, endpoint, hop: 1, expected: NaN }));
    }
  }

  /** Sends the first queries. A lookup without any candidates ends immediately. */
  start(): void {
    this.#step(this.#options.now);
  }

  /** Ends the lookup with what it has found so far. */
  stop(now: Millis): void {
    if (!this.#ended) this.#end(now, undefined);
  }

  /**
   * The index at which to insert a node in the shortlist; negative if the node gets no place. If
   * the shortlist already has the maximum number of nodes from the same subnet or with similar ids,
   * the node replaces one that is farther from the target.
   */
  #roomFor(id: Id, endpoint: Endpoint): number {
    const list = this.#shortlist, firsts = this.#firsts;
    const { target, own, k, subnets } = this.#options;
    if (id.equals(own)) return -1;
    // Compare the first 32 bits of the distances. They nearly always differ, so most candidates' full ids are not read.
    const first = firstWord(id, target);
    let at = list.length;
    while (at > 0 && firsts[at - 1] >= first) {
      if (firsts[at - 1] === first) {
        const order = compareDistance(list[at - 1].id, id, target);
        if (order === 0) return -1;
        if (order < 0) break;
      }
      at--;
    }
    if (at >= k + SPARE_CANDIDATES) return -1;
    // Each endpoint is listed only once, so that its owner can't fill the shortlist with invented ids.
    const addresses = this.#addresses;
    const isLimited = subnets.appliesTo(endpoint);
    const isCapped = isLimited && !subnets.isHome(endpoint);
    let neighbours = 0, farthest = -1;
    for (let i = 0; i < addresses.length; i++) {
      if ((addresses[i] ^ endpoint.a) >>> 8 !== 0) continue;
      const other = list[i];
      if (other.endpoint.equals(endpoint)) return -1;
      if (!isCapped || !isSameSubnet(other.endpoint, endpoint)) continue;
      // Accept the node whose id is the target even if another node in the list has the same address.
      if (other.endpoint.sameAddress(endpoint) && !id.equals(target)) return -1;
      neighbours++;
      if (other.state === "heard") farthest = i;
    }
    if (isCapped && neighbours >= SHORTLIST_FACTOR * subnets.perSubnet) {
      subnets.noteLeftOut(endpoint, this.#options.now);
      if (farthest < at) return this.#refuse(id);
      this.#refuse(this.#remove(farthest).id);
    }
    if (!isLimited || id.equals(target) || this.#hasRoomForSimilar(at, first)) return at;
    return this.#refuse(id);
  }

  /**
   * Whether a node may enter the shortlist at index `at`, although the number of similar ids is limited. If needed,
   * drops a farther node with a similar id. `first` is the first 32 bits of the node's distance.
   */
  #hasRoomForSimilar(at: number, first: number): boolean {
    const { k, region: { similarBits } } = this.#options;
    const list = this.#shortlist, firsts = this.#firsts;
    // The list is sorted by distance, so similar ids are next to each other.
    const isSimilar = (i: number) => Math.clz32(firsts[i] ^ first) >= similarBits;
    let count = 0, farthest = -1;
    for (let i = at - 1; i >= 0 && isSimilar(i); i--) if (list[i].state !== "failed") count++;
    for (let i = at; i < list.length && isSimilar(i); i++) {
      if (list[i].state !== "failed") count++;
      if (list[i].state === "heard") farthest = i;
    }
    if (count < maxSimilar(k)) return true;
    if (farthest >= 0) this.#refuse(this.#remove(farthest).id);
    return farthest >= 0;
  }

  /** Records a node that gets no place because of a limit. Returns -1, the index for such nodes. */
  #refuse(id: Id): -1 {
    const { k, target } = this.#options;
    if (this.#refused.size < k && firstWord(id, target) < this.#core) this.#refused.add(`${id}`);
    return -1;
  }

  /** Adds a candidate, and drops the farthest one if there are too many. */
  #add(at: number, candidate: Placed): void {
    this.#insert(at, candidate);
    const list = this.#shortlist;
    if (list.length <= this.#options.k + SPARE_CANDIDATES) return;
    const dropped = this.#remove(list.length - 1);
    if (dropped.state === "waiting") {
      dropped.state = "late";
      this.#inFlight--;
    }
  }

  #insert(at: number, candidate: Placed): void {
    if (this.#refused.size > 0) this.#refused.delete(`${candidate.id}`);
    this.#shortlist.splice(at, 0, candidate);
    this.#firsts.splice(at, 0, firstWord(candidate.id, this.#options.target));
    this.#addresses.splice(at, 0, candidate.endpoint.a);
  }

  #remove(at: number): Placed {
    this.#firsts.splice(at, 1);
    this.#addresses.splice(at, 1);
    return this.#shortlist.splice(at, 1)[0];
  }

  #step(now: Millis): void {
    while (!this.#ended) {
      const next = this.#next();
      if (next === undefined || this.#inFlight >= this.#slots) break;
      this.#asked.push(next);
      this.#options.onStep?.("asked", next);
      this.#ask(next, now);
    }
    if (this.#ended || !this.#isComplete()) return;
    const closest = this.#shortlist.find(({ state }) => state !== "failed");
    const isTriedAgain = closest?.state === "overdue" && this.#again === undefined &&
      this.#options.lateShare <= RETRY_CLOSEST_SHARE;
    if (isTriedAgain) this.#ask(this.#again = closest, now);
    else this.#end(now, undefined);
  }

  /**
   * The number of queries that may be in flight: alpha, or k once the alpha closest nodes (except late ones) have
   * answered. Few closer nodes are found after that, so the lookup then asks "all of the k closest it has not already
   * queried" at once (Kademlia, section 2.3).
   */
  get #slots(): number {
    const { alpha, k } = this.#options;
    if (this.#isDense) return this.#withSpare(Math.max(alpha, k));
    let answered = 0;
    for (const { state } of this.#shortlist) {
      if (state === "heard") return this.#withSpare(alpha);
      if (state === "responded" && ++answered >= alpha) return this.#withSpare(Math.max(alpha, k));
    }
    return this.#withSpare(alpha);
  }

  /**
   * Whether the shortlist has most of the nodes that are probably the k closest, and the lookup should ask them all
   * soon.
   */
  get #isDense(): boolean {
    const { asksAllSoon, k } = this.#options;
    if (asksAllSoon !== true) return false;
    const count = Math.ceil(DENSE_SHARE * k);
    return this.#firsts.length >= count && this.#firsts[count - 1] <= this.#denseEdge;
  }

  #withSpare(count: number): number {
    const share = Math.min(MAX_LATE_SHARE, this.#options.lateShare);
    return count + Math.round(count * share / (1 - share));
  }

  /**
   * The estimated time in ms to reach the target through a candidate: its round trip plus the time
   * for the remaining hops.
   */
  #cost({ id, expected, hop }: Placed, bits: number): number {
    const missing = Math.max(0, bits - sharedPrefix(id, this.#options.target));
    const isUnknown = Number.isNaN(expected) || (this.#isMisled && hop > 1);
    const rtt = isUnknown ? UNKNOWN_RTT_MS : expected;
    return rtt + missing / BITS_PER_HOP * this.#hopMs;
  }

  get #isSpent(): boolean {
    return this.#asked.length >= this.#options.k + SPARE_QUERIES;
  }

  /**
   * The candidate to ask next: bootstrap nodes first, then the best of those that may be among the k closest or, if the
   * target is crowded, within the edge of the region.
   */
  #next(): Candidate | undefined {
    if (this.#isSpent) return undefined;
    const anonymous = this.#anonymous.find((c) => c.state === "heard");
    if (anonymous !== undefined) return anonymous;
    const { hurryToBits, alpha, k } = this.#options;
    const wanted = this.#slots > this.#withSpare(alpha) ? this.#withSpare(k) : k;
    const isById = hurryToBits === undefined || this.#isDense ||
      this.#asked.length % BY_ID_INTERVAL === BY_ID_INTERVAL - 1;
    const list = this.#shortlist, firsts = this.#firsts;
    let alive = 0, inCore = this.#refused.size, best: Placed | undefined, bestCost = Infinity;
    for (let i = 0; i < list.length; i++) {
      if (alive >= wanted && (inCore < k || firsts[i] > this.#edge)) break;
      const candidate = list[i], { state } = candidate;
      if (state === "heard") {
        if (isById) return candidate;
        const cost = this.#cost(candidate, hurryToBits);
        if (cost < bestCost) best = candidate, bestCost = cost;
      }
      // Late candidates may be dead, so don't count them as alive: farther ones must be asked as well.
      if (state !== "heard" && state !== "waiting" && state !== "responded") continue;
      alive++;
      if (firsts[i] < this.#core) inCore++;
    }
    return best ?? (this.#isSparse ? this.#shortlist.find(isUnaskedContact) : undefined);
  }

  /** Whether the k closest nodes that may be alive have all answered, and are sparse (see `SPARSE_FACTOR`). */
  get #isSparse(): boolean {
    const { k, networkSize, target } = this.#options;
    if (networkSize === null) return false;
    let responded = 0;
    for (const { state, id } of this.#shortlist) {
      if (state === "heard" || state === "waiting") return false;
      if (state !== "responded" || ++responded < k) continue;
      return networkSize * distanceShare(id, target) > SPARSE_FACTOR * k;
    }
    return false;
  }

  /** Whether the k closest nodes that may be alive have answered, and the lookup need not wait for other answers. */
  #isComplete(): boolean {
    if (this.#anonymous.some((c) => ["waiting", "held", "late"].includes(c.state))) {
      if (this.#shortlist.length === 0 || this.#inFlight > 0) return false;
    }
    const { k, hurryToBits, asksAllSoon } = this.#options;
    const list = this.#shortlist, firsts = this.#firsts;
    let responded = 0, overdue = 0, held = 0, inCore = this.#refused.size, fastest = Infinity;
    for (let i = 0; i < list.length; i++) {
      if (responded >= k && (inCore < k || firsts[i] > this.#edge)) break;
      const { state, rtt } = list[i];
      if (state === "responded") {
        responded++;
        inCore += firsts[i] < this.#core ? 1 : 0;
        fastest = Math.min(fastest, rtt);
      } else if (state === "overdue") overdue++;
      else if (state === "held") {
        // A rate limit delays our query to this node. It may be the only node that has what a
        // hurried lookup needs, so wait for the answer.
        if (hurryToBits !== undefined && !asksAllSoon) return false;
        overdue++;
        held++;
      } else if (state === "waiting" || state === "late") return false;
      else if (state === "heard" && !this.#isSpent) return false;
    }
    if (responded >= k) return !this.#isSparse || !this.#hasOpenContacts;
    if (overdue > 0 && fastest > SLOW_MS) return false;
    // In a small network, every node matters, so wait for the queries that a rate limit delays.
    if (held > 0 && responded < k / 2) return false;
    // If nearly all queries are overdue, our connection or machine is probably slow: the nodes can't all be dead.
    return overdue <= MAX_OVERDUE_PER_ANSWER * responded;
  }

  /** Whether a node that was known at the start has not been asked yet, or may still answer. */
  get #hasOpenContacts(): boolean {
    return this.#shortlist.some((candidate) =>
      (candidate.hop === 1 && candidate.state === "waiting") ||
      (isUnaskedContact(candidate) && !this.#isSpent)
    );
  }

  #ask(candidate: Candidate, now: Millis): void {
    const again = this.#again;
    candidate.state = "waiting";
    candidate.sentAt = now;
    this.#inFlight++;
    this.#options.ask(candidate, now, {
      onHeld: (at) => this.#overtake(candidate, "held", at),
      onLate: (at) => this.#overtake(candidate, "late", at),
      onOverdue: (at) => this.#overtake(candidate, "overdue", at),
      done: (outcome, at) => {
        // Ignore the timeout of the first query if the candidate has been asked again.
        const isFormer = candidate === this.#again && candidate !== again;
        if (outcome.kind !== "timeout" || !isFormer) this.#settle(candidate, outcome, at);
      },
    });
  }

  /** Stops waiting for a candidate's answer. The candidate gets the state `state`. */
  #overtake(candidate: Candidate, state: "held" | "late" | "overdue", now: Millis): void {
    const former = candidate.state;
    if (this.#ended || (former !== "waiting" && former !== "late")) return;
    candidate.state = state;
    if (former === "waiting") this.#inFlight--;
    if (former === "waiting" || state === "late") this.#options.onStep?.("late", candidate);
    if (former !== state) this.#step(now);
  }

  #settle(candidate: Candidate, outcome: QueryOutcome, now: Millis): void {
    if (this.#ended) return;
    if (candidate.state === "waiting") this.#inFlight--;
    candidate.rtt = outcome.kind === "timeout" ? NaN : outcome.rtt;
    if (candidate.hop > 1 && isContradicted(candidate.expected, candidate.rtt)) {
      this.#isMisled = true;
    }
    const ended = outcome.kind === "response"
      ? this.#respond(candidate, outcome.message, now)
      : this.#fail(candidate);
    if (ended) this.#end(now, candidate);
    else this.#step(now);
  }

  /** Handles an answer. Returns true if it ends the lookup. */
  #respond(candidate: Candidate, message: Message, now: Millis): boolean {
    const { id } = message;
    if (id === undefined) return this.#fail(candidate);
    const isOther = candidate.id === undefined || !candidate.id.equals(id);
    if (isOther && candidate.id !== undefined && !isBound(id, candidate.endpoint)) {
      return this.#fail(candidate);
    }
    candidate.state = "responded";
    candidate.token = message.token?.slice();
    candidate.client = message.client;
    if (isOther) this.#place(candidate, id);
    const { onResponse, onStep } = this.#options;
    onStep?.("responded", candidate);
    const ended = onResponse?.(message, candidate, now) ?? false;
    this.#readNodes(message, candidate, now);
    this.#options.onRead?.(now);
    if (!ended && this.#options.onNear !== undefined) this.#reportNear(candidate as Placed, now);
    return ended;
  }

  #reportNear(candidate: Placed, now: Millis): void {
    if (!this.#isDense) return;
    let closer = 0;
    for (const other of this.#shortlist) {
      if (other === candidate) break;
      if (other.state !== "failed") closer++;
    }
    if (closer < this.#options.k) this.#options.onNear!(candidate, now);
  }

  /** Adds the nodes that an answer names to the shortlist. */
  #readNodes(message: Message, { endpoint: from, hop }: Candidate, now: Millis): void {
    const { family, coordinate, own, onHeard, onOwnId } = this.#options;
    const nodes = family === 4 ? message.nodes : message.nodes6;
    if (nodes === undefined) return;
    readCompactNodes(nodes, family, (id, endpoint, index) => {
      if (index >= MAX_REPLY_NODES || !mayRefer(from, endpoint)) return;
      const expected = expectedRttAt(coordinate, message.nodeCoordinates, index);
      if (id.equals(own)) return onOwnId?.(endpoint, now);
      const at = this.#roomFor(id, endpoint);
      if (at >= 0) this.#add(at, newCandidate({ id, endpoint, hop: hop + 1, expected }) as Placed);
      if (!Number.isNaN(expected)) onHeard?.(id, endpoint, { expected, now });
    });
  }

  #fail(candidate: Candidate): false {
    candidate.state = "failed";
    this.#options.onStep?.("failed", candidate);
    return false;
  }

  /** Puts a candidate that answered into the shortlist. Removes an unasked entry with the same id or endpoint. */
  #place(candidate: Candidate, id: Id): void {
    const list = this.#shortlist;
    if (candidate.id === undefined) this.#anonymous.splice(this.#anonymous.indexOf(candidate), 1);
    else {
      const before = list.indexOf(candidate as Placed);
      if (before >= 0) this.#remove(before);
    }
    candidate.id = id;
    const same = list.findIndex((c) => c.id.equals(id) || c.endpoint.equals(candidate.endpoint));
    if (id.equals(this.#options.own) || (same >= 0 && list[same].state !== "heard")) return;
    if (same >= 0) this.#remove(same);
    const at = list.findIndex((c) => compareDistance(id, c.id, this.#options.target) < 0);
    this.#insert(at < 0 ? list.length : at, candidate as Placed);
  }

  #end(now: Millis, last: Candidate | undefined): void {
    this.#ended = true;
    const { target, method, family, k, now: startedAt, onEnd } = this.#options;
    const closest = this.#shortlist.filter((c) => c.state === "responded");
    const nodesInCore = this.#refused.size +
      closest.filter(({ id }) => firstWord(id, target) < this.#core).length;
    onEnd({
      target,
      method,
      family,
      closest,
      heard: this.#shortlist.filter((c) => c.state === "heard"),
      nodesInCore,
      isCrowded: nodesInCore >= k,
      isWhole: last === undefined,
      isSparse: last === undefined && this.#isSparse,
      asked: this.#asked,
      hops: (last ?? closest[0])?.hop ?? 0,
      startedAt,
      elapsed: now - startedAt,
    }, now);
  }
}

function isUnaskedContact({ state, hop }: Candidate): boolean {
  return state === "heard" && hop === 1;
}

/** The mean round trip to known nodes, but at least `HOP_MIN_MS` and at most `HOP_MAX_MS`. */
function hopCost(known: readonly Placed[]): number {
  let sum = 0, count = 0;
  for (const { expected } of known) if (!Number.isNaN(expected)) sum += expected, count++;
  return count === 0 ? HOP_MAX_MS : Math.min(HOP_MAX_MS, Math.max(HOP_MIN_MS, sum / count));
}

/**
 * Whether an id is bound to its node's address (BEP 42). The node can't have chosen such an id
 * freely.
 */
function isBound(id: Id, endpoint: Endpoint): boolean {
  return isCounted(endpoint) && isSecureId(id, endpoint);
}

/** The first 32 bits of a distance, with the sign bit inverted so that signed comparisons order distances correctly. */
function firstWord(id: Id, target: Id): number {
  return id.a ^ target.a ^ SIGN;
}

/** Converts a distance, given as a share of the id space, to its first 32 bits with the sign bit inverted. */
function wordAt(share: number): number {
  return Math.min(2 ** 32 - 1, Math.floor(share * 2 ** 32)) ^ SIGN;
}

function newCandidate(
  { id, endpoint, hop, expected }: Pick<Candidate, "id" | "endpoint" | "hop" | "expected">,
): Candidate {
  const unasked = { state: "heard", sentAt: NaN, rtt: NaN, token: undefined, client: 0 } as const;
  return { id, endpoint, hop, expected, ...unasked };
}
