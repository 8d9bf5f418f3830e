// The node's file: node id, known contacts, items and what this node publishes, in one SQLite database with a schema
// version.

import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Changes } from "./commit_queue.ts";
import { crc32 } from "./crc32.ts";
import type { ContactRow, ItemRow, PublishedRow } from "./rows.ts";
import { damageInLog } from "./wal.ts";

/** Under this name the node's id is kept. */
export const NODE_ID = "node_id";

/** DATA_DIR can't be used as it is. The message is one line for the user; nothing was changed. */
export class StorageError extends Error {
  override readonly name = "StorageError";
}

/**
 * What leads from each schema to the next, from an empty file on. They stay as they are: a file of any version is
 * brought forward by the steps that it lacks, in one transaction. A newer file than the last is refused.
 */
const STEPS = [
  `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE contacts (id BLOB NOT NULL, endpoint BLOB NOT NULL, PRIMARY KEY (id, endpoint)) WITHOUT ROWID;
  CREATE TABLE items (
    target BLOB PRIMARY KEY, value BLOB NOT NULL,
    public_key BLOB, signature BLOB, salt BLOB, seq INTEGER,
    stored_at REAL NOT NULL, expires_at REAL NOT NULL
  ) WITHOUT ROWID;
  `,
  `
  ALTER TABLE contacts ADD COLUMN first_seen REAL;
  ALTER TABLE contacts ADD COLUMN last_seen REAL;
  ALTER TABLE contacts ADD COLUMN rtt REAL;
  ALTER TABLE contacts ADD COLUMN rtt_variation REAL;
  ALTER TABLE contacts ADD COLUMN answer_rate REAL;
  ALTER TABLE contacts ADD COLUMN parts TEXT;
  ALTER TABLE items ADD COLUMN checksum INTEGER;
  CREATE TABLE published (
    target BLOB PRIMARY KEY, value BLOB NOT NULL,
    public_key BLOB, signature BLOB, salt BLOB, seq INTEGER,
    first_at REAL NOT NULL, next_at REAL NOT NULL, last_at REAL,
    replicas INTEGER NOT NULL, failures INTEGER NOT NULL,
    checksum INTEGER
  ) WITHOUT ROWID;
  `,
];

const SCHEMA_VERSION = STEPS.length;

/** SQLite's smallest page, and so its smallest file. */
const MIN_BYTES = 512;

/** The lock of a file that could be opened for reading alone. */
const SQLITE_IOERR_LOCK = 3850;

const VALUE_COLUMNS = "target, value, public_key, signature, salt, seq";
const ITEM_COLUMNS = `${VALUE_COLUMNS}, stored_at, expires_at`;
const PUBLISHED_COLUMNS = `${VALUE_COLUMNS}, first_at, next_at, last_at, replicas, failures`;
const CONTACT_COLUMNS =
  "id, endpoint, first_seen, last_seen, rtt, rtt_variation, answer_rate, parts";

/** A row with the checksum that was written with it; null where an older version wrote it. */
type Checked<Row> = Row & { readonly checksum: number | null };

/** What is done with files otherwise than by SQLite. */
export interface Files {
  /** In bytes; undefined where there is no such file. */
  size(path: string): number | undefined;
  read(path: string): Uint8Array;
  remove(path: string): void;
}

export interface DatabaseOptions {
  readonly files: Files;
  /**
   * Whether the file may be there and empty: it is for a moment while it is made. Later that means that its content
   * was lost.
   */
  readonly mayBeEmpty: boolean;
}

export class Database {
  readonly #db: DatabaseSync;
  readonly #files: Files;
  readonly #statements = new Map<string, StatementSync>();
  #hasFailed = false;
  /** Rows met so far that are not as they were written, and were left out. */
  damagedRows = 0;

  /**
   * Opens the file, or makes it.
   *
   * @throws {StorageError} where it can't be read or written, is no database of ours, is damaged, from a newer
   * version, or in use by another process; what it holds is as it was, and where it is damaged, so is every byte
   */
  constructor(readonly path: string, { files, mayBeEmpty }: DatabaseOptions) {
    this.#files = files;
    const hasLog = Boolean(this.#sizeOf("-wal")), size = this.#sizeOf("");
    if (size === 0 && (hasLog || !mayBeEmpty)) throw damaged(path, "it is empty");
    // SQLite would take it for an empty one.
    if (size! > 0 && size! < MIN_BYTES) throw damaged(path, `it has ${size} bytes`);
    // To close what was opened to be written brings its log into it. One that has a log is looked at without that. A
    // journal is there only while the file is made.
    const isInspected = hasLog && !this.#sizeOf("-journal");
    if (isInspected) this.#use({ readOnly: true }, (db) => this.#inspectWithLog(db)).close();
    this.#db = this.#use({}, (db) => {
      // Held until the end of the process: a second one on the same file is refused here.
      db.exec("PRAGMA locking_mode = EXCLUSIVE");
      const version = isInspected ? versionOf(db) : this.#inspect(db);
      // Synced at each commit: what was acknowledged survives a power cut.
      db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
      db.exec("BEGIN IMMEDIATE");
      if (version < SCHEMA_VERSION) {
        for (const step of STEPS.slice(version)) db.exec(step);
        db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
      }
      db.exec("COMMIT");
    });
    // Left by the inspection. With the lock held, nobody else can be using it.
    if (isInspected && this.#sizeOf("-shm") !== undefined) files.remove(`${path}-shm`);
  }

  #sizeOf(suffix: string): number | undefined {
    try {
      return this.#files.size(this.path + suffix);
    } catch (error) {
      throw new StorageError(`${this.path}: can't be read: ${textOf(error)}`, { cause: error });
    }
  }

  /** Opens the file and does something with it; closes it again, and says why, where that fails. */
  #use(options: { readOnly?: boolean }, run: (db: DatabaseSync) => void): DatabaseSync {
    let db: DatabaseSync;
    try {
      db = new DatabaseSync(this.path, options);
    } catch (error) {
      throw new StorageError(
        `${this.path} can't be opened (${textOf(error)}): check whose it is and its permissions, ` +
          "or give another --data-dir",
        { cause: error },
      );
    }
    try {
      // Older versions of Deno would wait for five seconds for a file that is in use.
      db.exec("PRAGMA busy_timeout = 0");
      run(db);
      return db;
    } catch (error) {
      db.close();
      throw this.#explained(error);
    }
  }

  /** Throws where the file is not what it should be; returns its schema version. Changes nothing. */
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
    const { quick_check: found } = db.prepare("PRAGMA quick_check(1)").get() as Row;
    if (found !== "ok") throw damaged(this.path, String(found).split("\n").at(-1)!);
    return version;
  }

  #inspectWithLog(db: DatabaseSync): void {
    this.#inspect(db);
    // By now the file is locked: nobody is writing the log.
    const good = damageInLog(this.#files.read(`${this.path}-wal`));
    if (good === undefined) return;
    throw new StorageError(
      `${this.path}-wal is damaged after ${good} bytes: nothing was changed; restore a copy, or cut it off there ` +
        `(truncate --size=${good}) to start without what was stored last`,
    );
  }

  #explained(error: unknown): StorageError {
    if (error instanceof StorageError) return error;
    const { path } = this, text = textOf(error);
    const because = (message: string) => new StorageError(message, { cause: error });
    if (/locked|busy/i.test(text)) {
      return because(
        `${path} is in use by another process: stop it, or give this one another --data-dir`,
      );
    }
    if (/malformed|not a database|unsupported/i.test(text)) return damaged(path, text, error);
    const isUnlockable = (error as { errcode?: unknown }).errcode === SQLITE_IOERR_LOCK;
    if (isUnlockable || /readonly|read-only|unable to open/i.test(text)) {
      return because(`${path} can't be written: check its permissions, or give another --data-dir`);
    }
    if (/full/i.test(text)) return because(`${path}: the disk is full: free some room`);
    if (/I\/O error/i.test(text)) {
      return because(
        `${path}: the disk is full, or can't be read or written (${text}): free some room, or see ` +
          "the system's log",
      );
    }
    return because(`${path}: ${text}`);
  }

  /** A remembered value by its name. */
  meta(name: string): Uint8Array | undefined {
    const row = this.#prepared("SELECT value FROM meta WHERE name = ?").get(name) as
      | Row
      | undefined;
    return row?.value as Uint8Array | undefined;
  }

  /** @throws {StorageError} where the disk does not take it */
  setMeta(name: string, value: Uint8Array): void {
    try {
      this.#prepared("INSERT OR REPLACE INTO meta VALUES (?, ?)").run(name, value);
    } catch (error) {
      throw this.#explained(error);
    }
  }

  contacts(): ContactRow[] {
    return this.#prepared(`SELECT ${CONTACT_COLUMNS} FROM contacts`)
      .all() as unknown as ContactRow[];
  }

  /** All items that are as they were written; those that are not are counted. */
  items(): Generator<ItemRow> {
    return this.#sound<ItemRow>(
      `SELECT ${ITEM_COLUMNS}, checksum FROM items`,
      ({ stored_at, expires_at }) => [stored_at, expires_at],
    );
  }

  /** All values that this node publishes and that are as they were written; those that are not are counted. */
  published(): Generator<PublishedRow> {
    return this.#sound<PublishedRow>(
      `SELECT ${PUBLISHED_COLUMNS}, checksum FROM published`,
      publishedNumbers,
    );
  }

  *#sound<Row extends ItemRow | PublishedRow>(
    query: string,
    numbers: (row: Row) => number[],
  ): Generator<Row> {
    for (const one of this.#prepared(query).iterate()) {
      const row = one as unknown as Checked<Row>;
      if (row.checksum === null || row.checksum === checksumOf(row, numbers(row))) yield row;
      else this.damagedRows++;
    }
  }

  /**
   * Makes these changes, and has them on the disk when it returns.
   *
   * @throws {StorageError} where the disk does not take them; then nothing is changed
   */
  commit(changes: Changes): void {
    try {
      this.#db.exec("BEGIN IMMEDIATE");
      this.#write(changes);
      this.#db.exec("COMMIT");
    } catch (error) {
      this.#hasFailed = true;
      try {
        this.#db.exec("ROLLBACK");
      } catch {
        // SQLite has rolled back by itself, as it does when the disk is full.
      }
      throw this.#explained(error);
    }
    if (this.#hasFailed) this.#clearLog();
  }

  /** What is left in the log of a commit that failed would look like damage, should the process end now. */
  #clearLog(): void {
    try {
      this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      this.#hasFailed = false;
    } catch {
      // After the next commit, then.
    }
  }

  #write({ deletedItems, items, published, contacts, nodeId }: Changes): void {
    if (nodeId !== undefined) this.setMeta(NODE_ID, nodeId);
    const unkeep = this.#prepared("DELETE FROM items WHERE target = ?");
    for (const target of deletedItems) unkeep.run(target);
    const keep = this.#prepared(
      `INSERT OR REPLACE INTO items (${ITEM_COLUMNS}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    for (const row of items) {
      const numbers = [row.stored_at, row.expires_at];
      keep.run(...valueColumns(row), ...numbers, checksumOf(row, numbers));
    }
    const unpublish = this.#prepared("DELETE FROM published WHERE target = ?");
    const publish = this.#prepared(
      `INSERT OR REPLACE INTO published (${PUBLISHED_COLUMNS}, checksum) ` +
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    for (const row of published) {
      if (!("value" in row)) {
        unpublish.run(row.target);
        continue;
      }
      const { first_at, next_at, last_at, replicas, failures } = row;
      const checksum = checksumOf(row, publishedNumbers(row));
      publish.run(...valueColumns(row), first_at, next_at, last_at, replicas, failures, checksum);
    }
    if (contacts === undefined) return;
    this.#db.exec("DELETE FROM contacts");
    const know = this.#prepared(
      `INSERT OR IGNORE INTO contacts (${CONTACT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    for (const { id, endpoint, parts, ...seen } of contacts) {
      const { first_seen, last_seen, rtt, rtt_variation, answer_rate } = seen;
      know.run(id, endpoint, first_seen, last_seen, rtt, rtt_variation, answer_rate, parts);
    }
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

/** Fails for what keeps a file from being read: Deno 2.4 does not say it where a statement is prepared. */
export function readSchema(db: DatabaseSync): void {
  versionOf(db);
  db.exec("SELECT count(*) FROM sqlite_schema");
}

function versionOf(db: DatabaseSync): number {
  return (db.prepare("PRAGMA user_version").get() as { user_version: number }).user_version;
}

function valueColumns({ target, value, public_key, signature, salt, seq }: ItemRow | PublishedRow) {
  return [target, value, public_key, signature, salt, seq] as const;
}

function publishedNumbers(row: PublishedRow): number[] {
  const { first_at, next_at, last_at, replicas, failures } = row;
  return [first_at, next_at, last_at ?? -1, replicas, failures];
}

/** Where the numbers of a row become bytes. */
const NUMBERS = new Float64Array(6), NUMBER_BYTES = new Uint8Array(NUMBERS.buffer);

/** CRC-32 of all that a row holds: SQLite has no checksums in its file, and would serve what the disk has changed. */
function checksumOf(row: ItemRow | PublishedRow, numbers: readonly number[]): number {
  let sum = crc32(row.value, crc32(row.target));
  if (row.public_key !== null) {
    sum = crc32(row.salt!, crc32(row.signature!, crc32(row.public_key, sum)));
  }
  NUMBERS[0] = row.seq ?? -1;
  NUMBERS.set(numbers, 1);
  return crc32(NUMBER_BYTES.subarray(0, 8 + 8 * numbers.length), sum);
}

function damaged(path: string, how: string, cause?: unknown): StorageError {
  return new StorageError(
    `${path} is damaged (${how}): nothing was changed; restore a copy, or move it away to start anew`,
    { cause },
  );
}

/** The first line of what went wrong. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.message.split("\n")[0] : String(error);
}
