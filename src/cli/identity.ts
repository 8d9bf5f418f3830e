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
import { UserError } from "./errors.ts";
import { readPassphrase } from "./passphrase.ts";

export interface IdentityFlags {
  readonly dataDir?: string;
  readonly envFile?: string;
}

export interface TransferFlags extends IdentityFlags {
  readonly passphraseFile?: string;
  readonly force?: boolean;
}

/** Prints the public key, and the node id where it can be read. Works beside a running node. */
export function show({ json, ...flags }: IdentityFlags & { readonly json?: boolean }): void {
  const dataDir = dataDirOf(flags);
  const publicKey = hex(existing(dataDir).publicKey);
  const { nodeId, isInUse } = peek(databasePath(dataDir), files);
  const id = nodeId === undefined ? null : Id.read(nodeId).toString();
  if (json) {
    return console.log(JSON.stringify({ public_key: publicKey, node_id: id, data_dir: dataDir }));
  }
  console.log(`public key  ${publicKey}`);
  console.log(
    `node id     ${id ?? (isInUse ? "in use by a node: dmnode stats shows it" : "none yet")}`,
  );
}

/** Writes the key under a passphrase into a file of mode 0600. */
export function exportTo(file: string, { passphraseFile, force, ...flags }: TransferFlags): void {
  const identity = existing(dataDirOf(flags));
  if (!force && isThere(file)) {
    throw new UserError(`${file} is there already: give another name, or --force to replace it`);
  }
  const pem = identity.toEncryptedPem(readPassphrase(passphraseFile, true));
  try {
    writeSecret(file, pem);
  } catch (error) {
    throw new UserError(`${file} can't be written: ${textOf(error)}`);
  }
  console.log(hex(identity.publicKey));
}

/** Takes the key of a file for the node's own. */
export function importFrom(file: string, { passphraseFile, force, ...flags }: TransferFlags): void {
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
      throw new UserError(`${dataDir} can't be made: ${textOf(error)}`);
    }
    writeIdentity(dataDir, identity);
  });
  console.log(hex(identity.publicKey));
}

function identityIn(file: string, passphraseFile: string | undefined): Identity {
  let pem: string;
  try {
    pem = Deno.readTextFileSync(file);
  } catch (error) {
    throw new UserError(`${file} can't be read: ${textOf(error)}`);
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
    throw new UserError(`${path} can't be read: ${textOf(error)}`);
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

function textOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}
