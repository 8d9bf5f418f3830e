// Stores values under keys. Each value becomes the key's next version, signed with the node's identity.

import {
  type Item,
  type ItemError,
  mutableTarget,
  refusal,
  signedBytes,
} from "../../dht/items/item.ts";
import type { PutResult } from "../../dht/items/item_operations.ts";
import type { Id } from "../../krpc/id.ts";
import { ErrorCode } from "../../krpc/message.ts";
import { maxSeq, nextSeq, type Seq } from "../../krpc/seq.ts";
import type { StoreOutcome } from "../../node_service.ts";
import { type Identity, itemCrypto } from "../identity/crypto.ts";
import type { NetworkItems } from "./items.ts";
import { hasMajority, isRival } from "./puts.ts";

/** Maximum number of sequence numbers to try while other nodes hold a different version with the same number. */
const MAX_ROUNDS = 8;

const EXHAUSTED: ItemError = { code: ErrorCode.protocol, text: "the seq is the largest" };

/** The options for putting a version; see `StoreOptions`. */
export interface VersionOptions {
  readonly cas?: Seq;
  readonly minReplicas?: number;
  readonly lifeMs?: number;
}

/** The reasons why a version was not put. */
export type Conflict = Extract<
  StoreOutcome,
  { outcome: "cas_mismatch" | "overtaken" | "seq_exhausted" }
>;

export class OwnVersions {
  /** The highest seq that this node has signed for each target. Two versions of one key must not share a seq. */
  readonly #signedSeq = new Map<string, Seq>();

  constructor(
    private readonly options: {
      readonly items: NetworkItems;
      readonly identity: Identity;
      readonly bucketSize: number;
      readonly turns: Turns;
    },
  ) {}

  /** Returns the target of the mutable item that this identity signs with `salt`. */
  target(salt: Uint8Array): Id {
    return mutableTarget(itemCrypto, this.options.identity.publicKey, salt);
  }

  /**
   * Puts a value under a key as the next version. Another node with the same identity may sign the same seq at the same
   * time. If nodes that hold the rival version refuse the put, this node tries again with the next seq, so that one
   * version becomes the newest everywhere. With `cas`, this node tries again only if most of the closest nodes have
   * stored its version.
   */
  put(
    salt: Uint8Array,
    bencoded: Uint8Array,
    { cas, lifeMs, minReplicas = 1 }: VersionOptions,
  ): Promise<PutResult | Conflict> {
    const { items, identity, bucketSize: k, turns } = this.options, { publicKey } = identity;
    const target = this.target(salt), hash = `${target}`;
    let expected = cas, signed: Item | undefined, newestSeq: Seq = 0;
    const sign = (current: Seq): Item | ItemError => {
      const seq = nextSeq(current);
      if (seq === undefined) return EXHAUSTED;
      this.#signedSeq.set(hash, maxSeq(seq, this.#signedSeq.get(hash) ?? 0));
      const signature = identity.sign(signedBytes(salt, seq, bencoded));
      return signed = { target, value: bencoded, signed: { publicKey, signature, salt, seq } };
    };
    const make = (newest: Item | undefined): Item | ItemError => {
      newestSeq = newest?.signed?.seq ?? 0;
      // A retried put sends the same version again, unless a newer one exists by now.
      if (signed !== undefined && refusal(newest, signed, undefined) === undefined) return signed;
      if (expected === undefined) {
        return sign(maxSeq(newestSeq, this.#signedSeq.get(hash) ?? 0));
      }
      if (signed !== undefined || newestSeq !== expected) {
        return { code: ErrorCode.casMismatch, text: "cas mismatch" };
      }
      return sign(expected);
    };
    return turns.take(hash, async () => {
      for (let round = 1;; round++) {
        // Don't send `cas` itself, because nodes that missed a version would refuse the put.
        const put = { target, salt, isGuarded: true, minReplicas, lifeMs };
        const result = await items.put(put, make);
        if (result.refusals.includes(EXHAUSTED)) {
          return { outcome: "seq_exhausted", seq: newestSeq };
        }
        if (result.item === undefined) {
          return { outcome: signed === undefined ? "cas_mismatch" : "overtaken", seq: newestSeq };
        }
        const isContested = result.refusals.some(isRival);
        const hasWon = !isContested || hasMajority(result, { target, ownId: items.ownId, k });
        const isLast = round === MAX_ROUNDS || nextSeq(result.item.signed!.seq) === undefined;
        if (!isContested || (hasWon && isLast)) return result;
        if (!hasWon && (expected !== undefined || isLast)) {
          const { item } = await items.get(target, salt);
          return { outcome: "overtaken", seq: item?.signed?.seq ?? newestSeq };
        }
        // Pause for a random time, so that this node and the other node with its identity don't sign the same seq
        // again.
        if (!hasWon) await items.sleep(2 * Math.random() * result.elapsed);
        signed = expected = undefined;
      }
    });
  }
}

/** Runs tasks with the same name one after another, in the order of their calls. */
export class Turns {
  readonly #latest = new Map<string, Promise<unknown>>();

  async take<T>(name: string, run: () => Promise<T>): Promise<T> {
    const before = this.#latest.get(name);
    const own = (async () => {
      await before;
      return await run();
    })();
    this.#latest.set(name, own);
    try {
      return await own;
    } finally {
      if (this.#latest.get(name) === own) this.#latest.delete(name);
    }
  }
}
