// Sends our own queries, limits their rate per receiver, repeats late ones, matches replies, and
// detects timeouts.

import type { Endpoint } from "../../krpc/endpoint.ts";
import { word } from "../../krpc/id.ts";
import { ErrorCode, type Message } from "../../krpc/message.ts";
import type { LineCost } from "../line.ts";
import { Agenda, type Millis, NO_SLOT, type Slot } from "../deadlines.ts";
import { type Outbox, type OutgoingQuery, purposeOf } from "../outbox.ts";
import type { Random } from "../random.ts";
import { entitledBytes } from "../reply_size.ts";
import { isContradicted, OWN_COORDINATE_BYTES } from "../routing/coordinate.ts";
import type { Contact } from "../routing/contact.ts";
import type { Tables } from "../routing/tables.ts";
import type { Purpose } from "../purpose.ts";
import { Pace } from "./pace.ts";
import type { Answer, Query, QueryOutcome, QueryWatcher, UnusableReply } from "./query.ts";
import { type Transaction, Transactions } from "./transactions.ts";

/**
 * The time after which an unknown node's answer counts as late, until round trips to unknown nodes have been measured.
 */
const LATE_UNKNOWN_MS = 500;

/**
 * A query is repeated after the mean round trip plus this many times its variation. TCP uses four
 * (RFC 6298), because an unnecessary retransmission slows its connection down. An unnecessary query
 * only costs a packet.
 */
const LATE_VARIATIONS = 2.5;

/** The minimum time until a query is late: timers and schedulers are not precise enough for less. */
const LATE_MIN_MS = 10;

/** The maximum time until a query is late: a slow node must not hold up a lookup. */
const LATE_MAX_MS = 1_000;

/**
 * An answer counts if it arrives within this time, even if its query is long overdue. Satellites and congested links
 * need up to 8 s.
 */
const ANSWER_MAX_MS = 10_000;

/**
 * The values of `LATE_VARIATIONS` and `LATE_MIN_MS` for puts. These values are larger, because a
 * put is answered once it is on disk, and disks are sometimes busy.
 */
const PUT_VARIATIONS = 4, PUT_MIN_MS = 250;

/** The time between late and overdue, as a multiple of the time until late: the repeated query gets one round trip. */
const OVERDUE_FACTOR = 1;

/** The weight of the newest query in the running share of late queries. */
const LATE_GAIN = 1 / 64;

/** The minimum and the maximum of the time after which a late query counts as missed. Few answers arrive later. */
const MISSED_MIN_MS = 1_000, MISSED_MAX_MS = 2_000;

/**
 * The minimum margin by which a late round trip exceeds the mean, as a share of the mean. The delay
 * varies even on a steady path.
 */
const JITTER_SHARE = 0.25;

/**
 * The maximum time for which a query waits because of our rate limit for its receiver. A query that
 * would wait longer is not sent.
 */
const MAX_HELD_MS = 2_000;

/**
 * The maximum time for which a query waits because of the rates that the user has set. It is longer than `MAX_HELD_MS`,
 * because a query to another receiver would have to wait too.
 */
const MAX_LINE_HELD_MS = 20_000;

/**
 * If a timer fires this late, our own process or machine has stalled, and the query gets more time.
 */
const STALL_MS = 20;

/**
 * How many times a query may get more time because of stalls. Without a cap, a query might never
 * end on a slow machine.
 */
const MAX_STALLS = 2;

/** The weights of the newest measurement in the mean round trip and in its variation (RFC 6298, section 2). */
const RTT_GAIN = 1 / 16, RTT_VARIATION_GAIN = 1 / 8;

/** Scratch buffer for our coordinate. All nodes of a process share it: each query is written and sent in one call. */
const COORDINATE = new Uint8Array(OWN_COORDINATE_BYTES);

/**
 * Why a query failed: no answer came, a ping got an answer other than a pong, or the node does not support the query's
 * method.
 */
export type Miss = "no_answer" | "bad_pong" | "unsupported";

type Reply = Exclude<QueryOutcome, { kind: "timeout" }>;

/** A query in flight. */
interface Pending extends Transaction, OutgoingQuery {
  readonly query: Query;
  readonly purpose: Purpose;
  readonly watcher: QueryWatcher;
  /** Undefined, because this is the first packet of its query; see `Repeat.first`. */
  readonly first: undefined;
  /**
   * Whether the receiver is a contact that runs this project's software. We then don't limit the
   * rate of our queries to it.
   */
  readonly isOurs: boolean;
  /**
   * The query's cost against the rates that the user has set; undefined if no rates are set, or if the query does not
   * count.
   */
  readonly cost: LineCost | undefined;
  startedAt: Millis;
  readonly lateAfter: number;
  /** The time until the query is sent again: `lateAfter` or, for a node known to be slow, more. */
  readonly repeatAfter: number;
  /** The second packet, once it has been sent. */
  repeat: Repeat | undefined;
  /** Whether the query counts as missed. A late answer still says something about its sender. */
  isOver: boolean;
  /** The time when the query became late; NaN before that. */
  lateAt: Millis;
  /** How many times the query got more time because our own process stalled. */
  stalls: number;
  /** The time of the next timeout. */
  dueAt: Millis;
  /** The slot of the next timeout in the agenda. */
  slot: Slot;
  /** Called at the next timeout. */
  then: (pending: Pending, now: Millis) => void;
}

/** The second packet of a query. Its own transaction id shows which of the two packets an answer belongs to. */
interface Repeat extends Transaction {
  readonly first: Pending;
  readonly at: Millis;
}

export class Queries {
  readonly outbox: Outbox;
  readonly tables: Tables;
  readonly pace = new Pace();
  /** Called before each query is sent. */
  onSent: ((to: Endpoint) => void) | undefined;
  /** Called when the reply to a query reports the address `seen` at which its sender sees us. */
  onVote: ((query: Query, seen: Endpoint, now: Millis) => void) | undefined;
  /** Called with each answer from a node that is not read-only (BEP 43). */
  onAnswer: ((query: Query, answer: Answer, now: Millis) => void) | undefined;
  /** Called when a node whose id we know did not answer, or answered that it does not support the method. */
  onMiss: ((query: Query, miss: Miss, now: Millis) => void) | undefined;
  /** Called when a node's reply to a query can't make it a contact. */
  onUnusable: ((reply: UnusableReply) => void) | undefined;
  /**
   * The agenda of query timeouts. It is separate from the agenda of deadlines, because timeouts are
   * few and most get cancelled.
   */
  readonly #agenda = new Agenda<Pending>();
  readonly #random: Random;
  readonly #transactions = new Transactions<Pending | Repeat>();
  /** The number of queries in flight. A query that has ended, but may still be answered, does not count. */
  #open = 0;
  /** The mean round trip to nodes that we knew nothing about. */
  readonly #unknown = new Mean(LATE_UNKNOWN_MS / 3, LATE_UNKNOWN_MS / 6);
  /**
   * The mean round trip to nodes of which we knew only the coordinate, as a multiple of the round
   * trip that the coordinate suggests.
   */
  readonly #guessed = new Mean(1, 0.5);
  /** The mean time from a put to its answer. */
  readonly #puts = new Mean(LATE_UNKNOWN_MS / 3, LATE_UNKNOWN_MS / 6, PUT_VARIATIONS);
  #lateShare = 0;

  constructor({ outbox, tables, random }: { outbox: Outbox; tables: Tables; random: Random }) {
    this.outbox = outbox;
    this.tables = tables;
    this.#random = random;
  }

  /** The number of queries in flight. */
  get open(): number {
    return this.#open;
  }

  /** The share of late queries among the last hundred or so. Lost packets and departed nodes make queries late. */
  get lateShare(): number {
    return this.#lateShare;
  }

  get nextDeadline(): Millis {
    return this.#agenda.next;
  }

  tick(now: Millis): void {
    for (let due = this.#agenda.take(now); due !== undefined; due = this.#agenda.take(now)) {
      const lag = now - due.dueAt;
      if (lag > STALL_MS && due.stalls < MAX_STALLS) {
        // Our own process stalled, so an answer may have arrived that we have not read yet: allow more time.
        due.stalls++;
        this.#schedule(due, now + due.lateAfter + Math.min(lag, LATE_MAX_MS), due.then);
      } else due.then(due, now);
    }
  }

  /**
   * Sends a query, and repeats it once if no answer comes in time. We limit the rate of queries to
   * nodes with other software. If the limit for the receiver is reached, the query waits. If the
   * wait would be too long, the query ends without being sent.
   */
  send(query: Query, now: Millis, watcher: QueryWatcher): void {
    const tid = this.#newTid();
    const { method, to, args, sendsCoordinate, expected, purpose } = query;
    const contact = expected && this.tables.at(to, expected);
    // Trust what the contact says about its software. A node that lies about it only makes us send
    // more packets to that node.
    const isOurs = contact !== undefined && this.outbox.self.isSameSoftware(contact.client);
    const cost = this.#costOf(query);
    const { line } = this.outbox.traffic.usage;
    const paceWait = isOurs ? 0 : this.#holdFor(query, now);
    const lineWait = cost === undefined ? 0 : line.waitFor(cost, now);
    const wait = Math.max(paceWait, lineWait);
    // A node that keeps us as a contact has verified our address, so our queries to it need no padding.
    const isProven = contact?.keepsUs === true;
    const repeatAfter = this.#waitFor(query, contact);
    const lateAfter = Math.min(LATE_MAX_MS, repeatAfter);
    const pending: Pending = {
      tid,
      method,
      to,
      args: sendsCoordinate ? { ...args, coordinate: COORDINATE } : args,
      purpose: purpose ?? purposeOf(method) ?? "upkeep",
      minBytes: query.minBytes ?? (isProven ? undefined : entitledBytes(query)),
      query,
      watcher,
      first: undefined,
      isOurs,
      cost,
      startedAt: now,
      lateAfter,
      repeatAfter,
      repeat: undefined,
      isOver: false,
      lateAt: NaN,
      stalls: 0,
      then: this.#late,
      dueAt: now + lateAfter,
      slot: NO_SLOT,
    };
    pending.slot = this.#agenda.set(pending, NO_SLOT, pending.dueAt);
    this.#transactions.add(pending);
    this.#open++;
    if (wait === 0) return this.#write(pending, now);
    // End the query later, not within this call: the caller may be in the middle of a search.
    if (paceWait > MAX_HELD_MS || lineWait > MAX_LINE_HELD_MS) {
      return this.#schedule(pending, now, this.#refused);
    }
    if (lineWait > 0) {
      line.hold(cost!);
      return this.#schedule(pending, now + wait, this.#releaseToLine);
    }
    this.#schedule(pending, now, (_, at) => this.#hold(pending, at, now + wait));
  }

  /**
   * The query's cost against the rates that the user has set. Undefined if no rates are set, and for pings, which never
   * wait.
   */
  #costOf({ method, args, purpose }: Query): LineCost | undefined {
    const { line } = this.outbox.traffic.usage;
    if (!line.isLimited || method === "ping") return undefined;
    return line.costOf({
      purpose: purpose ?? purposeOf(method) ?? "upkeep",
      isPut: method === "put",
      valueBytes: args.value?.length ?? 0,
    });
  }

  /**
   * Sends a query that has waited because of the user's rates. If answers have used up the rate, the query waits
   * longer.
   */
  readonly #releaseToLine = (pending: Pending, now: Millis): void => {
    const { line } = this.outbox.traffic.usage, cost = pending.cost!;
    line.release(cost);
    const wait = line.waitFor(cost, now);
    if (wait === 0) return this.#release(pending, now);
    if (now + wait - pending.startedAt > MAX_LINE_HELD_MS) return this.#refused(pending, now);
    line.hold(cost);
    this.#schedule(pending, now + wait, this.#releaseToLine);
  };

  /**
   * How long a query must wait because of our rate limit for its receiver. Pings never wait,
   * because they are few.
   */
  #holdFor({ method, to }: Query, now: Millis): Millis {
    if (method === "ping" || method.startsWith("dm_")) return 0;
    const wait = this.pace.waitFor(to, now);
    // Count a waiting query now, so that the next one waits longer.
    if (wait > 0 && wait <= MAX_HELD_MS) this.pace.spend(to, now);
    return wait;
  }

  #hold(pending: Pending, now: Millis, until: Millis): void {
    this.#schedule(pending, until, this.#release);
    pending.watcher.onHeld?.(now);
  }

  readonly #release = (pending: Pending, now: Millis): void => {
    pending.startedAt = now;
    this.#schedule(pending, now + pending.lateAfter, this.#late);
    this.#transmit(pending);
  };

  readonly #refused = (pending: Pending, now: Millis): void => {
    this.#open--;
    this.#remove(pending);
    pending.watcher.done({ kind: "timeout" }, now);
  };

  #schedule(pending: Pending, at: Millis, then: (pending: Pending, now: Millis) => void): void {
    pending.then = then;
    pending.dueAt = at;
    pending.slot = this.#agenda.set(pending, pending.slot, at);
  }

  readonly #late = (pending: Pending, now: Millis): void => {
    pending.lateAt = now;
    const { query: { isOnce }, lateAfter, repeatAfter } = pending;
    if (!isOnce) this.#lateShare += LATE_GAIN * (1 - this.#lateShare);
    this.#schedule(pending, now + OVERDUE_FACTOR * lateAfter, this.#overdue);
    if (repeatAfter <= lateAfter) this.#repeat(pending, now);
    pending.watcher.onLate(now);
  };

  readonly #overdue = (pending: Pending, now: Millis): void => {
    const { lateAfter, repeatAfter, lateAt, startedAt } = pending;
    if (repeatAfter <= lateAfter) {
      const wait = Math.min(MISSED_MAX_MS, Math.max(MISSED_MIN_MS, 2 * lateAfter));
      this.#schedule(pending, Math.max(now, lateAt + wait), this.#missed);
    } else this.#schedule(pending, Math.max(now, startedAt + repeatAfter), this.#repeatSlow);
    pending.watcher.onOverdue(now);
  };

  /** Sends a query to a slow node once more, and waits for the answer as long as the first time. */
  readonly #repeatSlow = (pending: Pending, now: Millis): void => {
    this.#schedule(pending, now + pending.repeatAfter, this.#missed);
    this.#repeat(pending, now);
  };

  readonly #missed = (pending: Pending, now: Millis): void => {
    const { query, watcher, stalls } = pending;
    this.#open--;
    pending.isOver = true;
    this.#schedule(pending, Math.max(now, pending.startedAt + ANSWER_MAX_MS), this.#forget);
    this.pace.noteSilence(query.to, now);
    if (query.expected !== undefined && stalls < MAX_STALLS) this.onMiss?.(query, "no_answer", now);
    watcher.done({ kind: "timeout" }, now);
  };

  /** If a query that arrived is one of ours in flight, returns the endpoint to which we sent it. */
  receiverOf(query: Message): Endpoint | undefined {
    if (query.tidEnd - query.tidStart !== 4) return undefined;
    return this.#transactions.find(word(query.packet, query.tidStart))?.to;
  }

  readonly #forget = (pending: Pending): void => this.#remove(pending);

  #remove(pending: Pending): void {
    this.#transactions.remove(pending);
    if (pending.repeat !== undefined) this.#transactions.remove(pending.repeat);
  }

  #newTid(): number {
    let tid = this.#random.word();
    while (this.#transactions.has(tid)) tid = this.#random.word();
    return tid;
  }

  /** Handles a reply. Returns false if it does not belong to any query of ours. */
  receive(reply: Message, from: Endpoint, now: Millis): boolean {
    const transaction = this.#transactions.settle(reply, from);
    if (transaction === undefined) return false;
    const { traffic } = this.outbox;
    const kind = reply.type === "r" ? "response" : "error";
    traffic.in.count(transaction.method, kind, reply.packet.length);
    const isSecondTry = transaction.first !== undefined;
    const pending = isSecondTry ? transaction.first : transaction;
    traffic.usage.noteReceived(pending.purpose, reply.packet.length, from.family);
    if (pending.cost !== undefined) traffic.usage.line.noteExpected(pending.cost);
    this.#remove(pending);
    this.#agenda.remove(pending, pending.slot);
    const { query, watcher, lateAt, stalls, dueAt, isOver } = pending;
    if (Number.isNaN(lateAt)) this.#lateShare -= LATE_GAIN * this.#lateShare;
    const rtt = now - (isSecondTry ? transaction.at : pending.startedAt);
    const hasStalled = stalls > 0 || now - dueAt > STALL_MS;
    // This mean is used for all nodes. So limit the time: one slow node must not make us wait for
    // seconds for all other nodes.
    if (query.method === "put" && !hasStalled) this.#puts.add(Math.min(rtt, LATE_MAX_MS));
    const isRttUnsure = hasStalled || query.method === "put";
    if (!isRttUnsure) traffic.roundTrips.add(rtt);
    const outcome: Reply = reply.type === "e"
      ? { kind: "error", code: reply.errorCode, text: reply.errorText, rtt }
      : { kind: "response", message: reply, rtt, isRttUnsure, isSecondTry };
    this.#learn(query, reply, outcome, now);
    if (isOver) return true;
    this.#open--;
    watcher.done(outcome, now);
    return true;
  }

  #write(pending: Pending, now: Millis, tid = pending.tid): void {
    if (!pending.isOurs) this.pace.spend(pending.to, now);
    this.#transmit(pending, tid);
  }

  /** Sends a query once more, unless our rate limit for its receiver is reached. */
  #repeat(pending: Pending, now: Millis): void {
    const { method, to, query: { args, isOnce }, stalls } = pending;
    // Don't repeat a put with a cas: if the first one succeeded, the second would be refused. Also,
    // repeat nothing while our process can't keep up with the answers.
    if (args.cas !== undefined || isOnce || stalls >= MAX_STALLS) return;
    if (!pending.isOurs && this.pace.waitFor(to, now) > 0) return;
    const { cost } = pending;
    if (cost !== undefined && this.outbox.traffic.usage.line.waitFor(cost, now) > 0) return;
    const tid = this.#newTid();
    pending.repeat = { tid, method, to, first: pending, at: now };
    this.#transactions.add(pending.repeat);
    this.#write(pending, now, tid);
  }

  #transmit(pending: Pending, tid = pending.tid): void {
    if (pending.query.sendsCoordinate) this.tables.coordinate.write(COORDINATE, 0);
    this.onSent?.(pending.to);
    if (pending.cost !== undefined) this.outbox.traffic.usage.line.expect(pending.cost);
    this.outbox.send(tid === pending.tid ? pending : { ...pending, tid });
  }

  /** Learns from a reply about our address, our coordinate, round-trip times, and the node that sent it. */
  #learn(query: Query, reply: Message, outcome: Reply, now: Millis): void {
    const { method, to, expected, rtt: guess = NaN } = query;
    this.pace.noteAnswer(to, this.outbox.self.isSameSoftware(reply.client), now);
    if (reply.ip !== undefined) this.onVote?.(query, reply.ip, now);
    const isAnswer = reply.type === "r" && reply.id !== undefined;
    // A node may answer other queries with an error. But a node that answers a ping with an error
    // must not remain a contact.
    if (!isAnswer && method === "ping" && expected !== undefined) {
      this.onMiss?.(query, "bad_pong", now);
    }
    if (outcome.kind !== "response") {
      if (reply.errorCode === ErrorCode.unknownMethod) this.onMiss?.(query, "unsupported", now);
      const { code, text } = outcome;
      this.onUnusable?.({ from: to, kind: "error", code, text });
      return;
    }
    const { rtt } = outcome;
    if (!outcome.isRttUnsure) {
      if (reply.coordinate !== undefined) {
        this.tables.coordinate.learn(reply.coordinate, rtt, () => this.#random.fraction());
      }
      if (expected === undefined || this.tables.at(to, expected) === undefined) {
        if (guess > 0 && !isContradicted(guess, rtt)) this.#guessed.add(rtt / guess);
        else this.#unknown.add(rtt);
      }
    }
    // A node that others can't reach does not belong in a routing table (BEP 43).
    if (isAnswer && !reply.readOnly) return this.onAnswer?.(query, outcome, now);
    if (!isAnswer) this.outbox.traffic.drop("no_id");
    this.onUnusable?.({ from: to, kind: isAnswer ? "read_only" : "no_id" });
  }

  /**
   * The time until a query is repeated: the mean of the node's round trips plus {@link
   * LATE_VARIATIONS} times their variation (RFC 6298). If no round trips to the node were measured,
   * the time is estimated from its coordinate or, without a coordinate, from the round trips to other nodes that we knew
   * nothing about.
   */
  #waitFor({ method, rtt: guess = NaN }: Query, contact: Contact | undefined): number {
    let wait: number;
    if (contact !== undefined && !Number.isNaN(contact.rtt)) {
      const { rtt, rttVariation } = contact;
      wait = rtt + Math.max(LATE_VARIATIONS * rttVariation, JITTER_SHARE * rtt);
    } else {
      wait = guess > 0 ? guess * this.#guessed.lateAfter : this.#unknown.lateAfter;
    }
    if (method === "put") wait = Math.max(wait, PUT_MIN_MS, this.#puts.lateAfter);
    return Math.min(ANSWER_MAX_MS, Math.max(LATE_MIN_MS, wait));
  }
}

/** A smoothed mean and its variation. */
class Mean {
  #mean: number;
  #variation: number;

  constructor(mean: number, variation: number, readonly variations = LATE_VARIATIONS) {
    this.#mean = mean;
    this.#variation = variation;
  }

  /** Round trips longer than this are late. */
  get lateAfter(): number {
    return this.#mean + Math.max(this.variations * this.#variation, JITTER_SHARE * this.#mean);
  }

  add(value: number): void {
    this.#variation += RTT_VARIATION_GAIN * (Math.abs(value - this.#mean) - this.#variation);
    this.#mean += RTT_GAIN * (value - this.#mean);
  }
}
