// The database file for this node's own large values. It is separate from the node's main database, so that it can
// shrink, and so that the node need not read it at startup.

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { crc32 } from "../krpc/crc.ts";
import { release } from "../krpc/release.ts";
import { type BlobPart, joinSegments, type Segment } from "./blobs.ts";
import { damaged, explained, openFile, refuseOtherSchema, StorageError } from "./sqlite.ts";

/**
 * The number of row ids reserved for each blob, enough for 64 GiB. A double can exactly hold the row ids of 2^33 blobs.
 */
const SEGMENTS_PER_BLOB = 2 ** 20;

/**
 * The maximum number of segments and of pages that one step of `tidy` frees: 1 MiB of each, so that a commit waits only
 * for milliseconds.
 */
const SEGMENTS_PER_STEP = 16, PAGES_PER_STEP = 256;

/** The size in bytes to which the write-ahead log file is truncated after a checkpoint. */
const MAX_LOG_BYTES = 4 << 20;

const SCHEMA_VERSION = 1;

const SCHEMA =
  "CREATE TABLE segments (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL, checksum INTEGER NOT NULL)";

export class BlobDatabase {
  readonly #db: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #select: StatementSync;
  readonly #next: StatementSync;
  readonly #delete: StatementSync;
  readonly #vacuum: StatementSync;
  /** The segment that was read last, as a cache. */
  #latest: { readonly key: number; readonly bytes: Uint8Array } | undefined;
  /** The ids of removed blobs whose space is not freed yet. */
  readonly #removed: number[] = [];
  /** The highest blob id in the file when it was opened. */
  readonly lastId: number;

  /** Opens the file, or creates it. Only one process can have the file open. @throws {StorageError} */
  constructor(readonly path: string) {
    this.#db = openFile(path, {}, (db) => {
      db.exec("PRAGMA locking_mode = EXCLUSIVE");
      const { user_version: version } = db.prepare("PRAGMA user_version").get() as {
        user_version: number;
      };
      if (version > SCHEMA_VERSION) {
        throw new StorageError(
          `${path} is of a newer dmnode: use that version, or another --data-dir`,
        );
      }
      refuseOtherSchema(db, path, version === 0 ? "" : SCHEMA);
      // SQLite can return free pages to the system only if this is set before the first table exists.
      if (version === 0) db.exec("PRAGMA auto_vacuum = INCREMENTAL");
      // Only `sync` waits for the disk, because unfinished blobs need not survive a power failure.
      db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
        PRAGMA journal_size_limit = ${MAX_LOG_BYTES}`);
      if (version === SCHEMA_VERSION) return;
      db.exec(`BEGIN IMMEDIATE;
        ${SCHEMA};
        PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
    });
    const db = this.#db;
    this.#insert = db.prepare("INSERT INTO segments VALUES (?, ?, ?)");
    this.#select = db.prepare("SELECT bytes, checksum FROM segments WHERE id = ?");
    this.#next = db.prepare("SELECT min(id) AS id FROM segments WHERE id >= ?");
    this.#vacuum = db.prepare(`PRAGMA incremental_vacuum(${PAGES_PER_STEP})`);
    this.#delete = db.prepare(
      `DELETE FROM segments WHERE id IN
        (SELECT id FROM segments WHERE id >= ? AND id < ? ORDER BY id LIMIT ${SEGMENTS_PER_STEP})`,
    );
    const { last } = db.prepare("SELECT max(id) AS last FROM segments").get() as {
      last: number | null;
    };
    this.lastId = Math.floor((last ?? 0) / SEGMENTS_PER_BLOB);
  }

  /** Writes one segment. @throws {StorageError} if the segment can't be written */
  write({ blob, index, bytes }: Segment): void {
    this.#do(() => this.#insert.run(blob * SEGMENTS_PER_BLOB + index, bytes, crc32(bytes)));
    release(bytes);
  }

  /** Returns once all segments are synced to disk. @throws {StorageError} if that fails */
  sync(): void {
    this.#do(() => this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)"));
  }

  /** Reads part of a blob. @throws {StorageError} if a byte is missing, damaged or unreadable */
  read(part: BlobPart): Uint8Array<ArrayBuffer> {
    return this.#do(() =>
      joinSegments((index) => this.#segment(part.id, part.id * SEGMENTS_PER_BLOB + index), part)
    );
  }

  /** Returns a segment, from the cache if it is the one read last: most blobs are read in order, in small parts. */
  #segment(blob: number, key: number): Uint8Array | undefined {
    if (this.#latest?.key === key) return this.#latest.bytes;
    const row = this.#select.get(key) as { bytes: Uint8Array; checksum: number } | undefined;
    if (row === undefined) return undefined;
    if (crc32(row.bytes) !== row.checksum) throw damaged(this.path, `blob ${blob}`);
    if (this.#latest !== undefined) release(this.#latest.bytes);
    this.#latest = { key, bytes: row.bytes };
    return row.bytes;
  }

  /**
   * Whether a blob exists. A removed blob counts as missing once its first segment is deleted, which `tidy` does first.
   */
  has(id: number): boolean {
    const first = id * SEGMENTS_PER_BLOB;
    const { id: next } = this.#do(() => this.#next.get(first)) as { id: number | null };
    return next === first;
  }

  /**
   * Checks all segments by reading them.
   * @throws {StorageError} if a segment is damaged, or if one is missing before the last segment of its blob
   */
  check(): void {
    this.#do(() => {
      for (let key = 0, before = -1;;) {
        const { id } = this.#next.get(key) as { id: number | null };
        if (id === null) return;
        const blob = Math.floor(id / SEGMENTS_PER_BLOB), isFirst = id % SEGMENTS_PER_BLOB === 0;
        if (!isFirst && id !== before + 1) throw damaged(this.path, `blob ${blob}`);
        this.#segment(blob, id);
        before = id;
        key = id + 1;
      }
    });
  }

  /** Marks a blob as removed. `tidy` frees its space later. */
  remove(id: number): void {
    this.#removed.push(id);
  }

  /** Removes all blobs of earlier runs that are not in `kept`. `tidy` frees their space later. */
  removeOthers(kept: ReadonlySet<number>): void {
    this.#do(() => {
      let id = 0;
      for (;;) {
        const next = this.#next.get(id * SEGMENTS_PER_BLOB) as { id: number | null };
        if (next.id === null) return;
        id = Math.floor(next.id / SEGMENTS_PER_BLOB);
        if (id > this.lastId) return;
        if (!kept.has(id)) this.#removed.push(id);
        id++;
      }
    });
  }

  /**
   * Frees up to 1 MiB of space that removed blobs occupy. Returns true if another call may free more. @throws
   * {StorageError}
   */
  tidy(): boolean {
    this.#latest = undefined;
    return this.#do(() => {
      const id = this.#removed[0];
      if (id !== undefined) {
        const first = id * SEGMENTS_PER_BLOB;
        const { changes } = this.#delete.run(first, first + SEGMENTS_PER_BLOB);
        if (Number(changes) < SEGMENTS_PER_STEP) this.#removed.shift();
        return true;
      }
      // SQLite frees one page per result row, so read all rows.
      if (this.#vacuum.all().length === PAGES_PER_STEP) return true;
      // The file shrinks only at a checkpoint, when the write-ahead log is merged into it.
      this.sync();
      return false;
    });
  }

  close(): void {
    this.#db.close();
  }

  #do<T>(run: () => T): T {
    try {
      return run();
    } catch (error) {
      throw explained(this.path, error);
    }
  }
}
