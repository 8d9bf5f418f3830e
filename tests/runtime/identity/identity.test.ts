// The node's key file, which is created once and never replaced, and keys with a passphrase.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { StorageError } from "../../../src/storage/sqlite.ts";
import { Identity } from "../../../src/runtime/identity/crypto.ts";
import { readIdentity, writeIdentity } from "../../../src/runtime/identity/identity.ts";
import { hex, latin1 } from "../../packets.ts";
import { inTemporaryDirectory } from "../../storage/temporary.ts";

const files = (directory: string) => [...Deno.readDirSync(directory)].map(({ name }) => name);

Deno.test("the identity is created once, and stays the same", () => {
  inTemporaryDirectory((path) => {
    assert.equal(readIdentity(path(".")), undefined);
    const first = writeIdentity(path("."), Identity.generate());
    const second = readIdentity(path("."))!;
    assert.deepEqual(second.publicKey, first.publicKey);
    assert.deepEqual(second.sign(new Uint8Array(5)), first.sign(new Uint8Array(5)));
    assert.deepEqual(files(path(".")), ["identity.pem"]);
  });
});

Deno.test({
  name: "only the owner can read the key file, whatever was in its place before",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inTemporaryDirectory((path) => {
      const mode = () => Deno.statSync(path("identity.pem")).mode! & 0o777;
      writeIdentity(path("."), Identity.generate());
      assert.equal(mode(), 0o600);
      Deno.chmodSync(path("identity.pem"), 0o644);
      Deno.writeTextFileSync(path("identity.pem.new"), "half", { mode: 0o666 });
      writeIdentity(path("."), Identity.generate());
      assert.equal(mode(), 0o600);
      assert.deepEqual(files(path(".")), ["identity.pem"]);
    }),
});

Deno.test("a file without an Ed25519 key is refused and left unchanged", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const other = privateKey.export({ format: "pem", type: "pkcs8" }) as string;
  for (
    const content of [
      "",
      "garbage",
      other,
      "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
      Identity.generate().toEncryptedPem("an unknown passphrase"),
    ]
  ) {
    inTemporaryDirectory((path) => {
      Deno.writeTextFileSync(path("identity.pem"), content);
      assert.throws(() => readIdentity(path(".")), (error) => {
        assert.ok(error instanceof StorageError);
        assert.match(error.message, /identity\.pem/);
        assert.equal(error.message.includes("\n"), false);
        return true;
      });
      assert.equal(Deno.readTextFileSync(path("identity.pem")), content);
    });
  }
});

Deno.test("an identity that can't be written is an error", () => {
  inTemporaryDirectory((path) => {
    assert.throws(
      () => writeIdentity(path("no/such/directory"), Identity.generate()),
      StorageError,
    );
  });
});

Deno.test("an incomplete key that a crash left behind is ignored", () => {
  inTemporaryDirectory((path) => {
    Deno.writeTextFileSync(path("identity.pem.new"), "half");
    const { publicKey } = writeIdentity(path("."), Identity.generate());
    assert.equal(publicKey.length, 32);
    assert.deepEqual(readIdentity(path("."))!.publicKey, publicKey);
  });
});

Deno.test("each encryption of a key differs", () => {
  const identity = Identity.generate();
  assert.notEqual(identity.toEncryptedPem("x"), identity.toEncryptedPem("x"));
});

Deno.test("an encrypted key needs its passphrase", () => {
  const seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
  const identity = new Identity(seed);
  for (const passphrase of ["x", "correct horse battery staple", "Löwe 🦁", " spaces "]) {
    const pem = identity.toEncryptedPem(passphrase);
    assert.match(pem, /^-----BEGIN ENCRYPTED PRIVATE KEY-----\n[\w+/=\n]{200,300}\n-----END /);
    const bytes = atob(pem.split("\n").slice(1, -2).join(""));
    assert.ok(!bytes.includes(String.fromCharCode(...seed.subarray(0, 8))));
    assert.deepEqual(Identity.fromPem(pem, passphrase).publicKey, identity.publicKey);
    assert.throws(() => Identity.fromPem(pem, `${passphrase}!`));
    assert.throws(() => Identity.fromPem(pem));
  }
});

Deno.test("the log and the inspector show no secret of an identity", () => {
  const seed = latin1("a seed of thirty-two bytes, ours");
  const identity = new Identity(seed);
  for (const shown of [Deno.inspect(identity, { showHidden: true }), JSON.stringify(identity)]) {
    assert.ok(!shown.includes("97, 32, 115") && !shown.includes("a seed of"), shown);
  }
});
