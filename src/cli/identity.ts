// `dmnode identity`: shows, exports and imports the key that signs a node's values. Exported keys are encrypted.

import { loadConfig } from "../config.ts";
import { hex } from "../krpc/hex.ts";
import { Id } from "../krpc/id.ts";
import { Identity } from "../runtime/identity/crypto.ts";
import { prepareDataDir } from "../runtime/data_directory.ts";
import { files } from "../runtime/files.ts";
import {
  databasePath,
  identityPath,
  readIdentity,
  writeIdentity,
  writeSecret,
} from "../runtime/identity/identity.ts";
import { StorageError } from "../storage/sqlite.ts";
import { peek } from "../storage/peek.ts";
import { asUserError, explaining, UserError } from "./terminal/errors.ts";
import { readEnvFile } from "./settings.ts";
import { readPassphrase } from "./terminal/passphrase.ts";
import { printPairs } from "./terminal/table.ts";
import { print, printJson, stderr } from "./terminal/terminal.ts";

interface IdentityFlags {
  readonly dataDir?: string;
  readonly envFile?: string;
  readonly json?: boolean;
  readonly passphraseFile?: string;
  readonly force?: boolean;
}

/** Prints the public key. Also prints the node id, unless a running node has locked the database that contains it. */
export function showIdentity({ json, ...flags }: IdentityFlags): void {
  const dataDir = dataDirOf(flags);
  const publicKey = hex(existing(dataDir).publicKey);
  const { nodeId, problem } = peek(databasePath(dataDir), files);
  const id = nodeId === undefined ? null : Id.read(nodeId).toString();
  if (json) return printJson({ public_key: publicKey, node_id: id, data_dir: dataDir });
  const none = problem?.kind === "in_use" ? "in use by a node: dmnode stats shows it" : "none yet";
  printPairs([["public key", publicKey], ["node id", id ?? none]]);
}

/** Writes the key, encrypted with a passphrase, to a file that only its owner can read (mode 0600). */
export function exportIdentity(
  file: string,
  { passphraseFile, force, json, ...flags }: IdentityFlags,
): void {
  if (file === "-") {
    throw new UserError("a key can only be exported to a file: give a name other than -", true);
  }
  const dataDir = dataDirOf(flags);
  const identity = existing(dataDir);
  if (!force && exists(file)) {
    throw new UserError(`${file} exists: give another name, or --force to replace it`);
  }
  const pem = identity.toEncryptedPem(readPassphrase(passphraseFile, true));
  explaining(`${file} can't be written`, () => writeSecret(file, pem));
  printMoved(identity, dataDir, { file, json });
}

/** Replaces the node's key with the key in a file. */
export function importIdentity(
  file: string,
  { passphraseFile, force, json, ...flags }: IdentityFlags,
): void {
  const dataDir = dataDirOf(flags);
  const identity = identityIn(file, passphraseFile);
  if (peek(databasePath(dataDir), files).problem?.kind === "in_use") {
    throw new UserError(`a node is running with ${dataDir}: stop it first`);
  }
  const path = identityPath(dataDir);
  if (!force && exists(path)) {
    const current = reporting(() => readIdentity(dataDir));
    if (current === undefined || hex(current.publicKey) !== hex(identity.publicKey)) {
      throw new UserError(
        `${path} holds another identity: export it first if you still need it, then use --force`,
      );
    }
  }
  reporting(() => {
    prepareDataDir(dataDir, (warning) => stderr.write(`dmnode: ${warning}\n`));
    writeIdentity(dataDir, identity);
  });
  printMoved(identity, dataDir, { file, json });
}

function printMoved(
  identity: Identity,
  data_dir: string,
  { file, json }: { file: string; json?: boolean },
): void {
  const public_key = hex(identity.publicKey);
  if (json) printJson({ public_key, data_dir, file });
  else print(public_key);
}

function identityIn(file: string, passphraseFile: string | undefined): Identity {
  const pem = explaining(`${file} can't be read`, () => Deno.readTextFileSync(file));
  const isEncrypted = pem.includes("-----BEGIN ENCRYPTED PRIVATE KEY-----");
  const passphrase = isEncrypted ? readPassphrase(passphraseFile, false) : undefined;
  try {
    return Identity.fromPem(pem, passphrase);
  } catch {
    // Replace the message of the crypto library, which varies between versions and does not help the user.
    throw new UserError(
      isEncrypted
        ? `${file} does not open with this passphrase, or holds no Ed25519 key`
        : `${file} holds no Ed25519 key in PKCS #8`,
    );
  }
}

/** @throws {UserError} if the directory contains no identity */
function existing(dataDir: string): Identity {
  const identity = reporting(() => readIdentity(dataDir));
  if (identity !== undefined) return identity;
  throw new UserError(
    `${identityPath(dataDir)} does not exist: start a node to create an identity, or import one`,
  );
}

/** The DATA_DIR that the flags, the environment or .env name. */
export function dataDirOf(
  { dataDir, envFile }: Pick<IdentityFlags, "dataDir" | "envFile">,
): string {
  return loadConfig({
    flags: { dataDir },
    // Pass only this variable, because invalid values of other settings should not matter here.
    env: { DATA_DIR: Deno.env.get("DATA_DIR") },
    envFile: readEnvFile(envFile),
    envFileName: envFile,
  }).dataDir;
}

/** Whether there is a file, a directory or a link at this path. */
export function exists(path: string): boolean {
  return explaining(`${path} can't be read`, () => {
    try {
      Deno.lstatSync(path);
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  });
}

/** Runs an operation, and turns a StorageError into a UserError. */
function reporting<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw asUserError(error, StorageError);
  }
}
