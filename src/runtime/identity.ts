// The node's Ed25519 key in DATA_DIR: made once, readable by its owner alone.

import { createPrivateKey } from "node:crypto";
import { join } from "node:path";
import { Identity } from "./crypto.ts";
import { StorageError } from "../storage/database.ts";

const FILE = "identity.pem";

/** The raw key is the end of its PKCS #8 form (RFC 8410). */
const SEED_BYTES = 32;

/**
 * Reads the identity, or makes a new one.
 *
 * @throws {StorageError} where the file is there but can't be read as an Ed25519 key; it is never replaced
 */
export function openIdentity(dataDir: string): Identity {
  const path = join(dataDir, FILE);
  let pem: string;
  try {
    pem = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return createIdentity(path);
    throw new StorageError(`${path}: can't be read: ${text(error)}`, { cause: error });
  }
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType !== "ed25519") {
      throw new Error(`it is a ${key.asymmetricKeyType} key`);
    }
    const der = key.export({ format: "der", type: "pkcs8" });
    return new Identity(der.subarray(der.length - SEED_BYTES));
  } catch (error) {
    throw new StorageError(
      `${path} holds no Ed25519 key (${
        text(error)
      }): restore a copy, or move it away for a new identity`,
      { cause: error },
    );
  }
}

function createIdentity(path: string): Identity {
  const identity = new Identity(crypto.getRandomValues(new Uint8Array(SEED_BYTES)));
  const fresh = `${path}.new`;
  // Under another name first: a crash must not leave half a key.
  Deno.writeTextFileSync(fresh, identity.toPem(), { mode: 0o600 });
  Deno.renameSync(fresh, path);
  return identity;
}

function text(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}
