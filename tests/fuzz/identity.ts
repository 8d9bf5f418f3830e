// Fuzzing of identity files: each is read, or refused with one line.

import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { Identity } from "../../src/runtime/identity/crypto.ts";
import { identityPath, readIdentity } from "../../src/runtime/identity/identity.ts";
import { StorageError } from "../../src/storage/sqlite.ts";
import { latin1 } from "../packets.ts";
import { type Change, changes, mutate } from "./packets.ts";
import type { Subject } from "./subject.ts";

const KEY = new Identity(new Uint8Array(32).fill(7));

/** Files that tools write: of another algorithm, with another label, with more than one key, or without content. */
const SEEDS: readonly Uint8Array[] = [
  KEY.toPem(),
  KEY.toPem().replace("\n", "\r\n"),
  KEY.toPem() + KEY.toPem(),
  KEY.toPem().replaceAll("PRIVATE", "PUBLIC"),
  KEY.toPem().replaceAll("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
  "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
  // Keys on the curves X25519 and P-256 (PKCS #8).
  pem([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20], 32),
  pem([0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], 50),
  "",
].map((text) => new TextEncoder().encode(text));

function pem(head: number[], zeros: number): string {
  const base64 = btoa(String.fromCharCode(...head, ...new Uint8Array(zeros)));
  return `-----BEGIN PRIVATE KEY-----\n${base64}\n-----END PRIVATE KEY-----\n`;
}

export interface IdentityInput {
  readonly seed: number;
  /** Changes of the text. */
  readonly changes: Change[];
  /** Changes of the decoded key. */
  readonly inside: Change[];
}

/** A file whose base64 is valid, and whose content is not. */
function changedInside(text: Uint8Array, inside: Change[]): Uint8Array {
  const lines = new TextDecoder().decode(text).trim().split("\n");
  if (lines.length !== 3 || inside.length === 0) return text;
  const der = Uint8Array.from(atob(lines[1]), (c) => c.charCodeAt(0));
  const changed = mutate([der], { seed: 0, other: 0, changes: inside });
  const base64 = btoa(Array.from(changed, (byte) => String.fromCharCode(byte)).join(""));
  return latin1(`${lines[0]}\n${base64}\n${lines[2]}\n`);
}

function check({ seed, changes, inside }: IdentityInput): void {
  const directory = Deno.makeTempDirSync();
  try {
    const start = changedInside(SEEDS[seed % SEEDS.length], inside);
    const content = mutate([start], { seed: 0, other: 0, changes });
    Deno.writeFileSync(identityPath(directory), content, { mode: 0o600 });
    Deno.chmodSync(directory, 0o700);
    try {
      const identity = readIdentity(directory)!;
      assert.equal(identity.publicKey.length, 32);
      assert.equal(identity.sign(latin1("message")).length, 64);
    } catch (error) {
      assert.ok(error instanceof StorageError, `${(error as Error).stack}`);
      assert.doesNotMatch(error.message, /[\r\n]/);
      assert.ok(error.message.startsWith(join(directory, "identity.pem")), error.message);
    }
    assert.deepEqual(Deno.readFileSync(identityPath(directory)), content, "it is left as it was");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

export const IDENTITY: Subject<IdentityInput> = {
  name: "identity",
  inputs: fc.record({
    seed: fc.nat(100),
    changes: fc.oneof(fc.constant<Change[]>([]), changes),
    inside: fc.oneof(fc.constant<Change[]>([]), changes),
  }),
  check,
};
