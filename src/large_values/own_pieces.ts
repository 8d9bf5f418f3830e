// The pieces of all large values that this node publishes. Each piece is cut from the value's bytes when it is needed.

import type { Item } from "../dht/items/item.ts";
import { Id, ID_BYTES } from "../krpc/id.ts";
import type { Blobs, DataCrypto } from "./item_network.ts";
import { Layout, type Level, PIECE_BYTES, type Stripe } from "./layout.ts";
import { decodeRoot } from "./manifest.ts";
import { extentOf, pieceItem, StripeBuffer } from "./pieces.ts";
import { PieceIndex } from "./piece_index.ts";

/** The number of bytes per read when ids are loaded. */
const READ_BYTES = 3_000 * ID_BYTES;

/**
 * Cap on the pieces that are being read at once. To compute a parity piece, its whole stripe is read: 32 kB, and 1 ms
 * of computing.
 */
const MAX_READS = 32;

/** A large value that this node publishes. */
export interface OwnValue {
  readonly root: Id;
  readonly layout: Layout;
  /** The id of the blob with the value's bytes. */
  readonly value: number;
  /** The id of the blob with the ids of the value's pieces. */
  readonly ids: number;
}

export class OwnPieces {
  readonly #blobs: Blobs;
  readonly #crypto: DataCrypto;
  readonly #values = new Map<string, OwnValue>();
  readonly #index = new PieceIndex<OwnValue>();
  readonly #buffer = new StripeBuffer();
  /** Resolves when the ids of all values added so far have been read. */
  #loading: Promise<void> = Promise.resolve();
  #reads = 0;

  constructor(parts: { readonly blobs: Blobs; readonly crypto: DataCrypto }) {
    this.#blobs = parts.blobs;
    this.#crypto = parts.crypto;
  }

  /** The number of pieces of all values together. */
  get count(): number {
    let count = 0;
    for (const { layout } of this.#values.values()) count += layout.pieces;
    return count;
  }

  values(): OwnValue[] {
    return [...this.#values.values()];
  }

  get(root: Id): OwnValue | undefined {
    return this.#values.get(`${root}`);
  }

  /** Adds a value. Its piece ids are read in the background, and its pieces can be found after that. */
  add(root: Item, { value, ids }: Pick<OwnValue, "value" | "ids">): void {
    const decoded = decodeRoot(root.value);
    if (decoded === undefined || this.#values.has(`${root.target}`)) return;
    const own = { root: root.target, layout: new Layout(decoded.size), value, ids };
    this.#values.set(`${root.target}`, own);
    // If the ids of a value can't be read, the value is still published and can be read as a whole. Only its pieces
    // can't be found here.
    this.#loading = this.#loading.then(() => this.#load(own)).catch(() => {});
  }

  remove(root: Id): void {
    const own = this.get(root);
    if (own === undefined) return;
    this.#values.delete(`${root}`);
    this.#index.remove(own);
  }

  /** Resolves when the pieces of all values added so far can be found. */
  loaded(): Promise<void> {
    return this.#loading;
  }

  async #load(own: OwnValue): Promise<void> {
    const length = own.layout.pieces * ID_BYTES;
    this.#index.reserve(own.layout.pieces);
    for (let at = 0; at < length; at += READ_BYTES) {
      const ids = await this.#blobs.read(own.ids, at, Math.min(READ_BYTES, length - at));
      if (!this.#isHere(own)) return;
      this.#index.add(own, ids);
    }
  }

  #isHere(own: OwnValue): boolean {
    return this.get(own.root) === own;
  }

  /** Whether one of the values probably contains this piece. A false positive is possible but rare. */
  mayHave(target: Id): boolean {
    return this.#index.mayHave(target);
  }

  /**
   * Reads a piece. Returns undefined if no value contains it, if it can't be read, or if too many pieces are being
   * read. Never rejects.
   */
  async read(target: Id): Promise<Item | undefined> {
    if (this.#reads >= MAX_READS) return undefined;
    this.#reads++;
    try {
      for (const [own, number] of [...this.#index.find(target)]) {
        const item = await this.#piece(own, number, target);
        if (item !== undefined) return item;
      }
    } catch {
      // Ignore a disk error: other nodes have the piece too.
    } finally {
      this.#reads--;
    }
    return undefined;
  }

  async #piece(own: OwnValue, number: number, target: Id): Promise<Item | undefined> {
    const id = await this.#blobs.read(own.ids, number * ID_BYTES, ID_BYTES);
    if (!Id.read(id).equals(target)) return undefined;
    const level = own.layout.levelOf(number), piece = number - level.first;
    const item = piece < level.data
      ? await this.#dataPiece(own, level, piece)
      : await this.#parityPiece(own, level, number);
    return item.target.equals(target) ? item : undefined;
  }

  async #dataPiece(own: OwnValue, level: Level, piece: number): Promise<Item> {
    const content = await this.#read(own, level, [piece * PIECE_BYTES, level.lengthOf(piece)]);
    return pieceItem(this.#crypto, level.first + piece, content);
  }

  async #parityPiece(own: OwnValue, level: Level, wanted: number): Promise<Item> {
    const stripe = level.stripe(level.stripeOfNumber(wanted));
    const data = await this.stripe(own, level, stripe);
    for (const { number, item } of this.#buffer.items(this.#crypto, stripe, data)) {
      if (number === wanted) return { ...item, value: item.value.slice() };
    }
    throw new RangeError(`no piece ${wanted}`);
  }

  /** Reads the data pieces of a stripe as one byte string. Rejects if they can't be read. */
  stripe(own: OwnValue, level: Level, stripe: Stripe): Promise<Uint8Array> {
    return this.#read(own, level, extentOf(level, stripe));
  }

  /** Reads a range of a level's byte string, given by offset and length. */
  #read(
    own: OwnValue,
    level: Level,
    [offset, length]: readonly [offset: number, length: number],
  ): Promise<Uint8Array> {
    if (level.first === 0) return this.#blobs.read(own.value, offset, length);
    // The byte string of this level consists of the ids of the pieces below, which are adjacent in the blob of ids.
    return this.#blobs.read(own.ids, level.first * ID_BYTES - level.size + offset, length);
  }
}
