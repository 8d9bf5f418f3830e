// Interfaces of the network, disk, hashes and clock that large values use.

import type { Item, ItemCrypto, ItemError } from "../dht/items/item.ts";
import type { Purpose } from "../dht/purpose.ts";
import type { Id } from "../krpc/id.ts";

/** A network that holds BEP 44 items. */
export interface ItemNetwork {
  /** The estimated number of other nodes. */
  size(): number;
  /**
   * Opens a batch for the items of one value. `lifeMs`: how long nodes should keep the items that are put; a day by
   * default. `purpose`: transfers by default.
   */
  batch(options?: { readonly lifeMs?: number; readonly purpose?: Purpose }): ItemBatch;
}

/** The result of a put. */
export interface ItemPut {
  /** The nodes that acknowledged the item. */
  readonly stored: readonly Id[];
  /** The reasons of the nodes that refused the item. */
  readonly refusals: readonly ItemError[];
  /** The duration of the put in milliseconds. */
  readonly elapsed: number;
}

/**
 * A batch of the items of one value, which are stored or fetched in parallel. Each search can use what earlier searches
 * learned about the network.
 */
export interface ItemBatch {
  /** Stores a piece of a value on the `copies` other nodes closest to it. */
  putPiece(item: Item, copies: number): Promise<ItemPut>;
  /** Stores the root of a value on the closest nodes, which may include our own. */
  putRoot(item: Item): Promise<ItemPut>;
  /** The verified immutable item with this hash; undefined if no node had it. */
  get(target: Id): Promise<Item | undefined>;
  close(): void;
}

/** A byte string that is being written. */
export interface BlobWriter {
  readonly id: number;
  /** Adds a copy of `bytes` at the end, and resolves when more can be added. Rejects if they can't be written. */
  append(bytes: Uint8Array): Promise<void>;
  /** Resolves once the whole blob is on disk. Rejects if it can't be written. */
  finish(): Promise<unknown>;
  /** Removes the blob, whether it is finished or not. No published value may refer to it yet. */
  abandon(): void;
}

/** This node's store for byte strings of any length. */
export interface Blobs {
  create(): BlobWriter;
  /**
   * Reads from a finished blob, into a new array with its own buffer. Rejects if the bytes are
   * missing, damaged or can't be read.
   */
  read(id: number, offset: number, length: number): Promise<Uint8Array>;
  remove(id: number): void;
}

/** The hashes that large values need. */
export interface DataCrypto extends ItemCrypto {
  /** A SHA-256 over several pieces. Nothing can be added after `digest`, which returns its 32 bytes. */
  sha256(): { update(bytes: Uint8Array): unknown; digest(): Uint8Array };
}

/** A clock. Tests replace it with one that needs no waiting. */
export interface Clock {
  /** Monotonic time in milliseconds. */
  now(): number;
  /** Resolves after `ms`, or when `signal` is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}
