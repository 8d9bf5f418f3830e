// Our own queries: sent, sent again when late, matched with their replies, given up.

import type { Writer } from "../krpc/bencode.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import { type Message, type Method, type QueryArguments, writeQuery } from "../krpc/message.ts";
import type { Contact } from "./contact.ts";
import { OWN_COORDINATE_BYTES, type OwnCoordinate } from "./coordinate.ts";
import { Agenda, type Due, type Millis, NOWHERE } from "./deadlines.ts";
import type { Host } from "./host.ts";
import type { QueryOutcome, QueryWatcher } from "./lookup.ts";
import type { Nat } from "./nat.ts";
import type { Random } from "./random.ts";
import type { Self } from "./self.ts";
import type { Traffic } from "./traffic.ts";
import { type Transaction, Transactions } from "./transactions.ts";

/** A first answer is late after this until some have been measured: most of the world answers within. */
const LATE_UNKNOWN_MS = 500;

/**
 * Variations beyond the mean after which a query is sent again: TCP takes four (RFC 6298), for there a segment that is
 * sent for nothing slows the connection down, and here it is one packet.
 */
const LATE_VARIATIONS = 2.5;

/** Bounds of the adaptive measure: timers and schedulers are not finer, and a slow node must not stop a lookup. */
const LATE_MIN_MS = 10, LATE_MAX_MS = 1_000;

/** From late to overdue, as a multiple of the time to late: enough for the second packet's round trip. */
const OVERDUE_FACTOR = 1;

/** Weight of the newest query in the share of late ones. */
const LATE_GAIN = 1 / 64;

/** From late to missed: an answer that comes after all must not count against its node. */
const MISSED_MIN_MS = 1_000, MISSED_MAX_MS = 2_000;

/** Paths vary by a share of their round trip, even where that was the same for long. */
const JITTER_SHARE = 0.25;

/**
 * A timer that runs this late tells of our own process, or machine, and nothing of the node that was asked: it gets as
 * much more time. But not for ever: a process that never catches up must come to an end with its queries.
 */
const STALL_MS = 20, MAX_STALLS = 2;

/** Weight of the newest first answer in the mean of all and their variation (RFC 6298, section 2). */
const RTT_GAIN = 1 / 16, RTT_VARIATION_GAIN = 1 / 8;

/** What queries need of the node. */
export interface QuerySender {
  readonly host: Host;
  readonly self: Self;
  readonly client: number;
  readonly traffic: Traffic;
  readonly nat: Pick<Nat, "noteSent" | "noteVote" | "isReadOnly">;
  readonly coordinate: OwnCoordinate;
  /** The contact that is expected at an endpoint, if it is one. */
  contactAt(to: Endpoint, id: Id): Contact | undefined;
  /** Somebody answered a query. `expected`: who was asked, where that was known. */
  noteAnswer(
    reply: Message,
    expected: Id | undefined,
    from: Endpoint,
    rtt: number,
    isSecondTry: boolean,
    now: Millis,
  ): void;
  /** A node that was asked did not answer, or not as it has to. */
  noteMiss(id: Id, to: Endpoint, reason: string, now: Millis): void;
  /** False: round-trip times are not used; each query waits as long. */
  readonly isAdaptive: boolean;
}

/** One query. */
export interface Query {
  readonly method: Method;
  readonly to: Endpoint;
  readonly args: QueryArguments;
  /** The id that the node at `to` should have; undefined where it is not known. */
  readonly expected: Id | undefined;
  /** The round-trip time to expect where the node is no contact; NaN where that is not known. */
  readonly rtt?: number;
  /** It is not sent a second time, and likely not answered: that tells nothing of other queries. */
  readonly isOnce?: boolean;
}

/** Our coordinate, as an argument of a query: written there when the query is. */
export const OWN_COORDINATE = new Uint8Array(OWN_COORDINATE_BYTES);

/** A watcher that wants nothing but the outcome. */
export function whenDone(done: QueryWatcher["done"]): QueryWatcher {
  return { onLate: ignore, onOverdue: ignore, done };
}

const ignore = () => {};

/** A query without an outcome; in an agenda until the next thing that happens to it if no answer comes. */
interface Pending extends Transaction, Due {
  readonly query: Query;
  readonly watcher: QueryWatcher;
  readonly startedAt: Millis;
  readonly lateAfter: number;
  /** When it was sent for the second time; NaN before. */
  lateAt: Millis;
  /** How often it was given more time because our own timers were late. */
  stalls: number;
  /** What happens to it next. */
  then: (pending: Pending, now: Millis) => void;
}

export class Queries {
  readonly #node: QuerySender;
  readonly #writer: Writer;
  /** Apart from the node's other deadlines: these are few, and nearly all of them are cancelled. */
  readonly #agenda = new Agenda<Pending>();
  readonly #random: Random;
  readonly #transactions = new Transactions<Pending>();
  /** First answers of nodes of which nothing was known. */
  readonly #unknown = new Mean(LATE_UNKNOWN_MS / 3, LATE_UNKNOWN_MS / 6);
  /** First answers of nodes whose coordinates were known, as multiples of what those let expect. */
  readonly #guessed = new Mean(1, 0.5);
  #lateShare = 0;

  constructor(node: QuerySender, writer: Writer, random: Random) {
    this.#node = node;
    this.#writer = writer;
    this.#random = random;
  }

  /** Queries without an outcome. */
  get open(): number {
    return this.#transactions.size;
  }

  /** The share of queries that were late, of some hundred past: packets lost, nodes gone without notice. */
  get lateShare(): number {
    return this.#lateShare;
  }

  /** When `tick` is to be called next. */
  get nextDeadline(): Millis {
    return this.#agenda.next;
  }

  /** Does what is due. */
  tick(now: Millis): void {
    for (let due = this.#agenda.take(now); due !== undefined; due = this.#agenda.take(now)) {
      const lag = now - due.dueAt;
      if (lag > STALL_MS && due.stalls < MAX_STALLS) {
        // By our own fault: our process could not look at answers until now.
        due.stalls++;
        this.#schedule(due, now + due.lateAfter + Math.min(lag, LATE_MAX_MS), due.then);
      } else due.then(due, now);
    }
  }

  /** Sends a query, once more when no answer comes in time. */
  send(query: Query, now: Millis, watcher: QueryWatcher): void {
    let tid = this.#random.word();
    while (this.#transactions.has(tid)) tid = this.#random.word();
    const { method, to } = query;
    const lateAfter = this.#waitFor(query);
    const pending: Pending = {
      tid,
      method,
      to,
      query,
      watcher,
      startedAt: now,
      lateAfter,
      lateAt: NaN,
      stalls: 0,
      then: this.#late,
      dueAt: now + lateAfter,
      place: NOWHERE,
      order: 0,
    };
    this.#agenda.add(pending);
    this.#transactions.add(pending);
    this.#write(pending);
  }

  /** Runs `then` when `at` has come. */
  #schedule(pending: Pending, at: Millis, then: (pending: Pending, now: Millis) => void): void {
    pending.dueAt = at;
    pending.then = then;
    this.#agenda.add(pending);
  }

  readonly #late = (pending: Pending, now: Millis): void => {
    pending.lateAt = now;
    const { query: { args, isOnce }, stalls } = pending;
    if (!isOnce) this.#lateShare += LATE_GAIN * (1 - this.#lateShare);
    this.#schedule(pending, now + OVERDUE_FACTOR * pending.lateAfter, this.#overdue);
    // A second put with a cas would be refused for what the first one did.
    // And a process that does not keep up with its answers need not ask for more of them.
    if (args.cas === undefined && !isOnce && stalls < MAX_STALLS) this.#write(pending);
    pending.watcher.onLate(now);
  };

  readonly #overdue = (pending: Pending, now: Millis): void => {
    const wait = Math.min(MISSED_MAX_MS, Math.max(MISSED_MIN_MS, 2 * pending.lateAfter));
    this.#schedule(pending, Math.max(now, pending.lateAt + wait), this.#missed);
    pending.watcher.onOverdue(now);
  };

  readonly #missed = (pending: Pending, now: Millis): void => {
    const { query: { expected }, to, method, watcher, stalls } = pending;
    this.#transactions.remove(pending);
    if (expected !== undefined && stalls < MAX_STALLS) {
      this.#node.noteMiss(expected, to, `no answer to ${method}`, now);
    }
    watcher.done({ kind: "timeout" }, now);
  };

  /** Takes in a reply; false where it answers no query of ours. */
  receive(reply: Message, from: Endpoint, now: Millis): boolean {
    const transaction = this.#transactions.settle(reply, from);
    if (transaction === undefined) return false;
    const kind = reply.type === "r" ? "response" : "error";
    this.#node.traffic.in.count(transaction.method, kind, reply.packet.length);
    this.#agenda.remove(transaction);
    const { query, watcher, startedAt, lateAt, stalls, dueAt } = transaction;
    // Of a time in which our own process stood still nobody knows what was the round trip.
    const isUnsure = !Number.isNaN(lateAt) || stalls > 0 || now - dueAt > STALL_MS;
    if (Number.isNaN(lateAt)) this.#lateShare -= LATE_GAIN * this.#lateShare;
    // From the first sending on: of a query that was sent twice nobody knows which one was answered.
    const rtt = now - startedAt;
    if (!isUnsure) this.#node.traffic.roundTrips.add(rtt);
    watcher.done(this.#outcome(query, reply, rtt, isUnsure, now), now);
    return true;
  }

  #write({ query: { args }, method, tid, to }: Pending): void {
    const { self: { id }, client, nat, traffic, host, coordinate } = this.#node;
    if (args.coordinate === OWN_COORDINATE) coordinate.write(OWN_COORDINATE, 0);
    nat.noteSent(to);
    writeQuery(this.#writer, method, tid, id, client, nat.isReadOnly(to.family), args);
    const datagram = this.#writer.done();
    traffic.out.count(method, "query", datagram.length);
    host.send(datagram, to);
  }

  /** Keeps the books on a reply. */
  #outcome(
    { method, to, expected, rtt: guess = NaN }: Query,
    reply: Message,
    rtt: number,
    isSentTwice: boolean,
    now: Millis,
  ): QueryOutcome {
    if (reply.ip !== undefined) this.#node.nat.noteVote(to, reply.ip, now);
    const isAnswer = reply.type === "r" && reply.id !== undefined;
    // Others may refuse what we ask, but a ping: who answers that with anything else must not stay for ever.
    if (!isAnswer && method === "ping" && expected !== undefined) {
      this.#node.noteMiss(expected, to, "no valid answer to ping", now);
    }
    if (reply.type === "e") {
      return { kind: "error", code: reply.errorCode, text: reply.errorText, rtt };
    }
    if (!isSentTwice) {
      if (reply.coordinate !== undefined) {
        this.#node.coordinate.learn(reply.coordinate, rtt, () => this.#random.fraction());
      }
      if (expected === undefined || this.#node.contactAt(to, expected) === undefined) {
        if (guess > 0) this.#guessed.add(rtt / guess);
        else this.#unknown.add(rtt);
      }
    }
    // Whom others can't reach has no place in a table (BEP 43).
    if (reply.id !== undefined && !reply.readOnly) {
      this.#node.noteAnswer(reply, expected, to, rtt, isSentTwice, now);
    }
    return { kind: "response", message: reply, rtt };
  }

  /**
   * Mean and {@link LATE_VARIATIONS} of how long answers take (RFC 6298): of this node's where it was measured, else of
   * what coordinates are worth in this network, else of those of all nodes that answered for the first time.
   */
  #waitFor({ to, expected, rtt: guess = NaN }: Query): number {
    if (!this.#node.isAdaptive) return LATE_UNKNOWN_MS;
    const contact = expected && this.#node.contactAt(to, expected);
    let wait: number;
    if (contact !== undefined && !Number.isNaN(contact.rtt)) {
      const { rtt, rttVariation } = contact;
      wait = rtt + Math.max(LATE_VARIATIONS * rttVariation, JITTER_SHARE * rtt);
    } else {
      wait = guess > 0 ? guess * this.#guessed.lateAfter : this.#unknown.lateAfter;
    }
    return Math.min(LATE_MAX_MS, Math.max(LATE_MIN_MS, wait));
  }
}

/** A smoothed mean and its variation. */
class Mean {
  #mean: number;
  #variation: number;

  constructor(mean: number, variation: number) {
    this.#mean = mean;
    this.#variation = variation;
  }

  /** What is larger is late. */
  get lateAfter(): number {
    return this.#mean + Math.max(LATE_VARIATIONS * this.#variation, JITTER_SHARE * this.#mean);
  }

  add(value: number): void {
    this.#variation += RTT_VARIATION_GAIN * (Math.abs(value - this.#mean) - this.#variation);
    this.#mean += RTT_GAIN * (value - this.#mean);
  }
}
