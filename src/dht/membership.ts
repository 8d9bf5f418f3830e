// Being part of the network: joining it, coming back to it, and not drifting apart from it.

import { type Endpoint, type Family, mayRefer } from "../krpc/endpoint.ts";
import { compareDistance, type Id, sharedPrefix } from "../krpc/id.ts";
import {
  type Message,
  type Method,
  type QueryArguments,
  readCompactNodes,
} from "../krpc/message.ts";
import type { Contact, ContactRecord } from "./contact.ts";
import type { Contacts } from "./contacts.ts";
import type { Deadline, Deadlines, Millis } from "./deadlines.ts";
import type { Host } from "./host.ts";
import type { Candidate, LookupMethod, LookupResult, QueryOutcome } from "./lookup.ts";
import type { Random } from "./random.ts";
import { REPLY_NODES } from "./responder.ts";
import type { Self } from "./self.ts";

/**
 * A bucket with room is refreshed after 15 minutes without a newcomer or a lookup (BEP 5); a full one, whose contacts
 * health checks prove to live, hourly (Kademlia, section 2.3).
 */
const REFRESH_AFTER_MS = 15 * 60_000, REFRESH_FULL_AFTER_MS = 60 * 60_000;

/** How often stale buckets and lost networks are looked for. */
const CARE_EVERY_MS = 60_000;

/** A join that reached nobody is tried again after this, doubling up to the maximum: an outage ends at any time. */
const REJOIN_MS = 1_000, REJOIN_MAX_MS = 20_000;

/** Remembered contacts that are tried at the start: a burst that any receive buffer holds the answers of. */
const MAX_SEEDS = 100;

/** Contacts remembered after they stopped answering, and how many of them are tried at a time when all are gone. */
const MAX_LOST = 200, LOST_TRIED = 10;

/** A lost contact is tried again after this, and ever after twice as long, until it is forgotten. */
const LOST_RETRY_MS = 60_000, FORGOTTEN_AFTER_MS = 12 * 3_600_000;

/** Of the rounds of care, one in so many asks a bootstrap node, the others a lost contact. */
const BOOTSTRAP_ROUND = 10;

/** Answers that are enough to fill a bucket from: each tells of up to a bucket of nodes. */
const FILL_ANSWERS = 3;

/** Buckets filled at once have to do with no more leading bits: whoever chooses its id could make them any number. */
const MOST_SHARED = 32;

/**
 * The share of a bucket's places that is filled so where most nodes tell where they are, and there are many more of
 * them than places: nearer ones turn up by and by, and would take the places of the others.
 */
const FILLED_SHARE = 1 / 4;

/** A contact to begin with, such as one remembered from the last run. */
export interface Seed {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** What was learned of it then. */
  readonly record?: ContactRecord;
}

/** A contact that stopped answering. */
interface Lost extends Seed {
  waitMs: Millis;
  dueAt: Millis;
}

/** What membership needs of the node. */
export interface MembershipNode {
  readonly host: Host;
  readonly self: Self;
  readonly contacts: Contacts;
  readonly k: number;
  isLookingUp(): boolean;
  query(
    method: Method,
    to: Endpoint,
    args: QueryArguments,
    expected: Id | undefined,
    now: Millis,
    done: (outcome: QueryOutcome, now: Millis) => void,
  ): void;
  lookup(
    family: Family,
    target: Id,
    method: LookupMethod,
    bootstrap: readonly Endpoint[],
    now: Millis,
    onResponse: ((message: Message, candidate: Candidate) => boolean) | undefined,
    onEnd: (result: LookupResult, now: Millis) => void,
  ): void;
}

export class Membership {
  readonly #node: MembershipNode;
  readonly #deadlines: Deadlines;
  readonly #random: Random;
  #bootstrap: readonly Endpoint[] = [];
  #seeds: readonly Seed[] = [];
  /** Contacts that stopped answering: where all did so at once, it was the network between that failed. */
  readonly #lost: Lost[] = [];
  #rejoinAfter = REJOIN_MS;
  /** The next attempt to join: one series of attempts, whoever started it. */
  #rejoin: Deadline | undefined;
  #isJoining = false;
  #round = 0;

  constructor(node: MembershipNode, deadlines: Deadlines, random: Random, now: Millis) {
    this.#node = node;
    this.#deadlines = deadlines;
    this.#random = random;
    this.#scheduleCare(now);
  }

  /** Endpoints that were given to join through. */
  get bootstrap(): readonly Endpoint[] {
    return this.#bootstrap;
  }

  /**
   * Joins through `endpoints`, and through `seeds` remembered from an earlier run; tries again, ever more slowly,
   * until somebody answers, and whenever all contacts are gone.
   */
  join(endpoints: readonly Endpoint[], seeds: readonly Seed[], now: Millis): void {
    this.#bootstrap = endpoints;
    if (seeds.length > 0) {
      const { contacts, self: { id: own } } = this.#node;
      for (const { id, record } of seeds) if (record !== undefined) contacts.remember(id, record);
      this.#seeds = seeds.filter(({ id, endpoint }) =>
        contacts.tables[endpoint.family] !== undefined && !id.equals(own)
      ).slice(0, MAX_SEEDS);
    }
    this.#tryJoining(now);
  }

  /** A contact has left the table because it did not answer. */
  noteLost({ id, endpoint }: Contact, now: Millis): void {
    const known = this.#lost.findIndex((lost) => lost.id.equals(id));
    if (known >= 0) this.#lost.splice(known, 1);
    // Any of them, not the oldest: those of before an outage must survive those that it cost later.
    else if (this.#lost.length >= MAX_LOST) this.#lost.splice(this.#below(MAX_LOST), 1);
    this.#lost.push({ id, endpoint, waitMs: LOST_RETRY_MS, dueAt: now + LOST_RETRY_MS });
    if (this.#node.contacts.size === 0 && this.#rejoin === undefined && !this.#isJoining) {
      this.#rejoinAfter = REJOIN_MS;
      this.#rejoinLater(now);
    }
  }

  #below(bound: number): number {
    return Math.floor(this.#random.fraction() * bound);
  }

  #tryJoining(now: Millis): void {
    const lost = Array.from(
      { length: Math.min(LOST_TRIED, this.#lost.length) },
      () => this.#lost[this.#below(this.#lost.length)],
    );
    const seeds = [...this.#seeds, ...lost];
    let open = seeds.length;
    const hasBootstrap = this.#bootstrap.length > 0;
    // An old contact is worth a ping, not a place: it enters the table when it answers.
    for (const { id, endpoint } of seeds) {
      this.#node.query("ping", endpoint, {}, id, now, (_, at) => {
        if (--open === 0 && !hasBootstrap) this.#bootstrapAll(at);
      });
    }
    if (hasBootstrap) this.#bootstrapAll(now);
  }

  #bootstrapAll(now: Millis): void {
    const others: Seed[] = [];
    const { contacts, self: { id: own } } = this.#node;
    let open = contacts.families.length;
    this.#isJoining = true;
    const onEnd = (at: Millis) => {
      if (--open > 0) return;
      this.#isJoining = false;
      // A node found through the other family's answers: it tells of its own network when asked.
      for (const { id, endpoint } of others.slice(0, REPLY_NODES)) {
        this.#node.query("find_node", endpoint, { target: own }, id, at, () => {});
      }
      const { size } = contacts;
      this.#node.host.emit({
        type: "bootstrap",
        state: size > 0 ? "joined" : "failed",
        contacts: size,
      });
      if (size > 0) {
        this.#rejoinAfter = REJOIN_MS;
        for (const family of contacts.families) this.#fillAll(family, at);
      } else this.#rejoinLater(at);
    };
    for (const family of contacts.families) {
      const endpoints = this.#bootstrap.filter((endpoint) => endpoint.family === family);
      this.#node.lookup(family, own, "find_node", endpoints, now, (message, teller) => {
        const foreign = family === 4 ? message.nodes6 : message.nodes;
        const otherFamily = family === 4 ? 6 : 4;
        if (foreign === undefined || contacts.tables[otherFamily] === undefined) return false;
        readCompactNodes(foreign, otherFamily, (id, endpoint) => {
          if (mayRefer(teller.endpoint, endpoint) && others.length < REPLY_NODES) {
            others.push({ id, endpoint });
          }
        });
        return false;
      }, (_, at) => onEnd(at));
    }
  }

  #rejoinLater(now: Millis): void {
    this.#deadlines.cancel(this.#rejoin);
    this.#rejoin = this.#deadlines.schedule(now + this.#rejoinAfter, (due) => {
      this.#rejoin = undefined;
      this.#tryJoining(due);
    });
    this.#rejoinAfter = Math.min(2 * this.#rejoinAfter, REJOIN_MAX_MS);
  }

  /** Finds the neighbours of an id that is new, and fills the buckets around it. */
  settle(now: Millis): void {
    const { contacts, self: { id } } = this.#node;
    for (const family of contacts.families) {
      this.#node.lookup(family, id, "find_node", [], now, undefined, (_, at) => {
        this.#fillAll(family, at);
      });
    }
  }

  // ---- buckets

  /** Fills the buckets beyond the closest neighbours (Kademlia, section 2.3), those too that are yet to split off. */
  #fillAll(family: Family, now: Millis): void {
    const { leastShared } = this.#node.contacts.tables[family]!;
    for (let shared = 0; shared <= Math.min(leastShared, MOST_SHARED); shared++) {
      // Each bucket stands for twice the nodes of the next: this one for at least four times its places.
      const areMany = shared < leastShared - 2;
      this.#fill(family, shared, areMany ? FILLED_SHARE : 1, now);
    }
  }

  /**
   * Asks a few for nodes of one bucket, and pings the nearest of them: a fraction of what it costs to ask each for
   * nodes in turn, as a refresh does.
   *
   * @param share of the places, where most nodes tell where they are; otherwise all are filled
   */
  #fill(family: Family, shared: number, share: number, now: Millis): void {
    const { contacts, self: { id: own } } = this.#node;
    const table = contacts.tables[family]!;
    const target = own.flip(shared).withSuffix(shared + 1, this.#random.id());
    if (table.room(target) === 0) return;
    const isMissing = (id: Id) => sharedPrefix(own, id) === shared && table.find(id) === undefined;
    let answers = 0;
    const isEnough = () => ++answers >= FILL_ANSWERS;
    this.#node.lookup(family, target, "find_node", [], now, isEnough, ({ heard }, at) => {
      const missing = heard.filter(({ id }) => isMissing(id))
        .sort((x, y) => rank(x.expected) - rank(y.expected));
      const placed = missing.filter(({ expected }) => !Number.isNaN(expected)).length;
      const wanted = table.room(target) * (placed > missing.length / 2 ? share : 1);
      for (const { id, endpoint } of missing.slice(0, Math.ceil(wanted))) {
        contacts.verify(id, endpoint, at);
      }
    });
  }

  /** A random id of one bucket. */
  #inBucket(family: Family, bucket: number): Id {
    const { self: { id: own }, contacts } = this.#node;
    const random = this.#random.id();
    // An id in bucket i shares i bits with ours and differs in the next; the last bucket holds ours as well.
    const isLast = bucket === contacts.tables[family]!.bucketCount - 1;
    return isLast
      ? own.withSuffix(bucket, random)
      : own.flip(bucket).withSuffix(bucket + 1, random);
  }

  // ---- care

  #scheduleCare(now: Millis): void {
    const jitter = this.#random.fraction() * CARE_EVERY_MS / 4;
    this.#deadlines.schedule(now + CARE_EVERY_MS + jitter, (at) => {
      this.#scheduleCare(at);
      this.#refreshStale(at);
      const isTrying = this.#rejoin !== undefined || this.#node.isLookingUp();
      const isAlone = this.#node.contacts.size === 0;
      if (!isAlone) this.#lookBeyond(at);
      else if (this.#bootstrap.length > 0 && !isTrying) this.#bootstrapAll(at);
    });
  }

  #refreshStale(now: Millis): void {
    const { contacts } = this.#node;
    for (const family of contacts.families) {
      const table = contacts.tables[family]!;
      // One at a time: a network of nodes started together must not refresh in bursts.
      const stale = table.staleBuckets(now - REFRESH_AFTER_MS, now - REFRESH_FULL_AFTER_MS);
      if (table.size === 0 || stale.length === 0) continue;
      const target = this.#inBucket(family, stale[this.#below(stale.length)]);
      this.#node.lookup(family, target, "find_node", [], now, undefined, () => {});
    }
  }

  /**
   * Asks somebody outside of our tables who is closest to us. If that names neighbours that we should know and do
   * not, we belong to two networks that a failure between them has parted: looking ourselves up there joins them.
   */
  #lookBeyond(now: Millis): void {
    const { contacts, self: { id: own } } = this.#node;
    const isBootstrapsTurn = this.#round++ % BOOTSTRAP_ROUND === 0;
    const outside = isBootstrapsTurn
      ? this.#bootstrap.filter((endpoint) =>
        ![...contacts.all()].some((contact) => contact.endpoint.equals(endpoint))
      )
      : this.#dueLost(now);
    if (outside.length === 0) return;
    const endpoint = outside[this.#below(outside.length)];
    const { family } = endpoint;
    const table = contacts.tables[family];
    if (table === undefined) return;
    this.#node.query("find_node", endpoint, { target: own }, undefined, now, (outcome, at) => {
      if (outcome.kind !== "response") return;
      const place = this.#lost.findIndex((lost) => lost.endpoint.equals(endpoint));
      if (place >= 0) this.#lost.splice(place, 1);
      const { nodes, nodes6 } = outcome.message;
      const told = family === 4 ? nodes : nodes6;
      const neighbours = table.closest(own, this.#node.k, () => true);
      const farthest = neighbours.at(-1);
      let isForeign = false;
      readCompactNodes(told ?? new Uint8Array(0), family, (id) => {
        const isNear = farthest === undefined || neighbours.length < this.#node.k ||
          compareDistance(id, farthest.id, own) < 0;
        if (isNear && !id.equals(own) && table.find(id) === undefined) isForeign = true;
      });
      if (isForeign) {
        this.#node.lookup(family, own, "find_node", [endpoint], at, undefined, () => {});
      }
    });
  }

  /** Lost contacts whose turn has come; who has been tried for long enough is forgotten. */
  #dueLost(now: Millis): Endpoint[] {
    const due = this.#lost.filter(({ dueAt }) => dueAt <= now);
    if (due.length === 0) return [];
    const one = due[this.#below(due.length)];
    one.waitMs *= 2;
    one.dueAt = now + one.waitMs;
    if (one.waitMs > FORGOTTEN_AFTER_MS) this.#lost.splice(this.#lost.indexOf(one), 1);
    return [one.endpoint];
  }
}

/** Round-trip times in order, the unknown last. */
function rank(rtt: number): number {
  return Number.isNaN(rtt) ? Number.MAX_VALUE : rtt;
}
