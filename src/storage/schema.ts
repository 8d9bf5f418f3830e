// The tables of the node's database, and the migration steps from earlier schemas.

import type { DatabaseSync } from "node:sqlite";
import { PAGE_BYTES } from "../dht/items/item_cost.ts";
import { literal } from "../krpc/bencode.ts";
import { crc32 } from "../krpc/crc.ts";
import { PackedTable, TARGET_PREFIX } from "./packed_table.ts";
import type { ItemRow, PublishedRow } from "./rows.ts";
import { refuseForeignSchema, refuseOtherSchema } from "./sqlite.ts";

/** The schema version after the first step. Files with an earlier version are rewritten; see `rewrite`. */
const FIRST_VERSION = 7;

/**
 * The migration steps: the first one creates `FIRST_VERSION` in an empty file, and each other step leads to the next
 * version. Never change an existing step. The missing steps are applied to a file in one transaction. Files of newer
 * versions are refused.
 */
const STEPS = [
  `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE contacts (
    id BLOB NOT NULL, endpoint BLOB NOT NULL,
    first_seen REAL, last_seen REAL, rtt REAL, rtt_variation REAL, answer_rate REAL, parts TEXT,
    PRIMARY KEY (id, endpoint)
  ) WITHOUT ROWID;
  CREATE TABLE items (
    id INTEGER PRIMARY KEY, target BLOB NOT NULL, value BLOB NOT NULL,
    public_key BLOB, signature BLOB, salt BLOB, seq INTEGER,
    stored_at REAL NOT NULL, expires_at REAL NOT NULL, source TEXT, copies INTEGER,
    checksum INTEGER NOT NULL
  );
  CREATE TABLE published (
    id INTEGER PRIMARY KEY, target BLOB NOT NULL, value BLOB NOT NULL,
    public_key BLOB, signature BLOB, salt BLOB, seq INTEGER,
    first_at REAL NOT NULL, next_at REAL NOT NULL, last_at REAL,
    replicas INTEGER NOT NULL, failures INTEGER NOT NULL,
    value_blob INTEGER, ids_blob INTEGER, next_piece INTEGER,
    life REAL, pinned INTEGER,
    checksum INTEGER NOT NULL
  );
  CREATE TABLE announcements (
    info_hash BLOB PRIMARY KEY, port INTEGER, seed INTEGER NOT NULL, service TEXT, first_at REAL NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX items_by_target ON items (${TARGET_PREFIX});
  CREATE INDEX published_by_target ON published (${TARGET_PREFIX});
  `,
];

export const SCHEMA_VERSION = FIRST_VERSION + STEPS.length - 1;

/** The columns that the tables `items` and `published` share. */
const VALUE_COLUMNS = ["target", "value", "public_key", "signature", "salt", "seq"];

/** The columns of each table, without the row ids of packed tables. */
export const COLUMNS = {
  items: [...VALUE_COLUMNS, "stored_at", "expires_at", "source", "copies", "checksum"],
  published: [
    ...VALUE_COLUMNS,
    ...["first_at", "next_at", "last_at", "replicas", "failures"],
    ...["value_blob", "ids_blob", "next_piece", "life", "pinned", "checksum"],
  ],
  contacts: [
    ...["id", "endpoint", "first_seen", "last_seen"],
    ...["rtt", "rtt_variation", "answer_rate", "parts"],
  ],
  announcements: ["info_hash", "port", "seed", "service", "first_at"],
  meta: ["name", "value"],
};

/**
 * SQL that reads `seq` as a number, or as text if a double can't hold the number exactly: node:sqlite would refuse to
 * read it.
 */
const EXACT_SEQ =
  "CASE WHEN seq BETWEEN 0 AND 9007199254740991 THEN seq ELSE CAST(seq AS TEXT) END AS seq";

export type Table = keyof typeof COLUMNS;

/** A row with its checksum. The checksum is null in rows that schema 1 saved. */
export type Checked<Row> = Row & { readonly checksum: number | null };

/**
 * Creates the tables in an empty file, or applies the missing steps to a file of an earlier version that need not be
 * rewritten.
 */
export function applySteps(db: DatabaseSync, version: number): void {
  const done = version === 0 ? 0 : version - FIRST_VERSION + 1;
  for (const step of STEPS.slice(done)) db.exec(step);
  if (done < STEPS.length) db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
}

/** The SQL keywords with which a column definition could make SQLite compute values. */
const COMPUTING = /\b(AS|CHECK|DEFAULT|GENERATED|REFERENCES|VIRTUAL)\b/i;

/** Refuses a file that contains other tables than a file of this version should. @throws {StorageError} */
export function refuseForeign(db: DatabaseSync, path: string, version: number): void {
  if (!mustBeRewritten(version)) {
    const steps = version === 0 ? [] : STEPS.slice(0, version - FIRST_VERSION + 1);
    return refuseOtherSchema(db, path, steps.join(";"));
  }
  // The statements that created earlier versions are gone, so only check that the tables have plain columns.
  refuseForeignSchema(
    db,
    path,
    ({ type, name, sql }) => type === "table" && name in COLUMNS && !COMPUTING.test(sql),
  );
}

/** Sets the page size of an empty file. It can't be changed once the file has a table. */
export function prepareEmptyFile(db: DatabaseSync): void {
  db.exec(`PRAGMA page_size = ${PAGE_BYTES}`);
}

/**
 * Whether a file of this version must be rewritten, because its tables are not packed or its indexes contain whole
 * targets.
 */
export function mustBeRewritten(version: number): boolean {
  return version > 0 && version < FIRST_VERSION;
}

/**
 * Copies the content of a file of any version into an empty file with the current schema, and syncs that file. Leaves
 * out rows with a wrong checksum, and returns their number. `withItems`: whether to copy other nodes' values.
 */
export function rewrite(from: DatabaseSync, to: DatabaseSync, withItems = true): number {
  prepareEmptyFile(to);
  // Without a journal, the copy needs its disk space only once. If copying fails, the whole file is deleted.
  to.exec("PRAGMA journal_mode = OFF; PRAGMA synchronous = FULL; BEGIN");
  applySteps(to, 0);
  let damagedRows = 0;
  const packed = withItems ? ["items", "published"] as const : ["published"] as const;
  for (const name of packed) {
    const table = new PackedTable(to, name, COLUMNS[name]);
    for (const row of existingRows(from, name) as Iterable<Checked<ItemRow | PublishedRow>>) {
      restoreSeq(row);
      const checksum = checksumOf(row);
      if (row.checksum === null || row.checksum === checksum) table.put({ ...row, checksum });
      else damagedRows++;
    }
  }
  for (const name of ["meta", "contacts", "announcements"] as const) {
    const columns = COLUMNS[name];
    const insert = to.prepare(`INSERT INTO ${name} VALUES (${columns.map(() => "?")})`);
    for (const row of existingRows(from, name) as Iterable<Record<string, string | null>>) {
      insert.run(...columns.map((column) => row[column]));
    }
  }
  to.exec("COMMIT");
  return damagedRows;
}

/** Yields the rows of a table. A missing table has no rows, and missing columns are null. */
function existingRows(db: DatabaseSync, table: Table): Iterable<unknown> {
  const existing = db.prepare("SELECT name FROM pragma_table_info(?)").all(table);
  if (existing.length === 0) return [];
  const names = new Set(existing.map(({ name }) => name));
  const columns = COLUMNS[table].map((name) => names.has(name) ? exact(name) : `NULL AS ${name}`);
  return db.prepare(`SELECT ${columns} FROM ${table}`).iterate();
}

/** Returns the columns of a table for a SELECT. Call `restoreSeq` for each row that was read. */
export function columnsToRead(table: Table): string[] {
  return COLUMNS[table].map(exact);
}

function exact(column: string): string {
  return column === "seq" ? EXACT_SEQ : column;
}

/** Converts a seq that was read as text to a bigint. */
export function restoreSeq(row: { readonly seq: unknown }): void {
  const read = row as { seq: unknown };
  if (typeof read.seq === "string") read.seq = BigInt(read.seq);
}

/** Two views of one buffer, which converts the numbers of a row to bytes. */
const NUMBERS = new Float64Array(11), NUMBER_BYTES = new Uint8Array(NUMBERS.buffer);

/**
 * Returns the CRC-32 of a row, without the columns `source` and `copies`. SQLite's file has no checksums, so a faulty
 * disk could change a row unnoticed.
 */
export function checksumOf(row: ItemRow | PublishedRow): number {
  const numbers = "stored_at" in row
    ? [row.stored_at, row.expires_at]
    : [row.first_at, row.next_at, row.last_at ?? -1, row.replicas, row.failures, ...furtherOf(row)];
  let sum = crc32(row.value, crc32(row.target));
  if (row.public_key !== null) {
    sum = crc32(row.salt!, crc32(row.signature!, crc32(row.public_key, sum)));
  }
  NUMBERS[0] = Number(row.seq ?? -1);
  // Add the digits of a large seq as text, because a double can't hold all of them.
  if (typeof row.seq === "bigint") sum = crc32(literal(`${row.seq}`), sum);
  NUMBERS.set(numbers, 1);
  return crc32(NUMBER_BYTES.subarray(0, 8 + 8 * numbers.length), sum);
}

/**
 * Returns the numbers that only few rows have: those of large values, then those that schema 5 added. They are left out
 * of the checksum of other rows.
 */
function furtherOf(row: PublishedRow): number[] {
  const { value_blob, ids_blob, next_piece, life, pinned } = row;
  const large = value_blob === null ? [] : [value_blob, ids_blob ?? -1, next_piece ?? -1];
  return life === null && pinned === null ? large : [...large, life ?? -1, pinned ?? -1];
}
