// One iterative lookup (Kademlia, section 2.3): asks ever closer nodes until the k closest have answered.

import type { Endpoint, Family } from "../krpc/endpoint.ts";
import { mayRefer } from "../krpc/endpoint.ts";
import { compareDistance, type Id, sharedPrefix } from "../krpc/id.ts";
import { type Message, readCompactNodes } from "../krpc/message.ts";
import type { Contact } from "./contact.ts";
import { type Coordinate, expectedRttAt, expectedRttTo } from "./coordinate.ts";
import type { Millis } from "./deadlines.ts";
import { isCounted, isSameSubnet, SHORTLIST_FACTOR } from "./diversity.ts";
import { isSecureId } from "./secure_id.ts";
import type { Techniques } from "./techniques.ts";

/** Lookups that find nodes, and what else their answers carry. */
export type LookupMethod = "find_node" | "get_peers" | "get";

/**
 * heard: not asked yet; waiting: asked; late: asked, and takes so long that it holds up nobody; overdue: so long that
 * the lookup can end without it. An answer counts until then.
 */
export type CandidateState = "heard" | "waiting" | "late" | "overdue" | "responded" | "failed";

/** What a lookup tells of its queries as it runs; late: it waits for the answer no longer, and still counts it. */
export type StepState = "asked" | "responded" | "late" | "failed";

/** A node on the shortlist. */
export interface Candidate {
  /** Undefined for a bootstrap node that has not answered yet. */
  id: Id | undefined;
  readonly endpoint: Endpoint;
  /** 1 where it was known at the start, one more than its teller's otherwise. */
  readonly hop: number;
  state: CandidateState;
  sentAt: Millis;
  /** NaN until it answered. */
  rtt: number;
  /** The round-trip time that was measured before, or that its coordinate lets expect; NaN where nothing is known. */
  readonly expected: number;
  /** Its write token, where it gave one; the lookup's own copy. */
  token: Uint8Array | undefined;
}

/** A candidate whose id is known. */
export type Placed = Candidate & { id: Id };

/** How one query ended. */
export type QueryOutcome =
  | { readonly kind: "response"; readonly message: Message; readonly rtt: number }
  | { readonly kind: "error"; readonly code: number; readonly text: string; readonly rtt: number }
  | { readonly kind: "timeout" };

/** A node that is known before the lookup. */
export type KnownNode = Pick<
  Contact,
  "id" | "endpoint" | "expectedMs" | "coordinateXy" | "coordinateZHeight"
>;

/** Hears how a query fares. */
export interface QueryWatcher {
  /** It takes so long that it was sent again. */
  onLate(now: Millis): void;
  /** It takes so long that hardly any answer will come. */
  onOverdue(now: Millis): void;
  /** Its end, in any case. */
  done(outcome: QueryOutcome, now: Millis): void;
}

export interface LookupOptions {
  readonly target: Id;
  readonly method: LookupMethod;
  readonly family: Family;
  /** How many of the closest must have answered. */
  readonly k: number;
  /** Queries in flight, late ones not counted. */
  readonly alpha: number;
  /**
   * The share of queries that is likely to be late. So many more are in flight, and so many more than the k closest
   * are asked in the end: to wait for each before its stand-in is asked would take round after round.
   */
  readonly lateShare: number;
  /** Nodes to begin with. */
  readonly seeds: readonly KnownNode[];
  /** Endpoints to begin with whose ids are not known. */
  readonly bootstrap: readonly Endpoint[];
  readonly now: Millis;
  /** Candidates of one /24 or /64, by halves; 0: any number. */
  readonly perSubnet: number;
  /** Never asked and never listed. */
  readonly own: Id;
  readonly techniques: Pick<Techniques, "burst">;
  /** Our own network coordinate. */
  readonly coordinate: Coordinate;
  /** Sends the lookup's query to a candidate. */
  readonly ask: (candidate: Candidate, now: Millis, watcher: QueryWatcher) => void;
  /**
   * Where it is given, the candidate of the least cost among the k closest is asked next, not the closest: one that
   * is near, or has fewer of so many leading bits to go. The end is the same: the k closest have answered.
   */
  readonly hurryToBits?: number;
  /** Hears of each node that an answer tells of, with the round-trip time that its coordinate lets expect. */
  readonly onHeard?: (id: Id, endpoint: Endpoint, expected: number, now: Millis) => void;
  /** Sees each response; true ends the lookup with what there is. */
  readonly onResponse?: (message: Message, candidate: Candidate, now: Millis) => boolean;
  /** Hears of each query how it fares. */
  readonly onStep?: (state: StepState, candidate: Candidate) => void;
  readonly onEnd: (result: LookupResult, now: Millis) => void;
}

export interface LookupResult {
  readonly target: Id;
  readonly method: LookupMethod;
  readonly family: Family;
  /** Those that answered, nearest first: at least the k closest where so many are alive. */
  readonly closest: readonly Placed[];
  /** The closest of which it heard and that were not asked, nearest first. */
  readonly heard: readonly Placed[];
  /** Every candidate that was asked, in the order of asking. */
  readonly asked: readonly Candidate[];
  /** The hop at which the closest answering node was learned, or of the answer that ended the lookup. */
  readonly hops: number;
  readonly startedAt: Millis;
  readonly elapsed: number;
}

/** Candidates kept beyond the k closest, to fall back on when close ones fail. */
const SPARE_CANDIDATES = 60;

/**
 * Queries of one lookup beyond k, at most: several times what the largest network needs with half of it dead. One
 * host has 65,535 endpoints to invent ever closer nodes at; this ends it.
 */
const SPARE_QUERIES = 500;

/** A lookup ends without those that are overdue where they are no more than so many for each that has answered. */
const MOST_OVERDUE = 2;

/**
 * While no more than this share of queries is late, the closest node of all is asked once more before a lookup ends
 * without it: both of its answers being lost is then what keeps most lookups from the node that they seek.
 */
const FEW_LATE = 0.1;

/** A round trip of which nothing is known: the mean between two places on Earth. */
const UNKNOWN_RTT_MS = 150;

/** How many bits of the way a hop makes: log2(k) of k random contacts' best. */
const BITS_PER_HOP = 4.3;

/** Bounds of what one more hop is held to cost: the mean round trip to those that we know, on a slow line of ours too. */
const HOP_MIN_MS = 5, HOP_MAX_MS = 600;

/** No more is made of late queries than if half of all were. */
const MOST_LATE = 0.5;

const SIGN = 0x80000000 | 0;

export class Lookup {
  readonly #options: LookupOptions;
  /** Sorted by distance. */
  readonly #shortlist: Placed[] = [];
  /** Of the shortlist: first words of the distances, and of the addresses. */
  readonly #firsts: number[] = [];
  readonly #addresses: number[] = [];
  /** Bootstrap nodes: asked first, placed once they have told their id. */
  readonly #anonymous: Candidate[] = [];
  readonly #asked: Candidate[] = [];
  readonly #hopMs: number;
  #inFlight = 0;
  /** The closest, which was asked once more. */
  #again: Candidate | undefined;
  #ended = false;

  constructor(options: LookupOptions) {
    this.#options = options;
    for (const contact of options.seeds) {
      const { id, endpoint, expectedMs, coordinateXy, coordinateZHeight } = contact;
      const expected = Number.isNaN(expectedMs)
        ? expectedRttTo(options.coordinate, coordinateXy, coordinateZHeight)
        : expectedMs;
      this.#hear(id, endpoint, 1, expected);
    }
    this.#hopMs = hopCost(this.#shortlist);
    for (const endpoint of options.bootstrap) {
      this.#anonymous.push(newCandidate(undefined, endpoint, 1, NaN));
    }
  }

  /** Sends the first queries. A lookup that knows nobody ends at once. */
  start(): void {
    this.#step(this.#options.now);
  }

  /** Ends it early, with what there is. */
  stop(now: Millis): void {
    if (!this.#ended) this.#end(now, undefined);
  }

  #hear(id: Id, endpoint: Endpoint, hop: number, expected: number): void {
    const list = this.#shortlist, firsts = this.#firsts;
    const { target, own, k } = this.#options;
    if (id.equals(own)) return;
    // The first words of two distances nearly always decide, without a look at the candidate.
    const first = firstWord(id, target);
    let at = list.length;
    while (at > 0 && firsts[at - 1] >= first) {
      if (firsts[at - 1] === first) {
        const order = compareDistance(list[at - 1].id, id, target);
        if (order === 0) return;
        if (order < 0) break;
      }
      at--;
    }
    if (at >= k + SPARE_CANDIDATES) return;
    // One endpoint counts once: an address can't fill the shortlist with invented ids.
    const addresses = this.#addresses;
    const { perSubnet } = this.#options;
    let kin = 0, farthest = -1;
    for (let i = 0; i < addresses.length; i++) {
      if ((addresses[i] ^ endpoint.a) >>> 8 !== 0) continue;
      const other = list[i];
      if (other.endpoint.equals(endpoint)) return;
      if (perSubnet === 0 || !isCounted(endpoint) || !isSameSubnet(other.endpoint, endpoint)) {
        continue;
      }
      // Whoever is looked for is let in beside others of its address.
      if (other.endpoint.sameAddress(endpoint) && !id.equals(target)) return;
      kin++;
      if (other.state === "heard") farthest = i;
    }
    if (perSubnet > 0 && kin >= SHORTLIST_FACTOR * perSubnet) {
      if (farthest < at) return;
      this.#remove(farthest);
    }
    this.#insert(at, newCandidate(id, endpoint, hop, expected) as Placed);
    if (list.length <= k + SPARE_CANDIDATES) return;
    const dropped = this.#remove(list.length - 1);
    if (dropped.state === "waiting") {
      dropped.state = "late";
      this.#inFlight--;
    }
  }

  #insert(at: number, candidate: Placed): void {
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
      this.#query(next, now);
    }
    if (this.#ended || !this.#isComplete()) return;
    const closest = this.#shortlist.find(({ state }) => state !== "failed");
    const isTriedAgain = closest?.state === "overdue" && this.#again === undefined &&
      this.#options.lateShare <= FEW_LATE;
    if (isTriedAgain) this.#ask(this.#again = closest, now);
    else this.#end(now, undefined);
  }

  /**
   * Alpha, and k once the alpha closest have answered, but those that are still waited for: then hardly anybody closer
   * will turn up, and "all of the k closest it has not already queried" are asked at once (Kademlia, section 2.3).
   */
  get #slots(): number {
    const { alpha, k, techniques: { burst } } = this.#options;
    if (!burst) return this.#withSpare(alpha);
    let answered = 0;
    for (const { state } of this.#shortlist) {
      if (state === "heard") return this.#withSpare(alpha);
      if (state === "responded" && ++answered >= alpha) return this.#withSpare(Math.max(alpha, k));
    }
    return this.#withSpare(alpha);
  }

  #withSpare(count: number): number {
    const share = Math.min(MOST_LATE, this.#options.lateShare);
    return count + Math.round(count * share / (1 - share));
  }

  /** Milliseconds until a candidate leads to the value: its own round trip, and those of the hops left after it. */
  #cost({ id, expected }: Placed, bits: number): number {
    const missing = Math.max(0, bits - sharedPrefix(id, this.#options.target));
    const rtt = Number.isNaN(expected) ? UNKNOWN_RTT_MS : expected;
    return rtt + missing / BITS_PER_HOP * this.#hopMs;
  }

  get #isSpent(): boolean {
    return this.#asked.length >= this.#options.k + SPARE_QUERIES;
  }

  /** The candidate to ask next: bootstrap nodes first, then the closest among those that can still matter. */
  #next(): Candidate | undefined {
    if (this.#isSpent) return undefined;
    const anonymous = this.#anonymous.find((c) => c.state === "heard");
    if (anonymous !== undefined) return anonymous;
    const { hurryToBits } = this.#options;
    const { alpha, k } = this.#options;
    const wanted = this.#slots > this.#withSpare(alpha) ? this.#withSpare(k) : k;
    let alive = 0, best: Placed | undefined, bestCost = Infinity;
    for (const candidate of this.#shortlist) {
      const { state } = candidate;
      if (state === "heard") {
        if (hurryToBits === undefined) return candidate;
        const cost = this.#cost(candidate, hurryToBits);
        if (cost < bestCost) best = candidate, bestCost = cost;
      }
      // A late one may be dead: who comes after it must be tried as well.
      if (state === "heard" || state === "waiting" || state === "responded") alive++;
      if (alive >= wanted) break;
    }
    return best;
  }

  /** True once the k closest that are not known to be dead have answered, and nobody is waited for. */
  #isComplete(): boolean {
    if (this.#anonymous.some((c) => c.state === "waiting" || c.state === "late")) {
      if (this.#shortlist.length === 0 || this.#inFlight > 0) return false;
    }
    let responded = 0, overdue = 0;
    for (const { state } of this.#shortlist) {
      if (state === "responded") responded++;
      else if (state === "overdue") overdue++;
      else if (state === "waiting" || state === "late") return false;
      else if (state === "heard" && !this.#isSpent) return false;
      if (responded >= this.#options.k) return true;
    }
    // Where nearly all take too long it is the way to them, or a machine that has no time: they are not all dead.
    return overdue <= MOST_OVERDUE * responded;
  }

  #query(candidate: Candidate, now: Millis): void {
    this.#asked.push(candidate);
    this.#options.onStep?.("asked", candidate);
    this.#ask(candidate, now);
  }

  #ask(candidate: Candidate, now: Millis): void {
    const again = this.#again;
    candidate.state = "waiting";
    candidate.sentAt = now;
    this.#inFlight++;
    this.#options.ask(candidate, now, {
      onLate: (at) => this.#overtake(candidate, "late", at),
      onOverdue: (at) => this.#overtake(candidate, "overdue", at),
      done: (outcome, at) => {
        // Who was asked once more has not failed before that query has.
        const isFormer = candidate === this.#again && candidate !== again;
        if (outcome.kind !== "timeout" || !isFormer) this.#settle(candidate, outcome, at);
      },
    });
  }

  #overtake(candidate: Candidate, state: "late" | "overdue", now: Millis): void {
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
    const ended = outcome.kind === "response"
      ? this.#respond(candidate, outcome.message, outcome.rtt, now)
      : this.#fail(candidate, outcome.kind === "error" ? outcome.rtt : NaN);
    if (ended) this.#end(now, candidate);
    else this.#step(now);
  }

  #respond(candidate: Candidate, message: Message, rtt: number, now: Millis): boolean {
    const { id } = message;
    if (id === undefined) return this.#fail(candidate, rtt);
    const isOther = candidate.id === undefined || !candidate.id.equals(id);
    if (isOther && candidate.id !== undefined && !isBound(id, candidate.endpoint)) {
      return this.#fail(candidate, rtt);
    }
    candidate.rtt = rtt;
    candidate.state = "responded";
    candidate.token = message.token?.slice();
    if (isOther) this.#place(candidate, id);
    this.#options.onStep?.("responded", candidate);
    const { onResponse, onHeard, family, coordinate } = this.#options;
    const ended = onResponse?.(message, candidate, now) ?? false;
    const nodes = family === 4 ? message.nodes : message.nodes6;
    if (nodes !== undefined) {
      readCompactNodes(nodes, family, (id, endpoint, index) => {
        if (!mayRefer(candidate.endpoint, endpoint)) return;
        const expected = expectedRttAt(coordinate, message.nodeCoordinates, index);
        this.#hear(id, endpoint, candidate.hop + 1, expected);
        if (!Number.isNaN(expected)) onHeard?.(id, endpoint, expected, now);
      });
    }
    return ended;
  }

  #fail(candidate: Candidate, rtt: number): false {
    candidate.state = "failed";
    candidate.rtt = rtt;
    this.#options.onStep?.("failed", candidate);
    return false;
  }

  /**
   * Puts a bootstrap node that has told its id, or a node that has another one by now, onto the shortlist, in place of
   * an entry that was not asked yet.
   */
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
    const { target, method, family, now: startedAt, onEnd } = this.#options;
    const closest = this.#shortlist.filter((c) => c.state === "responded");
    onEnd({
      target,
      method,
      family,
      closest,
      heard: this.#shortlist.filter((c) => c.state === "heard"),
      asked: this.#asked,
      hops: (last ?? closest[0])?.hop ?? 0,
      startedAt,
      elapsed: now - startedAt,
    }, now);
  }
}

function hopCost(known: readonly Placed[]): number {
  let sum = 0, count = 0;
  for (const { expected } of known) if (!Number.isNaN(expected)) sum += expected, count++;
  return count === 0 ? HOP_MAX_MS : Math.min(HOP_MAX_MS, Math.max(HOP_MIN_MS, sum / count));
}

/** Whether a node can't have chosen this id: nodes move to such a one once they know their address (BEP 42). */
function isBound(id: Id, endpoint: Endpoint): boolean {
  return isCounted(endpoint) && isSecureId(id, endpoint);
}

/** The first word of a distance with the sign bit inverted: in the order of size. */
function firstWord(id: Id, target: Id): number {
  return id.a ^ target.a ^ SIGN;
}

function newCandidate(
  id: Id | undefined,
  endpoint: Endpoint,
  hop: number,
  expected: number,
): Candidate {
  return {
    id,
    endpoint,
    hop,
    state: "heard",
    sentAt: NaN,
    rtt: NaN,
    expected,
    token: undefined,
  };
}
