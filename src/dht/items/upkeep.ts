// Restores lost copies of values: republishes our own values, and repairs the replicas of items that we hold.

import type { Id } from "../../krpc/id.ts";
import { CHALLENGE_BYTES, type Message } from "../../krpc/message.ts";
import type { Seq } from "../../krpc/seq.ts";
import type { Millis } from "../deadlines.ts";
import type { Candidate } from "../search/lookup.ts";
import type { FindResult } from "../search/searches.ts";
import type { Random } from "../random.ts";
import { compareVersions, type Item, lifeTimeOf, sameBytes, type StoredItem } from "./item.ts";
import { proofOf } from "./proof.ts";
import type { Published } from "./published.ts";
import type { ItemEvent, ItemOperations } from "./item_operations.ts";

/** Approximate sizes in bytes: of a lookup's query, of a put without its value, and of a mutable item's signature. */
const QUERY_BYTES = 110, PUT_BYTES = 120, SIGNED_BYTES = 130;

/** The estimated packets and bytes that an operation has sent. */
export interface Cost {
  readonly packets: number;
  readonly bytes: number;
}

export interface PublishResult {
  /** How many nodes acknowledged the value, including our own node. */
  readonly replicas: number;
  /** How many other nodes acknowledged the value. */
  readonly others: number;
  /** The version that was put. */
  readonly newest: Item;
  readonly cost: Cost;
}

export interface CompleteResult {
  readonly copies: number;
  readonly cost: Cost;
}

export class Upkeep {
  readonly operations: ItemOperations;
  readonly #random: Random;
  readonly #emit: (event: ItemEvent) => void;

  constructor(
    options: { operations: ItemOperations; random: Random; emit: (event: ItemEvent) => void },
  ) {
    this.operations = options.operations;
    this.#random = options.random;
    this.#emit = options.emit;
  }

  /** Stores one of our own values on the nodes closest to its target. */
  publish(
    { item: own, lifeMs }: Pick<Published, "item" | "lifeMs">,
    now: Millis,
    done: (result: PublishResult, now: Millis) => void,
  ): void {
    // If the owner has published a newer version through another node, republish that version.
    const make = (newest: Item | undefined) =>
      newest !== undefined && compareVersions(newest, own) > 0 ? newest : own;
    const { self } = this.operations.searches;
    const put = { target: own.target, salt: own.signed?.salt, lifeMs, isOwn: true, make };
    this.operations.put({ ...put, purpose: "own_values" }, now, (result, at) => {
      const newest = result.item ?? own;
      const replicas = result.stored.length;
      const others = result.stored.filter((id) => !id.equals(self.id)).length;
      const cost = costOf(result, { item: newest, puts: result.stored.length });
      done({ replicas, others, newest, cost }, at);
    });
  }

  /** Sends an item that we hold to each of the k closest nodes that lacks it or has an older version. */
  complete(
    item: StoredItem,
    now: Millis,
    done: (result: CompleteResult, now: Millis) => void,
  ): void {
    const { operations } = this;
    const reports: Report[] = [];
    const challenge = this.#random.bytes(CHALLENGE_BYTES);
    const onResponse = (message: Message, { endpoint }: Candidate) => {
      const report = reportIn(message, item);
      if (report === undefined) return false;
      reports.push(report);
      const isProven = isOther(report, item) || isOlder(report, item) || !report.hasAge ||
        this.#isProof(report, challenge, item);
      if (!isProven) operations.noteUnproven(report.id, endpoint);
      return false;
    };
    const onFound = (result: FindResult, at: Millis) => {
      if (!reports.some((report) => isOther(report, item))) {
        return this.#fill(item, { result, reports, challenge }, at, done);
      }
      // A node claims to have a newer version, or a different version with the same seq, so fetch
      // and compare the versions.
      this.#takeNewest(item, at, (newest, cost, end) => {
        this.#fill(
          newest,
          { result, reports, challenge },
          end,
          ({ cost: rest, ...filled }, last) => {
            const both = { packets: cost.packets + rest.packets, bytes: cost.bytes + rest.bytes };
            done({ ...filled, cost: both }, last);
          },
        );
      });
    };
    const { target } = item;
    operations.find({ target, onResponse, challenge, purpose: "upkeep" }, now, onFound);
  }

  /** Sends an item to each of the k closest nodes that lacks it, and to each node that reported an older version. */
  #fill(
    item: StoredItem,
    { result, reports, challenge }: {
      result: FindResult;
      reports: readonly Report[];
      challenge: Uint8Array;
    },
    now: Millis,
    done: (result: CompleteResult, now: Millis) => void,
  ): void {
    const { operations } = this;
    // Send a copy to each node that gave no proof. That includes nodes of other implementations,
    // which forget items after two hours.
    const holders = new Set(
      reports.filter((report) => this.#isProof(report, challenge, item)).map(({ id }) => `${id}`),
    );
    const { k } = operations.searches.tables, { holders: wanted } = result;
    const copies = operations.copiesAmong(wanted, item.copies);
    const isFar = !operations.isAmongClosest(item.target, result);
    // Our own node is one of the wanted holders, unless enough other nodes are closer.
    const limit = item.copies === undefined ? (isFar ? wanted : wanted - 1) : Math.max(k, copies);
    const closest = result.closest.slice(0, limit);
    const lacking = closest.filter(({ id }) => !holders.has(`${id}`));
    // Farther nodes hold copies too if closer nodes were out of reach when the item was sent. Such
    // copies must not stay outdated.
    const outdated = new Set(
      reports.filter((report) => isOlder(report, item) || isOther(report, item))
        .map(({ id }) => `${id}`),
    );
    const farther = result.closest.slice(closest.length).filter(({ id }) => !holders.has(`${id}`));
    const stale = farther.filter(({ id }) => outdated.has(`${id}`));
    // The nodes to send a copy to, in this order. If a node fails, the next node gets the copy
    // instead.
    const nodes = [
      ...lacking,
      ...stale,
      ...farther.filter(({ id }) => !outdated.has(`${id}`)),
    ];
    // If each of the k closest nodes should have a copy, the item is sent to all that lack it. If
    // fewer copies are wanted, only the missing copies are sent, and our own copy counts too.
    const held = closest.length - lacking.length + (isFar ? 0 : 1);
    const missing = copies < k ? Math.max(0, copies - held) : lacking.length + stale.length;
    const age = Math.round((now - item.storedAt) / 1000), lifeMs = lifeTimeOf(item);
    const itemWrite = { item, age, lifeMs, nodes, count: missing, purpose: "upkeep" } as const;
    operations.write(itemWrite, now, ({ stored }, end) => {
      if (stored.length > 0) this.#emit({ type: "data.replicate", item, to: stored });
      const isHeld = ({ id }: { id: Id }) =>
        holders.has(`${id}`) || stored.some((other) => other.equals(id));
      const closer = closest.slice(0, k).filter(isHeld).length;
      operations.host.items.noteSpare(item, isFar && closer >= Math.min(k, copies), end);
      const cost = costOf(result, { item, puts: stored.length });
      done({ copies: stored.length, cost }, end);
    });
  }

  /** Whether a report proves that the node holds exactly this version. */
  #isProof({ id, proof }: Report, challenge: Uint8Array, { value }: Item): boolean {
    if (proof === undefined) return false;
    const { host } = this.operations;
    return sameBytes(proof, proofOf(host, { challenge, holder: id, value }));
  }

  /**
   * Fetches all versions of an item that we hold, and keeps the newest. `done` receives the version
   * that we have now.
   */
  #takeNewest(
    item: StoredItem,
    now: Millis,
    done: (newest: StoredItem, cost: Cost, now: Millis) => void,
  ): void {
    const { target, signed } = item;
    const { operations } = this;
    // Besides fetching the item, this get stores the newest version here, and sends it to the nodes that return another
    // version.
    const get = { target, salt: signed!.salt, purpose: "upkeep" } as const;
    operations.get(get, now, (result, at) => {
      const cost = costOf(result, { item, puts: 0 });
      const { item: newest } = result;
      if (newest === undefined || compareVersions(newest, item) <= 0) return done(item, cost, at);
      operations.host.items.put({ item: newest }, at, () => {
        operations.host.items.read(target, at, (held, end) => done(held ?? item, cost, end));
      });
    });
  }
}

/** The version of an item that a node says it holds. */
interface Report {
  readonly id: Id;
  /** The seq of the node's version: NaN if it is unreadable, and 0 for an immutable item. */
  readonly seq: Seq;
  /** The signature of the node's version. Undefined for an immutable item, and if the node runs other software. */
  readonly signature: Uint8Array | undefined;
  /** The proof that the node has the value; undefined if it runs other software. */
  readonly proof: Uint8Array | undefined;
  /** Whether the node reports the age of its copy, as this project's software does. */
  readonly hasAge: boolean;
}

/** Reads which version of `item` a node says it holds; undefined if it does not hold any. */
function reportIn(
  { id, seq: given, signature, proof, value, age }: Message,
  { signed }: StoredItem,
): Report | undefined {
  const seq = signed === undefined ? 0 : given, hasAge = !Number.isNaN(age);
  const hasIt = value !== undefined || proof !== undefined || hasAge ||
    (signed !== undefined && seq >= 0);
  if (!hasIt || id === undefined) return undefined;
  return { id, seq, signature: signature?.slice(), proof: proof?.slice(), hasAge };
}

/** Whether a node reports an older version than ours. */
function isOlder({ seq }: Report, { signed }: StoredItem): boolean {
  return signed !== undefined && seq < signed.seq;
}

/** Whether a node reports a newer version than ours, or a different version with the same seq, which may be newer. */
function isOther({ seq, signature }: Report, { signed }: StoredItem): boolean {
  if (signed === undefined) return false;
  if (seq !== signed.seq) return seq > signed.seq;
  return signature !== undefined && !sameBytes(signature, signed.signature);
}

/** The cost of a search and of the puts that followed it. */
function costOf(
  { asked }: FindResult,
  { item: { value, signed }, puts }: { item: Item; puts: number },
): Cost {
  const putBytes = PUT_BYTES + value.length + (signed === undefined ? 0 : SIGNED_BYTES);
  return { packets: asked.length + puts, bytes: asked.length * QUERY_BYTES + puts * putBytes };
}
