// Finds a path to a node: directly, through a hole in its NAT, or through a relay that exchanges packets with both
// nodes.

import { type Endpoint, mayRefer } from "../../krpc/endpoint.ts";
import { type Id, word } from "../../krpc/id.ts";
import type { Message, QueryArguments } from "../../krpc/message.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import { isSecureId } from "../routing/secure_id.ts";
import { type Query, type QueryOutcome, whenDone } from "../search/query.ts";
import type { Searches } from "../search/searches.ts";
import type { PeerStore } from "../serving/peer_store.ts";
import type { Bursts } from "./burst.ts";
import type { Helper } from "./helpers.ts";
import type { Nats } from "./nat.ts";
import { NAT_CODE } from "./nat_state.ts";
import type { Relay, Via } from "./relay.ts";

/**
 * How we reached a node. direct: at its endpoint. punched: at its endpoint, after it opened its NAT
 * for us. relayed: through another node.
 */
export type Way = "direct" | "punched" | "relayed";

/** The result of trying to reach a node. */
export type ReachResult =
  | {
    readonly kind: "reached";
    readonly endpoint: Endpoint;
    readonly rtt: number;
    readonly way: Way;
  }
  /** None of the nodes that we asked knows an endpoint of the target. */
  | { readonly kind: "unknown" }
  | { readonly kind: "timeout"; readonly endpoint: Endpoint };

type ReachListener = (result: ReachResult, now: Millis) => void;

/**
 * When to ping the target, in ms after it has answered an introduction. The target answers after opening its NAT for
 * us.
 */
const PINGS_MS = [0, 60, 200, 500, 1_000];

/** An introduction without an answer is repeated after this time, through another introducer if there is one. */
const REINTRODUCE_MS = 700;

const MAX_INTRODUCTIONS = 3;

/**
 * If the target's NAT has not opened for us this long after the target answered an introduction, we fall back to a
 * relay.
 */
const PUNCH_MS = 2_000;

/** How long to ping if both NATs are symmetric. The time is short because a hole is then unlikely to open. */
const SYMMETRIC_PUNCH_MS = 400;

/** The timeout of a burst. Trying all ports takes 1.4 seconds, or twice that if one of the machines is busy. */
const BURST_MS = 3_200;

/** The timeout of an introduction through a witness. `Relay` waits equally long for an answer. */
const WITNESS_MS = 2_000;

/**
 * Caps on the endpoints that one attempt pings: in total, and per node that names them. Strangers
 * may name false endpoints.
 */
const MAX_ENDPOINTS = 4, ENDPOINTS_EACH = 2;

/** Cap on the additional endpoints that we ping because packets from the target came from there. */
const MAX_SOURCES = 4;

/** When to repeat the ping to an endpoint from which the target sent a packet, in ms after the packet. */
const SOURCE_PINGS_MS = [150, 400];

/** A path to a node that worked less than this long ago is assumed to be still open. */
const WAY_MS = 25_000;

const MAX_WAYS = 64;

interface KnownWay {
  readonly way: Way;
  readonly endpoint: Endpoint;
  readonly via: Via | undefined;
  readonly at: Millis;
}

interface ReachingParts {
  readonly nats: Nats;
  readonly searches: Searches;
  /**
   * The announcements (BEP 5) stored here. Nodes that strangers can't reach announce themselves under their own ids.
   */
  readonly peers: PeerStore;
  readonly relay: Relay;
  readonly bursts: Bursts;
  readonly deadlines: Deadlines;
}

export class Reaching {
  readonly #parts: ReachingParts;
  readonly #attempts = new Map<string, Attempt>();
  readonly #ways = new BoundedMap<string, KnownWay>(MAX_WAYS);

  constructor(parts: ReachingParts) {
    this.#parts = parts;
    parts.bursts.onClosed = (other) => this.#ways.delete(other.toString());
  }

  /**
   * Records an incoming query. If we are trying to reach its sender, the sender's NAT is now open, perhaps at a new
   * port.
   */
  noteQuery({ id }: Message, from: Endpoint, now: Millis): void {
    if (id === undefined || this.#attempts.size === 0) return;
    this.#attempts.get(id.toString())?.noteSource(from, now);
  }

  /**
   * Handles a reply that matches no pending query: it may answer one of the many pings of a burst. Returns whether it
   * does.
   */
  noteReply({ id, packet, tidStart, tidEnd }: Message, from: Endpoint, now: Millis): boolean {
    if (id === undefined || tidEnd - tidStart !== 4) return false;
    if (!this.#parts.bursts.isAnswer(word(packet, tidStart), from)) return false;
    const attempt = this.#attempts.get(id.toString());
    attempt?.noteSource(from, now);
    return attempt !== undefined;
  }

  /** Finds a path to a node, even to one behind a NAT, and pings the node. */
  reach(target: Id, now: Millis, done: ReachListener): void {
    const name = target.toString();
    const running = this.#attempts.get(name);
    if (running !== undefined) return void running.listeners.push(done);
    const attempt = new Attempt(target, this.#parts, (result, via, at) => {
      this.#attempts.delete(name);
      if (result.kind !== "reached") this.#ways.delete(name);
      else this.#ways.set(name, { way: result.way, endpoint: result.endpoint, via, at });
      for (const listener of attempt.listeners) listener(result, at);
    });
    attempt.listeners.push(done);
    this.#attempts.set(name, attempt);
    const way = this.#ways.get(name);
    attempt.start(way !== undefined && now - way.at < WAY_MS ? way : undefined, now);
  }

  /**
   * Sends a query to a node that may be behind a NAT. `done` is called with the answer, or with undefined if there is
   * none.
   */
  ask(
    { target, method, args }: { target: Id; method: "ping" | "get"; args: QueryArguments },
    now: Millis,
    done: (answer: Message | undefined, now: Millis) => void,
  ): void {
    const { relay, searches: { queries } } = this.#parts;
    this.reach(target, now, (result, at) => {
      if (result.kind !== "reached") return done(undefined, at);
      const via = this.#ways.get(target.toString())?.via;
      if (via !== undefined) return relay.send({ via, target, method, args }, at, done);
      const query = { method, to: result.endpoint, args, expected: target };
      const watcher = whenDone((outcome, end) => {
        done(outcome.kind === "response" ? outcome.message : undefined, end);
      });
      queries.send(query, at, watcher);
    });
  }
}

/** An attempt to find a path to one node. */
class Attempt {
  readonly listeners: ReachListener[] = [];
  /**
   * searching: a lookup for nodes that know the target is running. waiting: the lookup has ended, but pending queries
   * or timers may still lead to success.
   */
  #state: "searching" | "waiting" | "over" = "searching";
  /** Endpoints of the target that we knew before or that other nodes named. */
  readonly #endpoints: Endpoint[] = [];
  /** The endpoints from which the target has sent us packets. */
  readonly #sources: Endpoint[] = [];
  /**
   * Named endpoints that don't match the target's id (BEP 42), with the nodes that named them. Any node could have
   * invented such endpoints.
   */
  readonly #unbound: { readonly by: Helper | undefined; readonly endpoint: Endpoint }[] = [];
  readonly #introducers: Via[] = [];
  #introductions = 0;
  /** The introducer through which the target has answered. */
  #answered: Via | undefined;
  readonly #timers = new Set<Deadline>();
  /** The timer that ends the wait for a hole in the target's NAT. When it fires, we try a relay. */
  #relayTimer: Deadline | undefined;
  /** The number of pending queries. */
  #open = 0;

  constructor(
    readonly target: Id,
    readonly parts: ReachingParts,
    readonly onEnd: (result: ReachResult, via: Via | undefined, now: Millis) => void,
  ) {}

  /**
   * First tries the path that worked last time or, if none is known, the target's endpoint in our tables. If that fails
   * or no endpoint is known, searches for nodes that know the target.
   */
  start(known: KnownWay | undefined, now: Millis): void {
    const { target } = this;
    if (known?.via !== undefined) {
      this.#endpoints.push(known.endpoint);
      return this.#pingThrough([known.via], now, (at) => this.#search(at));
    }
    const to = known?.endpoint ?? this.parts.searches.tables.find(target)?.endpoint;
    if (to === undefined) return this.#search(now);
    this.#query({ method: "ping", to, args: {}, expected: target }, now, (outcome, at) => {
      if (this.#isPong(outcome, { way: known?.way ?? "direct", endpoint: to }, at)) return;
      this.#endpoints.push(to);
      this.#search(at);
    });
  }

  /** Records an endpoint from which the target has sent a packet, and pings that endpoint. */
  noteSource(from: Endpoint, now: Millis): void {
    const sources = this.#sources;
    if (!this.#endpoints.some((endpoint) => endpoint.sameAddress(from))) return;
    if (sources.length >= MAX_SOURCES || sources.some((known) => known.equals(from))) return;
    sources.push(from);
    this.parts.bursts.stopTrying();
    // The target's packet came through, so our ping can get through too. Repeat the ping in case it gets lost.
    for (const ms of SOURCE_PINGS_MS) {
      this.#later(now + ms, (due) => this.#ping(from, "punched", due));
    }
    this.#ping(from, "punched", now);
  }

  #search(now: Millis): void {
    const { target, parts: { searches, peers } } = this;
    // If the target has registered with us, it keeps its NAT open for us. We may be its only introducer.
    const registered = searches.tables.families.flatMap((family) =>
      peers.peers(target, family, now)
    );
    this.#noteNamed(registered, undefined, now);
    const onResponse = (
      { id, token, values = [], client }: Message,
      { endpoint: to, rtt }: { endpoint: Endpoint; rtt: number },
      at: Millis,
    ) => {
      if (id === undefined || this.#state === "over") return id !== undefined;
      if (id.equals(target)) this.#reached({ endpoint: to, rtt, way: "direct" }, at);
      else {
        const isHelper = token !== undefined && searches.self.isSameSoftware(client);
        const by = isHelper ? { id, endpoint: to, token: token.slice() } : undefined;
        this.#noteNamed(values.filter((endpoint) => mayRefer(to, endpoint)), by, at);
      }
      return id.equals(target);
    };
    searches.find({ target, method: "get_peers", onResponse }, now, (_, at) => {
      if (this.#state === "over") return;
      this.#state = "waiting";
      if (this.#introducers.length === 0) {
        for (const { by, endpoint } of this.#unbound) this.#noteEndpoint(endpoint, by, at);
      }
      this.#failIfExhausted(at);
    });
  }

  /** Records the endpoints that a node gave us for the target. */
  #noteNamed(named: readonly Endpoint[], by: Helper | undefined, now: Millis): void {
    const bound = named.filter((endpoint) => isSecureId(this.target, endpoint));
    for (const endpoint of bound.slice(0, ENDPOINTS_EACH)) this.#noteEndpoint(endpoint, by, now);
    if (bound.length > 0) return;
    for (const endpoint of named.slice(0, ENDPOINTS_EACH)) this.#unbound.push({ by, endpoint });
  }

  /** Pings an endpoint that a node gave us for the target. If that node is a helper, it can introduce us. */
  #noteEndpoint(endpoint: Endpoint, by: Helper | undefined, now: Millis): void {
    const endpoints = this.#endpoints, introducers = this.#introducers;
    if (!endpoints.some((known) => known.equals(endpoint))) {
      if (endpoints.length >= MAX_ENDPOINTS) return;
      endpoints.push(endpoint);
      this.#ping(endpoint, "direct", now);
    }
    if (by === undefined) return;
    introducers.push({ ...by, sees: endpoint });
    if (introducers.length === 1) this.#introduce(now);
  }

  /** Asks the next introducer to introduce us to the target. */
  #introduce(now: Millis): void {
    const { target, parts: { nats, relay } } = this;
    const via = this.#introducers[this.#introductions++ % this.#introducers.length];
    const natType = nats[via.endpoint.family]?.code ?? NAT_CODE.unknown;
    const answered = this.#track((answer: Message | undefined, at) => {
      if (!this.#isTarget(answer) || this.#answered !== undefined) return;
      this.#answered = via;
      const { symmetric } = NAT_CODE;
      const areSymmetric = answer.natType === symmetric && natType === symmetric;
      this.#askWitness({ via, answer, natType }, at);
      this.#punch(areSymmetric ? SYMMETRIC_PUNCH_MS : PUNCH_MS, at);
    });
    relay.send({ via, target, method: "dm_punch", args: { natType } }, now, answered);
    if (this.#introductions >= MAX_INTRODUCTIONS) return;
    this.#later(now + REINTRODUCE_MS, (due) => {
      if (this.#answered === undefined) this.#introduce(due);
    });
  }

  /** Pings all endpoints of the target, which has opened its NAT for us. Falls back to a relay after `limitMs`. */
  #punch(limitMs: Millis, now: Millis): void {
    for (const ms of PINGS_MS.filter((ms) => ms < limitMs)) {
      this.#later(now + ms, (due) => {
        for (const endpoint of [...this.#endpoints]) this.#ping(endpoint, "punched", due);
      });
    }
    this.#relayAt(now + limitMs);
  }

  /** Falls back to a relay at time `at`, unless the attempt has ended by then. Replaces an earlier such timer. */
  #relayAt(at: Millis): void {
    if (this.#relayTimer !== undefined) {
      this.parts.deadlines.cancel(this.#relayTimer);
      this.#timers.delete(this.#relayTimer);
    }
    this.#relayTimer = this.#later(at, (due) => {
      const answered = this.#answered;
      const others = this.#introducers.filter((other) => other !== answered);
      const vias = answered === undefined ? others : [answered, ...others];
      this.#pingThrough(vias, due, (end) => this.#fail(end));
    });
  }

  /** Prepares a burst if the target names a witness: queries the witness, which proves our address to the target. */
  #askWitness(
    { via, answer, natType }: { via: Via; answer: Message; natType: number },
    now: Millis,
  ): void {
    const { endpoint: introducer, sees } = via;
    const to = answer.values?.[0];
    if (to === undefined || answer.token === undefined || this.parts.bursts.isRunning) return;
    if (to.family !== introducer.family || to.sameAddress(introducer)) return;
    if (!mayRefer(introducer, to)) return;
    const proof = answer.token.slice();
    const args = { infoHash: this.target };
    this.#query({ method: "get_peers", to, args, expected: undefined }, now, (outcome, at) => {
      // If packets from the target have already reached us, no burst is needed.
      if (this.#sources.length > 0 || outcome.kind !== "response") return;
      const { id, token, values } = outcome.message;
      const seen = values?.find((endpoint) => endpoint.sameAddress(sees));
      if (id === undefined || token === undefined || seen === undefined) return;
      const witness = { id, endpoint: to, token: token.slice(), sees: seen };
      this.#startBurst({ via: witness, sees, natType, proof }, at);
    });
  }

  /** Asks the target, through its witness, to take part in a burst, and starts our side of the burst. */
  #startBurst(
    { via, sees, natType, proof }: { via: Via; sees: Endpoint; natType: number; proof: Uint8Array },
    now: Millis,
  ): void {
    const { target, parts: { bursts, relay } } = this;
    const isSymmetric = natType === NAT_CODE.symmetric;
    const burst = { other: target, to: sees, isSymmetric };
    // Open our ports before the target tries them.
    if (isSymmetric && !bursts.start(burst, now)) return;
    this.#relayAt(now + WITNESS_MS + BURST_MS);
    const args = { natType, token: proof };
    const answered = this.#track((answer: Message | undefined, at) => {
      const isWilling = answer?.type === "r" && answer.token !== undefined;
      this.#relayAt(at + (isWilling ? BURST_MS : 0));
      if (isWilling && !isSymmetric) bursts.start(burst, at);
    });
    relay.send({ via, target, method: "dm_punch", args }, now, answered);
  }

  #ping(to: Endpoint, way: Way, now: Millis): void {
    const query = { method: "ping", to, args: {}, expected: this.target, isOnce: true } as const;
    this.#query(query, now, (outcome, at) => this.#isPong(outcome, { way, endpoint: to }, at));
  }

  /** Pings the target through the first relay. If that fails, tries one more relay. */
  #pingThrough(
    [via, ...others]: readonly Via[],
    now: Millis,
    onFailure: (now: Millis) => void,
  ): void {
    if (via === undefined) return onFailure(now);
    const { target } = this;
    const answered = this.#track((answer: Message | undefined, at) => {
      if (!this.#isTarget(answer)) return this.#pingThrough(others.slice(0, 1), at, onFailure);
      this.#reached({ endpoint: via.sees, rtt: at - now, way: "relayed", via }, at);
    });
    this.parts.relay.send({ via, target, method: "ping", args: {} }, now, answered);
  }

  #query(query: Query, now: Millis, done: (outcome: QueryOutcome, now: Millis) => void): void {
    this.parts.searches.queries.send(query, now, whenDone(this.#track(done)));
  }

  /** Counts a query as pending until its outcome arrives. Ignores the outcome if the attempt has ended by then. */
  #track<T>(done: (outcome: T, now: Millis) => void): (outcome: T, now: Millis) => void {
    this.#open++;
    return (outcome, now) => {
      this.#open--;
      if (this.#state === "over") return;
      done(outcome, now);
      this.#failIfExhausted(now);
    };
  }

  /** Whether the target itself answered a ping. If so, the attempt ends with success. */
  #isPong(
    outcome: QueryOutcome,
    path: { readonly way: Way; readonly endpoint: Endpoint },
    now: Millis,
  ): boolean {
    if (outcome.kind !== "response" || !this.#isTarget(outcome.message)) return false;
    this.#reached({ ...path, rtt: outcome.rtt }, now);
    return true;
  }

  #isTarget(answer: Message | undefined): answer is Message {
    return answer?.type === "r" && answer.id !== undefined && answer.id.equals(this.target);
  }

  #later(at: Millis, run: (now: Millis) => void): Deadline {
    const timer = this.parts.deadlines.schedule(at, (due) => {
      this.#timers.delete(timer);
      run(due);
    });
    this.#timers.add(timer);
    return timer;
  }

  #failIfExhausted(now: Millis): void {
    if (this.#state === "waiting" && this.#open === 0 && this.#timers.size === 0) this.#fail(now);
  }

  #reached(
    { via, ...reached }: { endpoint: Endpoint; rtt: number; way: Way; via?: Via },
    now: Millis,
  ): void {
    this.#end({ kind: "reached", ...reached }, via, now);
  }

  #fail(now: Millis): void {
    const [endpoint] = this.#endpoints;
    const isUnknown = endpoint === undefined;
    this.#end(isUnknown ? { kind: "unknown" } : { kind: "timeout", endpoint }, undefined, now);
  }

  #end(result: ReachResult, via: Via | undefined, now: Millis): void {
    this.#state = "over";
    for (const timer of this.#timers) this.parts.deadlines.cancel(timer);
    this.parts.bursts.stop(this.target);
    this.onEnd(result, via, now);
  }
}
