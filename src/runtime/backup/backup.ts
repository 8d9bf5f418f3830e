// Writes a node's identity, values and settings to one file, even while the node runs, and restores a node from such
// a file.

import { join } from "node:path";
import { API_TOKENS_NAME } from "../../config/api_tokens.ts";
import { firstLine } from "../../krpc/error_text.ts";
import { BlobDatabase } from "../../storage/blob_database.ts";
import { Database } from "../../storage/database.ts";
import { extractDatabase, type Extracted, mergeBlobs } from "../../storage/extract.ts";
import { DamagedFile, StorageError } from "../../storage/sqlite.ts";
import { prepareDataDir } from "../data_directory.ts";
import { files, syncDirectory } from "../files.ts";
import { Identity } from "../identity/crypto.ts";
import { blobsPath, databasePath, identityPath, readIdentity } from "../identity/identity.ts";
import { copyDatabase } from "./copy.ts";
import {
  type AsyncWriter,
  endTar,
  readEntries,
  type TarEntry,
  TarError,
  writeEntry,
} from "./tar.ts";

/** The names of the settings and of the deny list in a backup, and in a restored DATA_DIR. */
export const SETTINGS_FILE = "settings.env", DENY_LIST_FILE = "denied.txt";

const IDENTITY_FILE = "identity.pem", DATABASE_FILE = "dmnode.sqlite", BLOBS_FILE = "large.sqlite";

const TOKENS_FILE = API_TOKENS_NAME;

/** All files of a backup, in the order of the archive. */
const NAMES = [
  IDENTITY_FILE,
  SETTINGS_FILE,
  DENY_LIST_FILE,
  TOKENS_FILE,
  DATABASE_FILE,
  BLOBS_FILE,
];

/**
 * Maximum number of tries to copy the databases. If a large value is removed between the two copies, another try is
 * needed.
 */
const MAX_TRIES = 5;

/** The data that a backup contains. */
export interface BackupSource {
  readonly dataDir: string;
  /** The settings, as the text of a .env file. */
  readonly settings: string;
  readonly denyList: string | undefined;
  /** The content of the file of tokens with scopes; undefined if there is none. */
  readonly apiTokens: string | undefined;
  /** Whether to include other nodes' values. */
  readonly withItems: boolean;
}

/**
 * Writes a backup to `to`. Uses `scratch`, an empty directory, for temporary files. Yields to the event loop, so that
 * the program can handle signals in the meantime. @throws {StorageError}
 */
export async function writeBackup(
  to: AsyncWriter,
  { dataDir, settings, denyList, apiTokens, withItems }: BackupSource,
  scratch: string,
): Promise<{ readonly published: number }> {
  const identity = readIdentity(dataDir);
  if (identity === undefined) {
    throw new StorageError(`${identityPath(dataDir)} does not exist: DATA_DIR has no node`);
  }
  const extracted = join(scratch, "extracted.sqlite"), blobs = join(scratch, BLOBS_FILE);
  const { published } = await extract(dataDir, { extracted, blobs, scratch, withItems });
  const mtimeS = Date.now() / 1000;
  for (
    const [name, text] of [
      [IDENTITY_FILE, identity.toPem()],
      [SETTINGS_FILE, settings],
      ...(denyList === undefined ? [] : [[DENY_LIST_FILE, denyList]]),
      ...(apiTokens === undefined ? [] : [[TOKENS_FILE, apiTokens]]),
    ]
  ) {
    await writeEntry(to, textEntry(name, text), mtimeS);
  }
  for (const [name, path] of [[DATABASE_FILE, extracted], [BLOBS_FILE, blobs]]) {
    if (files.size(path) === undefined) continue;
    using content = Deno.openSync(path);
    await writeEntry(to, { name, size: files.size(path)!, content }, mtimeS);
  }
  await endTar(to);
  return { published };
}

/** Copies both databases, and repeats this until the copy has the blobs of all published values. */
async function extract(
  dataDir: string,
  { extracted, blobs, scratch, withItems }: {
    readonly extracted: string;
    readonly blobs: string;
    readonly scratch: string;
    readonly withItems: boolean;
  },
): Promise<Extracted> {
  const copy = join(scratch, DATABASE_FILE),
    hasBlobs = files.size(blobsPath(dataDir)) !== undefined;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    // Copy the database first. A node writes a blob before it publishes the value, so each
    // published value in this copy has its blob already.
    await copyDatabase(databasePath(dataDir), copy);
    if (hasBlobs) await copyDatabase(blobsPath(dataDir), blobs);
    const result = extractDatabase(copy, extracted, { files, withItems });
    if (!hasBlobs || mergeBlobs(blobs, result.blobs)) return result;
    for (const path of [copy, extracted, blobs]) files.remove(path);
  }
  throw new StorageError(
    `${
      blobsPath(dataDir)
    } lacks a published value: large values were replaced during each try, or the file is damaged`,
  );
}

function textEntry(name: string, text: string): TarEntry {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  const readSync = (to: Uint8Array) => {
    const part = bytes.subarray(at, at + to.length);
    to.set(part);
    at += part.length;
    return part.length === 0 ? null : part.length;
  };
  return { name, size: bytes.length, content: { readSync } };
}

/**
 * Restores a backup into a DATA_DIR that contains no node. Reports corrected permissions to `warn`.
 * If the restore fails, no file remains. @throws {StorageError}
 */
export function restoreBackup(
  from: { readSync(bytes: Uint8Array): number | null },
  dataDir: string,
  warn: (warning: string) => void,
): void {
  for (const name of NAMES.flatMap((name) => [name, `${name}-wal`])) {
    if (files.size(join(dataDir, name)) === undefined) continue;
    throw new StorageError(
      `${join(dataDir, name)} exists: nothing was changed; give a --data-dir without a node`,
    );
  }
  prepareDataDir(dataDir, warn);
  const restored = new Set<string>(), unfinished = (name: string) => join(dataDir, `${name}.new`);
  const placed: string[] = [];
  try {
    for (const { name, copyTo } of readEntries(from)) {
      if (!NAMES.includes(name) || restored.has(name)) {
        throw new TarError(`dmnode has not made its file ${JSON.stringify(name.slice(0, 40))}`);
      }
      if (files.size(unfinished(name)) !== undefined) files.remove(unfinished(name));
      using file = Deno.openSync(unfinished(name), { write: true, createNew: true, mode: 0o600 });
      restored.add(name);
      copyTo(file);
      file.syncSync();
    }
    check(restored, unfinished);
    addPaths(dataDir, restored, unfinished(SETTINGS_FILE));
    // Restore the database last. A node that has an identity but no database does not start, so it
    // can't start from incomplete files.
    const others = NAMES.filter((name) => restored.has(name) && name !== DATABASE_FILE);
    for (const name of [...others, DATABASE_FILE]) {
      Deno.renameSync(unfinished(name), join(dataDir, name));
      placed.push(name);
    }
    syncDirectory(dataDir);
  } catch (error) {
    for (
      const path of [
        ...[...restored].map(unfinished),
        ...placed.map((name) => join(dataDir, name)),
      ]
    ) {
      if (files.size(path) !== undefined) files.remove(path);
    }
    if (error instanceof StorageError) throw error;
    throw new StorageError(`the backup can't be restored: ${firstLine(error)}`, { cause: error });
  }
}

function check(restored: ReadonlySet<string>, pathOf: (name: string) => string): void {
  for (const name of [IDENTITY_FILE, SETTINGS_FILE, DATABASE_FILE]) {
    if (!restored.has(name)) throw new TarError(`it has no ${name}`);
  }
  Identity.fromPem(Deno.readTextFileSync(pathOf(IDENTITY_FILE)));
  checkFile(DATABASE_FILE, pathOf, (path) => new Database(path, { files, mayBeEmpty: false }));
  if (restored.has(BLOBS_FILE)) checkFile(BLOBS_FILE, pathOf, (path) => new BlobDatabase(path));
}

/** Checks the whole content of a database. Error messages name the file in the backup, not the temporary file. */
function checkFile(
  name: string,
  pathOf: (name: string) => string,
  open: (path: string) => Database | BlobDatabase,
): void {
  const path = pathOf(name);
  try {
    const file = open(path);
    try {
      if (file instanceof BlobDatabase) file.check();
    } finally {
      file.close();
    }
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    const problem = error instanceof DamagedFile
      ? `its ${name} is damaged (${error.how}): use another backup`
      : error.message.replaceAll(path, `its ${name}`);
    throw new TarError(problem, { cause: error });
  }
}

/** Adds the settings that depend on the path of DATA_DIR to the restored file of settings. */
function addPaths(dataDir: string, restored: ReadonlySet<string>, settings: string): void {
  const absolute = Deno.realPathSync(dataDir);
  const paths = new Map([["DATA_DIR", absolute]]);
  if (restored.has(DENY_LIST_FILE)) paths.set("DENY_LIST", join(absolute, DENY_LIST_FILE));
  const text = Deno.readTextFileSync(settings);
  Deno.writeTextFileSync(settings, text + envText(paths));
}

/** Writes variables as lines of a .env file, which systemd reads in the same way. */
export function envText(variables: ReadonlyMap<string, string>): string {
  return [...variables].map(([name, value]) => `${name}=${quoted(value)}\n`).join("");
}

function quoted(value: string): string {
  if (/^[\w./:,@%+=\[\]-]*$/.test(value)) return value;
  if (!value.includes("'")) return `'${value}'`;
  if (!/["\\]/.test(value)) return `"${value}"`;
  throw new StorageError(
    "a setting has a single quote beside a double quote or a backslash: put its value in a file",
  );
}
