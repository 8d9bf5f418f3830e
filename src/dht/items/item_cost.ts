// Computes the space that an item needs on disk, which counts against the limit for items. The
// database packs its rows by the same classes (src/storage/packed_table.ts).

import type { Signed } from "./item.ts";

/**
 * The size of the database's pages in bytes. In pages of 4096 bytes, only three items of the
 * maximum size would fit.
 */
export const PAGE_BYTES = 8192;

/** The size of a page's header in bytes. */
const PAGE_HEADER_BYTES = 8;

/** The maximum number of bytes that SQLite adds to a row: its position in the page, its length and its id. */
const CELL_BYTES = 10;

/**
 * The maximum number of bytes of a row's other fields besides value, key, signature and salt: target, times, numbers
 * and their types.
 */
const ROW_BYTES = 112;

/** Bytes that an item needs in the index, and in the inner pages of table and index. We measured 33 to 41. */
const INDEX_BYTES = 44;

/**
 * The size classes of rows. Each class is given by the number of its rows that fit on a page. A page has rows of one
 * class only.
 */
const ROWS_PER_PAGE = [1, 2, 4, 6, 7, 8, 10, 13, 18, 28, 60] as const;

/** For each class, the size of its largest row. */
const LARGEST_ROWS = ROWS_PER_PAGE.map((rows) =>
  Math.floor((PAGE_BYTES - PAGE_HEADER_BYTES) / rows) - CELL_BYTES
);

/**
 * The class of a row, as an index into `ROWS_PER_PAGE`. `contentBytes` is the total size of value, key, signature and
 * salt.
 */
export function rowClass(contentBytes: number): number {
  const bytes = contentBytes + ROW_BYTES;
  return Math.max(0, LARGEST_ROWS.findLastIndex((largest) => bytes <= largest));
}

/** The properties that determine the cost of an item. */
export interface ItemSize {
  readonly value: { readonly length: number };
  readonly signed?: Signed | undefined;
}

/** The minimum cost: the memory that a tiny item needs. Without it, 1 GiB would admit five million tiny items. */
const MIN_COST = 1_024;

/**
 * The cost of an item in bytes, which counts against the limit for items. It is at least the space
 * that the item needs on disk. A value of 996 bytes costs 1,215 bytes if it is immutable, and 1,410
 * bytes if it is mutable.
 */
export function itemCost({ value, signed }: ItemSize): number {
  return contentCost(value.length + keyedBytes(signed));
}

/** The total size of an item's public key, signature and salt in bytes; 0 if the item is immutable. */
export function keyedBytes(signed: Signed | undefined): number {
  if (signed === undefined) return 0;
  return signed.publicKey.length + signed.signature.length + signed.salt.length;
}

/** Like {@link itemCost}. `contentBytes` is the total size of value, key, signature and salt. */
export function contentCost(contentBytes: number): number {
  const rowBytes = Math.ceil(PAGE_BYTES / ROWS_PER_PAGE[rowClass(contentBytes)]);
  // A value that is longer than a page can't be an item. Nevertheless, its cost must not be less than its size.
  return Math.max(Math.max(rowBytes, contentBytes + ROW_BYTES) + INDEX_BYTES, MIN_COST);
}
