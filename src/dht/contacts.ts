// The care of the routing tables: who enters them, who is checked and when, who leaves.

import type { Endpoint, Family } from "../krpc/endpoint.ts";
import { mayRefer } from "../krpc/endpoint.ts";
import { type Id, word } from "../krpc/id.ts";
import { type Message, readCompactNodes } from "../krpc/message.ts";
import { CheckQueue, UNQUEUED } from "./check_queue.ts";
import { Contact, type ContactRecord, MISSES_TO_DROP } from "./contact.ts";
import { expectedRttAt, OWN_COORDINATE_BYTES, type OwnCoordinate } from "./coordinate.ts";
import type { Deadline, Deadlines, Millis } from "./deadlines.ts";
import { isCounted, ownerOf } from "./diversity.ts";
import type { Host } from "./host.ts";
import type { QueryWatcher } from "./lookup.ts";
import { OWN_COORDINATE, type Query, whenDone } from "./queries.ts";
import type { Random } from "./random.ts";
import { Recent } from "./recent.ts";
import { Remembered } from "./remembered.ts";
import { MAX_REPLY_NODES } from "./responder.ts";
import type { Techniques } from "./techniques.ts";
import { RoutingTable } from "./routing_table.ts";
import type { Self } from "./self.ts";

/** An unanswered check is repeated after this, then after twice as long. */
const RECHECK_MS = 5_000;

/** Misses closer together than this are one: several lookups may ask a node during one outage of its link. */
const MISS_SPACING_MS = 1_000;

/**
 * When a check comes, as shares of the interval. Of two that keep each other one ping checks both: the one of the
 * smaller id sends it, so much earlier that it has arrived when the other's turn would come.
 */
const EARLIEST_CHECK = 0.985, FIRST_CHECKS_UNTIL = 0.988, SECOND_CHECKS_FROM = 0.998;

/** A read-only node serves nobody with its contacts, and keeps its NAT open by other means: it checks so much less often. */
const CLIENT_FACTOR = 5;

/** Strangers that queried us are pinged before they may enter the table: so many at once, and so many a second. */
const VERIFY_BURST = 32, VERIFY_PER_SECOND = 10;

/** One address has no second turn in this time: it would use up what there is for all. */
const VERIFY_AGAIN_MS = 2_000;

/** Nodes that seem to be nearer than those we have are asked this often on average, while there are any. */
const PROBE_EVERY_MS = 1_000;

/** Faults, as far as they are not forgiven, after which a contact is dropped. */
const FAULTS_TO_DROP = 5;

/** Faults up to which lost items count. */
const MOST_LOSSES = 2;

const NOBODY = whenDone(() => {});

/**
 * Whom we ask of our own accord we keep, or will once it answers, and say so. Of two that keep each other one ping
 * checks both, and who is told early does not look for others meanwhile.
 */
const PING = { coordinate: OWN_COORDINATE, keeps: true };

/** What who queried us has in our tables: a place, one that it is to get by answering, or none. */
export type Standing = "kept" | "wanted" | "none";

/** What the contacts need of the node. */
export interface ContactsNode {
  readonly host: Host;
  readonly self: Self;
  readonly coordinate: OwnCoordinate;
  query(query: Query, now: Millis, watcher: QueryWatcher): void;
  /** Whether nobody asks us (BEP 43). */
  isReadOnly(family: Family): boolean;
  /** One of our closest neighbours came or went. */
  noteNeighbour(endpoint: Endpoint, isThere: boolean, now: Millis): void;
  /** A contact left because it did not answer. */
  noteLost(contact: Contact, now: Millis): void;
}

export interface ContactsOptions {
  readonly k: number;
  readonly healthCheckIntervalMs: number;
  readonly families: readonly Family[];
  readonly techniques: Techniques;
  /** Contacts of one /24 or /64 in a bucket; 0: any number. */
  readonly perSubnet: number;
}

export class Contacts {
  tables: { readonly [F in Family]?: RoutingTable };
  /** Those that have a table. */
  readonly families: readonly Family[];
  readonly #node: ContactsNode;
  readonly #options: ContactsOptions;
  readonly #deadlines: Deadlines;
  /** Contacts by the time of their next health check. */
  readonly #checks = new CheckQueue<Contact>();
  readonly #random: Random;
  #verifyAllowance = VERIFY_BURST;
  #verifiedAt: Millis;
  /** Whose newcomers were pinged lately. */
  readonly #verified = new Recent(VERIFY_AGAIN_MS, VERIFY_BURST + 2 * VERIFY_PER_SECOND);
  #probe: Deadline | undefined;
  readonly #remembered = new Remembered();

  constructor(
    node: ContactsNode,
    options: ContactsOptions,
    deadlines: Deadlines,
    random: Random,
    now: Millis,
  ) {
    this.#node = node;
    this.#options = options;
    this.#deadlines = deadlines;
    this.#random = random;
    this.#verifiedAt = now;
    this.families = ([4, 6] as const).filter((family) => options.families.includes(family));
    this.tables = this.#newTables(now);
  }

  #newTables(now: Millis): { readonly [F in Family]?: RoutingTable } {
    const { k, perSubnet, techniques: { near } } = this.#options;
    return Object.fromEntries(
      this.families.map((family) => [
        family,
        new RoutingTable(this.#node.self.id, k, now, perSubnet, near),
      ]),
    );
  }

  /** Sorts all contacts anew, around the id that the node has now; who finds no place leaves. */
  rebuild(now: Millis): void {
    const before = [...this.all()];
    this.tables = this.#newTables(now);
    for (const contact of before) {
      const { admission, replaced } = this.tables[contact.endpoint.family]!.admit(contact, now);
      if (replaced !== undefined) this.#left(replaced, "no place beside our new id", now);
      if (admission !== "added") this.#left(contact, "no place beside our new id", now);
    }
  }

  /** When `tick` is to be called next. */
  get nextDeadline(): Millis {
    return this.#checks.next;
  }

  /** Health checks that wait for their time. */
  get checks(): number {
    return this.#checks.size;
  }

  /** Does what is due. */
  tick(now: Millis): void {
    for (let due = this.#checks.take(now); due !== undefined; due = this.#checks.take(now)) {
      this.#check(due, now);
    }
  }

  /** Contacts of all families. */
  *all(): Generator<Contact> {
    for (const family of this.families) yield* this.tables[family]!.contacts();
  }

  get size(): number {
    return (this.tables[4]?.size ?? 0) + (this.tables[6]?.size ?? 0);
  }

  /** The contact with this id, of either family. */
  find(id: Id): Contact | undefined {
    return this.tables[4]?.find(id) ?? this.tables[6]?.find(id);
  }

  /** The contact with this id, if it is at this endpoint. */
  at(to: Endpoint, id: Id): Contact | undefined {
    const contact = this.tables[to.family]?.find(id);
    return contact?.endpoint.equals(to) ? contact : undefined;
  }

  // ---- newcomers

  /** Notes a sign of life of who queried us. Who is wanted is to be verified. */
  considerAsker({ id, coordinate, keeps }: Message, from: Endpoint, now: Millis): Standing {
    const table = this.tables[from.family];
    if (table === undefined || id === undefined) return "none";
    const contact = table.find(id);
    const known = contact ?? table.waiting(id);
    const isThere = known?.endpoint.equals(from) ?? false;
    if (known !== undefined && isThere) {
      known.asked(now);
      if (keeps !== undefined) known.keepsUs = keeps;
      this.#putOff(known, now);
    }
    if (contact !== undefined) return isThere ? "kept" : "none";
    if (id.equals(this.#node.self.id)) return "none";
    if (!table.hasRoom(id)) {
      // Who does not say where it is would have to be pinged to find out, again and again.
      if (coordinate?.length !== OWN_COORDINATE_BYTES) return "none";
      const rtt = known?.rtt ?? expectedRttAt(this.#node.coordinate, coordinate, 0);
      if (!table.wouldAdmit(id, rtt, keeps === true, now)) return "none";
    }
    const owner = isCounted(from) ? ownerOf(from) : undefined;
    if (owner !== undefined && this.#verified.has(owner, now)) return "none";
    const regained = (now - this.#verifiedAt) * VERIFY_PER_SECOND / 1000;
    this.#verifyAllowance = Math.min(VERIFY_BURST, this.#verifyAllowance + regained);
    this.#verifiedAt = now;
    if (this.#verifyAllowance < 1) return "none";
    this.#verifyAllowance--;
    if (owner !== undefined) this.#verified.add(owner, now);
    return "wanted";
  }

  /** Pings a node for which there may be a place: it gets that if it answers. */
  verify(id: Id, endpoint: Endpoint, now: Millis): void {
    this.#ping(endpoint, id, now);
  }

  /** A node that others tell of: where it seems to be nearer than contacts that we have, it is asked by and by. */
  hear(id: Id, endpoint: Endpoint, expected: number, now: Millis): void {
    if (!this.#options.techniques.probe) return;
    if (!this.tables[endpoint.family]?.consider(id, endpoint, expected)) return;
    this.#probe ??= this.#deadlines.schedule(
      now + PROBE_EVERY_MS * (0.5 + this.#random.fraction()),
      (at) => this.#probeNext(at),
    );
  }

  /**
   * Asks the next prospect for nodes of its own that belong into the same bucket of ours. It is near, and so are they:
   * so a table gets near contacts in a few steps (as the gossip of T-Man does, Jelasity et al., 2009).
   */
  #probeNext(now: Millis): void {
    this.#probe = undefined;
    for (const family of this.families) {
      const taken = this.tables[family]!.takeProspect(now);
      if (taken === undefined) continue;
      const { prospect: { id, endpoint, rtt }, bucket } = taken;
      const target = id.flip(bucket + 1).withSuffix(bucket + 2, this.#random.id());
      const args = { ...PING, target, wantCount: MAX_REPLY_NODES };
      const query: Query = { method: "find_node", to: endpoint, args, expected: id, rtt };
      const watcher = whenDone((outcome, at) => {
        if (outcome.kind === "response") this.#hearAll(outcome.message, endpoint, at);
      });
      this.#node.query(query, now, watcher);
      this.#probe = this.#deadlines.schedule(
        now + PROBE_EVERY_MS * (0.5 + this.#random.fraction()),
        (at) => this.#probeNext(at),
      );
      return;
    }
  }

  #hearAll({ nodes, nodes6, nodeCoordinates }: Message, from: Endpoint, now: Millis): void {
    const told = from.family === 4 ? nodes : nodes6;
    if (told === undefined) return;
    readCompactNodes(told, from.family, (id, endpoint, index) => {
      const expected = expectedRttAt(this.#node.coordinate, nodeCoordinates, index);
      if (!Number.isNaN(expected) && mayRefer(from, endpoint)) {
        this.hear(id, endpoint, expected, now);
      }
    });
  }

  // ---- answers and misses

  /** Somebody answered a query; whoever is new gets a place where there is one. */
  noteAnswer(
    reply: Message,
    expected: Id | undefined,
    from: Endpoint,
    rtt: number,
    isSecondTry: boolean,
    now: Millis,
  ): void {
    const id = reply.id!;
    const table = this.tables[from.family];
    if (table === undefined || id.equals(this.#node.self.id)) return;
    if (expected !== undefined && !expected.equals(id)) {
      const former = table.find(expected);
      if (former?.endpoint.equals(from)) this.#remove(former, "answers under another id", now);
    }
    let contact = table.find(id);
    if (contact !== undefined && !contact.endpoint.equals(from)) {
      // A healthy contact keeps its id: nobody takes it over by answering from elsewhere.
      if (contact.health === "healthy") return;
      this.#remove(contact, "moved to another address", now);
      contact = table.find(id);
    }
    if (contact !== undefined) {
      const before = contact.health;
      contact.answered(now, rtt, isSecondTry);
      learn(contact, reply);
      if (before === "healthy") return;
      this.#emitHealth(contact, before, "answered again");
      this.#scheduleCheck(contact, now + this.#interval(contact));
      return;
    }
    const newcomer = new Contact(id, from, now);
    learn(newcomer, reply);
    const record = this.#remembered.get(id);
    if (record !== undefined) newcomer.recall(record, now);
    newcomer.answered(now, rtt, isSecondTry);
    let { admission, replaced } = table.admit(newcomer, now);
    if (admission === "refused") {
      // Its address may be taken by itself: nodes change their id when they learn where they are (BEP 42).
      const former = table.at(from);
      if (former === undefined) return;
      this.#remove(former, "answers under another id", now);
      ({ admission, replaced } = table.admit(newcomer, now));
    }
    if (replaced !== undefined) {
      this.#left(
        replaced,
        replaced.health === "unhealthy"
          ? "replaced by one that answers"
          : newcomer.rtt < replaced.rtt
          ? "replaced by a nearer one"
          : "replaced by one that keeps us too",
        now,
      );
    }
    if (admission === "added") this.#joined(newcomer, now);
  }

  /** What is known of a node that is no contact now, from this run or an earlier one: it counts once that answers. */
  remember(id: Id, record: ContactRecord): void {
    this.#remembered.set(id, record);
  }

  /** A contact has answered wrongly, or without use. Who does so again and again leaves. */
  noteFault(id: Id, from: Endpoint, reason: string, now: Millis): void {
    const contact = this.at(from, id);
    if (contact === undefined) return;
    contact.failed();
    if (contact.faults >= FAULTS_TO_DROP) this.#remove(contact, reason, now);
  }

  /**
   * A contact does not have an item that it has acknowledged. It stays, for it still leads to others; nor does a node
   * that has lost all at once, with its memory, count as one that loses again and again.
   */
  noteLoss(id: Id, from: Endpoint): void {
    const contact = this.at(from, id);
    if (contact !== undefined && contact.faults < MOST_LOSSES) contact.failed();
  }

  /** A node that was asked did not answer, or not as it has to. */
  noteMiss(id: Id, to: Endpoint, reason: string, now: Millis): void {
    const contact = this.at(to, id);
    if (contact === undefined || now - contact.lastMiss < MISS_SPACING_MS) return;
    const before = contact.health;
    contact.missed(now);
    if (contact.misses >= MISSES_TO_DROP) {
      this.#remove(contact, reason, now);
      this.#node.noteLost(contact, now);
      return;
    }
    if (contact.health !== before) this.#emitHealth(contact, before, reason);
    const { healthCheckIntervalMs } = this.#options;
    const wait = Math.min(RECHECK_MS, healthCheckIntervalMs / 6) * 2 ** (contact.misses - 1);
    this.#scheduleCheck(contact, now + wait);
  }

  #emitHealth(contact: Contact, from: Contact["health"], reason: string): void {
    this.#node.host.emit({ type: "peer.health", contact, from, to: contact.health, reason });
  }

  #joined(contact: Contact, now: Millis): void {
    this.#come(contact, now);
    // Spread from the start: contacts that joined together must not be checked together.
    const { healthCheckIntervalMs } = this.#options;
    this.#scheduleCheck(contact, now + healthCheckIntervalMs * (0.5 + this.#random.fraction() / 2));
  }

  #come(contact: Contact, now: Millis): void {
    if (this.#isNeighbour(contact)) this.#node.noteNeighbour(contact.endpoint, true, now);
    this.#node.host.emit({ type: "peer.join", contact });
  }

  #isNeighbour({ id, endpoint }: Contact): boolean {
    return this.tables[endpoint.family]!.isNeighbour(id);
  }

  #left(contact: Contact, reason: string, now: Millis): void {
    this.#checks.remove(contact);
    if (this.#isNeighbour(contact)) this.#node.noteNeighbour(contact.endpoint, false, now);
    this.remember(contact.id, contact.record);
    this.#node.host.emit({ type: "peer.leave", contact, reason });
  }

  #remove(contact: Contact, reason: string, now: Millis): void {
    const replacement = this.tables[contact.endpoint.family]!.remove(contact, now);
    this.#left(contact, reason, now);
    if (replacement === undefined) return;
    this.#come(replacement, now);
    // It may have waited for long: whether it still lives shows at once.
    this.#scheduleCheck(replacement, now);
  }

  // ---- health checks

  /** A little less than the interval, and not the same each time. */
  #interval(contact: Contact): number {
    const { id, keepsUs } = contact;
    const isFirst = keepsUs === true && this.#node.self.id.a >>> 0 < id.a >>> 0;
    const [from, to] = isFirst ? [EARLIEST_CHECK, FIRST_CHECKS_UNTIL] : [SECOND_CHECKS_FROM, 1];
    const share = from + (to - from) * this.#random.fraction();
    return share * this.#fullInterval(contact);
  }

  #fullInterval({ endpoint: { family } }: Contact): number {
    const { healthCheckIntervalMs } = this.#options;
    return this.#node.isReadOnly(family)
      ? CLIENT_FACTOR * healthCheckIntervalMs
      : healthCheckIntervalMs;
  }

  #scheduleCheck(contact: Contact, at: Millis): void {
    this.#checks.set(contact, Math.ceil(at));
  }

  /** A contact that has queried us need not be checked soon. Another timer would come for nothing. */
  #putOff(contact: Contact, now: Millis): void {
    const { dueAt, queuedAt, misses, firstSeen } = contact;
    if (queuedAt === UNQUEUED || misses > 0) return;
    const interval = this.#fullInterval(contact);
    if (dueAt > now + interval / 2 || now - firstSeen < interval) return;
    this.#scheduleCheck(contact, now + this.#interval(contact));
  }

  /** Pings a contact unless its own traffic has shown lately that it lives. */
  #check(contact: Contact, now: Millis): void {
    const interval = this.#fullInterval(contact);
    const lastSign = Math.max(contact.lastResponse, contact.lastQuery);
    // Newcomers came all at once, and would all be checked at once: their first checks are spread over more.
    const isNew = now - contact.firstSeen < interval;
    const isFresh = now - lastSign < (isNew ? 0.5 : EARLIEST_CHECK) * interval;
    if (contact.misses === 0 && isFresh) {
      return this.#scheduleCheck(contact, lastSign + this.#interval(contact));
    }
    this.#scheduleCheck(contact, now + this.#interval(contact));
    this.#ping(contact.endpoint, contact.id, now);
  }

  #ping(to: Endpoint, expected: Id, now: Millis): void {
    this.#node.query({ method: "ping", to, args: PING, expected }, now, NOBODY);
  }
}

/** Takes over what a reply tells of its sender. */
function learn(contact: Contact, { client, coordinate, keeps }: Message): void {
  if (client !== 0) contact.client = client;
  if (keeps !== undefined) contact.keepsUs = keeps;
  if (coordinate?.length === OWN_COORDINATE_BYTES) {
    contact.coordinateXy = word(coordinate, 0);
    contact.coordinateZHeight = word(coordinate, 4);
  }
}
