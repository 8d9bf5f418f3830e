// What large values need of the network: items put and got, a value's together.

import type { Item, ItemCrypto } from "../dht/item.ts";
import type { Id } from "../krpc/id.ts";

/** A network that holds BEP 44 items. */
export interface ItemNetwork {
  /** Opens a batch for the items of one value. */
  batch(): ItemBatch;
}

/**
 * All items of one value, put or got one beside the other: what finding one teaches about the network may serve
 * the next.
 */
export interface ItemBatch {
  /** Stores an immutable item; `stored` names the nodes that acknowledged it, `elapsed` is in milliseconds. */
  put(item: Item): Promise<{ readonly stored: readonly Id[]; readonly elapsed: number }>;
  /** The immutable item of this hash, verified; undefined where nobody had it. */
  get(target: Id): Promise<Item | undefined>;
  /** No more is asked of it. */
  close(): void;
}

/** A SHA-256 that is computed piece by piece. */
export interface RunningHash {
  update(bytes: Uint8Array): unknown;
  /** 32 bytes; ends it. */
  digest(): Uint8Array;
}

/** The hashes that large values need. */
export interface DataCrypto extends ItemCrypto {
  sha256(): RunningHash;
}

/** Time, as the place where this runs has it. */
export interface Clock {
  /** Milliseconds that never run backwards. */
  now(): number;
  /** Resolves after `ms`, or once `signal` is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}
