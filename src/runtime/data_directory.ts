// Makes DATA_DIR and its files accessible only to the node's user, and refuses links that others
// could have made.

import { dirname, join } from "node:path";
import { firstLine } from "../krpc/error_text.ts";
import { StorageError } from "../storage/sqlite.ts";

const DIRECTORY_MODE = 0o700, FILE_MODE = 0o600;

/** Permissions of the group and of all other users. */
const OTHERS = 0o077, OTHERS_WRITE = 0o002;

/** In a directory with this bit, only the owner of a file may rename or remove it. */
const STICKY = 0o1000;

const ROOT = 0;

/** The names of a node's files, including the files that SQLite puts beside its databases, and unfinished copies. */
const OWN_FILE =
  /^(identity\.pem|api_tokens|settings\.env|(dmnode|large)\.sqlite(-wal|-shm|-journal)?)(\.new)?$/;

/** A directory that some file systems create at their root. */
const LOST_AND_FOUND = "lost+found";

/**
 * Creates DATA_DIR if necessary. Removes other users' access to it and to its files, and reports this to `warn`.
 * @throws {StorageError} if it can't be created, or another user could read or replace the files
 */
export function prepareDataDir(dataDir: string, warn: (warning: string) => void): void {
  try {
    Deno.mkdirSync(dataDir, { recursive: true, mode: DIRECTORY_MODE });
  } catch (error) {
    throw new StorageError(`DATA_DIR ${dataDir} ${whyNotMade(error)}`, { cause: error });
  }
  try {
    checkLink(dataDir);
    closeDirectory(dataDir, warn);
    for (const { name } of Deno.readDirSync(dataDir)) {
      if (OWN_FILE.test(name)) closeFile(join(dataDir, name), warn);
    }
  } catch (error) {
    if (error instanceof StorageError) throw error;
    const text = firstLine(error);
    throw new StorageError(`DATA_DIR ${dataDir} can't be checked: ${text}`, { cause: error });
  }
}

/**
 * Throws a StorageError if DATA_DIR is a link that another user made or could replace. Other links are allowed, for
 * example to another disk.
 */
function checkLink(dataDir: string): void {
  // Remove trailing slashes. With a trailing slash, the path would refer to the target of the link.
  const path = dataDir.replace(/\/+$/, "") || dataDir;
  const link = Deno.lstatSync(path);
  if (!link.isSymlink || link.mode === null) return;
  const { mode } = Deno.statSync(dirname(path));
  const isReplaceable = (mode! & OTHERS_WRITE) !== 0 && (mode! & STICKY) === 0;
  const isForeign = link.uid !== ROOT && link.uid !== Deno.statSync(path).uid;
  if (!isReplaceable && !isForeign) return;
  const problem = isForeign
    ? "a symbolic link of another user"
    : `a symbolic link that every user can replace, as ${dirname(path)} is writable for all`;
  throw new StorageError(`DATA_DIR ${dataDir} is ${problem}: give the directory itself`);
}

function closeDirectory(dataDir: string, warn: (warning: string) => void): void {
  const { mode, uid } = Deno.statSync(dataDir);
  if (mode === null || (mode & OTHERS) === 0) return;
  const open = `DATA_DIR ${dataDir} is open to other users (mode ${octal(mode)})`;
  // Don't change the mode of a directory that other programs use too, such as /tmp or /var/lib.
  const isShared = (mode & STICKY) !== 0 ||
    Deno.readDirSync(dataDir).some(({ isDirectory, name }) =>
      isDirectory && name !== LOST_AND_FOUND
    );
  if (isShared) return warn(`${open}, and so are other things in it: give a directory of its own`);
  switch (changeMode(dataDir, DIRECTORY_MODE)) {
    case "changed":
      return warn(`${open}: its mode is 0700 now`);
    case "unsupported":
      return warn(`${open}, and its file system can't change that: give another --data-dir`);
    case "foreign":
      // Only warn if the owner is root: the root directory of a volume often is, and root can read all files anyway.
      if (uid === ROOT) return warn(`${open}, and belongs to root: give a directory inside it`);
      throw new StorageError(`${open}, and belongs to another user: run chown and chmod 700 on it`);
  }
}

function closeFile(path: string, warn: (warning: string) => void): void {
  const { isFile, isSymlink, mode } = Deno.lstatSync(path);
  if (isSymlink) {
    throw new StorageError(
      `${path} is a symbolic link: replace it by its file; to use another disk, link or mount DATA_DIR itself`,
    );
  }
  if (!isFile) throw new StorageError(`${path} is not a regular file: move it away`);
  if (mode === null || (mode & OTHERS) === 0) return;
  const open = `${path} is open to other users (mode ${octal(mode)})`;
  switch (changeMode(path, FILE_MODE)) {
    case "changed":
      return warn(`${open}: its mode is 0600 now`);
    case "unsupported":
      return warn(`${open}, and its file system can't change that: give another --data-dir`);
    case "foreign":
      throw new StorageError(`${open}, and belongs to another user: run chown and chmod 600 on it`);
  }
}

/**
 * Sets the mode of a file. `foreign`: the file belongs to another user. `unsupported`: the file
 * system has no such permissions, or is read-only.
 */
function changeMode(path: string, mode: number): "changed" | "foreign" | "unsupported" {
  try {
    Deno.chmodSync(path, mode);
  } catch (error) {
    return error instanceof Deno.errors.PermissionDenied ? "foreign" : "unsupported";
  }
  return (Deno.statSync(path).mode! & OTHERS) === 0 ? "changed" : "unsupported";
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}

function whyNotMade(error: unknown): string {
  if (error instanceof Deno.errors.AlreadyExists) return "is a file, not a directory";
  if (error instanceof Deno.errors.NotADirectory) return "can't be created inside a file";
  if (error instanceof Deno.errors.PermissionDenied) {
    return "can't be created: this user lacks permission";
  }
  if ((error as { code?: string } | null)?.code === "EROFS") {
    return "can't be created: the file system is read-only";
  }
  return `can't be created: ${firstLine(error)}`;
}
