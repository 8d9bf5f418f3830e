// Decides whether the node can store and fetch values through other nodes. Sends probes if its traffic does not show
// this.

import type { Contact } from "../../dht/routing/contact.ts";
import type { Millis } from "../../dht/deadlines.ts";
import type { Flow, Traffic } from "../../dht/traffic.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";
import type { AnswerCounts, Readiness } from "../../reports/stats.ts";

/** The interval at which `check` should be called. */
export const CHECK_EVERY_MS = 1_000;

/** Peers are probed after this time without an answer. */
const PROBE_AFTER_MS = 20_000;

const PROBED_PEERS = 2;

/**
 * The interval at which peers are probed while none answers. It is short enough to notice within seconds that an outage
 * has ended.
 */
const PROBE_INTERVAL_MS = 5_000;

/** The node is no longer ready after this time without an answer. */
const SILENT_AFTER_MS = 30_000;

/** The minimum number of failed rounds of probes before the node counts as not ready. */
const SILENT_ROUNDS = 2;

/** How long a peer's offer to store a value counts as proof that the node can store values. */
const OFFER_FOR_MS = 10 * 60_000;

/** Delay before a search that found no offers is repeated. The delay doubles each time, up to OFFER_FOR_MS. */
const OFFER_RETRY_MS = 20_000;

/** The number of peers that are remembered, so that they can be probed when the routing table is empty. */
const REMEMBERED = 8;

const COUNT_INTERVAL_MS = 10_000;

/** The number of intervals of COUNT_INTERVAL_MS that the report of queries and answers covers. */
const COUNTS = 30;

/** The interval at which the log repeats that the node is not ready. */
const REPEAT_INTERVAL_MS = 60_000;

/** Whether the node is the first of its network, and the reason to report if no peer has answered yet. */
export interface Standing {
  /** Whether this node is the first of its network. If so, it is ready without answers, and stores values by itself. */
  readonly isFirst: boolean;
  readonly reason: string;
}

/** gained: ready for the first time. lost: no longer ready. regained: ready again. missing: still not ready. */
export type ReadinessChange = "gained" | "lost" | "regained" | "missing";

/** The parts of the node that the probe needs. */
export interface ProbedNode {
  readonly traffic: Pick<Traffic, "in" | "out" | "dropped">;
  contacts(): Iterable<Contact>;
  /** Whether a contact is checked so often that probes make little difference. */
  isCheckedOften(contact: Contact): boolean;
  ping(endpoint: Endpoint): void;
  /** Looks up a value. Reports how many peers answered, and how many of them offered to store a value. */
  seekOffers(done: (answered: number, offers: number) => void): void;
  standing(): Standing;
  tell(change: ReadinessChange, reason: string): void;
}

/**
 * Probes whether the node is ready. A recent answer proves that packets travel both ways. A peer that stores a value,
 * or offers to, proves that the node can store values. A write token in an answer to `get` (BEP 44) counts as such an
 * offer. Probes don't store anything, as 20 nodes would then maintain each probe's value for hours.
 */
export class ReadinessProbe {
  #answers = 0;
  #acknowledged = 0;
  /** The time at which the latest answer arrived; NaN if none has arrived yet. */
  #answeredAt = NaN;
  /** The id and endpoint of the peer that answered last, as text. */
  #last: string | undefined;
  #rounds = 0;
  #nextRoundAt = -Infinity;
  /** The peers that were probed since the latest answer, or since all known peers had been probed. */
  readonly #asked = new Set<string>();
  #remembered: readonly Endpoint[] = [];
  #offeredAt = NaN;
  #isSeeking = false;
  #nextSeekAt = -Infinity;
  #seekAfterMs = OFFER_RETRY_MS;
  /**
   * The number of peers that answered the latest search for offers, if none of them offered to store a value;
   * otherwise 0.
   */
  #refusedBy = 0;
  /** The total numbers of queries and answers at various times, oldest first. */
  #counts: { readonly at: Millis; readonly queries: number; readonly answers: number }[] = [];
  /**
   * Whether the node was ready according to the latest report; undefined until it has been ready for the first time.
   */
  #wasReady: boolean | undefined;
  #reportedAt = -Infinity;

  constructor(private readonly node: ProbedNode) {}

  /** Checks the traffic since the last call. Probes peers if the traffic does not prove that the node is ready. */
  check(now: Millis): void {
    this.#noteTraffic(now);
    this.#probe(now);
    this.#countTraffic(now);
    this.state(now);
  }

  #noteTraffic(now: Millis): void {
    const { traffic } = this.node, counts = traffic.in.byType();
    // Answers that match no query, or have no id, prove nothing: a stranger may send them.
    const unusable = (counts["unknown.response"]?.messages ?? 0) + (traffic.dropped.no_id ?? 0);
    const answers = sumOf(counts, ".response") - unusable;
    if (answers > this.#answers) this.#noteAnswer(now);
    this.#answers = answers;
    const acknowledged = counts["put.response"]?.messages ?? 0;
    if (acknowledged > this.#acknowledged) this.#noteOffer(now);
    this.#acknowledged = acknowledged;
  }

  #countTraffic(now: Millis): void {
    // Start the first sample at zero. With the current totals, late answers to earlier queries would count without
    // their queries.
    if (this.#counts.length === 0) this.#counts.push({ at: now, queries: 0, answers: 0 });
    else if (now - this.#counts.at(-1)!.at < COUNT_INTERVAL_MS) return;
    const queries = sumOf(this.node.traffic.out.byType(), ".query");
    this.#counts.push({ at: now, queries, answers: this.#answers });
    this.#counts = this.#counts.slice(-COUNTS - 1);
    const endpoints = byPromise(this.node.contacts()).slice(0, REMEMBERED);
    if (endpoints.length > 0) this.#remembered = endpoints;
  }

  #noteAnswer(now: Millis): void {
    this.#answeredAt = now;
    this.#rounds = 0;
    this.#asked.clear();
    let latest: Contact | undefined;
    for (const contact of this.node.contacts()) {
      if (latest === undefined || contact.lastResponse > latest.lastResponse) latest = contact;
    }
    if (latest === undefined) return;
    this.#last = `${latest.id} at ${latest.endpoint}`;
  }

  #noteOffer(now: Millis): void {
    this.#offeredAt = now;
    this.#seekAfterMs = OFFER_RETRY_MS;
    this.#refusedBy = 0;
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
    this.#nextSeekAt = now + this.#seekAfterMs;
    this.#seekAfterMs = Math.min(OFFER_FOR_MS, 2 * this.#seekAfterMs);
    this.node.seekOffers((answered, offers) => {
      this.#isSeeking = false;
      if (offers > 0) this.#noteOffer(now);
      else this.#refusedBy = answered;
    });
  }

  /**
   * Probes peers that have not been probed yet. Once all peers have been probed, starts over. The first round leaves
   * out nodes of other implementations, unless they missed a check. Later rounds include all peers, because the other
   * peers may still answer if those of the first round are gone.
   */
  #askPeers(now: Millis): void {
    const contacts = [...this.node.contacts()];
    const probed = contacts.filter((contact) =>
      this.#rounds > 0 || contact.misses > 0 || this.node.isCheckedOften(contact)
    );
    const known = contacts.length === 0 ? this.#remembered : byPromise(probed);
    if (known.length === 0) return;
    const fresh = known.filter((endpoint) => !this.#asked.has(`${endpoint}`));
    if (fresh.length === 0) this.#asked.clear();
    const chosen = new Map((fresh.length > 0 ? fresh : known).map((to) => [`${to}`, to]));
    for (const [name, endpoint] of [...chosen].slice(0, PROBED_PEERS)) {
      this.#asked.add(name);
      this.node.ping(endpoint);
    }
    this.#rounds++;
    this.#nextRoundAt = now + PROBE_INTERVAL_MS;
  }

  /** Returns the readiness. Reports any change first, so that log and events show every state that callers see. */
  state(now: Millis): Readiness {
    this.#noteTraffic(now);
    const state = this.#judge(now);
    this.#reportChange(state, now);
    return state;
  }

  #judge(now: Millis): Readiness {
    const contacts = [...this.node.contacts()], known = contacts.length;
    const healthy = contacts.filter(({ health }) => health === "healthy").length;
    const standing = this.node.standing();
    if (this.#last === undefined && known === 0) {
      return { ready: standing.isFirst, reason: standing.reason };
    }
    const silence = now - this.#answeredAt;
    // Don't count the latest round as failed yet, because its answers may still arrive.
    const failedRounds = now < this.#nextRoundAt ? this.#rounds - 1 : this.#rounds;
    const notReady = known === 0 || (silence >= SILENT_AFTER_MS && failedRounds >= SILENT_ROUNDS)
      ? this.#silenceText(silence, known)
      : this.#refusedBy > 0
      ? `${
        answering(healthy)
      }, but none of ${this.#refusedBy} that were asked offers to store a value`
      : Number.isNaN(this.#offeredAt) && !standing.isFirst
      ? "peers answer, but none has offered to store a value yet"
      : undefined;
    return { ready: notReady === undefined, reason: notReady ?? answering(healthy) };
  }

  #silenceText(silence: number, known: number): string {
    const seconds = Math.round(silence / 1000);
    const last = this.#last === undefined ? "" : `; the last answer came from ${this.#last}`;
    const peers = known === 1 ? "1 peer" : `${known} peers`;
    const contacts = known === 0 ? "all were dropped" : `${peers} still in the table`;
    return `no peer has answered for ${seconds} s${last} (${contacts}): the network is down, or ` +
      "a firewall drops UDP";
  }

  #reportChange({ ready, reason }: Readiness, now: Millis): void {
    const was = this.#wasReady;
    // A node that has never been ready is still joining, which is not a change to report.
    if (ready ? was === true : was === undefined) return;
    if (was === false && !ready && now - this.#reportedAt < REPEAT_INTERVAL_MS) return;
    this.#wasReady = ready;
    this.#reportedAt = now;
    const change = ready ? (was === false ? "regained" : "gained") : was ? "lost" : "missing";
    this.node.tell(change, reason);
  }

  /** Queries sent and answers received in the last five minutes. A query that was sent twice counts twice. */
  get answers(): AnswerCounts {
    const first = this.#counts[0], last = this.#counts.at(-1);
    if (first === undefined || last === undefined) return { queries: 0, answers: 0, over_s: 0 };
    return {
      queries: last.queries - first.queries,
      answers: last.answers - first.answers,
      over_s: Math.round((last.at - first.at) / 1000),
    };
  }
}

/** Returns peers in the order in which to probe them: fewest missed checks first, then most recent answer first. */
function byPromise(contacts: Iterable<Contact>): Endpoint[] {
  return [...contacts]
    .sort((x, y) => x.misses - y.misses || y.lastResponse - x.lastResponse)
    .map(({ endpoint }) => endpoint);
}

function sumOf(counts: ReturnType<Flow["byType"]>, kind: string): number {
  return Object.entries(counts).filter(([type]) => type.endsWith(kind))
    .reduce((sum, [, { messages }]) => sum + messages, 0);
}

function answering(count: number): string {
  return count === 1 ? "1 peer answers" : `${count} peers answer`;
}
