// The node's Ed25519 key in DATA_DIR: created once, readable only by the user that runs the node.

import { firstLine } from "../../krpc/error_text.ts";
import { join } from "node:path";
import { syncDirectory } from "../files.ts";
import { Identity } from "./crypto.ts";
import { StorageError } from "../../storage/sqlite.ts";

/** Returns the path of the identity file in DATA_DIR. */
export function identityPath(dataDir: string): string {
  return join(dataDir, "identity.pem");
}

/**
 * Returns the path of the database file in DATA_DIR. It contains all saved data except the identity and large values.
 */
export function databasePath(dataDir: string): string {
  return join(dataDir, "dmnode.sqlite");
}

/** Returns the path of the file in DATA_DIR that contains this node's own large values. */
export function blobsPath(dataDir: string): string {
  return join(dataDir, "large.sqlite");
}

/** Reads the identity, if DATA_DIR has one. Throws a StorageError if the file is unusable. Never replaces the file. */
export function readIdentity(dataDir: string): Identity | undefined {
  const path = identityPath(dataDir);
  let pem: string;
  try {
    pem = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new StorageError(`${path}: can't be read: ${firstLine(error)}`, { cause: error });
  }
  try {
    return Identity.fromPem(pem);
  } catch (error) {
    throw new StorageError(
      `${path} holds no Ed25519 key (${
        firstLine(error)
      }): restore a copy, or move it away for a new identity`,
      { cause: error },
    );
  }
}

/** Saves an identity atomically, and returns it. Throws a StorageError if the file can't be written. */
export function writeIdentity(dataDir: string, identity: Identity): Identity {
  const path = identityPath(dataDir);
  try {
    writeSecret(`${path}.new`, identity.toPem());
    Deno.renameSync(`${path}.new`, path);
    syncDirectory(dataDir);
    return identity;
  } catch (error) {
    throw new StorageError(`${path}: can't be written: ${firstLine(error)}`, { cause: error });
  }
}

/** Writes a file that only the node's user can read, and flushes it to disk. */
export function writeSecret(path: string, content: string): void {
  // Remove an existing file. Writing to a file would keep its permissions, and writing to a link
  // would change the file that the link leads to.
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
