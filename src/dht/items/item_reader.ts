// Extracts one item from the answers to a `get`, and keeps the newest version that passes verification.

import type { Id } from "../../krpc/id.ts";
import { decode, type Message } from "../../krpc/message.ts";
import {
  compareVersions,
  isItemError,
  type Item,
  type ItemCrypto,
  itemOf,
  mutableTarget,
} from "./item.ts";

/** Cap on the answers that are kept until they can be verified. Usually, fewer nodes hold an item. */
const MAX_UNVERIFIED = 32;

const EMPTY = new Uint8Array(0);

/** Called with an answer's item once it is verified. */
type Verified = (item: Item) => void;

export class ItemReader {
  newest: Item | undefined;
  /** Whether the latest answer contained a value that can't be the requested item, and its sender is at fault. */
  isWrong = false;
  readonly #crypto: ItemCrypto;
  readonly #target: Id;
  #salt: Uint8Array | undefined;
  /** Answers that can't be verified until some node returns the salt. */
  readonly #unverified: { readonly message: Message; readonly verified: Verified | undefined }[] =
    [];

  /** `held` is the version that our own node holds, if any. */
  constructor(
    crypto: ItemCrypto,
    { target, salt, held }: { target: Id; salt?: Uint8Array; held?: Item },
  ) {
    this.#crypto = crypto;
    this.#target = target;
    this.newest = held;
    this.#salt = salt ?? held?.signed?.salt;
  }

  /** Whether nodes returned values, but none of them could be verified because the salt is unknown. */
  get isSaltUnknown(): boolean {
    return this.newest === undefined && this.#unverified.length > 0;
  }

  /**
   * Reads one answer. Returns true if it contained an immutable item, because no other answer can be better. `verified`
   * is called once the answer's item has passed verification: now, or when another answer brings the salt.
   */
  read(message: Message, verified?: Verified): boolean {
    this.isWrong = false;
    if (message.value === undefined) return false;
    const salt = this.#salt ?? message.salt ?? EMPTY;
    const item = itemOf(this.#crypto, message, salt);
    if (!isItemError(item) && item.target.equals(this.#target)) {
      verified?.(item);
      if (item.signed === undefined) {
        this.newest = item;
        return true;
      }
      if (this.newest?.signed === undefined || compareVersions(item, this.newest) > 0) {
        this.newest = item;
      }
      if (this.#salt === undefined) {
        this.#salt = salt.slice();
        for (const former of this.#unverified.splice(0)) this.read(former.message, former.verified);
        // Reset the flag: an earlier answer may have been wrong, but the current answer is not.
        this.isWrong = false;
      }
    } else if (this.#salt === undefined && message.publicKey !== undefined) {
      if (this.#unverified.length >= MAX_UNVERIFIED) return false;
      const copy = decode(message.packet.slice());
      if (typeof copy !== "string") this.#unverified.push({ message: copy, verified });
    } else this.isWrong = this.#isFault(message, salt);
    return false;
  }

  /**
   * Whether a wrong value is the fault of the node that sent it. If our own user gave a wrong salt,
   * no node is at fault: every mutable item then fails verification.
   */
  #isFault({ publicKey }: Message, salt: Uint8Array): boolean {
    if (publicKey === undefined) return true;
    const isRightSalt = this.newest?.signed !== undefined;
    return isRightSalt || mutableTarget(this.#crypto, publicKey, salt).equals(this.#target);
  }
}
