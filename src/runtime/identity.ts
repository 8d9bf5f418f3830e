// The node's Ed25519 key in DATA_DIR: made once, readable by its owner alone.

import { join } from "node:path";
import { Identity } from "./crypto.ts";
import { StorageError } from "../storage/database.ts";

/** Where a DATA_DIR keeps it. */
export function identityPath(dataDir: string): string {
  return join(dataDir, "identity.pem");
}

/** Where a DATA_DIR keeps all the rest. */
export function databasePath(dataDir: string): string {
  return join(dataDir, "dmnode.sqlite");
}

/**
 * Reads the identity; undefined where there is none yet.
 *
 * @throws {StorageError} where the file is there but can't be read as an Ed25519 key; it is never replaced
 */
export function readIdentity(dataDir: string): Identity | undefined {
  const path = identityPath(dataDir);
  let pem: string;
  try {
    pem = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new StorageError(`${path}: can't be read: ${text(error)}`, { cause: error });
  }
  try {
    return Identity.fromPem(pem);
  } catch (error) {
    throw new StorageError(
      `${path} holds no Ed25519 key (${
        text(error)
      }): restore a copy, or move it away for a new identity`,
      { cause: error },
    );
  }
}

/**
 * Makes a new identity and keeps it.
 *
 * @throws {StorageError} where it can't be written
 */
export function createIdentity(dataDir: string): Identity {
  const identity = Identity.generate();
  writeIdentity(dataDir, identity);
  return identity;
}

/**
 * Keeps an identity in place of what was there; a crash leaves the one or the other.
 *
 * @throws {StorageError} where it can't be written
 */
export function writeIdentity(dataDir: string, identity: Identity): void {
  const path = identityPath(dataDir);
  try {
    writeSecret(`${path}.new`, identity.toPem());
    Deno.renameSync(`${path}.new`, path);
    syncDirectory(dataDir);
  } catch (error) {
    throw new StorageError(`${path}: can't be written: ${text(error)}`, { cause: error });
  }
}

/** Writes a file that its owner alone can read, and has it on the disk. */
export function writeSecret(path: string, content: string): void {
  // A file that is there would keep its mode, and a link would lead elsewhere.
  try {
    if (Deno.lstatSync(path).isDirectory) throw new Error("it is a directory");
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  using file = Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
  const bytes = new TextEncoder().encode(content);
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
  file.syncSync();
}

/** Has a renamed file's new name on the disk, where the system knows of that. */
function syncDirectory(path: string): void {
  if (Deno.build.os === "windows") return;
  using directory = Deno.openSync(path);
  directory.syncSync();
}

function text(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}
