// Keeps values alive: schedules republishing of our own values, and replica repairs of the items that we hold.

import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import { compareDistance, type Id, IdMap } from "../../krpc/id.ts";
import { Allowance } from "../allowance.ts";
import { Recent } from "../bounded_map.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import type { Contact } from "../routing/contact.ts";
import { ownerOf } from "../routing/diversity.ts";
import type { Tables } from "../routing/tables.ts";
import { compareVersions, ITEM_LIFE_MS } from "./item.ts";
import type { ItemStore } from "./item_store.ts";
import type { ItemTable, Slot } from "./item_table.ts";
import type { Published, PublishedStore } from "./published.ts";
import type { Cost, PublishResult, Upkeep } from "./upkeep.ts";

/**
 * The interval between republications of each of our own values, varied at random by up to a tenth
 * (Kademlia, section 2.5).
 */
const PUBLISH_INTERVAL_MS = 3_600_000;

/** A value with a short life is republished after this share of its life, if that is sooner than the usual interval. */
const PUBLISH_LIFE_SHARE = 0.5;

/** A value's first put has failed if fewer than this share of the nodes that should store the value acknowledged it. */
const MIN_ACKNOWLEDGED_SHARE = 0.25;

/** The wait before the first retry of a failed publication. It doubles with each failure, up to the normal interval. */
const PUBLISH_RETRY_MS = 60_000;

/**
 * The interval between a holder's repairs of an item's replicas. The holder whose repair is due
 * first repairs the replicas. The other holders notice this, and postpone their own repairs to the
 * next interval (Kademlia, section 2.5).
 */
const COMPLETE_INTERVAL_MS = 3_600_000;

/** Repair times are spread over this share of the interval, so that one holder is clearly the first. */
const TURN_SPREAD = 0.5;

/** The number of repairs in a row that we may leave to others. Some nodes may only claim to repair the item. */
const MAX_DEFERRALS = 16;

/**
 * If the arrivals and departures of contacts reach this share of k (or of the number of contacts, if that is smaller),
 * we republish our own mutable values soon.
 */
const CHANGED_SHARE = 0.25;

/**
 * After a change among an item's holders, the item's repair waits for this share of a health check
 * interval, but not longer than the maximum. Meanwhile, most other holders notice the change too.
 * They then leave the repair to the holder that is first.
 */
const NOTICE_SHARE = 0.75, MAX_NOTICE_MS = 45_000;

/**
 * Once the other holders have had time to notice a change, the repair starts at a random time
 * within this period, so that one holder is clearly the first.
 */
const CHANGED_WITHIN_MS = 45_000;

/**
 * The interval between searches for values to publish and items to repair after contacts have arrived or left. Because
 * of this small delay, changes that belong together are handled together.
 */
const HURRIED_INTERVAL_MS = 5_000;

/**
 * The minimum times between two counted arrivals of contacts at one address (IPv6: in one /64), and
 * between two counted departures. Anyone can invent ids, and each counted change may trigger
 * repairs. The time is shorter for departures, because they are more urgent.
 */
const ARRIVAL_AGAIN_MS = 3_600_000, DEPARTURE_AGAIN_MS = 600_000;

/** A contact that arrives gets items once it has stayed for this time. */
const STAY_MS = 60_000;

/**
 * The maximum delay before own values are published after one of their holders has left or, if too few nodes hold them,
 * after a contact has arrived.
 */
const PUBLISH_SOON_MS = 20_000;

/** Cap on the number of our own items whose holders we remember. */
const MAX_REMEMBERED = 20_000;

/**
 * After a start, we repair the items of earlier runs within this time. Copies may have been lost
 * while we were offline.
 */
const RESTART_WITHIN_MS = 1_800_000;

/**
 * If the node has not been running for some time, published values may be overdue. They are then published at a
 * random time within these bounds.
 */
const CATCH_UP_FROM_MS = 5_000, CATCH_UP_WITHIN_MS = 25_000;

/** The usual interval between searches for values to republish and items to repair. */
const COLLECT_INTERVAL_MS = 60_000;

/** How many held items are examined in one search for items to repair. */
const COLLECT_ITEMS = 10_000;

/** The interval between attempts to start waiting jobs. */
const WORK_INTERVAL_MS = 500;

const MAX_ACTIVE = 4;

const MAX_WAITING = 4_096;

/**
 * All jobs share this budget. It suits a home connection, and is enough to republish 16 MiB (17,000
 * items) within two hours.
 */
export const PACKETS_PER_SECOND = 150, BYTES_PER_SECOND = 128 << 10;

/** The number of seconds for which unused budget can be saved up. */
const SAVED_SECONDS = 2;

/**
 * Cap on the remembered changes, on the addresses of arrived nodes, and on the addresses of
 * departed nodes.
 */
const MAX_CHANGED = 128;

/** A contact that arrived or left. */
interface Change {
  readonly id: Id;
  readonly endpoint: Endpoint;
  readonly isThere: boolean;
  readonly at: Millis;
}

type Job = { readonly kind: "publish" | "complete"; readonly target: Id };

interface ReplicatorOptions {
  readonly upkeep: Upkeep;
  readonly deadlines: Deadlines;
  readonly random: Random;
  readonly healthCheckIntervalMs: number;
}

export class Replicator {
  /** How many publications succeeded, how many replica repairs have run, and how many copies the repairs made. */
  readonly counts = { published: 0, completed: 0, copies: 0 };
  /** Whether to repair the copies of other nodes' values. */
  repairs = true;
  readonly #options: ReplicatorOptions;
  readonly #tables: Tables;
  readonly #items: ItemStore;
  readonly #published: PublishedStore;
  #waiting: Job[] = [];
  #active = 0;
  #work: Deadline | undefined;
  readonly #records: ItemTable;
  /** The slot at which the next search for items to repair begins. */
  #cursor: Slot = 0;
  /** The number of arrivals and departures of contacts since the start. */
  #changes = 0;
  /** The value of `#changes` when we last planned to publish our own mutable values. */
  #changesAtPlan = 0;
  /**
   * The time at which to republish our own mutable values, after many contacts have arrived or left. The new neighbours
   * may hold other versions.
   */
  #publishMutableAt: Millis = Infinity;
  /** The latest arrivals and departures, oldest first. */
  #changed: Change[] = [];
  readonly #came = new Recent(ARRIVAL_AGAIN_MS, MAX_CHANGED);
  readonly #gone = new Recent(DEPARTURE_AGAIN_MS, MAX_CHANGED);
  /** The time until which we look for work more often than usual. */
  #hurriedUntil = -Infinity;
  #collection: Deadline | undefined;
  /** For each of our own items, the nodes that acknowledged it. Each node is given by the first 32 bits of its id. */
  readonly #holders: IdMap<number[]>;
  readonly #packets = new Allowance(PACKETS_PER_SECOND, SAVED_SECONDS * PACKETS_PER_SECOND);
  readonly #bytes = new Allowance(BYTES_PER_SECOND, SAVED_SECONDS * BYTES_PER_SECOND);

  constructor(options: ReplicatorOptions, readonly startedAt: Millis) {
    this.#options = options;
    const { operations } = options.upkeep, { host, searches } = operations;
    this.#tables = searches.tables;
    this.#items = host.items;
    this.#records = host.items.records;
    this.#published = host.published;
    this.#holders = new IdMap(options.random.word());
    operations.onOwnStored = (target, holders) => this.#noteHolders(target, holders);
    this.#scheduleCollection(startedAt);
  }

  /** The number of jobs that are waiting or running. */
  get pending(): number {
    return this.#waiting.length + this.#active;
  }

  /**
   * Republishes one of our values regularly from now on. `replicas` is the number of nodes that have just acknowledged
   * the value, including our own node if it stores the value too. `others` is the number of other nodes among them; by
   * default, all. `saved` is called with true if the value is stored durably.
   */
  keepPublished(
    { item, replicas, others = replicas, lifeMs, pin, large }:
      & Pick<Published, "item" | "replicas" | "lifeMs" | "pin" | "large">
      & { readonly others?: number },
    now: Millis,
    saved?: (isSaved: boolean) => void,
  ): void {
    const before = this.#published.get(item.target);
    const isSame = before !== undefined && compareVersions(item, before.item) === 0;
    this.#published.save({
      item,
      firstAt: before?.firstAt ?? now,
      lastAt: others > 0 ? now : isSame ? before.lastAt : -Infinity,
      nextAt: this.#nextPublication(now, this.#firstWait({ replicas, lifeMs })),
      replicas,
      failures: 0,
      lifeMs,
      pin,
      large,
    }, saved);
  }

  /**
   * Publishes all our values soon, and repairs all items, because copies may have been lost while
   * the node did not run.
   */
  catchUp(now: Millis): void {
    this.#changes++;
    this.#changed = [];
    // Choose a random delay for each node, because nodes that went to sleep together also wake up
    // together.
    const { deadlines, random } = this.#options;
    const spread = (CATCH_UP_WITHIN_MS - CATCH_UP_FROM_MS) * random.fraction();
    const at = now + CATCH_UP_FROM_MS + spread;
    for (const own of this.#published.entries()) own.nextAt = Math.min(own.nextAt, at);
    deadlines.schedule(at, (due) => {
      // Clear the queue, so that our own values come first. The dropped jobs are still due, so they
      // are collected again.
      this.#waiting = [];
      this.#collectAndStart(due);
    });
  }

  /**
   * Records that a contact arrived or left. The items that it should hold, or held, are repaired
   * soon.
   */
  noteContact({ id, endpoint }: Contact, isThere: boolean, now: Millis): void {
    if (!isThere) this.#noteHolderLeft(id, now);
    // Ignore the change if there are no items: there is nothing to repair, and later items are only
    // affected by later changes.
    if (this.#items.count === 0 && this.#published.count === 0) return;
    const recent = isThere ? this.#came : this.#gone, owner = ownerOf(endpoint);
    if (recent.has(owner, now)) return;
    recent.add(owner, now);
    if (!isThere) {
      // If the node comes back, count that as another arrival.
      this.#came.forget(owner);
      return this.#addChange({ id, endpoint, isThere, at: now }, now);
    }
    this.#publishShortSoon(now);
    this.#options.deadlines.schedule(now + STAY_MS, (at) => {
      if (this.#tables.at(endpoint, id) === undefined) return;
      this.#addChange({ id, endpoint, isThere, at }, at);
    });
  }

  #addChange(change: Change, now: Millis): void {
    this.#changes++;
    this.#changed.push(change);
    if (this.#changed.length > MAX_CHANGED) this.#changed.shift();
    if (this.#items.count > 0) this.#hurry(now);
  }

  /**
   * The nodes that last acknowledged one of our own items, each as the first 32 bits of its id; undefined if unknown.
   */
  holdersOf(target: Id): readonly number[] | undefined {
    return this.#holders.get(target);
  }

  #noteHolders(target: Id, holders: readonly Id[]): void {
    if (this.#holders.size >= MAX_REMEMBERED && this.#holders.get(target) === undefined) return;
    this.#holders.set(target, holders.map(({ a }) => a));
  }

  /** Called when a node has left. Soon publishes the values that this node had acknowledged. */
  #noteHolderLeft({ a }: Id, now: Millis): void {
    for (const [target, holders] of [...this.#holders.entries()]) {
      if (!holders.includes(a)) continue;
      const own = this.#published.get(target);
      if (own === undefined) {
        this.#holders.delete(target);
        continue;
      }
      this.#holders.set(target, holders.filter((other) => other !== a));
      own.replicas = Math.max(0, own.replicas - 1);
      this.#publishSoon(own, now);
    }
  }

  /**
   * Called when a contact has arrived. Soon publishes the values that too few nodes hold, because the contact should
   * hold them.
   */
  #publishShortSoon(now: Millis): void {
    const { k, size } = this.#tables;
    for (const own of this.#published.entries()) {
      if (own.replicas < Math.min(k, size + 1)) this.#publishSoon(own, now);
    }
  }

  #publishSoon(own: Published, now: Millis): void {
    own.nextAt = Math.min(own.nextAt, now + PUBLISH_SOON_MS * this.#options.random.fraction());
    this.#hurry(now);
  }

  /** Publishes these values before all others. If we have no contacts, waits until there are some. */
  publishNow(targets: readonly Id[], now: Millis): void {
    const own = targets.filter((target) => this.#published.has(target));
    for (const target of own) this.#published.get(target)!.nextAt = now;
    const isOther = ({ target }: Job) => !own.some((each) => each.equals(target));
    this.#waiting = [
      ...own.map((target): Job => ({ kind: "publish", target })),
      ...this.#waiting.filter(isOther),
    ];
    if (this.#tables.size > 0) this.#start(now);
  }

  /** For a while, looks more often for values to publish and items to repair. */
  #hurry(now: Millis): void {
    const isHurried = now < this.#hurriedUntil;
    this.#hurriedUntil = now + MAX_NOTICE_MS + CHANGED_WITHIN_MS + 2 * HURRIED_INTERVAL_MS;
    if (!isHurried) this.#scheduleCollection(now);
  }

  /**
   * Records that a contact repairs an item. Postpones our own repair, unless the same contact did
   * the previous one.
   */
  noteSeenTo(target: Id, { a: by }: Id, now: Millis): void {
    const slot = this.#records.find(target);
    if (slot < 0) return;
    const turn = this.#records.turn(slot), deferrals = (turn?.deferrals ?? 0) + 1;
    if (deferrals > MAX_DEFERRALS || (turn !== undefined && turn.by === by)) return;
    this.#records.setTurn(slot, {
      at: now + this.#turn(),
      changes: this.#changes,
      deferrals,
      by,
    });
  }

  /** The wait after a value's first put: short if too few nodes acknowledged the value. */
  #firstWait({ replicas, lifeMs }: Pick<Published, "replicas" | "lifeMs">): Millis {
    const { k, size } = this.#tables;
    const isFew = replicas < MIN_ACKNOWLEDGED_SHARE * Math.min(k, size + 1);
    return isFew || replicas === 0 ? PUBLISH_RETRY_MS : usualWait(lifeMs);
  }

  /** The time of the next publication: `waitMs` from now, varied at random by up to a tenth. */
  #nextPublication(now: Millis, waitMs: Millis): Millis {
    return now + waitMs * (0.9 + 0.2 * this.#options.random.fraction());
  }

  /** The random time in ms from now until we repair an item after a change. */
  #changedTurn(): Millis {
    const { healthCheckIntervalMs, random } = this.#options;
    const notice = Math.min(MAX_NOTICE_MS, NOTICE_SHARE * healthCheckIntervalMs);
    return notice + CHANGED_WITHIN_MS * random.fraction();
  }

  /** The random time in ms from now until our next repair of an item. */
  #turn(): number {
    return COMPLETE_INTERVAL_MS * (1 + TURN_SPREAD * this.#options.random.fraction());
  }

  #scheduleCollection(now: Millis): void {
    const { deadlines, random } = this.#options;
    const interval = now < this.#hurriedUntil ? HURRIED_INTERVAL_MS : COLLECT_INTERVAL_MS;
    deadlines.cancel(this.#collection);
    this.#collection = deadlines.schedule(
      now + interval * (0.75 + 0.5 * random.fraction()),
      (due) => {
        this.#scheduleCollection(due);
        if (this.#waiting.length === 0) this.#collectAndStart(due);
      },
    );
  }

  #collectAndStart(now: Millis): void {
    if (this.#tables.size === 0) return;
    this.#collect(now);
    this.#start(now);
  }

  /** Queues the jobs that are due: first our own values (the most overdue at the front), then repairs. */
  #collect(now: Millis): void {
    if (this.#haveChanged(this.#changesAtPlan)) {
      this.#changesAtPlan = this.#changes;
      const at = now + CHANGED_WITHIN_MS * this.#options.random.fraction();
      this.#publishMutableAt = Math.min(this.#publishMutableAt, at);
    }
    const isAfterChanges = this.#publishMutableAt <= now;
    if (isAfterChanges) this.#publishMutableAt = Infinity;
    const isDue = ({ item, nextAt }: Published) =>
      nextAt <= now || (isAfterChanges && item.signed !== undefined);
    const due = [...this.#published.entries()].filter(isDue).sort((x, y) => x.nextAt - y.nextAt);
    for (const { item } of due.slice(0, MAX_WAITING)) {
      this.#waiting.push({ kind: "publish", target: item.target });
    }
    if (!this.repairs) return;
    const records = this.#records;
    for (let i = 0; i < COLLECT_ITEMS && this.#waiting.length < MAX_WAITING; i++) {
      if (this.#cursor >= records.end) {
        this.#cursor = 0;
        break;
      }
      const slot = this.#cursor++;
      if (records.isFree(slot) || !this.#isDue(slot, now)) continue;
      const target = records.target(slot);
      if (!this.#published.has(target)) this.#waiting.push({ kind: "complete", target });
    }
  }

  #isDue(slot: Slot, now: Millis): boolean {
    const records = this.#records, storedAt = records.storedAt(slot);
    const planned = records.turn(slot);
    let { at, changes, deferrals, by } = planned ?? {
      at: this.#firstTurn(storedAt, now),
      // Count only the changes that came after the item was stored.
      changes: this.#changes - this.#changedSince(storedAt),
      deferrals: 0,
      by: 0,
    };
    if (planned !== undefined && changes >= this.#changes) return at <= now;
    if (changes < this.#changes) {
      if (this.#isAffected(slot, this.#changes - changes)) {
        at = Math.min(at, now + this.#changedTurn());
      }
      changes = this.#changes;
    }
    records.setTurn(slot, { at, changes, deferrals, by });
    return at <= now;
  }

  /** How many of the remembered changes happened at this time or later. */
  #changedSince(at: Millis): number {
    return this.#changed.length - 1 - this.#changed.findLastIndex((change) => change.at < at);
  }

  /** Whether many contacts have arrived or left since `#changes` had the value `since`. */
  #haveChanged(since: number): boolean {
    const { k, size } = this.#tables;
    return this.#changes - since >= Math.max(1, CHANGED_SHARE * Math.min(k, size));
  }

  /** Whether any of the latest `count` changes affects a node that should hold the item. */
  #isAffected(slot: Slot, count: number): boolean {
    if (count > this.#changed.length) return true;
    const target = this.#records.target(slot), copies = this.#records.copies(slot);
    const limit = copies ?? this.#tables.k;
    const byFamily: { [F in Family]?: Contact[] } = {};
    return this.#changed.slice(-count).some(({ id, endpoint: { family }, isThere }) => {
      // An item with fewer copies than k stays where it is, even if a node arrives that is closer to its target.
      if (isThere && copies !== undefined) return false;
      const closest = byFamily[family] ??= this.#tables.of(family).closest(
        target,
        limit,
        () => true,
      );
      return closest.length < limit || compareDistance(id, closest[limit - 1].id, target) <= 0;
    });
  }

  #firstTurn(storedAt: Millis, now: Millis): Millis {
    return storedAt < this.startedAt
      ? now + RESTART_WITHIN_MS * this.#options.random.fraction()
      : now + this.#turn();
  }

  /** Starts waiting jobs as long as the budget allows, and schedules another call for the remaining jobs. */
  #start(now: Millis): void {
    this.#options.deadlines.cancel(this.#work);
    this.#work = undefined;
    while (this.#active < MAX_ACTIVE && this.#waiting.length > 0 && this.#hasBudget(now)) {
      const { kind, target } = this.#waiting.shift()!;
      if (kind === "publish") this.#publish(target, now);
      else this.#complete(target, now);
    }
    if (this.#waiting.length === 0) return;
    this.#work = this.#options.deadlines.schedule(now + WORK_INTERVAL_MS, (at) => this.#start(at));
  }

  #hasBudget(now: Millis): boolean {
    return this.#packets.available(now) > 0 && this.#bytes.available(now) > 0;
  }

  #end({ packets, bytes }: Cost, now: Millis): void {
    this.#active--;
    this.#packets.spend(now, packets);
    this.#bytes.spend(now, bytes);
    // Start further jobs in a later call. Otherwise, jobs that end immediately could keep this call running forever.
    if (this.#waiting.length > 0 && this.#work === undefined) {
      this.#work = this.#options.deadlines.schedule(now, (due) => this.#start(due));
    }
  }

  #publish(target: Id, now: Millis): void {
    const own = this.#published.get(target);
    if (own === undefined) return;
    this.#active++;
    this.#options.upkeep.publish(own, now, (result, at) => {
      this.#notePublished(result, at);
      this.#end(result.cost, at);
    });
  }

  #complete(target: Id, now: Millis): void {
    const records = this.#records, slot = records.find(target);
    const turn = slot < 0 ? undefined : records.turn(slot);
    if (turn === undefined || turn.at > now || !this.#items.has(target, now)) return;
    this.#active++;
    records.setTurn(slot, {
      at: now + this.#turn(),
      changes: this.#changes,
      deferrals: 0,
      by: 0,
    });
    this.#items.read(target, now, (item, readAt) => {
      if (item === undefined) return this.#end({ packets: 0, bytes: 0 }, readAt);
      this.#options.upkeep.complete(item, readAt, ({ copies, cost }, at) => {
        this.counts.completed++;
        this.counts.copies += copies;
        this.#end(cost, at);
      });
    });
  }

  #notePublished({ newest, replicas, others }: PublishResult, now: Millis): void {
    this.#published.adopt(newest);
    const own = this.#published.get(newest.target);
    // While the value was being published, the user may have withdrawn it.
    if (own === undefined) return;
    if (others > 0) {
      this.counts.published++;
      const nextAt = this.#nextPublication(now, usualWait(own.lifeMs));
      this.#published.save({ ...own, replicas, failures: 0, lastAt: now, nextAt });
      return;
    }
    const wait = Math.min(PUBLISH_INTERVAL_MS, PUBLISH_RETRY_MS * 2 ** Math.min(own.failures, 10));
    const nextAt = this.#nextPublication(now, wait);
    this.#published.save({ ...own, failures: own.failures + 1, nextAt });
  }
}

/** The usual time between two publications of a value. */
function usualWait(lifeMs: Millis = ITEM_LIFE_MS): Millis {
  return Math.min(PUBLISH_INTERVAL_MS, PUBLISH_LIFE_SHARE * lifeMs);
}
