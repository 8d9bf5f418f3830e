// Splits a value into items while it streams by, from the chunks up to the root.

import { immutableItem, type Item, type ItemCrypto } from "../dht/item.ts";
import { bencodeBytes } from "../krpc/bencode.ts";
import { type Id, ID_BYTES } from "../krpc/id.ts";
import { CHUNK_BYTES, encodeManifest, FAN_OUT, type Whole } from "./manifest.ts";

/** A manifest that is being filled. */
interface Open {
  readonly children: Uint8Array;
  count: number;
  size: number;
}

/**
 * Makes the items of one value over {@link CHUNK_BYTES}. It holds one chunk and one manifest a level: a full one is
 * closed only when the next child comes, because the last of its level may be the root.
 */
export class Chunker {
  readonly #crypto: ItemCrypto;
  readonly #chunk = new Uint8Array(CHUNK_BYTES);
  #filled = 0;
  /** By level, from 1 on. */
  readonly #open: Open[] = [];
  #size = 0;

  constructor(crypto: ItemCrypto) {
    this.#crypto = crypto;
  }

  /** Bytes taken in so far. */
  get size(): number {
    return this.#size;
  }

  /** Takes in the next bytes; yields the items that they complete. */
  *add(bytes: Uint8Array): Generator<Item> {
    for (let at = 0; at < bytes.length;) {
      if (this.#filled === CHUNK_BYTES) yield* this.#closeChunk();
      const taken = Math.min(CHUNK_BYTES - this.#filled, bytes.length - at);
      this.#chunk.set(bytes.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      this.#size += taken;
      at += taken;
    }
  }

  /** After the last byte: yields all items that are left but the root. */
  *end(): Generator<Item> {
    yield* this.#closeChunk();
    for (let level = 1; level < this.#open.length; level++) yield* this.#close(level);
  }

  /** After the end: the root. */
  root(whole: Whole): Item {
    const level = this.#open.length;
    const { children, count, size } = this.#open[level - 1];
    const targets = children.subarray(0, count * ID_BYTES);
    return immutableItem(this.#crypto, encodeManifest(level, size, targets, whole));
  }

  *#closeChunk(): Generator<Item> {
    const size = this.#filled;
    const item = immutableItem(this.#crypto, bencodeBytes(this.#chunk.subarray(0, size)));
    this.#filled = 0;
    yield item;
    yield* this.#addChild(1, item.target, size);
  }

  *#close(level: number): Generator<Item> {
    const open = this.#open[level - 1];
    const { count, size } = open;
    const targets = open.children.subarray(0, count * ID_BYTES);
    const item = immutableItem(this.#crypto, encodeManifest(level, size, targets));
    open.count = open.size = 0;
    yield item;
    yield* this.#addChild(level + 1, item.target, size);
  }

  *#addChild(level: number, target: Id, size: number): Generator<Item> {
    const open = this.#open[level - 1] ??= {
      children: new Uint8Array(FAN_OUT * ID_BYTES),
      count: 0,
      size: 0,
    };
    if (open.count === FAN_OUT) yield* this.#close(level);
    target.write(open.children, open.count * ID_BYTES);
    open.count++;
    open.size += size;
  }
}
