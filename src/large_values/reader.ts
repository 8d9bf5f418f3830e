// Reads any range of a large value in order, fetches a limited number of pieces ahead, and restores missing pieces.

import { sameBytes } from "../dht/items/item.ts";
import { Id, ID_BYTES } from "../krpc/id.ts";
import type { DataCrypto } from "./item_network.ts";
import { Layout, type Level, PIECE_BYTES, type Stripe } from "./layout.ts";
import type { Root } from "./manifest.ts";
import { contentOf, pieceItem } from "./pieces.ts";
import { MAX_DATA, type NumberedPiece, restore } from "./reed_solomon.ts";
import { handled, type Transfer, TransferError, TRIES, WINDOW } from "./transfers.ts";

/**
 * Cap on the data pieces that a reader caches for each level: the pieces that it fetches ahead, and all other pieces of
 * the stripes that these belong to.
 */
const KEPT_PIECES = WINDOW + 2 * MAX_DATA;

/** Cap on the restored stripes that a reader caches for each level. */
const KEPT_STRIPES = 4;

/** The weight of the newest piece in the moving average of the share of missing pieces. */
const MISSING_GAIN = 1 / 32;

/** A level of the tree, with its cached pieces and stripes. */
interface OpenLevel {
  readonly level: Level;
  /** Fetched data pieces, by index; undefined if no node has the piece. */
  readonly pieces: Map<number, Promise<Uint8Array | undefined>>;
  /** The data pieces of restored stripes, by stripe and then by position in the stripe. */
  readonly restored: Map<number, Promise<Map<number, Uint8Array>>>;
}

/** A reader of one value. */
export class PieceReader {
  readonly #root: Root;
  readonly #crypto: DataCrypto;
  readonly #transfer: Transfer;
  readonly #levels: readonly OpenLevel[];
  /** The share of recently requested pieces that no node had. */
  #missingShare = 0;

  constructor(root: Root, crypto: DataCrypto, transfer: Transfer) {
    this.#root = root;
    this.#crypto = crypto;
    this.#transfer = transfer;
    const { levels } = new Layout(root.size);
    this.#levels = levels.map((level) => ({ level, pieces: new Map(), restored: new Map() }));
  }

  /**
   * Yields the bytes from `start` to `end` (exclusive), in chunks of at most {@link PIECE_BYTES}. Fetches up to {@link
   * WINDOW} pieces ahead. If the whole value is read, the last chunk is yielded only if the SHA-256 is correct.
   *
   * @throws {TransferError} `missing`, `invalid`, `mismatch` or `aborted`
   */
  async *read(start: number, end: number): AsyncGenerator<Uint8Array> {
    if (start >= end) return;
    const first = Math.floor(start / PIECE_BYTES), last = Math.floor((end - 1) / PIECE_BYTES);
    const hash = start === 0 && end === this.#root.size ? this.#crypto.sha256() : undefined;
    const ahead: Promise<Uint8Array>[] = [];
    for (let piece = first, asked = first; piece <= last; piece++) {
      while (asked <= last && ahead.length < WINDOW) {
        ahead.push(handled(this.#piece(0, asked++)));
      }
      const content = await ahead.shift()!;
      this.#transfer.move();
      hash?.update(content);
      if (piece === last && hash !== undefined) this.#verify(hash.digest());
      const offset = piece * PIECE_BYTES;
      yield content.subarray(Math.max(0, start - offset), end - offset);
      this.#transfer.move();
      this.#transfer.check();
    }
  }

  #verify(digest: Uint8Array): void {
    if (sameBytes(digest, this.#root.sha256)) return;
    throw new TransferError("mismatch", "The value's parts don't have the SHA-256 that it should.");
  }

  /** Returns the content of a data piece. If no node has the piece, restores it from other pieces. */
  async #piece(depth: number, piece: number): Promise<Uint8Array> {
    const content = await this.#fetched(depth, piece);
    if (content !== undefined) return content;
    const { level, restored } = this.#levels[depth], index = level.stripeOf(piece);
    const stripe = level.stripe(index);
    const pieces = kept(restored, index, KEPT_STRIPES, () => this.#restore(depth, stripe));
    // The result also contains pieces that were missing at first but found by a later attempt.
    return (await pieces).get(piece - stripe.start)!.subarray(0, level.lengthOf(piece));
  }

  /** Returns the content of a data piece; undefined if no node has it. */
  #fetched(depth: number, piece: number): Promise<Uint8Array | undefined> {
    const { level, pieces } = this.#levels[depth];
    return kept(
      pieces,
      piece,
      KEPT_PIECES,
      () => this.#fetch(depth, level.first + piece, level.lengthOf(piece)),
    );
  }

  async #fetch(depth: number, number: number, length: number): Promise<Uint8Array | undefined> {
    const target = await this.target(depth, number);
    const item = await this.#transfer.get(target);
    const isMissing = item === undefined ? 1 : 0;
    this.#missingShare += MISSING_GAIN * (isMissing - this.#missingShare);
    return item && (contentOf(item, number, length) ?? fail("invalid", target));
  }

  /**
   * Returns the id of a piece. The ids of a level are stored in the level above, and those of the top level in the
   * root. `depth`: the level of the piece.
   * @throws {TransferError} like `read`
   */
  async target(depth: number, number: number): Promise<Id> {
    const offset = (number - this.#levels[depth].level.first) * ID_BYTES;
    if (depth === this.#levels.length - 1) return Id.read(this.#root.pieces, offset);
    const piece = Math.floor(offset / PIECE_BYTES), start = offset % PIECE_BYTES;
    const content = await this.#piece(depth + 1, piece);
    if (start + ID_BYTES <= content.length) return Id.read(content, start);
    const bytes = new Uint8Array(2 * PIECE_BYTES);
    bytes.set(content);
    bytes.set(await this.#piece(depth + 1, piece + 1), PIECE_BYTES);
    return Id.read(bytes, start);
  }

  /**
   * Restores the missing data pieces of a stripe. The result maps each data piece to its content, padded to {@link
   * PIECE_BYTES}.
   */
  async #restore(depth: number, stripe: Stripe): Promise<Map<number, Uint8Array>> {
    const { columns, parity, firstData, firstParity } = stripe;
    const { level } = this.#levels[depth];
    const found = new Map<number, Uint8Array>();
    const note = (number: number, content: Uint8Array | undefined) => {
      if (content !== undefined) found.set(number, padded(content));
    };
    const data = range(0, columns);
    await Promise.all(data.map(async (i) => note(i, await this.#fetched(depth, stripe.start + i))));
    const fetchParity = async (i: number) => {
      note(columns + i, await this.#fetch(depth, firstParity + i, PIECE_BYTES));
    };
    for (let tries = 1;; tries++) {
      // Some parity pieces are usually missing too, so request a few more than needed. One round of requests then
      // usually suffices.
      for (let next = 0; next < parity && found.size < columns;) {
        const needed = columns - found.size, expected = needed / (1 - this.#missingShare);
        const chosen = range(next, Math.min(parity, next + Math.ceil(expected)));
        next += chosen.length;
        await Promise.all(chosen.filter((i) => !found.has(columns + i)).map(fetchParity));
      }
      if (found.size >= columns) break;
      const missing = data.find((i) => !found.has(i))!;
      if (tries === TRIES) fail("missing", await this.target(depth, firstData + missing));
      await this.#transfer.pause(tries);
      await Promise.all(
        data.filter((i) => !found.has(i)).map(async (i) => {
          const length = level.lengthOf(stripe.start + i);
          note(i, await this.#fetch(depth, firstData + i, length));
        }),
      );
    }
    const pieces: NumberedPiece[] = Array.from(found, ([number, bytes]) => ({ number, bytes }));
    for (const [i, bytes] of restore(pieces, columns)) {
      await this.#check(depth, stripe.start + i, bytes);
      found.set(i, bytes);
    }
    return found;
  }

  /** Checks a restored piece against its id, because the owner of the value may have published wrong parity pieces. */
  async #check(depth: number, piece: number, bytes: Uint8Array): Promise<void> {
    const { level } = this.#levels[depth], number = level.first + piece;
    const target = await this.target(depth, number);
    const item = pieceItem(this.#crypto, number, bytes.subarray(0, level.lengthOf(piece)));
    if (!item.target.equals(target)) fail("invalid", target);
  }
}

const PROBLEMS = {
  missing: "was not found, and too few others to restore it",
  invalid: "is not what it should be",
} as const;

function fail(failure: keyof typeof PROBLEMS, target: Id): never {
  throw new TransferError(failure, `Part ${target} of the value ${PROBLEMS[failure]}.`);
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i);
}

function padded(content: Uint8Array): Uint8Array {
  if (content.length === PIECE_BYTES) return content;
  const bytes = new Uint8Array(PIECE_BYTES);
  bytes.set(content);
  return bytes;
}

/**
 * Returns an entry of a map. If there is none, creates it with `start`, and evicts the least recently used entry of a
 * full map.
 */
function kept<T>(
  entries: Map<number, Promise<T>>,
  key: number,
  limit: number,
  start: () => Promise<T>,
): Promise<T> {
  const entry = entries.get(key) ?? handled(start());
  entries.delete(key);
  entries.set(key, entry);
  if (entries.size > limit) entries.delete(entries.keys().next().value!);
  return entry;
}
