// Reads the database of a node from another process: the node's id, and whether a node has the file open. Changes
// nothing.

import { firstLine } from "../krpc/error_text.ts";
import { DatabaseSync } from "node:sqlite";
import { type Files, NODE_ID, readSchema, versionOf } from "./database.ts";
import { refuseForeign } from "./schema.ts";
import { type SqliteProblem, sqliteProblem } from "./sqlite.ts";

export interface Peek {
  /** The node's id; undefined if the file is absent or empty, or can't be read now. */
  readonly nodeId?: Uint8Array;
  readonly problem?: { readonly kind: SqliteProblem; readonly text: string };
}

/** Reads the database file at `path`. The file may be absent or damaged: this function never throws. */
export function peek(path: string, files: Files): Peek {
  try {
    if (!files.size(path)) return {};
    // Open a file with a write-ahead log read-only: a connection that can write would merge the log into the file when
    // it closes.
    const hasLog = Boolean(files.size(`${path}-wal`));
    const hadIndex = files.size(`${path}-shm`) !== undefined;
    const nodeId = nodeIdOf(path, hasLog);
    if (!hadIndex && files.size(`${path}-shm`) !== undefined) files.remove(`${path}-shm`);
    return { nodeId };
  } catch (error) {
    return { problem: { kind: sqliteProblem(error), text: firstLine(error) } };
  }
}

function nodeIdOf(path: string, readOnly: boolean): Uint8Array | undefined {
  const db = new DatabaseSync(path, { readOnly });
  try {
    db.exec("PRAGMA busy_timeout = 0; PRAGMA trusted_schema = OFF");
    if (!readOnly) db.exec("PRAGMA locking_mode = EXCLUSIVE");
    readSchema(db);
    refuseForeign(db, path, versionOf(db));
    const row = db.prepare("SELECT value FROM meta WHERE name = ?").get(NODE_ID);
    return row?.value as Uint8Array | undefined;
  } finally {
    db.close();
  }
}
