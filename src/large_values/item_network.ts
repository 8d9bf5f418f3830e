// The interfaces of the network, disk, hash functions and clock that large values use.

import type { Item, ItemCrypto, ItemError } from "../dht/items/item.ts";
import type { Purpose } from "../dht/purpose.ts";
import type { Id } from "../krpc/id.ts";

/** A network that stores BEP 44 items. */
export interface ItemNetwork {
  /** The estimated number of nodes in the network, not counting this node. */
  size(): number;
  /**
   * Opens a batch for the items of one value. `lifeMs`: how long nodes should keep the items of the batch, by default a
   * day. `purpose`: what the traffic counts as, by default transfers.
   */
  batch(options?: { readonly lifeMs?: number; readonly purpose?: Purpose }): ItemBatch;
}

/** The result of a put. */
export interface ItemPut {
  /** The nodes that acknowledged the item. */
  readonly stored: readonly Id[];
  /** The errors of the nodes that refused the item. */
  readonly refusals: readonly ItemError[];
  /** The duration of the put in milliseconds. */
  readonly elapsed: number;
}

/**
 * A batch of the items of one value, which are stored or fetched in parallel. Each search reuses what earlier searches
 * learned about the network.
 */
export interface ItemBatch {
  /** Stores a piece of a value on the `copies` nodes closest to it, not counting this node. */
  putPiece(item: Item, copies: number): Promise<ItemPut>;
  /** Stores the root item of a value on the closest nodes, which may include this node. */
  putRoot(item: Item): Promise<ItemPut>;
  /** Returns the verified immutable item with this hash; undefined if no node had it. */
  get(target: Id): Promise<Item | undefined>;
  close(): void;
}

/** Writes one blob: a byte string that is too long for an item. */
export interface BlobWriter {
  readonly id: number;
  /** Appends a copy of `bytes`. Resolves once more can be appended, and rejects if the bytes can't be written. */
  append(bytes: Uint8Array): Promise<void>;
  /** Resolves once the whole blob is on disk. Rejects if the blob can't be written. */
  finish(): Promise<unknown>;
  /** Removes the blob, finished or not. Call this only if no published value refers to the blob. */
  abandon(): void;
}

/** This node's storage for blobs, which are byte strings of any length. */
export interface Blobs {
  create(): BlobWriter;
  /**
   * Reads a range of a finished blob into a new array with its own buffer. Rejects if the bytes are missing, damaged or
   * unreadable.
   */
  read(id: number, offset: number, length: number): Promise<Uint8Array>;
  remove(id: number): void;
}

/** The hash functions that large values need. */
export interface DataCrypto extends ItemCrypto {
  /** Starts a SHA-256 over several chunks. `digest` returns its 32 bytes, after which nothing can be added. */
  sha256(): { update(bytes: Uint8Array): unknown; digest(): Uint8Array };
}

/** A clock. Tests replace it with a clock that does not wait. */
export interface Clock {
  /** The monotonic time in milliseconds. */
  now(): number;
  /** Resolves after `ms` milliseconds, or as soon as `signal` is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}
