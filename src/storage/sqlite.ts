// Opens SQLite files, and translates SQLite's errors to one-line messages for the user.

import { DatabaseSync } from "node:sqlite";
import { firstLine } from "../krpc/error_text.ts";

/** Thrown if the data directory can't be used. The message is one line for the user. Nothing has been changed. */
export class StorageError extends Error {
  override readonly name = "StorageError";
}

/** A file has wrong content. */
export class DamagedFile extends StorageError {
  /** `how` describes the damage. */
  constructor(path: string, readonly how: string, cause?: unknown) {
    super(
      `${path} is damaged (${how}): nothing was changed; restore a copy, or move it away to start anew`,
      { cause },
    );
  }
}

/** The code of SQLite's error that a file can't be locked, for example because the file is read-only. */
const SQLITE_IOERR_LOCK = 3850;

/** Opens a file and calls `run` with it. If `run` throws, closes the file. @throws {StorageError} */
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
    // Don't wait for a file that is in use. Older versions of Deno would wait five seconds by default.
    db.exec("PRAGMA busy_timeout = 0; PRAGMA trusted_schema = OFF");
    run(db);
    return db;
  } catch (error) {
    db.close();
    throw explained(path, error);
  }
}

/** Creates the error for a damaged file. `how` describes the damage. */
export function damaged(path: string, how: string, cause?: unknown): DamagedFile {
  return new DamagedFile(path, how, cause);
}

/**
 * Refuses a file whose schema differs from the one that `statements` create. Our statements would fire foreign triggers
 * and read foreign views, and would fail if one of our tables were missing. @throws {StorageError}
 */
export function refuseOtherSchema(db: DatabaseSync, path: string, statements: string): void {
  const made = new DatabaseSync(":memory:");
  try {
    made.exec(statements);
    const missing = new Map(schemaOf(made).map((object) => [normalized(object.sql), object]));
    refuseForeignSchema(db, path, ({ sql }) => missing.delete(normalized(sql)));
    for (const { type, name } of missing.values()) {
      throw damaged(path, `its ${type} ${name} is missing`);
    }
  } finally {
    made.close();
  }
}

/** Refuses a file that contains any object for which `isOurs` returns false. @throws {StorageError} */
export function refuseForeignSchema(
  db: DatabaseSync,
  path: string,
  isOurs: (object: SchemaObject) => boolean,
): void {
  for (const object of schemaOf(db)) {
    if (isOurs(object)) continue;
    const name = JSON.stringify(object.name.slice(0, 40));
    throw damaged(path, `dmnode has not made its ${object.type} ${name}`);
  }
}

/** A row of `sqlite_schema`, SQLite's table of all tables, indexes, views and triggers in a file. */
export interface SchemaObject {
  readonly type: string;
  readonly name: string;
  /** The SQL statement that created the object. */
  readonly sql: string;
}

/**
 * Returns all objects of a file, without those that SQLite creates itself: indexes of UNIQUE and PRIMARY KEY, and the
 * tables of ANALYZE.
 */
function schemaOf(db: DatabaseSync): SchemaObject[] {
  const objects = db.prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL");
  return (objects.all() as unknown as SchemaObject[])
    .filter(({ type, name }) => type !== "table" || !/^sqlite_stat\d$/.test(name));
}

function normalized(sql: string): string {
  return sql.replace(/\s+/g, " ");
}

/** Converts any error about the file at `path` to a StorageError that advises the user. */
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

/**
 * Returns the cause of an error. Deno's node:sqlite gives most errors no code, so this function matches SQLite's fixed
 * error texts.
 */
export function sqliteProblem(error: unknown): SqliteProblem {
  if ((error as { errcode?: unknown }).errcode === SQLITE_IOERR_LOCK) return "no_access";
  return PROBLEMS.find(([pattern]) => pattern.test(firstLine(error)))?.[1] ?? "other";
}
