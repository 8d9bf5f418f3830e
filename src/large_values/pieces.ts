// Converts the bytes of a large value to items, and items back to bytes.

import { immutableItem, type Item, type ItemCrypto } from "../dht/items/item.ts";
import { bencodeBytes, byteStringContent, literal } from "../krpc/bencode.ts";
import { putWord, word } from "../krpc/id.ts";
import { type Level, NUMBER_BYTES, PIECE_BYTES, type Stripe } from "./layout.ts";
import { encodeInto, MAX_DATA, MAX_PARITY } from "./reed_solomon.ts";

/** Creates the item of a piece. */
export function pieceItem(crypto: ItemCrypto, number: number, content: Uint8Array): Item {
  const bytes = new Uint8Array(NUMBER_BYTES + content.length);
  putWord(bytes, 0, number);
  bytes.set(content, NUMBER_BYTES);
  return immutableItem(crypto, bencodeBytes(bytes));
}

/** Returns the content of the piece with this number; undefined if `item` is not that piece, or has another length. */
export function contentOf(
  { value, signed }: Item,
  number: number,
  length: number,
): Uint8Array | undefined {
  const bytes = signed === undefined ? byteStringContent(value) : undefined;
  if (bytes?.length !== NUMBER_BYTES + length || word(bytes, 0) >>> 0 !== number) return undefined;
  return bytes.subarray(NUMBER_BYTES);
}

/** The maximum length of the bencode prefix before a piece. */
const PREFIX_BYTES = 4;

/**
 * The size of the slot for each bencoded piece in a buffer. If the piece is shorter, the first bytes of the slot are
 * unused.
 */
const SLOT_BYTES = PREFIX_BYTES + NUMBER_BYTES + PIECE_BYTES;

/**
 * A buffer for the items of one stripe. Stripes are large, so reuse the buffer once its items are no longer needed.
 * Otherwise, hundreds of megabytes would wait for garbage collection.
 */
export class StripeBuffer {
  readonly #items = new Uint8Array((MAX_DATA + MAX_PARITY) * SLOT_BYTES);
  readonly #data = new Uint8Array(MAX_DATA * PIECE_BYTES);
  readonly #parity = new Uint8Array(MAX_PARITY * PIECE_BYTES);

  /**
   * Yields the items of a stripe: first the data pieces, then the parity pieces. `data` contains the bytes of all data
   * pieces. The items are valid until the next call of this method.
   */
  *items(
    crypto: ItemCrypto,
    { columns, parity, firstData, firstParity }: Stripe,
    data: Uint8Array,
  ): Generator<{ readonly number: number; readonly item: Item }> {
    // If the last data piece is shorter than the others, it is padded with zeros for erasure coding.
    this.#data.set(data);
    this.#data.fill(0, data.length, columns * PIECE_BYTES);
    for (let i = 0; i < columns; i++) {
      const content = this.#data.subarray(
        i * PIECE_BYTES,
        Math.min((i + 1) * PIECE_BYTES, data.length),
      );
      yield this.#item(crypto, { slot: i, number: firstData + i, content });
    }
    encodeInto(this.#data, { length: PIECE_BYTES, columns, parity }, this.#parity);
    for (let i = 0; i < parity; i++) {
      const content = this.#parity.subarray(i * PIECE_BYTES, (i + 1) * PIECE_BYTES);
      yield this.#item(crypto, { slot: columns + i, number: firstParity + i, content });
    }
  }

  #item(
    crypto: ItemCrypto,
    { slot, number, content }: { slot: number; number: number; content: Uint8Array },
  ) {
    const prefix = literal(`${NUMBER_BYTES + content.length}:`);
    const start = slot * SLOT_BYTES + PREFIX_BYTES - prefix.length;
    const at = slot * SLOT_BYTES + PREFIX_BYTES;
    this.#items.set(prefix, start);
    putWord(this.#items, at, number);
    this.#items.set(content, at + NUMBER_BYTES);
    const value = this.#items.subarray(start, at + NUMBER_BYTES + content.length);
    return { number, item: immutableItem(crypto, value) };
  }
}

/** The offset and the length of a stripe's data within the byte string of its level. */
export function extentOf(
  level: Level,
  { start, columns }: Stripe,
): [offset: number, length: number] {
  const offset = start * PIECE_BYTES;
  return [offset, Math.min(columns * PIECE_BYTES, level.size - offset)];
}
