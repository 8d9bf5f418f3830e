// Maintains the routing tables: admits nodes, checks their health, and removes those that stop answering or misbehave.

import { type Endpoint, mayRefer } from "../../krpc/endpoint.ts";
import { type Id, word } from "../../krpc/id.ts";
import {
  MAX_REPLY_NODES,
  type Message,
  type Method,
  readCompactNodes,
} from "../../krpc/message.ts";
import { Allowance } from "../allowance.ts";
import { Recent } from "../bounded_map.ts";
import { Agenda, type Deadline, type Deadlines, type Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import { Contact, type Health, MISSES_TO_DROP, type OptionalMethod } from "../routing/contact.ts";
import { expectedRttAt, isContradicted, OWN_COORDINATE_BYTES } from "../routing/coordinate.ts";
import { isCounted, ownerOf } from "../routing/diversity.ts";
import type { Tables } from "../routing/tables.ts";
import type { Miss, Queries } from "../search/queries.ts";
import { type Answer, type Query, whenDone } from "../search/query.ts";
import type { Self } from "../self.ts";
import { Remembered } from "./remembered.ts";
import { Renames } from "./renames.ts";

/** A contact that has kept its id and address for this long may hold items. */
const SETTLED_MS = 60_000;

/** An unanswered check is repeated after this time, and a second time after twice as long. */
const RECHECK_MS = 5_000;

/** If all contacts are checked at once, the checks are spread over this time. */
const CHECK_ALL_WITHIN_MS = 15_000;

/** Misses within this time count as one, because several lookups may query a node during one short outage. */
const MISS_SPACING_MS = 1_000;

/**
 * The bounds of the random time until a contact's next check, as shares of the interval. If two
 * nodes have each other in their tables, one ping checks both. The node with the smaller id sends
 * this ping, so early that it arrives before the other node's check is due.
 */
const EARLIEST_CHECK = 0.985, FIRST_CHECKS_UNTIL = 0.988, SECOND_CHECKS_FROM = 0.998;

/** A read-only node checks its contacts this many times less often, because it does not name them to other nodes. */
const CLIENT_FACTOR = 5;

/**
 * Nodes of other implementations don't hold our items reliably. We check them only as often as they
 * need to stay good (BEP 5: an answer within 15 minutes): after 14 times the usual interval, but at
 * least every 14 minutes.
 */
const FOREIGN_FACTOR = 14, FOREIGN_MAX_MS = 14 * 60_000;

/** Limits on the pings that test whether a stranger that queried us can become a contact: a burst and a rate. */
const VERIFY_BURST = 32, VERIFY_PER_SECOND = 10;

/**
 * One address gets at most one ping that tests a stranger within this time, so that one address
 * can't use up the pings for all other addresses. In private networks, where many nodes may share
 * an address, the limit applies to each endpoint. Without a limit, a node that answers each ping
 * with a query would cause the next ping immediately.
 */
const VERIFY_AGAIN_MS = 2_000;

/** The mean time between queries to prospects, which are nodes that seem nearer than our contacts. */
const PROBE_INTERVAL_MS = 1_000;

/**
 * The maximum number of times that `PROBE_INTERVAL_MS` doubles: once per prospect that answers later than its
 * coordinate promises.
 */
const MAX_PROBE_DOUBLINGS = 6;

/** A contact with this many faults is dropped. Good answers reduce the count. */
const FAULTS_TO_DROP = 5;

/** Lost items can't raise the faults of a contact above this number. */
const MAX_LOSS_FAULTS = 2;

/**
 * The ping for a node that is in our table, or will be once it answers. The argument `keeps` tells
 * the node that we keep it. If two nodes have each other in their tables, one ping can thus check
 * both.
 */
const PING = { args: { keeps: true }, sendsCoordinate: true } as const;

/**
 * kept: the node is in our tables. wanted: we add the node if it answers a ping. none: we have no
 * place for the node.
 */
export type Standing = "kept" | "wanted" | "none";

/** Why a contact was removed, or why its health changed: a code for programs, and a text for people. */
export interface ContactReason {
  readonly kind:
    | "answered"
    | "silent"
    | "new_id"
    | "moved"
    | "replaced"
    | "wrong_value"
    | "no_place"
    | "denied";
  readonly text: string;
}

const ANSWERED = { kind: "answered", text: "answered again" } as const;
const NEW_ID = { kind: "new_id", text: "answers under another id" } as const;
const MOVED = { kind: "moved", text: "moved to another address" } as const;
const NO_PLACE = { kind: "no_place", text: "no place in the tables around our new id" } as const;
const WRONG_VALUE = {
  kind: "wrong_value",
  text: "returned a wrong value",
} as const;
const DENIED = { kind: "denied", text: "is in the deny list" } as const;
const NO_PONG = { kind: "silent", text: "no answer to ping" } as const;
const BAD_PONG = { kind: "silent", text: "no valid answer to ping" } as const;

export type ContactEvent =
  | { readonly type: "peer.join"; readonly contact: Contact }
  | { readonly type: "peer.leave"; readonly contact: Contact; readonly reason: ContactReason }
  | {
    readonly type: "peer.health";
    readonly contact: Contact;
    readonly from: Health;
    readonly to: Health;
    readonly reason: ContactReason;
  };

interface ContactsOptions {
  readonly queries: Queries;
  readonly healthCheckIntervalMs: number;
  readonly deadlines: Deadlines;
  readonly random: Random;
  readonly emit: (event: ContactEvent) => void;
}

export class Contacts {
  readonly tables: Tables;
  /** Contacts by the time of their next health check. */
  readonly checks = new Agenda<Contact>();
  /** The records of former contacts, including those from an earlier run. */
  readonly remembered = new Remembered();
  /** Counts the nodes that keep changing their ids. */
  readonly renames = new Renames();
  /** Called when a contact is added, or when one is removed because it seems to be gone. */
  onChange: ((contact: Contact, isThere: boolean, now: Millis) => void) | undefined;
  /** Called when a second endpoint uses the id of a contact that still answers. */
  onSecondEndpoint: ((contact: Contact, other: Endpoint, now: Millis) => void) | undefined;
  /** Called when a contact is removed because it did not answer. */
  onLost: ((contact: Contact, now: Millis) => void) | undefined;
  readonly #queries: Queries;
  readonly #self: Self;
  readonly #options: ContactsOptions;
  readonly #verifications = new Allowance(VERIFY_PER_SECOND, VERIFY_BURST);
  /**
   * Addresses of unknown nodes that we recently pinged because they had queried us: their owners
   * or, in private networks, their endpoints. We don't ping these again too soon.
   */
  readonly #verified = new Recent(VERIFY_AGAIN_MS, VERIFY_BURST + 2 * VERIFY_PER_SECOND);
  /** Signs of life from before this time don't replace a health check. */
  #suspectUntil: Millis = -Infinity;
  /**
   * Contacts that left a query unanswered and are being pinged to find out whether they are alive.
   */
  readonly #doubted = new Set<Contact>();
  #hasProspects = false;
  /**
   * The number of prospects that answered later than predicted, minus those that answered in time;
   * from 0 to `MAX_PROBE_DOUBLINGS`.
   */
  #falseProspects = 0;
  #probe: Deadline | undefined;

  constructor(options: ContactsOptions) {
    this.#options = options;
    this.#queries = options.queries;
    this.tables = options.queries.tables;
    this.#self = options.queries.outbox.self;
  }

  /** Sorts all contacts into new tables around our new id. Contacts for which there is no place are removed. */
  rebuild(now: Millis): void {
    const before = [...this.tables.contacts()];
    this.tables.reset(this.#self.id, now);
    for (const contact of before) {
      const { admission, replaced } = this.tables.of(contact.endpoint.family).admit(contact, now);
      if (replaced !== undefined) this.#left(replaced, NO_PLACE, now);
      if (admission !== "added") this.#left(contact, NO_PLACE, now);
    }
  }

  /** Checks all contacts soon, even those that gave a sign of life recently: our machine may have slept since then. */
  checkAll(now: Millis): void {
    this.#suspectUntil = now;
    for (const contact of this.tables.contacts()) {
      this.#scheduleCheck(contact, now + CHECK_ALL_WITHIN_MS * this.#options.random.fraction());
    }
  }

  tick(now: Millis): void {
    for (let due = this.checks.take(now); due !== undefined; due = this.checks.take(now)) {
      this.#check(due, now);
    }
  }

  /** Records a query, which shows that its sender is alive. If this returns "wanted", call `verify` next. */
  considerAsker({ id, coordinate, keeps }: Message, from: Endpoint, now: Millis): Standing {
    const table = this.tables.byFamily[from.family];
    if (table === undefined || id === undefined) return "none";
    const contact = table.find(id);
    const known = contact ?? table.waiting(id);
    const isThere = known?.endpoint.equals(from) ?? false;
    if (known !== undefined && isThere) {
      known.asked(now);
      if (keeps !== undefined) known.keepsUs = keeps;
      this.#postpone(known, now);
    }
    if (contact !== undefined && !isThere) this.#noteSecondEndpoint(contact, from, now);
    if (contact !== undefined) return isThere ? "kept" : "none";
    if (id.equals(this.#self.id)) return "none";
    if (!table.hasRoom(id)) {
      // Ignore nodes without a coordinate. To learn how near such a node is, we would have to ping
      // it after each of its queries.
      if (coordinate?.length !== OWN_COORDINATE_BYTES) return "none";
      const rtt = known?.rtt ?? expectedRttAt(this.tables.coordinate, coordinate, 0);
      const node = { id, endpoint: from };
      if (!table.wouldAdmit(node, { rtt, isMutual: keeps === true }, now)) return "none";
    }
    // In our own subnet and those of bootstrap nodes, limit the pings for each address, not for a
    // whole /64: the nodes of such a subnet often start together.
    const isHome = this.tables.subnets.isHome(from);
    const owner = !isCounted(from) ? `${from}` : isHome ? from.host : ownerOf(from);
    if (this.#verified.has(owner, now)) return "none";
    if (!this.#verifications.take(now)) return "none";
    this.#verified.add(owner, now);
    return "wanted";
  }

  #noteSecondEndpoint(contact: Contact, other: Endpoint, now: Millis): void {
    if (contact.health === "healthy") this.onSecondEndpoint?.(contact, other, now);
  }

  /** Pings a node that has queried us, and that becomes a contact if it answers. */
  verify(id: Id, endpoint: Endpoint, now: Millis): void {
    const query = {
      method: "ping",
      to: endpoint,
      expected: id,
      isVerification: true,
      ...PING,
    } as const;
    this.#queries.send(query, now, NO_WATCHER);
  }

  /** Pings a contact, or a found node that becomes a contact if it answers and there is a place for it. */
  ping(id: Id, endpoint: Endpoint, now: Millis): void {
    const query = { method: "ping", to: endpoint, expected: id, ...PING } as const;
    this.#queries.send(query, now, NO_WATCHER);
  }

  /**
   * Notes a node that another node named. It becomes the prospect of its bucket, unless a faster one is already known.
   * Call `probeSoon` afterwards.
   */
  hear(
    id: Id,
    endpoint: Endpoint,
    { expected, now }: { readonly expected: number; readonly now: Millis },
  ): void {
    const { byFamily, hearsay } = this.tables, { family } = endpoint;
    const table = byFamily[family];
    if (table === undefined) return;
    if (table.consider(id, endpoint, expected)) this.#hasProspects = true;
    const named = hearsay[family]!;
    named.grow(table.bucketCount - 1);
    named.note(id, endpoint, { expected, now });
  }

  /** Ensures that prospects are queried, one after another. */
  probeSoon(now: Millis): void {
    if (this.#hasProspects) this.#probe ??= this.#scheduleProbe(now);
  }

  #scheduleProbe(now: Millis): Deadline {
    const { deadlines, random } = this.#options;
    const interval = PROBE_INTERVAL_MS * 2 ** this.#falseProspects;
    const at = now + interval * (0.5 + random.fraction());
    return deadlines.schedule(at, (due) => this.#probeNext(due));
  }

  /**
   * Asks the next prospect for other nodes of its bucket, which are probably near us too (T-Man, Jelasity et al.,
   * 2009).
   */
  #probeNext(now: Millis): void {
    this.#probe = undefined;
    for (const family of this.tables.families) {
      const taken = this.tables.of(family).takeProspect(now);
      if (taken === undefined) continue;
      const { prospect: { id, endpoint, rtt }, bucket } = taken;
      const target = id.flip(bucket + 1).withSuffix(bucket + 2, this.#options.random.id());
      const args = { ...PING.args, target, wantCount: MAX_REPLY_NODES };
      const query: Query = { method: "find_node", to: endpoint, expected: id, rtt, ...PING, args };
      const watcher = whenDone((outcome, at) => {
        if (outcome.kind !== "response") return;
        const isFalse = isContradicted(rtt, outcome.rtt);
        const count = this.#falseProspects + (isFalse ? 1 : -1);
        this.#falseProspects = Math.max(0, Math.min(MAX_PROBE_DOUBLINGS, count));
        this.#hearAll(outcome.message, endpoint, at);
        this.probeSoon(at);
      });
      this.#queries.send(query, now, watcher);
      this.#probe = this.#scheduleProbe(now);
      return;
    }
    this.#hasProspects = false;
  }

  #hearAll({ nodes, nodes6, nodeCoordinates }: Message, from: Endpoint, now: Millis): void {
    const compact = from.family === 4 ? nodes : nodes6;
    if (compact === undefined) return;
    readCompactNodes(compact, from.family, (id, endpoint, index) => {
      const expected = expectedRttAt(this.tables.coordinate, nodeCoordinates, index);
      if (!Number.isNaN(expected) && mayRefer(from, endpoint)) {
        this.hear(id, endpoint, { expected, now });
      }
    });
  }

  /** Records an answer to a query. A node that is not a contact becomes one if there is a place for it. */
  noteAnswer({ method, to: from, expected }: Query, answer: Answer, now: Millis): void {
    const id = answer.message.id!;
    const table = this.tables.byFamily[from.family];
    if (table === undefined || id.equals(this.#self.id)) return;
    if (expected !== undefined && !expected.equals(id)) {
      const former = table.find(expected);
      if (former?.endpoint.equals(from)) this.#rename(former, now);
    }
    let contact = table.find(id);
    if (contact !== undefined && !contact.endpoint.equals(from)) {
      // A node can't take over the id of a healthy contact by answering from another endpoint.
      if (contact.health === "healthy") return this.#noteSecondEndpoint(contact, from, now);
      this.#remove(contact, MOVED, now);
      contact = table.find(id);
    }
    if (contact === undefined) return this.#admit(from, answer, now);
    const before = contact.health;
    contact.answered(now, answer.rtt, answer.isRttUnsure, answer.isSecondTry);
    if (isOptional(method)) contact.noteSupport(method, true);
    this.#learn(contact, answer.message);
    if (before === "healthy") return;
    this.#emitHealth(contact, before, ANSWERED);
    this.#scheduleCheck(contact, now + this.#interval(contact));
  }

  /** Admits a node that answered for the first time, if there is a place for it. */
  #admit(from: Endpoint, { message, rtt, isRttUnsure, isSecondTry }: Answer, now: Millis): void {
    const table = this.tables.of(from.family);
    const newcomer = new Contact(message.id!, from, now);
    const record = this.remembered.get(newcomer.id);
    if (record !== undefined) newcomer.recall(record, now);
    newcomer.answered(now, rtt, isRttUnsure, isSecondTry);
    this.#learn(newcomer, message);
    // Each endpoint belongs to one node. If the table has another id at this endpoint, the node has changed its id.
    for (let former = table.at(from); former !== undefined; former = table.at(from)) {
      this.#rename(former, now);
    }
    const { admission, replaced } = table.admit(newcomer, now);
    if (replaced !== undefined) this.#left(replaced, replacedBy(newcomer, replaced), now);
    if (admission !== "added") return;
    this.#enter(newcomer, now);
    // Spread out the checks of contacts that join at the same time.
    const share = 0.5 + this.#options.random.fraction() / 2;
    this.#scheduleCheck(newcomer, now + share * this.#fullInterval(newcomer));
  }

  /** Removes a contact that has answered under another id. */
  #rename(contact: Contact, now: Millis): void {
    this.renames.note(contact.endpoint, now);
    this.#remove(contact, NEW_ID, now);
  }

  /** Stores what a reply says about its sender. Drops a coordinate that our round trips contradict. */
  #learn(contact: Contact, { client, coordinate, keeps }: Message): void {
    if (client !== 0) contact.client = client;
    if (keeps !== undefined) contact.keepsUs = keeps;
    if (coordinate?.length !== OWN_COORDINATE_BYTES) return;
    const expected = expectedRttAt(this.tables.coordinate, coordinate, 0);
    const isFalse = isContradicted(expected, contact.rtt);
    contact.coordinateXy = isFalse ? 0 : word(coordinate, 0);
    contact.coordinateZHeight = isFalse ? 0 : word(coordinate, 4);
  }

  /** Records that a node returned a wrong value. A contact that does so repeatedly is dropped. */
  noteFault(id: Id, from: Endpoint, now: Millis): void {
    const contact = this.tables.at(from, id);
    if (contact === undefined) return;
    contact.failed();
    if (contact.faults >= FAULTS_TO_DROP) this.#remove(contact, WRONG_VALUE, now);
  }

  /**
   * Records that a contact no longer has an item that it acknowledged. The contact stays, because it still leads us to
   * other nodes. A node that restarted loses all items at once, so lost items add few faults.
   */
  noteLoss(id: Id, from: Endpoint): void {
    const contact = this.tables.at(from, id);
    if (contact !== undefined && contact.faults < MAX_LOSS_FAULTS) contact.failed();
  }

  /** Records that a node did not answer, answered a ping wrongly, or does not support the query's method. */
  noteMiss({ method, to, expected }: Query, miss: Miss, now: Millis): void {
    const contact = expected && this.tables.at(to, expected);
    if (contact === undefined) return;
    if (miss === "unsupported") {
      if (isOptional(method)) contact.noteSupport(method, false);
      return;
    }
    if (method !== "ping") return this.#doubt(contact, method, now);
    if (now - contact.lastMiss < MISS_SPACING_MS) return;
    const before = contact.health;
    contact.missed(now);
    const reason: ContactReason = miss === "bad_pong" ? BAD_PONG : NO_PONG;
    if (contact.misses >= MISSES_TO_DROP) {
      this.#remove(contact, reason, now);
      this.onLost?.(contact, now);
      return;
    }
    if (contact.health !== before) this.#emitHealth(contact, before, reason);
    const { healthCheckIntervalMs } = this.#options;
    const wait = Math.min(RECHECK_MS, healthCheckIntervalMs / 6) * 2 ** (contact.misses - 1);
    this.#scheduleCheck(contact, now + wait);
  }

  /**
   * Pings a contact that left another query unanswered. Only an unanswered ping counts as a miss,
   * because many clients never answer `get`. If a contact is alive, but has left two queries of an
   * optional method unanswered and has never answered such a query, we assume that it does not
   * support the method. Nodes of this project are an exception: they support all queries, and were
   * only busy.
   */
  #doubt(contact: Contact, method: Method, now: Millis): void {
    if (this.#doubted.has(contact)) return;
    this.#doubted.add(contact);
    const { id: expected, endpoint: to } = contact;
    const watcher = whenDone(({ kind }) => {
      this.#doubted.delete(contact);
      if (kind !== "response") return;
      const isOurs = this.#self.isSameSoftware(contact.client);
      if (!isOptional(method) || isOurs || contact.supports(method)) contact.ignored();
      else contact.noteIgnored(method);
    });
    this.#queries.send({ method: "ping", to, expected, ...PING }, now, watcher);
  }

  #emitHealth(contact: Contact, from: Health, reason: ContactReason): void {
    this.#options.emit({ type: "peer.health", contact, from, to: contact.health, reason });
  }

  #enter(contact: Contact, now: Millis): void {
    this.onChange?.(contact, true, now);
    this.#options.emit({ type: "peer.join", contact });
  }

  #left(contact: Contact, reason: ContactReason, now: Millis): void {
    this.checks.remove(contact, contact.checkSlot);
    if (isGone(contact, reason, now)) this.onChange?.(contact, false, now);
    this.remembered.set(contact.id, contact.record);
    this.#options.emit({ type: "peer.leave", contact, reason });
  }

  /** Removes all contacts for which `isDenied` returns true. */
  deny(isDenied: (contact: Contact) => boolean, now: Millis): void {
    let denied: Contact[];
    // Repeat this, because the replacement of a removed contact may be denied too.
    while ((denied = [...this.tables.contacts()].filter(isDenied)).length > 0) {
      for (const contact of denied) this.#remove(contact, DENIED, now);
    }
  }

  #remove(contact: Contact, reason: ContactReason, now: Millis): void {
    const replacement = this.tables.of(contact.endpoint.family).remove(contact, now);
    this.#left(contact, reason, now);
    if (replacement === undefined) return;
    this.#enter(replacement, now);
    // The replacement may have been waiting for a long time, so check immediately whether it is
    // still alive.
    this.#scheduleCheck(replacement, now);
  }

  /** The time until the next check: random, and a little shorter than the full interval. */
  #interval(contact: Contact): number {
    const { id, keepsUs } = contact;
    const isFirst = keepsUs === true && this.#self.id.a >>> 0 < id.a >>> 0;
    const [from, to] = isFirst ? [EARLIEST_CHECK, FIRST_CHECKS_UNTIL] : [SECOND_CHECKS_FROM, 1];
    const share = from + (to - from) * this.#options.random.fraction();
    return share * this.#fullInterval(contact);
  }

  #fullInterval({ client, endpoint: { family } }: Contact): number {
    const { healthCheckIntervalMs: usual } = this.#options;
    const interval = this.#self.isReadOnly(family) ? CLIENT_FACTOR * usual : usual;
    if (this.#self.isSameSoftware(client)) return interval;
    return Math.max(interval, Math.min(FOREIGN_FACTOR * usual, FOREIGN_MAX_MS));
  }

  #scheduleCheck(contact: Contact, at: Millis): void {
    contact.checkAt = Math.ceil(at);
    contact.checkSlot = this.checks.set(contact, contact.checkSlot, contact.checkAt);
  }

  /** Postpones the check of a contact that has just queried us, unless the check is still far off. */
  #postpone(contact: Contact, now: Millis): void {
    const { checkAt, checkSlot, misses, firstSeen } = contact;
    if (misses > 0 || !this.checks.has(contact, checkSlot)) return;
    const interval = this.#fullInterval(contact);
    if (checkAt > now + interval / 2 || now - firstSeen < interval) return;
    this.#scheduleCheck(contact, now + this.#interval(contact));
  }

  /** Pings a contact, unless a recent answer or query from it has shown that it is alive. */
  #check(contact: Contact, now: Millis): void {
    const interval = this.#fullInterval(contact);
    const lastSign = Math.max(contact.lastResponse, contact.lastQuery);
    // Many contacts join at the same time, so the first checks are spread over half an interval.
    const isNew = now - contact.firstSeen < interval;
    const isFresh = lastSign > this.#suspectUntil &&
      now - lastSign < (isNew ? 0.5 : EARLIEST_CHECK) * interval;
    if (contact.misses === 0 && isFresh) {
      return this.#scheduleCheck(contact, lastSign + this.#interval(contact));
    }
    this.#scheduleCheck(contact, now + this.#interval(contact));
    this.ping(contact.id, contact.endpoint, now);
  }
}

/** Whether a contact that left the table is really gone, together with the items that it held. */
function isGone({ firstSeen }: Contact, { kind }: ContactReason, now: Millis): boolean {
  // A node that only lost its place in our table is still online and keeps its items.
  if (kind === "replaced" || kind === "no_place") return false;
  // A node that often changes its id holds no items under its short-lived ids, so no repair is
  // needed.
  return kind === "silent" || now - firstSeen >= SETTLED_MS;
}

function isOptional(method: Method): method is OptionalMethod {
  return method === "get" || method === "put";
}

const NO_WATCHER = whenDone(() => {});

function replacedBy(newcomer: Contact, replaced: Contact): ContactReason {
  const text = replaced.health === "unhealthy"
    ? "replaced by a peer that answers"
    : newcomer.rtt < replaced.rtt
    ? "replaced by a nearer peer"
    : "replaced by a peer that keeps us too";
  return { kind: "replaced", text };
}
