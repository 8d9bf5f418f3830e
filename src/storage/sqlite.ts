// Opens SQLite files, and explains SQLite's errors in one line for the user.

import { DatabaseSync } from "node:sqlite";
import { firstLine } from "../krpc/error_text.ts";

/** Thrown if the data directory can't be used. The message is one line for the user. Nothing was changed. */
export class StorageError extends Error {
  override readonly name = "StorageError";
}

/** SQLite's error code if it can't lock a file, for example because the file is read-only. */
const SQLITE_IOERR_LOCK = 3850;

/** Opens a file and calls `run`. If that fails, closes the file. @throws {StorageError} */
export function openFile(
  path: string,
  options: { readOnly?: boolean },
  run: (db: DatabaseSync) => void,
): DatabaseSync {
  let db: DatabaseSync;
  try {
    db = new DatabaseSync(path, options);
  } catch (error) {
    throw new StorageError(
      `${path} can't be opened (${firstLine(error)}): check whose it is and its permissions, ` +
        "or give another --data-dir",
      { cause: error },
    );
  }
  try {
    // By default, older versions of Deno wait five seconds for a file that is in use.
    db.exec("PRAGMA busy_timeout = 0; PRAGMA trusted_schema = OFF");
    run(db);
    return db;
  } catch (error) {
    db.close();
    throw explained(path, error);
  }
}

/** Returns the error for a file with wrong content. `how` says what is wrong with it. */
export function damaged(path: string, how: string, cause?: unknown): StorageError {
  return new StorageError(
    `${path} is damaged (${how}): nothing was changed; restore a copy, or move it away to start anew`,
    { cause },
  );
}

/**
 * Refuses a file whose schema somebody has changed: its triggers and views would run with our statements.
 * @throws {StorageError}
 */
export function refuseForeignSchema(
  db: DatabaseSync,
  path: string,
  isOurs: (object: SchemaObject) => boolean,
): void {
  const objects = db.prepare('SELECT type, name, tbl_name AS "table", sql FROM sqlite_schema');
  for (const object of objects.all() as unknown as SchemaObject[]) {
    // SQLite makes the indexes without a definition for UNIQUE and PRIMARY KEY, and these tables for ANALYZE.
    const isInternal = object.type === "index" && object.sql === null ||
      object.type === "table" && /^sqlite_stat\d$/.test(object.name);
    if (isInternal || isOurs(object)) continue;
    const name = JSON.stringify(object.name.slice(0, 40));
    throw damaged(path, `dmnode has not made its ${object.type} ${name}`);
  }
}

/** A row of SQLite's table of all objects of a file. */
export interface SchemaObject {
  readonly type: string;
  readonly name: string;
  /** The table of an index or trigger. */
  readonly table: string;
  /** The statement that created the object; null for an index that a constraint needs. */
  readonly sql: string | null;
}

/** Returns whether an object is one of those that `statements` create in an empty file. */
export function madeBy(statements: string): (object: SchemaObject) => boolean {
  const db = new DatabaseSync(":memory:");
  try {
    db.exec(statements);
    const made = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").all();
    const texts = new Set(made.map(({ sql }) => normalized(sql as string)));
    return ({ sql }) => sql !== null && texts.has(normalized(sql));
  } finally {
    db.close();
  }
}

function normalized(sql: string): string {
  return sql.replace(/\s+/g, " ");
}

/** Turns any error about the file at `path` into a StorageError with advice. */
export function explained(path: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const text = firstLine(error);
  const problem = sqliteProblem(error);
  if (problem === "damaged") return damaged(path, text, error);
  return new StorageError(
    {
      in_use: `${path} is in use by another process: stop it, or give this one another --data-dir`,
      no_access: `${path} can't be written: check its permissions, or give another --data-dir`,
      full: `${path}: the disk is full: free some room`,
      io:
        `${path}: the disk is full, or can't be read or written (${text}): free some room, or see ` +
        "the system's log",
      other: `${path}: ${text}`,
    }[problem],
    { cause: error },
  );
}

/** The cause of an SQLite error. */
export type SqliteProblem = "in_use" | "damaged" | "no_access" | "full" | "io" | "other";

const PROBLEMS: readonly (readonly [RegExp, SqliteProblem])[] = [
  [/locked|busy/i, "in_use"],
  [/malformed|not a database|unsupported/i, "damaged"],
  [/readonly|read-only|unable to open/i, "no_access"],
  [/full/i, "full"],
  [/I\/O error/i, "io"],
];

/** The cause of an error. Deno's node:sqlite gives most errors no code, so this function reads SQLite's fixed texts. */
export function sqliteProblem(error: unknown): SqliteProblem {
  if ((error as { errcode?: unknown }).errcode === SQLITE_IOERR_LOCK) return "no_access";
  return PROBLEMS.find(([pattern]) => pattern.test(firstLine(error)))?.[1] ?? "other";
}
