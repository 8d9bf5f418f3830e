// The node's key file: made once, kept, never replaced.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { StorageError } from "../../src/storage/database.ts";
import { openIdentity } from "../../src/runtime/identity.ts";
import { inTemporaryDirectory } from "../storage/temporary.ts";

Deno.test("the identity is made once, and is the same ever after", () => {
  inTemporaryDirectory((path) => {
    const first = openIdentity(path("."));
    const second = openIdentity(path("."));
    assert.deepEqual(second.publicKey, first.publicKey);
    assert.deepEqual(second.sign(new Uint8Array(5)), first.sign(new Uint8Array(5)));
    assert.deepEqual([...Deno.readDirSync(path("."))].map(({ name }) => name), ["identity.pem"]);
  });
});

Deno.test({
  name: "the key is readable by its owner alone",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inTemporaryDirectory((path) => {
      openIdentity(path("."));
      assert.equal(Deno.statSync(path("identity.pem")).mode! & 0o777, 0o600);
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
    ]
  ) {
    inTemporaryDirectory((path) => {
      Deno.writeTextFileSync(path("identity.pem"), content);
      assert.throws(() => openIdentity(path(".")), (error) => {
        assert.ok(error instanceof StorageError);
        assert.match(error.message, /identity\.pem/);
        assert.equal(error.message.includes("\n"), false);
        return true;
      });
      assert.equal(Deno.readTextFileSync(path("identity.pem")), content);
    });
  }
});

Deno.test("half a key of a crash while making it is passed over", () => {
  inTemporaryDirectory((path) => {
    Deno.writeTextFileSync(path("identity.pem.new"), "half");
    const { publicKey } = openIdentity(path("."));
    assert.equal(publicKey.length, 32);
  });
});
