// Joins the network, rejoins it after an outage, refreshes buckets, and reunites networks that were split.

import { type Endpoint, type Family, mayRefer } from "../../krpc/endpoint.ts";
import { compareDistance, type Id, sharedPrefix } from "../../krpc/id.ts";
import { type Message, readCompactNodes, REPLY_NODES } from "../../krpc/message.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import type { Contact, ContactRecord } from "../routing/contact.ts";
import type { Tables } from "../routing/tables.ts";
import { type UnusableReply, whenDone } from "../search/query.ts";
import type { FamilySearch, Searches } from "../search/searches.ts";
import type { Self } from "../self.ts";
import type { Contacts } from "./contacts.ts";

/** A bucket with free places is refreshed if no node joined it and no lookup used it for this long (BEP 5). */
const REFRESH_AFTER_MS = 15 * 60_000;

/** A full bucket is refreshed only hourly (Kademlia, section 2.3), because health checks keep its contacts current. */
const REFRESH_FULL_AFTER_MS = 60 * 60_000;

/** The interval between rounds of maintenance, which look for stale buckets and for lost parts of the network. */
const MAINTENANCE_INTERVAL_MS = 60_000;

/** The delay before a failed join is retried. It doubles with each failure, up to the maximum. */
const REJOIN_MS = 1_000, REJOIN_MAX_MS = 20_000;

/** Cap on the remembered contacts that are pinged at startup. Their answers must fit into any receive buffer. */
const MAX_SEEDS = 100;

/** Cap on the remembered contacts that stopped answering. */
const MAX_LOST = 200;

/** If no contact is left, this many lost contacts are pinged at once. */
const LOST_TRIED = 10;

/** The delay before a lost contact is queried again. It doubles with each try. */
const LOST_RETRY_MS = 60_000;

/** A lost contact is forgotten when the time until its next try exceeds this. */
const FORGOTTEN_AFTER_MS = 12 * 3_600_000;

/**
 * One in this many rounds of maintenance asks a bootstrap node for nodes near us. The other rounds ask a lost contact.
 */
const BOOTSTRAP_ROUND = 10;

/** Filling a bucket ends after this many answers. Each answer can name as many nodes as a bucket holds. */
const FILL_ANSWERS = 3;

/** Cap on the buckets filled at once. Without it, nodes that choose ids close to ours could make us fill many more. */
const MAX_FILLED = 32;

/**
 * The share of a bucket that is filled at first. The other places are left for nodes with shorter
 * round trips, which are found later. The limit applies only if the bucket covers many more nodes
 * than it has places, and if most of these nodes send coordinates.
 */
const FILLED_SHARE = 1 / 4;

/** A contact to start from, such as one remembered from an earlier run. */
export interface Seed {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** What an earlier run recorded about the contact. */
  readonly record?: ContactRecord;
}

interface Lost extends Seed {
  waitMs: Millis;
  dueAt: Millis;
}

/** The waits between the searches for neighbours that a node makes while it knows only bootstrap nodes. */
const LOOK_AGAIN_MS: readonly Millis[] = [1_000, 3_000, 10_000, 30_000];

/** An attempt to join the network has ended. */
export interface BootstrapEvent {
  readonly type: "bootstrap";
  readonly state: "joined" | "failed";
  readonly contacts: number;
  /** The latest packet from a bootstrap node, if joining failed although such packets arrived. */
  readonly unusable?: UnusableReply;
}

interface MembershipOptions {
  readonly searches: Searches;
  readonly contacts: Contacts;
  readonly deadlines: Deadlines;
  readonly random: Random;
  readonly emit: (event: BootstrapEvent) => void;
}

export class Membership {
  /** Called before the node joins under a new id, once the bootstrap nodes have been asked for our address. */
  onAsked: ((now: Millis) => void) | undefined;
  readonly #options: MembershipOptions;
  readonly #searches: Searches;
  readonly #tables: Tables;
  readonly #self: Self;
  #bootstrap: readonly Endpoint[] = [];
  #seeds: readonly Seed[] = [];
  /** Contacts that stopped answering. They may return, for instance after an outage of our own network connection. */
  #lost: readonly Lost[] = [];
  #rejoinAfter = REJOIN_MS;
  #rejoin: Deadline | undefined;
  #nextLook: Deadline | undefined;
  #isJoining = false;
  /** Whether the bootstrap nodes are being asked for our address. */
  #isAsking = false;
  /**
   * While we have no contacts, the latest packet that a bootstrap node sent in this attempt to join
   * and that did not make the bootstrap node a contact.
   */
  #unusable: UnusableReply | undefined;
  #round = 0;

  constructor(options: MembershipOptions, now: Millis) {
    this.#options = options;
    this.#searches = options.searches;
    this.#tables = options.contacts.tables;
    this.#self = options.searches.self;
    this.#scheduleMaintenance(now);
  }

  /** Joins through bootstrap `endpoints` and remembered `seeds`. Retries on failure, and after losing all contacts. */
  join(endpoints: readonly Endpoint[], seeds: readonly Seed[], now: Millis): void {
    this.#bootstrap = this.#searches.bootstrap = endpoints;
    this.#tables.subnets.setBootstrap(endpoints);
    for (const { id, record } of seeds) {
      if (record !== undefined) this.#options.contacts.remembered.set(id, record);
    }
    if (seeds.length > 0) {
      this.#seeds = seeds.filter(({ id, endpoint }) =>
        this.#tables.families.includes(endpoint.family) && !id.equals(this.#self.id)
      ).slice(0, MAX_SEEDS);
    }
    if (!this.#self.isUnbound) this.#tryJoining(now);
    else if (!this.#isAsking) this.#askForAddress(now);
  }

  /**
   * Pings the public bootstrap nodes, which report our address, and then joins. If we joined before
   * we know our address, our id would soon change, and other nodes would keep us under the former
   * id.
   */
  #askForAddress(now: Millis): void {
    const asked = this.#bootstrap.filter(({ family, scope }) =>
      scope === "global" && this.#tables.families.includes(family)
    );
    const waiting = new Set(asked);
    const end = (to: Endpoint, at: Millis) => {
      if (!waiting.delete(to) || waiting.size > 0) return;
      this.#isAsking = false;
      this.onAsked?.(at);
      this.#tryJoining(at);
    };
    this.#isAsking = asked.length > 0;
    for (const to of asked) {
      this.#searches.queries.send({ method: "ping", to, args: {}, expected: undefined }, now, {
        onLate: () => {},
        onOverdue: (at) => end(to, at),
        done: (_, at) => end(to, at),
      });
    }
    if (asked.length > 0) return;
    this.onAsked?.(now);
    this.#tryJoining(now);
  }

  /** Remembers a contact that was removed because it did not answer. */
  noteLost({ id, endpoint }: Contact, now: Millis): void {
    const known = this.#lost.find((lost) => lost.id.equals(id));
    if (known !== undefined) this.#forget(known);
    // Forget a random contact, not the oldest one. Then a long outage can't make us forget all contacts from before it.
    else if (this.#lost.length >= MAX_LOST) this.#forget(this.#options.random.pick(this.#lost)!);
    const lost = { id, endpoint, waitMs: LOST_RETRY_MS, dueAt: now + LOST_RETRY_MS };
    this.#lost = [...this.#lost, lost];
    if (this.#tables.size === 0 && this.#rejoin === undefined && !this.#isJoining) {
      this.#rejoinAfter = REJOIN_MS;
      this.#rejoinLater(now);
    }
  }

  /** Records a reply that does not make its sender a contact. It may explain why we don't join. */
  noteUnusable(reply: UnusableReply): void {
    if (this.#tables.size > 0) return;
    // A bootstrap node with several addresses or ports may answer from another port.
    const isBootstrap = this.#bootstrap.some((endpoint) => endpoint.sameAddress(reply.from));
    if (isBootstrap) this.#unusable = reply;
  }

  /**
   * Joins immediately if a node answers after our attempt to join has failed. On a slow connection, answers may arrive
   * that late.
   */
  noteFound(now: Millis): void {
    if (this.#rejoin === undefined) return;
    this.#rejoinAfter = 0;
    this.#rejoinLater(now);
    this.#rejoinAfter = REJOIN_MS;
  }

  #forget(lost: Lost): void {
    this.#lost = this.#lost.filter((other) => other !== lost);
  }

  #tryJoining(now: Millis): void {
    const length = Math.min(LOST_TRIED, this.#lost.length);
    const lost = Array.from({ length }, () => this.#options.random.pick(this.#lost)!);
    const seeds = [...this.#seeds, ...lost];
    let open = seeds.length;
    const hasBootstrap = this.#bootstrap.length > 0;
    // A remembered contact enters the table only when it answers.
    for (const { id, endpoint } of seeds) {
      const query = { method: "ping", to: endpoint, args: {}, expected: id } as const;
      const watcher = whenDone((_, at) => {
        if (--open === 0 && !hasBootstrap) this.#bootstrapAll(at);
      });
      this.#searches.queries.send(query, now, watcher);
    }
    if (hasBootstrap) this.#bootstrapAll(now);
  }

  /** Looks up our own id in all address families, which finds our neighbours. */
  #bootstrapAll(now: Millis): void {
    /** Nodes that were named by a node of the other address family. */
    const others: Seed[] = [];
    let open = this.#tables.families.length;
    this.#isJoining = true;
    const onResponse = (message: Message, { endpoint }: { endpoint: Endpoint }) => {
      this.#noteOthers(message, endpoint, others);
      return false;
    };
    for (const family of this.#tables.families) {
      const bootstrap = this.#bootstrap.filter((endpoint) => endpoint.family === family);
      this.#findOwn({ family, bootstrap, onResponse }, now, (at) => {
        if (--open === 0) this.#endBootstrap(others, at);
      });
    }
  }

  #findOwn(
    search: Omit<FamilySearch, "target" | "method">,
    now: Millis,
    done: (now: Millis) => void,
  ): void {
    const target = this.#self.id;
    this.#searches.findIn({ ...search, target, method: "find_node" }, now, (_, at) => done(at));
  }

  /** Collects the nodes of the other address family that an answer names. */
  #noteOthers({ nodes, nodes6 }: Message, from: Endpoint, others: Seed[]): void {
    const otherFamily = from.family === 4 ? 6 : 4;
    const foreign = otherFamily === 6 ? nodes6 : nodes;
    if (foreign === undefined || !this.#tables.families.includes(otherFamily)) return;
    readCompactNodes(foreign, otherFamily, (id, endpoint) => {
      if (mayRefer(from, endpoint) && others.length < REPLY_NODES) others.push({ id, endpoint });
    });
  }

  #endBootstrap(others: readonly Seed[], now: Millis): void {
    this.#isJoining = false;
    // `others` are nodes that nodes of the other address family have named. Ask these nodes,
    // because we may have no contact in their family.
    const args = { target: this.#self.id };
    for (const { id: expected, endpoint: to } of others) {
      this.#searches.queries.send({ method: "find_node", to, args, expected }, now, NO_WATCHER);
    }
    const { size, families } = this.#tables;
    const state = size > 0 ? "joined" : "failed";
    // Forget the reply: it does not explain why a later attempt fails, because its sender may be
    // gone by then.
    const unusable = size > 0 ? undefined : this.#unusable;
    this.#unusable = undefined;
    this.#options.emit({ type: "bootstrap", state, contacts: size, unusable });
    if (size > 0) {
      this.#rejoinAfter = REJOIN_MS;
      for (const family of families) this.#fillAll(family, now);
      this.#lookAgain(now, 0);
    } else this.#rejoinLater(now);
  }

  /**
   * While we know only bootstrap nodes, looks for our neighbours again. The nodes of a small
   * network often start at the same time, and their bootstrap node does not name a node before
   * testing it.
   */
  #lookAgain(now: Millis, looks: number): void {
    const { deadlines } = this.#options;
    deadlines.cancel(this.#nextLook);
    this.#nextLook = undefined;
    if (looks === LOOK_AGAIN_MS.length || this.#tables.size > this.#bootstrap.length) return;
    this.#nextLook = deadlines.schedule(now + LOOK_AGAIN_MS[looks], (due) => {
      for (const family of this.#tables.families) this.#findOwn({ family }, due, () => {});
      this.#lookAgain(due, looks + 1);
    });
  }

  #rejoinLater(now: Millis): void {
    const { deadlines } = this.#options;
    deadlines.cancel(this.#rejoin);
    this.#rejoin = deadlines.schedule(now + this.#rejoinAfter, (due) => {
      this.#rejoin = undefined;
      this.#tryJoining(due);
    });
    this.#rejoinAfter = Math.min(2 * this.#rejoinAfter, REJOIN_MAX_MS);
  }

  /**
   * Finds our neighbours again, because the node may have been away for a long time. If there are
   * no contacts, joins again immediately.
   */
  catchUp(now: Millis): void {
    if (this.#tables.size > 0) return this.settle(now);
    this.#rejoinAfter = REJOIN_MS;
    if (this.#rejoin !== undefined) this.#rejoinLater(now);
  }

  /** Finds the neighbours of our new id, and fills the buckets around it. */
  settle(now: Millis): void {
    for (const family of this.#tables.families) {
      this.#findOwn({ family }, now, (at) => this.#fillAll(family, at));
    }
  }

  /**
   * Fills the buckets of nodes farther away than our closest neighbours, even before the table has split off these
   * buckets (Kademlia, section 2.3).
   */
  #fillAll(family: Family, now: Millis): void {
    const { leastShared } = this.#tables.of(family);
    for (let shared = 0; shared <= Math.min(leastShared, MAX_FILLED); shared++) {
      // Each bucket covers twice as many nodes as the next one. So this bucket covers at least four
      // times as many nodes as it can hold.
      const hasMany = shared < leastShared - 2;
      this.#fill({ family, shared, share: hasMany ? FILLED_SHARE : 1 }, now);
    }
  }

  /**
   * Fills a bucket: asks a few nodes for nodes that belong in it, and pings those with the shortest expected round
   * trips. A refresh would cost more, because it queries all nodes that it finds. If most of these nodes send
   * coordinates, only the share `share` of the free places is filled; otherwise, all places are.
   */
  #fill(
    { family, shared, share }: { family: Family; shared: number; share: number },
    now: Millis,
  ): void {
    const { id: own } = this.#self;
    const table = this.#tables.of(family);
    const target = own.flip(shared).withSuffix(shared + 1, this.#options.random.id());
    if (table.room(target) === 0) return;
    const isMissing = (id: Id) => sharedPrefix(own, id) === shared && table.find(id) === undefined;
    let answers = 0;
    const onResponse = () => ++answers >= FILL_ANSWERS;
    const search = { family, target, method: "find_node", onResponse } as const;
    this.#searches.findIn(search, now, ({ heard }, at) => {
      const missing = heard.filter(({ id }) => isMissing(id))
        .sort((x, y) => rank(x.expected) - rank(y.expected));
      const measured = missing.filter(({ expected }) => !Number.isNaN(expected)).length;
      const wanted = table.room(target) * (measured > missing.length / 2 ? share : 1);
      for (const { id, endpoint } of missing.slice(0, Math.ceil(wanted))) {
        this.#options.contacts.ping(id, endpoint, at);
      }
    });
  }

  /** A random id that belongs in this bucket. */
  #inBucket(family: Family, bucket: number): Id {
    const { id: own } = this.#self;
    const random = this.#options.random.id();
    // An id in bucket i shares i bits with ours and differs in the next bit. The last bucket covers our id as well.
    if (bucket === this.#tables.of(family).bucketCount - 1) return own.withSuffix(bucket, random);
    return own.flip(bucket).withSuffix(bucket + 1, random);
  }

  #scheduleMaintenance(now: Millis): void {
    const { deadlines, random } = this.#options;
    const jitter = random.fraction() * MAINTENANCE_INTERVAL_MS / 4;
    deadlines.schedule(now + MAINTENANCE_INTERVAL_MS + jitter, (at) => {
      this.#scheduleMaintenance(at);
      this.#refreshStale(at);
      const isTrying = this.#rejoin !== undefined || this.#searches.statistics.active > 0;
      if (this.#tables.size > 0) this.#lookBeyond(at);
      else if (this.#bootstrap.length > 0 && !isTrying) this.#bootstrapAll(at);
    });
  }

  #refreshStale(now: Millis): void {
    for (const family of this.#tables.families) {
      const table = this.#tables.of(family);
      const stale = table.staleBuckets(now - REFRESH_AFTER_MS, now - REFRESH_FULL_AFTER_MS);
      if (table.size === 0 || stale.length === 0) continue;
      // Refresh one bucket at a time, so that nodes that started together don't refresh in bursts.
      const target = this.#inBucket(family, this.#options.random.pick(stale)!);
      this.#searches.findIn({ family, target, method: "find_node" }, now, () => {});
    }
  }

  /**
   * Asks a node outside of our tables for the nodes closest to us. If that node names neighbours of
   * ours that we don't know, a failure has split the network. A lookup of our own id, starting at
   * that node, reunites the two parts.
   */
  #lookBeyond(now: Millis): void {
    const isBootstrapRound = this.#round++ % BOOTSTRAP_ROUND === 0;
    const to = isBootstrapRound ? this.#unknownBootstrap() : this.#dueLost(now);
    if (to === undefined || !this.#tables.families.includes(to.family)) return;
    const args = { target: this.#self.id };
    const query = { method: "find_node", to, args, expected: undefined } as const;
    const watcher = whenDone((outcome, at) => {
      if (outcome.kind !== "response") return;
      this.#lost = this.#lost.filter(({ endpoint }) => !endpoint.equals(to));
      if (!this.#namesUnknownNeighbours(outcome.message, to.family)) return;
      this.#findOwn({ family: to.family, bootstrap: [to] }, at, () => {});
    });
    this.#searches.queries.send(query, now, watcher);
  }

  /** Whether an answer names unknown nodes that are closer to our id than our k closest contacts. */
  #namesUnknownNeighbours({ nodes, nodes6 }: Message, family: Family): boolean {
    const compact = family === 4 ? nodes : nodes6;
    if (compact === undefined) return false;
    const { id: own } = this.#self;
    const { k } = this.#tables;
    const table = this.#tables.of(family);
    const neighbours = table.closest(own, k, () => true);
    const farthest = neighbours.at(-1);
    let isForeign = false;
    readCompactNodes(compact, family, (id) => {
      const isNear = farthest === undefined || neighbours.length < k ||
        compareDistance(id, farthest.id, own) < 0;
      if (isNear && !id.equals(own) && table.find(id) === undefined) isForeign = true;
    });
    return isForeign;
  }

  /** The endpoint of a random bootstrap node that is not a contact. */
  #unknownBootstrap(): Endpoint | undefined {
    const known = [...this.#tables.contacts()];
    const isUnknown = (to: Endpoint) => !known.some(({ endpoint }) => endpoint.equals(to));
    return this.#options.random.pick(this.#bootstrap.filter(isUnknown));
  }

  /**
   * Returns the endpoint of a random lost contact that is due for a try. Forgets the contact if this is the last try.
   */
  #dueLost(now: Millis): Endpoint | undefined {
    const lost = this.#options.random.pick(this.#lost.filter(({ dueAt }) => dueAt <= now));
    if (lost === undefined) return undefined;
    lost.waitMs *= 2;
    lost.dueAt = now + lost.waitMs;
    if (lost.waitMs > FORGOTTEN_AFTER_MS) this.#forget(lost);
    return lost.endpoint;
  }
}

const NO_WATCHER = whenDone(() => {});

/** A sort key for round-trip times. Unknown times come last. */
function rank(rtt: number): number {
  return Number.isNaN(rtt) ? Number.MAX_VALUE : rtt;
}
