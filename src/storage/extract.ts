// Creates the files of a backup from a copy of a node's files and their logs.

import { BlobDatabase } from "./blob_database.ts";
import { createFile, Database, type Files } from "./database.ts";
import { rewrite } from "./schema.ts";
import { openFile } from "./sqlite.ts";

/** The content of a database that was written for a backup. */
export interface Extracted {
  /** The number of values that the node publishes. */
  readonly published: number;
  /** The ids of the blobs to which the published values refer. */
  readonly blobs: readonly number[];
}

/**
 * Writes a database with the present schema and without a log to the new file `to`. `from` is a
 * copy of a database of any version; it may be changed. `withItems`: whether to include other
 * nodes' values. @throws {StorageError}
 */
export function extractDatabase(
  from: string,
  to: string,
  { files, withItems }: { readonly files: Files; readonly withItems: boolean },
): Extracted {
  // Opening the file checks all of it, and closing it merges the log into the file.
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
 * Merges the log of a copied file of blobs into it. Returns whether the file has all of `blobs`.
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
