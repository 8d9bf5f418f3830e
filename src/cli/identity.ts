// `dmnode identity`: the key that signs this node's values, shown, and moved between nodes under a passphrase.

import { loadConfig } from "../config.ts";
import { Id } from "../krpc/id.ts";
import { Identity } from "../runtime/crypto.ts";
import { files } from "../runtime/files.ts";
import {
  databasePath,
  identityPath,
  readIdentity,
  writeIdentity,
  writeSecret,
} from "../runtime/identity.ts";
import { StorageError } from "../storage/database.ts";
import { peek } from "../storage/peek.ts";
import { readEnvFile } from "./env_file.ts";
import { reason, UserError } from "./errors.ts";
import { readPassphrase } from "./passphrase.ts";
import { printPairs } from "./table.ts";
import { print, printJson } from "./terminal.ts";

export interface IdentityFlags {
  readonly dataDir?: string;
  readonly envFile?: string;
  readonly json?: boolean;
}

export interface TransferFlags extends IdentityFlags {
  readonly passphraseFile?: string;
  readonly force?: boolean;
}

/** Prints the public key, and the node id where it can be read. Works beside a running node. */
export function show({ json, ...flags }: IdentityFlags): void {
  const dataDir = dataDirOf(flags);
  const publicKey = hex(existing(dataDir).publicKey);
  const { nodeId, isInUse } = peek(databasePath(dataDir), files);
  const id = nodeId === undefined ? null : Id.read(nodeId).toString();
  if (json) return printJson({ public_key: publicKey, node_id: id, data_dir: dataDir });
  printPairs([
    ["public key", publicKey],
    ["node id", id ?? (isInUse ? "in use by a node: dmnode stats shows it" : "none yet")],
  ]);
}

/** Writes the key under a passphrase into a file of mode 0600. */
export function exportTo(
  file: string,
  { passphraseFile, force, json, ...flags }: TransferFlags,
): void {
  if (file === "-") {
    throw new UserError("a key is exported to a file alone: give it a name other than -", true);
  }
  const dataDir = dataDirOf(flags);
  const identity = existing(dataDir);
  if (!force && isThere(file)) {
    throw new UserError(`${file} is there already: give another name, or --force to replace it`);
  }
  const pem = identity.toEncryptedPem(readPassphrase(passphraseFile, true));
  try {
    writeSecret(file, pem);
  } catch (error) {
    throw new UserError(`${file} can't be written: ${reason(error)}`);
  }
  printMoved(identity, dataDir, file, json);
}

/** Takes the key of a file for the node's own. */
export function importFrom(
  file: string,
  { passphraseFile, force, json, ...flags }: TransferFlags,
): void {
  const dataDir = dataDirOf(flags);
  const identity = identityIn(file, passphraseFile);
  if (peek(databasePath(dataDir), files).isInUse) {
    throw new UserError(`a node runs with ${dataDir}: stop it first`);
  }
  refuseToReplace(dataDir, identity, force === true);
  told(() => {
    try {
      Deno.mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new UserError(`${dataDir} can't be made: ${reason(error)}`);
    }
    writeIdentity(dataDir, identity);
  });
  printMoved(identity, dataDir, file, json);
}

function printMoved(
  { publicKey }: Identity,
  dataDir: string,
  file: string,
  json: boolean | undefined,
): void {
  if (json) return printJson({ public_key: hex(publicKey), data_dir: dataDir, file });
  print(hex(publicKey));
}

function identityIn(file: string, passphraseFile: string | undefined): Identity {
  let pem: string;
  try {
    pem = Deno.readTextFileSync(file);
  } catch (error) {
    throw new UserError(`${file} can't be read: ${reason(error)}`);
  }
  const isEncrypted = pem.includes("-----BEGIN ENCRYPTED PRIVATE KEY-----");
  const passphrase = isEncrypted ? readPassphrase(passphraseFile, false) : undefined;
  try {
    return Identity.fromPem(pem, passphrase);
  } catch {
    // What the library says differs between versions, and helps nobody.
    throw new UserError(
      isEncrypted
        ? `${file} does not open with this passphrase, or holds no Ed25519 key`
        : `${file} holds no Ed25519 key in PKCS #8`,
    );
  }
}

/** A file that is damaged, or another key, is replaced by force alone. */
function refuseToReplace(dataDir: string, identity: Identity, isForced: boolean): void {
  const path = identityPath(dataDir);
  if (isForced || !isThere(path)) return;
  const held = told(() => readIdentity(dataDir));
  if (held !== undefined && hex(held.publicKey) === hex(identity.publicKey)) return;
  throw new UserError(
    `${path} holds another identity: export that first if it is still needed, then use --force`,
  );
}

/** @throws {UserError} where there is no identity */
function existing(dataDir: string): Identity {
  const identity = told(() => readIdentity(dataDir));
  if (identity !== undefined) return identity;
  throw new UserError(
    `${identityPath(dataDir)} is not there: start a node to make an identity, or import one`,
  );
}

function dataDirOf({ dataDir, envFile }: IdentityFlags): string {
  return loadConfig({
    flags: { dataDir },
    // Nothing else of the environment matters here.
    env: { DATA_DIR: Deno.env.get("DATA_DIR") },
    envFile: readEnvFile(envFile),
    envFileName: envFile,
  }).dataDir;
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw new UserError(`${path} can't be read: ${reason(error)}`);
  }
}

/** Runs, and tells of a failure of storage as the user's. */
function told<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof StorageError) throw new UserError(error.message, false, { cause: error });
    throw error;
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
