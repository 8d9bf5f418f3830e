// The node's key file: made once, kept, never replaced by itself; and the key under a passphrase.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { StorageError } from "../../src/storage/database.ts";
import { Identity } from "../../src/runtime/crypto.ts";
import { createIdentity, readIdentity, writeIdentity } from "../../src/runtime/identity.ts";
import { hex, latin1 } from "../packets.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";

const files = (directory: string) => [...Deno.readDirSync(directory)].map(({ name }) => name);

Deno.test("the identity is made once, and is the same ever after", () => {
  inTemporaryDirectory((path) => {
    assert.equal(readIdentity(path(".")), undefined);
    const first = createIdentity(path("."));
    const second = readIdentity(path("."))!;
    assert.deepEqual(second.publicKey, first.publicKey);
    assert.deepEqual(second.sign(new Uint8Array(5)), first.sign(new Uint8Array(5)));
    assert.deepEqual(files(path(".")), ["identity.pem"]);
  });
});

Deno.test({
  name: "the key is readable by its owner alone, whatever was there before",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inTemporaryDirectory((path) => {
      const mode = () => Deno.statSync(path("identity.pem")).mode! & 0o777;
      createIdentity(path("."));
      assert.equal(mode(), 0o600);
      Deno.chmodSync(path("identity.pem"), 0o644);
      Deno.writeTextFileSync(path("identity.pem.new"), "half", { mode: 0o666 });
      writeIdentity(path("."), Identity.generate());
      assert.equal(mode(), 0o600);
      assert.deepEqual(files(path(".")), ["identity.pem"]);
    }),
});

Deno.test("a file that holds no Ed25519 key is refused and left as it was", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const other = privateKey.export({ format: "pem", type: "pkcs8" }) as string;
  for (
    const content of [
      "",
      "garbage",
      other,
      "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
      Identity.generate().toEncryptedPem("a passphrase that nobody gives"),
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

Deno.test("an identity that can't be written is a reason to refuse the start", () => {
  inTemporaryDirectory((path) => {
    assert.throws(() => createIdentity(path("no/such/directory")), StorageError);
  });
});

Deno.test("half a key of a crash while making it is passed over", () => {
  inTemporaryDirectory((path) => {
    Deno.writeTextFileSync(path("identity.pem.new"), "half");
    const { publicKey } = createIdentity(path("."));
    assert.equal(publicKey.length, 32);
    assert.deepEqual(readIdentity(path("."))!.publicKey, publicKey);
  });
});

Deno.test("a key under a passphrase comes back with it alone, and never looks the same twice", () => {
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
  assert.notEqual(identity.toEncryptedPem("x"), identity.toEncryptedPem("x"));
});

Deno.test("what is logged or shown of an identity holds no secret", () => {
  const seed = latin1("a seed of thirty-two bytes, ours");
  const identity = new Identity(seed);
  for (const shown of [Deno.inspect(identity, { showHidden: true }), JSON.stringify(identity)]) {
    assert.ok(!shown.includes("97, 32, 115") && !shown.includes("a seed of"), shown);
  }
});
