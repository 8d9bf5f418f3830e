// A look at a database from beside the node: whose it is, and whether a node has it open. Changes nothing.

import { DatabaseSync } from "node:sqlite";
import { type Files, NODE_ID, readSchema, textOf } from "./database.ts";

export interface Peek {
  /** Undefined where it can't be read now. */
  readonly nodeId: Uint8Array | undefined;
  readonly isInUse: boolean;
  /** Why it can't be read, in SQLite's or the system's words. */
  readonly problem?: string;
}

/** Looks at the database file at `path`, which need not be there. Never throws for what it finds. */
export function peek(path: string, files: Files): Peek {
  try {
    if (!files.size(path)) return { nodeId: undefined, isInUse: false };
    // To close what was opened to be written would bring a log into it.
    const hasLog = Boolean(files.size(`${path}-wal`));
    const hadIndex = files.size(`${path}-shm`) !== undefined;
    const nodeId = nodeIdOf(path, hasLog);
    if (!hadIndex && files.size(`${path}-shm`) !== undefined) files.remove(`${path}-shm`);
    return { nodeId, isInUse: false };
  } catch (error) {
    const isInUse = error instanceof Error && /locked|busy/i.test(error.message);
    return { nodeId: undefined, isInUse, problem: textOf(error) };
  }
}

function nodeIdOf(path: string, readOnly: boolean): Uint8Array | undefined {
  const db = new DatabaseSync(path, { readOnly });
  try {
    db.exec("PRAGMA busy_timeout = 0");
    if (!readOnly) db.exec("PRAGMA locking_mode = EXCLUSIVE");
    readSchema(db);
    const row = db.prepare("SELECT value FROM meta WHERE name = ?").get(NODE_ID);
    return row?.value as Uint8Array | undefined;
  } finally {
    db.close();
  }
}
