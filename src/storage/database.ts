// The node's main database: its id, clock, contacts, items, published values, announcements and records, in one SQLite
// file.

import { firstLine } from "../krpc/error_text.ts";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { PAGE_BYTES } from "../dht/items/item_cost.ts";
import type { RowChanges } from "./commit_queue.ts";
import { PackedTable, TARGET_PREFIX } from "./packed_table.ts";
import type { RowResult } from "./item_reads.ts";
import type { AnnouncementRow, ContactRow, ItemRow, PublishedRow } from "./rows.ts";
import {
  applySteps,
  type Checked,
  checksumOf,
  COLUMNS,
  columnsToRead,
  mustBeRewritten,
  prepareEmptyFile,
  refuseForeign,
  restoreSeq,
  rewrite,
  SCHEMA_VERSION,
  type Table,
} from "./schema.ts";
import { damaged, explained, openFile, StorageError } from "./sqlite.ts";
import { damageInLog } from "./wal.ts";

/** The key of the node's id in the table `meta`. */
export const NODE_ID = "node_id";

/** The key of the clock's state in the table `meta`. */
export const CLOCK = "clock";

/** The key prefix of records in the table `meta`. */
const RECORD = "record/";

/** The size of SQLite's smallest page, which is also the minimum size of a database file. */
const MIN_BYTES = 512;

/**
 * A checkpoint merges the write-ahead log into the database when the log exceeds this size in bytes. One commit adds at
 * most 8 MiB.
 */
const MAX_LOG_BYTES = 4 << 20;

/** The file operations that the database needs besides those of SQLite. */
export interface Files {
  /** Returns the size of a file in bytes; undefined if there is no such file. */
  size(path: string): number | undefined;
  read(path: string): Uint8Array;
  /**
   * Creates an empty file that only the node's user can access. SQLite gives its write-ahead log the same permissions.
   */
  create(path: string): void;
  remove(path: string): void;
  /** Renames a file, replacing any file `to`. Returns once the change is on disk. */
  rename(from: string, to: string): void;
}

export interface DatabaseOptions {
  readonly files: Files;
  /**
   * Whether to accept an empty file. A file is empty only while it is being created, so an older file that is empty has
   * lost its content.
   */
  readonly mayBeEmpty: boolean;
}

export class Database {
  readonly #db: DatabaseSync;
  readonly #files: Files;
  readonly #statements = new Map<string, StatementSync>();
  readonly #tables: Record<"items" | "published", PackedTable>;
  #hasFailed = false;
  /** The number of rows skipped so far because of a wrong checksum. */
  damagedRows = 0;

  /**
   * Opens the file, or creates it.
   * @throws {StorageError} if the file can't be read or written, is not a database of this program, is damaged, is from
   * a newer version, or is in use by another process. The content of the file is then unchanged, and every byte of a
   * damaged file is kept.
   */
  constructor(readonly path: string, { files, mayBeEmpty }: DatabaseOptions) {
    this.#files = files;
    const hasLog = Boolean(this.#sizeOf("-wal")), size = this.#sizeOf("");
    if (size === 0 && (hasLog || !mayBeEmpty)) throw damaged(path, "it is empty");
    // SQLite would treat a file that is too short as an empty file.
    if (size! > 0 && size! < MIN_BYTES) throw damaged(path, `it has ${size} bytes`);
    // Closing a file that was opened for writing merges its write-ahead log into it. A damaged file must stay
    // unchanged, so a file with such a log is first inspected read-only. (A rollback journal exists only while the file
    // is being created.)
    const isInspected = hasLog && !this.#sizeOf("-journal");
    if (isInspected) openFile(path, { readOnly: true }, (db) => this.#inspectWithLog(db)).close();
    if (size === undefined) createFile(files, path);
    let db = this.#open(isInspected);
    // The read-only inspection leaves an index file (-shm) behind. Remove it: we hold the lock, so nobody else uses it.
    if (isInspected && this.#sizeOf("-shm") !== undefined) files.remove(`${path}-shm`);
    if (mustBeRewritten(versionOf(db))) {
      this.#rewrite(db);
      db = this.#open(true);
    }
    this.#db = db;
    this.#tables = {
      items: new PackedTable(db, "items", COLUMNS.items),
      published: new PackedTable(db, "published", COLUMNS.published),
    };
  }

  #open(isInspected: boolean): DatabaseSync {
    return openFile(this.path, {}, (db) => {
      // Hold the lock until the file is closed. If a second process opens the file, it fails here.
      db.exec("PRAGMA locking_mode = EXCLUSIVE");
      const version = isInspected ? versionOf(db) : this.#inspect(db);
      if (version === 0) prepareEmptyFile(db);
      // Sync each commit, so that acknowledged values survive a power failure.
      db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        PRAGMA wal_autocheckpoint = ${MAX_LOG_BYTES / PAGE_BYTES};
        PRAGMA journal_size_limit = ${MAX_LOG_BYTES}`);
      db.exec("BEGIN IMMEDIATE");
      if (!mustBeRewritten(version)) applySteps(db, version);
      db.exec("COMMIT");
    });
  }

  /**
   * Replaces the file by one with the current schema, and closes the old one. If that fails, the file stays unchanged.
   */
  #rewrite(old: DatabaseSync): void {
    const { path } = this, copyPath = `${path}.new`;
    try {
      // A crash during an earlier rewrite may have left an incomplete copy.
      if (this.#sizeOf(".new") !== undefined) this.#files.remove(copyPath);
      createFile(this.#files, copyPath);
      openFile(copyPath, {}, (copy) => void (this.damagedRows = rewrite(old, copy))).close();
    } catch (error) {
      old.close();
      if (this.#sizeOf(".new") !== undefined) this.#files.remove(copyPath);
      throw explained(path, error);
    }
    old.close();
    // SQLite would apply a leftover write-ahead log to the new file.
    if (this.#sizeOf("-wal")) throw new StorageError(`${path}-wal can't be merged: free some room`);
    try {
      this.#files.rename(copyPath, path);
    } catch (error) {
      throw new StorageError(`${path} can't be replaced: ${firstLine(error)}`, { cause: error });
    }
  }

  #sizeOf(suffix: string): number | undefined {
    try {
      return this.#files.size(this.path + suffix);
    } catch (error) {
      throw new StorageError(`${this.path}: can't be read: ${firstLine(error)}`, { cause: error });
    }
  }

  /** Returns the schema version. Throws if the file can't be used. Changes nothing. */
  #inspect(db: DatabaseSync): number {
    readSchema(db);
    const version = versionOf(db);
    if (version > SCHEMA_VERSION) {
      throw new StorageError(
        `${this.path} is of a newer dmnode (schema ${version}, this one knows ${SCHEMA_VERSION}): ` +
          "use that version, or another --data-dir",
      );
    }
    if (version < 0) throw damaged(this.path, `its schema is ${version}`);
    const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
    const isOurs = tables.some(({ name }) => name === "items");
    if (version === 0 ? tables.length > 0 : !isOurs) {
      throw new StorageError(
        `${this.path} is a database of another program: nothing was changed; give another --data-dir`,
      );
    }
    refuseForeign(db, this.path, version);
    const { quick_check: found } = db.prepare("PRAGMA quick_check(1)").get() as Row;
    if (found !== "ok") throw damaged(this.path, String(found).split("\n").at(-1)!);
    return version;
  }

  #inspectWithLog(db: DatabaseSync): void {
    this.#inspect(db);
    // The file is locked now, so nobody else writes to the write-ahead log.
    const good = damageInLog(this.#files.read(`${this.path}-wal`));
    if (good === undefined) return;
    throw new StorageError(
      `${this.path}-wal is damaged after ${good} bytes: nothing was changed; restore a copy, or cut it off there ` +
        `(truncate --size=${good}) to start without what was stored last`,
    );
  }

  /** Returns the value with this key in the table `meta`. */
  meta(name: string): Uint8Array | undefined {
    const row = this.#prepared("SELECT value FROM meta WHERE name = ?").get(name) as
      | Row
      | undefined;
    return row?.value as Uint8Array | undefined;
  }

  /** Writes a value to the table `meta`. @throws {StorageError} if the value can't be written */
  setMeta(name: string, value: Uint8Array): void {
    try {
      this.#prepared("INSERT OR REPLACE INTO meta VALUES (?, ?)").run(name, value);
    } catch (error) {
      throw explained(this.path, error);
    }
  }

  /** Returns the saved records by name. */
  records(): Map<string, Uint8Array> {
    const rows = this.#prepared("SELECT name, value FROM meta WHERE name >= ? AND name < ?")
      .all(RECORD, `${RECORD.slice(0, -1)}0`) as Row[];
    return new Map(rows.map(({ name, value }) => [
      (name as string).slice(RECORD.length),
      value as Uint8Array,
    ]));
  }

  contacts(): ContactRow[] {
    return this.#rows("contacts").toArray() as unknown as ContactRow[];
  }

  announcements(): AnnouncementRow[] {
    return this.#rows("announcements").toArray() as unknown as AnnouncementRow[];
  }

  /** Yields all items with a correct checksum. Counts all others in `damagedRows`. */
  items(): Generator<ItemRow> {
    return this.#sound<ItemRow>("items");
  }

  /** Reads the items with these targets, and returns a result for each target, in the same order. */
  readItems(targets: readonly Uint8Array[]): RowResult[] {
    return targets.map((target) => {
      try {
        return this.#readItem(target) ?? "missing";
      } catch {
        // A page of the file can't be read. Items on other pages may still be readable.
        return "failed";
      }
    });
  }

  /** Returns the item with this target; undefined if it is missing or its checksum is wrong. */
  #readItem(target: Uint8Array): ItemRow | undefined {
    const find = this.#prepared(
      `SELECT ${columnsToRead("items")} FROM items
        WHERE ${TARGET_PREFIX} = substr(?, 1, 8) AND target = ?`,
    );
    const row = find.get(target, target) as Checked<ItemRow> | undefined;
    return row !== undefined && isSound(row) ? row : undefined;
  }

  /** Yields all published values with a correct checksum. Counts all others in `damagedRows`. */
  published(): Generator<PublishedRow> {
    return this.#sound<PublishedRow>("published");
  }

  *#sound<R extends ItemRow | PublishedRow>(table: Table): Generator<R> {
    for (const row of this.#rows(table) as Iterable<Checked<R>>) {
      if (isSound(row)) yield row;
      else this.damagedRows++;
    }
  }

  #rows(table: Table): IteratorObject<unknown> {
    return this.#prepared(`SELECT ${columnsToRead(table)} FROM ${table}`).iterate();
  }

  /**
   * Writes changes in one transaction, and returns once they are on disk.
   * @throws {StorageError} if the transaction fails; nothing is then written
   */
  commit(changes: RowChanges): void {
    try {
      this.#db.exec("BEGIN IMMEDIATE");
      this.#write(changes);
      this.#db.exec("COMMIT");
    } catch (error) {
      this.#hasFailed = true;
      try {
        this.#db.exec("ROLLBACK");
      } catch {
        // Ignore the error: SQLite has already rolled the transaction back, as it does if the disk is full.
      }
      for (const table of Object.values(this.#tables)) table.noteRollback();
      throw explained(this.path, error);
    }
    if (!this.#hasFailed) return;
    // A failed commit may leave frames in the write-ahead log. Empty the log, or these frames would look like damage if
    // the process ended now.
    try {
      this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      this.#hasFailed = false;
    } catch {
      // Ignore the error: the checkpoint is retried after the next commit.
    }
  }

  #write(changes: RowChanges): void {
    const { deletedItems, items, renewedItems, published, announcements, contacts, nodeId, clock } =
      changes;
    for (const { name, bytes } of changes.records ?? []) {
      if (bytes !== null) this.setMeta(RECORD + name, bytes);
      else this.#prepared("DELETE FROM meta WHERE name = ?").run(RECORD + name);
    }
    const tables = this.#tables;
    if (nodeId !== undefined) this.setMeta(NODE_ID, nodeId);
    if (clock !== undefined) this.setMeta(CLOCK, clock);
    for (const target of deletedItems) tables.items.delete(target);
    for (const times of renewedItems ?? []) {
      const row = this.#readItem(times.target);
      if (row === undefined) continue;
      const renewed = { ...row, ...times };
      tables.items.put({ ...renewed, checksum: checksumOf(renewed) });
    }
    for (const row of items) tables.items.put({ ...row, checksum: checksumOf(row) });
    for (const row of published) {
      if ("value" in row) tables.published.put({ ...row, checksum: checksumOf(row) });
      else tables.published.delete(row.target);
    }
    for (const row of announcements ?? []) {
      if ("port" in row) this.#insert("announcements", row);
      else this.#prepared("DELETE FROM announcements WHERE info_hash = ?").run(row.info_hash);
    }
    if (contacts === undefined) return;
    this.#db.exec("DELETE FROM contacts");
    // Insert in reverse order: if a contact is listed twice, its first entry replaces the later one.
    for (const row of contacts.toReversed()) this.#insert("contacts", row);
  }

  #insert(table: "announcements" | "contacts", row: AnnouncementRow | ContactRow): void {
    const columns = COLUMNS[table], values = row as unknown as Record<string, string | null>;
    this.#prepared(`INSERT OR REPLACE INTO ${table} VALUES (${columns.map(() => "?")})`)
      .run(...columns.map((name) => values[name]));
  }

  #prepared(query: string): StatementSync {
    let statement = this.#statements.get(query);
    if (statement === undefined) {
      statement = this.#db.prepare(query);
      this.#statements.set(query, statement);
    }
    return statement;
  }

  close(): void {
    this.#db.close();
  }
}

type Row = Record<string, unknown>;

/** Restores the seq of a row that was read, and returns whether the row's checksum is correct. */
function isSound(row: Checked<ItemRow | PublishedRow>): boolean {
  restoreSeq(row);
  return row.checksum === checksumOf(row);
}

/** Creates an empty file for a database. @throws {StorageError} */
export function createFile(files: Files, path: string): void {
  try {
    files.create(path);
  } catch (error) {
    throw new StorageError(
      `${path} can't be created (${
        firstLine(error)
      }): check the permissions of its directory, or ` +
        "give another --data-dir",
      { cause: error },
    );
  }
}

/** Throws if the file can't be read. A prepared statement alone does not show this in Deno 2.4. */
export function readSchema(db: DatabaseSync): void {
  versionOf(db);
  db.exec("SELECT count(*) FROM sqlite_schema");
}

export function versionOf(db: DatabaseSync): number {
  return (db.prepare("PRAGMA user_version").get() as { user_version: number }).user_version;
}
