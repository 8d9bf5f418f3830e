// Keeps values alive: publishes our own again, and sees to it that held items have all their copies.

import type { Endpoint } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import type { Deadline, Deadlines, Millis } from "./deadlines.ts";
import { ownerOf } from "./diversity.ts";
import type { Item, StoredItem } from "./item.ts";
import type { ItemStore } from "./item_store.ts";
import type { Published, PublishedStore } from "./published.ts";
import type { Random } from "./random.ts";
import { Recent } from "./recent.ts";

/** Our own values are published again this often (Kademlia, section 2.5), give or take a tenth. */
const PUBLISH_EVERY_MS = 3_600_000;

/** Where fewer than this share of k, or of all there are, acknowledged it, it is tried again as after a failure. */
const FEW_SHARE = 0.25;

/** After an attempt that nobody acknowledged: this, doubling up to the hour. */
const PUBLISH_RETRY_MS = 60_000;

/**
 * The copies of a held item are counted this often, by the one of its holders whose turn comes first: the others hear
 * of it and wait for their next turn (Kademlia, section 2.5).
 */
const SEE_EVERY_MS = 3_600_000;

/** Others may see to an item so many times in a row: who only says so must not keep us from it for ever. */
const MAX_DEFERRALS = 16;

/** Turns are spread over this share more, so that one holder is clearly the first. */
const SEE_SPREAD = 0.5;

/** After a quarter of the closest nodes have changed an item is seen to within this. */
const CHANGED_WITHIN_MS = 120_000, CHANGED_SHARE = 0.25;

/** After a start items are seen to within this: who was away for long does not know how many copies are left. */
const RESTART_WITHIN_MS = 1_800_000;

/** How often due work is looked for, and how many items are looked at in one go. */
const COLLECT_EVERY_MS = 60_000, COLLECT_ITEMS = 10_000;

/** While work waits it is taken up this often. */
const WORK_EVERY_MS = 500;

/** Jobs that run at a time, and that wait. */
const MAX_ACTIVE = 4, MAX_WAITING = 4_096;

/**
 * What all this may send: a home line bears it, and it lets 16 MiB, in 17,000 items, be published again within the
 * two hours that other implementations keep an item (BEP 44).
 */
export const PACKETS_PER_SECOND = 150, BYTES_PER_SECOND = 128 << 10;

/** Neighbours remembered for having come, and as many for having gone. */
const MAX_CHANGED = 128;

/** Budget saved up at most, in seconds of it. */
const SAVED_SECONDS = 2;

/** What a job has cost. */
export interface Cost {
  readonly packets: number;
  readonly bytes: number;
}

/** What the replicator needs of the node. */
export interface ReplicatorNode {
  readonly items: ItemStore;
  readonly published: PublishedStore;
  readonly k: number;
  /** Those who could be asked. */
  contactCount(): number;
  /** Puts an own value on the closest nodes; `done` hears how many acknowledged, and what was put. */
  publish(
    item: Item,
    now: Millis,
    done: (replicas: number, newest: Item, cost: Cost, now: Millis) => void,
  ): void;
  /** Puts a held item on those of the closest nodes that lack it; `done` hears how many those were. */
  complete(
    item: StoredItem,
    now: Millis,
    done: (copies: number, cost: Cost, now: Millis) => void,
  ): void;
}

type Job = { readonly kind: "publish" | "complete"; readonly target: Id };

export class Replicator {
  /** Publications and completions that ran, and copies that completions have made. */
  readonly counts = { published: 0, completed: 0, copies: 0 };
  readonly #node: ReplicatorNode;
  readonly #deadlines: Deadlines;
  readonly #random: Random;
  readonly #startedAt: Millis;
  #waiting: Job[] = [];
  #active = 0;
  #work: Deadline | undefined;
  /** Where the search for due items goes on. */
  #cursor: Iterator<StoredItem> | undefined;
  /** Neighbours that came or went since the start. */
  #changes = 0;
  readonly #came = new Recent(SEE_EVERY_MS, MAX_CHANGED);
  readonly #gone = new Recent(SEE_EVERY_MS, MAX_CHANGED);
  #packets = 0;
  #bytes = 0;
  #paidAt: Millis;

  constructor(node: ReplicatorNode, deadlines: Deadlines, random: Random, now: Millis) {
    this.#node = node;
    this.#deadlines = deadlines;
    this.#random = random;
    this.#startedAt = now;
    this.#paidAt = now;
    this.#scheduleCollection(now);
  }

  /** Jobs that wait or run. */
  get pending(): number {
    return this.#waiting.length + this.#active;
  }

  /**
   * A node among our closest neighbours came or went. One that flaps counts once an hour for either, and so does an
   * address or network that takes one id after the other: ids cost nothing, and each change may make us count copies.
   */
  noteNeighbour(endpoint: Endpoint, isThere: boolean, now: Millis): void {
    // Whoever holds nothing has nothing to hand on: what comes later knows the neighbours that there are then.
    if (this.#node.items.count === 0) return;
    const recent = isThere ? this.#came : this.#gone, owner = ownerOf(endpoint);
    if (recent.has(owner, now)) return;
    recent.add(owner, now);
    this.#changes++;
  }

  /** An item was seen to, and others hold it nearer than we are: what changes around us is theirs to see to. */
  noteFar({ turn }: StoredItem): void {
    if (turn !== undefined) turn.changes = Infinity;
  }

  /** A contact sees to an item: our turn is over, unless it was the same one the last time. */
  noteSeenTo(item: StoredItem, by: Id, now: Millis): void {
    const deferrals = (item.turn?.deferrals ?? 0) + 1;
    if (deferrals > MAX_DEFERRALS || item.turn?.by?.equals(by)) return;
    item.turn = { at: now + this.#turn(), changes: this.#changes, deferrals, by };
  }

  /** When a value is due again that so many nodes have just acknowledged. */
  nextPublication(now: Millis, replicas: number): Millis {
    const isFew = replicas < FEW_SHARE * Math.min(this.#node.k, this.#node.contactCount() + 1);
    const every = isFew || replicas === 0 ? PUBLISH_RETRY_MS : PUBLISH_EVERY_MS;
    return now + every * (0.9 + 0.2 * this.#random.fraction());
  }

  #turn(): number {
    return SEE_EVERY_MS * (1 + SEE_SPREAD * this.#random.fraction());
  }

  #scheduleCollection(now: Millis): void {
    const at = now + COLLECT_EVERY_MS * (0.75 + 0.5 * this.#random.fraction());
    this.#deadlines.schedule(at, (due) => {
      this.#scheduleCollection(due);
      if (this.#waiting.length > 0 || this.#node.contactCount() === 0) return;
      this.#collect(due);
      this.#start(due);
    });
  }

  /** Finds what is due. Our own values come first, the longest due before the others. */
  #collect(now: Millis): void {
    const { published, items } = this.#node;
    const due: Published[] = [];
    for (const one of published.entries()) if (one.nextAt <= now) due.push(one);
    due.sort((x, y) => x.nextAt - y.nextAt);
    for (const { item } of due.slice(0, MAX_WAITING)) {
      this.#waiting.push({ kind: "publish", target: item.target });
    }
    this.#cursor ??= items.entries()[Symbol.iterator]();
    for (let i = 0; i < COLLECT_ITEMS && this.#waiting.length < MAX_WAITING; i++) {
      const { value: item, done } = this.#cursor.next();
      if (done) {
        this.#cursor = undefined;
        break;
      }
      if (this.#isDue(item, now) && published.get(item.target) === undefined) {
        this.#waiting.push({ kind: "complete", target: item.target });
      }
    }
  }

  #isDue(item: StoredItem, now: Millis): boolean {
    const turn = item.turn ??= {
      at: this.#firstTurn(item, now),
      changes: this.#changes,
      deferrals: 0,
      by: undefined,
    };
    if (this.#changes - turn.changes >= CHANGED_SHARE * this.#node.k) {
      turn.changes = this.#changes;
      turn.at = Math.min(turn.at, now + CHANGED_WITHIN_MS * this.#random.fraction());
    }
    return turn.at <= now;
  }

  #firstTurn(item: StoredItem, now: Millis): Millis {
    return item.storedAt < this.#startedAt
      ? now + RESTART_WITHIN_MS * this.#random.fraction()
      : now + this.#turn();
  }

  // ---- within the budget

  #start(now: Millis): void {
    this.#deadlines.cancel(this.#work);
    this.#work = undefined;
    this.#earn(now);
    while (
      this.#active < MAX_ACTIVE && this.#waiting.length > 0 && this.#packets > 0 && this.#bytes > 0
    ) this.#run(this.#waiting.shift()!, now);
    if (this.#waiting.length === 0) return;
    this.#work = this.#deadlines.schedule(now + WORK_EVERY_MS, (at) => this.#start(at));
  }

  #earn(now: Millis): void {
    const seconds = (now - this.#paidAt) / 1000;
    this.#paidAt = now;
    const earn = (saved: number, rate: number) =>
      Math.min(SAVED_SECONDS * rate, saved + seconds * rate);
    this.#packets = earn(this.#packets, PACKETS_PER_SECOND);
    this.#bytes = earn(this.#bytes, BYTES_PER_SECOND);
  }

  #run({ kind, target }: Job, now: Millis): void {
    const { published, items } = this.#node;
    const end = ({ packets, bytes }: Cost, at: Millis) => {
      this.#active--;
      this.#packets -= packets;
      this.#bytes -= bytes;
      // Not at once: a job that ends within its own call would be followed by the next without an end.
      if (this.#waiting.length > 0 && this.#work === undefined) {
        this.#work = this.#deadlines.schedule(at, (due) => this.#start(due));
      }
    };
    if (kind === "publish") {
      const own = published.get(target);
      if (own === undefined) return;
      this.#active++;
      this.#node.publish(own.item, now, (replicas, newest, cost, at) => {
        this.#published(target, replicas, newest, at);
        end(cost, at);
      });
    } else {
      const item = items.get(target, now);
      if (item === undefined || item.turn === undefined || item.turn.at > now) return;
      this.#active++;
      item.turn = {
        at: now + this.#turn(),
        changes: this.#changes,
        deferrals: 0,
        by: undefined,
      };
      this.#node.complete(item, now, (copies, cost, at) => {
        this.counts.completed++;
        this.counts.copies += copies;
        end(cost, at);
      });
    }
  }

  #published(target: Id, replicas: number, newest: Item, now: Millis): void {
    const { published } = this.#node;
    const own = published.get(target);
    // It may have been taken back, or replaced by a newer version, meanwhile.
    if (own === undefined) return;
    const item = (own.item.signed?.seq ?? 0) > (newest.signed?.seq ?? 0) ? own.item : newest;
    if (replicas > 0) {
      this.counts.published++;
      const nextAt = this.nextPublication(now, this.#node.k);
      published.save({ ...own, item, replicas, failures: 0, lastAt: now, nextAt });
      return;
    }
    const wait = Math.min(PUBLISH_EVERY_MS, PUBLISH_RETRY_MS * 2 ** Math.min(own.failures, 10));
    const nextAt = now + wait * (0.9 + 0.2 * this.#random.fraction());
    published.save({ ...own, item, failures: own.failures + 1, nextAt });
  }
}
