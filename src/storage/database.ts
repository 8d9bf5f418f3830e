// The node's file: node id, known contacts and items, in one SQLite database with a schema version.

import { DatabaseSync } from "node:sqlite";
import { Endpoint } from "../krpc/endpoint.ts";
import { Id } from "../krpc/id.ts";
import type { StoredItem } from "../dht/item.ts";

/** DATA_DIR can't be used as it is. The message is one line for the user; nothing was changed. */
export class StorageError extends Error {
  override readonly name = "StorageError";
}

/** Raised when tables change; an older file is brought forward, a newer one refused. */
const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE contacts (id BLOB NOT NULL, endpoint BLOB NOT NULL, PRIMARY KEY (id, endpoint)) WITHOUT ROWID;
  CREATE TABLE items (
    target BLOB PRIMARY KEY, value BLOB NOT NULL,
    public_key BLOB, signature BLOB, salt BLOB, seq INTEGER,
    stored_at REAL NOT NULL, expires_at REAL NOT NULL
  ) WITHOUT ROWID;
`;

/** A contact as it is remembered between runs. */
export interface SavedContact {
  readonly id: Id;
  readonly endpoint: Endpoint;
}

type Row = Record<string, unknown>;

export class Database {
  readonly #db: DatabaseSync;

  /**
   * Opens the file, or makes it.
   *
   * @throws {StorageError} where it can't be read or written, is no database of ours, is damaged, from a newer
   * version, or in use by another process
   */
  constructor(readonly path: string) {
    try {
      this.#db = new DatabaseSync(path);
    } catch (error) {
      throw new StorageError(`${path}: can't be opened: ${textOf(error)}`, { cause: error });
    }
    try {
      // Held until the end of the process: a second one on the same file is refused here.
      this.#db.exec(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
      );
      this.#migrate();
    } catch (error) {
      this.#db.close();
      throw error instanceof StorageError
        ? error
        : new StorageError(this.#explain(error), { cause: error });
    }
  }

  #migrate(): void {
    const { user_version: version } = this.#db.prepare("PRAGMA user_version").get() as {
      user_version: number;
    };
    if (version > SCHEMA_VERSION) {
      throw new StorageError(
        `${this.path} is of a newer dmnode (schema ${version}, this one knows ${SCHEMA_VERSION}): ` +
          "use that version, or another --data-dir",
      );
    }
    this.#db.exec("BEGIN IMMEDIATE");
    if (version < 1) this.#db.exec(SCHEMA);
    this.#db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
  }

  #explain(error: unknown): string {
    const text = textOf(error);
    if (/locked|busy/i.test(text)) {
      return `${this.path} is in use by another process: stop it, or give this one another --data-dir`;
    }
    if (/malformed|not a database/i.test(text)) {
      return `${this.path} is damaged (${text}): nothing was changed; restore a copy, or move it away to start anew`;
    }
    if (/readonly|read-only/i.test(text)) {
      return `${this.path} can't be written: check its permissions, or give another --data-dir`;
    }
    if (/full/i.test(text)) return `${this.path}: the disk is full: free some room and start again`;
    return `${this.path}: ${text}`;
  }

  /** A remembered value by its name. */
  meta(name: string): Uint8Array | undefined {
    const row = this.#db.prepare("SELECT value FROM meta WHERE name = ?").get(name) as
      | Row
      | undefined;
    return row?.value as Uint8Array | undefined;
  }

  setMeta(name: string, value: Uint8Array): void {
    this.#db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)").run(name, value);
  }

  contacts(): SavedContact[] {
    const rows = this.#db.prepare("SELECT id, endpoint FROM contacts").all() as Row[];
    return rows.map(({ id, endpoint }) => {
      const bytes = endpoint as Uint8Array;
      return {
        id: Id.read(id as Uint8Array),
        endpoint: Endpoint.read(bytes, 0, bytes.length === 6 ? 4 : 6),
      };
    });
  }

  /** Remembers these contacts in place of the former. */
  saveContacts(contacts: Iterable<SavedContact>): void {
    this.#transaction(() => {
      this.#db.exec("DELETE FROM contacts");
      const insert = this.#db.prepare("INSERT OR IGNORE INTO contacts VALUES (?, ?)");
      for (const { id, endpoint } of contacts) {
        const bytes = new Uint8Array(Endpoint.compactLength(endpoint.family));
        endpoint.write(bytes, 0);
        insert.run(id.toBytes(), bytes);
      }
    });
  }

  items(): StoredItem[] {
    const rows = this.#db.prepare("SELECT * FROM items").all() as Row[];
    return rows.map((row) => ({
      target: Id.read(row.target as Uint8Array),
      value: row.value as Uint8Array,
      signed: row.public_key === null ? undefined : {
        publicKey: row.public_key as Uint8Array,
        signature: row.signature as Uint8Array,
        salt: row.salt as Uint8Array,
        seq: row.seq as number,
      },
      storedAt: row.stored_at as number,
      expiresAt: row.expires_at as number,
    }));
  }

  /** Writes and deletes items in one commit. Throws where the disk does not take it; then nothing is changed. */
  saveItems(saved: Iterable<StoredItem>, deleted: Iterable<Id>): void {
    this.#transaction(() => {
      const remove = this.#db.prepare("DELETE FROM items WHERE target = ?");
      for (const target of deleted) remove.run(target.toBytes());
      const insert = this.#db.prepare(
        "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      );
      for (const { target, value, signed, storedAt, expiresAt } of saved) {
        insert.run(
          target.toBytes(),
          value,
          signed?.publicKey ?? null,
          signed?.signature ?? null,
          signed?.salt ?? null,
          signed?.seq ?? null,
          storedAt,
          expiresAt,
        );
      }
    });
  }

  close(): void {
    this.#db.close();
  }

  #transaction(run: () => void): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      run();
      this.#db.exec("COMMIT");
    } catch (error) {
      try {
        this.#db.exec("ROLLBACK");
      } catch {
        // SQLite has rolled back by itself, as it does when the disk is full.
      }
      throw error;
    }
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message.split("\n")[0] : String(error);
}
