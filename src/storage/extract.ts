// Creates the files of a backup from copies of a node's files and write-ahead logs.

import { BlobDatabase } from "./blob_database.ts";
import { createFile, Database, type Files } from "./database.ts";
import { rewrite } from "./schema.ts";
import { openFile } from "./sqlite.ts";

/** What a database that was written for a backup contains. */
export interface Extracted {
  /** The number of values that the node publishes. */
  readonly published: number;
  /** The ids of the blobs to which the published values refer. */
  readonly blobs: readonly number[];
}

/**
 * Writes a database with the current schema and without a write-ahead log to the new file `to`. `from` is a copy of a
 * database of any version, and may be changed. `withItems`: whether to include other nodes' values. @throws
 * {StorageError}
 */
export function extractDatabase(
  from: string,
  to: string,
  { files, withItems }: { readonly files: Files; readonly withItems: boolean },
): Extracted {
  // Opening the file checks its content. Closing it merges the write-ahead log into it.
  new Database(from, { files, mayBeEmpty: false }).close();
  const copy = openFile(from, {}, (db) => db.exec("PRAGMA locking_mode = EXCLUSIVE"));
  try {
    createFile(files, to);
    openFile(to, {}, (db) => void rewrite(copy, db, withItems)).close();
    const rows = copy.prepare("SELECT value_blob, ids_blob FROM published").all();
    const blobs = rows.flatMap(({ value_blob, ids_blob }) => [value_blob, ids_blob]);
    return { published: rows.length, blobs: blobs.filter((id) => typeof id === "number") };
  } finally {
    copy.close();
  }
}

/**
 * Merges the write-ahead log of a copied blob file into the file. Returns whether the file contains all of `blobs`.
 * @throws {StorageError}
 */
export function mergeBlobs(path: string, blobs: readonly number[]): boolean {
  const file = new BlobDatabase(path);
  try {
    return blobs.every((id) => file.has(id));
  } finally {
    file.close();
  }
}
