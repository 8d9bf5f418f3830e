// Whether the node can store and fetch through others right now: by the traffic that there is, else by a light probe.

import type { Contact } from "../dht/contact.ts";
import type { Millis } from "../dht/deadlines.ts";
import type { Flow } from "../dht/traffic.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import type { AnswerCounts, Readiness } from "./service.ts";

/** How often `check` is to be called. */
export const CHECK_EVERY_MS = 1_000;

/** Answers of other traffic are waited for so long before peers are asked for one. */
const PROBE_AFTER_MS = 20_000;

/** While nobody answers, so many peers are asked so often: an outage is to end within seconds. */
const PROBED_PEERS = 2, PROBE_EVERY_MS = 5_000;

/** Without any answer for this long, though so many rounds of probes asked for one, the node is not ready. */
const SILENT_AFTER_MS = 30_000, SILENT_ROUNDS = 2;

/** An offer to take a value counts this long; one that was asked for in vain is asked for again after that. */
const OFFER_FOR_MS = 10 * 60_000, OFFER_RETRY_MS = 20_000;

/** Peers kept in mind to ask when the table is empty. */
const REMEMBERED = 8;

/** How often queries and answers are counted for the rate, over how many of these times. */
const COUNT_EVERY_MS = 10_000, COUNTS = 30;

/** What a loss of readiness repeats in the log. */
const REPEAT_MS = 60_000;

/** How the node stands with its network, as far as nobody has answered yet. */
export interface Standing {
  /** It is the first of its network: it holds values alone, and needs nobody's answer for that. */
  readonly isFirst: boolean;
  /** Why nobody has answered so far. */
  readonly reason: string;
}

/** Ready for the first time, no longer, again, or missing it still. */
export type ReadinessChange = "gained" | "lost" | "regained" | "missing";

/** What readiness needs of the node. */
export interface ProbedNode {
  readonly traffic: { readonly in: Flow; readonly out: Flow };
  contacts(): Iterable<Contact>;
  /** Asks for a sign of life. */
  ping(endpoint: Endpoint): void;
  /** Asks the peers nearest to some place for a value; tells how many answered, and how many would take one there. */
  seekOffers(done: (answered: number, offers: number) => void): void;
  standing(): Standing;
  tell(change: ReadinessChange, reason: string): void;
}

/** Whose answer was the latest. */
interface LastAnswer {
  readonly id: string;
  readonly address: string;
}

/** Totals at one time. */
interface Count {
  readonly at: Millis;
  readonly queries: number;
  readonly answers: number;
}

/**
 * An answer within the last seconds proves the way to others and back. That they take values is proven by one that did,
 * or by an answer to `get` with a write token, which is an offer to (BEP 44). No value is stored for proof: it would
 * lie on 20 nodes for hours, each of which would see to its copies.
 */
export class ReadinessProbe {
  readonly #node: ProbedNode;
  #answers = 0;
  #acknowledged = 0;
  /** When the latest answer was noticed; NaN before the first. */
  #answeredAt = NaN;
  #last: LastAnswer | undefined;
  #rounds = 0;
  #nextRoundAt = -Infinity;
  /** Who was asked since the latest answer. */
  readonly #asked = new Set<string>();
  #remembered: readonly Endpoint[] = [];
  #offeredAt = NaN;
  #isSeeking = false;
  #nextSeekAt = -Infinity;
  /** How many answered the latest search for an offer, where none of them made one. */
  #refusedBy = 0;
  #counts: Count[] = [];
  /** Undefined until the node was ready for the first time. */
  #wasReady: boolean | undefined;
  #toldAt = -Infinity;

  constructor(node: ProbedNode) {
    this.#node = node;
  }

  /** Looks at the traffic since the last call, and probes where that proves nothing. */
  check(now: Millis): void {
    this.#noteTraffic(now);
    this.#probe(now);
    this.#countTraffic(now);
    this.state(now);
  }

  #noteTraffic(now: Millis): void {
    const counts = this.#node.traffic.in.byType();
    const answers = sumOf(counts, ".response");
    if (answers > this.#answers) this.#noteAnswer(now);
    this.#answers = answers;
    const acknowledged = counts["put.response"]?.messages ?? 0;
    if (acknowledged > this.#acknowledged) this.#noteOffer(now);
    this.#acknowledged = acknowledged;
  }

  #countTraffic(now: Millis): void {
    // From zero: queries that are under way at the first count would have answers, and not be counted themselves.
    if (this.#counts.length === 0) this.#counts.push({ at: now, queries: 0, answers: 0 });
    else if (now - this.#counts.at(-1)!.at < COUNT_EVERY_MS) return;
    const queries = sumOf(this.#node.traffic.out.byType(), ".query");
    this.#counts.push({ at: now, queries, answers: this.#answers });
    this.#counts = this.#counts.slice(-COUNTS - 1);
    this.#remember();
  }

  #noteAnswer(now: Millis): void {
    this.#answeredAt = now;
    this.#rounds = 0;
    this.#asked.clear();
    let latest: Contact | undefined;
    for (const contact of this.#node.contacts()) {
      if (latest === undefined || contact.lastResponse > latest.lastResponse) latest = contact;
    }
    if (latest === undefined) return;
    this.#last = { id: `${latest.id}`, address: `${latest.endpoint}` };
  }

  #noteOffer(now: Millis): void {
    this.#offeredAt = now;
    this.#refusedBy = 0;
  }

  #remember(): void {
    const endpoints = byPromise(this.#node.contacts()).slice(0, REMEMBERED);
    if (endpoints.length > 0) this.#remembered = endpoints;
  }

  #probe(now: Millis): void {
    const silence = now - this.#answeredAt;
    if (Number.isNaN(silence)) return; // the core is still joining
    if (silence >= PROBE_AFTER_MS) {
      if (now >= this.#nextRoundAt) this.#askPeers(now);
      return;
    }
    const isProven = now - this.#offeredAt < OFFER_FOR_MS;
    if (isProven || this.#isSeeking || now < this.#nextSeekAt) return;
    this.#isSeeking = true;
    this.#nextSeekAt = now + OFFER_RETRY_MS;
    this.#node.seekOffers((answered, offers) => {
      this.#isSeeking = false;
      if (offers > 0) this.#noteOffer(now);
      else this.#refusedBy = answered;
    });
  }

  /** Those that were not asked yet, then all over again. */
  #askPeers(now: Millis): void {
    const known = [...byPromise(this.#node.contacts()), ...this.#remembered];
    if (known.length === 0) return;
    const fresh = known.filter((endpoint) => !this.#asked.has(`${endpoint}`));
    if (fresh.length === 0) this.#asked.clear();
    const chosen = new Map((fresh.length > 0 ? fresh : known).map((to) => [`${to}`, to]));
    for (const [name, endpoint] of [...chosen].slice(0, PROBED_PEERS)) {
      this.#asked.add(name);
      this.#node.ping(endpoint);
    }
    this.#rounds++;
    this.#nextRoundAt = now + PROBE_EVERY_MS;
  }

  /**
   * Whether the node can store and fetch through others, and why, or why not. A change is told before it is returned:
   * whoever reads it between two calls of `check` must not learn what the log and the events never mention.
   */
  state(now: Millis): Readiness {
    this.#noteTraffic(now);
    const state = this.#judge(now);
    this.#tellChange(state, now);
    return state;
  }

  #judge(now: Millis): Readiness {
    let known = 0, healthy = 0;
    for (const { health } of this.#node.contacts()) {
      known++;
      if (health === "healthy") healthy++;
    }
    const standing = this.#node.standing();
    if (this.#last === undefined && known === 0) {
      return { ready: standing.isFirst, reason: standing.reason };
    }
    const silence = now - this.#answeredAt;
    if (known === 0 || (silence >= SILENT_AFTER_MS && this.#rounds >= SILENT_ROUNDS)) {
      return { ready: false, reason: this.#silenceText(silence, known) };
    }
    if (this.#refusedBy > 0) {
      const reason = `${answering(healthy)}, but none of ${this.#refusedBy} that were asked ` +
        "offers to take a value";
      return { ready: false, reason };
    }
    if (Number.isNaN(this.#offeredAt) && !standing.isFirst) {
      return { ready: false, reason: "peers answer; none has offered to take a value yet" };
    }
    return { ready: true, reason: answering(healthy) };
  }

  #silenceText(silence: number, known: number): string {
    const seconds = Math.round(silence / 1000);
    const last = this.#last === undefined
      ? ""
      : `; the last answer came from ${this.#last.id} at ${this.#last.address}`;
    const contacts = known === 0 ? "all were dropped" : `${peers(known)} still in the table`;
    return `no peer has answered for ${seconds} s${last} (${contacts}): the network is down, or ` +
      "a firewall drops UDP";
  }

  #tellChange({ ready, reason }: Readiness, now: Millis): void {
    const was = this.#wasReady;
    if (ready) {
      this.#wasReady = true;
      if (was !== true) this.#node.tell(was === false ? "regained" : "gained", reason);
    } else if (was === true) {
      this.#wasReady = false;
      this.#toldAt = now;
      this.#node.tell("lost", reason);
    } else if (was === false && now - this.#toldAt >= REPEAT_MS) {
      this.#toldAt = now;
      this.#node.tell("missing", reason);
    }
  }

  /** Queries sent, those sent twice counted twice, and answers, over the last five minutes. */
  get answers(): AnswerCounts {
    const first = this.#counts[0], last = this.#counts.at(-1);
    if (first === undefined || last === undefined) return { queries: 0, answers: 0, overS: 0 };
    return {
      queries: last.queries - first.queries,
      answers: last.answers - first.answers,
      overS: Math.round((last.at - first.at) / 1000),
    };
  }
}

/** Where an answer is likeliest to come from: who missed least, and answered last. */
function byPromise(contacts: Iterable<Contact>): Endpoint[] {
  return [...contacts]
    .sort((x, y) => x.misses - y.misses || y.lastResponse - x.lastResponse)
    .map(({ endpoint }) => endpoint);
}

function sumOf(counts: ReturnType<Flow["byType"]>, kind: string): number {
  let sum = 0;
  for (const [type, { messages }] of Object.entries(counts)) {
    if (type.endsWith(kind)) sum += messages;
  }
  return sum;
}

function peers(count: number): string {
  return count === 1 ? "1 peer" : `${count} peers`;
}

function answering(count: number): string {
  return count === 1 ? "1 peer answers" : `${count} peers answer`;
}
