// Reads a large value from the network: any range of it, in order, a bounded number of items ahead.

import { type Item, sameBytes } from "../dht/item.ts";
import { byteStringContent } from "../krpc/bencode.ts";
import { Id, ID_BYTES } from "../krpc/id.ts";
import type { DataCrypto } from "./item_network.ts";
import { capacity, CHUNK_BYTES, decodeInner, FAN_OUT, type Root } from "./manifest.ts";
import { type Transfer, TransferError, WINDOW } from "./transfers.ts";

/** A range of one value on its way out. */
export class ChunkedReader {
  readonly #root: Root;
  readonly #crypto: DataCrypto;
  readonly #transfer: Transfer;
  /** By level, the children in the manifests that are in use, by their number from the left. */
  readonly #manifests: Map<number, Promise<Uint8Array>>[];

  constructor(root: Root, crypto: DataCrypto, transfer: Transfer) {
    this.#root = root;
    this.#crypto = crypto;
    this.#transfer = transfer;
    this.#manifests = Array.from({ length: root.level + 1 }, () => new Map());
    this.#manifests[root.level].set(0, Promise.resolve(root.children));
  }

  /**
   * The bytes from `start` up to and without `end`, in pieces of at most {@link CHUNK_BYTES}. Items are asked for as
   * they are read, {@link WINDOW} ahead. Where it reads the whole, the last piece comes once the SHA-256 was right.
   *
   * @throws {TransferError} `missing`, `invalid`, `mismatch` or `aborted`
   */
  async *read(start: number, end: number): AsyncGenerator<Uint8Array> {
    if (start >= end) return;
    const first = Math.floor(start / CHUNK_BYTES), last = Math.floor((end - 1) / CHUNK_BYTES);
    const hash = start === 0 && end === this.#root.size ? this.#crypto.sha256() : undefined;
    const ahead: Promise<Uint8Array>[] = [];
    for (let number = first, asked = first; number <= last; number++) {
      while (asked <= last && ahead.length < WINDOW) {
        ahead.push(handled(this.#chunk(asked++, last)));
      }
      const chunk = await ahead.shift()!;
      this.#transfer.move();
      this.#forget(number + 1);
      hash?.update(chunk);
      if (number === last && hash !== undefined) this.#verify(hash.digest());
      const offset = number * CHUNK_BYTES;
      yield chunk.subarray(Math.max(0, start - offset), end - offset);
      this.#transfer.move();
      this.#transfer.check();
    }
  }

  #verify(digest: Uint8Array): void {
    if (sameBytes(digest, this.#root.sha256)) return;
    throw new TransferError("mismatch", "The value's parts don't have the SHA-256 that it should.");
  }

  async #chunk(number: number, last: number): Promise<Uint8Array> {
    const isFirst = number % FAN_OUT === 0;
    // Its manifest is there by the time that the next sister's children are wanted.
    if (isFirst && number + FAN_OUT <= last) this.#manifest(1, number / FAN_OUT + 1);
    const item = await this.#child(1, number);
    const content = byteStringContent(item.value);
    if (content?.length !== this.#sizeOf(0, number)) throw invalid(item);
    return content;
  }

  /** The item of the child that has this number among all children of manifests of `level`. */
  async #child(level: number, number: number): Promise<Item> {
    const children = await this.#manifest(level, Math.floor(number / FAN_OUT));
    const target = Id.read(children, number % FAN_OUT * ID_BYTES);
    const item = await this.#transfer.get(target);
    if (item === undefined) {
      throw new TransferError("missing", `Part ${target} of the value was not found.`);
    }
    if (item.signed !== undefined) throw invalid(item);
    return item;
  }

  #manifest(level: number, number: number): Promise<Uint8Array> {
    const known = this.#manifests[level];
    let children = known.get(number);
    if (children === undefined) {
      children = handled(this.#fetchManifest(level, number));
      known.set(number, children);
    }
    return children;
  }

  async #fetchManifest(level: number, number: number): Promise<Uint8Array> {
    const item = await this.#child(level + 1, number);
    const children = decodeInner(item.value, level, this.#sizeOf(level, number));
    if (children === undefined) throw invalid(item);
    return children;
  }

  /** Bytes under the node of this level that has this number. */
  #sizeOf(level: number, number: number): number {
    const full = capacity(level);
    return Math.min(full, this.#root.size - number * full);
  }

  /** Lets go of the manifests that no chunk from `next` on needs. */
  #forget(next: number): void {
    for (let level = 1; level < this.#root.level; level++) {
      this.#manifests[level].delete(Math.floor(next / FAN_OUT ** level) - 1);
    }
  }
}

function invalid({ target }: Item): TransferError {
  return new TransferError("invalid", `Part ${target} of the value is not what it should be.`);
}

/** A promise that may fail before anybody waits for it. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
