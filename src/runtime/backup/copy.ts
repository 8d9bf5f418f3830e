// Copies an SQLite database in WAL mode while another process writes to it, without its locks.
//
// A node locks its databases for its whole life, so no other process can read them through SQLite.
// But a copy of the database and of its log (WAL) is consistent if the log was not restarted in the
// meantime. The database itself changes only when pages are merged into it from the log, and these
// pages are also in the log. SQLite replays the log over the copy, up to the last commit that is
// complete. Each time the log restarts, its header gets a new salt.

import { StorageError } from "../../storage/sqlite.ts";

/** The size in bytes of the header of a write-ahead log. The header contains the salts. */
const LOG_HEADER_BYTES = 32;

/**
 * Maximum number of tries. The write-ahead log restarts above 4 MiB, so a second try is needed only on a very busy
 * node.
 */
const MAX_TRIES = 20;

/** The number of bytes that are compared at a time. */
const CHUNK_BYTES = 1 << 20;

/**
 * Copies a database file and its write-ahead log. @throws {StorageError} if the file is written too often to be copied
 */
export async function copyDatabase(path: string, to: string): Promise<void> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const before = logHeader(path);
    await Deno.copyFile(path, to);
    const hasLog = before.length > 0;
    if (hasLog) await copyIfPresent(`${path}-wal`, `${to}-wal`);
    const after = logHeader(path);
    const isSameLog = before.length === after.length &&
      before.every((byte, at) => byte === after[at]);
    // Without a write-ahead log, compare the database with the copy to find out whether it changed during the copy.
    if (isSameLog && (hasLog || hasSameContent(path, to))) return;
    if (hasLog) await removeIfPresent(`${to}-wal`);
  }
  throw new StorageError(
    `${path} changes too fast to be copied: try again later, or stop the node`,
  );
}

/** Reads the header of a database's write-ahead log. Empty if the log is missing or empty. */
function logHeader(path: string): Uint8Array {
  try {
    using file = Deno.openSync(`${path}-wal`);
    const bytes = new Uint8Array(LOG_HEADER_BYTES);
    return bytes.subarray(0, file.readSync(bytes) ?? 0);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Uint8Array();
    throw error;
  }
}

function hasSameContent(path: string, other: string): boolean {
  using a = Deno.openSync(path);
  using b = Deno.openSync(other);
  const x = new Uint8Array(CHUNK_BYTES), y = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    const read = fill(a, x);
    if (read !== fill(b, y)) return false;
    for (let at = 0; at < read; at++) if (x[at] !== y[at]) return false;
    if (read < CHUNK_BYTES) return true;
  }
}

function fill(file: Deno.FsFile, bytes: Uint8Array): number {
  let length = 0;
  while (length < bytes.length) {
    const read = file.readSync(bytes.subarray(length));
    if (read === null) break;
    length += read;
  }
  return length;
}

async function copyIfPresent(from: string, to: string): Promise<void> {
  await ignoringMissing(Deno.copyFile(from, to));
}

async function removeIfPresent(path: string): Promise<void> {
  await ignoringMissing(Deno.remove(path));
}

async function ignoringMissing(operation: Promise<void>): Promise<void> {
  try {
    await operation;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
